"""How much may be spent today and on which list: caps, shares, and a counter for all runs.

A run estimates the cost of its lists. If a cap or the balance is too small for all lists of the
day, pages are allotted in rounds, one per list: every handle gets its first pages before any gets
its last. Credits that a list does not need go to lists that were cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sf_assets.credits.meter import DayMeter
from sf_assets.credits.shares import hand_out
from sf_assets.model import SnapshotKey


@dataclass
class Budget:
    """Credits of a day. Each page is reserved before its request, so `limit` is never exceeded.

    `limit`: the cap; None means no cap. `allowances`: credits for each list in this run; a list
    without one, or with None, is bounded by `limit` only. `caps`: credits left today for a handle,
    both lists together; `handles`: its full cap and the counter of all runs. `meter`: the counter
    of all runs of the day; `spent`: credits before this run and in it. `until_refused`: the balance
    is short, so the allowances only set the order; at the end the run continues until the API
    refuses, because the account may be refilled. `pages_bought`, `credits_bought`: of this run.
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
        """Reserve a credit for a page of a list. Returns False if a cap is reached."""
        used, allowed = self._used.get(key, 0), self.allowances.get(key)
        if allowed is not None and used >= allowed:
            return False
        cap, of_handle = self.handles.get(key.handle, (0, None))
        if of_handle is not None and not of_handle.take(cap):
            return False  # another run of the day has spent it
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
        """Replace a reservation with the charged credits (0 if the page did not come)."""
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
        """Give unused credits of other lists to the `cut` lists, in their order.

        Returns the lists that got some. Call it only while no list is being read.
        """
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
        """Unused allowances, up to what is left of the day's cap."""
        spare = sum(
            max(0, allowed - self._used.get(key, 0))
            for key, allowed in self.allowances.items()
            if allowed is not None
        )
        if self.limit is None:
            return spare
        return min(spare, self.limit - (self.meter.count if self.meter else self.spent))

    def _left_of(self, handle: str) -> int | None:
        """Credits left of a handle's cap; None if it has no cap."""
        if handle not in self.caps:
            return None
        left = self.caps[handle] - sum(n for key, n in self._used.items() if key.handle == handle)
        if handle in self.handles:
            cap, shared = self.handles[handle]
            left = min(left, cap - shared.count)
        return max(0, left)

    def _release(self, cut: Sequence[SnapshotKey]) -> list[SnapshotKey]:
        """Let lists continue that only the balance stopped; only once."""
        if not self.until_refused:
            return []
        self.until_refused = False
        free = [key for key in cut if key.handle not in self.caps]
        self.allowances = {**self.allowances, **dict.fromkeys(free)}
        return free
