"""doctor: one line a check, and the exit code of the worst."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from sf_assets.cli import doctor
from sf_assets.storage.home import Home
from sf_assets.storage.sizes import Sizes, sizes
from sf_assets_tests.cli.shell import Said, contents, run, use
from sf_assets_tests.loopback import Reply
from sf_assets_tests.served_lists import KEY, ListServer, account


@pytest.fixture
def server() -> Iterator[ListServer]:
    with ListServer() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, server: ListServer) -> Path:
    return use(tmp_path / "home", url=server.url, key=KEY)


def bad(said: Said) -> dict[str, str]:
    """Name of a check that is not fine -> what is said of it."""
    assert all(line.startswith(("ok   ", "BAD  ")) for line in said.out.splitlines())
    return {
        line.split()[1]: line.split(maxsplit=2)[2]
        for line in said.out.splitlines()
        if line.startswith("BAD")
    }


def test_when_all_is_well_every_check_says_ok(home: Path) -> None:
    run("track", "nasa")
    said = run("doctor")
    assert (said.code, bad(said), said.err) == (0, {}, "")
    checks = [line.split()[1] for line in said.out.splitlines()]
    wanted = "settings key balance clock home disk handles duckdb days grid alerts vendor"
    assert checks == wanted.split()
    assert "1 tracked" in said.out
    assert "1 partition (1 day x 1 handle)" in said.out


def test_the_size_of_the_home_and_when_the_disk_is_full(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("track", "nasa")
    (home / "archive").mkdir()
    (home / "archive" / "one").write_bytes(os.urandom(12_000_000))
    os.link(home / "archive" / "one", home / "archive" / "two")
    said = run("doctor").out
    assert re.search(
        r"free; the home uses 12 MB \(archive 12 MB, other 0\.0 MB\); its growth is", said
    )
    noted: dict[str, object] = {
        "day": "2026-11-12",
        "parts": {"archive": 2_000_000, "other": 20_000},
        "bytes": 0,
    }
    today = date.fromisoformat("2026-11-22")
    monkeypatch.setenv("SF_ASSETS_TODAY", str(today))
    lines = [
        {**noted, "pages": 0},
        {"day": "a torn line"},
        {**noted, "day": str(today), "pages": 0},
    ]
    (home / "sizes.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    said = run("doctor").out
    assert re.search(
        r"grows by 1\.0 MB per day \(over the last 10 days\); the disk is full in [\d,]+ ", said
    )
    monkeypatch.setattr(doctor, "MIN_DAYS_LEFT", 10**9)
    assert "Free some space, or set `retention:` in handles.yaml" in bad(run("doctor"))["disk"]
    found = sizes(Home(home), today)
    assert (found.days, found.total > 12_000_000) == (10, True)
    assert Sizes({"archive": 9}, 99, 10.0, 4).days_left == 9
    assert Sizes({}, 99, 0.0, 4).pace == Sizes({}, 99, -1.0, 4).pace
    assert sizes(Home(home), today + timedelta(days=30)).growth is None


def test_what_the_vendor_says_reaches_the_terminal_as_text(home: Path, server: ListServer) -> None:
    run("track", "nasa")
    evil = "\x1b]0;owned\x07\x1b[2J\u202eevil\u2066\x9b\nBAD  key " + "x" * 10_000
    user = {"id": evil, "name": evil, "email": evil}
    meta = {"requestId": evil, "creditsCharged": 0, "version": "v1"}
    answers = {
        "/v1/whoami": Reply(json={"data": {"user": user}, "meta": meta}),
        "/v1/balance": Reply(
            500, json={"error": {"code": evil, "message": evil, "requestId": evil}}
        ),
    }
    server.fault = lambda request: answers.get(request.path)
    said = run("doctor")
    assert "evil" in said.out
    assert all(line.isprintable() for line in said.out.splitlines())
    assert max(map(len, said.out.splitlines())) < 1_000
    assert set(bad(said)) == {"balance"}


@pytest.mark.parametrize(
    ("variable", "value", "url"),
    [
        ("SSL_CERT_FILE", "/nowhere/ca.pem", None),
        ("HTTPS_PROXY", "socks5://127.0.0.1:9", "https://api.example.test"),
    ],
)
def test_a_variable_that_leads_nowhere_is_named_by_every_check_that_asks(
    home: Path, variable: str, value: str, url: str | None
) -> None:
    run("track", "nasa")
    os.environ[variable] = value
    if url is not None:
        del os.environ["SF_ASSETS_TODAY"]
        os.environ["SOCIALFETCH_BASE_URL"] = url
    said = run("doctor")
    assert said.code == 2
    found = bad(said)
    assert set(found) == {"key", "balance", "clock"}
    assert all(text.startswith(f"{variable}: ") for text in found.values())
    asked = run("snapshot")
    assert asked.code != 0
    assert f"{variable}: " in asked.err
    assert "Traceback" not in asked.out + asked.err


@pytest.mark.parametrize("entries", ["[::1]", "fe80::/10", "[::1],fe80::/10,127.0.0.1"])
def test_no_proxy_may_name_addresses_of_any_form(home: Path, entries: str) -> None:
    run("track", "nasa")
    os.environ.update(NO_PROXY=entries, HTTPS_PROXY="127.0.0.1:9")
    assert (run("doctor").code, run("doctor").err) == (0, "")


def test_a_wrong_key_is_exit_3_and_never_shown(home: Path) -> None:
    run("track", "nasa")
    os.environ["SOCIALFETCH_API_KEY"] = "sfk_wrong_key"
    said = run("doctor")
    assert said.code == 3
    assert set(bad(said)) == {"key", "balance"}
    assert "sfk_wrong_key" not in said.out + said.err


def test_no_credits_is_exit_3(home: Path, server: ListServer) -> None:
    run("track", "nasa")
    server.credits_left = 0
    said = run("doctor")
    assert said.code == 3
    assert "top up" in bad(said)["balance"]


def test_what_the_last_run_paid_and_what_nothing_explains(home: Path, server: ListServer) -> None:
    server.set("nasa", "followers", [account(n) for n in range(45)])
    run("track", "nasa", "--relation", "followers")
    run("snapshot")
    server.credits_left -= 5
    (line,) = (line for line in run("doctor").out.splitlines() if " balance " in line)
    assert line.endswith(
        "the last run (2026-11-01) cost 3, 0 unexplained; 5 spent elsewhere since then"
    )


def test_the_real_api_without_a_key_is_exit_2(tmp_path: Path) -> None:
    use(tmp_path / "home")
    # A name that exists nowhere: no test talks to the real one.
    os.environ["SOCIALFETCH_BASE_URL"] = "https://api.invalid"
    said = run("doctor")
    assert said.code == 2
    assert "SOCIALFETCH_API_KEY is not set" in bad(said)["key"]
    assert bad(said)["balance"] == "not checked: no key is set"
    assert not (tmp_path / "home").exists()


def test_a_broken_registry_is_exit_2_with_file_and_line(home: Path) -> None:
    run("track", "nasa")
    (home / "handles.yaml").write_text("handles:\n  - nasa\n  - a/b\n")
    said = run("doctor")
    assert said.code == 2
    assert bad(said)["handles"].startswith("handles.yaml:3: ")


def test_nothing_tracked_is_told_with_the_next_step(home: Path) -> None:
    said = run("doctor")
    assert (said.code, bad(said)) == (
        1,
        {"handles": "no handle is tracked yet; run: sf-assets track HANDLE"},
    )
    assert not home.exists()


def test_without_an_answer_the_clock_is_not_compared(home: Path) -> None:
    os.environ["SOCIALFETCH_BASE_URL"] = "http://127.0.0.1:9"
    assert "not compared: the API did not answer" in run("doctor").out


def test_a_clock_that_is_wrong_is_told(home: Path, server: ListServer) -> None:
    run("track", "nasa")
    server.fault = lambda request: (
        Reply(json={}, headers={"date": "Sun, 01 Nov 2020 00:00:00 GMT"})
        if request.path == "/health"
        else None
    )
    said = run("doctor")
    assert said.code == 1
    assert "set up NTP" in bad(said)["clock"]


def test_a_published_file_that_is_damaged_is_told(home: Path) -> None:
    run("track", "nasa")
    (home / "sf_assets.duckdb").write_bytes(b"not a database" * 1000)
    said = run("doctor")
    assert said.code == 1
    assert "run sf-assets rebuild" in bad(said)["duckdb"]


def test_looking_changes_nothing(home: Path) -> None:
    home.mkdir()
    (home / "handles.yaml").write_text("handles: [nasa]\n")
    before = contents(home)
    assert run("doctor").code == 0
    assert contents(home) == before


def test_a_misspelt_cap_is_told_and_what_is_no_setting_of_ours_is_not(home: Path) -> None:
    run("track", "nasa")
    os.environ.update(SF_ASSETS_DAILY_CREDIT="10", SF_ASSETS_DAILY_CREDITS="9", SF_ASSETS_TEAM="x")
    said = run("doctor")
    assert said.code == 2
    assert bad(said) == {
        "settings": "unknown variable SF_ASSETS_DAILY_CREDIT (SF_ASSETS_DAILY_CREDITS?): correct "
        "the name"
    }


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SF_ASSETS_DAILY_CREDIT", "SF_ASSETS_DAILY_CREDITS"),
        ("SF_ASSETS_API_KEY", "SOCIALFETCH_API_KEY"),
        ("SOCIALFETCH_HOME", "SF_ASSETS_HOME"),
        ("SF_ASSETS_TODY", "SF_ASSETS_TODAY"),
    ],
)
def test_every_other_command_warns_once_of_a_misspelt_variable(
    home: Path, name: str, meant: str
) -> None:
    run("track", "nasa")
    os.environ.update({name: "10", "SF_ASSETS_TESTS_HOME": "x", "SF_ASSETS_HURRY": "9"})
    warning = f"sf-assets: unknown variable {name} ({meant}?) is ignored: correct the name\n"
    assert run("handles").err == warning
    assert run("alerts", "test").err.startswith(warning)
    assert run("alerts", "test").err.count("unknown variable") == 1
    said = run("handles", "--json")
    assert (said.err, json.loads(said.out)[0]["handle"]) == (warning, "nasa")
    assert name not in run("doctor").err
    assert name not in run("track", "--help").err


def test_bad_settings_are_all_it_says(home: Path) -> None:
    os.environ["SF_ASSETS_CONCURRENCY"] = "0"
    said = run("doctor")
    assert said.code == 2
    assert list(bad(said)) == ["settings"]
    assert len(said.out.splitlines()) == 1


def test_what_is_no_address_for_alerts_is_told_without_showing_it(home: Path) -> None:
    run("track", "nasa")
    os.environ["SF_ASSETS_ALERT_URLS"] = "json://127.0.0.1:9/hush"
    said = run("doctor")
    assert said.code == 0
    assert "sent to JSON" in said.out
    os.environ["SF_ASSETS_ALERT_URLS"] += ",nothing://hush"
    wrong = run("doctor")
    assert wrong.code == 2
    assert bad(wrong)["alerts"].startswith(
        "address 2 of SF_ASSETS_ALERT_URLS is not an Apprise URL"
    )
    assert "hush" not in said.out + said.err + wrong.out + wrong.err
