"""follower_growth after a day: what the whole computation says, and only changed rows written."""

from __future__ import annotations

import random
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from sf_assets.warehouse.statements import put_table, run_sql
from sf_assets_tests import lists as told

ROWS = "SELECT * FROM main.follower_growth ORDER BY handle, snapshot_date"
NUMBERED = "SELECT rowid, * FROM main.follower_growth"


def whole(con: duckdb.DuckDBPyConnection, handles: list[str]) -> list[Any]:
    """The table as it is when all of it is computed from nothing."""
    con.execute("BEGIN")
    con.execute("DELETE FROM main.follower_growth")
    put_table(con, "touched", pa.table({"handle": handles}))
    run_sql(con, "growth")
    rows = con.execute(ROWS).fetchall()
    con.execute("ROLLBACK")
    return rows


@pytest.mark.parametrize("seed", range(2))
def test_after_each_day_it_is_the_whole_computation_and_what_stayed_is_not_written(
    lists: told.Lists, seed: int
) -> None:
    chance = random.Random(seed)
    handles = ["a", "b"]
    shown = {handle: list(range(12, 0, -1)) for handle in handles}
    newest = 12
    kept = written = 0
    con = lists.con
    for day in range(1, 9):
        today = []
        for handle in handles:
            if chance.random() < 0.15:
                continue  # a gap
            for _ in range(chance.randrange(2)):
                newest += 1
                shown[handle].insert(0, newest)
            shown[handle] = [n for n in shown[handle] if chance.random() > 0.06]
            # Who is missing for a day comes back to the old place.
            listed = tuple(n for n in shown[handle] if chance.random() > 0.04)
            today.append(told.Told(day, handle, listed))
        before = {row[1:3]: row for row in con.execute(NUMBERED).fetchall()}
        lists.tell(*today)
        after = con.execute(NUMBERED).fetchall()
        everything = whole(con, handles)
        assert sorted((row[1:] for row in after), key=repr) == sorted(everything, key=repr), day
        for row in after:
            if row[1:] == before.get(row[1:3], (0,))[1:]:
                assert row[0] == before[row[1:3]][0], "a row that stays as it was is not written"
                kept += 1
            else:
                written += 1
    assert kept > written
