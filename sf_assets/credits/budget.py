"""What may be spent today, and on which list: caps, shares, and a count all runs of a day share.

A run knows what its lists are likely to cost. Where a cap, or the balance, is too small for all of
the day's lists, pages are handed out in rounds, one a list: every handle gets its first pages
before any gets its last. What a list did not need goes to those that were cut.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import IO

import portalocker

from sf_assets.storage.landing import SnapshotKey


@dataclass(frozen=True)
class Need:
    """A list of the day and what the rest of it is likely to cost; None where nobody knows.

    `last_read` is the day of its latest snapshot before today. `cap` is what may still be spent on
    its handle today, both lists together.
    """

    key: SnapshotKey
    credits: int | None
    priority: int = 0
    last_read: date | None = None
    cap: int | None = None

    @property
    def rank(self) -> tuple[int, date, SnapshotKey]:
        """High priority first, then who has waited longest."""
        return -self.priority, self.last_read or date.min, self.key


def shares(needs: Iterable[Need], limit: int | None) -> dict[SnapshotKey, int | None]:
    """Hand out `limit` credits, a credit a round; what is left over goes round in the same way.

    A list may get more than it needs, for lists grow. None is as much as it takes: where neither
    `limit` nor the handle's cap says otherwise.
    """
    ordered = sorted(needs, key=lambda need: need.rank)
    if limit is None:
        free: dict[SnapshotKey, int | None] = {n.key: None for n in ordered if n.cap is None}
        capped = [need for need in ordered if need.cap is not None]
        left = sum({need.key.handle: need.cap or 0 for need in capped}.values())
        return {**free, **_rounds(capped, left)}
    return {**_rounds(ordered, limit)}


def _rounds(ordered: Sequence[Need], limit: int) -> dict[SnapshotKey, int]:
    given = dict.fromkeys((need.key for need in ordered), 0)
    of_handle = {need.key.handle: need.cap for need in ordered}
    left = _hand_out(ordered, given, of_handle, limit, needed_only=True)
    _hand_out(ordered, given, of_handle, left, needed_only=False)
    return given


def _hand_out(
    ordered: Sequence[Need],
    given: dict[SnapshotKey, int],
    of_handle: dict[str, int | None],
    left: int,
    *,
    needed_only: bool,
) -> int:
    """Whole rounds at once where all who still want something can have it; returns what is left."""
    while left > 0:
        wanting = {
            need.key: (
                need.credits - given[need.key] if needed_only and need.credits is not None else left
            )
            for need in ordered
            if of_handle[need.key.handle] != 0
            and not (needed_only and need.credits is not None and given[need.key] >= need.credits)
        }
        if not wanting:
            break
        lists_of: dict[str, int] = {}
        for key in wanting:
            lists_of[key.handle] = lists_of.get(key.handle, 0) + 1
        rounds = min(
            left // len(wanting),
            *wanting.values(),
            *(
                cap // lists_of[handle]
                for handle, cap in of_handle.items()
                if cap is not None and handle in lists_of
            ),
        )
        for key in wanting:
            cap = of_handle[key.handle]
            credits = max(1, rounds)
            if left < credits or (cap is not None and cap < credits):
                continue
            given[key] += credits
            left -= credits
            if cap is not None:
                of_handle[key.handle] = cap - credits
    return left


class DayMeter:
    """Credits of one day, counted in a file that all its runs share.

    Where a cap is in force a page counts before it is asked for; one that was asked for by a
    process that was killed stays counted, for it was most likely charged.
    """

    def __init__(self, path: Path, spent: Callable[[], int]) -> None:
        """`spent` tells what is landed already; it is asked only where there is no count yet."""
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._locked() as file:
            if not file.read(32).strip().isdigit():  # new, or damaged: never taken for nothing
                _write(file, spent())

    def take(self, limit: int) -> bool:
        """Count one more credit, unless `limit` is reached."""
        with self._locked() as file:
            count = _read(file)
            if count < limit:
                _write(file, count + 1)
            return count < limit

    def add(self, credits: int) -> None:
        """Correct the count: a page cost less, or more, than what was counted for it."""
        if credits:
            with self._locked() as file:
                _write(file, max(0, _read(file) + credits))

    def at_least(self, credits: int) -> int:
        """Raise the count to what is known to be spent; returns it."""
        with self._locked() as file:
            count = max(_read(file), credits)
            _write(file, count)
            return count

    @property
    def count(self) -> int:
        with self._locked() as file:
            return _read(file)

    @contextmanager
    def _locked(self) -> Iterator[IO[bytes]]:
        # Opened anew each time, tens of microseconds a page: a run that is cut off leaves no lock.
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            portalocker.lock(file, portalocker.LOCK_EX)
            yield file


def _read(file: IO[bytes]) -> int:
    file.seek(0)
    text = file.read(32).strip()
    return int(text) if text.isdigit() else 0


def _write(file: IO[bytes], count: int) -> None:
    # As wide as any count before it: nothing of a longer one is left behind.
    file.seek(0)
    file.write(b"%-20d\n" % count)


@dataclass
class Budget:
    """Credits left to spend; None is no cap. Taken before a page, so it is never overrun.

    `allowances` are what this run may spend on each list; a list without one, or with None, is
    bounded by `limit` alone. `caps` are what is left today for a handle, both lists together, and
    `handles` its whole cap with the count that all runs share. `meter` counts the day's credits for
    all runs, `spent` those of before and of this one.
    `until_refused`: the allowances only order the buying, because the balance is short; in the end
    the vendor is asked on until it refuses, for it may refill the account. `pages_bought` and
    `credits_bought` are of this run alone.
    """

    limit: int | None
    spent: int = 0
    allowances: dict[SnapshotKey, int | None] = field(default_factory=dict)
    caps: Mapping[str, int] = field(default_factory=dict)
    handles: Mapping[str, tuple[int, DayMeter]] = field(default_factory=dict)
    meter: DayMeter | None = None
    until_refused: bool = False
    pages_bought: int = 0
    credits_bought: int = 0
    _promised: int = field(default=0, repr=False)
    _used: dict[SnapshotKey, int] = field(default_factory=dict, repr=False)

    def take(self, key: SnapshotKey | None = None) -> bool:
        """Reserve a credit for a page; False where a cap is reached."""
        allowed = self.allowances.get(key) if key is not None else None
        if key is not None and allowed is not None and self._used.get(key, 0) >= allowed:
            return False
        cap, of_handle = self.handles.get(key.handle, (0, None)) if key else (0, None)
        if of_handle is not None and not of_handle.take(cap):
            return False  # another run of the day has spent it meanwhile
        if self._limit_reached():
            if of_handle is not None:
                of_handle.add(-1)
            return False
        self._promised += 1
        if key is not None:
            self._used[key] = self._used.get(key, 0) + 1
        return True

    def _limit_reached(self) -> bool:
        if self.limit is None:
            return False
        if self.meter is not None:
            return not self.meter.take(self.limit)
        return self.spent + self._promised >= self.limit

    def settle(self, credits: int, key: SnapshotKey | None = None, pages: int = 0) -> None:
        """The page came (or did not, with 0): the reservation becomes what was charged."""
        self._promised -= 1
        self.pages_bought += pages
        self.credits_bought += credits
        self.spent += credits
        if key is not None:
            self._used[key] += credits - 1
            if key.handle in self.handles:
                self.handles[key.handle][1].add(credits - 1)
        if self.meter is not None:
            self.meter.add(credits if self.limit is None else credits - 1)

    def share_again(self, cut: Sequence[SnapshotKey]) -> list[SnapshotKey]:
        """Give what the other lists of this run did not need to those that were `cut`, in their
        order; returns those that got something. Call it while nothing is being read."""
        left = {
            key: allowed - self._used.get(key, 0)
            for key, allowed in self.allowances.items()
            if allowed is not None and allowed > self._used.get(key, 0)
        }
        spare = sum(left.values())
        if self.limit is not None:
            spare = min(spare, self.limit - (self.meter.count if self.meter else self.spent))
        if spare <= 0 or not cut:
            return self._release(cut)
        waiting = set(cut)
        of_handle: dict[str, int | None] = {key.handle: None for key in cut}
        for handle, cap in self.caps.items():
            if handle in of_handle:
                left_of_it = cap - sum(n for key, n in self._used.items() if key.handle == handle)
                if handle in self.handles:
                    whole, shared = self.handles[handle]
                    left_of_it = min(left_of_it, whole - shared.count)
                of_handle[handle] = max(0, left_of_it)
        given = dict.fromkeys(cut, 0)
        _hand_out([Need(key, None) for key in cut], given, of_handle, spare, needed_only=False)
        for key in self.allowances:
            if self.allowances[key] is not None:
                self.allowances[key] = self._used.get(key, 0) + (
                    given[key] if key in waiting else 0
                )
        return [key for key in cut if given[key]] or self._release(cut)

    def _release(self, cut: Sequence[SnapshotKey]) -> list[SnapshotKey]:
        """Let lists go on that only the balance held back; once."""
        if not self.until_refused:
            return []
        self.until_refused = False
        free = [key for key in cut if key.handle not in self.caps]
        self.allowances.update(dict.fromkeys(free))
        return free
