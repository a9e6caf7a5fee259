"""`weekly_retention` is Kaplan-Meier: against tables made by hand, and against SciPy's estimator.

What the view says, by cohort (a handle's followers whose `gained` or `returned` was proved, by the
week of that gain, `first_seen`), `weeks_after` weeks after each one's own gain:

- A follower's time runs from `first_seen`. A confirmed loss is an event at `first_missed`: nobody
  is lost before a list proves it. Everything else (still there, beyond the window, provisional) is
  censored at the last list that showed it.
- `gained` is the size of the cohort, `lost` the events by then, `still_listed` those who were
  listed then or later, `unknown` all others: censored before, or missed later and not known to
  have been there then. `gained` = `still_listed` + `lost` + `unknown`.
- `at_risk` are those whose time, to the event or to being censored, is not over before then.
- `retention` is the product-limit estimate at that time. It is NULL where nobody is still listed
  and somebody is unknown: nobody can know it then.
- `retention_low`, `retention_high` are its 95 % interval by the log-log transformation. That has
  none where the estimate is 0 or 1, and they are NULL there.

A week has a row while the newest usable list is not older than the end of the cohort's week and
those weeks. A loss that is retracted never counts.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from random import Random

import numpy as np
import pytest
from scipy import stats

from .player import Row, Warehouse
from .worlds import ListDay, ListKey, account

KEY: ListKey = ("nova", "followers")
BASE = range(1, 6)


def shown(day: int, *people: int, total: int | None = None, status: str = "found") -> ListDay:
    """A list with the base below; complete unless a total is given."""
    entries = tuple(account(1, f"p{n}") for n in (*people, *reversed(BASE)))
    if status != "found":
        return ListDay(day, status=status)
    return ListDay(day, entries, len(entries) if total is None else total)


def read(root: Path, days: list[ListDay], *tables: str) -> list[list[Row]]:
    warehouse = Warehouse(root)
    try:
        # All days at once: what is asked here is the view, not how its days came.
        warehouse.lists.tell(*(warehouse.told(KEY, day) for day in days))
        told = warehouse.tables(tables)
        return [told[table] for table in tables]
    finally:
        warehouse.close()


def by_week(rows: list[Row], week: int = 0) -> dict[int, tuple[object, ...]]:
    return {
        row["weeks_after"]: (
            row["gained"], row["at_risk"], row["still_listed"], row["lost"], row["unknown"],
            None if row["retention"] is None else round(row["retention"], 4),
        )
        for row in rows
        if row["week"] == week
    }  # fmt: skip


def test_a_table_made_by_hand(tmp_path: Path) -> None:
    """Three come on day 1; one is missed on day 10, one on day 22; one stays."""
    days = [shown(0)]
    days += [shown(d, 13, 12, 11) for d in (1, 9)]
    days += [shown(d, 13, 11) for d in (10, 12, 14, 21)]
    days += [shown(d, 13) for d in (22, 25, 28, 35)]
    (rows,) = read(tmp_path, days, "weekly_retention")
    assert by_week(rows) == {
        1: (3, 3, 3, 0, 0, 1.0),
        2: (3, 2, 2, 1, 0, 0.6667),
        3: (3, 2, 1, 2, 0, 0.3333),
        4: (3, 1, 1, 2, 0, 0.3333),
    }
    # exp(-exp(log(-log S) -+ 1.96 sqrt(sum(d / n (n - d))) / log S)), worked out by hand.
    bounds = {row["weeks_after"]: (row["retention_low"], row["retention_high"]) for row in rows}
    assert bounds[1] == (None, None)
    assert bounds[2] == pytest.approx((0.054073, 0.945206), abs=1e-5)
    assert bounds[3] == pytest.approx((0.008962, 0.774149), abs=1e-5)


def test_who_fell_below_the_window_is_unknown_and_one_loss_is_not_all(tmp_path: Path) -> None:
    """Ten come, one of them leaves, and the others fall below a window of 15."""
    came = list(range(20, 10, -1))
    days = [shown(0), shown(1, *came)]
    days += [shown(d, *came[1:]) for d in (2, 3, 4, 7)]
    # From day 8 on fifteen others stand above, and soon the list shows no more than they are.
    others = tuple(account(1, f"p{n}") for n in range(50, 35, -1))
    days.append(ListDay(8, others + tuple(account(1, f"p{n}") for n in came[1:]), 29))
    days += [ListDay(d, others, 29) for d in (9, 16, 29)]
    (rows,) = read(tmp_path, days, "weekly_retention")
    told = by_week(rows)
    assert told[1] == (10, 9, 9, 1, 0, 0.9)
    assert {told[week] for week in (2, 3)} == {(10, 0, 0, 1, 9, None)}


def test_everybody_lost_is_none_left(tmp_path: Path) -> None:
    days = [shown(0), *(shown(d, 12, 11) for d in (1, 4)), *(shown(d) for d in (5, 6, 7, 8, 24))]
    (rows,) = read(tmp_path, days, "weekly_retention")
    assert by_week(rows) == {1: (2, 0, 0, 2, 0, 0.0), 2: (2, 0, 0, 2, 0, 0.0)}


def test_weeks_nobody_could_look_at_are_unknown(tmp_path: Path) -> None:
    days = [shown(0), *(shown(d, 11) for d in (1, 4))]
    days += [shown(d, status="private") for d in (5, 17, 29)]
    days += [shown(d) for d in (30, 31, 32, 33, 49)]
    (rows,) = read(tmp_path, days, "weekly_retention")
    told = by_week(rows)
    # First missed on day 30, 29 days after the gain.
    assert {told[week] for week in (1, 2, 3, 4)} == {(1, 1, 0, 0, 1, None)}
    assert {told[week] for week in (5, 6)} == {(1, 0, 0, 1, 0, 0.0)}


def test_a_provisional_loss_is_unknown_until_it_is_confirmed(tmp_path: Path) -> None:
    """The total stands, and the last list is the first that lacks one of two."""
    days = [shown(0), *(shown(d, 12, 11) for d in (1, 8, 20)), shown(21, 12, total=7)]
    rows, churn = read(tmp_path, days, "weekly_retention", "follower_churn")
    assert [row["state"] for row in churn if row["change"] == "lost"] == ["provisional"]
    assert by_week(rows) == {1: (2, 2, 2, 0, 0, 1.0), 2: (2, 2, 2, 0, 0, 1.0)}
    again = [*days, *(shown(d, 12, total=7) for d in (22, 23, 24, 27))]
    rows, churn = read(tmp_path / "later", again, "weekly_retention", "follower_churn")
    assert [row["state"] for row in churn if row["change"] == "lost"] == ["confirmed"]
    assert by_week(rows)[3] == (2, 1, 1, 1, 0, 0.5)


def test_a_random_history_against_scipy(tmp_path: Path) -> None:
    """A list in six days, for 160 days; followers come, leave, and fall below a window of 60."""
    chance = Random(3)
    order, last, days = list(reversed(BASE)), 100, []
    for day in range(160):
        order = [n for n in order if n in BASE or chance.random() > 0.02]
        for _ in range(chance.choice((0, 1, 1, 2))):
            last += 1
            order.insert(0, last)
        if day % 6 == 0:
            entries = tuple(account(1, f"p{n}") for n in order[:60])
            days.append(ListDay(day, entries, len(order)))
    rows, members, churn = read(
        tmp_path, days, "weekly_retention", "memberships", "follower_churn"
    )  # fmt: skip
    confirmed = {
        (row["account_id"], row["previous_date"])
        for row in churn
        if (row["change"], row["state"]) == ("lost", "confirmed")
    }
    # By week of the gain: days to the end, days to the last sight, whether the end is a loss.
    times: dict[int, list[tuple[int, int, bool]]] = {}
    for m in members:
        if m["start_kind"] not in ("gained", "returned"):
            continue
        first = m["first_seen"]
        seen = days[-1].day if m["last_seen"] is None else m["last_seen"]
        event = (m["account_id"], m["last_seen"]) in confirmed
        end = m["first_missed"] if event else seen
        times.setdefault(first // 7 * 7, []).append((end - first, seen - first, event))
    assert sum(len(some) for some in times.values()) > 100
    inside = 0
    for row in rows:
        at, cohort = 7 * row["weeks_after"], times[row["week"]]
        still = sum(seen >= at for _, seen, _ in cohort)
        lost = sum(event and end <= at for end, _, event in cohort)
        assert (row["gained"], row["still_listed"], row["lost"]) == (len(cohort), still, lost)
        assert row["unknown"] == len(cohort) - still - lost
        assert row["at_risk"] == sum(end >= at for end, _, _ in cohort)
        expected = kaplan_meier(cohort, at)
        if still == 0 and row["unknown"]:
            expected = (None, None, None)
        told = (row["retention"], row["retention_low"], row["retention_high"])
        assert told == pytest.approx(expected), row
        inside += expected[1] is not None
    assert inside > 50
    # Every cohort has a row for each week that has passed since, up to half a year.
    assert {(row["week"], row["weeks_after"]) for row in rows} == {
        (week, after)
        for week in times
        for after in range(1, 27)
        if week + 6 + 7 * after <= days[-1].day
    }


def kaplan_meier(
    cohort: list[tuple[int, int, bool]], at: int
) -> tuple[float | None, float | None, float | None]:
    """Estimate and bounds at a time, by SciPy."""
    ends = np.array([end for end, _, _ in cohort], dtype=float)
    events = np.array([event for *_, event in cohort])
    if not events.any():
        return 1.0, None, None
    function = stats.ecdf(stats.CensoredData(ends[events], right=ends[~events])).sf
    estimate = float(function.evaluate([at])[0])
    if estimate in (0.0, 1.0):
        return estimate, None, None
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the bounds at other times may not exist
        bounds = function.confidence_interval(method="log-log")
    low = float(bounds.low.evaluate([at])[0])
    high = float(bounds.high.evaluate([at])[0])
    assert not math.isnan(low + high)
    return estimate, low, high
