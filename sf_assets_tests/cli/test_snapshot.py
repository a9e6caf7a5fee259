"""snapshot: what it buys, prints and answers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sf_assets.warehouse.connection import reading
from sf_assets_tests.cli.shell import DAY, child, run, use
from sf_assets_tests.loopback import Reply
from sf_assets_tests.served_lists import KEY, ListServer, account, followed


@pytest.fixture
def server() -> Iterator[ListServer]:
    with ListServer() as server:
        server.set("nasa", "followers", [account(n) for n in range(45, 0, -1)])
        server.set("nasa", "following", [followed(n) for n in range(3, 0, -1)])
        server.set("esa", "followers", [account(n) for n in range(5, 0, -1)])
        server.set("esa", "following", status="hidden")
        yield server


@pytest.fixture
def home(tmp_path: Path, server: ListServer) -> Path:
    return use(tmp_path / "home", url=server.url, key=KEY)


def stored(home: Path) -> list[tuple[object, ...]]:
    with reading(home / "sf_assets.duckdb") as con:
        return con.execute(
            "SELECT handle, relation, lookup_status, listed FROM snapshots ORDER BY ALL"
        ).fetchall()


def pages_asked(server: ListServer) -> list[str]:
    return [request.path for request in server.requests if "/profiles/" in request.path]


def test_all_tracked_handles_are_snapshotted_and_not_bought_twice(
    tmp_path: Path, home: Path, server: ListServer
) -> None:
    run("track", "nasa", "esa")
    said = child("snapshot", cwd=tmp_path)
    assert said.code == 0
    assert stored(home) == [
        ("esa", "followers", "found", 5),
        ("esa", "following", "hidden", 0),
        ("nasa", "followers", "found", 45),
        ("nasa", "following", "found", 3),
    ]
    *table, closing = said.out.splitlines()
    assert closing.startswith(f"{DAY}: 4 of 4 lists stored; 6 pages bought, 6 credits, ")
    assert max(map(len, table)) <= 100
    assert said.out.isascii()
    # Progress is plain lines on standard error: standard output may be piped.
    assert f"nasa followers {DAY}: 45 of 45 accounts, 3 pages, 3 credits" in said.err.splitlines()
    assert "dagster" not in said.err.lower()

    again = run("snapshot")
    assert again.code == 0
    assert len(pages_asked(server)) == 6
    assert "; 0 pages bought, 0 credits, " in again.out
    assert again.out.splitlines()[:-1] == table


def test_one_handle_and_one_relation_can_be_named(home: Path, server: ListServer) -> None:
    run("track", "nasa", "esa")
    assert run("snapshot", "@ESA").code == 0
    assert {row[0] for row in stored(home)} == {"esa"}
    assert run("snapshot", "nasa", "nasa", "--relation", "following").code == 0
    assert stored(home)[2:] == [("nasa", "following", "found", 3)]
    assert run("handles").out.splitlines()[-1].split()[:3] == ["esa", "following", "full"]


def test_a_refresh_buys_the_pages_again_and_replaces_the_day(
    home: Path, server: ListServer
) -> None:
    run("track", "esa", "--relation", "followers")
    run("snapshot")
    server.set("esa", "followers", [account(n) for n in range(6, 0, -1)])
    said = run("snapshot", "--refresh")
    assert said.code == 0
    assert "1 of 1 list stored; 1 page bought, 1 credit, " in said.out
    assert stored(home) == [("esa", "followers", "found", 6)]


def test_numbers_stand_to_the_right(home: Path, server: ListServer) -> None:
    run("track", "nasa", "esa")
    lines = run("snapshot").out.splitlines()
    listed = lines[0].index("listed") + len("listed")
    assert [line[listed - 3 : listed].strip() for line in lines[1:5]] == ["5", "0", "45", "3"]


def test_a_broken_page_fails_one_handle_and_keeps_the_rest(home: Path, server: ListServer) -> None:
    for handle in ("bad", "worse"):
        server.set(handle, "followers", status="unheard_of")
    run("track", "nasa", "bad", "worse", "--relation", "followers")
    said = run("snapshot")
    assert said.code == 1
    assert stored(home) == [("nasa", "followers", "found", 45)]
    complaints = [line for line in said.err.splitlines() if line.startswith("sf-assets: ")]
    assert len(complaints) == 2
    assert "@bad" in complaints[0]
    assert "@worse" in complaints[1]
    assert "1 of 3 lists stored; " in said.out
    assert "Traceback" not in said.err


def test_a_refused_key_is_exit_3_and_told_once(home: Path, server: ListServer) -> None:
    os.environ["SOCIALFETCH_API_KEY"] = "sfk_wrong_key"
    run("track", "nasa", "esa", "--relation", "followers")
    said = run("snapshot")
    assert said.code == 3
    assert "rejected the API key" in said.err
    assert "sfk_wrong_key" not in said.err + said.out
    assert len([line for line in said.err.splitlines() if "rejected the API key" in line]) == 1
    assert "0 of 2 lists stored; 0 pages bought, 0 credits" in said.out


def test_no_credits_is_exit_3_and_what_was_read_is_stored(home: Path, server: ListServer) -> None:
    server.credits_left = 2
    run("track", "nasa", "--relation", "followers")
    said = run("snapshot")
    assert said.code == 3
    assert "Credits ran out" in said.complaint
    assert stored(home) == [("nasa", "followers", "found", 40)]
    server.credits_left = 10
    assert run("snapshot").code == 0
    assert server.credits == 3
    assert stored(home) == [("nasa", "followers", "found", 45)]


def test_a_wrong_address_is_exit_1(home: Path, server: ListServer) -> None:
    run("track", "nasa", "--relation", "followers")
    server.fault = lambda request: Reply(404, json={})
    said = run("snapshot")
    assert said.code == 1
    assert "check the base URL" in said.complaint
    assert said.out.splitlines()[-1].startswith(f"{DAY}: 0 of 1 list stored; 0 pages bought")


def test_a_handle_that_is_not_tracked_is_not_asked_for(home: Path, server: ListServer) -> None:
    run("track", "nasa")
    said = run("snapshot", "nasaa")
    assert (said.code, said.complaint) == (
        2,
        "sf-assets: nasaa is not tracked; did you mean nasa?",
    )
    assert server.requests == []


def test_nothing_tracked_is_wrong_usage(home: Path, server: ListServer) -> None:
    said = run("snapshot")
    assert (said.code, said.complaint) == (
        2,
        "sf-assets: no handle is tracked yet; run: sf-assets track HANDLE",
    )
    assert not home.exists()


def test_lists_that_our_own_cap_leaves_nothing_for_are_named_and_no_failure(
    home: Path, server: ListServer
) -> None:
    run("track", "nasa", "esa")
    os.environ["SF_ASSETS_DAILY_CREDITS"] = "1"
    said = run("snapshot")
    assert (said.code, len(pages_asked(server))) == (0, 1)
    assert "3 lists not read" in said.err
    assert "SF_ASSETS_DAILY_CREDITS" in said.err
    del os.environ["SF_ASSETS_DAILY_CREDITS"]
    assert "not read" not in run("snapshot").err
