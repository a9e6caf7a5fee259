"""What does each depth cost, and what does it see? A month of follower lists, scored by the record.

    python benchmarks/spend.py              20 handles of 200 to 200,000 followers, 30 days
    python benchmarks/spend.py --quick      6 handles of 200 to 20,000, 15 days, in a minute or two

Run is everything but HTTP and Dagster, as in `truth.py`: the simulator's pages are validated and
followed by the page walk, which stops where the depth says, landed, archived, loaded and derived, a
day at a time. Which days are read whole, and what is known, is asked of the warehouse as a run asks
it. The lists show at most the newest 5,000 followers; a list of n grows by 0.6 % a day where n is
200, and the slower the larger it is (1.1 per mille where n is 200,000); four fifths as many leave.

- *Credits*: pages bought, a credit each.
- *Gains*: rows `gained` or `returned`. Right: by the record the account came between the reading
  before and this one. Missed: it did, and the reading shows it, and there is no such row.
- *Losses, confirmed* by the month's end. Right: by the record the account left between the row's
  two days (and may have come again since).
- *Recall*: of all accounts that left on some day and were in the list, as it could be read to its
  end, the day before: how many have a confirmed row over that day by the month's end. `older`:
  of those that left 15 days or more before the end, which every policy had the time to confirm.
- *Days until known, until confirmed*: from the first day the list lacked the account to the day a
  row said so, and to the day it was confirmed; mean, and nine in ten.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import duckdb
from walks import land

from sf_assets.credits.estimate import costs_before
from sf_assets.handles.settings import ListSettings, PageDepth
from sf_assets.ingest.overlap import KnownList, KnownRun, known_lists
from sf_assets.model import SnapshotKey
from sf_assets.simulator import ListSpec, ProfileSpec, World
from sf_assets.social_fetch import ListWalk
from sf_assets.storage.home import Home
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets.storage.records import Landed
from sf_assets.warehouse.connection import writing
from sf_assets.warehouse.derive import derive
from sf_assets.warehouse.load import load

FIRST = date(2026, 9, 21)  # a Monday
CAP = 5_000
PAGE_SIZE = 20

POLICIES: dict[str, ListSettings] = {
    "full": ListSettings(),
    "recent, full every 7": ListSettings(depth="recent"),
    "recent, full every 14": ListSettings(depth="recent", full_every=14),
    "full, mon thu": ListSettings(weekdays=("mon", "thu")),
    "10 pages": ListSettings(depth=PageDepth(pages=10)),
}

_world: World | None = None


def make_world(handles: int, largest: int, days: int, seed: int, flicker: float) -> World:
    """`handles` profiles from 200 followers to `largest`, each as much larger than the last."""
    profiles = []
    for place in range(handles):
        size = round(200 * (largest / 200) ** (place / max(1, handles - 1)))
        gain = 0.006 * (200 / size) ** 0.25
        profiles.append(
            ProfileSpec(
                f"sim.spend.{place:02d}",
                ListSpec(
                    size=size, gain=gain, loss=0.8 * gain, refollow=0.2, cap=CAP, flicker=flicker
                ),
            )
        )
    return World(profiles, epoch=FIRST - timedelta(days=20), seed=seed, horizon_days=days + 40)


# --- a month under one policy ----------------------------------------------------------------


@dataclass(frozen=True)
class ToLand:
    """A list to read, and what is known of it where it is read from the top."""

    key: SnapshotKey
    max_pages: int | None
    known: KnownList | None


@dataclass
class Month:
    """What a policy cost and claimed. Rows are (handle, account number, from day, to day)."""

    credits: int = 0
    readings: dict[str, list[date]] = field(default_factory=dict)
    gains: set[tuple[str, int, date]] = field(default_factory=set)
    claimed: dict[tuple[str, int, date, date], date] = field(default_factory=dict)
    confirmed: dict[tuple[str, int, date, date], date] = field(default_factory=dict)
    shown: dict[tuple[str, date], set[int]] = field(default_factory=dict)
    seconds: float = 0.0


def run_month(world: World, policy: ListSettings, days: list[date], home: Home) -> Month:
    """Read, load and derive day by day."""
    month = Month()
    began = time.perf_counter()
    home.warehouse.parent.mkdir(parents=True)
    with ProcessPoolExecutor(2, initializer=_keep_world, initargs=(world,)) as pool:
        for day in days:
            if not policy.due(day):
                continue
            wanted = plan(home, policy, [SnapshotKey(day, h, "followers") for h in world.handles])
            chunks = [wanted[at::8] for at in range(8)]
            landed = [
                one
                for some in pool.map(_land_in_child, [home.landing] * len(chunks), chunks)
                for one in some
            ]
            month.credits += sum(one.spent for one, _ in landed)
            for one, numbers in landed:
                month.readings.setdefault(one.key.handle, []).append(day)
                month.shown[one.key.handle, day] = numbers
            _, failures = load(
                lambda: writing(home.warehouse), home.archive, [one for one, _ in landed]
            )
            assert not failures, failures
            shutil.rmtree(home.landing)
            with writing(home.warehouse) as con:
                derive(con, home.archive)
                note_losses(world, con, month, day)
    with writing(home.warehouse) as con:
        month.gains = {
            (handle, world.number_of({"platformUserId": account}, day), day)
            for handle, account, day in con.execute(
                "SELECT handle, account_id, snapshot_date FROM follower_churn "
                "WHERE change IN ('gained', 'returned')"
            ).fetchall()
        }
    month.seconds = time.perf_counter() - began
    return month


def plan(home: Home, policy: ListSettings, keys: list[SnapshotKey]) -> list[ToLand]:
    """How each list is read that day, by what the warehouse knows of it."""
    if not home.warehouse.exists():
        return [ToLand(key, policy.max_pages, None) for key in keys]
    with writing(home.warehouse) as con:
        costs = costs_before(con, keys[0].day)
        top = []
        for key in keys:
            cost = costs.get((key.relation, key.handle))
            if cost and not cost.whole_due(policy, key.day, cost.whole_date):
                top.append(key)
        known = known_lists(con, top)
        return [
            ToLand(key, policy.max_pages, known[key]() if key in known else None) for key in keys
        ]


def note_losses(world: World, con: duckdb.DuckDBPyConnection, month: Month, day: date) -> None:
    """Remember on which day a loss was first claimed, and first confirmed."""
    for handle, account, before, found, state in con.execute(
        "SELECT handle, account_id, previous_date, snapshot_date, state FROM follower_churn "
        "WHERE change = 'lost' AND state <> 'retracted'"
    ).fetchall():
        row = (handle, world.number_of({"platformUserId": account}, before), before, found)
        month.claimed.setdefault(row, day)
        if state == "confirmed":
            month.confirmed.setdefault(row, day)


def _keep_world(world: World) -> None:
    global _world
    _world = world


def _land_in_child(root: Path, lists: list[ToLand]) -> list[tuple[Landed, set[int]]]:
    assert _world is not None
    landing = DiskLanding(root)
    return [
        land(
            landing,
            _world,
            one.key,
            ListWalk(
                one.key.relation,
                one.key.handle,
                max_pages=one.max_pages,
                known=KnownRun(one.known) if one.known else None,
            ),
            PAGE_SIZE,
        )
        for one in lists
    ]


# --- scoring ---------------------------------------------------------------------------------


@dataclass
class Score:
    """A policy's month against the record."""

    credits: int
    gains: int = 0
    wrong_gains: int = 0
    missed_gains: int = 0
    losses: int = 0
    wrong_losses: int = 0
    happened: int = 0
    found: int = 0
    happened_older: int = 0
    found_older: int = 0
    until_known: list[int] = field(default_factory=list)
    until_confirmed: list[int] = field(default_factory=list)


def score(world: World, month: Month, days: list[date]) -> Score:
    """Count what is right, wrong and missed."""
    made = Score(month.credits)
    for handle, readings in month.readings.items():
        for before, day in pairwise(readings):
            truth = world.changes(handle, "followers", before, day)
            came = truth.gained | truth.returned
            ours = {n for h, n, on in month.gains if h == handle and on == day}
            made.gains += len(ours)
            made.wrong_gains += len(ours - came)
            made.missed_gains += len((came & month.shown[handle, day]) - ours)
    made.losses = len(month.confirmed)
    rows: dict[tuple[str, int], list[tuple[date, date, date, date | None]]] = {}
    for row, known in month.claimed.items():
        handle, number, before, found = row
        confirmed = month.confirmed.get(row)
        rows.setdefault((handle, number), []).append((before, found, known, confirmed))
        if confirmed is not None:
            truth = world.changes(handle, "followers", before, found)
            made.wrong_losses += number not in truth.lost | truth.moved
    older = days[-1] - timedelta(days=15)
    for handle in month.readings:
        for before, day in pairwise(days):
            listed = set(world.truth(handle, "followers", before).listed.tolist())
            for number in world.changes(handle, "followers", before, day).lost & listed:
                seen = next(
                    (
                        row
                        for row in rows.get((handle, number), ())
                        if row[0] <= before and day <= row[1] and row[3]
                    ),
                    None,
                )
                made.happened += 1
                made.found += seen is not None
                if day <= older:
                    made.happened_older += 1
                    made.found_older += seen is not None
                if seen is not None and seen[3] is not None:
                    made.until_known.append((seen[2] - day).days)
                    made.until_confirmed.append((seen[3] - day).days)
    return made


def table(scores: dict[str, Score]) -> Iterator[str]:
    """One line a policy."""
    yield (
        "| depth | credits | of full | gains: precision | missed | losses, confirmed: precision "
        "| rows | recall | older | days until known | until confirmed |"
    )
    yield "| --- |" + " ---: |" * 10
    full = next(iter(scores.values())).credits
    for name, one in scores.items():
        yield (
            f"| {name} | {one.credits:,} | {one.credits / full:.1%} "
            f"| {_share(one.gains - one.wrong_gains, one.gains)} | {one.missed_gains:,} "
            f"| {_share(one.losses - one.wrong_losses, one.losses)} | {one.losses:,} "
            f"| {_share(one.found, one.happened)} | {_share(one.found_older, one.happened_older)} "
            f"| {_spread(one.until_known)} | {_spread(one.until_confirmed)} |"
        )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.4f}" if whole else "-"


def _spread(days: list[int]) -> str:
    if not days:
        return "-"
    return f"{statistics.mean(days):.1f}, {sorted(days)[int(0.9 * (len(days) - 1))]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--handles", type=int)
    parser.add_argument("--largest", type=int, help="followers of the largest")
    parser.add_argument("--days", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--flicker", type=float, default=0.0, help="share missing for a day")
    parser.add_argument("--policy", action="append", choices=list(POLICIES), help="default: all")
    wanted = parser.parse_args()
    handles = wanted.handles or (6 if wanted.quick else 20)
    count = wanted.days or (15 if wanted.quick else 30)
    largest = wanted.largest or (20_000 if wanted.quick else 200_000)
    days = [FIRST + timedelta(days=ahead) for ahead in range(count)]
    world = make_world(handles, largest, count, wanted.seed, wanted.flicker)
    scores: dict[str, Score] = {}
    for name in wanted.policy or POLICIES:
        root = Path(tempfile.mkdtemp(prefix="spend-"))
        try:
            month = run_month(world, POLICIES[name], days, Home(root))
            scores[name] = score(world, month, days)
        finally:
            shutil.rmtree(root)
        # A line at a time: the whole takes long.
        lines = list(table(scores))
        print("\n".join(lines if len(scores) == 1 else lines[-1:]), flush=True)
        print(f"{name}: {month.seconds:.0f} seconds", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
