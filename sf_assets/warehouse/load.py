"""From finished landings to rows of `snapshots`, in batches, each in one short transaction."""

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

# A list that could not be read is looked for again so often.
LOOKS = 3


@dataclass(frozen=True)
class LoadFailure:
    """A snapshot whose landed pages could not be loaded; they are kept."""

    key: SnapshotKey
    reason: str


def wanted(keys: Iterable[SnapshotKey]) -> pa.Table:
    """Keys as a table: relation, handle, day."""
    return pa.Table.from_pylist(
        [{"relation": k.relation, "handle": k.handle, "day": k.day} for k in keys],
        schema=pa.schema(
            [("relation", pa.string()), ("handle", pa.string()), ("day", pa.date32())]
        ),
    )


def loaded_rows(con: duckdb.DuckDBPyConnection, keys: Iterable[SnapshotKey]) -> list[SnapshotRow]:
    """The rows of `snapshots` that are there for these keys."""
    con.register("wanted", wanted(keys))
    rows = con.execute(sql("loaded")).fetchall()
    con.unregister("wanted")
    return [SnapshotRow(*row) for row in rows]


class Before(NamedTuple):
    """The latest snapshot of a list before some day: its status, and the pages it had. `largest` is
    how many accounts any snapshot of it listed at most."""

    lookup_status: str
    pages: int
    largest: int = 0


def lists_before(con: duckdb.DuckDBPyConnection, day: date) -> dict[tuple[str, str], Before]:
    """(relation, handle) -> its latest snapshot before `day`."""
    rows = con.execute(sql("lists_before"), [day]).fetchall()
    return {(relation, handle): Before(*before) for relation, handle, *before in rows}


def load(
    connect: Connect, archive: Path, landings: Sequence[Landed], landing: Landing | None = None
) -> tuple[list[SnapshotRow], list[LoadFailure]]:
    """Archive and load finished landings of any days; a batch's bad page fails only its own list.

    `connect` opens the warehouse; it is held only for one short transaction, at the end.
    Re-loading replaces the day. A list that another process packed since it was read is read once
    more, from `landing`. Raises WarehouseBusy where the warehouse stays locked, and
    duckdb.Error where it cannot be written (a full disk): nothing is loaded then, and the archive
    files are orphans, which the next load of the same landings supersedes.
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
            one
            for landed in landings
            if landed.key in loaded
            for one in paid_for(landed.key, landed.attempts)
        ]

        def note() -> None:
            record(con, rows)
            record_paid(con, paid)

        with connect() as con:
            committed(con, "load", note)
    return rows, failures


def record(con: duckdb.DuckDBPyConnection, rows: Sequence[SnapshotRow]) -> None:
    """Put rows into `snapshots`, in the place of what is there for the same list and day."""
    columns = {
        field.name: [getattr(row, field.name) for row in rows] for field in fields(SnapshotRow)
    }
    incoming = pa.table(columns, schema=_schema())
    exhaustive = pa.array([row.exhaustive for row in rows], pa.bool_())
    con.register("incoming", incoming.append_column("exhaustive", exhaustive))
    run_sql(con, "record_snapshots")
    con.unregister("incoming")


def _archive(
    archive: Path, batch: Sequence[Landed], landing: Landing | None, looks: int = LOOKS
) -> tuple[list[SnapshotRow], list[LoadFailure]]:
    try:
        return write_batch(archive, batch), []
    except Exception as error:
        if _is_room(error):
            # That is nobody's page, and smaller batches would not help.
            return [], [LoadFailure(landed.key, first_line(error)) for landed in batch]
        if landing is not None and looks and (now := _as_it_is_now(landing, batch)) != list(batch):
            return _archive(archive, now, landing, looks - 1)
        if len(batch) == 1:
            return _archive_mended(archive, batch, error)
    # One unreadable page must not keep the others out: halve until it stands alone.
    middle = len(batch) // 2
    left = _archive(archive, batch[:middle], landing, looks)
    right = _archive(archive, batch[middle:], landing, looks)
    return left[0] + right[0], left[1] + right[1]


def _as_it_is_now(landing: Landing, batch: Sequence[Landed]) -> list[Landed]:
    """The same lists where and how long they are now; the given one of what cannot be read."""
    found = []
    for landed in batch:
        now = landing.read_or_why(landed.key)
        same = isinstance(now, Landed) and (now.path, now.sound_bytes) == (
            landed.path,
            landed.sound_bytes,
        )
        found.append(landed if same or not isinstance(now, Landed) or not now.to_load else now)
    return found


def _archive_mended(
    archive: Path, batch: Sequence[Landed], error: Exception
) -> tuple[list[SnapshotRow], list[LoadFailure]]:
    """A list that DuckDB cannot read, as Python reads it; `error` is why DuckDB could not."""
    try:
        return write_batch(archive, batch, mend=True), []
    except Exception:
        return [], [LoadFailure(batch[0].key, one_line(first_line(error)))]


def _is_room(error: Exception) -> bool:
    no_room = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
    return isinstance(error, OSError) and error.errno in no_room


def _schema() -> pa.Schema:
    kinds = {
        "date": pa.date32(), "int": pa.int64(), "int | None": pa.int64(), "bool": pa.bool_(),
    }  # fmt: skip
    return pa.schema(
        [(field.name, kinds.get(str(field.type), pa.string())) for field in fields(SnapshotRow)]
    )
