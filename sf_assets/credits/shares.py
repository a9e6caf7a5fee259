"""Handing out credits to lists, in rounds. No I/O happens here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    left = hand_out(ordered, given, of_handle, limit, needed_only=True)
    hand_out(ordered, given, of_handle, left, needed_only=False)
    return given


def hand_out(
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
