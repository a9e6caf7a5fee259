"""A series (one relation of one handle): the state of its accounts, as arrays.

Days are whole numbers since 1970-01-01; NONE is an unknown day. Accounts are rows of an array of
dtype ACCOUNT, one for each account that was ever listed, with its newest presence and its newest
loss. Names stay in DuckDB; here an account is identified by `key`, a hash of its id.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import Any

import numpy as np
import numpy.typing as npt

from sf_assets.warehouse.alignment import (
    MIN_ORDER_AGREEMENT,
    Bools,
    Floats,
    Ints,
)

NONE = -1_000_000
NO_ENTRY = -1

Keys = npt.NDArray[np.uint64]
Accounts = npt.NDArray[Any]


class Start(IntEnum):
    """How a presence began."""

    baseline = 0
    gained = 1
    returned = 2
    revealed = 3


class End(IntEnum):
    """How a presence ended."""

    none = 0
    lost = 1
    beyond = 2


class State(IntEnum):
    """The state of a loss; `none` without a loss."""

    none = 0
    provisional = 1
    confirmed = 2
    retracted = 3


class Proof(IntFlag):
    """What proves a loss or a gain."""

    none = 0
    exhaustive = 1
    order = 2
    other_list = 4

    @property
    def words(self) -> str:
        """The names of the proofs, separated by commas."""
        return ",".join(str(proof.name) for proof in Proof if proof and proof in self)


ACCOUNT = np.dtype(
    [
        ("key", "u8"),
        ("handle", "u8"),  # a hash of the newest handle
        ("number", "?"),  # identified by the numeric id
        ("sec", "?"),  # has shown a secUid
        ("place", "f8"),  # position in the list; higher up is larger
        # The newest presence. `last` is the last day on which the account belonged to the list,
        # `looked` the last day on which it was read. They differ if `recent` stopped above it.
        ("present", "?"),
        ("first", "i4"),
        ("last", "i4"),
        ("looked", "i4"),
        ("start", "i1"),
        ("end", "i1"),
        ("missed", "i4"),
        ("after", "i4"),  # followed after this day
        ("before", "i4"),  # followed on or before this day
        ("undecided", "i1"),  # number of lists without order since the account is back
        # The newest loss that is not retracted, between the days loss_from and loss_on.
        ("loss_from", "i4"),
        ("loss_on", "i4"),
        ("loss_state", "i1"),
        ("loss_proof", "i1"),
        ("loss_misses", "i1"),  # later lists that would have shown the account and lack it
        ("loss_agree", "i1"),  # whether the totals agree: 1, 0, or -1 if unknown
        ("loss_first", "i4"),  # first day of the presence that it ended
        ("loss_last", "i4"),
        ("loss_start", "i1"),
        ("loss_after", "i4"),
        ("loss_before", "i4"),
        ("loss_confirmed", "i4"),  # day of the list that confirmed it
        # What is stored in the database already, and what has changed.
        ("stored", "i4"),  # first day of the stored row of the presence
        ("changed", "?"),
        ("loss_stored", "i4"),  # day of the stored row of the loss
        ("loss_changed", "?"),
        # Entries of the current lists with its id, handle, profile and so on.
        ("id_entry", "i8"),
        ("handle_entry", "i8"),
        ("seen_entry", "i8"),
        ("sec_entry", "i8"),
        ("loss_entry", "i8"),  # with its handle when it was lost
        ("time_entry", "i8"),  # with the time when it began to follow
    ]
)

_UNKNOWN: dict[str, Any] = {
    "place": np.nan,
    **dict.fromkeys(("first", "last", "looked", "missed", "after", "before"), NONE),
    **dict.fromkeys(("loss_from", "loss_on", "loss_first", "loss_last", "stored"), NONE),
    **dict.fromkeys(("loss_after", "loss_before", "loss_confirmed", "loss_stored"), NONE),
    "loss_agree": -1,
    **dict.fromkeys(
        ("id_entry", "handle_entry", "seen_entry", "sec_entry", "loss_entry", "time_entry"),
        NO_ENTRY,
    ),
}


def new_accounts(count: int) -> Accounts:
    """`count` rows with unknown values."""
    rows = np.zeros(count, dtype=ACCOUNT)
    for name, value in _UNKNOWN.items():
        rows[name] = value
    return rows


@dataclass(frozen=True)
class Listing:
    """A usable snapshot: the accounts that it shows, top first. Arrays have one item per entry.

    `entry` has row numbers of the source table. `has_number` and `has_sec` mark the ids that an
    entry has, `bare` entries have no profile, `shows_time` entries have the time of the follow.
    `ordered`: the list may be in the order of the follows. `unnamed` has the indexes before which
    the list shows accounts without any identifier, which may be anybody. `facts` maps the hash of
    the handle of a tracked profile to whether its own list of the same day has this handle.
    `continued`: handles.yaml marks a break on this day with `continue`.
    """

    number: int
    day: int
    exhaustive: bool
    complete: bool
    until_known: bool
    total: int | None
    entry: Ints
    key: Keys
    handle: Keys
    has_number: Bools
    has_sec: Bools
    shows_sec: Bools
    bare: Bools
    shows_time: Bools
    ordered: bool = True
    unnamed: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    facts: dict[int, bool] = field(default_factory=dict)
    continued: bool = False

    def __len__(self) -> int:
        return len(self.entry)


@dataclass
class Reading:
    """A snapshot that was compared, as later comparisons need it.

    `reach` is the place down to which a `recent` list was read, None for a list read to its end.
    `complete`: the list was completely known, so its total can confirm losses.
    """

    day: int
    total: int | None
    exhaustive: bool
    complete: bool
    listed: int
    agreement: float | None
    reach: float | None
    unnamed: int = 0
    gained: int = 0
    ordered: bool = True

    @property
    def shuffled(self) -> bool:
        """Whether the list has no order, or an order that contradicts the lists before it."""
        return not self.ordered or (
            self.agreement is not None and self.agreement < MIN_ORDER_AGREEMENT
        )


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison, as a row of `comparisons`."""

    listing: int
    previous: int
    common: int
    chain: int
    losses: str
    gains: str
    reason: str
    reach: float | None
    unnamed: int


@dataclass
class Changes:
    """What must be written for a series in addition to the newest state of its accounts."""

    comparisons: list[Comparison] = field(default_factory=list)
    # Earlier presences and losses of accounts that have newer ones: copies of their rows.
    closed: list[tuple[int, np.void]] = field(default_factory=list)
    closed_losses: list[tuple[int, np.void]] = field(default_factory=list)
    dropped: list[tuple[int, int]] = field(default_factory=list)  # account, first day
    dropped_losses: list[tuple[int, int]] = field(default_factory=list)  # account, day
    unclaimed: list[tuple[int, int]] = field(default_factory=list)  # account, first day
    # account, previous day, day, how it came, proof, entry of the handle
    gains: list[tuple[int, int, int, Start, Proof, int]] = field(default_factory=list)
    # A gain that is the return of another account: from, to, day
    moved_gains: list[tuple[int, int, int]] = field(default_factory=list)
    healed: list[tuple[int, int, int]] = field(default_factory=list)  # account, from day, to day
    renamed: list[tuple[int, int, int, int]] = field(
        default_factory=list
    )  # account, entry of the handle before, entry of the new one, day
    upgraded: list[int] = field(default_factory=list)  # accounts with a better id
    # Old and new places of each renumbering, in order.
    renumbered: list[tuple[Floats, Floats]] = field(default_factory=list)


@dataclass
class Series:
    """The state of one relation of one handle, for the comparison with its next lists."""

    relation: str
    handle: str
    accounts: Accounts
    readings: list[Reading]
    changes: Changes = field(default_factory=Changes)
    number: int = 0
    gained_today: int = 0

    @property
    def before(self) -> Reading | None:
        """The last usable snapshot."""
        return self.readings[-1] if self.readings else None

    def looks(self) -> list[Reading]:
        """The lists back to the last one read to its end, newest first."""
        readings: list[Reading] = []
        for reading in reversed(self.readings):
            readings.append(reading)
            if reading.reach is None:
                break
        return readings

    def last_looked(self, rows: Accounts) -> Ints:
        """The last day on which each of these present accounts was read, as an array of days."""
        days = rows["first"].astype(np.int64)
        for reading in self.looks():
            deep = (
                np.ones(len(rows), dtype=bool)
                if reading.reach is None
                else rows["place"] >= reading.reach
            )
            days = np.where(deep, np.maximum(days, reading.day), days)
        return days

    def add(self, rows: Accounts) -> Ints:
        """Add new accounts; returns their indices."""
        first = len(self.accounts)
        self.accounts = np.concatenate([self.accounts, rows])
        return np.arange(first, len(self.accounts))

    def gain(
        self, account: int, previous: int, day: int, start: Start, proof: Proof, entry: int
    ) -> None:
        """Record that an account came, or came back, on a day."""
        self.changes.gains.append((account, previous, day, start, proof, entry))
        if self.readings and self.readings[-1].day >= day:
            for reading in self.readings:
                reading.gained += reading.day == day
        else:
            self.gained_today += 1

    def close(self, indices: Ints) -> None:
        """Close the newest presence of these accounts, which get a newer one."""
        for index in indices.tolist():
            self.changes.closed.append((index, self.accounts[index].copy()))
        rows = self.accounts
        rows["stored"][indices] = NONE
        rows["time_entry"][indices] = NO_ENTRY
        rows["undecided"][indices] = 0
        for name in ("missed", "after", "before"):
            rows[name][indices] = NONE

    def confirm_losses(self, indices: Ints, proof: Proof, day: int) -> None:
        """Confirm the provisional losses of these accounts."""
        rows = self.accounts
        provisional = indices[rows["loss_state"][indices] == State.provisional]
        rows["loss_state"][provisional] = State.confirmed
        rows["loss_proof"][provisional] |= proof
        rows["loss_confirmed"][provisional] = day
        rows["loss_changed"][provisional] = True

    def close_losses(self, indices: Ints) -> None:
        """Close the newest loss of these accounts in its current state."""
        rows = self.accounts
        for index in indices[rows["loss_state"][indices] != State.none].tolist():
            if rows["loss_changed"][index]:
                self.changes.closed_losses.append((index, rows[index].copy()))
        self._clear_losses(indices)

    def withdraw_losses(self, indices: Ints) -> None:
        """Withdraw the newest losses of these accounts; the presences they ended are beyond."""
        rows = self.accounts
        for index in indices.tolist():
            if rows["loss_stored"][index] != NONE:
                self.changes.dropped_losses.append((index, int(rows["loss_stored"][index])))
            first = int(rows["loss_first"][index])
            if rows["first"][index] == first:
                rows["end"][index], rows["missed"][index] = End.beyond, NONE
                rows["changed"][index] = True
                continue
            ended = [row for at, row in self.changes.closed if (at, row["first"]) == (index, first)]
            for row in ended:
                row["end"], row["missed"] = End.beyond, NONE
            if not ended:
                self.changes.unclaimed.append((index, first))
        self._clear_losses(indices)

    def _clear_losses(self, indices: Ints) -> None:
        rows = self.accounts
        for name in (
            "loss_from", "loss_on", "loss_first", "loss_last", "loss_after", "loss_before",
            "loss_confirmed", "loss_stored",
        ):  # fmt: skip
            rows[name][indices] = NONE
        for name in ("loss_state", "loss_proof", "loss_misses", "loss_start"):
            rows[name][indices] = 0
        rows["loss_agree"][indices] = -1
        rows["loss_changed"][indices] = False

    def begin_anew(self, before: Reading) -> None:
        """Start a new series: the next list is not compared with the old ones.

        Accounts in the last list, `before`, are beyond, and provisional losses are withdrawn.
        """
        rows = self.accounts
        present = np.flatnonzero(rows["present"])
        rows["looked"][present] = self.last_looked(rows[present])
        rows["last"][present] = before.day
        rows["present"][present] = False
        rows["end"][present] = End.beyond
        rows["changed"][present] = True
        self.withdraw_losses(np.flatnonzero(rows["loss_state"] == State.provisional))
        self.close_losses(np.flatnonzero(rows["loss_state"] != State.none))
        for index in np.flatnonzero(rows["changed"]).tolist():
            self.changes.closed.append((index, rows[index].copy()))
        blank = new_accounts(len(rows))
        for name in ("id_entry", "seen_entry", "sec_entry"):
            blank[name] = rows[name]
        self.accounts, self.readings = blank, []

    def renumber(self, old: Floats, new: Floats) -> None:
        """Give all accounts new places in the same order."""
        rows = self.accounts
        known = ~np.isnan(rows["place"])
        rows["place"][known] = np.interp(rows["place"][known], old, new)
        for _, row in self.changes.closed:
            row["place"] = np.interp(row["place"], old, new)
        for reading in self.readings:
            if reading.reach is not None and np.isfinite(reading.reach):
                reading.reach = float(np.interp(reading.reach, old, new))
        self.changes.comparisons = [
            Comparison(
                **{
                    **vars(comparison),
                    "reach": float(np.interp(comparison.reach, old, new))
                    if comparison.reach is not None and np.isfinite(comparison.reach)
                    else comparison.reach,
                }
            )
            for comparison in self.changes.comparisons
        ]
        self.changes.renumbered.append((old, new))
