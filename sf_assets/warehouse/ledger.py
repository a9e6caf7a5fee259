"""The ledger: the cost of each attempt at a snapshot, and the balances around each run.

The archive is the evidence: a Parquet file has the attempts at its snapshots, and small separate
files have the rest (interrupted lists, balances of runs). The warehouse is filled from both, so
`sf-assets rebuild` makes the same ledger.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from sf_assets.errors import SfAssetsError
from sf_assets.model import Relation, SnapshotKey
from sf_assets.storage.object_store import is_remote, put_bytes
from sf_assets.storage.records import Attempt
from sf_assets.text import first_line
from sf_assets.warehouse.archive_names import archive_files
from sf_assets.warehouse.connection import Connect, committed
from sf_assets.warehouse.statements import run_sql, sql

LEDGER_FORMAT = 1
_SUFFIX = ".ledger.json"
#: The metadata key of a Parquet file with its snapshots and the attempts at them.
METADATA_KEY = "sf_assets_snapshots"


class LedgerDamaged(SfAssetsError):
    """An archive file with costs cannot be read."""


@dataclass(frozen=True)
class Paid:
    """An attempt at a snapshot and its cost.

    `credits` are those that the API reported, plus one for each of the `unread` responses.
    """

    relation: Relation
    handle: str
    snapshot_date: date
    attempt: int
    pages: int
    credits: int
    cached: int
    retries: int
    unread: int
    started_at: str
    run_id: str

    @property
    def name(self) -> tuple[str, str, date, int]:
        """What identifies the attempt."""
        return self.relation, self.handle, self.snapshot_date, self.attempt


@dataclass(frozen=True)
class Balances:
    """The balances before and after a run, and what the home paid in between, in credits.

    `credits` includes other runs of the home at the same time. `unexplained` is the rest of the
    difference: responses that were charged and lost, or other users of the key. It is below 0 after
    a top-up.
    """

    run_id: str
    snapshot_date: date
    asked_at: str
    balance_before: int
    balance_after: int
    credits: int

    @property
    def unexplained(self) -> int:
        """Credits that left the account and are not in `credits`."""
        return self.balance_before - self.balance_after - self.credits


def paid_for(key: SnapshotKey, attempts: Iterable[Attempt]) -> list[Paid]:
    """The attempts at a snapshot that requested anything."""
    return [
        Paid(
            key.relation,
            key.handle,
            key.day,
            attempt.number,
            attempt.pages,
            attempt.spent,
            attempt.cached,
            attempt.retries,
            attempt.unread,
            attempt.started_at,
            attempt.run_id,
        )
        for attempt in attempts
        if attempt.pages + attempt.doubted + attempt.unread
    ]


def write_ledger(
    archive: Path, day: date, paid: Sequence[Paid], balances: Balances | None = None
) -> Path:
    """Write costs and balances without a snapshot to the archive; returns the new file.

    Raises OSError if it cannot be written.
    """
    folder = archive / f"day={day.isoformat()}"
    path = folder / f"{uuid.uuid4().hex[:12]}{_SUFFIX}"
    text = json.dumps(
        {
            "format": LEDGER_FORMAT,
            "attempts": [to_json(attempt) for attempt in paid],
            "balances": [to_json(balances)] if balances else [],
        }
    )
    if is_remote(archive):
        put_bytes(text.encode(), path)
        return path
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return path


def record_paid(con: duckdb.DuckDBPyConnection, paid: Sequence[Paid]) -> None:
    """Write attempts to `credit_ledger`. Of two states of an attempt, the dearer one is newer."""
    newest: dict[tuple[str, str, date, int], Paid] = {}
    for attempt in paid:
        other = newest.get(attempt.name)
        if other is None or attempt.credits >= other.credits:
            newest[attempt.name] = attempt
    if newest:
        con.register("incoming_paid", _table(Paid, list(newest.values())))
        run_sql(con, "record_paid")
        con.unregister("incoming_paid")


def load_ledger(connect: Connect, archive: Path, since: date) -> None:
    """Load the ledger files of days from `since` on into the warehouse."""
    with connect() as con:
        committed(con, "load", lambda: record_new_files(con, archive, since))


def record_new_files(con: duckdb.DuckDBPyConnection, archive: Path, since: date | None) -> None:
    """Load the ledger files of days from `since` on into the tables, each file once.

    Raises LedgerDamaged.
    """
    loaded = {name for (name,) in con.execute("SELECT name FROM internal.ledger_files").fetchall()}
    names: list[str] = []
    paid: list[Paid] = []
    balances: list[Balances] = []
    for path in sorted(archive.glob(f"day=*/*{_SUFFIX}")):
        name = f"{path.parent.name}/{path.name}"
        if name in loaded or (since and path.parent.name < f"day={since.isoformat()}"):
            continue
        attempts, more = _read(path)
        names.append(name)
        paid += attempts
        balances += more
    if not names:
        return
    record_paid(con, paid)
    if balances:
        con.register("incoming_balances", _table(Balances, balances))
        run_sql(con, "record_balances")
        con.unregister("incoming_balances")
    con.executemany("INSERT INTO internal.ledger_files VALUES (?)", [[name] for name in names])


def archived_attempts(archive: Path) -> Iterator[Paid]:
    """The attempts in the archive's Parquet files. Raises LedgerDamaged."""
    for path in archive_files(archive):
        try:
            with path.open("rb") as file:
                metadata = pq.read_metadata(file).metadata or {}
            for raw in json.loads(metadata[METADATA_KEY.encode()])["attempts"]:
                yield _paid(raw)
        except (OSError, KeyError, ValueError, TypeError, pa.ArrowInvalid) as error:
            raise LedgerDamaged(
                f"{path} cannot be read ({first_line(error)}); restore it from a backup, or move "
                "it away to continue without its lists"
            ) from None


def without_evidence(
    con: duckdb.DuckDBPyConnection, archive: Path, paid: Sequence[Paid]
) -> list[str]:
    """The rows of `credit_ledger` and `credit_balances` that neither the archive nor `paid` has.

    Ignores attempts that cost more since. Raises LedgerDamaged.
    """
    paid, balances = [*paid, *archived_attempts(archive)], []
    for path in archive.glob(f"day=*/*{_SUFFIX}"):
        attempts, more = _read(path)
        paid += attempts
        balances += more
    con.register("evidence_paid", _table(Paid, paid))
    con.register("evidence_balances", _table(Balances, balances))
    rows = con.execute(sql("ledger_without_evidence")).fetchall()
    con.unregister("evidence_paid")
    con.unregister("evidence_balances")
    return [name for (name,) in rows]


def to_json(row: Paid | Balances) -> dict[str, Any]:
    """The row as JSON fields."""
    return {**asdict(row), "snapshot_date": row.snapshot_date.isoformat()}


def _read(path: Path) -> tuple[list[Paid], list[Balances]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] > LEDGER_FORMAT:
            raise LedgerDamaged(f"{path} was written by a newer sf_assets; upgrade sf_assets")
        return [_paid(raw) for raw in content["attempts"]], [
            Balances(**{**raw, "snapshot_date": date.fromisoformat(raw["snapshot_date"])})
            for raw in content["balances"]
        ]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise LedgerDamaged(
            f"{path} cannot be read ({first_line(error)}); restore it from a backup, or move it "
            "away to continue without its costs"
        ) from None


def _paid(raw: dict[str, Any]) -> Paid:
    return Paid(**{**raw, "snapshot_date": date.fromisoformat(raw["snapshot_date"])})


def _table(
    kind: type[Paid] | type[Balances], rows: Sequence[Paid] | Sequence[Balances]
) -> pa.Table:
    kinds = {"date": pa.date32(), "int": pa.int64(), "int | None": pa.int64()}
    return pa.table(
        {one.name: [getattr(row, one.name) for row in rows] for one in fields(kind)},
        schema=pa.schema(
            [(one.name, kinds.get(str(one.type), pa.string())) for one in fields(kind)]
        ),
    )
