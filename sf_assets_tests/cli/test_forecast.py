"""forecast: what is tracked costs nothing to ask, a stranger exactly one page."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sf_assets_tests.cli.shell import child, run, use
from sf_assets_tests.loopback import Reply
from sf_assets_tests.served_lists import KEY, ListServer, account, error_body, followed


@pytest.fixture
def server() -> Iterator[ListServer]:
    with ListServer() as server:
        server.set("nasa", "followers", [account(n) for n in range(100)])
        server.set("nasa", "following", [followed(n) for n in range(30)])
        yield server


@pytest.fixture
def home(tmp_path: Path, server: ListServer) -> Path:
    return use(tmp_path / "home", url=server.url, key=KEY)


def test_a_tracked_handle_costs_what_it_has_cost(home: Path, server: ListServer) -> None:
    run("track", "nasa")
    run("snapshot")
    server.credits_left, asked = 50, len(server.asked)
    said = run("forecast", "--days", "10")
    assert said.code == 0
    header, followers, following, total = said.out.splitlines()
    assert header.split()[:6] == ["handle", "relation", "depth", "pages", "paid", "credits"]
    assert followers.split() == ["nasa", "followers", "full", "5", "5", "50", "50", "23", "27"]
    assert following.split()[-1] == "0"  # two pages are read either way
    assert total == (
        "70 credits in 10 days from 2026-11-02, 7 a day. Balance 50: runs out on 2026-11-09"
    )
    told = json.loads(run("forecast", "--days", "10", "--json").out)
    assert (told["credits"], told["balance"], told["runs_out_on"]) == (70, 50, "2026-11-09")
    assert [one["credits"] for one in told["lists"]] == [50, 20]
    assert len(server.asked) == asked


def test_what_was_never_read_is_not_guessed(home: Path, server: ListServer) -> None:
    run("track", "nasa", "--relation", "followers")
    said = run("forecast")
    assert said.code == 0
    assert "1 list never read" in said.out
    assert server.asked == []


def test_nothing_tracked_is_wrong_usage(home: Path) -> None:
    said = run("forecast")
    assert (said.code, said.complaint) == (
        2,
        "sf-assets: no handle is tracked yet; run: sf-assets track HANDLE",
    )


def test_a_stranger_is_never_asked_for_without_a_yes(
    home: Path, server: ListServer, tmp_path: Path
) -> None:
    said = child("forecast", "--handle", "nasa", cwd=tmp_path)
    assert said.code == 2
    assert "--yes" in said.complaint
    assert server.asked == []
    assert not home.exists()


def test_a_stranger_costs_exactly_one_page_which_a_snapshot_goes_on_from(
    home: Path, server: ListServer
) -> None:
    said = run("forecast", "--handle", "@NASA", "--yes", "--days", "7", "--json")
    assert (said.code, server.credits) == (0, 1)
    told = json.loads(said.out)
    assert (told["total"], told["pages"], told["credits"], told["if_recent"]) == (100, 5, 35, 17)
    assert "100 followers, 20 per page" in run("forecast", "--handle", "nasa", "--yes").out
    assert server.credits == 1
    run("track", "nasa", "--relation", "followers")
    assert run("snapshot").code == 0
    assert server.credits == 5
    told = json.loads(run("query", "SELECT pages, credits FROM credit_ledger", "--json").out)
    assert told == [{"pages": 5, "credits": 5}]


def test_a_closed_stranger_is_told_as_such(home: Path, server: ListServer) -> None:
    server.set("shy", "followers", status="private")
    said = run("forecast", "--handle", "shy", "--yes")
    assert said.code == 0
    assert "shy is private" in said.out
    assert server.credits == 1


@pytest.mark.parametrize(("left", "key", "code"), [(0, KEY, 3), (9, "sfk_wrong", 3)])
def test_a_vendor_that_refuses_is_exit_3(
    home: Path, server: ListServer, left: int, key: str, code: int
) -> None:
    os.environ["SOCIALFETCH_API_KEY"] = key
    server.credits_left = left
    assert run("forecast", "--handle", "nasa", "--yes").code == code


@pytest.mark.parametrize("command", [["forecast", "--handle", "nasa", "--yes"], ["doctor"]])
def test_a_403_that_is_about_payment_is_a_refusal_like_a_402(
    home: Path, server: ListServer, command: list[str]
) -> None:
    server.fault = lambda request: Reply(403, json=error_body("payment_required"))
    assert run(*command).code == 3


def test_the_day_s_cap_holds_for_a_forecast_too(home: Path, server: ListServer) -> None:
    os.environ["SF_ASSETS_DAILY_CREDITS"] = "0"
    said = run("forecast", "--handle", "nasa", "--yes")
    assert said.code == 1
    assert "credits of this day are used up" in said.complaint
    assert server.asked == []


def test_an_answer_that_breaks_the_contract_is_kept_and_counted(
    home: Path, server: ListServer
) -> None:
    server.fault = lambda request: Reply(200, json={"data": {"lookupStatus": "asleep"}})
    said = run("forecast", "--handle", "nasa", "--yes")
    assert said.code == 1
    assert "asleep" in said.complaint
    (kept,) = (home / "landing").rglob("*quarantine*")
    assert str(kept) in said.complaint
    assert "asleep" in base64.b64decode(json.loads(kept.read_text())["body_base64"]).decode()
