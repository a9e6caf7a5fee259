"""How true are the rows of `follower_churn`? The simulator's worst month, scored by its own record.

    python benchmarks/truth.py              the full month: 20 handles x 5,000, and the giant
    python benchmarks/truth.py --quick      a small one, in about a minute
    python benchmarks/truth.py --only late  one of the months below
    python benchmarks/truth.py --handles 5 --accounts 1000   30 days of fewer accounts

The month is run again for each of what an API may do besides: 0.5 % of the accounts missing for a
day; lists that cross their cap; no totals; totals a day late; 0.5 % missing for two days, with and
without the total following. And for each answer to an open question of the contract that the
lists show (`ANSWERS` of the simulator): what it costs in recall; wrong rows are to stay 0.

Run is everything but HTTP and Dagster: the simulator's pages are validated and followed by the
page walk, landed, archived, loaded and derived, a day at a time. What came of it is compared with
the simulator's record of who followed whom when; so is what a plain set difference of consecutive
lists says of the same days. Prints a Markdown table.

What the figures mean, for a usable list P and the next one, C:

- A *gain* (`gained` or `returned`) is right where, by the record, the account followed at C and not
  at P; or not at one of the two before P, because P missed it: that row is a day or two late.
- A *loss* (`lost`, confirmed) is right where, by the record, the account left between the row's
  `previous_date`, which is P or an earlier list that showed the account, and C; or between C and
  the list that confirmed it: that row is early, as C had missed the account; or on the day before
  `previous_date`, a page of which that list showed: that row is a day late.
- A gain *could be seen* where, by the record, the account came between P and C, C lists it above
  the newest account that it shares with P in order, and the two can be compared: nine in ten of the
  accounts in both keep their order, or both are complete.
- A loss is *in the window* where, by the record, the account left between P and C and was not back
  before a list that could confirm it; P lists it above the oldest account that it shares with C in
  order (or C shows everybody), not among four or more neighbours that C lacks together (unless the
  total fell by as much); P and C can be compared, and so can a later list that reaches below it.
- A *provisional* loss is scored like a confirmed one, on every day that shows it.
- The plain difference takes every found list with somebody in it, and is scored on its own pairs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cache, cached_property
from itertools import pairwise
from pathlib import Path
from random import Random

import duckdb
import numpy as np
from walks import land_whole

from sf_assets.model import RELATIONS, Relation, SnapshotKey
from sf_assets.simulator import (
    ANSWERS,
    Changes,
    ListTruth,
    PageAnswer,
    ProfileSpec,
    World,
    answered,
    preset_world,
)
from sf_assets.storage.home import Home
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets.storage.records import Landed
from sf_assets.warehouse.archive import read_archive
from sf_assets.warehouse.connection import writing
from sf_assets.warehouse.derive import derive
from sf_assets.warehouse.load import load, record
from sf_assets.warehouse.statements import transaction

TODAY = date(2026, 10, 20)
DAYS = 30

# The benchmark's own measure of what could be seen; no code is shared with the rules.
ORDERLY, NEIGHBOURS = 0.9, 4

_world: World | None = None


# --- what an API may do besides ---------------------------------------------------------------


class OddWorld(World):
    """A world whose totals are null or a day late, or of which a share is missing for two days."""

    def __init__(
        self, world: World, *, totals: str = "exact", missing: float = 0.0, counted: bool = True
    ) -> None:
        super().__init__(
            list(world.profiles.values()),
            epoch=world.epoch,
            seed=world.seed,
            horizon_days=world.horizon_days,
        )
        self.totals, self.missing, self.counted = totals, missing, counted
        self._totals: dict[tuple[str, Relation, date], int] = {}

    def page(
        self,
        handle: str,
        relation: Relation,
        day: date,
        *,
        cursor: str | None = None,
        page_size: int = 20,
    ) -> PageAnswer:
        answer = super().page(handle, relation, day, cursor=cursor, page_size=page_size)
        if answer.total is None:
            return answer
        total: int | None = None
        if self.totals != "null":
            of_day = day - timedelta(days=1) if self.totals == "late" else day
            total = self._total(handle, relation, of_day)
        shown = [n for n in answer.numbers if not self._absent(n, day)]
        return replace(answer, numbers=shown, total=total)

    def truth(
        self, handle: str, relation: Relation, day: date, *, page_size: int = 20
    ) -> ListTruth:
        truth = super().truth(handle, relation, day, page_size=page_size)
        shown = [n for n in truth.listed.tolist() if not self._absent(n, day)]
        return replace(truth, listed=np.array(shown, dtype=truth.listed.dtype))

    def _total(self, handle: str, relation: Relation, day: date) -> int:
        key = (handle, relation, day)
        if key not in self._totals:
            truth = super().truth(handle, relation, day)
            hidden = 0 if self.counted else sum(
                self._absent(n, day) for n in truth.following.tolist()
            )  # fmt: skip
            self._totals[key] = truth.total - hidden
        return self._totals[key]

    def _absent(self, number: int, day: date) -> bool:
        """For two days, and then not for a week."""
        if not self.missing:
            return False
        at = day.toordinal()
        return any(_begins(number, at - back, self.missing) for back in (0, 1))


@cache
def _begins(number: int, day: int, share: float) -> bool:
    def drawn(each: int) -> bool:
        mixed = (number * 0x9E3779B97F4A7C15 + each * 0xC2B2AE3D27D4EB4F) & (2**64 - 1)
        mixed = ((mixed ^ (mixed >> 29)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        return (mixed ^ (mixed >> 32)) % 1_000_000 < share * 1_000_000

    return drawn(day) and not any(drawn(day - back) for back in range(1, 9))


class CutOrSized(World):
    """A world with pages of another size, or of whose lists a share breaks off for good."""

    def __init__(self, world: World, *, size: int = 20, broken: float = 0.0) -> None:
        super().__init__(
            list(world.profiles.values()),
            epoch=world.epoch,
            seed=world.seed,
            horizon_days=world.horizon_days,
        )
        self.size, self.broken = size, broken

    def page(
        self,
        handle: str,
        relation: Relation,
        day: date,
        *,
        cursor: str | None = None,
        page_size: int = 20,
    ) -> PageAnswer:
        answer = super().page(handle, relation, day, cursor=cursor, page_size=self.size)
        if answer.page_index >= self._pages(handle, relation, day):
            raise LookupError("the cursor has expired")
        return answer

    def truth(
        self, handle: str, relation: Relation, day: date, *, page_size: int = 20
    ) -> ListTruth:
        truth = super().truth(handle, relation, day, page_size=self.size)
        shown = truth.listed[: self._pages(handle, relation, day) * self.size]
        return replace(truth, listed=shown)

    def _pages(self, handle: str, relation: Relation, day: date) -> int:
        draw = Random(f"{handle} {relation} {day}")
        return draw.randint(1, 12) if draw.random() < self.broken else 1_000_000


def answering(answer: str) -> Callable[[World, list[date]], World]:
    """The month of an API that answers an open question so."""
    size = ANSWERS[answer][2].get("page_size", 20)
    return lambda world, _: CutOrSized(answered(world, answer), size=size)


def crossing(world: World, days: list[date]) -> World:
    """The same, growing faster, followers capped at what each has after a third of the days."""

    def faster(_: str, spec: ProfileSpec) -> ProfileSpec:
        return replace(spec, followers=replace(spec.followers, cap=None, gain=0.01, loss=0.004))

    uncapped = _with(world, faster)

    def capped(name: str, spec: ProfileSpec) -> ProfileSpec:
        cap = len(uncapped.truth(name, "followers", days[len(days) // 3]).following)
        return replace(spec, followers=replace(spec.followers, cap=cap))

    return _with(world, lambda name, spec: capped(name, faster(name, spec)))


def _with(world: World, change: Callable[[str, ProfileSpec], ProfileSpec]) -> World:
    return World(
        [change(name, spec) for name, spec in world.profiles.items()],
        epoch=world.epoch, seed=world.seed, horizon_days=world.horizon_days,
    )  # fmt: skip


#: What happens in a month, by name: words for the table, the simulator's flicker, the rest.
MONTHS: dict[str, tuple[str, float, Callable[[World, list[date]], World]]] = {
    "worst": ("the worst month", 0.0, lambda world, _: world),
    "flicker": ("0.5 % missing for a day", 0.005, lambda world, _: world),
    "cap": ("lists cross the cap", 0.0, crossing),
    "null": ("totals null", 0.0, lambda world, _: OddWorld(world, totals="null")),
    "late": ("totals a day late", 0.0, lambda world, _: OddWorld(world, totals="late")),
    "two": (
        "0.5 % missing for two days", 0.0,
        lambda world, _: OddWorld(world, missing=0.0025),
    ),
    "two-counted-out": (
        "0.5 % missing for two days, the total follows", 0.0,
        lambda world, _: OddWorld(world, missing=0.0025, counted=False),
    ),
    "cursors-expire": (
        "a fifth break off, cursors expire", 0.0,
        lambda world, _: CutOrSized(world, broken=0.2),
    ),
    **{
        name: (ANSWERS[name][0], 0.0, answering(name))
        for name in (
            *("pages-of-30", "overlap", "few-ids", "stale", "end-error", "end-minus-one"),
            *("favoured", "no-order"),
        )
    },
}  # fmt: skip


# --- from the simulator's pages to the warehouse, without HTTP -------------------------------


def _keep_world(world: World) -> None:
    global _world
    _world = world


def _land_in_child(root: Path, keys: list[SnapshotKey]) -> list[Landed]:
    assert _world is not None
    landing = DiskLanding(root)
    return [land_whole(landing, _world, key) for key in keys]


#: (relation, handle, day before, day of the row, account_id, its handle): losses once provisional.
Provisional = set[tuple[str, str, date, date, str, str]]


def run_month(world: World, home: Home, days: list[date], doubted: Provisional) -> dict[str, float]:
    """Land, load and derive day by day; returns seconds per step."""
    spent = dict.fromkeys(("land", "load", "derive", "slowest day's derive"), 0.0)
    lists = [(handle, relation) for handle in world.handles for relation in RELATIONS]
    with ProcessPoolExecutor(2, initializer=_keep_world, initargs=(world,)) as pool:
        for day in days:
            start = time.perf_counter()
            keys = [SnapshotKey(day, *each) for each in lists]
            chunks = [keys[at::8] for at in range(8)]
            landed = [
                one
                for some in pool.map(_land_in_child, [home.landing] * len(chunks), chunks)
                for one in some
            ]
            spent["land"] += time.perf_counter() - start
            start = time.perf_counter()
            _, failures = load(lambda: writing(home.warehouse), home.archive, landed)
            assert not failures, failures
            spent["load"] += time.perf_counter() - start
            shutil.rmtree(home.landing)
            _derive(home, spent, doubted)
    return spent


def _derive(home: Home, spent: dict[str, float], doubted: Provisional) -> None:
    with writing(home.warehouse) as con:
        start = time.perf_counter()
        derive(con, home.archive)
        seconds = time.perf_counter() - start
        doubted.update(
            con.execute(
                "SELECT relation, handle, previous_date, snapshot_date, account_id, "
                "account_handle FROM internal.churn "
                "WHERE change = 'lost' AND state = 'provisional'"
            ).fetchall()
        )
    spent["derive"] += seconds
    spent["slowest day's derive"] = max(spent["slowest day's derive"], seconds)


def replay_month(home: Home, doubted: Provisional) -> dict[str, float]:
    """Make the warehouse again from an archive that is there, a day at a time."""
    shutil.rmtree(home.warehouse.parent, ignore_errors=True)
    home.warehouse.parent.mkdir()
    spent = dict.fromkeys(("land", "load", "derive", "slowest day's derive"), 0.0)
    by_day = defaultdict(list)
    for row in read_archive(home.archive):
        by_day[row.snapshot_date].append(row)
    for day in sorted(by_day):
        with writing(home.warehouse) as con, transaction(con):
            record(con, by_day[day])
        _derive(home, spent, doubted)
    return spent


# --- scoring ---------------------------------------------------------------------------------


@dataclass
class Score:
    """Claims and truths of one kind of change."""

    claimed: int = 0
    right: int = 0
    other_day: int = 0
    visible: int = 0
    found: int = 0
    happened: int = 0
    found_of_all: int = 0
    wrong: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    @property
    def precision(self) -> float:
        return self.right / self.claimed if self.claimed else 1.0

    @property
    def recall(self) -> float:
        return self.found / self.visible if self.visible else 1.0


@dataclass(frozen=True)
class Pair:
    """Two consecutive lists as served, and what the record says of the time between them."""

    series: tuple[Relation, str]
    before: date
    after: date
    truth: Changes
    previous: list[int]
    current: list[int]
    whole: tuple[bool, bool]
    totals: tuple[int | None, int | None]

    @cached_property
    def here(self) -> set[int]:
        return set(self.current)

    @cached_property
    def comparable(self) -> bool:
        return bool(self.comparison[1])

    @cached_property
    def comparison(self) -> tuple[set[int], set[int]]:
        """Who of `current` stands above the front; whose absence the current list would show."""
        place = {account: -at for at, account in enumerate(self.previous)}
        common = [account for account in self.current if account in place]
        if not common:
            return set(), set()
        chain = _longest_falling(common, place)
        ordered = len(chain) >= ORDERLY * len(common)
        if not ordered and not all(self.whole):
            return set(), set()
        here = self.here
        front = self.current.index(chain[0]) if ordered else len(self.current)
        last = len(self.previous) if self.whole[1] else -place[chain[-1]]
        above = self.previous[:last]
        holes = {each for run in _runs(above, here) if len(run) >= NEIGHBOURS for each in run}
        single = sum(account not in here for account in above) - len(holes)
        came = len(self.truth.gained | self.truth.returned)
        before, after = self.totals
        purged = all(self.whole) and before is not None and after is not None and (
            before - after + came - single >= len(holes)
        )  # fmt: skip
        return set(self.current[:front]), set(above) if purged else set(above) - holes


def _longest_falling(accounts: list[int], place: dict[int, int]) -> list[int]:
    """The longest run of accounts whose places fall, any others left out."""
    tails: list[int] = []
    ends: list[int] = []
    before: dict[int, int | None] = {}
    for account in accounts:
        at = bisect_left(tails, -place[account])
        before[account] = ends[at - 1] if at else None
        tails[at : at + 1] = [-place[account]]
        ends[at : at + 1] = [account]
    run: list[int] = []
    last: int | None = ends[-1] if ends else None
    while last is not None:
        run.append(last)
        last = before[last]
    return run[::-1]


def _runs(accounts: Iterable[int], here: set[int]) -> Iterator[list[int]]:
    run: list[int] = []
    for account in accounts:
        if account in here:
            if run:
                yield run
            run = []
        else:
            run.append(account)
    if run:
        yield run


def pairs_of(
    world: World, series: tuple[Relation, str], days: list[tuple[date, bool, int | None]]
) -> list[Pair]:
    """`days`: the usable days of a series, whether each shows everybody, and its reported total."""
    relation, handle = series
    served = {
        day: list(dict.fromkeys(world.truth(handle, relation, day).listed.tolist()))
        for day, _, _ in days
    }
    return [
        Pair(
            series,
            before,
            after,
            world.changes(handle, relation, before, after),
            served[before],
            served[after],
            (was, whole),
            (total_before, total),
        )
        for (before, was, total_before), (after, whole, total) in pairwise(days)
    ]


class Names:
    """From the pipeline's account ids back to the simulator's account numbers."""

    def __init__(self, world: World) -> None:
        self.world = world

    def number(self, account_id: str, handle: str, day: date) -> int:
        if account_id.startswith("@"):
            return self.world.number_of({"handle": handle}, day)
        if account_id.startswith("sec:"):
            return self.world.number_of({"secUid": account_id[4:]}, day)
        return self.world.number_of({"platformUserId": account_id}, day)


def score(world: World, con: duckdb.DuckDBPyConnection, doubted: Provisional) -> dict[str, Score]:
    """Score what is in the warehouse, and the plain difference beside it."""
    names = Names(world)
    # Series -> day -> kind of claim -> account: the list before, and of a loss the confirming one.
    churn: dict[tuple[str, str], dict[date, dict[str, dict[int, tuple[date, date]]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(dict))
    )
    for relation, handle, day, before, account, name, change, state, until in con.execute(
        "SELECT relation, handle, snapshot_date, previous_date, account_id, account_handle, "
        "change, state, coalesce(confirmed_on, snapshot_date) FROM internal.churn"
    ).fetchall():
        kind, shown = (state, before) if change == "lost" else ("gained", day)
        number = names.number(account, name, shown)
        churn[relation, handle][day][kind][number] = before, until
    for relation, handle, before, day, account, name in doubted:
        number = names.number(account, name, before)
        churn[relation, handle][day]["doubted"][number] = before, day
    usable: dict[tuple[Relation, str], list[tuple[date, bool, int | None]]] = defaultdict(list)
    for relation, handle, day, end_reason, listed, total in con.execute(
        "SELECT relation, handle, snapshot_date, end_reason, listed, reported_total "
        "FROM internal.snapshots WHERE lookup_status = 'found' AND listed > 0 "
        "ORDER BY relation, handle, snapshot_date"
    ).fetchall():
        whole = end_reason == "exhausted" and total is not None
        whole = whole and listed - max(2, 0.005 * listed) <= total <= listed
        usable[relation, handle].append((day, whole, total))

    scores = {
        name: Score()
        for name in ("gained", "lost", "plain gained", "plain lost", "provisional", "a week old")
    }
    for series, days in usable.items():
        pairs = pairs_of(world, series, days)
        claims = churn[series]
        for at, pair in enumerate(pairs):
            above_front, in_window = pair.comparison
            truth, here, before = pair.truth, pair.here, set(pair.previous)
            came = truth.gained | truth.returned
            # Before the first list the record knows a day that nobody read.
            earlier = pairs[at - 1].before if at else pair.before - timedelta(days=1)
            longer = world.changes(series[1], series[0], earlier, pair.after)
            first = pairs[at - 2].before if at > 1 else earlier
            longest = world.changes(series[1], series[0], first, pair.after)
            # Who moved left and came again since then.
            wider = came | longer.gained | longest.returned | longest.moved
            left = truth.lost
            gone_next = left | (longer.lost - truth.gained - truth.returned)
            losses = claims[pair.after]["confirmed"]
            gone_next = gone_next | _left_by(world, pair, losses, gone_next)
            visible = came & above_front & here
            _add(
                scores["gained"], pair, set(claims[pair.after]["gained"]), came, wider, visible, "+"
            )
            _add(scores["plain gained"], pair, here - before, came, came, visible, "+")
            confirmable = {
                number
                for number in (left & before & in_window) - here
                if _can_be_confirmed(number, pair, pairs[at + 1 :])
            }
            _add(scores["lost"], pair, set(losses), left, gone_next, confirmable, "-")
            if (days[-1][0] - pair.after).days > 7:
                old = scores["a week old"]
                _add(old, pair, set(losses), left, gone_next, confirmable, "-")
            _add(scores["plain lost"], pair, before - here, left, left, confirmable, "-")
            doubts = {}
            for number, (before_it, _) in claims[pair.after]["doubted"].items():
                shown_again = (each.after for each in pairs[at + 1 :] if number in each.here)
                doubts[number] = before_it, next(shown_again, days[-1][0])
            gone_next = gone_next | _left_by(world, pair, doubts, gone_next)
            _add(scores["provisional"], pair, set(doubts), left, gone_next, set(), "-")
    return scores


def _left_by(
    world: World, pair: Pair, losses: dict[int, tuple[date, date]], found: frozenset[int]
) -> set[int]:
    """Of losses that are not found right yet those that left between their own two days: the day
    before the list that showed the account last, a page of which it may show; and the list that
    decided."""
    right = set()
    for number in losses.keys() - found:
        before, until = losses[number]
        shown = before - timedelta(days=1)
        of_row = world.changes(pair.series[1], pair.series[0], shown, pair.after)
        later = world.changes(pair.series[1], pair.series[0], pair.before, until)
        if number in of_row.lost | later.lost | later.moved:
            right.add(number)
    return right


def _can_be_confirmed(account: int, pair: Pair, later: list[Pair]) -> bool:
    """Whether a later list would show the account, or somebody who stood below it, before it is
    back."""
    below = set(pair.previous[pair.previous.index(account) + 1 :]) - pair.truth.moved
    for each in later:
        below -= each.truth.gained | each.truth.returned | each.truth.moved  # not below any more
        if account in each.truth.gained or account in each.truth.returned:
            return False
        if each.comparable and (each.whole[1] or not below.isdisjoint(each.here)):
            return True
    return False


def _add(
    score: Score,
    pair: Pair,
    claimed: set[int],
    happened: set[int] | frozenset[int],
    right: set[int] | frozenset[int],
    visible: set[int] | frozenset[int],
    sign: str,
) -> None:
    name = f"{pair.series[1]} {pair.series[0]} {pair.before}..{pair.after}"
    score.claimed += len(claimed)
    score.right += len(claimed & right)
    score.other_day += len((claimed & right) - happened)
    score.visible += len(visible)
    score.found += len(visible & claimed)
    score.happened += len(happened)
    score.found_of_all += len(happened & claimed)
    score.wrong += [f"{name} {sign}{account}" for account in sorted(claimed - right)]
    score.missed += [f"{name} {sign}{account}" for account in sorted(visible - claimed)]


# --- the table -------------------------------------------------------------------------------


def table(results: list[tuple[str, dict[str, Score]]]) -> Iterator[str]:
    """One line a month and kind of change: ours, then the plain difference."""
    yield (
        "| month | change | precision | recall | rows | wrong | other day | to be seen | missed "
        "| plain precision | plain recall | plain rows | plain wrong |"
    )
    yield "| --- |" + " ---: |" * 12
    for month, scores in results:
        for kind, words in (("gained", "gained, returned"), ("lost", "lost, confirmed")):
            ours, plain = scores[kind], scores[f"plain {kind}"]
            yield (
                f"| {month} | {words} | {ours.precision:.5f} | {ours.recall:.5f} "
                f"| {ours.claimed:,} | {ours.claimed - ours.right:,} | {ours.other_day:,} "
                f"| {ours.visible:,} | {ours.visible - ours.found:,} "
                f"| {plain.precision:.3f} | {plain.recall:.3f} "
                f"| {plain.claimed:,} | {plain.claimed - plain.right:,} |"
            )
        ours = scores["a week old"]
        yield (
            f"| {month} | lost, confirmed, older than 7 days | {ours.precision:.5f} "
            f"| {ours.recall:.5f} | {ours.claimed:,} | {ours.claimed - ours.right:,} "
            f"| {ours.other_day:,} | {ours.visible:,} | {ours.visible - ours.found:,} | | | | |"
        )
        ours = scores["provisional"]
        yield (
            f"| {month} | lost, once provisional | {ours.precision:.5f} | | {ours.claimed:,} "
            f"| {ours.claimed - ours.right:,} | {ours.other_day:,} | | | | | | |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="3 handles of 300, 14 days, no giant")
    parser.add_argument("--handles", type=int, help="default: 20")
    parser.add_argument("--accounts", type=int, help="of each; default: 5,000 and the giant")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=MONTHS, action="append", help="default: all of them")
    parser.add_argument("--home", type=Path, help="keep archives here, and go on from them")
    parser.add_argument("--cases", type=int, default=0, help="print so many single cases of each")
    wanted = parser.parse_args()
    handles = wanted.handles or (3 if wanted.quick else 20)
    accounts = wanted.accounts or (300 if wanted.quick else 5_000)
    results = []
    days = [
        TODAY - timedelta(days=back) for back in range((14 if wanted.quick else DAYS) - 1, -1, -1)
    ]
    for name in wanted.only or MONTHS:
        words, flicker, odd = MONTHS[name]
        world = preset_world(
            "worst",
            today=TODAY,
            seed=wanted.seed,
            handles=handles,
            accounts=accounts,
            flicker=flicker,
        )
        if wanted.quick or wanted.accounts:
            for giant in [name for name in world.handles if name.endswith("giant")]:
                world = _without(world, giant)
        world = odd(world, days)
        kept = wanted.home and wanted.home / f"seed-{wanted.seed}-{name}"
        root = kept or Path(tempfile.mkdtemp(prefix="truth-"))
        home = Home(root)
        doubted: Provisional = set()
        try:
            if home.archive.exists():
                spent = replay_month(home, doubted)
            else:
                home.warehouse.parent.mkdir(parents=True, exist_ok=True)
                spent = run_month(world, home, days, doubted)
            start = time.perf_counter()
            with writing(home.warehouse) as con:
                scores = score(world, con, doubted)
            spent["score"] = time.perf_counter() - start
        finally:
            if kept is None:
                shutil.rmtree(root)
        results.append((words, scores))
        print(json.dumps({"month": name, **{k: round(v, 2) for k, v in spent.items()}}))
        for kind, one in scores.items():
            shares: Counter[str] = Counter()
            for case in one.wrong:
                shares[case.rsplit(" ", 2)[0]] += 1
            if wanted.cases and not kind.startswith("plain"):
                print(kind, "of all that happened:", one.found_of_all, "of", one.happened)
                for case in one.wrong[: wanted.cases]:
                    print("  wrong ", case)
                for case in one.missed[: wanted.cases]:
                    print("  missed", case)
    print("\n".join(table(results)))


def _without(world: World, handle: str) -> World:
    profiles = [profile for name, profile in world.profiles.items() if name != handle]
    return World(profiles, epoch=world.epoch, seed=world.seed, horizon_days=world.horizon_days)


if __name__ == "__main__":
    main()
