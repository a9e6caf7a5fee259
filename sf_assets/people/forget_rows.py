"""Finds the ids of people to forget, and their rows in lists."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sf_assets.storage.door import ALWAYS, Door, Span, within
from sf_assets.storage.home import Home
from sf_assets.storage.landings import landing_at
from sf_assets.storage.records import Landed, LandingDamaged, Records
from sf_assets.storage.tombstone import IdKind, Ids, Pseudonyms, is_pseudonym, is_same, valid_id
from sf_assets.warehouse.archive_reader import ArchiveReader
from sf_assets.warehouse.packing import Mask, Whole
from sf_assets.warehouse.rewrite import Change, Changed, ListOf, lists_of, tombstoned
from sf_assets.warehouse.statements import put_table

_COLUMNS: dict[IdKind, str] = {
    "number": "platform_user_id", "sec_uid": "sec_uid", "handle": "account_handle",
}  # fmt: skip
STRONG: tuple[IdKind, ...] = ("number", "sec_uid")
# Shorter names are also ordinary words.
SHORTEST_NAME = 3

Tell = Callable[[str], None]


@dataclass
class Person:
    """All ids and names that a person ever showed, in plain text.

    `handles`: the days from and until which each was the person's. `shared`: names that others have
    too. `tracked`: handles with own lists in this home. `rows`, `pages`: number of rows in archived
    and in landed lists, by list.
    """

    numbers: set[str] = field(default_factory=set)
    sec_uids: set[str] = field(default_factory=set)
    handles: dict[str, Span] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    shared: set[str] = field(default_factory=set)
    tracked: set[str] = field(default_factory=set)
    rows: Counter[str] = field(default_factory=Counter)
    pages: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of_json(cls, raw: dict[str, Any]) -> Person:
        """The person that `to_json` wrote."""
        return cls(
            set(raw["numbers"]), set(raw["sec_uids"]),
            {handle: (begin, until) for handle, (begin, until) in raw["handles"].items()},
            set(raw["names"]), set(raw["shared"]), set(raw["tracked"]),
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Ids and names, without counts."""
        return {
            "numbers": sorted(self.numbers), "sec_uids": sorted(self.sec_uids),
            "handles": self.handles, "names": sorted(self.names), "shared": sorted(self.shared),
            "tracked": sorted(self.tracked),
        }  # fmt: skip

    @property
    def terms(self) -> set[str]:
        """What to search for: ids, and names that nobody else has."""
        # A handle that somebody else has now does not count.
        own = {handle for handle, (_, until) in self.handles.items() if until is None}
        own -= self.tracked
        return self.numbers | self.sec_uids | own | (self.names - self.shared)

    def matches(self, shown: Ids, day: date) -> bool | None:
        """Whether an account on that day is the person; None if unknown."""
        span = self.handles.get(shown.handle or "")
        known = Ids(
            shown.number if shown.number in self.numbers else None,
            shown.sec_uid if shown.sec_uid in self.sec_uids else None,
            shown.handle if span is not None and within(span, day) else None,
        )
        kinds: list[tuple[IdKind, set[str]]] = [
            ("number", self.numbers), ("sec_uid", self.sec_uids),
        ]  # fmt: skip
        return is_same(shown, known, frozenset(kind for kind, some in kinds if some))

    def __str__(self) -> str:
        ids = [f"@{handle}" for handle in sorted(self.handles)]
        return ", ".join([*ids, *sorted(self.numbers), *sorted(self.sec_uids)])


@dataclass
class _Row:
    """An account in a list that may be one of the people."""

    at: int
    of: ListOf
    shown: Ids
    own: Ids
    name: str | None


def gather(home: Home, people: Sequence[Person], tell: Tell) -> None:
    """Add to each person all ids that appeared together, names, and row counts by list.

    Reads every list in archive and landing, and repeats until it finds nothing new. Raises
    ArchiveDamaged, LandingDamaged.
    """
    for turn in range(1, 10):
        before = [person.to_json() for person in people]
        days: list[tuple[dict[str, set[date]], dict[str, set[date]]]] = [({}, {}) for _ in people]
        for person in people:
            person.rows.clear()
            person.pages.clear()
        tell(f"searching archive and landing ({'again' if turn > 1 else 'all lists'})")
        for rows, numbers, lists, landed in _all_lists(home):
            _look(people, rows, numbers, lists, days, landed=landed)
        for person, (own, others) in zip(people, days, strict=True):
            for handle in person.handles:
                person.handles[handle] = _span(own.get(handle, set()), others.get(handle, set()))
        if before == [person.to_json() for person in people]:
            return


def change_of(people: Sequence[Person], ids: Pseudonyms) -> Change:
    """The change of archived rows: tombstones for these people, and their ids nowhere else."""

    def change(rows: pa.Table, numbers: Whole, lists: Sequence[ListOf]) -> Changed | None:
        candidates = _candidates(people, rows, numbers, lists, names=False)
        if not candidates:
            return None
        new: dict[IdKind, dict[int, str | None]] = {"number": {}, "sec_uid": {}, "handle": {}}
        gone, mask = np.zeros(len(rows), dtype=bool), np.zeros(len(rows), dtype=bool)
        known: dict[IdKind, set[str]] = {
            "number": {number for person in people for number in person.numbers},
            "sec_uid": {sec_uid for person in people for sec_uid in person.sec_uids},
        }
        for row in candidates:
            gone[row.at] = any(person.matches(row.own, row.of.day) for person in people)
            for kind, value in zip(_COLUMNS, row.shown, strict=True):
                if value is not None and (value in known[kind] if kind in known else gone[row.at]):
                    new[kind][row.at] = ids.of(kind, value)
                elif value is None and gone[row.at]:
                    new[kind][row.at] = None
                mask[row.at] |= row.at in new[kind]
        return Changed(tombstoned(rows, gone, _replaced(rows, new)), mask | gone)

    return change


def through_door(con: duckdb.DuckDBPyConnection, door: Door) -> None:
    """Replace forgotten people in `import_accounts` with tombstones. Raises OSError."""
    if not door.closed:
        return
    rows = con.sql("FROM import_accounts ORDER BY snapshot_date, position").to_arrow_table()
    gone = np.zeros(len(rows), dtype=bool)
    new: dict[IdKind, dict[int, str | None]] = {"number": {}, "sec_uid": {}, "handle": {}}
    values = [
        [valid_id(kind, value) for value in rows[column].to_pylist()]
        for kind, column in _COLUMNS.items()
    ]
    shown = [Ids(*ids) for ids in zip(*values, strict=True)]
    begin = 0
    for day, of_day in groupby(rows["snapshot_date"].to_pylist()):
        end = begin + len(list(of_day))
        gone[begin:end] = door.forgets(day, shown[begin:end])
        begin = end
    for at, ids in enumerate(shown):
        for kind, value in zip(_COLUMNS, ids, strict=True):
            if value is None:
                new[kind] |= {at: None} if gone[at] else {}
            elif gone[at] if kind == "handle" else door.is_known(kind, value):
                new[kind][at] = door.pseudonyms.of(kind, value)
    put_table(con, "import_accounts", tombstoned(rows, gone, _replaced(rows, new)))


def change_of_all(ids: Pseudonyms) -> Change:
    """The change of archived rows in a home that keeps no names."""

    def change(rows: pa.Table, numbers: Whole, lists: Sequence[ListOf]) -> Changed | None:
        columns = {}
        for kind, name in _COLUMNS.items():
            encoded = rows[name].combine_chunks().dictionary_encode()
            if isinstance(encoded, pa.ChunkedArray):
                encoded = encoded.chunk(0)
            valid = [valid_id(kind, value) for value in encoded.dictionary.to_pylist()]
            made = [None if value is None else ids.of(kind, value) for value in valid]
            columns[name] = pa.array(made, pa.string()).take(encoded.indices)
        mask = np.ones(len(rows), dtype=bool)
        made_rows = tombstoned(rows, mask, columns)
        # None if it was already done before an interruption.
        known = [name for name in made_rows.column_names if name != "profile_digest"]
        same = made_rows.select(known).equals(rows.select(known))
        return None if same else Changed(made_rows, mask)

    return change


def _all_lists(home: Home) -> Iterator[tuple[pa.Table, Whole, list[ListOf], bool]]:
    for rows, numbers, lists in lists_of(home.archive, ArchiveReader(home.archive)):
        yield rows, numbers, lists, False
    for table, of in _landed(home):
        yield table, np.zeros(len(table), dtype=np.int64), [of], True


def _landed(home: Home) -> Iterator[tuple[pa.Table, ListOf]]:
    """The accounts on all pages of each landed list."""
    landing = landing_at(home.landing, home.root)
    names = {
        "platformUserId": "platform_user_id", "secUid": "sec_uid", "handle": "account_handle",
        "displayName": "display_name",
    }  # fmt: skip
    for day in landing.days():
        for key, landed in landing.read_each(landing.keys(day)):
            if isinstance(landed, LandingDamaged):
                raise landed
            if landed is None:
                continue
            accounts = list(accounts_of(landed))
            yield (
                pa.table(
                    {
                        column: pa.array(
                            [_text(account.get(name)) for account in accounts], pa.string()
                        )
                        for name, column in names.items()
                    }
                ),
                ListOf(key.relation, key.handle, day),
            )


def accounts_of(landed: Landed) -> Iterator[dict[str, Any]]:
    """All accounts on all pages of a landed list, as received."""
    with tempfile.TemporaryDirectory() as folder:
        path = landed.on_disk(Path(folder))
        with path.open("rb") as file:
            for _, body in Records(path, file):
                try:
                    data = json.loads(body)["data"] if body else {}
                except (ValueError, LookupError, TypeError, RecursionError):
                    continue
                for account in data.get("followers") or data.get("accounts") or ():
                    if isinstance(account, dict):
                        yield account


def _text(value: object) -> str | None:
    text = str(value) if type(value) is int else value
    return text if isinstance(text, str) else None


def _candidates(
    people: Sequence[Person],
    rows: pa.Table,
    numbers: Whole,
    lists: Sequence[ListOf],
    *,
    names: bool,
) -> list[_Row]:
    """Rows with an id, or a name, of one of these people."""
    known: dict[IdKind, set[str]] = {
        "number": {number for person in people for number in person.numbers},
        "sec_uid": {sec_uid for person in people for sec_uid in person.sec_uids},
        "handle": {handle for person in people for handle in person.handles},
    }
    mask = np.zeros(len(rows), dtype=bool)
    for kind, column in _COLUMNS.items():
        if known[kind]:
            plain = rows[column]
            if kind == "number":
                plain = pc.utf8_ltrim(pc.utf8_trim(plain, " "), "0")
            elif kind == "handle":
                plain = pc.utf8_lower(plain)
            else:
                plain = pc.utf8_trim(plain, " ")
            mask |= _is_in(plain, known[kind])
    if names:
        mask |= _is_in(rows["display_name"], {name for person in people for name in person.names})
    at = np.flatnonzero(mask)
    if not len(at):
        return []
    some = rows.select([*_COLUMNS.values(), "display_name"]).take(pa.array(at))
    values: dict[IdKind, list[str | None]] = {
        kind: [valid_id(kind, value) for value in some[column].to_pylist()]
        for kind, column in _COLUMNS.items()
    }
    counts: Counter[tuple[int, IdKind, str | None]] = Counter(
        (int(numbers[where]), kind, values[kind][nth])
        for nth, where in enumerate(at)
        for kind in STRONG
    )
    candidates = []
    for nth, where in enumerate(at):
        shown = Ids(*(values[kind][nth] for kind in _COLUMNS))
        alone: dict[IdKind, str | None] = {}
        for kind in STRONG:
            value = getattr(shown, kind)
            seen = counts[int(numbers[where]), kind, value]
            if value is not None and value not in known[kind] and seen == 1:
                # Other rows with this value are not among the candidates.
                plain = rows[_COLUMNS[kind]]
                own = pa.scalar(some[_COLUMNS[kind]][nth].as_py())
                here = np.asarray(pc.fill_null(pc.equal(plain, own), False))
                seen = int((here & (numbers == numbers[where])).sum())
            alone[kind] = value if seen == 1 else None
        own = Ids(alone["number"], alone["sec_uid"], shown.handle)
        name = some["display_name"][nth].as_py()
        candidates.append(_Row(int(where), lists[int(numbers[where])], shown, own, name))
    return candidates


def _is_in(column: Any, values: set[str]) -> Mask:
    matches = pc.is_in(column, value_set=pa.array(sorted(values), pa.string()))
    return np.asarray(pc.fill_null(matches, False))


def _look(
    people: Sequence[Person],
    rows: pa.Table,
    numbers: Whole,
    lists: Sequence[ListOf],
    days: Sequence[tuple[dict[str, set[date]], dict[str, set[date]]]],
    *,
    landed: bool,
) -> None:
    """Add the ids and names in these rows to the people."""
    for row in _candidates(people, rows, numbers, lists, names=True):
        where = f"{row.of.handle} {row.of.relation}"
        for person, (own_days, other_days) in zip(people, days, strict=True):
            matches = person.matches(row.own, row.of.day)
            handle, name = row.shown.handle, (row.name or "").strip()
            if matches:
                (person.pages if landed else person.rows)[where] += 1
                if row.own.number and not is_pseudonym("number", row.own.number):
                    person.numbers.add(row.own.number)
                if row.own.sec_uid and not is_pseudonym("sec_uid", row.own.sec_uid):
                    person.sec_uids.add(row.own.sec_uid)
                if handle and not is_pseudonym("handle", handle):
                    person.handles.setdefault(handle, ALWAYS)
                    if row.own.number or row.own.sec_uid:
                        own_days.setdefault(handle, set()).add(row.of.day)
                if len(name) >= SHORTEST_NAME:
                    person.names.add(name)
            else:
                if handle in person.handles and (row.own.number or row.own.sec_uid):
                    other_days.setdefault(handle, set()).add(row.of.day)
                if name in person.names:
                    person.shared.add(name)


def _span(own: set[date], others: set[date]) -> Span:
    """The days from and until which a handle is a person's, if others had it too."""
    if not others:
        return ALWAYS
    first = min(own, default=None)
    until = min((day for day in others if first is None or day > first), default=None)
    begins = first if first is not None and any(day < first for day in others) else None
    return begins.isoformat() if begins else None, until.isoformat() if until else None


def _replaced(rows: pa.Table, new: dict[IdKind, dict[int, str | None]]) -> dict[str, pa.Array]:
    """The id columns with new values in some rows."""
    columns = {}
    for kind, values in new.items():
        at = sorted(values)
        mask = np.zeros(len(rows), dtype=bool)
        mask[at] = True
        column = rows[_COLUMNS[kind]]
        plain = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        if isinstance(plain, pa.ChunkedArray):
            plain = pa.concat_arrays(plain.chunks)
        columns[_COLUMNS[kind]] = pc.replace_with_mask(
            plain, pa.array(mask), pa.array([values[row] for row in at], pa.string())
        )
    return columns
