"""`sf-assets probe` where the API answers the open questions of the contract otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from sf_assets.settings import load_settings
from sf_assets.simulator import (
    ANSWERS,
    ListSpec,
    Options,
    ProfileSpec,
    Status,
    World,
    answered,
    in_thread,
)
from sf_assets.storage.home import Home
from sf_assets.storage.landing import spent_on
from sf_assets.storage.landing_disk import DiskLanding

from .shell import run

DAY = date(2026, 11, 22)
LIST = ListSpec(size=150, gain=0.01, loss=0.005)


def world() -> World:
    profiles = [ProfileSpec("sim.probed", LIST, replace(LIST, size=70))]
    return World(profiles, epoch=date(2026, 10, 1), seed=3)


@pytest.fixture
def probed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    def probe(made: World, options: Options) -> dict[str, Any]:
        with in_thread(made, replace(options, day=DAY)) as server:
            monkeypatch.setenv("SF_ASSETS_HOME", str(tmp_path / "home"))
            monkeypatch.setenv("SOCIALFETCH_BASE_URL", server.base_url)
            monkeypatch.setenv("SF_ASSETS_TODAY", str(DAY))
            # A cursor that expires lives longer than a page takes, and shorter than the pause.
            hurry = 600 if options.cursor_seconds is None else 30
            monkeypatch.setenv("SF_ASSETS_HURRY", str(hurry))
            said = run("probe", "@sim.probed", "--yes", "--json")
            assert said.code == 0, said.err
            charged = server.ledger()["charged"]
        told: dict[str, Any] = json.loads(said.out)
        home = Home.of(load_settings())
        spent = spent_on(DiskLanding(home.landing), DAY)
        assert spent <= 8
        assert spent == told["credits"]
        assert (charged == spent) is not options.bill_failed_lookups
        assert json.loads(run("probe", "--last", "--json").out) == told
        return told

    return probe


# What is found otherwise than it is assumed, by answer.
OTHERWISE: dict[str, set[str]] = {
    "pages-of-30": {"accounts on a page"},
    "overlap": {"pages overlap"},
    "few-ids": {"accounts with user id", "accounts with secUid"},
    "cached": {"from the API's cache"},
    "stale": set(),
    "cursors-expire": {"saved cursor"},
    "billed-failures": {"credits"},
    "end-error": set(),
    "end-minus-one": set(),
    "favoured": set(),
    "no-order": set(),
    "retry-date": set(),
    "at-resolves": set(),
}


def test_each_open_question_has_an_answer_here() -> None:
    assert OTHERWISE.keys() == ANSWERS.keys()


@pytest.mark.parametrize("answer", ["", *OTHERWISE])
def test_it_finds_what_is_not_as_assumed(
    answer: str, probed: Callable[..., dict[str, Any]]
) -> None:
    options, made = Options(), world()
    if answer:
        options, made = replace(options, **ANSWERS[answer][2]), answered(made, answer)
    if answer == "cursors-expire":
        options = replace(options, cursor_seconds=1.0)
    told = probed(made, options)
    other = {fact["fact"] for fact in told["facts"] if not fact["as_assumed"]}
    assert other == OTHERWISE.get(answer, set())
    assert told["page_size"] == options.page_size
    lines = run("probe", "--last").out.splitlines()
    table, (*consequences, _) = lines[: len(told["facts"]) + 1], lines[len(told["facts"]) + 1 :]
    assert [line for line in table if len(line) > 80] == []
    assert consequences == [
        f"! {fact['fact']}: {fact['follows']}" for fact in told["facts"] if not fact["as_assumed"]
    ]
    assert "vendor" in run("doctor").out


def test_a_day_that_is_stored_is_probed_too_even_after_a_refresh_that_got_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("HOME", tmp_path / "home"), ("TODAY", DAY), ("HURRY", 600)):
        monkeypatch.setenv(f"SF_ASSETS_{name}", str(value))
    with in_thread(world(), Options(day=DAY)) as server:
        monkeypatch.setenv("SOCIALFETCH_BASE_URL", server.base_url)
        run("track", "sim.probed")
        assert run("snapshot").code == 0
        monkeypatch.setenv("SOCIALFETCH_API_KEY", "wrong")
        assert run("snapshot", "--refresh").code == 3
        monkeypatch.setenv("SOCIALFETCH_API_KEY", server.api_key)
        said = run("probe", "sim.probed", "--yes", "--json")
        assert said.code == 0, said.err
        nobody = run("probe", "sim.nobody", "--yes", "--json")
    found = json.loads(said.out)
    assert (found["page_size"], found["credits"]) == (20, 2)
    # A profile that shows no page leaves the page size as it was measured.
    assert json.loads(nobody.out)["page_size"] == 20


def test_the_days_snapshot_goes_on_from_its_pages_and_the_ledger_has_all(
    probed: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = probed(world(), Options())
    with in_thread(world(), Options(day=DAY)) as server:
        monkeypatch.setenv("SOCIALFETCH_BASE_URL", server.base_url)
        run("track", "sim.probed")
        said = run("snapshot", "--json")
        assert said.code == 0, said.err
        paid = "SELECT sum(pages) AS pages, sum(credits) AS credits FROM credit_ledger"
        (found,) = json.loads(run("query", paid, "--json").out)
        pages, credits = found["pages"], found["credits"]
        # Five pages were landed; two of them were asked for twice.
        assert server.ledger()["charged"] == pages - 5
        assert credits == pages + 2
    assert told["credits"] == 7


def test_a_home_that_keeps_no_names_lands_none_of_what_is_asked_for_twice_either(
    probed: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "handles.yaml").write_text("privacy: pseudonyms\nhandles: {}\n")
    told = probed(world(), Options())
    landed = b"".join(path.read_bytes() for path in home.rglob("*.jsonl"))
    assert landed.count(b'"doubted_at"') + landed.count(b'"body"') >= 7
    made = world()
    for number in made.page("sim.probed", "followers", DAY).numbers:
        assert made.handle_of(number, DAY).encode() not in landed
        assert made.sec_uid(number).encode() not in landed
    assert told["credits"] == 7


def test_nothing_is_bought_without_a_yes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SF_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SOCIALFETCH_BASE_URL", "http://127.0.0.1:9")
    said = run("probe", "@sim.probed")
    assert (said.code, "at most 8 credits" in said.err) == (2, True)
    assert run("probe", "--last").code == 2
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("probed_one", "cap", "otherwise"),
    [
        ("sim.private", 100, {"profile"}),
        ("sim.nobody", 100, {"profile"}),
        ("sim.one.page", 100, set()),
        ("sim.one.page", 1, {"errors"}),
    ],
)
def test_what_little_there_is_to_see_is_no_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, probed_one: str, cap: int, otherwise: set[str]
) -> None:
    small = replace(LIST, size=8, gain=0.0, loss=0.0)
    private = ProfileSpec("sim.private", small, small, (Status("private", DAY),))
    made = World([ProfileSpec("sim.one.page", small, small), private], epoch=DAY)
    monkeypatch.setenv("SF_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SF_ASSETS_TODAY", str(DAY))
    monkeypatch.setenv("SF_ASSETS_HURRY", "600")
    monkeypatch.setenv("SF_ASSETS_DAILY_CREDITS", str(cap))
    with in_thread(made, Options(day=DAY)) as server:
        monkeypatch.setenv("SOCIALFETCH_BASE_URL", server.base_url)
        said = run("probe", "--yes")
        assert (said.code, said.err) == (
            2,
            "sf-assets: no handle is tracked yet; give one: sf-assets probe HANDLE\n",
        )
        said = run("probe", probed_one, "--yes", "--json")
    found = {one["fact"] for one in json.loads(said.out)["facts"] if not one["as_assumed"]}
    assert found == otherwise
