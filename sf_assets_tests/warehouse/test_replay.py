"""What is derived depends on what is loaded, not on when: late days, days again, an empty start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sf_assets.warehouse.archive import read_archive
from sf_assets.warehouse.derive import ArchiveIncomplete

from ..lists import Lists, Told, who

BASE = list(range(60, 0, -1))


def without(*gone: int) -> tuple[int, ...]:
    return tuple(n for n in BASE if n not in gone)


MONTH = [
    Told(1, "nova", tuple(BASE)),
    Told(2, "nova", (61, *without(30))),
    Told(3, "nova", (62, 61, *without(20))),
    Told(4, "nova", (20, 62, 61, *without(20, 10))),
]


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Lists]:
    made = Lists(tmp_path / "other")
    yield made
    made.close()


def test_nothing_new_derives_nothing(lists: Lists) -> None:
    lists.tell(*MONTH)
    before = lists.tables()
    assert lists.derive().snapshots == 0
    assert lists.tables() == before


def test_a_day_that_comes_late_makes_the_same_tables(lists: Lists, other: Lists) -> None:
    lists.tell(*MONTH)
    for told in (MONTH[0], MONTH[2], MONTH[3]):
        other.tell(told)
    assert other.churn("nova") != lists.churn("nova")
    assert other.tell(MONTH[1]).replayed == 1
    assert other.tables() == lists.tables()


def test_a_day_loaded_again_makes_the_same_tables(lists: Lists) -> None:
    lists.tell(*MONTH)
    before = lists.tables()
    landed = lists.landing.read(MONTH[1].key)
    assert landed is not None
    lists.load_again(landed)
    lists.derive()
    assert lists.tables() == before


def test_a_day_read_again_takes_the_place_of_the_first_reading(lists: Lists, other: Lists) -> None:
    """A refresh in the middle: day 2 was cut short at first."""
    lists.tell(MONTH[0], Told(2, "nova", without(30)[:9], end="page_limit", total=60), *MONTH[2:])
    lists.tell(MONTH[1])
    other.tell(*MONTH)
    assert lists.churn("nova") == other.churn("nova")
    assert lists.rows("FROM memberships ORDER BY ALL") == other.rows(
        "FROM memberships ORDER BY ALL"
    )


def test_an_archive_alone_makes_the_same_tables(lists: Lists, other: Lists) -> None:
    for told in MONTH:
        lists.tell(told)
    other.home = lists.home
    other.record(read_archive(lists.home.archive))
    other.derive()
    assert other.tables() == lists.tables()


def test_handles_may_finish_in_any_order(lists: Lists, other: Lists) -> None:
    """Both lists show account 1 on one day, each in its own words."""
    ours = Told(1, "nova", (who(1, displayName="By nova", bio="n"), 2))
    theirs = Told(1, "atlas", (who(1, displayName="By atlas", bio="a"), 3))
    followed = Told(1, "zenith", (who(1, region="AT"),), relation="following")
    for told in (ours, theirs, followed):
        lists.tell(told)
    for told in (followed, theirs, ours):
        other.tell(told)
    assert lists.tables() == other.tables()


def test_a_file_of_the_archive_that_is_gone_changes_nothing_and_is_named(lists: Lists) -> None:
    lists.tell(*MONTH[:2])
    before = lists.tables()
    lists.load([MONTH[3]])
    (file,) = lists.home.archive.glob("day=2026-11-04/*.parquet")
    file.unlink()
    with pytest.raises(ArchiveIncomplete, match=file.name):
        lists.derive()
    after = lists.tables()
    assert {**after, "internal.snapshots": []} == {**before, "internal.snapshots": []}


def test_no_temp_table_holds_a_list(lists: Lists) -> None:
    """DuckDB keeps dropped tables until the transaction ends, and a replay is one transaction."""
    lists.tell(*MONTH)
    lists.tell(Told(5, "nova", MONTH[3].accounts))
    held = lists.rows("SELECT table_name, estimated_size FROM duckdb_tables() WHERE temporary")
    assert held
    assert [name for name, rows in held if rows > 10] == []
