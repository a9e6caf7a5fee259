"""The simulated world: who follows whom on which day.

Everything is a pure function of a seed, a handle and a UTC day. There is no HTTP, no clock and no
random generator with a state: chance is hash arithmetic, so any page of any day gives the same
answer, in any order and to any number of readers.

An account is an integer, the *account number*. Its upper bits are the list it was made for, so
ids, names and counts are computed from the number alone, and a list of a million accounts takes
twelve bytes per account.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from sf_assets.simulator.names import (
    BIOS,
    FIRST_WORDS,
    LANGUAGES,
    NAMES,
    ODD_BIOS,
    ODD_NAMES,
    SECOND_WORDS,
)

Relation = Literal["followers", "following"]
LookupStatus = Literal["found", "hidden", "private", "not_found"]
QuirkKind = Literal["skip", "early_end", "shuffle", "overlap", "stale", "repeat", "stall"]
ListEnd = Literal["null", "minus_one", "empty_page", "error"]
ListOrder = Literal["follow", "favoured"]

Ints = npt.NDArray[np.int32]
Numbers = npt.NDArray[np.int64]

RELATIONS: tuple[Relation, ...] = ("followers", "following")
QUIRK_KINDS: tuple[QuirkKind, ...] = (
    "skip",
    "early_end",
    "shuffle",
    "overlap",
    "stale",
    "repeat",
    "stall",
)

DAY = 86_400
#: Second of the UTC day at which lists are read.
READ_AT = 6 * 3_600
NEVER = 2**31 - 1
#: Allows 16.7 million accounts in a list, and keeps numbers in handles short.
SLOT_BITS = 24
#: One in this many accounts is the same person in every list that is long enough.
SHARED_EVERY = 32
#: Size of the cache of day lists, in accounts.
CACHE_ACCOUNTS = 8_000_000

_MASK = 2**64 - 1
_ID_BITS = 60
_ID_MASK: int = 2**_ID_BITS - 1
_ID_FACTOR = 0x5DEECE66D1CE4E5
_ID_INVERSE: int = pow(_ID_FACTOR, -1, 2**_ID_BITS)
_ID_BASE = 6_800_000_000_000_000_000
_SEC_UID_PREFIX = "MS4wLjABAAAA"
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


# --- specification of a world ---------------------------------------------------------------


@dataclass(frozen=True)
class Status:
    """A profile, or one of its lists, does not answer `found` from `first` to `last`, inclusive.

    `last=None` means permanently, `relation=None` both lists. With `halfway`, the first half of the
    pages is still shown and the rest answers with the status, as if the owner hid the list during
    the read (a list of one page is then fully shown).
    """

    status: LookupStatus
    first: date
    last: date | None = None
    relation: Relation | None = None
    halfway: bool = False

    def covers(self, relation: Relation, day: date) -> bool:
        """Whether the status applies to this list on this day."""
        return (
            self.relation in (None, relation)
            and self.first <= day
            and (self.last is None or day <= self.last)
        )


@dataclass(frozen=True)
class Quirk:
    """A defect of a list's pages from `first` to `last` (default: `first` only).

    `skip`: `size` neighbours are missing. `early_end`: the list ends too soon. `shuffle`: no order.
    `overlap`: every page starts with accounts of the previous page. `stale`: one page is
    yesterday's. `repeat`: one page comes twice. `stall`: the cursor repeats after some page.
    """

    kind: QuirkKind
    first: date
    last: date | None = None
    size: int = 30

    def covers(self, day: date) -> bool:
        """Whether the defect applies on this day."""
        return self.first <= day <= (self.last or self.first)


@dataclass(frozen=True)
class Purge:
    """A share of the followers (bots) is removed on `day`, half of them neighbours in the list."""

    day: date
    share: float


@dataclass(frozen=True)
class ListSpec:
    """One list of one profile. Rates are per day.

    `gain` is a share of `size` (so growth is linear), `loss` is each follower's chance to leave.
    """

    size: int = 0
    gain: float = 0.0
    loss: float = 0.0
    #: Share of the accounts that left and come back some days later, at the top.
    refollow: float = 0.0
    #: Chance of an account of this list to change its handle.
    rename: float = 0.0
    #: Shares of the accounts that never show the id.
    no_user_id: float = 0.0
    no_sec_uid: float = 0.0
    #: Chance that an id is missing for that day only, for each of the two ids.
    id_gap: float = 0.0
    #: Number of newest accounts that the list shows; TikTok's usual cap is about 5,000.
    cap: int | None = None
    #: Share of the accounts that count in the total but are never listed.
    deleted: float = 0.0
    #: Chance of an account to be missing for a day; it returns to its old place.
    flicker: float = 0.0
    quirks: tuple[Quirk, ...] = ()
    #: Chance of each kind of quirk on each day.
    quirk_chance: Mapping[QuirkKind, float] = field(default_factory=dict)
    purges: tuple[Purge, ...] = ()
    #: Days on which somebody's freed handle is taken by another person.
    takeovers: tuple[date, ...] = ()
    #: How the last page ends: no cursor, cursor "-1", one more page that is empty, or an error.
    end: ListEnd = "null"
    #: Newest follow first; or a tenth of the accounts before all others, whatever their age.
    order: ListOrder = "follow"
    #: By how much the total, a live figure, may rise on later pages.
    total_jitter: int = 0


@dataclass(frozen=True)
class ProfileSpec:
    """One tracked profile: its two lists, and the days on which they cannot be read."""

    handle: str
    followers: ListSpec = field(default_factory=ListSpec)
    following: ListSpec = field(default_factory=ListSpec)
    statuses: tuple[Status, ...] = ()
    note: str = ""

    def list_spec(self, relation: Relation) -> ListSpec:
        """The specification of one of the two lists."""
        return self.followers if relation == "followers" else self.following

    def status_on(self, relation: Relation, day: date) -> Status | None:
        """The first status that applies, or None."""
        return next((entry for entry in self.statuses if entry.covers(relation, day)), None)


@dataclass(frozen=True)
class PageAnswer:
    """One page as the API would answer it. `total` is None if no list is shown."""

    lookup_status: LookupStatus
    numbers: list[int]
    next_cursor: str | None
    has_more: bool
    total: int | None
    page_index: int


@dataclass(frozen=True)
class ListTruth:
    """The truth about a list on a day.

    `following`: everyone in the relation, newest first, including deleted accounts; its length is
    the true total. `listed`: what a full read shows, in order, with repeats; empty if not found.
    """

    handle: str
    relation: Relation
    day: date
    lookup_status: LookupStatus
    halfway: bool
    quirks: tuple[QuirkKind, ...]
    total: int
    following: Numbers
    deleted: Numbers
    listed: Numbers


@dataclass(frozen=True)
class Changes:
    """The true changes between two days, by account number.

    `gained` never followed before; `returned` followed before `first`, left, and is back. `moved`
    follows on both days but left and came back in between, so it is nearer the top.
    """

    first: date
    last: date
    gained: frozenset[int]
    lost: frozenset[int]
    returned: frozenset[int]
    moved: frozenset[int]


# --- chance ---------------------------------------------------------------------------------


def mix(*parts: int) -> int:
    """A 64-bit hash of some integers (splitmix64 steps); the same on every machine."""
    x = 0x9E3779B97F4A7C15
    for part in parts:
        x = (x ^ part) & _MASK
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
        x ^= x >> 31
    return x


def text_key(*parts: str | int) -> int:
    """A 64-bit hash of texts, for handles and cursors."""
    raw = "\0".join(str(part) for part in parts).encode()
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little")


def chance(key: int) -> float:
    """A hash as a number in [0, 1)."""
    return (key >> 11) / float(1 << 53)


def _uniform(key: int, indices: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The same draw for an array of indices: in (0, 1), never 0, so that log() is safe."""
    x = indices.astype(np.uint64) ^ np.uint64(key & _MASK)
    with np.errstate(over="ignore"):
        for _ in range(2):
            x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            x = x ^ (x >> np.uint64(31))
    made: npt.NDArray[np.float64] = (x >> np.uint64(11)).astype(np.float64) + 0.5
    return made / float(1 << 53)


def _lifetimes(key: int, indices: npt.NDArray[Any], loss: float) -> npt.NDArray[np.float64]:
    if loss <= 0:
        return np.full(len(indices), float(NEVER))
    made: npt.NDArray[np.float64] = -np.log(_uniform(key, indices)) / loss * DAY
    return made


# --- one list over time ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Override:
    day_index: int
    handle: str


class _History:
    """Every follow and unfollow of one list within the horizon, newest follow first.

    Times are seconds since midnight UTC of the epoch. A row is one unbroken follow; an account that
    comes back has several. `start` falls strictly, so it can serve as a cursor.
    """

    def __init__(self, world: World, profile: ProfileSpec, relation: Relation, slot: int) -> None:
        spec = profile.list_spec(relation)
        self.spec = spec
        self.base = slot << SLOT_BITS
        self.key = mix(world.seed, text_key(profile.handle, relation))
        horizon = world.horizon_days * DAY

        gained = round(spec.gain * spec.size * world.horizon_days)
        if spec.size + gained >= 1 << SLOT_BITS or spec.gain * spec.size > DAY / 4:
            raise ValueError(
                f"{profile.handle} {relation}: {spec.size:,} accounts with {spec.gain:.2%} a day "
                f"over {world.horizon_days} days are too many; lower size, gain or horizon"
            )
        index = np.arange(spec.size + gained, dtype=np.int64)
        draw = _uniform(mix(self.key, 1), index)
        # Accounts from before the epoch came at the same rate as later ones, within limits.
        past_days = min(max(1.0 / spec.gain, 30.0), 900.0) if spec.gain else 400.0
        past_days = max(past_days, spec.size * 4 / DAY)
        start = np.where(index < spec.size, -draw * past_days * DAY, draw * horizon)
        # A weekly rhythm: the same number of follows, moved towards some days.
        start += 0.5 * DAY * np.sin(start * (2 * np.pi / (7 * DAY)))

        rows_index = [index]
        rows_start = [start]
        end = np.maximum(start, 0.0) + _lifetimes(mix(self.key, 2), index, spec.loss)
        rows_end = [end]
        for turn in range(3):
            back = (end < horizon) & (_uniform(mix(self.key, 3, turn), index) < spec.refollow)
            index, end = index[back], end[back]
            if not len(index):
                break
            away = 1.2 * DAY + _lifetimes(mix(self.key, 4, turn), index, 1 / 6)
            start = end + away
            end = start + _lifetimes(mix(self.key, 5, turn), index, spec.loss)
            rows_index.append(index)
            rows_start.append(start)
            rows_end.append(end)

        all_start = np.minimum(np.concatenate(rows_start), NEVER - 1).astype(np.int64)
        order = np.argsort(all_start, kind="stable")
        rising = all_start[order]
        # No two follows in the same second: each is at least one later than the previous one.
        steps = np.arange(len(rising))
        rising = np.maximum.accumulate(rising - steps) + steps
        ends = np.minimum(np.concatenate(rows_end), float(NEVER))[order].astype(np.int64)
        keep = rising < horizon
        order, rising, ends = order[keep], rising[keep], ends[keep]
        self.index: Ints = np.concatenate(rows_index)[order][::-1].astype(np.int32)
        self.start: Ints = rising[::-1].astype(np.int32)
        self.end: Ints = np.maximum(ends, rising + 1)[::-1].astype(np.int32)

        self.deleted = self._drawn(6, spec.deleted)
        self.overrides: dict[int, _Override] = {}
        for purge in spec.purges:
            self._purge(world.day_index(purge.day), purge.share)
        for day in spec.takeovers:
            self._take_over(world, world.day_index(day))

        first = np.full(spec.size + gained, NEVER, dtype=np.int32)
        first[self.index] = self.start  # rows go back in time, so the oldest is written last
        self.first_start: Ints = first

    def _drawn(self, salt: int, share: float) -> npt.NDArray[np.bool_]:
        if share <= 0:
            return np.zeros(len(self.index), dtype=np.bool_)
        return _uniform(mix(self.key, salt), self.index) < share

    def active(self, day_index: int) -> Ints:
        """Rows that are active at the day's reading time, newest follow first."""
        moment = day_index * DAY + READ_AT
        return np.flatnonzero((self.start <= moment) & (self.end > moment)).astype(np.int32)

    def numbers(self, rows: Ints) -> Numbers:
        """The account numbers of rows."""
        index = self.index[rows].astype(np.int64)
        return np.where(index % SHARED_EVERY == 7, index, index + self.base)

    def _end_for_good(self, rows: Ints, moment: int) -> None:
        """End these follows at `moment`, and remove later follows of the same accounts."""
        self.end[rows] = moment
        gone = np.isin(self.index, self.index[rows]) & (self.start >= moment)
        if gone.any():
            stay = ~gone
            self.index, self.start, self.end = self.index[stay], self.start[stay], self.end[stay]
            self.deleted = self.deleted[stay]

    def _purge(self, day_index: int, share: float) -> None:
        moment = day_index * DAY + READ_AT - 600
        rows = np.flatnonzero((self.start < moment) & (self.end > moment)).astype(np.int32)
        count = int(len(rows) * share / 2)
        if count < 1:
            return
        begin = mix(self.key, 7, day_index) % max(1, len(rows) - count)
        block = rows[begin : begin + count]
        rest = np.concatenate([rows[:begin], rows[begin + count :]])
        draw = _uniform(mix(self.key, 8, day_index), self.index[rest])
        scattered = rest[np.argsort(draw, kind="stable")[:count]]
        self._end_for_good(np.concatenate([block, scattered]), moment)

    def _take_over(self, world: World, day_index: int) -> None:
        """A new follower takes the handle that another follower gave up on that day.

        Every second time, the former owner also leaves the list on that day, so that only the ids
        distinguish the two people.
        """
        before, now = self.active(day_index - 1), self.active(day_index)
        moment = day_index * DAY + 3_600
        plain = ~self.deleted & (self.index % SHARED_EVERY != 7)
        fresh = now[(self.start[now] > moment - DAY + READ_AT) & plain[now]]
        stayed = np.intersect1d(before, now)
        stayed = stayed[plain[stayed]]
        if not len(fresh) or not len(stayed):
            return
        taker = int(fresh[0])
        giver = int(stayed[mix(self.key, 9, day_index) % max(1, min(len(stayed), 200))])
        giver_number = int(self.numbers(np.array([giver], dtype=np.int32))[0])
        taker_number = int(self.numbers(np.array([taker], dtype=np.int32))[0])
        if giver_number in self.overrides or taker_number in self.overrides:
            return
        freed = world.plain_handle(giver_number, day_index - 1)
        self.overrides[giver_number] = _Override(
            day_index, f"{freed.split('_')[0]}_x{giver_number}"
        )
        self.overrides[taker_number] = _Override(day_index, freed)
        if mix(self.key, 10, day_index) % 2:
            self._end_for_good(np.array([giver], dtype=np.int32), moment)


@dataclass(frozen=True)
class _DayList:
    """One list as shown on one day. `pages` is set only if the cursor cannot be a time."""

    status: Status | None
    quirks: tuple[QuirkKind, ...]
    total: int
    rows: Ints
    falling: Ints
    pages: list[Ints] | None
    cursors: tuple[str, ...]
    stall_from: int | None

    @property
    def weight(self) -> int:
        """Size in the cache, in accounts."""
        return 2 * len(self.rows) + 200


# --- the world ------------------------------------------------------------------------------


class World:
    """A seeded set of profiles: their pages, and the truth behind them.

    Computes histories on first use. Safe for use by several threads. Raises ValueError if a profile
    is given twice.
    """

    def __init__(
        self,
        profiles: Iterable[ProfileSpec],
        *,
        epoch: date,
        seed: int = 1,
        horizon_days: int = 800,
    ) -> None:
        self.seed = seed
        self.epoch = epoch
        self.horizon_days = horizon_days
        self.profiles: dict[str, ProfileSpec] = {}
        for profile in profiles:
            handle = profile.handle.lower()
            if handle in self.profiles:
                raise ValueError(f"profile {handle} is given twice")
            self.profiles[handle] = profile
        self._order = {handle: number for number, handle in enumerate(self.profiles)}
        self._handles = list(self.profiles)
        self._epoch_seconds = int(
            datetime(epoch.year, epoch.month, epoch.day, tzinfo=timezone.utc).timestamp()
        )
        self._hash_key = hashlib.blake2b(str(seed).encode(), digest_size=16).digest()
        self._id_mask = mix(seed, 101) & _ID_MASK
        self._sec_mask = mix(seed, 102)
        self._clear()

    def _clear(self) -> None:
        self._lock = threading.RLock()
        self._histories: dict[tuple[str, Relation], _History] = {}
        self._lists: OrderedDict[tuple[str, Relation, date, int], _DayList] = OrderedDict()
        self._lists_weight = 0

    def __getstate__(self) -> dict[str, Any]:
        """What a child process needs; it computes the same histories again."""
        made = ("_lock", "_histories", "_lists", "_lists_weight")
        return {name: value for name, value in self.__dict__.items() if name not in made}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._clear()

    @property
    def handles(self) -> list[str]:
        """The handles of all profiles, lower case."""
        return list(self._handles)

    def day_index(self, day: date) -> int:
        """Days since the epoch."""
        return (day - self.epoch).days

    def __contains__(self, handle: object) -> bool:
        return isinstance(handle, str) and handle.lower() in self.profiles

    # lists

    def _history(self, handle: str, relation: Relation) -> _History:
        key = (handle.lower(), relation)
        history = self._histories.get(key)
        if history is None:
            with self._lock:
                history = self._histories.get(key)
                if history is None:
                    slot = 1 + 2 * self._order[key[0]] + RELATIONS.index(relation)
                    history = _History(self, self.profiles[key[0]], relation, slot)
                    self._histories[key] = history
        return history

    def _day_list(self, handle: str, relation: Relation, day: date, page_size: int) -> _DayList:
        key = (handle, relation, day, page_size)
        with self._lock:
            cached = self._lists.get(key)
            if cached is not None:
                self._lists.move_to_end(key)
                return cached
        made = self._make_day_list(handle, relation, day, page_size)
        with self._lock:
            if key not in self._lists:
                self._lists[key] = made
                self._lists_weight += made.weight
            while self._lists_weight > CACHE_ACCOUNTS and len(self._lists) > 1:
                self._lists_weight -= self._lists.popitem(last=False)[1].weight
        return made

    def _visible(self, history: _History, day_index: int) -> tuple[Ints, Ints]:
        """All rows of the day, and the rows that a read without defects would list."""
        spec = history.spec
        active = history.active(day_index)
        shown = active[~history.deleted[active]] if spec.deleted else active
        if spec.flicker:
            draw = _uniform(mix(history.key, 20, day_index), history.index[shown])
            shown = shown[draw >= spec.flicker]
        return active, shown[: spec.cap] if spec.cap is not None else shown

    def _quirks_on(self, history: _History, day: date) -> list[tuple[QuirkKind, int]]:
        spec, index = history.spec, self.day_index(day)
        planned = {quirk.kind: quirk.size for quirk in spec.quirks if quirk.covers(day)}
        for number, kind in enumerate(QUIRK_KINDS):
            rate = spec.quirk_chance.get(kind, 0.0)
            if rate and chance(mix(history.key, 21, number, index)) < rate:
                planned.setdefault(kind, 30)
        return [(kind, planned[kind]) for kind in QUIRK_KINDS if kind in planned]

    def _make_day_list(
        self, handle: str, relation: Relation, day: date, page_size: int
    ) -> _DayList:
        history = self._history(handle, relation)
        index = self.day_index(day)
        status = self.profiles[handle].status_on(relation, day)
        active, rows = self._visible(history, index)
        quirks = self._quirks_on(history, day)
        kinds = tuple(kind for kind, _ in quirks)
        sizes = dict(quirks)

        if "skip" in sizes and len(rows) > 3:
            size = min(sizes["skip"], len(rows) // 3)
            begin = mix(history.key, 22, index) % (len(rows) - size)
            rows = np.concatenate([rows[:begin], rows[begin + size :]])
        if "early_end" in sizes:
            share = 0.3 + 0.6 * chance(mix(history.key, 23, index))
            rows = rows[: max(1, int(len(rows) * share))]
        if "shuffle" in sizes:
            draw = _uniform(mix(history.key, 24, index), history.index[rows])
            rows = rows[np.argsort(draw, kind="stable")]

        order = history.spec.order
        if order == "favoured":
            first = _uniform(mix(history.key, 30), history.index[rows]) < 0.1
            rows = np.concatenate([rows[first], rows[~first]])

        pages: list[Ints] | None = None
        cursors: tuple[str, ...] = ()
        stall_from = None
        by_place = set(kinds) & {"shuffle", "overlap", "stale", "repeat", "stall"}
        if (by_place or order != "follow") and len(rows):
            step = page_size
            if "overlap" in sizes:
                step = max(1, page_size - min(sizes["overlap"], max(1, page_size // 4)))
            pages = [rows[at : at + page_size] for at in range(0, len(rows), step)]
            if len(pages) > 1 and "stale" in sizes:
                at = mix(history.key, 25, index) % len(pages)
                _, yesterday = self._visible(history, index - 1)
                old = yesterday[at * page_size : (at + 1) * page_size]
                pages[at] = old if len(old) else pages[at]
            if len(pages) > 1 and "repeat" in sizes:
                at = mix(history.key, 26, index) % (len(pages) - 1)
                pages.insert(at + 1, pages[at])
            if len(pages) > 1 and "stall" in sizes:
                stall_from = 1 + mix(history.key, 27, index) % (len(pages) - 1)
                pages = pages[: stall_from + 1]
            top = self._epoch_seconds + index * DAY + READ_AT
            cursors = tuple(
                str(top - at * 613 - mix(history.key, 28, index, at) % 600)
                for at in range(1, len(pages))
            )
            rows = np.concatenate(pages)
        # searchsorted needs a rising array: the negated follow times
        falling = -history.start[rows] if pages is None else np.empty(0, dtype=np.int32)
        return _DayList(status, kinds, len(active), rows, falling, pages, cursors, stall_from)

    def page(
        self,
        handle: str,
        relation: Relation,
        day: date,
        *,
        cursor: str | None = None,
        page_size: int = 20,
    ) -> PageAnswer:
        """One page. An unknown handle is `not_found`; a cursor older than the list gives an empty
        last page.

        Raises ValueError for a cursor that is not a number, LookupError if the list ends with an
        error.
        """
        handle = handle.lower()
        if handle not in self.profiles:
            return PageAnswer("not_found", [], None, False, None, 0)
        moment = int(cursor) if cursor is not None else None
        shown = self._day_list(handle, relation, day, page_size)
        status = shown.status
        if status is not None and not status.halfway:
            return PageAnswer(status.status, [], None, False, None, 0)
        history = self._history(handle, relation)
        spec = history.spec

        if shown.pages is not None:
            at, rows, next_cursor = self._page_by_place(shown, cursor)
            count = len(shown.pages)
        else:
            begin = 0
            if moment is not None:
                # The first account that followed before the cursor. The needle has the type of the
                # array, or numpy would convert the array for every page.
                needle = max(-NEVER, min(self._epoch_seconds - moment, NEVER))
                begin = int(np.searchsorted(shown.falling, np.int32(needle), side="right"))
            at = -(-begin // page_size)
            count = -(-len(shown.rows) // page_size)
            rows = shown.rows[begin : begin + page_size]
            stop = begin + len(rows)
            more = stop < len(shown.rows) or (spec.end in ("empty_page", "error") and len(rows) > 0)
            if spec.end == "error" and len(shown.rows) and not len(rows):
                raise LookupError("the source has no more")
            next_cursor = str(self._epoch_seconds - int(shown.falling[stop - 1])) if more else None
        if status is not None and at >= max(1, count // 2):
            return PageAnswer(status.status, [], None, False, None, at)
        has_more = next_cursor is not None
        if not has_more and spec.end == "minus_one":
            next_cursor = "-1"
        total = shown.total
        if spec.total_jitter and at:
            total += mix(history.key, 29, at) % (spec.total_jitter + 1)
        return PageAnswer("found", history.numbers(rows).tolist(), next_cursor, has_more, total, at)

    @staticmethod
    def _page_by_place(shown: _DayList, cursor: str | None) -> tuple[int, Ints, str | None]:
        pages = cast("list[Ints]", shown.pages)
        if cursor is None:
            at = 0
        elif cursor in shown.cursors:
            at = shown.cursors.index(cursor) + 1
        else:
            return len(pages), pages[0][:0], None
        if at == shown.stall_from:
            return at, pages[at], cursor
        return at, pages[at], shown.cursors[at] if at < len(shown.cursors) else None

    # truth

    def truth(
        self, handle: str, relation: Relation, day: date, *, page_size: int = 20
    ) -> ListTruth:
        """The truth about a list on a day. Only page quirks depend on `page_size`."""
        handle = handle.lower()
        history = self._history(handle, relation)
        shown = self._day_list(handle, relation, day, page_size)
        active = history.active(self.day_index(day))
        rows, status = shown.rows, shown.status
        if status is not None:
            if status.halfway and shown.pages is not None:
                rows = np.concatenate(shown.pages[: max(1, len(shown.pages) // 2)])
            elif status.halfway:
                rows = rows[: max(1, -(-len(rows) // page_size) // 2) * page_size]
            else:
                rows = rows[:0]
        return ListTruth(
            handle=handle,
            relation=relation,
            day=day,
            lookup_status=status.status if status else "found",
            halfway=bool(status and status.halfway),
            quirks=shown.quirks,
            total=len(active),
            following=history.numbers(active),
            deleted=history.numbers(active[history.deleted[active]]),
            listed=history.numbers(rows),
        )

    def changes(self, handle: str, relation: Relation, first: date, last: date) -> Changes:
        """The true changes between two days, whatever the lists showed."""
        history = self._history(handle, relation)
        begin = self.day_index(first) * DAY + READ_AT
        before = history.active(self.day_index(first))
        after = history.active(self.day_index(last))
        index_before, index_after = history.index[before], history.index[after]
        came = after[~np.isin(index_after, index_before)]
        left = before[~np.isin(index_before, index_after)]
        known = history.first_start[history.index[came]] <= begin
        both = after[np.isin(index_after, index_before)]

        def numbers(rows: Ints) -> frozenset[int]:
            return frozenset(history.numbers(rows).tolist())

        return Changes(
            first=first,
            last=last,
            gained=numbers(came[~known]),
            lost=numbers(left),
            returned=numbers(came[known]),
            moved=numbers(both[history.start[both] > begin]),
        )

    # accounts

    def _spec_of(self, number: int) -> ListSpec:
        slot = number >> SLOT_BITS
        if slot == 0:
            return _SHARED
        handle = self._handles[(slot - 1) // 2]
        return self.profiles[handle].list_spec(RELATIONS[(slot - 1) % 2])

    def _digest(self, number: int) -> bytes:
        raw = number.to_bytes(8, "little")
        return hashlib.blake2b(raw, key=self._hash_key, digest_size=64).digest()

    def platform_user_id(self, number: int) -> str:
        """The account's 19-digit id, even if no list shows it."""
        return str(_ID_BASE + ((number * _ID_FACTOR ^ self._id_mask) & _ID_MASK))

    def sec_uid(self, number: int) -> str:
        """The account's secUid, even if no list shows it."""
        digest = self._digest(number)[:40]
        tail = number ^ self._sec_mask ^ int.from_bytes(digest[:8], "little")
        raw = digest + tail.to_bytes(8, "little")
        return _SEC_UID_PREFIX + base64.urlsafe_b64encode(raw).decode()

    def _renames(self, number: int, day_index: int, rate: float) -> int:
        if rate <= 0 or day_index < 0:
            return 0
        return int(day_index * rate + chance(mix(number, self.seed, 40)))

    def plain_handle(self, number: int, day_index: int) -> str:
        """The handle from the account's own renames, without takeovers."""
        turn = self._renames(number, day_index, self._spec_of(number).rename)
        word = mix(number, turn, 41)
        first = FIRST_WORDS[word % len(FIRST_WORDS)]
        second = SECOND_WORDS[(word >> 16) % len(SECOND_WORDS)]
        handle = f"{first}{second}_{number}"
        return f"{handle}.{turn}" if turn else handle

    def handle_of(self, number: int, day: date) -> str:
        """The account's handle on that day."""
        index = self.day_index(day)
        slot = number >> SLOT_BITS
        if slot:
            handle = self._handles[(slot - 1) // 2]
            taken = self._history(handle, RELATIONS[(slot - 1) % 2]).overrides.get(number)
            if taken is not None and index >= taken.day_index:
                rate = self._spec_of(number).rename
                renames = self._renames(number, index, rate)
                if renames == self._renames(number, taken.day_index, rate):
                    return taken.handle
        return self.plain_handle(number, index)

    def ids_on(self, number: int, day: date) -> tuple[str | None, str | None]:
        """platformUserId and secUid as a list shows them on that day; None if missing."""
        spec, index = self._spec_of(number), self.day_index(day)
        user_id = sec_uid = True
        if spec.no_user_id:
            user_id = chance(mix(number, self.seed, 42)) >= spec.no_user_id
        if spec.no_sec_uid:
            sec_uid = chance(mix(number, self.seed, 43)) >= spec.no_sec_uid
        if spec.id_gap:
            user_id = user_id and chance(mix(number, self.seed, 44, index)) >= spec.id_gap
            sec_uid = sec_uid and chance(mix(number, self.seed, 45, index)) >= spec.id_gap
        return (
            self.platform_user_id(number) if user_id else None,
            self.sec_uid(number) if sec_uid else None,
        )

    def number_of(self, item: Mapping[str, Any], day: date) -> int:
        """The account number of an item on a page: by an id, else by its handle on that day.

        Raises KeyError if no account has that handle.
        """
        user_id, sec_uid = item.get("platformUserId"), item.get("secUid")
        if user_id:
            hidden = (int(user_id) - _ID_BASE) ^ self._id_mask
            return hidden * _ID_INVERSE & _ID_MASK
        if sec_uid:
            raw = base64.urlsafe_b64decode(sec_uid[len(_SEC_UID_PREFIX) :])
            tail = int.from_bytes(raw[40:], "little") ^ int.from_bytes(raw[:8], "little")
            return tail ^ self._sec_mask
        handle = str(item["handle"])
        number = int(handle.rsplit("_", 1)[1].split(".")[0].lstrip("x"))
        if self.handle_of(number, day) == handle:
            return number
        for history in list(self._histories.values()):
            for taker, taken in history.overrides.items():
                if taken.handle == handle and self.handle_of(taker, day) == handle:
                    return taker
        raise KeyError(f"no account is called {handle} on {day}")

    def item(
        self, number: int, relation: Relation, day: date, *, trim: bool = False
    ) -> dict[str, Any]:
        """The account as the API shows it in a list of that relation on that day.

        Trimmed followed accounts lose ids and optional fields; the API does not document what it
        trims there.
        """
        index = self.day_index(day)
        digest = self._digest(number)
        a = int.from_bytes(digest[40:48], "little")
        b = int.from_bytes(digest[48:56], "little")
        followed = relation == "following"
        # Skewed: half of all accounts have few followers, a few have very many.
        scale = (a & 0xFFFF) / 65_536
        popularity = 2.0 ** (scale * scale * (22 if followed else 17))
        followers = int(popularity + (max(index, 0) * popularity * ((a >> 16) & 0xF)) / 20_000)
        metrics = {"followers": followers, "following": 1 + int(2.0 ** ((b & 0xFF) / 23))}
        # Names and bios change at times, for each account on different days.
        name_at = (b >> 8) + (index + (a >> 20 & 0xFF)) // 240
        bio_at = (b >> 24) + (index + (a >> 28 & 0x7F)) // 90
        handle = self.handle_of(number, day)
        spoken = _pick(name_at, NAMES, ODD_NAMES)
        name = f"{spoken} {b >> 40 & 0xFF}" if spoken and b >> 48 & 1 else spoken
        avatar: str | None = None
        avatars: dict[str, str] | None = None
        if a >> 40 & 0x3F:
            signed = (
                f"?x-expires={self._epoch_seconds + (index + 2) * DAY}"
                f"&x-signature={(a * (2 * index + 3) ^ b) & _MASK:016x}"
            )
            path = f"https://avatars.sim.invalid/{a & 0xFFFFFFFF:08x}{number:x}/"
            avatar = f"{path}720.webp{signed}"
            if not followed and not trim and a >> 46 & 0xF:
                avatars = {
                    "large": avatar,
                    "medium": f"{path}300.webp{signed}",
                    "thumb": f"{path}100.webp{signed}",
                }
        made: dict[str, Any] = {"handle": handle, "displayName": name, "avatarUrl": avatar}
        if avatars is not None:
            made["avatarUrls"] = avatars
        if not trim:
            user_id, sec_uid = self.ids_on(number, day)
            if user_id is not None:
                made["platformUserId"] = user_id
            if sec_uid is not None:
                made["secUid"] = sec_uid
        made["bio"] = _pick(bio_at, BIOS, ODD_BIOS)
        made["verified"] = a >> 50 & 0x1FF == 0 or followers > 1_500_000
        private = a >> 59 & 0x7 == 0
        if not followed:
            made["privateAccount"] = private
            made["metrics"] = metrics
            return made
        made["profileUrl"] = f"https://www.tiktok.com/@{handle}"
        metrics["posts"] = int(2.0 ** ((b >> 56) / 25)) - 1
        made["metrics"] = metrics
        if not trim:
            self._add_optional(made, a, b, private)
        return made

    @staticmethod
    def _add_optional(made: dict[str, Any], a: int, b: int, private: bool) -> None:
        """Add fields that only some followed accounts have."""
        if b >> 50 & 1:
            made["privateAccount"] = private
        if b >> 51 & 1:
            made["region"], made["language"] = LANGUAGES[(b >> 32) % len(LANGUAGES)]
        if b >> 52 & 1:
            born = datetime(2016, 9, 1, tzinfo=timezone.utc) + timedelta(seconds=a % 250_000_000)
            made["accountCreatedAt"] = born.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        if b >> 53 & 1 and b >> 54 & 1:
            made["details"] = {"likes": a % 9_999_999, "bioLink": None, "commerce": {"user": False}}

    def page_json(
        self, answer: PageAnswer, relation: Relation, day: date, *, trim: bool = False
    ) -> str:
        """The `data` part of a page's body, as JSON text."""
        items, total = (
            ("followers", "totalFollowers")
            if relation == "followers"
            else ("accounts", "totalAccounts")
        )
        return _ENCODER.encode(
            {
                "lookupStatus": answer.lookup_status,
                items: [self.item(number, relation, day, trim=trim) for number in answer.numbers],
                "page": {"nextCursor": answer.next_cursor, "hasMore": answer.has_more},
                total: answer.total,
            }
        )


def _pick(draw: int, usual: tuple[str | None, ...], odd: tuple[str | None, ...]) -> str | None:
    turn, rest = divmod(draw, 23)
    return odd[turn % len(odd)] if rest == 0 else usual[draw % len(usual)]


#: Accounts that are in several lists.
_SHARED = ListSpec(rename=0.0005)
