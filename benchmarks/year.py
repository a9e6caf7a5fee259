"""Does a day get dearer as history grows? And does a year still answer at once?

    python benchmarks/year.py                    365 days of 50 lists of 2,000 accounts
    python benchmarks/year.py --days 60 --handles 20
    python benchmarks/year.py --days 8 --handles 100 --accounts 5000     a group of large lists

Follower lists that keep their length: 0.45 % gained and 0.45 % lost a day, a tenth of whom come
back. Days 2, 3, 4 and the last three are *real*: their pages are landed without HTTP, then loaded,
derived and published by the pipeline's own functions, which is what is timed. The days between are
written straight into the archive (`direct.py`; checked row by row against each real day) and
derived; the copy of the file into a smaller one, where it has grown by a third, is part of that.
The growth of a step is the median of the last three days over that of days 2 to 4, in processor
time of this process, which the machine's other work disturbs less than the clock.

Then questions are asked through the published file, opened read-only as a person would;
milliseconds on the clock, the best of several: for the handle with the most churn, for one account,
for a group of all handles, and for a year; and the report of that group is made, once.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
from common import LAST_DAY, best_of, days_up_to, say, scratch, table, verdict
from direct import DirectLists, check_direct, land_day

from sf_assets.handles.parse import parse_registry
from sf_assets.report import gather, render
from sf_assets.simulator import ListSpec, ProfileSpec, World
from sf_assets.storage.home import Home
from sf_assets.warehouse.compact import compact
from sf_assets.warehouse.connection import writing
from sf_assets.warehouse.derive import derive
from sf_assets.warehouse.handles import record_handles
from sf_assets.warehouse.load import load, record
from sf_assets.warehouse.publish import publish
from sf_assets.warehouse.statements import transaction

TARGET_GROWTH = 1.3
MEASURED = 3


def a_world(handles: int, accounts: int, days: int) -> World:
    return World(
        [
            ProfileSpec(
                f"bench.{number:04d}",
                ListSpec(size=accounts, gain=0.0045, loss=0.0045, refollow=0.1),
            )
            for number in range(handles)
        ],
        epoch=days_up_to(LAST_DAY, days)[0],
        seed=11,
        horizon_days=days + 40,
    )


class Year:
    """A home that is filled day by day."""

    def __init__(self, home: Home, world: World) -> None:
        self.home, self.world = home, world
        self.direct = DirectLists(world)
        home.warehouse.parent.mkdir(parents=True, exist_ok=True)

    def real_day(self, day: date) -> dict[str, tuple[float, float]]:
        """Load, derive and publish a landed day; (processor, clock) seconds a step."""
        landed = land_day(self.home, self.world, day)
        rows = []

        def load_it() -> None:
            found, failures = load(lambda: writing(self.home.warehouse), self.home.archive, landed)
            if failures:
                raise RuntimeError(f"{failures[0].key}: {failures[0].reason}")
            rows.extend(found)

        spent = {
            "load": _timed(load_it),
            "derive": _timed(self._derive),
            "publish": _timed(lambda: publish(self.home)),
        }
        shutil.rmtree(self.home.landing)
        check_direct(self.home.archive, rows, self.direct.archive(Home(self.home.root), day))
        return spent

    def direct_day(self, day: date) -> dict[str, tuple[float, float]]:
        """The same without pages and publication."""
        rows = self.direct.archive(self.home, day)
        with writing(self.home.warehouse) as con, transaction(con):
            record(con, rows)
        return {"derive": _timed(self._derive)}

    def tag(self, since: date) -> None:
        """Make a group of all handles."""
        lines = "".join(f"  {handle}: {{tags: [all]}}\n" for handle in self.world.handles)
        with writing(self.home.warehouse) as con, transaction(con):
            record_handles(con, parse_registry(f"handles:\n{lines}"), since)
        publish(self.home)

    def _derive(self) -> None:
        with writing(self.home.warehouse) as con:
            derive(con, self.home.archive)
        compact(self.home.warehouse)


def _timed(what: Callable[[], object]) -> tuple[float, float]:
    processor, clock = time.process_time(), time.perf_counter()
    what()
    return time.process_time() - processor, time.perf_counter() - clock


QUERIES: dict[str, tuple[str, float]] = {
    "daily gained and lost of a handle": (
        "SELECT snapshot_date, followers_gained, followers_lost FROM follower_growth "
        "WHERE handle = $handle ORDER BY snapshot_date",
        10,
    ),
    "list on a day": ("FROM followers_on($handle, CAST($middle AS DATE))", 200),
    "who left between two days": (
        "FROM churn_between($handle, CAST($first AS DATE), CAST($last AS DATE)) "
        "WHERE change = 'lost'",
        100,
    ),
    "who left and came back": (
        "SELECT b.account_handle, l.snapshot_date AS left_on, b.snapshot_date AS back_on "
        "FROM follower_churn AS b JOIN follower_churn AS l USING (handle, account_id) "
        "WHERE b.handle = $handle AND b.change = 'returned' AND l.change = 'lost' "
        "AND l.state <> 'retracted' AND l.snapshot_date < b.snapshot_date "
        "ORDER BY ALL",
        100,
    ),
    "all stays of an account": ("FROM account_history WHERE account_id = $account", 100),
    "list on a day, by list_days": (
        "FROM list_days WHERE handle = $handle AND relation = 'followers' "
        "AND snapshot_date = CAST($middle AS DATE)",
        200,
    ),
    "who is followed and does not follow back": (
        "FROM not_following_back WHERE handle = $handle",
        500,
    ),
    "growth of a group": ("FROM group_growth WHERE tag = 'all'", 100),
    "reach of a group": ("FROM group_reach WHERE tag = 'all'", 1000),
    "each handle beside the median": ("FROM group_comparison WHERE tag = 'all'", 500),
}
TARGET_REPORT = 20.0


def _rows(con: duckdb.DuckDBPyConnection, sql: str, values: dict[str, object]) -> list[Any]:
    return con.execute(sql, values).fetchall()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=365, help="at least 8")
    parser.add_argument("--handles", type=int, default=50)
    parser.add_argument("--accounts", type=int, default=2_000)
    parser.add_argument("--keep", type=Path, help="keep the home in this folder")
    wanted = parser.parse_args()
    if wanted.days < 8:
        parser.error("--days must be at least 8")
    days = days_up_to(LAST_DAY, wanted.days)
    measured_days = {*days[: 1 + MEASURED], *days[-MEASURED:]}
    spent: dict[date, dict[str, tuple[float, float]]] = {}
    sizes: dict[date, int] = {}
    with scratch(wanted.keep) as folder:
        year = Year(Home(folder), a_world(wanted.handles, wanted.accounts, wanted.days))
        for number, day in enumerate(days, start=1):
            real = day in measured_days
            spent[day] = year.real_day(day) if real else year.direct_day(day)
            sizes[day] = year.home.warehouse.stat().st_size
            if real or number % 30 == 0:
                steps = ", ".join(
                    f"{step} {cpu:.2f} s ({clock:.2f} s)"
                    for step, (cpu, clock) in spent[day].items()
                )
                say(f"day {number}: {steps}; {sizes[day] / 1e6:.1f} MB")
        year.tag(days[0])
        answers = ask(year.home, days)
        reported = report_seconds(year.home)
    early, late = days[1 : 1 + MEASURED], days[-MEASURED:]

    def typical(some: list[date], step: str, which: int) -> float:
        return median(spent[day][step][which] for day in some)

    print(
        f"{wanted.days} days of {wanted.handles} lists of {wanted.accounts:,}; processor seconds "
        "(and on the clock) of a day, medians of three:\n"
    )
    rows, sums = [], [[0.0, 0.0], [0.0, 0.0]]
    for step in ("load", "derive", "publish"):
        times = [[typical(some, step, which) for which in (0, 1)] for some in (early, late)]
        for at in (0, 1):
            for which in (0, 1):
                sums[at][which] += times[at][which]
        rows.append([step, *_growth(times)])
    total = sums[1][0] / sums[0][0]
    rows.append(
        ["together", *_growth(sums), f"<= {TARGET_GROWTH} x", verdict(total, TARGET_GROWTH)]
    )
    width = max(len(row) for row in rows)
    padded = [[*row, *[""] * (width - len(row))] for row in rows]
    print(table(["", "days 2 to 4", "last three days", "growth", "target", ""], padded))
    first, last = sizes[days[1]], sizes[days[-1]]
    print(f"\nwarehouse: {first / 1e6:.1f} MB on day 2, {last / 1e6:.1f} MB on day {wanted.days}\n")
    print(
        table(
            ["question on that year", "rows", "ms", "target", ""],
            [
                [name, f"{rows_found:,}", f"{ms:.1f}", f"<= {target:g}", verdict(ms, target)]
                for name, (rows_found, ms, target) in answers.items()
            ],
        )
    )
    met = verdict(reported, TARGET_REPORT)
    print(f"\nthe report of the group: {reported:.1f} s (target {TARGET_REPORT:.0f} s: {met})")
    return 0


def report_seconds(home: Home) -> float:
    """How long the report of the group takes, on the clock."""
    with duckdb.connect(str(home.published.resolve()), read_only=True) as con:
        return _timed(lambda: render(gather(con, tags=["all"])))[1]


def _growth(times: list[list[float]]) -> list[str]:
    (early, early_clock), (late, late_clock) = times
    return [
        f"{early:.2f} ({early_clock:.2f})",
        f"{late:.2f} ({late_clock:.2f})",
        f"{late / early:.2f} x ({late_clock / early_clock:.2f} x)",
    ]


def ask(home: Home, days: list[date]) -> dict[str, tuple[int, float, float]]:
    """name -> (rows, best milliseconds, target)"""
    found = {}
    with duckdb.connect(str(home.published.resolve()), read_only=True) as con:
        handle = con.execute(
            "SELECT handle FROM follower_churn GROUP BY handle ORDER BY count(*) DESC LIMIT 1"
        ).fetchall()[0][0]
        account = con.execute(
            "SELECT account_id FROM memberships GROUP BY ALL "
            "ORDER BY count(*) DESC, account_id LIMIT 1"
        ).fetchall()[0][0]
        values = {
            "handle": handle,
            "account": account,
            "first": days[0].isoformat(),
            "middle": days[len(days) // 2].isoformat(),
            "last": days[-1].isoformat(),
        }
        for name, (sql, target) in QUERIES.items():
            own = {key: value for key, value in values.items() if f"${key}" in sql}
            ask = partial(_rows, con, sql, own)
            rows = len(ask())
            took = best_of(7, ask)
            found[name] = (rows, took, target)
    return found


if __name__ == "__main__":
    sys.exit(main())
