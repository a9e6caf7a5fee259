"""What two lists can prove about gains and losses, as pure functions.

A list is the newest part of what TikTok has: it is cut short and shifts while it is read. So a
missing account is a loss only if the current list would have shown it. The *chain* is the longest
run of common accounts that keep their order in both lists. Its first account is the *front* (later
followers are above it), its last one the *horizon* (below it nothing is known).
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Completeness = Literal["complete", "window", "none"]

# If a smaller share of the common accounts kept their order, the order proves nothing.
MIN_ORDER_AGREEMENT = 0.9
# This many neighbours that vanish together are a hole in the list, not separate losses.
HOLE_SIZE = 4
# A list with at least BREAK_SIZE accounts and at most BREAK_SHARE of them in common with the list
# before is a break: the handle may belong to another person now.
BREAK_SIZE = 20
BREAK_SHARE = 0.05

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def tolerance(total: int) -> float:
    """The allowed difference of a list and its total, which drifts while the list is read."""
    return max(2, 0.005 * total)


def usable_total(listed: int, reported_total: int | None) -> int | None:
    """The reported total, or None if the list shows more accounts than that."""
    if reported_total is None or listed - reported_total > tolerance(reported_total):
        return None
    return reported_total


def completeness(
    lookup_status: str, end_reason: str | None, listed: int, reported_total: int | None
) -> Completeness:
    """How much of a list a snapshot shows.

    `complete`: read to the end and within max(2, 0.5 %) of the reported total, or without a usable
    total; an empty list only if the total is 0. `window`: found, anything less. `none`: no list,
    or only its total.
    """
    if lookup_status != "found" or end_reason == "counts":
        return "none"
    if end_reason != "exhausted":
        return "window"
    if listed == 0:
        return "complete" if reported_total == 0 else "window"
    total = usable_total(listed, reported_total)
    if total is None:
        return "complete"
    return "complete" if abs(total - listed) <= tolerance(total) else "window"


def exhaustive(
    lookup_status: str, end_reason: str | None, listed: int, reported_total: int | None
) -> bool:
    """Whether a list shows everyone, so that an account that is not in it does not follow.

    It must be read to the end, with a total not above the number of listed accounts and not more
    than the tolerance below it. Without a total this is unknown, because a cap looks like the end.
    """
    total = usable_total(listed, reported_total)
    return (
        lookup_status == "found"
        and end_reason == "exhausted"
        and total is not None
        and total <= listed
    )


def is_break(
    *,
    listed: int,
    listed_before: int,
    common: int,
    complete: bool,
    total: int | None,
    total_before: int | None,
) -> bool:
    """Whether a list probably belongs to another person than the list before.

    They share almost no account, and either both are `complete` or the totals are far apart. (The
    window of a person who gains many followers may change completely, too.)
    """
    few, many = sorted((listed, listed_before))
    if few < BREAK_SIZE or common > BREAK_SHARE * few:
        return False
    if complete:
        return True
    if total is None or total_before is None:
        return False
    return total < 0.8 * total_before or total > 5 * total_before + many


@dataclass(frozen=True)
class Claims:
    """What a comparison allows to claim, and why.

    `losses`: `all` (the current list shows everyone), `window` (accounts above the horizon) or
    `none`. `gains`: `all` (the previous list showed everyone), `front` (new accounts above the
    front) or `none`. Both are `baseline` without an earlier snapshot, and `break` if the list
    begins a new series. `order`: whether the order of the two lists proves anything.
    """

    losses: Literal["all", "window", "none", "baseline", "break"]
    gains: Literal["all", "front", "none", "baseline", "break"]
    order: bool
    reason: str


def claims(
    *,
    shows_all: bool,
    showed_all: bool,
    listed: int,
    listed_before: int,
    common: int,
    chain: int,
    ordered: bool = True,
) -> Claims:
    """What the comparison of two usable snapshots allows to claim.

    `shows_all`, `showed_all`: whether the current and the previous list are exhaustive. `listed`
    and `listed_before` are their numbers of accounts, `common` the number in both with known
    positions, `chain` the number of those that kept their order. `ordered`: whether both lists may
    be in the order of the follows.
    """
    if common == 0 and listed > 0 and listed_before > 0:
        return Claims("none", "none", False, "The lists have no account in common.")
    order = ordered and common > 1 and chain >= MIN_ORDER_AGREEMENT * common
    losses: Literal["all", "window", "none"] = "all" if shows_all else "window" if order else "none"
    gains: Literal["all", "front", "none"] = "all" if showed_all else "front" if order else "none"
    if order:
        proofs = ["The common accounts kept their order"]
    elif not ordered:
        proofs = ["One of the lists does not have the order of the follows"]
    elif common == 1:
        proofs = ["One common account is in any order"]
    elif common:
        proofs = [f"Only {chain / common:.0%} of the common accounts kept their order"]
    else:
        proofs = ["One of the lists is empty"]
    if shows_all and showed_all:
        proofs.append("both lists show everyone")
    elif shows_all:
        proofs.append("this list shows everyone")
    elif showed_all:
        proofs.append("the list before showed everyone, this one does not")
    else:
        proofs.append("neither list shows everyone")
    return Claims(losses, gains, order, "; ".join(proofs) + ".")


def longest_chain(places: Floats) -> Bools:
    """A mask of the common accounts, in the order of the current list, that are in the chain.

    `places` are their places in the previous list; higher up is larger. The chain is the longest
    strictly falling subsequence, found in O(n log n).
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
    """The current list aligned with the previous one.

    The arrays have one item per account of the current list: its place (NaN if its order does not
    count), and the places of the nearest accounts of the chain at or above it (`ceiling`) and at or
    below it (`floor`), infinite if there is none. `front` is an index (0 is the top), `horizon` the
    place of the last account of the chain. `shown_to` is the deepest place that the list is known
    to reach; it is below the horizon if the list shows accounts below the previous list again.
    """

    in_chain: Bools
    places: Floats
    ceiling: Floats
    floor: Floats
    common: int
    chain: int
    front: int
    horizon: float
    shown_to: float
    renumbered: tuple[Floats, Floats] | None


def align(
    previous: Floats,
    remembered: Floats,
    known: Floats,
    *,
    established: bool = False,
    ordered: bool = True,
) -> Alignment:
    """Align the current list with the previous one and give every account a place.

    For each account of the current list, top first: `previous` is its place in the previous list,
    or NaN; `remembered` is its last place if it was only in an earlier list, or NaN. `known` has
    the last places of all accounts ever listed, rising.

    Places fall along the list. Accounts of the chain keep theirs, and so do accounts that are back
    at their old place. Accounts above all of them get new places above every place ever given, so
    that accounts that left keep theirs. The others get places between their neighbours, or just
    below the last one. If no number is left between two places, `renumbered` has old and new places
    (both rising) of the accounts that keep their order or are not in the list.

    `established`: the list before was in order. Then a list that contradicts it, or that is not
    `ordered`, does not change the order: the next list is aligned with the old one.
    """
    count = len(previous)
    common = np.flatnonzero(~np.isnan(previous))
    in_chain: Bools = np.zeros(count, dtype=bool)
    in_chain[common[longest_chain(previous[common])]] = True
    chain = np.flatnonzero(in_chain)
    ceiling: Floats = np.full(count, np.inf)
    floor: Floats = np.full(count, -np.inf)
    front, horizon = 0, float("inf")
    if len(chain):
        index = np.arange(count)
        first, last = int(chain[0]), int(chain[-1])
        above = chain[np.searchsorted(chain, index[first:], side="right") - 1]
        below = chain[np.searchsorted(chain, index[: last + 1], side="left")]
        ceiling[first:], floor[: last + 1] = previous[above], previous[below]
        front, horizon = first, float(previous[last])
    if established and not (ordered and len(chain) >= MIN_ORDER_AGREEMENT * len(common)):
        ceiling[:], floor[:] = np.inf, -np.inf
        places = np.where(np.isnan(previous), remembered, previous)
        return Alignment(
            in_chain, places, ceiling, floor, len(common), len(chain), front, horizon,
            horizon, None,
        )  # fmt: skip

    anchors = chain
    back = np.flatnonzero((remembered > floor) & (remembered < ceiling))
    if len(back):
        # Between two accounts of the chain, they can only contradict each other.
        kept = np.sort(np.concatenate([chain, back]))
        anchors = kept[longest_chain(np.where(in_chain, previous, remembered)[kept])]
    at = np.where(in_chain, previous, remembered)[anchors]
    places = _between(count, anchors, at, known)
    renumbered = None
    if count > 1 and not bool(np.all(places[1:] < places[:-1])):
        places, renumbered = _anew(count, anchors, at, known)
    return Alignment(
        in_chain,
        places,
        ceiling,
        floor,
        len(common),
        len(chain),
        front,
        horizon,
        float(at[-1]) if len(at) else horizon,
        renumbered,
    )


def _between(count: int, anchors: Ints, at: Floats, known: Floats) -> Floats:
    """Places for a list of `count` accounts, given the places `at` the indexes `anchors`."""
    highest = float(known[-1]) if len(known) else 0.0
    if len(anchors) == 0:
        return highest + np.arange(count, 0, -1, dtype=np.float64)
    first, last = int(anchors[0]), int(anchors[-1])
    places: Floats = np.interp(np.arange(count, dtype=np.float64), anchors, at)
    places[:first] = highest + np.arange(first, 0, -1, dtype=np.float64)
    tail = np.arange(1, count - last, dtype=np.float64)
    lower = int(np.searchsorted(known, at[-1], side="left")) - 1
    # Above the next known place: an uncertain account must not lower the horizon.
    step = (float(at[-1]) - float(known[lower])) / (len(tail) + 1) if lower >= 0 else 1.0
    places[last + 1 :] = float(at[-1]) - tail * step
    return places


def _anew(
    count: int, anchors: Ints, at: Floats, known: Floats
) -> tuple[Floats, tuple[Floats, Floats]]:
    """Places as whole numbers, and the old and new places of all other accounts."""
    elsewhere = np.setdiff1d(known, at)[::-1]
    # The anchor that each account follows. Among equals, accounts in the list come first.
    segment = np.concatenate(
        [
            np.searchsorted(anchors, np.arange(count), side="right"),
            np.searchsorted(-at, -elsewhere, side="right"),
        ]
    )
    order = np.argsort(segment, kind="stable")
    fresh: Floats = np.empty(len(order), dtype=np.float64)
    fresh[order] = np.arange(len(order), 0, -1, dtype=np.float64)
    old = np.concatenate([at, elsewhere])
    new = np.concatenate([fresh[:count][anchors], fresh[count:]])
    rising = np.argsort(old, kind="stable")
    return fresh[:count], (old[rising], new[rising])
