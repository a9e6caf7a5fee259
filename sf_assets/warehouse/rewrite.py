"""Rewrites rows of the archive, for `forget` and retention.

A packed file has the checksums of the files it builds on, so a changed row changes all later files.
New files are written to a staging folder, read back and compared, and then replace the old ones.
An interrupted replacement continues where it stopped.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date
from graphlib import TopologicalSorter
from heapq import heapify, heappop, heappush
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
from sf_assets.warehouse.connection import (
    DEFAULT_WAIT_SECONDS,
    StillHeld,
    always_held,
    locked,
)
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
#: What a tombstone keeps: the list, the position in it and the follow time.
KEPT_COLUMNS = {"relation", "handle", "snapshot_date", "attempt", "position", "followed_at"}


class ListOf(NamedTuple):
    """The list that rows belong to."""

    relation: str
    handle: str
    day: date


class Changed(NamedTuple):
    """The new rows, and which of them changed."""

    rows: pa.Table
    mask: Mask


#: Takes complete lists: their rows (COLUMNS, and more in full files), the number of the list of
#: each row, and the lists. Returns None if nothing changes. It must change two rows with an id in
#: common in the same way, and must not give two other rows an id in common.
Change = Callable[[pa.Table, Whole, Sequence[ListOf]], Changed | None]


@dataclass
class Rewritten:
    """The number of rewritten files, and of changed lists and rows."""

    files: int = 0
    lists: int = 0
    rows: int = 0


def rewrite(
    archive: Path,
    staging: Path,
    change: Change,
    tell: Callable[[int, int], None] = lambda done, all: None,
    still_held: StillHeld = always_held,
) -> Rewritten:
    """Change rows of the archive. No other process may write to it.

    `still_held` raises OSError if the lock that ensures this was lost; then nothing has changed.

    All files that change, and those that build on them, are first written to the folder `staging`.
    If the process is killed before they are complete, nothing has changed; after that, `finish`
    continues. `tell(done, total)` is called after each file. Raises OSError, and ArchiveDamaged if
    a list cannot be read in full (repair it first; nothing was changed).
    """
    finish(archive, staging)
    if not is_remote(staging):
        staging.mkdir(parents=True, mode=0o700)
    made = _Stage(archive, staging, change).run(tell)
    still_held()
    _write(staging / _READY, b"")
    if not is_remote(staging):
        sync_folder(staging)
    crash_point("staged")
    finish(archive, staging)
    return made


def finish(archive: Path, staging: Path) -> None:
    """Complete a `rewrite` that was killed, or remove its files if they are incomplete."""
    if (staging / _READY).exists():
        for name in sorted(names_below(staging, "day=*/*.parquet")):
            path = staging / name
            _put(path, archive / name)
            path.unlink()
            crash_point("rewritten")
    if staging.exists():
        # The mark is removed last: without it the files would look incomplete.
        for folder in (*staging.glob("day=*"), staging):
            if is_remote(folder):
                with suppress(FileNotFoundError):  # a folder ends with its last object
                    Store(folder).rm(folder.path, recursive=True)  # type: ignore[attr-defined]
            else:
                shutil.rmtree(folder)


def finish_broken_off(home: Home, wait_seconds: float = DEFAULT_WAIT_SECONDS) -> None:
    """Run `finish` if a rewrite of the home's archive was killed; wait for one that is running.

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
    """Yield the rows of every list by file, as a Change takes them. Raises ArchiveDamaged."""
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
                write = self._packed if is_packed(about.path) else self._full
                with self._place(about) as target:
                    written = write(about, target)
                    checksum = sha256_of(target) if written else ""
            except (Unfit, pa.ArrowException, duckdb.Error) as error:
                raise damaged(about.path, error) from None
            if written:
                known = self._sha256 if is_packed(about.path) else self._full_sha256
                known[name_of(about.path)] = checksum
                self.made.files += 1
            if self.reader.kept_bytes() > KEPT_BYTES:
                self.reader.drop()
            tell(done, len(ordered))
            crash_point("staging")
        return self.made

    @contextmanager
    def _place(self, about: Described) -> Iterator[Path]:
        """A local path for the new version of a file; what is written there is staged."""
        target = self.staging / about.path.parent.name / about.path.name
        if not is_remote(target):
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            yield target
            return
        with tempfile.TemporaryDirectory() as scratch:
            local = Path(scratch) / target.name
            yield local
            if local.exists():
                put(local, target)

    def _changed(self, about: Described) -> tuple[pa.Table, Whole, Changed | None]:
        rows, numbers = _rows(self.reader, about)
        changed = self.change(rows, numbers, _lists(about)) if len(rows) else None
        if changed is None or not changed.mask.any():
            return rows, numbers, None
        self.made.rows += int(changed.mask.sum())
        self.made.lists += len(np.unique(numbers[changed.mask]))
        return rows, numbers, changed

    def _full(self, about: Described, target: Path) -> bool:
        """Write the new version of a full file; False if it does not change."""
        rows, _, changed = self._changed(about)
        if changed is None:
            return False
        table = changed.rows
        if "profile_digest" in table.column_names:
            digests = pa.nulls(len(table), pa.uint32())
            if about.format > 1:
                digests = self._digests(table.drop_columns(["profile_digest"]))
            at = table.column_names.index("profile_digest")
            # 0 means that the list shows no profiles.
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
        """Write the new version of a packed file; False if it does not change."""
        name = name_of(about.path)
        rows, numbers, changed = self._changed(about)
        of_lists = set(np.unique(numbers[changed.mask]).tolist()) if changed else set()
        self._lists[name] = of_lists
        # A run refers to rows of its base, which must not change under it.
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
        """The packed rows of some lists of a file, from all new rows of the file."""
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
        """The new rows of a list."""
        (rows,) = self.reader.rows(file, [number])
        rows = rows.select(list(COLUMNS))
        if number not in self._lists[file]:
            return rows
        of = _lists(self.reader.opened(file))[number]
        changed = self.change(rows, np.zeros(len(rows), dtype=np.int64), [of])
        return rows if changed is None else changed.rows


def tombstoned(rows: pa.Table, mask: Mask, ids: dict[str, pa.Array]) -> pa.Table:
    """The rows with these id columns; rows of the mask keep only these and KEPT_COLUMNS."""
    where = pa.array(mask)
    columns = {}
    for name in rows.column_names:
        column = ids.get(name, rows[name])
        if name not in ids and name not in KEPT_COLUMNS:
            column = pc.if_else(where, pa.scalar(None, column.type), column)
        columns[name] = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    # DuckDB 2 declares a column without nulls in a file as not nullable.
    fields = [field.with_nullable(True) for field in rows.schema]
    return pa.table(columns, pa.schema(fields, rows.schema.metadata))


def _lists(about: Described) -> list[ListOf]:
    return [
        ListOf(raw["relation"], raw["handle"], date.fromisoformat(raw["snapshot_date"]))
        for raw in about.snapshots
    ]


def _rows(reader: ArchiveReader, about: Described) -> tuple[pa.Table, Whole]:
    """All rows of a file, and the number of the list of each."""
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
    """All files: the full ones first, then the packed ones by name, each after its bases.

    By name, because the reader caches the newest lists: in any other order it would unpack the
    lists that a list builds on again and again.
    """
    abouts = {path: described(path) for path in files}
    full = [about for path, about in abouts.items() if not is_packed(path)]
    packed = {name_of(path): about for path, about in abouts.items() if is_packed(path)}
    sorter = TopologicalSorter({name: sorted(about.bases) for name, about in packed.items()})
    sorter.prepare()
    ready = list(sorter.get_ready())
    heapify(ready)
    ordered = []
    while ready:
        ordered.append(name := heappop(ready))
        sorter.done(name)
        for follower in sorter.get_ready():
            heappush(ready, follower)
    return full + [packed[name] for name in ordered if name in packed]
