"""A bundle for a bug report: other people, the same bug, and a simulator that serves it again."""

from __future__ import annotations

import json
import unicodedata
import zipfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from sf_assets.people.anonymise import Anonymiser
from sf_assets.simulator import BundledApi, World, in_thread
from sf_assets_tests.conftest import Pipeline
from sf_assets_tests.loopback import Reply, Request
from sf_assets_tests.served_lists import KEY, OMIT, ListServer, account, followed

from .shell import run

DAY = date(2026, 11, 22)

PEOPLE = [
    account(n, displayName=name, bio=bio)
    for n, (name, bio) in enumerate(
        [
            ("Ада Лавлейс", "Пишу программы для машин"),
            ("山田太郎", "東京で写真を撮っています"),
            ("Zoë 🦊🦊 Faraday", "ring 0123456789 or mail zoe.faraday@example.org"),
            ("", ""),
            ("data", "followers"),
            ("Ö" * 30, "https://zoe-faraday.example/path"),
        ]
    )
]
PEOPLE += [account(n, platformUserId=str(10**18 + n * 7919)) for n in range(6, 45)]
PEOPLE[7] = account(7, handle="page")  # as a field of every record is called
PEOPLE[8] = account(8, handle="found")
PEOPLE[9] = account(9, platformUserId="0", secUid=OMIT)
PEOPLE[12]["details"] = {"zoe.private.key": "zoe.private.value", "n": 7_000_000_000_000_123_456}
WORDS = ("Лавлейс", "山田", "写真", "Faraday", "faraday", "zoe.", "0123456789", "mailbox_of_ada")


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[zipfile.ZipFile]:
    with ListServer() as server:
        server.set("mailbox_of_ada", "followers", PEOPLE)
        server.set("mailbox_of_ada", "following", [followed(n) for n in range(3)])
        server.set("quiet.one", "followers", status="private")

        def spoil(request: Request) -> Reply | None:
            if not request.path.endswith("mailbox_of_ada/followers") or request.query:
                return None
            right = server._page("mailbox_of_ada", "followers", request.query).json
            right["data"]["totalFollowers"] = "45 and more"  # what the report is about
            return Reply(json=right)

        server.fault = spoil
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY)
        pipeline.snapshot(DAY, "mailbox_of_ada", "quiet.one")
        monkeypatch.setenv("SF_ASSETS_ALERT_URLS", "json://user:hush-hush@hooks.example.org")
        # Of handles without a list of the day: one that was probed, and one that was tracked.
        (tmp_path / "home" / "vendor_facts.json").write_text(
            json.dumps({"format": 1, "day": "2026-11-20", "handle": "probed.once", "credits": 7,
                        "page_size": 20, "seconds": 0.1 + 0.2,
                        "facts": [{"fact": "x", "as_assumed": True}]})
        )  # fmt: skip
        said = run("bundle", "-o", str(tmp_path / "b.zip"))
        assert said.code == 0, said.err
        assert "4 lists of 2026-11-22, anonymised" in said.out
        assert {one.name for one in tmp_path.iterdir()} == {"home", "b.zip"}
    with zipfile.ZipFile(tmp_path / "b.zip") as file:
        yield file


def pages(file: zipfile.ZipFile, listed: str) -> list[dict[str, Any]]:
    (name,) = (
        one
        for one in file.namelist()
        if f"/{listed}/" in one and b'"requestId"' in file.read(one) and len(file.read(one)) > 3000
    )
    records = [json.loads(line) for line in file.read(name).decode().splitlines()]
    return [one["body"]["data"] for one in records if one["kind"] == "page"]


def test_no_name_and_no_secret_is_left_and_what_makes_the_bug_is(packed: zipfile.ZipFile) -> None:
    everything = {name: packed.read(name).decode() for name in packed.namelist()}
    assert {"about.json", "settings.json", "doctor.json", "runs.json"} < set(everything)
    originals = {
        str(one[name])
        for one in PEOPLE
        for name in ("handle", "platformUserId", "secUid", "avatarUrl")
        if len(str(one.get(name, ""))) > 5
    }
    for name, text in everything.items():
        for secret in (KEY, "hush-hush", "hooks.example.org", *WORDS, *originals):
            assert secret not in name
            assert secret not in text, (name, secret)
    settings_ = json.loads(everything["settings.json"])
    assert (settings_["alert_urls"], settings_["concurrency"]) == ("set", 32)
    lines = [line for one in json.loads(everything["runs.json"]) for line in one["lines"]]
    assert any("45 of " in line or "accounts" in line for line in lines)

    found = pages(packed, "followers")
    assert found[0]["totalFollowers"] == "45 and more" or found[0]["totalFollowers"] != 45
    accounts = [one for page in found for one in page["followers"]]
    assert len(accounts) == len(PEOPLE)
    for new, old in zip(accounts, PEOPLE, strict=True):
        assert new.keys() == old.keys()
        assert new["metrics"] == old["metrics"]
        for name in ("handle", "displayName", "bio", "secUid"):
            if name in old:
                assert len(new[name]) == len(old[name])
                kinds = [[unicodedata.category(c) for c in one[name]] for one in (new, old)]
                assert kinds[0] == kinds[1]
    ids = [int(one["platformUserId"]) for one in accounts[10:]]
    assert ids == sorted(ids)
    assert accounts[9]["platformUserId"] == "0"
    assert len({one["handle"] for one in accounts}) == len(PEOPLE)


def test_the_simulator_serves_it_and_the_same_comes_of_it(
    packed: zipfile.ZipFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(str(packed.filename))
    app = BundledApi(path)
    handles = sorted({handle for _, _, handle in app.lists})
    assert f"@{handles[0]} followers 2026-11-22" in app.serves
    assert "profiles" not in app.serves
    with in_thread(World((), epoch=DAY), app=app) as server:
        home = tmp_path / "maintainer"
        pipeline = Pipeline(home, server.base_url, server.api_key, DAY)
        pipeline.snapshot(DAY, *handles)
        found = pipeline.ask(
            "SELECT relation, lookup_status, listed, reported_total, damaged_fields, pages "
            "FROM snapshots ORDER BY ALL"
        )
    assert [row for row in found if row[2]] == [
        ("followers", "found", 45, 45, 1, 3),
        ("following", "found", 3, 3, 0, 1),
    ]
    assert ("followers", "private", 0, None, 0, 1) in found
    (tmp_path / "no.zip").write_bytes(b"PK?")
    said = run("simulate", "--from", str(tmp_path / "no.zip"))
    assert (said.code, "is not a bundle" in said.err) == (2, True)


@settings(max_examples=60)
@given(st.lists(st.text(max_size=30), max_size=12), st.lists(st.integers(0, 10**19), max_size=6))
def test_texts_keep_length_script_and_equality_numbers_their_order(
    texts: list[str], numbers: list[int]
) -> None:
    document = [
        {"handle": one, "bio": one, "platformUserId": str(n)} for one in texts for n in numbers
    ]
    people = Anonymiser()
    people.learn(document)
    made = people.page(document)
    assert made == people.page(document)
    for new, old in zip(made, document, strict=True):
        assert [unicodedata.category(c) for c in new["bio"]] == [
            unicodedata.category(c) for c in old["bio"]
        ]
        assert new["bio"] == new["handle"]
    pairs = {
        (int(old["platformUserId"]), int(new["platformUserId"]))
        for old, new in zip(document, made, strict=True)
    }
    for length in range(4, 21):
        own = sorted(pair for pair in pairs if len(str(pair[0])) == length)
        assert [b for _, b in own] == sorted(b for _, b in own)


def test_what_would_leave_a_name_is_found() -> None:
    people = Anonymiser()
    people.learn([{"handle": "zoe.faraday", "bio": "I repair pianos in Lund"}])
    for left in (
        "ask zoe.faraday", '{"x": "I REPAIR PIANOS"}', "zoe.faraday", "day/zoe.faraday.jsonl",
        "zoe.faraday_followers", "x_zoe.faraday", "zoe.faraday.", "Zoe.Faraday..Next",
        json.dumps("one\nzoe.faraday: two"), json.dumps("\x1bzoe.faraday"),
        json.dumps("\tzoe.faraday"),
    ):  # fmt: skip
        assert people.left_in(left) is not None
    for fine in ("ask somebody", json.dumps(people.page([{"bio": "I repair pianos in Lund"}]))):
        assert people.left_in(fine) is None


def test_names_are_replaced_wherever_they_stand_in_our_words() -> None:
    people = Anonymiser()
    people.learn_handle("zoe.faraday")
    people.learn([{"handle": "_ann_"}, {"handle": "kind"}])
    people.keep(["kind", "page_size"])
    zoe, ann = people.name("zoe.faraday"), people.name("_ann_")
    said = "one\nzoe.faraday: day/zoe.faraday.jsonl, zoe.faraday_x.zoe.faraday, _ann_. A kind page"
    made = people.text(said)
    assert made == f"one\n{zoe}: day/{zoe}.jsonl, {zoe}_x.{zoe}, {ann}. A kind page"
    assert people.left_in(json.dumps({"kind": made})) is None
    assert people.text("a." * 200_000) == "a." * 200_000


def test_handles_are_replaced_wherever_words_name_them(packed: zipfile.ZipFile) -> None:
    everything = "".join(packed.read(name).decode() for name in packed.namelist())
    assert not [one for one in ("probed.once", "mailbox_of_ada", "quiet.one") if one in everything]


@pytest.mark.parametrize("before", [" ", "\\n", "\\t", "\\u001b", "@", '"', "\n"])
def test_an_escape_of_json_does_not_hide_a_name(before: str) -> None:
    people = Anonymiser()
    people.learn_handle("nova")
    assert people.left_in(f"x{before}nova followers") == "nova"
    made = people.text(f"x{before}nova followers")
    assert made.startswith(f"x{before}")
    assert people.left_in(made) is None


def test_a_date_of_which_only_the_year_is_said_stops_no_bundle() -> None:
    people, page = Anonymiser(), {"accountCreatedAt": "2020-01-01T00:00:00Z", "handle": "ada.l"}
    people.learn(page)
    assert people.left_in(json.dumps(people.page(page))) is None
