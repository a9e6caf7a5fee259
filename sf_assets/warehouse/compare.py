"""Decides what the next list of a series proves: gains, losses, and the fate of earlier claims.

Three kinds of proof exist. An *exhaustive* list shows everyone, so an account that is not in it
does not follow. The order of the list: an account that was above its *horizon* and is missing left,
and an account above its *front* came. And the list of the other side, if both profiles are tracked.
Nothing else proves anything: other missing accounts are *beyond* (right-censored), other new ones
are *revealed* (left-truncated).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from sf_assets.warehouse.alignment import (
    HOLE_SIZE,
    MIN_ORDER_AGREEMENT,
    Alignment,
    Bools,
    Claims,
    Floats,
    Ints,
    align,
    claims,
    is_break,
)
from sf_assets.warehouse.matching import (
    ANYWHERE,
    Match,
    believe,
    find,
    has_bearer,
    heal,
    match,
    merge_nameless,
    namesakes,
    possible_renames,
    same_kind,
)
from sf_assets.warehouse.series import (
    NO_ENTRY,
    NONE,
    Accounts,
    Comparison,
    End,
    Listing,
    Proof,
    Reading,
    Series,
    Start,
    State,
    new_accounts,
)

# A loss is confirmed by the second later list that would have shown the account if the totals
# agree, else by the third, because some accounts are missing for two days and the total may follow
# them. If something contradicts the loss for that long, it is withdrawn.
AGREEING_LISTS, ENOUGH_LISTS = 2, 3
# Days without order after which an account that is back is decided.
PATIENCE = 3


@dataclass(frozen=True)
class _Today:
    """A list aligned with its series: the data that every step of the comparison uses."""

    series: Series
    listing: Listing
    found: Match
    over: Alignment
    claims: Claims
    shows_all: bool
    # The places of the chain, from the top, and of all accounts of the list before, rising.
    chain_places: Floats
    places_before: Floats
    before: Reading | None

    @property
    def rows(self) -> Accounts:
        """The accounts of the series."""
        return self.series.accounts

    @property
    def order(self) -> bool:
        """Whether the order proves anything."""
        return self.claims.order

    @property
    def tells_places(self) -> bool:
        """Whether the order shows where an account without ids was. A short chain is chance."""
        return self.order and self.over.chain >= 2 * HOLE_SIZE

    @property
    def swapped(self) -> bool:
        """Whether handles without ids may have changed owners: one is out of its place in a list
        that kept most of its order or is too short to decide."""
        if self.order or HOLE_SIZE <= self.over.chain < self.over.common / 2:
            return False
        return bool(np.any(self.found.by_handle & ~self.over.in_chain))

    def gap_of_entries(self, entries: Ints) -> Ints:
        """The gap of the chain in which each of these entries is."""
        if not self.tells_places:
            return np.zeros(len(entries), dtype=np.int64)
        return np.searchsorted(np.flatnonzero(self.over.in_chain), entries, side="right")

    def gap_of_accounts(self, accounts: Ints) -> Ints:
        """The gap of the chain in which each of these missing accounts would be."""
        if not self.order:
            return np.zeros(len(accounts), dtype=np.int64)
        return _gaps_of(self.rows["place"][accounts], self.chain_places)

    def last_gap_of(self, accounts: Ints) -> Ints:
        """The gap of the chain in which each of these accounts was last seen; ANYWHERE if that was
        in a list without order."""
        if not self.tells_places:
            return np.zeros(len(accounts), dtype=np.int64)
        gaps = self.gap_of_accounts(accounts)
        return np.where(self.seen_shuffled(accounts), ANYWHERE, gaps)

    @property
    def nameless_chain(self) -> Bools:
        """Which accounts of the chain, from the top, have no ids."""
        rows = self.rows[self.found.account[self.over.in_chain]]
        nameless: Bools = ~(rows["number"] | rows["sec"])
        return nameless

    def seen_shuffled(self, accounts: Ints) -> Bools:
        """Which of these missing accounts were last seen in a list without order that gave no
        places."""
        readings = self.series.readings
        days = [r.day for n, r in enumerate(readings) if r.shuffled and _established(readings[:n])]
        last = self.rows["last"][accounts]
        if self.before is not None:
            last = np.where(self.rows["present"][accounts], self.before.day, last)
        return np.isin(last, days)

    def unnamed_beside(self, accounts: Ints) -> Bools:
        """Which of these missing accounts may be an unidentified entry of the list."""
        unnamed = self.listing.unnamed
        if not self.tells_places:
            return np.full(len(accounts), len(unnamed) > 0)
        gaps = np.searchsorted(np.flatnonzero(self.over.in_chain), unnamed, side="left")
        return np.isin(self.last_gap_of(accounts), [*gaps, ANYWHERE] if len(gaps) else gaps)

    def facts(self, accounts: Ints) -> tuple[Bools, Bools]:
        """Which of these accounts follow, and which do not, by their own lists of this day."""
        follows = np.zeros(len(accounts), dtype=bool)
        does_not = follows.copy()
        for handle, fact in self.listing.facts.items():
            (follows if fact else does_not)[self.rows["handle"][accounts] == np.uint64(handle)] = (
                True
            )
        return follows, does_not


def _gaps_of(places: Floats, chain: Floats) -> Ints:
    """The number of places of a chain (from the top) above each place; ANYWHERE for NaN."""
    gaps = np.searchsorted(-chain, -places, side="left")
    return np.where(np.isnan(places), ANYWHERE, gaps)


def advance(series: Series, listing: Listing) -> None:
    """Compare a series with its next usable list, and update the series."""
    found, before = match(series, listing), series.before
    broken = before is not None and _is_break(series, listing, found, before)
    if before is not None and broken and not listing.continued:
        series.begin_anew(before)
        found = match(series, listing)
    today, latest = _lay_over(series, listing, found), before
    before = series.before
    series.gained_today = 0
    _better_ids(today)
    rows = series.accounts
    shown = np.zeros(len(rows), dtype=bool)
    shown[today.found.account[today.found.account >= 0]] = True
    gone = unseen = np.flatnonzero(rows["present"] & ~shown)
    if listing.until_known and before is not None:
        # A `recent` list shows nothing below the part that was read.
        gone = gone[rows["place"][gone] > today.over.horizon] if today.order else gone[:0]
        unseen = gone if today.order else unseen
    absent = np.flatnonzero(~rows["present"] & ~shown & (rows["end"] != End.none))
    _decide_who_is_back(today, unseen)
    came = _newcomers(today, unseen)
    if before is not None:
        rows = series.accounts
        absent = absent[~rows["present"][absent]]
        _gone(today, gone, came, before)
        _judge_losses(today, absent[rows["loss_state"][absent] == State.provisional])
        _settle(today, absent)
    _note_sightings(today)
    series.readings.append(_reading(today))
    if latest is not None and before is None:
        reason = (
            "The handle may belong to another person now: this list has almost no account of the "
            "list before. A new series begins, and nothing is claimed about the old one."
        )
        today = replace(today, claims=Claims("break", "break", False, reason))
    elif broken:
        reason = f"Continued, as set in handles.yaml. {today.claims.reason}"
        today = replace(today, claims=replace(today.claims, reason=reason))
    _note_comparison(today, latest)


def leave_out(series: Series, listing: Listing) -> None:
    """Record an imported list with an unknown part, which proves nothing next to others: it is
    compared only if no list came before."""
    reason = "It is unknown which part of the list was imported, so it is not compared."
    series.changes.comparisons.append(
        Comparison(listing.number, NONE, 0, 0, "unusable", "unusable", reason, None, 0)
    )


def _is_break(series: Series, listing: Listing, found: Match, before: Reading) -> bool:
    if listing.until_known:
        return False  # reading stopped at known accounts
    common = np.count_nonzero(series.accounts["present"][found.account[found.account >= 0]])
    return is_break(
        listed=len(listing),
        listed_before=before.listed,
        common=common,
        complete=listing.complete and before.complete,
        total=listing.total,
        total_before=before.total,
    )


def _lay_over(series: Series, listing: Listing, found: Match) -> _Today:
    before = series.before
    merge_nameless(series, listing, found)
    rows = series.accounts
    known = found.account >= 0
    place = np.where(known, rows["place"][found.account], np.nan) if len(rows) else (
        np.full(len(listing), np.nan)
    )  # fmt: skip
    present = known & (rows["present"][found.account] if len(rows) else False)
    places = rows["place"]
    # A list without order does not change the places from lists with order.
    in_order = any(reading.ordered for reading in series.readings)
    established = _established(series.readings) or (in_order and not listing.ordered)
    over = align(
        np.where(present, place, np.nan),
        np.where(known & ~present, place, np.nan),
        np.sort(places[~np.isnan(places)]),
        established=established,
        ordered=listing.ordered,
    )
    if over.renumbered is not None:
        series.renumber(*over.renumbered)
        over = _renumbered(over, *over.renumbered)
    verdict = (
        Claims("baseline", "baseline", False, "This is the first usable snapshot.")
        if before is None
        else claims(
            shows_all=listing.exhaustive,
            showed_all=before.exhaustive,
            listed=len(listing),
            listed_before=before.listed,
            common=over.common,
            chain=over.chain,
            ordered=listing.ordered and in_order,
        )
    )
    believe(series, found, over, verdict.order, before is None or not before.shuffled)
    rows = series.accounts
    if over.common and not (verdict.order or established or listing.until_known):
        _forget_order(series, found)
    before_places = rows["place"][rows["present"] & ~np.isnan(rows["place"])]
    return _Today(
        series,
        listing,
        found,
        over,
        verdict,
        verdict.losses == "all",
        rows["place"][found.account[over.in_chain]],
        np.sort(before_places),
        before,
    )


def _forget_order(series: Series, found: Match) -> None:
    """Drop the places of accounts that are not in a list which gives new places. The old order no
    longer counts and proves no losses that are not confirmed yet."""
    rows = series.accounts
    elsewhere = ~np.isnan(rows["place"])
    elsewhere[found.account[found.account >= 0]] = False
    rows["place"][elsewhere] = np.nan
    rows["changed"][elsewhere] = True
    open_losses = np.flatnonzero(elsewhere & (rows["loss_state"] == State.provisional))
    rows["loss_proof"][open_losses] &= ~int(Proof.order)
    rows["loss_changed"][open_losses] = True
    series.withdraw_losses(open_losses[rows["loss_proof"][open_losses] == Proof.none])


def _established(readings: list[Reading]) -> bool:
    """Whether the last list that may be in order agrees with those before it. Then a list without
    order gives no places."""
    last = next((reading for reading in reversed(readings) if reading.ordered), None)
    return last is not None and last.agreement is not None and not last.shuffled


def _renumbered(over: Alignment, old: Floats, new: Floats) -> Alignment:
    """The alignment with places in the new numbering."""

    def moved(places: Floats) -> Floats:
        return np.where(np.isfinite(places), np.interp(places, old, new), places)

    horizon, shown_to = moved(np.array([over.horizon, over.shown_to])).tolist()
    return replace(
        over,
        ceiling=moved(over.ceiling),
        floor=moved(over.floor),
        horizon=horizon,
        shown_to=shown_to,
    )


def _better_ids(today: _Today) -> None:
    """Update accounts that show a better id than before."""
    rows, listing, found = today.rows, today.listing, today.found
    entries = np.flatnonzero(found.account >= 0)
    accounts = found.account[entries]
    better = (listing.has_number[entries] & ~rows["number"][accounts]) | (
        ~rows["number"][accounts] & ~rows["sec"][accounts] & listing.has_sec[entries]
    )
    for entry, index in zip(entries[better].tolist(), accounts[better].tolist(), strict=True):
        if rows["key"][index] != listing.key[entry]:
            if rows["id_entry"][index] == NO_ENTRY:
                today.series.changes.upgraded.append(index)
            rows["key"][index] = listing.key[entry]
            rows["id_entry"][index] = listing.entry[entry]
    rows["number"][accounts] |= listing.has_number[entries]
    rows["sec"][accounts] |= listing.has_sec[entries]


def _decide_who_is_back(today: _Today, gone: Ints) -> None:
    """Decide about accounts that are listed again. An account at its old place never left. Above
    an account that was above it or came later, it left and returned. Without order: unknown."""
    series, rows, found = today.series, today.rows, today.found
    day = today.listing.day
    entries = np.flatnonzero(found.account >= 0)
    accounts = found.account[entries]
    before_today = rows["present"][accounts]
    away = ~before_today
    waiting = before_today & (rows["undecided"][accounts] > 0)
    order = today.order or (
        today.over.common == 0 and today.listing.ordered and _among_themselves(today, entries[away])
    )
    # Accounts last seen in a list without order have no known place.
    placeless = np.isnan(rows["place"][accounts]) | (away & today.seen_shuffled(accounts))
    moved = _has_moved(today, entries, accounts, away | waiting, placeless)
    # If more accounts are out of place than in order, the order is chance.
    if order and not (today.order and np.count_nonzero(away & moved) > today.over.chain):
        # Accounts without a place. A few alone are in order by chance.
        alone = not today.order and np.count_nonzero(away) < HOLE_SIZE
        sure = (away | waiting) & ~moved & ((away & alone) | placeless)
        sure &= _surely_left(rows, accounts)
        moved |= sure
        again = waiting & moved
        if again.any():
            again &= _came_later(today, entries, accounts)
        stood = waiting & (~moved | again)
        _decide_waiting(today, accounts[stood], accounts[waiting & ~stood])
        lost = away & (rows["loss_state"][accounts] != State.none)
        heal(series, accounts[lost & ~moved], day)
        back = away & moved
        unclear = np.zeros(len(entries), dtype=bool)
        unclear[back] = _may_have_been_there(today, entries[back], gone)
        if today.claims.gains != "all":
            unclear |= sure & away & (entries >= today.over.front)
        _start(today, entries[back & ~unclear], Start.returned)
        # It left, and the day of its return is unknown.
        series.confirm_losses(accounts[unclear], Proof.order, day)
        series.close_losses(accounts[unclear])
        _start(today, entries[unclear], Start.revealed)
        _start(today, entries[away & ~moved & ~lost], Start.revealed)
    else:
        _leave_undecided(today, entries, away, waiting)
    stay_entries = entries[before_today]
    stays = accounts[before_today]
    _unseen_leave_and_return(today, stay_entries, stays)
    _keep_places(today)


def _leave_undecided(today: _Today, entries: Ints, away: Bools, waiting: Bools) -> None:
    """Leave accounts that are listed again undecided until a later list, unless exhaustive lists
    lacked them."""
    rows = today.rows
    accounts = today.found.account[entries]
    sure = away & _surely_left(rows, accounts) & np.isnan(rows["place"][accounts])
    _start(today, entries[sure], Start.returned)
    away = away & ~sure
    lost = away & (rows["loss_state"][accounts] != State.none)
    _start(today, entries[away], Start.revealed)
    rows["undecided"][accounts[lost]] = 1
    patient = accounts[waiting]
    rows["undecided"][patient] += 1
    rows["changed"][patient] = True
    patient = patient[rows["undecided"][patient] >= PATIENCE]
    # After days of lists without order.
    sure = _surely_left(rows, patient)
    _decide_waiting(today, patient[~sure], patient[sure])


def _surely_left(rows: Accounts, accounts: Ints) -> Bools:
    """Which of these accounts were missing in exhaustive lists, so that they did leave."""
    surely: Bools = (rows["loss_state"][accounts] == State.confirmed) & (
        (rows["loss_proof"][accounts] & Proof.exhaustive) > 0
    )
    return surely


def _among_themselves(today: _Today, entries: Ints) -> bool:
    """Whether the accounts that are back kept their order."""
    if not len(entries):
        return False
    old = today.rows["place"][today.found.account[entries]]
    kept = np.count_nonzero(today.over.places[entries] == old)
    return bool(kept >= MIN_ORDER_AGREEMENT * len(entries))


def _has_moved(
    today: _Today, entries: Ints, accounts: Ints, asked: Bools, placeless: Bools
) -> Bools:
    """Which of the `asked` accounts are above an account that was above them, or that came after
    they were last seen. Accounts that were revealed since then prove nothing."""
    rows, over = today.rows, today.over
    moved = np.zeros(len(entries), dtype=bool)
    place = np.where(placeless, np.nan, rows["place"][accounts])
    stays = ~asked & ~placeless
    # (An account that got its ids with this list may be another one with that name.)
    named = rows["id_entry"][accounts] != today.listing.entry[entries]
    stood = np.flatnonzero(stays & named & (over.places[entries] == place))
    # A page from the day before shows a whole block above its place, which proves nothing.
    # (Accounts above the front came back.)
    displaced = np.pad(~over.in_chain[entries[stays]], HOLE_SIZE)
    block = np.all(sliding_window_view(displaced, HOLE_SIZE), axis=1)
    beside_block: Bools = np.any(sliding_window_view(block, HOLE_SIZE + 1), axis=1)
    asked = asked & ~(beside_block[np.cumsum(stays)] & (entries > over.front))
    placeless = asked & placeless
    suspects = np.flatnonzero(asked & (place < over.floor[entries]))
    if not len(suspects) and not placeless.any():
        return moved
    last = np.where(
        rows["undecided"][accounts] > 0, rows["loss_from"][accounts], rows["last"][accounts]
    )
    came = np.isin(rows["start"][accounts[stood]], (Start.gained, Start.returned))
    first = rows["first"][accounts[stood]]
    for day in np.unique(last[placeless]).tolist():
        newer = entries[stood[came & (first > day)]]
        moved |= placeless & (last == day) & (entries < newer.max(initial=-1))
    for day in np.unique(last[suspects]).tolist():
        proves = stood[came | (first <= day)]
        if not len(proves):
            continue
        # The highest old place of the accounts at or below each entry.
        highest = np.maximum.accumulate(place[proves][::-1])[::-1]
        of_day = suspects[last[suspects] == day]
        below = np.searchsorted(entries[proves], entries[of_day], side="right")
        there = below < len(proves)
        moved[of_day[there]] = highest[below[there]] > place[of_day[there]]
    return moved


def _came_later(today: _Today, entries: Ints, accounts: Ints) -> Bools:
    """Which of these accounts are above one that came after they were first listed again. They left
    and returned since then, so their place does not show what happened before."""
    rows = today.rows
    came = np.isin(rows["start"][accounts], (Start.gained, Start.returned))
    came &= rows["undecided"][accounts] == 0
    new = np.flatnonzero(today.found.account[: today.over.front] < 0)
    days = np.append(rows["first"][accounts[came]], np.full(len(new), today.listing.day))
    below = np.append(entries[came], new)
    order = np.argsort(below, kind="stable")
    # The newest day on which an account at or below each of these came.
    newest = np.maximum.accumulate(days[order][::-1])[::-1]
    at = np.searchsorted(below[order], entries, side="right")
    later = np.append(newest, NONE)[at] > rows["first"][accounts]
    return later & (at < len(below))


def _decide_waiting(today: _Today, stood: Ints, moved: Ints) -> None:
    """Decide losses of accounts that came back on days without order."""
    series, rows = today.series, today.rows
    for index in stood.tolist():
        first = int(rows["first"][index])
        if rows["stored"][index] != NONE:
            series.changes.dropped.append((index, int(rows["stored"][index])))
        closed = series.changes.closed
        for at, (account, row) in enumerate(closed):
            if account == index and row["first"] == rows["loss_first"][index]:
                rows["stored"][index] = row["stored"]
                del closed[at]
                break
        else:
            rows["stored"][index] = rows["loss_first"][index]
        rows["first"][index] = rows["loss_first"][index]
        rows["start"][index] = rows["loss_start"][index]
        rows["last"][index] = rows["loss_last"][index]
        rows["after"][index] = rows["loss_after"][index]
        rows["before"][index] = rows["loss_before"][index]
        rows["undecided"][index] = 0
        heal(series, np.array([index]), first)
    for index in moved.tolist():
        first = int(rows["first"][index])
        rows["start"][index] = Start.returned
        rows["undecided"][index] = 0
        rows["changed"][index] = True
        one = np.array([index])
        series.confirm_losses(one, Proof.order, today.listing.day)
        series.close_losses(one)
        before = max(reading.day for reading in series.readings if reading.day < first)
        rows["after"][index], rows["before"][index] = before, first
        entry = int(rows["handle_entry"][index])  # none where it is stored under that handle
        series.gain(index, before, first, Start.returned, Proof.order, entry)


def _unseen_leave_and_return(today: _Today, entries: Ints, accounts: Ints) -> None:
    """Claim a loss and a return for accounts below the part that was read since, if they are above
    the front now."""
    before, rows, series = today.before, today.rows, today.series
    if before is None or before.reach is None or not today.order:
        return
    place = rows["place"][accounts]
    again = (entries < today.over.front) & (place < before.reach) & (
        place < today.over.floor[entries]
    )  # fmt: skip
    left = accounts[again]
    if not len(left):
        return
    series.close_losses(left)
    rows["looked"][left] = series.last_looked(rows[left])
    rows["last"][left] = before.day
    rows["end"][left] = End.lost
    rows["missed"][left] = today.listing.day
    _claim_losses(today, left, Proof.order)
    series.confirm_losses(left, Proof.order, today.listing.day)
    rows["changed"][left] = True
    _start(today, entries[again], Start.returned)


def _start(today: _Today, entries: Ints, start: Start) -> None:
    """Begin a new presence for the accounts of these entries."""
    if not len(entries):
        return
    series, rows, before = today.series, today.rows, today.before
    accounts, day = today.found.account[entries], today.listing.day
    if start == Start.returned:
        series.confirm_losses(accounts, Proof.order, day)
        series.close_losses(accounts)
    series.close(accounts)
    rows["present"][accounts] = True
    rows["first"][accounts] = day
    rows["start"][accounts] = start
    rows["end"][accounts] = End.none
    rows["changed"][accounts] = True
    rows["before"][accounts] = day
    if start == Start.returned and before is not None:
        rows["after"][accounts] = before.day
        for index, entry in zip(accounts.tolist(), entries.tolist(), strict=True):
            entry_row = int(today.listing.entry[entry])
            series.gain(index, before.day, day, start, Proof.order, entry_row)
    elif start == Start.revealed:
        after, until = _follow_bounds(today)
        rows["after"][accounts], rows["before"][accounts] = after[entries], until[entries]


def _follow_bounds(today: _Today) -> tuple[Ints, Ints]:
    """For each entry, the days between which it began to follow, by the order of the list."""
    count, day = len(today.listing), today.listing.day
    after = np.full(count, NONE, dtype=np.int64)
    before = np.full(count, day, dtype=np.int64)
    if not today.tells_places or today.over.chain < today.over.common:
        # If one account is out of place, any other may be. A few are in order by chance.
        return after, before
    chain = np.flatnonzero(today.over.in_chain)
    rows = today.rows[today.found.account[chain]]
    before[chain] = np.where(rows["before"] == NONE, day, rows["before"])
    # A handle alone may have changed owners on a day without order.
    after[chain] = np.where(rows["number"] | rows["sec"], rows["after"], NONE)
    # An account that left and returned unseen is above people who have followed for longer. So an
    # entry came before a day only if at least HOLE_SIZE accounts above it say so.
    few: list[int] = [day] * HOLE_SIZE
    latest = np.full(count, day, dtype=np.int64)
    for entry, own in enumerate(before.tolist()):
        latest[entry] = few[-1]
        if own < few[-1]:
            few = sorted([*few[:-1], own])
    earliest = np.maximum.accumulate(after[::-1])[::-1]
    return np.where(earliest < latest, earliest, NONE), latest


def _keep_places(today: _Today) -> None:
    """Store the places and handles of the list."""
    rows, found, series = today.rows, today.found, today.series
    entries = np.flatnonzero(found.account >= 0)
    accounts = found.account[entries]
    places = today.over.places[entries]
    new_place = ~np.isnan(places) & (places != rows["place"][accounts])
    if today.listing.until_known and not today.order:
        # An account elsewhere came back on an unknown day. The next list gives it a place.
        new_place = ~today.over.in_chain[entries]
        places = np.full(len(entries), np.nan)
    if not (today.order or _established(series.readings)):
        # Accounts that came back on such a day get a place that is not their old one.
        undecided = rows["undecided"][accounts] > 0
        new_place |= undecided
        places = np.where(undecided, np.nan, places)
    rows["place"][accounts[new_place]] = places[new_place]
    rows["changed"][accounts[new_place]] = True
    handles = today.listing.handle[entries]
    for at in np.flatnonzero(handles != rows["handle"][accounts]).tolist():
        index, entry = int(accounts[at]), int(today.listing.entry[entries[at]])
        series.changes.renamed.append(
            (index, int(rows["handle_entry"][index]), entry, today.listing.day)
        )
        rows["handle"][index] = handles[at]
        rows["handle_entry"][index] = entry
        rows["changed"][index] = True


def _may_have_been_there(today: _Today, entries: Ints, gone: Ints) -> Bools:
    """Which of these entries the list before may have shown under another name or unidentified, or
    may not have reached because it had no order."""
    rows, listing, readings = today.rows, today.listing, today.series.readings
    before = today.before
    # (A `recent` list stops only at known accounts in order.)
    cut_off = before is not None and before.reach is None and not before.exhaustive
    if cut_off and readings[-1].shuffled and _established(readings[:-1]):
        return np.ones(len(entries), dtype=bool)
    _, unclear = possible_renames(
        today.last_gap_of(gone),
        same_kind(rows["number"][gone], rows["sec"][gone]),
        today.gap_of_entries(entries),
        same_kind(listing.has_number[entries], listing.has_sec[entries]),
        today.nameless_chain,
    )
    return unclear | (today.before is not None and today.before.unnamed > 0)


def _newcomers(today: _Today, gone: Ints) -> tuple[Ints, Ints]:
    """Add the unknown entries as new accounts; returns their gaps and kinds."""
    series, listing, found = today.series, today.listing, today.found
    entries = np.flatnonzero(found.account < 0)
    rows = today.rows
    kinds = same_kind(listing.has_number[entries], listing.has_sec[entries])
    gaps = today.gap_of_entries(entries)
    if not len(entries):
        return gaps, kinds
    unclear = _may_have_been_there(today, entries, gone)
    above = entries < today.over.front
    if today.claims.gains == "baseline":
        start: Ints = np.full(len(entries), Start.baseline)
    elif today.order:
        # The order contradicts gains below the front, whatever the list before showed. Also, a name
        # of an account without ids from elsewhere may be a swap of names.
        left = np.zeros(len(rows), dtype=bool)
        left[gone] = ~(rows["number"][gone] | rows["sec"][gone])
        unclear |= (kinds == 0) & (namesakes(rows, left, listing, entries) >= 0)
        start = np.where(above & ~unclear, Start.gained, Start.revealed)
    elif today.claims.gains == "all":
        # Without order, an entry with the handle of a missing account may be the same account.
        away = np.ones(len(rows), dtype=bool)
        away[found.account[found.account >= 0]] = False
        unclear |= namesakes(rows, away, listing, entries) >= 0
        unclear |= (kinds == 0) & today.swapped
        start = np.where(unclear, Start.revealed, Start.gained)
    else:
        start = np.full(len(entries), Start.revealed)
    # A known name without ids may belong to another account now.
    known = find(rows["key"], listing.key[entries]) if len(rows) else np.full(len(entries), -1)
    namesake = known >= 0
    for index in known[namesake].tolist():
        one = np.array([index])
        if rows["present"][index] and today.before is not None:
            rows["looked"][index] = series.last_looked(rows[one])[0]
            rows["last"][index] = today.before.day
            rows["end"][index] = End.beyond
            rows["changed"][index] = True
        if rows["loss_state"][index] == State.provisional:
            series.withdraw_losses(one)
        series.close_losses(one)
        series.close(one)
    fresh = new_accounts(int((~namesake).sum()))
    fresh["key"] = listing.key[entries[~namesake]]
    fresh["id_entry"] = listing.entry[entries[~namesake]]
    found.account[entries[~namesake]] = series.add(fresh)
    found.account[entries[namesake]] = known[namesake]
    rows = today.rows
    accounts = found.account[entries]
    rows["handle"][accounts] = listing.handle[entries]
    rows["handle_entry"][accounts] = listing.entry[entries]
    rows["number"][accounts] = listing.has_number[entries]
    rows["sec"][accounts] = listing.has_sec[entries]
    rows["present"][accounts] = True
    rows["first"][accounts] = listing.day
    rows["start"][accounts] = start
    rows["end"][accounts] = End.none
    # It must not keep the place of its namesake.
    same = namesake & (today.over.places[entries] == rows["place"][accounts])
    rows["place"][accounts] = np.where(same, np.nan, today.over.places[entries])
    rows["changed"][accounts] = True
    after, until = _follow_bounds(today)
    came = start == Start.gained
    if today.before is not None:
        after = np.where(came, today.before.day, after[entries])
        until = np.where(came, listing.day, until[entries])
        proof = Proof.exhaustive if today.claims.gains == "all" else Proof.none
        proof |= Proof.order if today.order else Proof.none
        for index, entry in zip(accounts[came].tolist(), entries[came].tolist(), strict=True):
            series.gain(
                index, today.before.day, listing.day, Start.gained, proof,
                int(listing.entry[entry]),
            )  # fmt: skip
    else:
        after, until = after[entries], until[entries]
    rows["after"][accounts] = after
    rows["before"][accounts] = until
    return gaps, kinds


def _claim_losses(today: _Today, accounts: Ints, proof: Proof | Ints) -> None:
    """Claim a provisional loss for each account, between the day it was last read and today."""
    rows = today.rows
    rows["loss_from"][accounts] = rows["looked"][accounts]
    rows["loss_on"][accounts] = today.listing.day
    rows["loss_state"][accounts] = State.provisional
    rows["loss_proof"][accounts] = proof
    rows["loss_misses"][accounts] = 0
    rows["loss_agree"][accounts] = -1
    rows["loss_entry"][accounts] = rows["handle_entry"][accounts]
    rows["loss_first"][accounts] = rows["first"][accounts]
    rows["loss_last"][accounts] = rows["last"][accounts]
    rows["loss_start"][accounts] = rows["start"][accounts]
    rows["loss_after"][accounts] = rows["after"][accounts]
    rows["loss_before"][accounts] = rows["before"][accounts]
    rows["loss_confirmed"][accounts] = NONE
    rows["loss_stored"][accounts] = NONE
    rows["loss_changed"][accounts] = True


def _gone(today: _Today, gone: Ints, came: tuple[Ints, Ints], before: Reading) -> None:
    """Decide about accounts that are missing in this list: lost if that is proved, else beyond."""
    series, rows = today.series, today.rows
    # A namesake may have taken over the account of one without ids.
    gone = gone[rows["present"][gone] & (rows["first"][gone] < today.listing.day)]
    if not len(gone):
        return
    follows, does_not = today.facts(gone)
    place = rows["place"][gone]
    by_order = (
        place > today.over.horizon if today.order else np.zeros(len(gone), dtype=bool)
    )  # fmt: skip
    gaps, kinds = today.last_gap_of(gone), same_kind(rows["number"][gone], rows["sec"][gone])
    nameless = today.nameless_chain
    renamed, _ = possible_renames(gaps, kinds, *came, nameless)
    if today.tells_places and (today.listing.until_known or not today.listing.exhaustive):
        # The last shown account may be a rename of the missing one, whose own place is not shown.
        renamed |= (kinds == 0) & (gaps == len(nameless) - 1) & nameless[-1]
    blocked = renamed | follows | has_bearer(series, today.listing, today.found, gone)
    blocked |= today.unnamed_beside(gone)
    blocked |= ~(rows["number"][gone] | rows["sec"][gone]) & today.swapped
    rows["looked"][gone] = series.last_looked(rows[gone])
    blocked |= _may_be_renamed(today, gone, np.full(len(gone), today.listing.day))
    proof = (
        np.where(today.shows_all, Proof.exhaustive, 0)
        + np.where(by_order, Proof.order, 0)
        + np.where(does_not, Proof.other_list, 0)
    )
    if not today.shows_all:
        in_hole = _holes(today, gone, by_order & ~does_not, before)
        proof = np.where(in_hole, proof & ~int(Proof.order), proof)
    rows["last"][gone] = before.day
    rows["present"][gone] = False
    rows["changed"][gone] = True
    # An undecided loss is no longer the newest.
    undecided = gone[rows["undecided"][gone] > 0]
    rows["undecided"][gone] = 0
    provisional = rows["loss_state"][undecided] == State.provisional
    series.withdraw_losses(undecided[provisional])
    series.close_losses(undecided[~provisional])
    lost = (proof > 0) & ~blocked
    rows["end"][gone] = np.where(lost, End.lost, End.beyond)
    rows["missed"][gone] = np.where(lost, today.listing.day, NONE)
    _claim_losses(today, gone[lost], proof[lost])


def _holes(today: _Today, gone: Ints, candidates: Bools, before: Reading) -> Bools:
    """Which of the candidates are a hole in the list: neighbours that vanished together.

    If both lists are complete and the total fell by as much, they did leave.
    """
    rows = today.rows
    result = np.zeros(len(gone), dtype=bool)
    if np.count_nonzero(candidates) < HOLE_SIZE:
        return result
    at = np.argsort(-rows["place"][gone], kind="stable")
    at = at[candidates[at]]
    rank = np.searchsorted(today.places_before, rows["place"][gone][at])
    runs = np.split(np.arange(len(at)), np.flatnonzero(np.diff(rank) != -1) + 1)
    together = [run for run in runs if len(run) >= HOLE_SIZE]
    for run in together:
        result[at[run]] = True
    if result.any():
        fallen = _fall(today, before)
        if fallen is not None and fallen >= np.count_nonzero(candidates):
            result[:] = False
    return result


def _gained_since(today: _Today, day: int) -> int:
    earlier = sum(reading.gained for reading in today.series.readings if reading.day > day)
    return earlier + today.series.gained_today


def _fall(today: _Today, since: Reading) -> int | None:
    """How many accounts must have left since a snapshot, by the totals; None if unknown.

    In a list that is cut off, the total also falls for accounts that are not shown.
    """
    listing = today.listing
    complete = _complete(today)
    if not (complete and since.complete) or since.total is None or listing.total is None:
        return None
    return since.total - listing.total + _gained_since(today, since.day)


def _complete(today: _Today) -> bool:
    """Whether the list is completely known: read to the end, or its top on a complete list."""
    before = today.before
    return today.listing.complete or (
        today.listing.until_known and before is not None and before.complete
    )


def _judge_losses(today: _Today, accounts: Ints) -> None:
    """Decide provisional losses of accounts that are missing in today's list."""
    series, rows = today.series, today.rows
    if not len(accounts):
        return
    follows, does_not = today.facts(accounts)
    alone = rows["loss_proof"][accounts] == Proof.exhaustive
    other_kind = not (today.listing.exhaustive or today.listing.until_known)
    withdrawn = alone & other_kind & ~does_not
    shown_above = _would_show(today, accounts)
    shows = (today.shows_all | shown_above | does_not) & ~withdrawn
    blocked = follows | has_bearer(series, today.listing, today.found, accounts)
    # An account renamed before the loss may have been missing then.
    blocked |= _may_be_renamed(today, accounts, rows["loss_on"][accounts])
    blocked |= today.unnamed_beside(accounts)
    # The account's own list shows that it still follows, so the loss is wrong.
    retracted = follows & ~withdrawn
    counted = shows & ~retracted
    rows["loss_misses"][accounts[counted]] += 1
    rows["loss_changed"][accounts[counted]] = True
    sure = counted & ~blocked
    for mask, proof in (
        (sure & today.shows_all, Proof.exhaustive),
        (sure & shown_above, Proof.order),
        (sure & does_not, Proof.other_list),
    ):
        rows["loss_proof"][accounts[mask]] |= proof
    agrees = _totals_agree(today, accounts)
    misses = rows["loss_misses"][accounts]
    confirmed = sure & (((agrees > 0) & (misses >= AGREEING_LISTS)) | (misses >= ENOUGH_LISTS))
    withdrawn |= counted & blocked & (misses >= ENOUGH_LISTS)
    series.confirm_losses(accounts[confirmed], Proof.none, today.listing.day)
    rows["loss_agree"][accounts[confirmed]] = agrees[confirmed]
    taken_back = accounts[retracted]
    rows["loss_state"][taken_back] = State.retracted
    rows["loss_changed"][taken_back] = True
    series.close_losses(taken_back)
    series.withdraw_losses(accounts[withdrawn])
    unclaimed = accounts[retracted | withdrawn]
    rows["end"][unclaimed] = End.beyond
    rows["missed"][unclaimed] = NONE
    rows["changed"][unclaimed] = True


def _would_show(today: _Today, accounts: Ints) -> Bools:
    """Whether, by the order, the list would show each of these accounts.

    Not if others around it are missing for unknown reasons: the list may have a hole there.
    """
    rows = today.rows
    if not today.order:
        return np.zeros(len(accounts), dtype=bool)
    above = rows["place"][accounts] > today.over.shown_to
    unknown = np.flatnonzero(~rows["present"] & (rows["end"] == End.beyond))
    unknown = unknown[~np.isnan(rows["place"][unknown])]
    gaps = today.gap_of_accounts(unknown)
    for at in np.flatnonzero(above).tolist():
        own = today.gap_of_accounts(accounts[at : at + 1])[0]
        since = max(int(rows["loss_from"][accounts[at]]), int(rows["last"][accounts[at]]))
        around = (gaps == own) & (rows["last"][unknown] >= since) & (unknown != accounts[at])
        above[at] = np.count_nonzero(around) + 1 < HOLE_SIZE
    return above


def _totals_agree(today: _Today, accounts: Ints) -> Ints:
    """Whether the fall of the total covers all accounts missing since each of these was last read:
    1 yes, 0 no, -1 unknown."""
    rows = today.rows
    result = np.full(len(accounts), -1, dtype=np.int64)
    missing = ~rows["present"] & (rows["end"] != End.none)
    by_day = {reading.day: reading for reading in today.series.readings}
    for day in np.unique(rows["loss_from"][accounts]).tolist():
        since = by_day.get(day)
        if since is None:
            continue
        of_day = rows["loss_from"][accounts] == day
        fallen = _fall(today, since)
        if fallen is not None:
            absent = np.count_nonzero(missing & (rows["last"] >= day))
            result[of_day] = fallen >= absent
        for on in np.unique(rows["loss_on"][accounts[of_day]]).tolist():
            then = by_day.get(on)
            if then is None or not (then.complete and since.complete):
                continue
            if then.total is None or since.total is None:
                continue
            gained = sum(r.gained for r in today.series.readings if day < r.day <= on)
            batch = np.count_nonzero(missing & (rows["last"] >= day) & (rows["last"] < on))
            if since.total - then.total + gained >= batch:
                result[of_day & (rows["loss_on"][accounts] == on)] = 1
    return result


def _settle(today: _Today, accounts: Ints) -> None:
    """Claim losses of accounts that were beyond and that today's list proves not to follow.

    The loss is between the last sight and today.
    """
    series, rows = today.series, today.rows
    accounts = accounts[rows["end"][accounts] == End.beyond]
    if not len(accounts) or not (today.shows_all or today.order or today.listing.facts):
        return
    follows, does_not = today.facts(accounts)
    shown = _settled_by_order(today, accounts)
    proof = (
        np.where(today.shows_all, Proof.exhaustive, 0)
        + np.where(shown, Proof.order, 0)
        + np.where(does_not, Proof.other_list, 0)
    )
    accounts, proof, follows = accounts[proof > 0], proof[proof > 0], follows[proof > 0]
    if not len(accounts):
        return
    until = np.full(len(accounts), today.listing.day + 1)
    renamed = _may_be_renamed(today, accounts, until) | today.unnamed_beside(accounts)
    blocked = renamed | follows | has_bearer(series, today.listing, today.found, accounts)
    lost = accounts[~blocked]
    rows["end"][lost] = End.lost
    rows["missed"][lost] = today.listing.day
    rows["changed"][lost] = True
    series.close_losses(lost)
    _claim_losses(today, lost, proof[~blocked])


def _may_be_renamed(today: _Today, accounts: Ints, until: Ints) -> Bools:
    """Which of these missing accounts may be in the list under another name.

    Candidates have no ids, came after the account was last read and before the day `until`, and are
    between the same accounts of that time.
    """
    rows, listing = today.rows, today.listing
    result = np.zeros(len(accounts), dtype=bool)
    listed = today.found.account
    kinds = same_kind(rows["number"][accounts], rows["sec"][accounts])
    listed_kinds = same_kind(rows["number"][listed], rows["sec"][listed])
    entries = np.arange(len(listing))
    spans = np.stack([rows["looked"][accounts], until], axis=1)
    for day, end in np.unique(spans, axis=0).tolist():
        own = np.flatnonzero((spans == (day, end)).all(axis=1))
        since = np.flatnonzero((rows["first"][listed] > day) & (rows["first"][listed] < end))
        if not len(since):
            continue
        if today.tells_places:
            stood = np.flatnonzero(today.over.in_chain & (rows["first"][listed] <= day))
            gaps = np.searchsorted(stood, entries[since], side="right")
            own_gaps = _gaps_of(rows["place"][accounts[own]], rows["place"][listed[stood]])
            own_gaps[today.seen_shuffled(accounts[own])] = ANYWHERE
            nameless = listed_kinds[stood] == 0
        else:
            nameless = np.zeros(0, dtype=bool)
            gaps = np.zeros(len(since), dtype=np.int64)
            own_gaps = np.zeros(len(own), dtype=np.int64)
        result[own], _ = possible_renames(own_gaps, kinds[own], gaps, listed_kinds[since], nameless)
    return result


def _settled_by_order(today: _Today, accounts: Ints) -> Bools:
    """Which old places today's list shows as empty, with no hole around them."""
    rows = today.rows
    result = np.zeros(len(accounts), dtype=bool)
    if not today.order:
        return result
    above = rows["place"][accounts] > today.over.shown_to
    if not above.any():
        return result
    gaps = today.gap_of_accounts(accounts)
    unknown = np.bincount(gaps[above], minlength=int(gaps.max()) + 1)
    alone = unknown[gaps] < HOLE_SIZE
    result |= above & alone
    crowded = above & ~alone
    by_day = {reading.day: reading for reading in today.series.readings}
    missing = ~rows["present"] & (rows["end"] != End.none)
    for day in np.unique(rows["last"][accounts[crowded]]).tolist():
        since = by_day.get(day)
        fallen = _fall(today, since) if since is not None else None
        if fallen is not None and fallen >= np.count_nonzero(missing & (rows["last"] >= day)):
            result |= crowded & (rows["last"][accounts] == day)
    return result


def _note_sightings(today: _Today) -> None:
    rows, accounts = today.rows, today.found.account
    listing = today.listing
    for name, shown in (
        ("seen_entry", ~listing.bare),
        ("sec_entry", listing.shows_sec & ~listing.bare),
        ("time_entry", listing.shows_time),
    ):
        rows[name][accounts[shown]] = listing.entry[shown]
    rows["changed"][accounts[listing.shows_time]] = True


def _reading(today: _Today) -> Reading:
    listing, over = today.listing, today.over
    reach = None
    if listing.until_known and today.before is not None:
        # The first list counts completely, however deep it was read.
        reach = over.horizon if today.order else float("inf")
    return Reading(
        listing.day,
        listing.total,
        listing.exhaustive,
        _complete(today),
        len(listing),
        over.chain / over.common if over.common else None,
        reach,
        len(listing.unnamed),
        today.series.gained_today,
        listing.ordered,
    )


def _note_comparison(today: _Today, before: Reading | None) -> None:
    over = today.over
    today.series.changes.comparisons.append(
        Comparison(
            today.listing.number,
            NONE if before is None else before.day,
            over.common,
            over.chain,
            today.claims.losses,
            today.claims.gains,
            today.claims.reason,
            today.series.readings[-1].reach,
            len(today.listing.unnamed),
        )
    )
