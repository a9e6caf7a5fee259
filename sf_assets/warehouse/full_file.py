"""The rows of a full file of the archive, read in parts: a long list is never in memory whole."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import date
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sf_assets.storage.object_store import is_remote
from sf_assets.warehouse.archive_reader import Described
from sf_assets.warehouse.packing import (
    COLUMNS,
    KEYS,
    Mask,
    Unfit,
    Whole,
    begins_of,
    keys_of,
)
from sf_assets.warehouse.statements import sql

_LABELS = ["relation", "handle", "snapshot_date", "attempt", "position"]


class FullFile:
    """The rows of a full file, list after list, each top first. Only the last slice is cached.

    `about` describes the lists of the file. `sizes` are their numbers of rows, `gaps` the positions
    without a row. Raises Unfit if the rows do not match the lists.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection, about: Described) -> None:
        self._con, self._path = con, about.path
        self._body = about.path.read_bytes() if is_remote(about.path) else None
        with self._opened() as file:
            self._metadata = pq.read_metadata(file)
        self.columns = list(self._metadata.schema.to_arrow_schema().names)
        groups = range(self._metadata.num_row_groups)
        self._begins = begins_of([self._metadata.row_group(group).num_rows for group in groups])
        # Row group -> its rows, for the groups of the last slice.
        self._held: dict[int, pa.Table] = {}
        numbers, positions = self._checked(about)
        self.sizes: list[int] = np.bincount(numbers, minlength=len(about.snapshots)).tolist()
        # The place of each row in the file; few are out of order.
        self._order: Whole = np.lexsort((positions, numbers))
        self.gaps = _gaps(positions[self._order], self.sizes)
        self._computed: Mask = np.zeros(len(numbers), dtype=bool)

    def leave_out(self, digests: Sequence[str]) -> None:
        """From now on, leave out the digests of lists whose digests are `computed`."""
        self._computed = np.repeat(np.array([one == "computed" for one in digests]), self.sizes)

    def rows(self, first: int, last: int) -> pa.Table:
        """The rows from `first` to before `last`, as COLUMNS."""
        groups, at = self._where(first, last)
        self._held = {
            group: self._held[group] if group in self._held else self._read(group)
            for group in groups
        }
        if not groups:
            return pa.table({name: pa.nulls(0, kind) for name, kind in COLUMNS.items()})
        table = pa.concat_tables(self._held.values())
        if (np.diff(at) == 1).all():
            table = table.slice(at[0], len(at))
        else:
            table = table.take(pa.array(at))
        computed = self._computed[first:last]
        if computed.any():
            own = pc.if_else(pa.array(computed), None, table["profile_digest"])
            place = table.column_names.index("profile_digest")
            table = table.set_column(place, "profile_digest", own)
        return table.combine_chunks()

    def keys(self, first: int, last: int) -> Whole:
        """The keys of the rows from `first` to before `last`."""
        groups, at = self._where(first, last)
        found = [keys_of(self._con, self._parquet(group, KEYS)) for group in groups]
        return np.concatenate([np.zeros(0, dtype=np.int64), *found])[at]

    def _where(self, first: int, last: int) -> tuple[list[int], Whole]:
        """The row groups of these rows, and the place of each row in the concatenated groups."""
        at = self._order[first:last]
        of_row = np.searchsorted(self._begins, at, side="right") - 1
        groups = np.unique(of_row)
        begins = begins_of(np.diff(self._begins)[groups].tolist())
        return groups.tolist(), at - self._begins[of_row] + begins[np.searchsorted(groups, of_row)]

    def _checked(self, about: Described) -> tuple[Whole, Whole]:
        """For each row of the file, the number of its list and its position in it."""
        unknown = set(self.columns) - set(COLUMNS) - set(_LABELS) - {"avatar_urls"}
        series = [f"{raw['relation']}/{raw['handle']}" for raw in about.snapshots]
        days = {raw["snapshot_date"] for raw in about.snapshots}
        if unknown or len(set(series)) < len(series) or len(days) != 1:
            raise Unfit(f"it is of a kind that is not packed ({', '.join(sorted(unknown))})")
        attempts = np.array([raw["attempt"] for raw in about.snapshots], dtype=np.int64)
        numbers, positions = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for group in range(len(self._begins) - 1):
            table = self._parquet(group, _LABELS)
            listed = pc.index_in(
                pc.binary_join_element_wise(table["relation"], table["handle"], "/"),
                pa.array(series),
            )
            own = pc.fill_null(table["position"], 0).to_numpy().astype(np.int64)
            if listed.null_count or (len(own) and own.min() < 1):
                raise Unfit("it has rows of lists that it does not name")
            numbers.append(listed.to_numpy().astype(np.int64))
            positions.append(own)
            if (table["attempt"].to_numpy() != attempts[numbers[-1]]).any() or not set(
                pc.unique(table["snapshot_date"]).to_pylist()
            ) <= set(map(date.fromisoformat, days)):
                raise Unfit("it has rows of other readings than it names")
        return np.concatenate(numbers), np.concatenate(positions)

    def _read(self, group: int) -> pa.Table:
        wanted = [name for name in (*COLUMNS, "avatar_urls") if name in self.columns]
        table = self._parquet(group, wanted)
        if "avatar_urls" in wanted:  # of the first format
            table = _with_rests(self._con, table)
        return pa.table(
            {
                name: table[name].cast(kind) if name in table.column_names
                else pa.nulls(len(table), kind)
                for name, kind in COLUMNS.items()
            }
        )  # fmt: skip

    def _parquet(self, group: int, columns: Sequence[str]) -> pa.Table:
        with self._opened() as file:
            there = pq.ParquetFile(file, metadata=self._metadata)
            return there.read_row_group(group, list(columns), use_threads=False)

    def _opened(self) -> Any:
        if self._body is not None:
            return nullcontext(io.BytesIO(self._body))
        return self._path.open("rb")


def _gaps(positions: Whole, sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """For each list, the positions without a row."""
    gaps = []
    for begin, size in zip(begins_of(sizes), sizes, strict=False):
        own = positions[begin : begin + size]
        if size and (np.diff(own) < 1).any():
            raise Unfit("two of its rows have one position")
        last = int(own[-1]) if size else 0
        gaps.append(
            tuple(np.setdiff1d(np.arange(1, last + 1), own).tolist()) if last > size else ()
        )
    return gaps


def _with_rests(con: duckdb.DuckDBPyConnection, table: pa.Table) -> pa.Table:
    """The table with the picture addresses replaced by what they add to the first one."""
    con.register("rows_in", table.select(["avatar_url", "avatar_urls"]))
    try:
        rests = con.sql(sql("avatar_rests")).to_arrow_table()
    finally:
        con.unregister("rows_in")
    if len(rests) and not pc.all(rests["same"]).as_py():
        raise Unfit("addresses of pictures in it cannot be shortened")
    return table.append_column("avatar_rests", rests["avatar_rests"])
