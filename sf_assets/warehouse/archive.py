"""From landed pages to the archive: one Parquet file a batch under `archive/day=…/`.

The archive is evidence, like the landing: everything in DuckDB is derived from it and can be
rebuilt. A file holds the listed accounts of its snapshots as rows and the snapshots themselves,
also those that listed nobody, as metadata, so that it is whole or absent.
"""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from sf_assets.landing import Landed, SnapshotKey
from sf_assets.membership import completeness
from sf_assets.settings import Relation, SfAssetsError
from sf_assets.social_fetch.models import mend_surrogates
from sf_assets.warehouse.connection import run_sql
from sf_assets.warehouse.ledger import ATTEMPTS_KEY, paid_for, to_json

ARCHIVE_FORMAT = 1
_METADATA_KEY = "sf_assets_snapshots"


class ArchiveDamaged(SfAssetsError):
    """A file of the archive cannot be read."""


@dataclass(frozen=True)
class SnapshotRow:
    """One relation of one handle on one UTC day, as it goes into the warehouse."""

    relation: Relation
    handle: str
    snapshot_date: date
    lookup_status: str
    end_reason: str | None
    completeness: str
    listed: int
    reported_total: int | None
    pages: int
    credits_charged: int
    started_at: str
    finished_at: str
    run_id: str
    attempt: int
    archive_file: str

    @property
    def version(self) -> tuple[int, int]:
        """Attempt and pages: of two readings of one list and day, the greater stands."""
        return self.attempt, self.pages

    @property
    def seconds(self) -> float:
        """Seconds from the first question to the last landed page."""

        def moment(text: str) -> datetime:
            return datetime.fromisoformat(text.replace("Z", "+00:00"))

        return (moment(self.finished_at) - moment(self.started_at)).total_seconds()


def write_batch(root: Path, batch: Sequence[Landed]) -> list[SnapshotRow]:
    """Archive finished snapshots of one day; returns their rows for the warehouse.

    Touches no database file: pages are read by an in-memory DuckDB. Raises duckdb.Error where a
    page cannot be read; nothing was written then.
    """
    day = batch[0].key.day
    folder = root / f"day={day.isoformat()}"
    name = f"{uuid.uuid4().hex[:12]}.parquet"
    con = duckdb.connect(":memory:")
    try:
        con.execute("SET TimeZone = 'UTC'")
        with tempfile.TemporaryDirectory() as mended:
            files = _readable(batch, Path(mended))
            con.register("finished_arrow", _finished(batch, files))
            con.execute("CREATE TEMP TABLE finished AS FROM finished_arrow")
            con.execute("SET VARIABLE landing_files = ?", [list(files.values())])
            run_sql(con, "stage_pages")
        rows = [
            _row(raw, f"{folder.name}/{name}")
            for raw in con.execute(
                "SELECT relation, handle, snapshot_date, lookup_status, end_reason, listed, "
                "reported_total, pages, credits_charged, started_at, finished_at, run_id, attempt "
                "FROM staged_snapshots ORDER BY relation, handle"
            ).fetchall()
        ]
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = folder / f".{name}.partial"
        described = json.dumps({"format": ARCHIVE_FORMAT, "snapshots": [_to_json(r) for r in rows]})
        paid = json.dumps(
            [to_json(one) for landed in batch for one in paid_for(landed.key, landed.attempts)]
        )
        metadata = ", ".join(
            f"{name}: '{text}'"
            for name, text in ((_METADATA_KEY, _quoted(described)), (ATTEMPTS_KEY, _quoted(paid)))
        )
        try:
            con.execute(
                f"COPY (FROM staged ORDER BY relation, handle, position) "
                f"TO '{_quoted(str(partial))}' "
                "(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880, "
                f"KV_METADATA {{{metadata}}})"
            )
            _make_durable(partial)
            partial.replace(folder / name)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    finally:
        con.close()
    return rows


def read_archive(root: Path) -> Iterator[SnapshotRow]:
    """Every snapshot in the archive, a later reading of the same list and day after an earlier.

    Raises ArchiveDamaged naming the file.
    """
    for path in sorted(root.glob("day=*/*.parquet")):
        try:
            metadata = pq.read_metadata(path).metadata or {}
            described = json.loads(metadata[_METADATA_KEY.encode()])
        except (OSError, KeyError, ValueError, pa.ArrowInvalid) as error:
            raise ArchiveDamaged(
                f"{path} cannot be read ({error}); restore it from a backup, or move it away to go "
                "on without the lists in it"
            ) from None
        if described["format"] > ARCHIVE_FORMAT:
            raise ArchiveDamaged(f"{path} was written by a newer sf_assets; upgrade it")
        for raw in described["snapshots"]:
            yield SnapshotRow(
                **{
                    **raw,
                    "snapshot_date": date.fromisoformat(raw["snapshot_date"]),
                    "archive_file": f"{path.parent.name}/{path.name}",
                }
            )


def _readable(batch: Sequence[Landed], mended: Path) -> dict[SnapshotKey, str]:
    """The files to read pages from: the landed ones, or mended copies in the folder `mended`."""
    files = {}
    for number, landed in enumerate(batch):
        files[landed.key] = str(landed.path)
        body = landed.path.read_bytes()
        # DuckDB refuses a file for half an emoji, which a name cut short ends in.
        right = mend_surrogates(body)
        if right is not body and right != body:
            copy = mended / f"{number}.jsonl"
            copy.write_bytes(right)
            files[landed.key] = str(copy)
    return files


def _finished(batch: Sequence[Landed], files: Mapping[SnapshotKey, str]) -> pa.Table:
    rows = []
    for landed in batch:
        attempt = landed.to_load
        if attempt is None or attempt.end is None:
            raise ValueError(f"{landed.path} is not finished")
        rows.append(
            {
                "path": files[landed.key],
                "relation": landed.key.relation,
                "handle": landed.key.handle,
                "snapshot_date": landed.key.day,
                "attempt": attempt.number,
                "lookup_status": attempt.end.lookup_status,
                "end_reason": attempt.end.end_reason,
                "pages": attempt.pages,
                "credits_charged": landed.credits,
                "started_at": attempt.started_at,
                "finished_at": attempt.end.finished_at,
                "run_id": attempt.end.run_id,
            }
        )
    text, whole = pa.string(), pa.int32()
    schema = pa.schema(
        [
            ("path", text),
            ("relation", text),
            ("handle", text),
            ("snapshot_date", pa.date32()),
            ("attempt", whole),
            ("lookup_status", text),
            ("end_reason", text),
            ("pages", whole),
            ("credits_charged", whole),
            ("started_at", text),
            ("finished_at", text),
            ("run_id", text),
        ]
    )
    return pa.Table.from_pylist(rows, schema=schema)


def _row(raw: Sequence[Any], archive_file: str) -> SnapshotRow:
    (
        relation, handle, day, status, end_reason, listed, total, pages, credits_charged,
        started_at, finished_at, run_id, attempt,
    ) = raw  # fmt: skip
    listed = listed if status == "found" else 0
    total = total if status == "found" else None
    return SnapshotRow(
        relation, handle, day, status, end_reason, completeness(status, end_reason, listed, total),
        listed, total, pages, credits_charged, started_at, finished_at, run_id, attempt,
        archive_file,
    )  # fmt: skip


def _to_json(row: SnapshotRow) -> dict[str, Any]:
    return {
        **{name: getattr(row, name) for name in row.__dataclass_fields__ if name != "archive_file"},
        "snapshot_date": row.snapshot_date.isoformat(),
    }


def _quoted(text: str) -> str:
    return text.replace("'", "''")


def _make_durable(path: Path) -> None:
    path.chmod(0o600)
    with path.open("rb") as file:
        os.fsync(file.fileno())
