"""Profiles of accounts that left every list go, and every claim stays what it was."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sf_assets.people.expire import expire_profiles
from sf_assets.storage.tombstone import pseudonyms_of
from sf_assets.warehouse.archive_names import all_files
from sf_assets.warehouse.pack import pack
from sf_assets.warehouse.rebuild import rebuild

from ..lists import ID_BASE, Lists, Told, nameless, on, who
from .test_pack import replayed, rows_of

DAYS = 10
CLAIMS = ("comparisons", "presences", "churn", "retractions", "ids", "renames", "snapshots")


def told(day: int) -> Iterator[Told]:
    """Whoever is 1 to 9 leaves, each in a way of its own; the others stay."""
    followers: list[Any] = [*range(30, 19, -1)]
    if day < 5:
        followers += [who(1, bio="Secret 1"), who(2, "two" if day < 3 else "deux")]
        followers += [nameless(3, "secret3"), who(4, "taken"), 5, who(6, sec_uid=None)]
    if day >= 6:
        followers.insert(0, who(40, "taken"))
    if day >= 16:
        followers.insert(0, who(1, "one.again", bio="Secret again"))
    if day == 2:  # without its ids, and with another picture
        followers[-6] = nameless(1, "fan1")
    following = (*range(24, 20, -1), 5)
    yield Told(day, "nova", tuple(followers))
    yield Told(day, "nova", following, relation="following")
    if day < 4:
        yield Told(day, "vega", (50, 51, 8))  # then it is not read any more
    if day == 4:
        yield Told(day, "vega", (50, 51, 8), total=900)


def live(lists: Lists, days: range, *, packs: bool = True) -> None:
    lists.tell(*(one for day in days for one in told(day)))
    if packs:
        assert pack(lists.home.archive).left == []


def claims(lists: Lists | dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Everything that is claimed, with other handles for some."""
    tables = lists if isinstance(lists, dict) else lists.tables()
    kept = [f"internal.{name}" for name in CLAIMS] + ["main.follower_growth"]
    return {
        name: sorted((tuple(names.get(str(v), v) for v in row) for row in tables[name]), key=repr)
        for name in kept
    }


@pytest.mark.parametrize("packs", [True, False])
def test_profiles_go_when_they_are_due_and_claims_stay(
    lists: Lists, tmp_path: Path, packs: bool
) -> None:
    live(lists, range(1, 14), packs=packs)
    everything = str(rows_of(lists.home.archive)) + str(lists.tables())
    assert everything.count("Secret 1") == 4
    assert expire_profiles(lists.home, lists.con, on(3 + DAYS), DAYS) == 0
    # Last seen on day 4; 5 is followed still, the lists of vega are not read any more.
    assert expire_profiles(lists.home, lists.con, on(4 + DAYS), DAYS) == 5
    assert expire_profiles(lists.home, lists.con, on(4 + DAYS), DAYS) == 0
    live(lists, range(14, 16), packs=packs)
    pseudonym = pseudonyms_of(lists.home.root)
    names = {name: pseudonym.of("handle", name) for name in ("fan1", "two", "deux", "fan6")}
    other = Lists(tmp_path / "other")
    try:
        live(other, range(1, 16))
        assert claims(lists, {}) == claims(other, names)
        counts = lists.rows("FROM internal.profile_counts ORDER BY ALL")
        assert counts == other.rows("FROM internal.profile_counts ORDER BY ALL")
        # A rebuild claims the same.
        assert claims(replayed(lists.home.archive, tmp_path / "again"), {}) == claims(lists, {})
        # Who comes back is who left.
        live(lists, range(16, 19), packs=packs)
        live(other, range(16, 19))
        assert claims(lists, {}) == claims(other, names)
        assert lists.one("SELECT bio FROM accounts WHERE account_handle = 'one.again'")
    finally:
        other.close()
    said = str(rows_of(lists.home.archive)) + str(lists.tables())
    assert "Secret 1" not in said
    assert not {name for name in names if f"'{name}'" in said}
    # Of these the handle is all there is, or somebody else's now, too.
    assert "'secret3'" in said
    assert "'taken'" in said
    assert str(ID_BASE + 1) in said
    stays = lists.rows(
        "SELECT account_handle, display_name FROM accounts "
        "WHERE account_id IN (?, ?) ORDER BY ALL", str(ID_BASE + 5), str(ID_BASE + 8)
    )  # fmt: skip
    assert stays == [("fan5", "Fan 5"), ("fan8", "Fan 8")]


def test_nothing_is_written_where_nothing_is_due(lists: Lists) -> None:
    live(lists, range(1, 8))
    before = {path: path.stat().st_mtime_ns for path in all_files(lists.home.archive)}
    assert expire_profiles(lists.home, lists.con, on(7), DAYS) == 0
    assert {path: path.stat().st_mtime_ns for path in all_files(lists.home.archive)} == before


def test_who_fell_below_the_list_keeps_the_handle_until_that_is_settled(lists: Lists) -> None:
    """An exhaustive list later may show the account by its handle alone."""
    some = []
    for day in range(1, 15):
        accounts = [*range(60 + day, 60, -1), *range(60, 40, -1), who(9, "below")]
        shown = accounts[:22]  # the newest; 9 falls below it on day 2
        some.append(Told(day, "nova", tuple(shown), total=len(accounts)))
    lists.tell(*some)
    assert expire_profiles(lists.home, lists.con, on(14), DAYS) == 5
    (row,) = lists.rows(
        "SELECT account_handle, display_name FROM internal.profiles WHERE account_id = ?",
        str(ID_BASE + 9),
    )
    assert row == ("below", None)
    # All are shown, this one without its ids: it never left.
    accounts[-1] = nameless(9, "below")
    lists.tell(Told(15, "nova", tuple(accounts)))
    assert not {one for one in lists.churn("nova") if one[1] in (9, "@below") and one[2] == "lost"}


KILLED = """
import sys
from pathlib import Path
from sf_assets.people.expire import expire_profiles
from sf_assets.warehouse.rewrite import finish_broken_off
from sf_assets.warehouse.connection import writing
from sf_assets.storage.home import Home
from sf_assets_tests.lists import on
home = Home(Path(sys.argv[1]))
finish_broken_off(home)
with writing(home.warehouse) as con:
    print(expire_profiles(home, con, on(14), 10))
"""


@pytest.fixture(scope="module")
def due(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lists = Lists(tmp_path_factory.mktemp("due"))
    lists.load(one for day in range(1, 15) for one in told(day))
    lists.close()
    assert pack(lists.home.archive).left == []
    rebuild(lists.home)
    return lists.home.root


@pytest.mark.parametrize("step", ["staging", "staged", "rewritten"])
def test_a_kill_at_any_step_is_made_good_by_the_next_call(
    step: str, due: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(due, home, symlinks=True)
    before = rows_of(home / "archive")
    run = [sys.executable, "-c", KILLED, str(home)]
    env = {**os.environ, "SF_ASSETS_CRASH_AT": step, "SOCIALFETCH_BASE_URL": "http://127.0.0.1:9"}
    assert subprocess.run(run, env=env, check=False).returncode == -signal.SIGKILL
    if step == "staging":
        assert rows_of(home / "archive") == before
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout == "5\n"
    assert "Secret" not in str(rows_of(home / "archive"))
    assert not (home / "rewriting").exists()
