"""Handing out credits to lists, in rounds. No I/O happens here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sf_assets.model import SnapshotKey


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


def limit_of(left: int | None, balance: int | None, needed: int) -> tuple[int | None, bool]:
    """What all lists of a day may take together, None for no limit; and whether it is the balance
    that is short, which may be refilled meanwhile, and not what is `left` of the day's cap."""
    if balance and needed > balance and (left is None or balance < left):
        return balance, True
    return left, False


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
    """What each list gets of `limit` credits, in rounds and in the order of `wants`.

    None wants as much as there is. `caps` are the most for each handle; None is no cap.
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
        # Whole rounds at once, as many as all who still want something can have.
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
    """What lists cost together at the least: a credit where nobody knows."""
    return sum(1 if need.credits is None else need.credits for need in needs)
