"""Allots credits to lists in rounds. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sf_assets.model import SnapshotKey


@dataclass(frozen=True)
class Need:
    """A list of the day and the estimated credits for the rest of it; None if unknown.

    `last_read`: day of its latest snapshot before today. `cap`: credits left today for its handle,
    both lists together.
    """

    key: SnapshotKey
    credits: int | None
    priority: int = 0
    last_read: date | None = None
    cap: int | None = None

    @property
    def rank(self) -> tuple[int, date, SnapshotKey]:
        """Sort key: highest priority first, then the longest wait."""
        return -self.priority, self.last_read or date.min, self.key


def limit_of(left: int | None, balance: int | None, needed: int) -> tuple[int | None, bool]:
    """(limit for all lists of a day or None, whether the balance is the limit).

    `left`: credits left of the day's cap. Unlike a cap, a short balance may be refilled.
    """
    if balance and needed > balance and (left is None or balance < left):
        return balance, True
    return left, False


def shares(needs: Iterable[Need], limit: int | None) -> dict[SnapshotKey, int | None]:
    """Allot `limit` credits, one per list and round, then the rest in the same way.

    A list may get more than its estimate, because lists grow. None means no limit: neither `limit`
    nor the handle has a cap.
    """
    ordered = sorted(needs, key=lambda need: need.rank)
    if limit is None:
        free: dict[SnapshotKey, int | None] = {n.key: None for n in ordered if n.cap is None}
        capped = [need for need in ordered if need.cap is not None]
        left = sum({need.key.handle: need.cap or 0 for need in capped}.values())
        return {**free, **_rounds(capped, left)}
    return {**_rounds(ordered, limit)}


def _rounds(ordered: Sequence[Need], limit: int) -> dict[SnapshotKey, int]:
    caps = {need.key.handle: need.cap for need in ordered}
    needed = hand_out({need.key: need.credits for need in ordered}, caps, limit)
    for key, credits in needed.items():
        cap = caps[key.handle]
        caps[key.handle] = None if cap is None else cap - credits
    spare = hand_out(dict.fromkeys(needed), caps, limit - sum(needed.values()))
    return {key: needed[key] + spare[key] for key in needed}


def hand_out(
    wants: Mapping[SnapshotKey, int | None], caps: Mapping[str, int | None], limit: int
) -> dict[SnapshotKey, int]:
    """Each list's part of `limit` credits, allotted in rounds in the order of `wants`.

    A want of None takes as much as possible. `caps`: maximum for each handle, or None.
    """
    given = dict.fromkeys(wants, 0)
    room = {handle: cap for handle, cap in caps.items() if cap is not None}
    left = limit
    while left > 0:
        wanting = {
            key: left if want is None else want - given[key]
            for key, want in wants.items()
            if room.get(key.handle) != 0 and (want is None or given[key] < want)
        }
        if not wanting:
            break
        lists_of = Counter(key.handle for key in wanting)
        # Several rounds at once, as many as every remaining list can take.
        rounds = min(
            left // len(wanting),
            *wanting.values(),
            *(cap // lists_of[handle] for handle, cap in room.items() if handle in lists_of),
        )
        credits = max(1, rounds)
        for key in wanting:
            if left >= credits and room.get(key.handle, credits) >= credits:
                given[key] += credits
                left -= credits
                if key.handle in room:
                    room[key.handle] -= credits
    return given


def least(needs: Iterable[Need]) -> int:
    """The minimum cost of all lists together; one credit for an unknown one."""
    return sum(1 if need.credits is None else need.credits for need in needs)
