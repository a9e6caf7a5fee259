"""Rewrites rows of the archive, for `forget` and retention.

A packed file has the checksums of the files it builds on, so a changed row changes all later files.
They are first written beside the archive, each read back and compared, and then replace the old
files. An interrupted replacement continues where it stopped.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sf_assets.fault_injection import crash_point
from sf_assets.storage.files import sha256_of, sync_folder
from sf_assets.storage.home import Home
from sf_assets.storage.object_store import Store, is_remote, names_below, put, put_bytes
from sf_assets.warehouse.archive import ROW_GROUP
from sf_assets.warehouse.archive_names import all_files, archive_files, is_packed, name_of
from sf_assets.warehouse.archive_reader import (
    ArchiveDamaged,
    ArchiveReader,
    Described,
    damaged,
    described,
    read_packed,
    together,
)
from sf_assets.warehouse.connection import DEFAULT_WAIT_SECONDS, locked
from sf_assets.warehouse.ledger import METADATA_KEY
from sf_assets.warehouse.pack import KEPT_BYTES, held, packed_rows, spooled, write_packed
from sf_assets.warehouse.packing import (
    COLUMNS,
    ListPlan,
    Mask,
    Unfit,
    Whole,
    begins_of,
    differ,
    matches,
)
from sf_assets.warehouse.statements import sql

_READY = "ready"
#: What a tombstone keeps: where the account stands in which list, and since when it follows.
KEPT_COLUMNS = {"relation", "handle", "snapshot_date", "attempt", "position", "followed_at"}


class ListOf(NamedTuple):
    """The list that rows are of."""

    relation: str
    handle: str
    day: date


class Changed(NamedTuple):
    """Rows as they are to be, and which of them differ from what they were."""

    rows: pa.Table
    mask: Mask


#: Gets whole lists: their rows (columns of COLUMNS, and more in full files), the number of the list
#: that each row is of, and the lists. Returns None where all stays as it is. It must change two
#: rows that have an id in common in the same way, and keep apart those that have none.
Change = Callable[[pa.Table, Whole, Sequence[ListOf]], Changed | None]


@dataclass
class Rewritten:
    """How many files were made anew, and in how many lists and rows something changed."""

    files: int = 0
    lists: int = 0
    rows: int = 0


def rewrite(
    archive: Path,
    staging: Path,
    change: Change,
    tell: Callable[[int, int], None] = lambda done, all: None,
) -> Rewritten:
    """Change rows of the archive, where nobody else writes to it.

    In the folder `staging` all files that change are made first, and those that build on them.
    Killed before they are complete it has changed nothing; after that `finish` goes on. `tell` is
    told how many of how many files are done. Raises ArchiveDamaged where a list cannot be read
    whole (mend that first; nothing was changed), OSError.
    """
    finish(archive, staging)
    if not is_remote(staging):
        staging.mkdir(parents=True, mode=0o700)
    made = _Stage(archive, staging, change).run(tell)
    _write(staging / _READY, b"")
    if not is_remote(staging):
        sync_folder(staging)
    crash_point("staged")
    finish(archive, staging)
    return made


def finish(archive: Path, staging: Path) -> None:
    """Put what a killed `rewrite` made in its place, or away where it was not complete."""
    if (staging / _READY).exists():
        for name in sorted(names_below(staging, "day=*/*.parquet")):
            path = staging / name
            _put(path, archive / name)
            path.unlink()
            crash_point("rewritten")
    if staging.exists():
        # The mark goes last of all: without it what is left would be taken for incomplete.
        for folder in (*staging.glob("day=*"), staging):
            if is_remote(folder):
                Store(folder).rm(folder.path, recursive=True)  # type: ignore[attr-defined]
            else:
                shutil.rmtree(folder)


def finish_broken_off(home: Home, wait_seconds: float = DEFAULT_WAIT_SECONDS) -> None:
    """The same, where a rewriting of the home's archive was killed; one that goes on is waited for.

    Raises WarehouseBusy.
    """
    if home.rewriting.exists():
        with locked(home.writer, wait_seconds):
            finish(home.archive, home.rewriting)


def _write(target: Path, body: bytes) -> None:
    if is_remote(target):
        put_bytes(body, target)
        return
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(body)


def _put(path: Path, target: Path) -> None:
    if is_remote(path):
        put_bytes(path.read_bytes(), target)
        return
    if is_remote(target):
        put(path, target)
        return
    partial = target.with_name(f".{target.name}.partial")
    shutil.copyfile(path, partial)
    partial.chmod(0o600)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(target)


def lists_of(
    archive: Path, reader: ArchiveReader
) -> Iterator[tuple[pa.Table, Whole, list[ListOf]]]:
    """The rows of every list, a file at a time, as a Change gets them. Raises ArchiveDamaged."""
    for about in _in_order(reader, archive_files(archive)):
        rows, numbers = _rows(reader, about)
        yield rows, numbers, _lists(about)


class _Stage:
    def __init__(self, archive: Path, staging: Path, change: Change) -> None:
        self.archive, self.staging, self.change = archive, staging, change
        self.reader = ArchiveReader(archive)
        self.made = Rewritten()
        # Packed file -> its lists that changed; and file -> its new checksum.
        self._lists: dict[str, set[int]] = {}
        self._sha256: dict[str, str] = {}
        self._full_sha256: dict[str, str] = {}

    def run(self, tell: Callable[[int, int], None]) -> Rewritten:
        files = all_files(self.archive)
        ordered = _in_order(self.reader, files)
        for done, about in enumerate(ordered, start=1):
            try:
                target = self.staging / about.path.parent.name / about.path.name
                target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                anew = self._packed if is_packed(about.path) else self._full
                written = anew(about, target)
            except (Unfit, pa.ArrowException, duckdb.Error) as error:
                raise damaged(about.path, error) from None
            if written:
                name, checksum = name_of(about.path), sha256_of(target)
                (self._sha256 if is_packed(about.path) else self._full_sha256)[name] = checksum
                self.made.files += 1
            if self.reader.kept_bytes() > KEPT_BYTES:
                self.reader.drop()
            tell(done, len(ordered))
            crash_point("staging")
        return self.made

    def _changed(self, about: Described) -> tuple[pa.Table, Whole, Changed | None]:
        rows, numbers = _rows(self.reader, about)
        changed = self.change(rows, numbers, _lists(about)) if len(rows) else None
        if changed is None or not changed.mask.any():
            return rows, numbers, None
        self.made.rows += int(changed.mask.sum())
        self.made.lists += len(np.unique(numbers[changed.mask]))
        return rows, numbers, changed

    def _full(self, about: Described, target: Path) -> bool:
        """Write a full file as it is to be; False where it stays."""
        rows, _, changed = self._changed(about)
        if changed is None:
            return False
        table = changed.rows
        if "profile_digest" in table.column_names:
            digests = pa.nulls(len(table), pa.uint32())
            if about.format > 1:
                digests = self._digests(table.drop_columns(["profile_digest"]))
            at = table.column_names.index("profile_digest")
            # 0 stands for a list that shows no profiles.
            stays = ~changed.mask | np.asarray(
                pc.fill_null(pc.equal(rows["profile_digest"], 0), False)
            )
            digests = pc.if_else(pa.array(stays), rows["profile_digest"], digests)
            table = table.set_column(at, "profile_digest", digests)
        with about.path.open("rb") as file:
            metadata = pq.read_metadata(file).metadata[METADATA_KEY.encode()]
        with pq.ParquetWriter(
            target, table.schema, compression="zstd", store_schema=False
        ) as writer:
            writer.write_table(table, row_group_size=ROW_GROUP)
            writer.add_key_value_metadata({METADATA_KEY: metadata.decode()})
        again = pq.read_table(target, partitioning=None)
        if any(differ(again[name], table[name]).any() for name in table.column_names):
            raise Unfit("read back it is not the same")
        return True

    def _digests(self, rows: pa.Table) -> pa.Array:
        con = self.reader.con
        con.register("rows_in", rows)
        try:
            found = con.sql(f"SELECT {sql('profile_digest')} AS digest FROM rows_in")
            return found.to_arrow_table()["digest"].cast(pa.uint32())
        finally:
            con.unregister("rows_in")

    def _packed(self, about: Described, target: Path) -> bool:
        """Write a packed file as it is to be; False where it stays."""
        name = name_of(about.path)
        rows, numbers, changed = self._changed(about)
        of_lists = set(np.unique(numbers[changed.mask]).tolist()) if changed else set()
        self._lists[name] = of_lists
        # A run names rows of its base: they must still be what they were.
        anew = of_lists | {
            number for number, own in enumerate(about.lists)
            if own.base_file is not None and own.base_list in self._lists[own.base_file]
        }  # fmt: skip
        bases = {file: self._sha256.get(file, old) for file, old in about.bases.items()}
        full_sha256 = self._full_sha256.get(name, about.full_sha256)
        if not anew and bases == about.bases and full_sha256 == about.full_sha256:
            return False
        with about.path.open("rb") as file:
            packed = read_packed(pq.read_table(file))
        if anew:
            again = self._packed_anew(about, changed.rows if changed else rows, sorted(anew))
            stays = ~np.isin(np.asarray(packed["list"]), sorted(anew))
            packed = pa.concat_tables([packed.filter(pa.array(stays)), again])
        about = replace(about, bases=bases, full_sha256=full_sha256)
        with spooled([packed], target.parent) as spool:
            write_packed(about, about.lists, spool, target)
        return True

    def _packed_anew(self, about: Described, rows: pa.Table, anew: Sequence[int]) -> pa.Table:
        """The packed rows of some lists of a file, from all rows of the file as they are to be."""
        begins = begins_of([own.rows for own in about.lists])
        plans, under, begin = [], [], 0
        for number in anew:
            own = about.lists[number]
            base = None
            if own.base_file is not None:
                base = self._base(own.base_file, own.base_list or 0)
                under.append(base)
            size = 0 if base is None else len(base)
            plans.append(ListPlan(own.rows, None if base is None else begin, size, own.copied))
            begin += size
        parts = [rows.slice(begins[number], about.lists[number].rows) for number in anew]
        some, base = together(parts), together(under)
        con = self.reader.con
        wanted, there = held(con, some), held(con, base)
        found = matches(wanted.keys(), plans, there.keys())
        packed = pa.concat_tables(packed_rows(con, wanted, plans, there, found))
        to = pa.array(np.array(anew, dtype=np.int32))
        return packed.set_column(0, "list", to.take(packed["list"].combine_chunks()))

    def _base(self, file: str, number: int) -> pa.Table:
        """The rows of a list as they are to be."""
        (rows,) = self.reader.rows(file, [number])
        rows = rows.select(list(COLUMNS))
        if number not in self._lists[file]:
            return rows
        of = _lists(self.reader.opened(file))[number]
        changed = self.change(rows, np.zeros(len(rows), dtype=np.int64), [of])
        return rows if changed is None else changed.rows


def tombstoned(rows: pa.Table, mask: Mask, ids: dict[str, pa.Array]) -> pa.Table:
    """The rows with these columns of ids; those of the mask keep nothing else but their place."""
    where = pa.array(mask)
    columns = {}
    for name in rows.column_names:
        column = ids.get(name, rows[name])
        if name not in ids and name not in KEPT_COLUMNS:
            column = pc.if_else(where, pa.scalar(None, column.type), column)
        columns[name] = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    # DuckDB 2 declares columns that have no null in a file as ones that can have none.
    fields = [field.with_nullable(True) for field in rows.schema]
    return pa.table(columns, pa.schema(fields, rows.schema.metadata))


def _lists(about: Described) -> list[ListOf]:
    return [
        ListOf(raw["relation"], raw["handle"], date.fromisoformat(raw["snapshot_date"]))
        for raw in about.snapshots
    ]


def _rows(reader: ArchiveReader, about: Described) -> tuple[pa.Table, Whole]:
    """All rows of a file, and the number of the list that each is of."""
    if is_packed(about.path):
        name, count = name_of(about.path), len(about.lists)
        for number in range(count):
            problem, _ = reader.problem(name, number)
            if problem:
                raise ArchiveDamaged(problem)
        rows = together(reader.rows(name, range(count)))
        return rows, np.repeat(np.arange(count), [own.rows for own in about.lists])
    with about.path.open("rb") as file:
        table = pq.read_table(file, use_threads=False)
    by_label = {
        (raw["relation"], raw["handle"], raw["snapshot_date"]): at
        for at, raw in enumerate(about.snapshots)
    }
    labels = zip(
        *(table[name].to_pylist() for name in ("relation", "handle", "snapshot_date")), strict=True
    )
    return table, np.array(
        [by_label[relation, handle, day.isoformat()] for relation, handle, day in labels],
        dtype=np.int64,
    )


def _in_order(reader: ArchiveReader, files: Sequence[Path]) -> list[Described]:
    """All files: the full ones first, then each packed one after those it builds on."""
    abouts = {path: described(path) for path in files}
    full = [about for path, about in abouts.items() if not is_packed(path)]
    packed = {name_of(path): about for path, about in abouts.items() if is_packed(path)}
    order = TopologicalSorter({name: sorted(about.bases) for name, about in packed.items()})
    return full + [packed[name] for name in order.static_order() if name in packed]
