"""Reads lists of some series from the archive, compares them and writes the results."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import date
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sf_assets.warehouse.alignment import usable_total
from sf_assets.warehouse.archive_reader import ArchiveReader, Wanted, show_lists
from sf_assets.warehouse.compare import advance, leave_out
from sf_assets.warehouse.series import (
    ACCOUNT,
    NO_ENTRY,
    NONE,
    Accounts,
    End,
    Listing,
    Proof,
    Reading,
    Series,
    Start,
    State,
    new_accounts,
)
from sf_assets.warehouse.statements import Rows, put_table, run_sql, sql


class Snapshot(NamedTuple):
    """A snapshot to compare."""

    relation: str
    handle: str
    snapshot_date: date
    attempt: int
    pages: int
    listed: int
    reported_total: int | None
    completeness: str
    exhaustive: bool
    lookup_status: str
    until_known: bool
    damaged_fields: int
    ordered: bool
    partial: bool
    path: str
    archive_file: str

    @property
    def wanted(self) -> Wanted:
        """The list in the archive."""
        return Wanted(
            self.archive_file, self.relation, self.handle, self.snapshot_date, self.attempt
        )

    @property
    def comparable(self) -> bool:
        """Whether the list can be compared. An empty window with a total above 0 cannot."""
        return self.completeness == "complete" or (
            self.completeness == "window" and self.listed > 0
        )


class Chunk:
    """Snapshots to compare together, each series in the order of its days."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        archive: ArchiveReader,
        snapshots: Sequence[Snapshot],
        rows: Rows,
        continued: Collection[tuple[str, date]] = (),
    ) -> None:
        self._con, self._archive, self._rows = con, archive, rows
        self._continued = continued
        self._snapshots = snapshots
        names = sorted({(one.relation, one.handle) for one in snapshots})
        self._number = {name: number for number, name in enumerate(names)}
        self._dropped: set[int] = set()
        self._series: list[Series] = []

    def read(self) -> list[tuple[str, str]]:
        """Read the lists; returns the series to replay because of new ids."""
        con = self._con
        put_table(con, "chunk", _chunk_table(self._snapshots, self._number))
        put_table(
            con,
            "chunk_series",
            pa.table(
                {
                    "series": pa.array(self._number.values(), pa.int32()),
                    "relation": [relation for relation, _ in self._number],
                    "handle": [handle for _, handle in self._number],
                }
            ),
        )
        run_sql(con, "begun")
        lists = [one.wanted for one in self._snapshots if one.comparable]
        self._has_lists = bool(lists)
        if not lists:
            return []
        show_lists(con, self._rows, self._archive, "archived", lists)
        self._rows.query("listed", "listed")
        run_sql(con, "derive_ids")
        return con.execute("SELECT relation, handle FROM to_replay ORDER BY ALL").fetchall()

    def drop(self, names: Iterable[tuple[str, str]]) -> None:
        """Remove these series from the chunk."""
        dropped = [self._number[name] for name in names if name in self._number]
        self._dropped = set(dropped)
        for table in ("chunk", "chunk_series") if dropped else ():
            self._con.execute(f"DELETE FROM {table} WHERE list_contains(?, series)", [dropped])

    def compare(self) -> None:
        """Compare the lists, one after the other."""
        if not self._has_lists:
            return
        con = self._con
        self._rows.query("listed", "listed_named")
        self._rows.query("known", "known")
        entries = con.sql(sql("chunk_entries")).to_arrow_table()
        columns = {name: _numbers(entries[name]) for name in entries.column_names}
        accounts = con.sql(sql("chunk_accounts")).to_arrow_table()
        of_series = _numbers(accounts["series"])
        known = _accounts(accounts)
        # As much again, and never needed again.
        del accounts
        self._rows.narrow(
            "known_ids", "known", ["series", "account", "account_id", "account_handle"]
        )
        readings = self._readings()
        facts = self._facts()
        by_series: dict[int, list[int]] = {}
        for listing, snapshot in enumerate(self._snapshots):
            number = self._number[snapshot.relation, snapshot.handle]
            if snapshot.comparable and number not in self._dropped:
                by_series.setdefault(number, []).append(listing)
        names = list(self._number)
        for number in sorted(by_series):
            low, high = np.searchsorted(of_series, [number, number + 1])
            series = Series(*names[number], known[low:high], readings.get(number, []))
            series.number = number
            self._series.append(series)
        del known  # a series that grows copies its own
        for series in self._series:
            listings = by_series[series.number]
            for listing in sorted(listings, key=lambda at: self._snapshots[at].snapshot_date):
                shown = self._listing(listing, columns, facts)
                if self._snapshots[listing].partial and series.before is not None:
                    leave_out(series, shown)
                else:
                    advance(series, shown)

    def _listing(
        self, number: int, columns: dict[str, Any], facts: dict[int, dict[int, bool]]
    ) -> Listing:
        snapshot = self._snapshots[number]
        low, high = np.searchsorted(columns["listing"], [number, number + 1])
        own = {
            name: values[low:high]
            for name, values in columns.items()
            if name not in ("listing", "position")
        }
        unnamed = np.zeros(0, dtype=np.int64)
        if snapshot.damaged_fields:
            steps = np.diff(columns["position"][low:high], prepend=0)
            unnamed = np.repeat(np.arange(len(steps)), steps - 1)
        return Listing(
            number=number,
            day=(snapshot.snapshot_date - date(1970, 1, 1)).days,
            exhaustive=snapshot.exhaustive,
            complete=snapshot.completeness == "complete",
            until_known=snapshot.until_known,
            ordered=snapshot.ordered,
            total=usable_total(snapshot.listed, snapshot.reported_total),
            unnamed=unnamed,
            facts=facts.get(number, {}),
            continued=(snapshot.handle, snapshot.snapshot_date) in self._continued,
            **own,
        )

    def _readings(self) -> dict[int, list[Reading]]:
        rows: dict[int, list[Reading]] = {}
        for row in self._con.execute(sql("chunk_readings")).fetchall():
            number, day, listed, total, exhaustive, complete, until_known, *measured = row
            earlier = rows.setdefault(number, [])
            if until_known and earlier:
                complete = earlier[-1].complete
            total = usable_total(listed, total)
            earlier.append(Reading(day, total, exhaustive, complete, listed, *measured))
        return rows

    def _facts(self) -> dict[int, dict[int, bool]]:
        """Listing -> hash of a handle -> whether that handle's own list has the tracked handle."""
        con = self._con
        asked = con.execute(sql("other_side")).fetchall()
        if not asked:
            return {}
        shown = shown_on_other_side(con, self._archive, self._rows, asked)
        hashes = dict(
            con.execute(
                "SELECT DISTINCT other_handle, hash(other_handle) FROM other_side"
            ).fetchall()
        )
        facts: dict[int, dict[int, bool]] = {}
        for listing, _, other, _, _, _, exhaustive, _ in asked:
            if (listing, other) in shown or exhaustive:
                facts.setdefault(listing, {})[hashes[other]] = (listing, other) in shown
        return facts

    def write(self) -> None:
        """Write the results to the warehouse, after which the snapshots count as derived."""
        con = self._con
        out = _Output(self._series).tables()
        if self._has_lists:
            for name, table in out.items():
                self._rows.put(f"out_{name}", table)
            self._renumber()
            # Frees hundreds of bytes per account; the tables have everything now.
            self._series.clear()
            self._rows.query("named", "named")
            run_sql(con, "derive_write")
            self._rows.query("sightings", "sightings")
            self._rows.empty("known_ids", "named")
            run_sql(con, "derive_profiles")
            self._rows.query("profiles_ranked", "profiles_ranked")
            run_sql(con, "derive_profiles_write")
        else:
            self._rows.put("out_comparisons", out["comparisons"])
        run_sql(con, "derive_end")
        self._rows.empty()

    def _renumber(self) -> None:
        """Move the stored places of a series to the new numbering."""
        con = self._con
        for series in self._series:
            if not series.changes.renumbered:
                continue
            name = {"relation": series.relation, "handle": series.handle}
            stored = con.execute(sql("places"), name).fetchnumpy()["place"]
            moved = np.asarray(stored, dtype=np.float64)
            for old, new in series.changes.renumbered:
                moved = np.interp(moved, old, new)
            own = {column: [value] * len(moved) for column, value in name.items()}
            put_table(con, "moved", pa.table({**own, "old": stored, "new": moved}))
            run_sql(con, "move_places")


def shown_on_other_side(
    con: duckdb.DuckDBPyConnection,
    reader: ArchiveReader,
    rows: Rows,
    asked: Sequence[Sequence[Any]],
) -> set[tuple[int, str]]:
    """The (listing, other handle) of rows of other_side.sql whose list shows the handle."""
    put_table(
        con,
        "other_side",
        pa.Table.from_pylist(
            [
                {
                    "listing": listing, "handle": handle, "other_handle": other,
                    "other_relation": relation, "snapshot_date": day, "attempt": attempt,
                    "path": str(reader.archive / archive_file),
                }
                for listing, handle, other, relation, day, attempt, _, archive_file in asked
            ]
        ),
    )  # fmt: skip
    lists = [
        Wanted(archive_file, relation, other, day, attempt)
        for _, _, other, relation, day, attempt, _, archive_file in asked
    ]
    show_lists(con, rows, reader, "other_archived", list(dict.fromkeys(lists)))
    return set(con.execute(sql("other_side_shown")).fetchall())


def _chunk_table(snapshots: Sequence[Snapshot], number: dict[tuple[str, str], int]) -> pa.Table:
    kinds = {
        "series": pa.int32(),
        "listing": pa.int32(),
        "snapshot_date": pa.date32(),
        "attempt": pa.int32(),
        "pages": pa.int32(),
        "comparable": pa.bool_(),
    }
    names = (
        "relation",
        "handle",
        "snapshot_date",
        "attempt",
        "pages",
        "path",
        "lookup_status",
        "completeness",
    )
    rows = [
        {
            "series": number[one.relation, one.handle],
            "listing": listing,
            "comparable": one.comparable,
            **{name: getattr(one, name) for name in names},
        }
        for listing, one in enumerate(snapshots)
    ]
    return pa.Table.from_pylist(
        rows, schema=pa.schema([(name, kinds.get(name, pa.string())) for name in rows[0]])
    )


def _numbers(column: pa.ChunkedArray, null: object = None) -> Any:
    if null is not None:
        column = pc.fill_null(column, null)
    return column.to_numpy()


def _accounts(table: pa.Table) -> Accounts:
    rows = new_accounts(len(table))
    for name in ACCOUNT.names or ():
        if name in table.column_names:
            unknown = float("nan") if name == "place" else NONE
            column = table[name]
            rows[name] = _numbers(column, unknown) if column.null_count else _numbers(column)
    rows["stored"] = rows["first"]
    rows["loss_stored"] = rows["loss_on"]
    return rows


def _days(values: Any) -> pa.Array:
    days = np.asarray(values, dtype=np.int64).astype(np.int32)
    return pa.array(days, mask=days == NONE).cast(pa.date32())


def _words(kind: type[Start] | type[End] | type[State], values: Any) -> pa.Array:
    names = np.array([one.name for one in kind], dtype=object)
    return pa.array(names[np.asarray(values, dtype=np.int64)], pa.string())


class _Output:
    """Converts the changes of some series to Arrow tables."""

    def __init__(self, series: Sequence[Series]) -> None:
        self._series = series
        # Accounts with changes, by series.
        self._touched: list[list[Any]] = [[] for _ in series]
        self._at = {one.number: at for at, one in enumerate(series)}

    def tables(self) -> dict[str, pa.Table]:
        """Name -> table, as derive_write.sql reads them."""
        made = {
            "presences": self._presences(),
            "losses": self._losses(),
            "gains": self._gains(),
            "dropped": self._rows("dropped", ("account", "day"), days=("day",)),
            "dropped_losses": self._rows("dropped_losses", ("account", "day"), days=("day",)),
            "unclaimed": self._rows("unclaimed", ("account", "day"), days=("day",)),
            "moved_gains": self._rows(
                "moved_gains", ("account", "new_account", "day"), days=("day",)
            ),
            "healed": self._rows(
                "healed", ("account", "missed_from", "missed_to"), days=("missed_from", "missed_to")
            ),
            "renamed": self._rows(
                "renamed", ("account", "from_entry", "to_entry", "day"), days=("day",)
            ),
            "upgraded": self._rows(
                "upgraded", ("account",), rows=lambda s: [(one,) for one in s.changes.upgraded]
            ),
            "comparisons": self._comparisons(),
            "sightings": self._sightings(),
        }
        made["touched"] = self._accounts_touched()
        return made

    def _accounts_touched(self) -> pa.Table:
        none = np.zeros(0, dtype=np.int64)
        accounts = [np.unique(np.concatenate([none, *some])) for some in self._touched]
        numbers = [
            np.full(len(own), one.number) for own, one in zip(accounts, self._series, strict=True)
        ]
        ids = [
            one.accounts["id_entry"][own] for own, one in zip(accounts, self._series, strict=True)
        ]
        return pa.table(
            {
                "series": pa.array(np.concatenate([none, *numbers]), pa.int32()),
                "account": np.concatenate([none, *accounts]),
                "id_entry": np.concatenate([none, *ids]),
            }
        )

    def _touch(self, series: Series, accounts: Iterable[int]) -> None:
        own = accounts if isinstance(accounts, np.ndarray) else list(accounts)
        self._touched[self._at[series.number]].append(np.array(own, dtype=np.int64))

    def _rows(
        self, name: str, columns: Sequence[str], days: Sequence[str] = (), rows: Any = None
    ) -> pa.Table:
        found: list[tuple[int, ...]] = []
        for series in self._series:
            own = rows(series) if rows else getattr(series.changes, name)
            found += [(series.number, *row) for row in own]
            for at, column in enumerate(columns):
                if column.endswith("account"):
                    self._touch(series, (row[at] for row in own))
        values = list(zip(*found, strict=True)) if found else [()] * (len(columns) + 1)
        return pa.table(
            {
                column: _days(some) if column in days else pa.array(some, pa.int64())
                for column, some in zip(("series", *columns), values, strict=True)
            }
        )

    def _of_accounts(self, changed: str, closed: str) -> tuple[Any, Any, Accounts]:
        """The rows of accounts to write: series, account, row."""
        numbers, accounts, rows = [], [], []
        for series in self._series:
            own = np.flatnonzero(series.accounts[changed])
            older = getattr(series.changes, closed)
            accounts.append(own)
            rows.append(series.accounts[own])
            if older:
                accounts.append(np.array([account for account, _ in older]))
                rows.append(np.array([row for _, row in older], dtype=ACCOUNT))
            numbers.append(np.full(len(own) + len(older), series.number))
            self._touch(series, own)
            self._touch(series, (account for account, _ in older))
        empty = np.zeros(0, dtype=np.int64)
        return (
            np.concatenate([empty, *numbers]),
            np.concatenate([empty, *accounts]),
            np.concatenate([new_accounts(0), *rows]),
        )

    def _presences(self) -> pa.Table:
        number, account, rows = self._of_accounts("changed", "closed")
        newest = np.zeros(len(rows), dtype=bool)
        at = 0
        for series in self._series:
            own = int(np.count_nonzero(series.accounts["changed"]))
            newest[at : at + own] = True
            at += own + len(series.changes.closed)
        present = rows["present"] & newest
        last = np.where(present, NONE, rows["last"])
        looked = np.where(present | (rows["looked"] == rows["last"]), NONE, rows["looked"])
        return pa.table(
            {
                "series": pa.array(number, pa.int32()),
                "account": account,
                "stored": _days(rows["stored"]),
                "first": _days(rows["first"]),
                "last": _days(last),
                "looked": _days(looked),
                "start": _words(Start, rows["start"]),
                "end": pc.if_else(
                    pa.array(present), None, _words(End, rows["end"])
                ),
                "place": pa.array(rows["place"], from_pandas=True),
                "missed": _days(np.where(present, NONE, rows["missed"])),
                "after": _days(rows["after"]),
                "before": _days(rows["before"]),
                "undecided": pa.array(np.where(present, rows["undecided"], 0), pa.int8()),
                "handle_entry": rows["handle_entry"],
                "time_entry": rows["time_entry"],
            }
        )  # fmt: skip

    def _losses(self) -> pa.Table:
        number, account, rows = self._of_accounts("loss_changed", "closed_losses")
        agree = rows["loss_agree"]
        return pa.table(
            {
                "series": pa.array(number, pa.int32()),
                "account": account,
                "stored": _days(rows["loss_stored"]),
                "previous": _days(rows["loss_from"]),
                "day": _days(rows["loss_on"]),
                "state": _words(State, rows["loss_state"]),
                "evidence": pa.array(
                    [Proof(one).words for one in rows["loss_proof"].tolist()], pa.string()
                ),
                "totals_agree": pa.array(agree == 1, mask=agree < 0),
                "misses": pa.array(rows["loss_misses"], pa.int8()),
                "confirmed": _days(rows["loss_confirmed"]),
                "handle_entry": rows["loss_entry"],
            }
        )

    def _gains(self) -> pa.Table:
        found = []
        for series in self._series:
            found += [(series.number, *gain) for gain in series.changes.gains]
            self._touch(series, (gain[0] for gain in series.changes.gains))
        values = list(zip(*found, strict=True)) if found else [()] * 7
        return pa.table(
            {
                "series": pa.array(values[0], pa.int32()),
                "account": pa.array(values[1], pa.int64()),
                "previous": _days(values[2]),
                "day": _days(values[3]),
                "change": pa.array([one.name for one in values[4]], pa.string()),
                "evidence": pa.array([one.words for one in values[5]], pa.string()),
                "handle_entry": pa.array(values[6], pa.int64()),
            }
        )

    def _comparisons(self) -> pa.Table:
        found = [one for series in self._series for one in series.changes.comparisons]
        return pa.table(
            {
                "listing": pa.array([one.listing for one in found], pa.int32()),
                "previous": _days([one.previous for one in found]),
                "common": pa.array([one.common for one in found], pa.int64()),
                "chain": pa.array([one.chain for one in found], pa.int64()),
                "losses": pa.array([one.losses for one in found], pa.string()),
                "gains": pa.array([one.gains for one in found], pa.string()),
                "reason": pa.array([one.reason for one in found], pa.string()),
                "reach": pa.array([one.reach for one in found], pa.float64()),
                "unnamed": pa.array([one.unnamed for one in found], pa.int32()),
            }
        )

    def _sightings(self) -> pa.Table:
        columns: dict[str, list[Any]] = {
            name: [np.zeros(0, dtype=np.int64)]
            for name in ("series", "account", "seen_entry", "sec_entry", "id_entry")
        }
        for series in self._series:
            seen = np.flatnonzero(series.accounts["seen_entry"] != NO_ENTRY)
            columns["series"].append(np.full(len(seen), series.number))
            columns["account"].append(seen)
            for name in ("seen_entry", "sec_entry", "id_entry"):
                columns[name].append(series.accounts[name][seen])
        return pa.table({name: np.concatenate(parts) for name, parts in columns.items()})
