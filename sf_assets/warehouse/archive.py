"""Writes landed pages to the archive: one Parquet file per batch under `archive/day=…/`.

The archive is evidence, like the landing: all of DuckDB's tables can be rebuilt from it. A file has
the listed accounts of its snapshots as rows, and the snapshots themselves, including empty ones, as
metadata, so that it is complete or absent. `pack` makes it smaller later. docs/archive.md has the
formats.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from sf_assets.errors import SfAssetsError
from sf_assets.model import RELATIONS, Relation, SnapshotKey
from sf_assets.social_fetch import mended_page
from sf_assets.social_fetch.models import mend_surrogates
from sf_assets.storage.landing import with_body
from sf_assets.storage.object_store import is_remote, pattern_of, put
from sf_assets.storage.records import Landed
from sf_assets.text import first_line
from sf_assets.warehouse.alignment import completeness, exhaustive
from sf_assets.warehouse.archive_names import archive_files, is_packed, name_of
from sf_assets.warehouse.archive_reader import (
    ARCHIVE_FORMAT,
    ArchiveDamaged,
    ArchiveReader,
    ArchiveTooNew,
    described,
    one_file,
)
from sf_assets.warehouse.connection import MEMORY
from sf_assets.warehouse.ledger import METADATA_KEY, paid_for, to_json
from sf_assets.warehouse.packing import with_macros
from sf_assets.warehouse.statements import quoted, release_memory, run_sql, sql

# Rows per Parquet row group, which is built in memory.
ROW_GROUP = 10_240
_NO_EXTRA = "SELECT NULL::INT AS series, NULL::BIGINT AS place_read, NULL::VARCHAR AS extra LIMIT 0"


@dataclass(frozen=True)
class SnapshotRow:
    """One relation of one handle on one UTC day, as a row of the warehouse."""

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
    damaged_fields: int = 0
    source: str = "api"
    ordered: bool = True
    imported_file: str | None = None
    measures: str | None = None

    @property
    def imported(self) -> bool:
        """Whether it came from an imported file."""
        return self.source != "api"

    @property
    def key(self) -> SnapshotKey:
        """The list and the day of the snapshot."""
        return SnapshotKey(self.snapshot_date, self.handle, self.relation)

    @property
    def exhaustive(self) -> bool:
        """Whether the list shows everyone."""
        return self.completeness == "complete" and exhaustive(
            self.lookup_status, self.end_reason, self.listed, self.reported_total
        )

    @property
    def version(self) -> tuple[int, int]:
        """Attempt and pages. Of two snapshots of one list and day, the greater one counts."""
        return self.attempt, self.pages

    @property
    def seconds(self) -> float:
        """Seconds from the first request to the last landed page."""

        def moment(text: str) -> datetime:
            return datetime.fromisoformat(text.replace("Z", "+00:00"))

        return (moment(self.finished_at) - moment(self.started_at)).total_seconds()


class LandingMoved(SfAssetsError):
    """A landing file changed while it was archived. Nothing of it was archived."""


def write_batch(
    root: Path, batch: Sequence[Landed], memory: str | None = MEMORY, *, repair: bool = False
) -> list[SnapshotRow]:
    """Archive finished snapshots of one day; returns their rows for the warehouse.

    Uses an in-memory DuckDB and no database file. Raises duckdb.Error if a page cannot be read, and
    LandingMoved if another process packed, unpacked or continued a list meanwhile; nothing is
    written then. With `repair`, Python reads every page first, which accepts JSON that DuckDB
    rejects. Data beyond `memory` goes to the disk.
    """
    batch = sorted(batch, key=lambda landed: (landed.key.relation, landed.key.handle))
    day = batch[0].key.day
    folder = root / f"day={day.isoformat()}"
    name = f"{uuid.uuid4().hex[:12]}.parquet"
    con = with_macros()
    try:
        # Other lists are read meanwhile, and each thread needs more buffers.
        con.execute("SET threads = 1")
        # Keeps the large left side of the joins streaming. DuckDB cannot know the size of a JSON
        # file and might otherwise hold it in memory.
        con.execute("SET disabled_optimizers = 'join_order,build_side_probe_side'")
        with tempfile.TemporaryDirectory() as scratch:
            con.execute("SET temp_directory = ?", [scratch])
            if memory is not None:
                con.execute("SET memory_limit = ?", [memory])
            before = _versions(batch)
            files, longest, extra = _readable(batch, Path(scratch), repair)
            con.register("finished_arrow", _finished(batch, files))
            con.execute("CREATE TEMP TABLE finished AS FROM finished_arrow")
            con.execute("SET VARIABLE landing_files = ?", [[pattern_of(file) for file in files]])
            con.execute("SET VARIABLE longest_line = ?", [longest])
            con.execute("SET VARIABLE extra_files = ?", [[pattern_of(file) for file in extra]])
            run_sql(con, "valid_ids")
            run_sql(con, "stage_entries")
            release_memory(con)
            rows = [
                _row(raw, f"{folder.name}/{name}")
                for raw in con.execute(sql("staged_rows")).fetchall()
            ]
            measures = {landed.key: _measured(landed) for landed in batch}
            rows = [replace(row, measures=measures[row.key]) for row in rows]
            about = {
                "attempts": [
                    to_json(paid)
                    for landed in batch
                    for paid in paid_for(landed.key, landed.attempts)
                ],
                **({"page_fields": con.execute(sql("extra_of_pages")).fetchall()} if extra else {}),
            }
            accounts = _accounts_of(con, batch, files, bool(extra))

            def copy(path: Path) -> None:
                _copy(con, accounts, rows, about, path)
                if _versions(batch) != before:
                    raise LandingMoved("landed pages changed while they were archived")

            _write(folder / name, copy)
    except duckdb.OutOfMemoryException:
        # Not all operators can spill to the disk.
        if memory is None:
            raise
        return write_batch(root, batch, None, repair=repair)
    finally:
        con.close()
    return rows


def write_import(
    con: duckdb.DuckDBPyConnection, root: Path, rows: Sequence[SnapshotRow], accounts: str
) -> list[SnapshotRow]:
    """Archive imported snapshots, with the accounts from a query on `con`, in one file.

    Returns the rows with the name of the file. The name is the same for the same import, so that an
    import that was killed before its load does not leave a second file.
    """
    folder = root / f"day={min(row.snapshot_date for row in rows).isoformat()}"
    identity = [(row.key, row.run_id, row.source, row.attempt) for row in rows]
    name = f"{hashlib.sha256(repr(identity).encode()).hexdigest()[:12]}.parquet"
    rows = [replace(row, archive_file=f"{folder.name}/{name}") for row in rows]
    _write(folder / name, lambda path: _copy(con, accounts, rows, {"attempts": []}, path))
    return rows


def _write(target: Path, copy: Callable[[Path], None]) -> None:
    """Write a new file, complete or not at all."""
    if is_remote(target):
        # An object is complete or absent: write it locally and upload it in one step.
        with tempfile.TemporaryDirectory() as scratch:
            made = Path(scratch) / target.name
            copy(made)
            put(made, target)
        return
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = target.with_name(f".{target.name}.partial")
    try:
        copy(partial)
        _make_durable(partial)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _accounts_of(
    con: duckdb.DuckDBPyConnection, batch: Sequence[Landed], files: Sequence[str], extra: bool
) -> str:
    """A query for the accounts in `kept`, with all their fields from the pages."""
    listed = []
    for relation in RELATIONS:
        own = [
            pattern_of(file) for landed, file in zip(batch, files, strict=True)
            if landed.key.relation == relation
        ]  # fmt: skip
        if own:
            con.execute(f"SET VARIABLE {relation}_files = ?", [own])
            listed.append(f"({sql(f'listed_{relation}')})")
    return (
        "SELECT f.relation, f.handle, f.snapshot_date, f.attempt, k.position, "
        "l.* EXCLUDE (series, place_read), x.extra, "
        f"{sql('profile_digest')} AS profile_digest "
        f"FROM ({' UNION ALL BY NAME '.join(listed)}) AS l "
        "JOIN kept AS k ON k.series = l.series AND k.place_read = l.place_read "
        "JOIN finished AS f ON f.series = l.series "
        f"LEFT JOIN ({sql('extra_fields') if extra else _NO_EXTRA}) AS x "
        "ON x.series = l.series AND x.place_read = l.place_read"
    )


def _copy(
    con: duckdb.DuckDBPyConnection,
    accounts: str,
    rows: Sequence[SnapshotRow],
    about: dict[str, Any],
    target: Path,
) -> None:
    described = json.dumps(
        {"format": ARCHIVE_FORMAT, "snapshots": [_to_json(row) for row in rows], **about}
    )
    con.execute(
        f"COPY ({accounts}) TO {quoted(target)} "
        f"(FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP}, "
        f"KV_METADATA {{{METADATA_KEY}: {quoted(described)}}})"
    )


def read_archive(root: Path) -> Iterator[SnapshotRow]:
    """Every snapshot in the archive; a later snapshot of a list and day follows an earlier one.

    Raises ArchiveDamaged with the file.
    """
    for path in archive_files(root):
        yield from snapshots_in(path)


def readable(root: Path, problems: list[str]) -> Iterator[SnapshotRow]:
    """Every snapshot in the archive except lists whose base is missing; adds those to `problems`.

    Lists that only lack profiles are also added to `problems`, and read. Raises ArchiveDamaged.
    """
    reader = ArchiveReader(root)
    for path in archive_files(root):
        lists_of: dict[str, list[str]] = {}
        for number, row in enumerate(snapshots_in(path)):
            problem, whole = (
                reader.problem(name_of(path), number) if is_packed(path) else ("", True)
            )
            if problem:
                lost = "profiles of" if whole else "the list of"
                lists_of.setdefault(problem, []).append(f"{lost} {row.key}")
            if whole:
                yield row
        problems += [f"{problem}: {', '.join(lists)}" for problem, lists in lists_of.items()]


def snapshots_in(path: Path) -> list[SnapshotRow]:
    """The snapshots in an archive file. Raises ArchiveDamaged."""
    return [
        SnapshotRow(
            **{
                **raw,
                "snapshot_date": date.fromisoformat(raw["snapshot_date"]),
                "completeness": _completeness(raw),
                "archive_file": name_of(path),
            }
        )
        for raw in described(path).snapshots
    ]


def accounts_in(
    con: duckdb.DuckDBPyConnection, path: Path, reader: ArchiveReader
) -> dict[tuple[SnapshotKey, int], tuple[int, int]]:
    """(snapshot, attempt) -> the number of accounts in a file, and a checksum of their names.

    Reads all accounts. Raises ArchiveDamaged.
    """
    try:
        if is_packed(path):
            con.register("one_file", one_file(reader, name_of(path)))
        else:
            con.execute("SET VARIABLE one_file = ?", [[pattern_of(path)]])
        where = (
            "one_file"
            if is_packed(path)
            else ("read_parquet(getvariable('one_file'), hive_partitioning = false)")
        )
        rows = con.execute(sql("accounts_in").replace("{file}", where)).fetchall()
    except duckdb.Error as error:
        raise ArchiveDamaged(
            f"{path} cannot be read ({first_line(error)}); restore it from a backup"
        ) from None
    return {
        (SnapshotKey(day, handle, relation), attempt): (accounts, names)
        for relation, handle, day, attempt, accounts, names, _ in rows
    }


def refuse_newer(root: Path) -> None:
    """Raise ArchiveTooNew if a file of the newest day has an unknown format."""
    newest = max(root.glob("day=*"), key=lambda folder: folder.name, default=None)
    for path in newest.glob("*.parquet") if newest else ():
        try:
            snapshots_in(path)
        except ArchiveTooNew:
            raise
        except ArchiveDamaged:
            continue  # loads do not read it, so it must not block the day


def _completeness(raw: dict[str, Any]) -> str:
    """The completeness by the current rule, except for lists with unidentified accounts."""
    if raw.get("damaged_fields"):
        return str(raw["completeness"])
    return completeness(
        raw["lookup_status"], raw["end_reason"], raw["listed"], raw["reported_total"]
    )


def _readable(
    batch: Sequence[Landed], repaired: Path, every: bool
) -> tuple[list[str], int, list[str]]:
    """The files with the pages, the length of their longest line, and those with new fields.

    The files are the landed ones, or repaired copies in the folder `repaired`.
    """
    files = []
    extra = []
    longest = 0
    for number, landed in enumerate(batch):
        path = landed.on_disk(repaired)
        files.append(str(path))
        page = partial(mended_page, landed.key.relation)

        def right(line: bytes, page: Callable[[bytes], bytes] = page) -> bytes:
            # DuckDB rejects a file with a lone surrogate, which a truncated name may have.
            return with_body(mend_surrogates(line), page, every=every)

        broken = more = False
        with path.open("rb", buffering=1 << 20) as lines:
            for line in lines:
                longest = max(longest, len(line))
                more = more or b'"new_fields":' in line[:120]
                broken = broken or right(line) != line
        if broken:
            copy = repaired / f"{number}.jsonl"
            with path.open("rb") as lines, copy.open("wb") as file:
                for line in map(right, lines):
                    longest = max(longest, len(line))
                    file.write(line)
            files[-1] = str(copy)
        if more:
            extra.append(files[-1])
    return files, longest + 1, extra


def _versions(batch: Sequence[Landed]) -> list[tuple[int, int, int]]:
    """The inode, size and time of the landing files that are read in place, to notice a change.

    A list that another process is unpacking would look like a short list.
    """
    versions = []
    for landed in batch:
        if type(landed) is Landed:
            try:
                stat = landed.path.stat()
            except FileNotFoundError:
                raise LandingMoved(f"{landed.path} no longer exists") from None
            if stat.st_size < landed.sound_bytes:
                raise LandingMoved(f"{landed.path} is shorter than before")
            versions.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return versions


def _finished(batch: Sequence[Landed], files: Sequence[str]) -> pa.Table:
    rows = []
    for series, (landed, file) in enumerate(zip(batch, files, strict=True)):
        attempt = landed.to_load
        if attempt is None or attempt.end is None:
            raise ValueError(f"{landed.path} is not finished")
        rows.append(
            {
                "series": series,
                "path": file,
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
                "damaged_fields": attempt.damaged,
            }
        )
    text, whole = pa.string(), pa.int32()
    schema = pa.schema(
        [
            ("series", whole),
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
            ("damaged_fields", pa.int64()),
        ]
    )
    return pa.Table.from_pylist(rows, schema=schema)


def _row(raw: Sequence[Any], archive_file: str) -> SnapshotRow:
    (
        relation, handle, day, status, end_reason, listed, total, pages, credits_charged,
        started_at, finished_at, run_id, attempt, damaged_fields, nameless,
    ) = raw  # fmt: skip
    listed = listed if status == "found" else 0
    total = total if status == "found" else None
    shows = completeness(status, end_reason, listed, total)
    if nameless and shows == "complete":
        shows = "window"  # a missing account may be the unidentified one
    return SnapshotRow(
        relation, handle, day, status, end_reason, shows, listed, total, pages, credits_charged,
        started_at, finished_at, run_id, attempt, archive_file, damaged_fields,
    )  # fmt: skip


def _measured(landed: Landed) -> str | None:
    attempt = landed.to_load
    if attempt is None or attempt.measures is None:
        return None  # landed by a version without measures
    more = {"cached": attempt.cached, "retries": attempt.retries}
    return json.dumps({**attempt.measures.to_json(), **more})


def _to_json(row: SnapshotRow) -> dict[str, Any]:
    return {
        **{name: getattr(row, name) for name in row.__dataclass_fields__ if name != "archive_file"},
        "snapshot_date": row.snapshot_date.isoformat(),
    }


def _make_durable(path: Path) -> None:
    path.chmod(0o600)
    with path.open("rb") as file:
        os.fsync(file.fileno())
