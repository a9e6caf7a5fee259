"""Who is who: which account of a series each entry of a list shows.

An id is believed, a handle alone only where the account stands in its old place. Nothing here
claims anything; it says whom a list shows, and who cannot be told apart from whom.
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
    """For each entry of a list: the account it shows, -1 for a new one, and whether nothing but
    the handle says so."""

    account: Ints
    by_handle: Bools


def find(keys: Keys, wanted: Keys) -> Ints:
    """The index in `keys` of each of `wanted`, -1 where it is not among them."""
    if len(keys) == 0:
        return np.full(len(wanted), -1, dtype=np.int64)
    order = np.argsort(keys, kind="stable")
    at = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    found = order[at]
    return np.where(keys[found] == wanted, found, -1)


def match(series: Series, listing: Listing) -> Match:
    """Match by id; then by handle, among those whom no id tells apart."""
    rows = series.accounts
    has_id = listing.has_number | listing.has_sec
    account = np.where(has_id, find(rows["key"], listing.key), -1)
    free = np.ones(len(rows), dtype=bool)
    free[account[account >= 0]] = False
    by_handle = np.zeros(len(listing), dtype=bool)
    # Entries with ids first: who shows none must not take somebody's account away.
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
    """For each of `entries` the likeliest free account of that handle, each account once.

    Who is in the list already goes before who was; of those who shows no ids, and who was seen
    last.
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
    """Drop matches by handle alone of accounts that do not stand in their old place.

    Without `order`, or where the list before was not `ordered`, nobody can say what an old place
    is: then those are believed who were in the list before.
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
    else:
        stands = present
    found.account[weak[~stands]] = -1
    found.by_handle[weak[~stands]] = False


def merge_nameless(series: Series, listing: Listing, found: Match) -> None:
    """Where an account shows its id again, and somebody without ids had its handle meanwhile and
    is gone now, the two are one: the spell without a name was the account's own."""
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
    # Readings of the top alone took it for listed until a whole one looked.
    rows["last"][account] = min(int(rows["last"][account]), first - 1)
    if came in (Start.gained, Start.returned):
        series.confirm_losses(one, Proof.order, day)
        series.close_losses(one)
        series.close(one)
        rows["first"][account] = first
        rows["start"][account] = Start.returned
        rows["after"][account] = rows["after"][spell]
        rows["before"][account] = rows["before"][spell]
        # The claim of the day on which it came may be of this chunk, or stored already.
        for at, gain in enumerate(changes.gains):
            if gain[0] == spell and gain[2] == first:
                changes.gains[at] = (account, gain[1], first, Start.returned, *gain[4:])
                break
        else:
            changes.moved_gains.append((spell, account, first))
    else:
        heal(series, one, first)
    # Who never left stands where it stood.
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
    """These accounts never left: their losses are retracted, the days up to `until` healed.

    `until` is the first day on which the account is in the list again.
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
    """0 to 3: which ids an account shows, neither, the secUid, the number, both."""
    return number.astype(np.int64) * 2 + sec.astype(np.int64)


# Between which accounts somebody stood who has no place.
ANYWHERE = -1

# Whether accounts of two such kinds can be told apart, if they are different ones.
TOLD_APART = np.array(
    [[bool((one & 2 and two & 2) or (one & 1 and two & 1)) for two in range(4)] for one in range(4)]
)


def possible_renames(
    gaps: Ints, kinds: Ints, new_gaps: Ints, new_kinds: Ints, nameless: Bools
) -> tuple[Bools, Bools]:
    """Who of those gone may be one of the newcomers under another name, and the other way round.

    `gaps` say between which accounts that kept their order somebody stood or stands, ANYWHERE where
    nobody knows; `nameless` which of those, from the top, have no ids. Without ids a new name in
    the place of one that is gone may be a rename. Beside an account without ids too: it may have
    taken the new name, and its neighbour, who seems gone, its own.
    """
    # The last row is for ANYWHERE, which is -1.
    size = int(max(gaps.max(initial=-1), new_gaps.max(initial=-1))) + 2
    new_there = np.zeros((size, 4), dtype=bool)
    new_there[new_gaps, new_kinds] = True
    gone_there = np.zeros((size, 4), dtype=bool)
    gone_there[gaps, kinds] = True
    # A nameless newcomer further down, where nobody is gone, stands in no order: any of them.
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
    """For which of these accounts somebody else in the list bears the handle, and no id tells the
    two apart."""
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
