"""Matches the entries of a list to the accounts of a series.

A match by id counts. A match by handle alone counts only if the account is at its old place. This
module claims no gains or losses: it decides whom a list shows, and who cannot be distinguished.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sf_assets.warehouse.alignment import Alignment, Bools, Ints
from sf_assets.warehouse.series import (
    NONE,
    Accounts,
    End,
    Keys,
    Listing,
    Proof,
    Series,
    Start,
    State,
)


@dataclass
class Match:
    """For each entry of a list: the index of its account (-1 for a new one), and whether only the
    handle matches."""

    account: Ints
    by_handle: Bools


def find(keys: Keys, wanted: Keys) -> Ints:
    """The index in `keys` of each of `wanted`, or -1."""
    if len(keys) == 0:
        return np.full(len(wanted), -1, dtype=np.int64)
    order = np.argsort(keys, kind="stable")
    at = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    index = order[at]
    return np.where(keys[index] == wanted, index, -1)


def match(series: Series, listing: Listing) -> Match:
    """Match by id, then by handle among accounts that no id distinguishes."""
    rows = series.accounts
    has_id = listing.has_number | listing.has_sec
    account = np.where(has_id, find(rows["key"], listing.key), -1)
    free = np.ones(len(rows), dtype=bool)
    free[account[account >= 0]] = False
    by_handle = np.zeros(len(listing), dtype=bool)
    # Entries with ids first: an entry without ids must not take another one's account.
    for entries in (np.flatnonzero(has_id & (account < 0)), np.flatnonzero(~has_id)):
        if not len(entries) or not free.any():
            continue
        found = namesakes(rows, free, listing, entries)
        chosen = entries[found >= 0]
        account[chosen] = found[found >= 0]
        by_handle[chosen] = True
        free[account[chosen]] = False
    return Match(account, by_handle)


def namesakes(rows: Accounts, free: Bools, listing: Listing, entries: Ints) -> Ints:
    """For each of `entries`, the index of the likeliest free account with that handle, or -1.

    Accounts in the list come before former ones, then accounts without ids, then those seen last.
    Each account is used once.
    """
    wanted = np.isin(rows["handle"], listing.handle[entries])
    candidates = np.flatnonzero(free & wanted)
    result = np.full(len(entries), -1, dtype=np.int64)
    if not len(candidates):
        return result
    order = np.lexsort(
        (
            rows["key"][candidates],
            -rows["last"][candidates],
            (rows["number"] | rows["sec"])[candidates],
            ~rows["present"][candidates],
            rows["handle"][candidates],
        )
    )
    candidates = candidates[order]
    handles = rows["handle"][candidates]
    low = np.searchsorted(handles, listing.handle[entries], side="left")
    high = np.searchsorted(handles, listing.handle[entries], side="right")
    taken: set[int] = set()
    for position in np.flatnonzero(high > low).tolist():
        entry = entries[position]
        for index in candidates[low[position] : high[position]].tolist():
            if index not in taken and not (
                (listing.has_number[entry] and rows["number"][index])
                or (listing.has_sec[entry] and rows["sec"][index])
            ):
                result[position] = index
                taken.add(index)
                break
    return result


def believe(series: Series, found: Match, over: Alignment, order: bool, ordered: bool) -> None:
    """Drop matches by handle alone for accounts that are not at their old place.

    Without `order`, or if the list before was not `ordered`, there are no old places: then the
    match counts if the account was in the list before.
    """
    rows = series.accounts
    weak = np.flatnonzero(found.by_handle)
    if not len(weak):
        return
    account = found.account[weak]
    present, place = rows["present"][account], rows["place"][account]
    if order:
        between = (place > over.floor[weak]) & (place < over.ceiling[weak])
        stands = np.where(present, over.in_chain[weak] | (not ordered), between)
        stands &= ~_may_be_another(rows, found, over, weak)
    else:
        stands = present
    found.account[weak[~stands]] = -1
    found.by_handle[weak[~stands]] = False


def _may_be_another(rows: Accounts, found: Match, over: Alignment, weak: Ints) -> Bools:
    """Which of the `weak` entries, matched by handle alone, may be a missing account without ids of
    the same part of the list, which took the handle.

    Only asked of accounts that had ids, and below the last entry that is matched by id: what stands
    there decides how far the list goes.
    """
    sure = np.flatnonzero(over.in_chain & ~found.by_handle)
    named = (rows["number"] | rows["sec"])[found.account[weak]]
    asked = len(sure) > 0 and (named | (weak > sure[-1]))
    missing = rows["present"] & ~rows["number"] & ~rows["sec"]
    missing[found.account[found.account >= 0]] = False
    places = np.sort(rows["place"][missing])  # unknown ones last
    if not np.any(asked) or not len(places):
        return np.zeros(len(weak), dtype=bool)
    bounds = np.concatenate([[np.inf], rows["place"][found.account[sure]], [-np.inf]])
    at = np.searchsorted(sure, weak)
    between = np.searchsorted(places, bounds[at]) > np.searchsorted(places, bounds[at + 1], "right")
    result: Bools = asked & (between | np.isnan(places[-1]))
    return result


def merge_nameless(series: Series, listing: Listing, found: Match) -> None:
    """Merge an account that shows its id again with an account without ids that had its handle
    meanwhile and is gone now."""
    rows = series.accounts
    matched = found.account
    back = np.flatnonzero(matched >= 0)
    back = back[~rows["present"][matched[back]]]
    back = back[(listing.has_number | listing.has_sec)[back] & ~found.by_handle[back]]
    if not len(back):
        return
    shown = np.zeros(len(rows), dtype=bool)
    shown[matched[matched >= 0]] = True
    nameless = np.flatnonzero(rows["present"] & ~rows["number"] & ~rows["sec"] & ~shown)
    if not len(nameless):
        return
    at = find(rows["handle"][nameless], listing.handle[back])
    for entry, where in zip(back.tolist(), at.tolist(), strict=True):
        if where < 0:
            continue
        spell, account = int(nameless[where]), int(matched[entry])
        if (
            rows["first"][spell] > rows["looked"][account]
            and rows["present"][spell]
            and rows["loss_state"][spell] == State.none
        ):
            _merge(series, account, spell, listing.day)


def _merge(series: Series, account: int, spell: int, day: int) -> None:
    rows, changes = series.accounts, series.changes
    one = np.array([account])
    came = Start(int(rows["start"][spell]))
    first = int(rows["first"][spell])
    # `recent` lists counted it as listed until a complete list was read.
    rows["last"][account] = min(int(rows["last"][account]), first - 1)
    if came in (Start.gained, Start.returned):
        series.confirm_losses(one, Proof.order, day)
        series.close_losses(one)
        series.close(one)
        rows["first"][account] = first
        rows["start"][account] = Start.returned
        rows["after"][account] = rows["after"][spell]
        rows["before"][account] = rows["before"][spell]
        # The gain may be in this chunk or already stored.
        for at, gain in enumerate(changes.gains):
            if gain[0] == spell and gain[2] == first:
                changes.gains[at] = (account, gain[1], first, Start.returned, *gain[4:])
                break
        else:
            changes.moved_gains.append((spell, account, first))
    else:
        heal(series, one, first)
    # An account that never left keeps its place.
    if came in (Start.gained, Start.returned) or np.isnan(rows["place"][account]):
        rows["place"][account] = rows["place"][spell]
    rows["present"][account] = True
    rows["end"][account] = End.none
    rows["missed"][account] = NONE
    rows["changed"][account] = True
    if rows["stored"][spell] != NONE:
        changes.dropped.append((spell, int(rows["stored"][spell])))
    rows["stored"][spell] = NONE
    rows["changed"][spell] = False
    rows["present"][spell] = False
    rows["end"][spell] = End.beyond
    rows["key"][spell] = 0
    rows["handle"][spell] = 0
    rows["place"][spell] = np.nan


def heal(series: Series, accounts: Ints, until: int) -> None:
    """Retract the losses of accounts that never left, and mark the days before `until` as healed.

    `until` is the first day on which the accounts are in the list again.
    """
    rows, changes = series.accounts, series.changes
    days = [reading.day for reading in series.readings]
    for index in accounts.tolist():
        missing = [day for day in days if rows["last"][index] < day < until]
        if missing:
            changes.healed.append((index, missing[0], missing[-1]))
    lost = accounts[rows["loss_state"][accounts] != State.none]
    rows["loss_state"][lost] = State.retracted
    rows["loss_changed"][lost] = True
    series.close_losses(lost)
    rows["present"][accounts] = True
    rows["end"][accounts] = End.none
    rows["missed"][accounts] = NONE
    rows["changed"][accounts] = True


def same_kind(number: Bools, sec: Bools) -> Ints:
    """0 to 3 for the ids that an account shows: none, secUid, user id, both."""
    return number.astype(np.int64) * 2 + sec.astype(np.int64)


# The gap of an account without a place.
ANYWHERE = -1

# Whether two different accounts of these kinds can be told apart.
TOLD_APART = np.array(
    [[bool((one & 2 and two & 2) or (one & 1 and two & 1)) for two in range(4)] for one in range(4)]
)


def possible_renames(
    gaps: Ints, kinds: Ints, new_gaps: Ints, new_kinds: Ints, nameless: Bools
) -> tuple[Bools, Bools]:
    """Which missing accounts may be new ones under another name, and vice versa.

    `gaps` and `new_gaps` are the positions among the accounts that kept their order, ANYWHERE if
    unknown. `nameless` marks which of those, from the top, have no ids. Without ids, a new name at
    the place of a missing one may be a rename. The same holds next to an account without ids: it
    may have taken the new name, and its neighbour, which seems missing, its old one.
    """
    # The last row is for ANYWHERE (-1).
    size = int(max(gaps.max(initial=-1), new_gaps.max(initial=-1))) + 2
    new_there = np.zeros((size, 4), dtype=bool)
    new_there[new_gaps, new_kinds] = True
    gone_there = np.zeros((size, 4), dtype=bool)
    gone_there[gaps, kinds] = True
    # A new account without ids further down, where nobody is missing, may be any missing account.
    stray = (new_gaps > 0) & (new_kinds == 0)
    stray &= ~(gone_there | gone_there[ANYWHERE])[new_gaps].any(axis=1)
    above = np.flatnonzero(nameless[: max(size - 2, 0)])
    for there in (new_there, gone_there):
        own = there[:, 0].copy()
        there[above + 1, 0] |= own[above]
        there[above, 0] |= own[above + 1]
    new_there[ANYWHERE] = new_there.any(axis=0)
    gone_there |= gone_there[ANYWHERE]
    gone = (new_there[gaps] & ~TOLD_APART[kinds]).any(axis=1)
    new = (gone_there[new_gaps] & ~TOLD_APART[new_kinds]).any(axis=1)
    if stray.any():
        gone |= kinds == 0
    return gone, new


def has_bearer(series: Series, listing: Listing, found: Match, accounts: Ints) -> Bools:
    """For which of these accounts another entry of the list has the handle, and no id
    distinguishes the two."""
    rows = series.accounts
    result = np.zeros(len(accounts), dtype=bool)
    suspects = np.flatnonzero(np.isin(rows["handle"][accounts], listing.handle))
    if not len(suspects):
        return result
    order = np.argsort(listing.handle, kind="stable")
    handles = listing.handle[order]
    for at in suspects.tolist():
        index = accounts[at]
        low = np.searchsorted(handles, rows["handle"][index], side="left")
        high = np.searchsorted(handles, rows["handle"][index], side="right")
        for entry in order[low:high].tolist():
            if found.account[entry] == index:
                continue
            apart = (listing.has_number[entry] and rows["number"][index]) or (
                listing.has_sec[entry] and rows["sec"][index]
            )
            if not apart:
                result[at] = True
                break
    return result
