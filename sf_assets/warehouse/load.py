"""Archives and loads finished landings, in batches, each in one short transaction."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa

from sf_assets.fault_injection import crash_point
from sf_assets.model import SnapshotKey
from sf_assets.storage.landing import Landing
from sf_assets.storage.records import Landed
from sf_assets.text import first_line, one_line
from sf_assets.warehouse.archive import SnapshotRow, write_batch
from sf_assets.warehouse.connection import Connect, committed
from sf_assets.warehouse.ledger import paid_for, record_paid
from sf_assets.warehouse.statements import run_sql, sql

# Retries for a list that another process changed while it was read.
RETRIES = 3


@dataclass(frozen=True)
class LoadFailure:
    """A snapshot whose landed pages could not be loaded; they are kept."""

    key: SnapshotKey
    reason: str


def wanted(keys: Iterable[SnapshotKey]) -> pa.Table:
    """Keys as an Arrow table: relation, handle, day."""
    return pa.Table.from_pylist(
        [{"relation": k.relation, "handle": k.handle, "day": k.day} for k in keys],
        schema=pa.schema(
            [("relation", pa.string()), ("handle", pa.string()), ("day", pa.date32())]
        ),
    )


def loaded_rows(con: duckdb.DuckDBPyConnection, keys: Iterable[SnapshotKey]) -> list[SnapshotRow]:
    """The existing rows of `snapshots` for these keys."""
    con.register("wanted", wanted(keys))
    rows = con.execute(sql("loaded")).fetchall()
    con.unregister("wanted")
    return [SnapshotRow(*row) for row in rows]


class Before(NamedTuple):
    """The last snapshot of a list before a day. `largest` is the largest number of accounts in any
    of its snapshots."""

    lookup_status: str
    pages: int
    largest: int = 0


def lists_before(con: duckdb.DuckDBPyConnection, day: date) -> dict[tuple[str, str], Before]:
    """(relation, handle) -> its last snapshot before `day`."""
    rows = con.execute(sql("lists_before"), [day]).fetchall()
    return {(relation, handle): Before(*before) for relation, handle, *before in rows}


def load(
    connect: Connect, archive: Path, landings: Sequence[Landed], landing: Landing | None = None
) -> tuple[list[SnapshotRow], list[LoadFailure]]:
    """Archive and load finished landings of any days. A bad page fails only its own list.

    `connect` opens the warehouse, which is held for one short transaction at the end. Loading a
    list again replaces its day. A list that another process packed meanwhile is read again from
    `landing`. Raises WarehouseBusy, and duckdb.Error if the warehouse cannot be written (disk
    full): then nothing is loaded, and the next load of the same landings replaces the archive
    files.
    """
    rows: list[SnapshotRow] = []
    failures: list[LoadFailure] = []
    by_day: dict[date, list[Landed]] = {}
    for landed in landings:
        by_day.setdefault(landed.key.day, []).append(landed)
    for batch in by_day.values():
        written, failed = _archive(archive, batch, landing)
        rows += written
        failures += failed
    if rows:
        crash_point("archived")
        loaded = {row.key for row in rows}
        paid = [
            attempt
            for landed in landings
            if landed.key in loaded
            for attempt in paid_for(landed.key, landed.attempts)
        ]

        def note() -> None:
            record(con, rows)
            record_paid(con, paid)

        with connect() as con:
            committed(con, "load", note)
    return rows, failures


def record(con: duckdb.DuckDBPyConnection, rows: Sequence[SnapshotRow]) -> None:
    """Write rows to `snapshots`, replacing rows of the same list and day."""
    columns = {
        field.name: [getattr(row, field.name) for row in rows] for field in fields(SnapshotRow)
    }
    incoming = pa.table(columns, schema=_schema())
    exhaustive = pa.array([row.exhaustive for row in rows], pa.bool_())
    con.register("incoming", incoming.append_column("exhaustive", exhaustive))
    run_sql(con, "record_snapshots")
    con.unregister("incoming")


def _archive(
    archive: Path, batch: Sequence[Landed], landing: Landing | None, retries: int = RETRIES
) -> tuple[list[SnapshotRow], list[LoadFailure]]:
    try:
        return write_batch(archive, batch), []
    except Exception as error:
        if _is_disk_full(error):
            # No page is at fault, and smaller batches would not help.
            return [], [LoadFailure(landed.key, first_line(error)) for landed in batch]
        if landing is not None and retries and (now := _read_again(landing, batch)) != list(batch):
            return _archive(archive, now, landing, retries - 1)
        if len(batch) == 1:
            return _archive_repaired(archive, batch, error)
    # An unreadable page must not block the others: halve the batch until it is alone.
    middle = len(batch) // 2
    left = _archive(archive, batch[:middle], landing, retries)
    right = _archive(archive, batch[middle:], landing, retries)
    return left[0] + right[0], left[1] + right[1]


def _read_again(landing: Landing, batch: Sequence[Landed]) -> list[Landed]:
    """The lists with their current path and length; unreadable ones unchanged."""
    current = []
    for landed in batch:
        now = landing.read_or_why(landed.key)
        same = isinstance(now, Landed) and (now.path, now.sound_bytes) == (
            landed.path,
            landed.sound_bytes,
        )
        current.append(landed if same or not isinstance(now, Landed) or not now.to_load else now)
    return current


def _archive_repaired(
    archive: Path, batch: Sequence[Landed], error: Exception
) -> tuple[list[SnapshotRow], list[LoadFailure]]:
    """Archive a list that DuckDB cannot read, with Python. `error` is DuckDB's error."""
    try:
        return write_batch(archive, batch, repair=True), []
    except Exception:
        return [], [LoadFailure(batch[0].key, one_line(first_line(error)))]


def _is_disk_full(error: Exception) -> bool:
    no_room = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
    return isinstance(error, OSError) and error.errno in no_room


def _schema() -> pa.Schema:
    kinds = {
        "date": pa.date32(), "int": pa.int64(), "int | None": pa.int64(), "bool": pa.bool_(),
    }  # fmt: skip
    return pa.schema(
        [(field.name, kinds.get(str(field.type), pa.string())) for field in fields(SnapshotRow)]
    )
