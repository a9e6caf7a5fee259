"""Who was there, who came, who left: what two lists can prove, as pure functions.

A list is the newest part of what TikTok knows, cut short, shifting while it is read. So a missing
account is a loss only where the current list would have shown it. The *chain* is the longest run
of common accounts that keep their order in both lists; its first account is the *front* (who
followed later stands above it), its last the *horizon* (below it nothing is known).
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Completeness = Literal["complete", "window", "none"]

# Under this share of common accounts that kept their order, order proves nothing.
MIN_ORDER_AGREEMENT = 0.9
# So many neighbours that vanish together are a hole in the list, not that many decisions.
HOLE_SIZE = 4

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def completeness(
    lookup_status: str, end_reason: str | None, listed: int, reported_total: int | None
) -> Completeness:
    """How much of a list a snapshot shows.

    `complete`: read to its end and within max(2, 0.5 %) of the reported total, or no total is
    reported; an empty list only where the total says 0. `window`: found, anything less.
    """
    if lookup_status != "found":
        return "none"
    if end_reason != "exhausted":
        return "window"
    if listed == 0:
        return "complete" if reported_total == 0 else "window"
    if reported_total is None:
        return "complete"
    return (
        "complete" if abs(reported_total - listed) <= max(2, 0.005 * reported_total) else "window"
    )


@dataclass(frozen=True)
class Claims:
    """What one comparison allows to say, and why.

    `losses`: `all`, `window` (accounts above the horizon) or `none`.
    `gains`: `front` (new accounts above the front), `all` (every new account) or `none`.
    Both are `baseline` where there is no earlier snapshot.
    """

    losses: Literal["all", "window", "none", "baseline"]
    gains: Literal["front", "all", "none", "baseline"]
    reason: str


def claims(
    current: Completeness,
    previous: Completeness,
    *,
    listed: int,
    listed_before: int,
    common: int,
    chain: int,
) -> Claims:
    """What the comparison of two usable snapshots allows to claim.

    `listed` and `listed_before` are accounts in the current and the previous list, `common` those
    in both, `chain` those of them that kept their order.
    """
    both_complete = current == "complete" and previous == "complete"
    if common == 0:
        if both_complete and 0 in (listed, listed_before):
            # Complete and empty means that the total says 0: everyone on the other side changed.
            return Claims("all", "all", "one list is empty, and its total says so")
        return Claims("none", "none", "the lists have no account in common")
    agreement = chain / common
    if agreement < MIN_ORDER_AGREEMENT:
        kept = f"only {agreement:.0%} of the common accounts kept their order"
        if both_complete:
            return Claims("all", "all", f"{kept}, but both lists are complete")
        return Claims("none", "none", f"{kept}, and a list is only a window")
    if current == "complete":
        return Claims("all", "front", "the list is complete")
    return Claims("window", "front", "the list is a window: nothing is known below its horizon")


def longest_chain(places: Floats) -> Bools:
    """Which of the common accounts, in the order of the current list, are in the chain.

    `places` are their places in the previous list, the larger the higher up. Returns a mask of the
    longest strictly falling subsequence; O(n log n).
    """
    count = len(places)
    mask: Bools = np.zeros(count, dtype=bool)
    if count == 0:
        return mask
    rising = -places
    if count == 1 or bool(np.all(rising[1:] > rising[:-1])):
        mask[:] = True
        return mask
    values: list[float] = rising.tolist()
    tails: list[float] = []  # smallest last value of a chain of each length
    tail_index: list[int] = []
    before = [-1] * count
    for index, value in enumerate(values):
        if not tails or value > tails[-1]:
            length = len(tails)
            tails.append(value)
            tail_index.append(index)
        else:
            length = bisect_left(tails, value)
            tails[length] = value
            tail_index[length] = index
        before[index] = tail_index[length - 1] if length else -1
    at = tail_index[-1]
    while at >= 0:
        mask[at] = True
        at = before[at]
    return mask


@dataclass(frozen=True)
class Alignment:
    """The current list laid over the previous one.

    The arrays have one entry an account of the current list: its place, and the places of the next
    accounts of the chain at or above and at or below it (infinite where there is none). `front` is
    a position (1 is the top; 0 without a chain), `horizon_place` the place of the horizon.
    """

    in_chain: Bools
    places: Floats
    ceiling: Floats
    floor: Floats
    common: int
    chain: int
    front: int
    horizon_place: float
    renumbered: tuple[Floats, Floats] | None


def align(previous: Floats, highest: float, lowest: float) -> Alignment:
    """Lay the current list over the previous one and give every account its place.

    `previous`: for each account of the current list, top first, its place in the previous list, NaN
    where it was not in it. `highest` and `lowest`: the outermost places ever given in this list, so
    that who has left keeps a place nobody else takes. Places fall along the current list: accounts
    of the chain keep theirs, those above the front get new ones above `highest`, the others are
    spread between their neighbours of the chain. Where no number is left between two neighbours,
    `renumbered` maps old places to new ones for everybody who is not in the list.
    """
    count = len(previous)
    common = np.flatnonzero(~np.isnan(previous))
    in_chain: Bools = np.zeros(count, dtype=bool)
    in_chain[common[longest_chain(previous[common])]] = True
    anchors = np.flatnonzero(in_chain)
    places: Floats = previous.copy()
    ceiling: Floats = np.full(count, np.inf)
    floor: Floats = np.full(count, -np.inf)
    if len(anchors) == 0:
        places = highest + np.arange(count, 0, -1, dtype=np.float64)
        return Alignment(in_chain, places, ceiling, floor, len(common), 0, 0, np.inf, None)
    first, last = int(anchors[0]), int(anchors[-1])
    index = np.arange(count)
    above = np.searchsorted(anchors, index, side="right") - 1
    below = np.searchsorted(anchors, index, side="left")
    ceiling[first:] = previous[anchors[above[first:]]]
    floor[: last + 1] = previous[anchors[below[: last + 1]]]
    places[:first] = highest + np.arange(first, 0, -1, dtype=np.float64)
    places[last + 1 :] = lowest - np.arange(1, count - last, dtype=np.float64)
    inner = np.flatnonzero(~in_chain[first:last]) + first
    if len(inner):
        upper, lower = anchors[above[inner]], anchors[below[inner]]
        share = (inner - upper) / (lower - upper)
        places[inner] = previous[upper] - (previous[upper] - previous[lower]) * share
    horizon_place = float(places[last])
    renumbered = None
    if count > 1 and not bool(np.all(places[1:] < places[:-1])):
        fresh: Floats = np.arange(count, 0, -1, dtype=np.float64)
        renumbered = (places[in_chain][::-1].copy(), fresh[in_chain][::-1].copy())
        places = fresh
    return Alignment(
        in_chain,
        places,
        ceiling,
        floor,
        len(common),
        len(anchors),
        first + 1,
        horizon_place,
        renumbered,
    )
