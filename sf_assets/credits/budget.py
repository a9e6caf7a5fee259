"""What may be spent today, and on which list: caps, shares, and a count all runs of a day share.

A run knows what its lists are likely to cost. Where a cap, or the balance, is too small for all of
the day's lists, pages are handed out in rounds, one a list: every handle gets its first pages
before any gets its last. What a list did not need goes to those that were cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sf_assets.credits.meter import DayMeter
from sf_assets.credits.shares import hand_out
from sf_assets.model import SnapshotKey


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
    allowances: Mapping[SnapshotKey, int | None] = field(default_factory=dict)
    caps: Mapping[str, int] = field(default_factory=dict)
    handles: Mapping[str, tuple[int, DayMeter]] = field(default_factory=dict)
    meter: DayMeter | None = None
    until_refused: bool = False
    pages_bought: int = 0
    credits_bought: int = 0
    _promised: int = field(default=0, repr=False)
    _used: dict[SnapshotKey, int] = field(default_factory=dict, repr=False)

    def take(self, key: SnapshotKey) -> bool:
        """Reserve a credit for a page of a list; False where a cap is reached."""
        used, allowed = self._used.get(key, 0), self.allowances.get(key)
        if allowed is not None and used >= allowed:
            return False
        cap, of_handle = self.handles.get(key.handle, (0, None))
        if of_handle is not None and not of_handle.take(cap):
            return False  # another run of the day has spent it meanwhile
        if self._limit_reached():
            if of_handle is not None:
                of_handle.add(-1)
            return False
        self._promised += 1
        self._used[key] = used + 1
        return True

    def _limit_reached(self) -> bool:
        if self.limit is None:
            return False
        if self.meter is not None:
            return not self.meter.take(self.limit)
        return self.spent + self._promised >= self.limit

    def settle(self, credits: int, key: SnapshotKey, pages: int = 0) -> None:
        """The page came (or did not, with 0): the reservation becomes what was charged."""
        self._promised -= 1
        self.pages_bought += pages
        self.credits_bought += credits
        self.spent += credits
        self._used[key] += credits - 1
        if key.handle in self.handles:
            self.handles[key.handle][1].add(credits - 1)
        if self.meter is not None:
            self.meter.add(credits if self.limit is None else credits - 1)

    def share_again(self, cut: Sequence[SnapshotKey]) -> list[SnapshotKey]:
        """Give what the other lists of this run did not need to those that were `cut`, in their
        order; returns those that got something. Call it while nothing is being read."""
        spare = self._spare()
        if spare <= 0 or not cut:
            return self._release(cut)
        caps = {key.handle: self._left_of(key.handle) for key in cut}
        given = hand_out(dict.fromkeys(cut), caps, spare)
        self.allowances = {
            key: None if allowed is None else self._used.get(key, 0) + given.get(key, 0)
            for key, allowed in self.allowances.items()
        }
        return [key for key in cut if given[key]] or self._release(cut)

    def _spare(self) -> int:
        """What the lists were allowed and did not use, as far as the day's cap has it left."""
        spare = sum(
            max(0, allowed - self._used.get(key, 0))
            for key, allowed in self.allowances.items()
            if allowed is not None
        )
        if self.limit is None:
            return spare
        return min(spare, self.limit - (self.meter.count if self.meter else self.spent))

    def _left_of(self, handle: str) -> int | None:
        """What is left of a handle's cap; None where it has none."""
        if handle not in self.caps:
            return None
        left = self.caps[handle] - sum(n for key, n in self._used.items() if key.handle == handle)
        if handle in self.handles:
            whole, shared = self.handles[handle]
            left = min(left, whole - shared.count)
        return max(0, left)

    def _release(self, cut: Sequence[SnapshotKey]) -> list[SnapshotKey]:
        """Let lists go on that only the balance held back; once."""
        if not self.until_refused:
            return []
        self.until_refused = False
        free = [key for key in cut if key.handle not in self.caps]
        self.allowances = {**self.allowances, **dict.fromkeys(free)}
        return free
