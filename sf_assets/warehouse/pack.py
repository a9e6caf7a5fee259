"""Packs the archive: it keeps the changes between lists, and full rows of the newest day only.

A full file is packed against earlier packed files, read back, compared row by row, and moved next
to the full file in one step. Only then is the full file removed, unless it is of the newest day.
After a kill, the next call does the rest. A home of an older version is converted the same way.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sf_assets.fault_injection import crash_point
from sf_assets.storage.files import sha256_of
from sf_assets.storage.object_store import is_remote, pattern_of, put_bytes
from sf_assets.warehouse.archive import ROW_GROUP
from sf_assets.warehouse.archive_names import all_files, is_packed, name_of, packed_path
from sf_assets.warehouse.archive_reader import (
    ARCHIVE_FORMAT,
    ArchiveDamaged,
    ArchiveReader,
    Described,
    PackedList,
    described,
    read_packed,
    together,
)
from sf_assets.warehouse.full_file import FullFile
from sf_assets.warehouse.ledger import METADATA_KEY
from sf_assets.warehouse.packing import (
    COLUMNS,
    KEYS,
    PACKED,
    ListPlan,
    Unfit,
    Whole,
    begins_of,
    differ,
    keys_of,
    matches,
    pack_rows,
    unpack_rows,
)
from sf_assets.warehouse.statements import sql

#: A list is copied after so many days at the latest, and profiles with it after so many.
LIST_COPY_DAYS = 30
WHOLE_COPY_DAYS = 180
# Of lists that are read several times a day: so many readings build on each other at most.
MOST_READINGS = 250
# So much of what was unpacked is held, to build on.
KEPT_BYTES = 64_000_000
ROWS_AT_A_TIME = 2 * ROW_GROUP
# Packed rows of a long list are written, and compressed, so many bytes at a time.
ROW_GROUP_BYTES = 16_000_000
# Below this share of known accounts a list is stored as it is.
KNOWN_SHARE = 0.5


@dataclass
class Packed:
    """The number of packed and of removed files, the bytes before and after, the files that cannot
    be packed, and the number of files that wait for the next call."""

    packed: int = 0
    removed: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    left: list[str] = field(default_factory=list)
    waiting: int = 0


class _Reading(NamedTuple):
    """A packed list that can be the base of others."""

    day: date
    file: str
    number: int
    end_reason: str | None
    own: PackedList


def pack(
    archive: Path,
    tell: Callable[[int, int], None] = lambda done, all: None,
    *,
    shared: bool = False,
    seconds: float = math.inf,
) -> Packed:
    """Pack every full file, and remove those of days before the newest one.

    No derivation may run at the same time. With `shared`, other processes may read meanwhile, and
    only files that were packed before this call are removed. After `seconds` the rest waits for the
    next call. `tell(done, total)` is called after each file. Files that cannot be packed stay
    unchanged and are listed in `left`. Raises OSError if the archive cannot be written.
    """
    made = Packed()
    files = all_files(archive)
    full = [path for path in files if not is_packed(path)]
    there = {name_of(path) for path in files if is_packed(path)}
    newest = max((path.parent.name for path in full), default="")
    packer = _Packer(archive, files)
    done: list[Path] = []
    deadline = time.monotonic() + seconds
    for number, path in enumerate(full, start=1):
        if time.monotonic() > deadline:
            made.waiting = len(full) - number + 1
            break
        name = name_of(path)
        try:
            about = described(path)
            if any(raw.get("source", "api") != "api" for raw in about.snapshots):
                continue  # an import may be removed again, so nothing builds on it
            if name not in there:
                packer.pack(about, made)
                crash_point("packed")
            elif not packer.is_same(path):
                raise Unfit("it is not what it was when it was packed")
            if name in there or not shared:
                done.append(path)
        except (Unfit, ArchiveDamaged, pa.ArrowException) as error:
            made.left.append(f"{path} is not packed: {error}")
        tell(number, len(full))
    # The old ones go last.
    for path in done:
        if path.parent.name < newest:
            path.unlink(missing_ok=True)
            made.removed += 1
            crash_point("unpacked_removed")
    return made


class Source(NamedTuple):
    """The rows of a list: a slice of them as COLUMNS, and the keys of all."""

    size: int
    rows: Callable[[int, int], pa.Table]
    keys: Callable[[], Whole]


class _Packer:
    def __init__(self, archive: Path, files: Sequence[Path]) -> None:
        self.archive = archive
        self.reader = ArchiveReader(archive)
        self._packed = sorted(path for path in files if is_packed(path))
        self._folders = {path.parent.name for path in self._packed}
        # Day -> list -> its packed readings of that day.
        self._readings: dict[str, dict[tuple[str, str], list[_Reading]]] = {}
        # Of the file that is packed now: what it builds on, where that is still there in full.
        self._full: dict[str, FullFile | None] = {}

    def is_same(self, path: Path) -> bool:
        """Whether the packed file of the same name was made from this full file."""
        packed = self.reader.packed(name_of(path))
        return packed is not None and packed.full_sha256 == sha256_of(path)

    def pack(self, full: Described, made: Packed) -> None:
        """Pack one file and compare what is read back. Raises Unfit if it cannot be packed."""
        path = full.path
        rows = FullFile(self.reader.con, full)
        digests = self._digests(full, rows.columns)
        rows.leave_out(digests)
        self._full.clear()
        lists = [
            self._planned(raw, size, own_gaps, digest)
            for raw, size, own_gaps, digest in zip(
                full.snapshots, rows.sizes, rows.gaps, digests, strict=True
            )
        ]
        target = packed_path(self.archive, name_of(path))
        with _place_for(target) as partial:
            with spooled(self._parts(full, rows, lists), partial.parent) as packed:
                bases = {own.base_file for own in lists if own.base_file is not None}
                checksums = {file: self.reader.sha256(file) for file in sorted(bases)}
                about = replace(full, bases=checksums, full_sha256=sha256_of(path))
                write_packed(about, lists, packed, partial)
            made.bytes_after += partial.stat().st_size
        made.packed += 1
        made.bytes_before += path.stat().st_size
        # Later files build on this one.
        self.reader.forget(name_of(path))
        self._folders.add(path.parent.name)
        _add(self._of_day(path.parent.name), name_of(path), full.snapshots, lists)

    def _parts(
        self, full: Described, rows: FullFile, lists: list[PackedList]
    ) -> Iterator[pa.Table]:
        """The packed rows of a file, checked by unpacking them. Raises Unfit if they differ."""
        begins = begins_of(rows.sizes)
        con = self.reader.con
        for some in _groups(rows.sizes):
            own = lists[some]
            bases = self._bases(own)
            plans, begin = [], 0
            for one, base in zip(own, bases, strict=True):
                size = 0 if base is None else base.size
                plans.append(ListPlan(one.rows, None if base is None else begin, size, one.copied))
                begin += size
            there = [base for base in bases if base is not None]
            first, last = int(begins[some.start]), int(begins[some.stop])
            wanted = _part_of(rows, first, last - first)
            if len(own) > 1:
                wanted = held(con, wanted.rows(0, wanted.size))
            if len(own) > 1 or not there:
                there = [held(con, together([base.rows(0, base.size) for base in there]))]
            found = matches(wanted.keys(), plans, there[0].keys())
            _settle(full.snapshots[some], own, plans, found)
            lists[some] = own
            number = pa.scalar(some.start, pa.int32())
            for packed in packed_rows(con, wanted, plans, there[0], found):
                yield packed.set_column(0, "list", pc.add(packed["list"], number))

    def _planned(
        self, raw: dict[str, Any], rows: int, gaps: tuple[int, ...], digest: str
    ) -> PackedList:
        """Choose the base of a list."""
        day = date.fromisoformat(raw["snapshot_date"])
        alone = PackedList(rows, day.isoformat(), day.isoformat(), digest, gaps=gaps)
        base = self._base(day, (raw["relation"], raw["handle"]), digest) if rows else None
        if base is None:
            return alone
        copied = _days(base.own.list_day, day) >= LIST_COPY_DAYS
        return replace(
            alone,
            list_day=day.isoformat() if copied else base.own.list_day,
            whole_day=base.own.whole_day,
            base_file=base.file,
            base_list=base.number,
            copied=copied,
            depth=base.own.depth + 1,
        )

    def _base(self, day: date, series: tuple[str, str], digest: str) -> _Reading | None:
        """The best base for a list of that day: the nearest one, a complete list first."""
        known = None
        for folder in self._near(day):
            fit = [
                one
                for one in self._of_day(folder).get(series, [])
                if one.own.digest == digest and one.own.rows and one.own.depth < MOST_READINGS
                and _days(one.own.whole_day, day) < WHOLE_COPY_DAYS
            ]  # fmt: skip
            for one in sorted(fit, key=lambda one: one.own.depth):
                if one.end_reason != "known":
                    return one
                known = known or one
        return known

    def _near(self, day: date) -> Iterator[str]:
        """The folders of packed files of the days around it, the nearest first."""
        for days in range(LIST_COPY_DAYS):
            for step in (-days, days) if days else (0,):
                folder = f"day={day + timedelta(days=step)}"
                if folder in self._folders:
                    yield folder

    def _of_day(self, folder: str) -> dict[tuple[str, str], list[_Reading]]:
        found = self._readings.get(folder)
        if found is None:
            found = self._readings[folder] = {}
            for path in self._packed:
                if path.parent.name == folder:
                    packed = self.reader.opened(name_of(path))
                    _add(found, name_of(path), packed.snapshots, packed.lists)
        return found

    def _bases(self, lists: Sequence[PackedList]) -> list[Source | None]:
        """The rows of the bases of lists, read from the full file while it exists."""
        found: list[Source | None] = [None] * len(lists)
        by_file: dict[str, list[int]] = {}
        for at, own in enumerate(lists):
            if own.base_file is not None:
                by_file.setdefault(own.base_file, []).append(at)
        for file, ats in by_file.items():
            numbers = [lists[at].base_list or 0 for at in ats]
            full = self._full_base(file)
            if full is not None:
                begins = begins_of(full.sizes)
                for at, number in zip(ats, numbers, strict=True):
                    found[at] = _part_of(full, int(begins[number]), full.sizes[number])
                continue
            if self.reader.kept_bytes() > KEPT_BYTES:
                self.reader.drop()
            for at, rows in zip(ats, self.reader.rows(file, numbers), strict=True):
                found[at] = held(self.reader.con, rows.select(list(COLUMNS)))
        return found

    def _full_base(self, file: str) -> FullFile | None:
        if file not in self._full:
            path, packed = self.archive / file, self.reader.opened(file)
            full = None
            if path.exists() and self.is_same(path):
                full = FullFile(self.reader.con, replace(packed, path=path))
                full.leave_out([own.digest for own in packed.lists])
            self._full[file] = full
        return self._full[file]

    def _digests(self, full: Described, columns: Sequence[str]) -> list[str]:
        """For each list, whether its digests are computed from its rows, stored, or absent."""
        if "profile_digest" not in columns:
            return ["none"] * len(full.snapshots)
        if full.format > 1:
            return ["computed"] * len(full.snapshots)
        found = {
            (relation, handle): "computed" if same else "none" if none else "stored"
            for relation, handle, same, none in self.reader.con.execute(
                sql("digests_in").replace("{digest}", sql("profile_digest")),
                [[pattern_of(full.path)]],
            ).fetchall()
        }
        return [found.get((raw["relation"], raw["handle"]), "computed") for raw in full.snapshots]


@contextmanager
def _place_for(path: Path) -> Iterator[Path]:
    """A path to write a new file to; at the end it is moved to `path` in one step."""
    if is_remote(path):
        with tempfile.TemporaryDirectory() as scratch:
            partial = Path(scratch) / path.name
            yield partial
            with suppress(FileExistsError):  # another worker was quicker
                put_bytes(partial.read_bytes(), path, mode="create")
        return
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def held(con: duckdb.DuckDBPyConnection, table: pa.Table) -> Source:
    """Rows that are in memory."""
    return Source(
        len(table), lambda a, b: table.slice(a, b - a), lambda: keys_of(con, table)
    )  # fmt: skip


def _part_of(full: FullFile, begin: int, size: int) -> Source:
    return Source(
        size,
        lambda a, b: full.rows(begin + a, begin + b),
        lambda: full.keys(begin, begin + size),
    )


def packed_rows(
    con: duckdb.DuckDBPyConnection,
    rows: Source,
    plans: Sequence[ListPlan],
    base: Source,
    found: Whole,
) -> Iterator[pa.Table]:
    """The packed rows of lists, checked by unpacking them. Raises Unfit if they differ.

    A long list is packed in parts, each with the range of rows of the base that it refers to.
    """
    step = ROWS_AT_A_TIME if len(plans) == 1 else max(1, rows.size)
    for first in range(0, max(1, rows.size), step):
        own = found[first : first + step]
        low, high, of_part = 0, base.size, plans
        if len(plans) == 1:
            there = own[own >= 0]
            low, high = (int(there.min()), int(there.max()) + 1) if len(there) else (0, 0)
            own = np.where(own >= 0, own - low, -1)
            of_part = [replace(plans[0], rows=len(own), base_rows=high - low)]
        part, under = rows.rows(first, first + len(own)), base.rows(low, high)
        packed = pack_rows(con, part, of_part, under, own)
        again = unpack_rows(con, packed, of_part, under)
        if any(differ(again[name], part[name]).any() for name in COLUMNS):
            raise Unfit("packed it would not be the same")
        for name, before in (("row", first), ("base", low)):
            at = packed.column_names.index(name)
            packed = packed.set_column(
                at, name, pc.add(packed[name], pa.scalar(before, pa.int32()))
            )
        yield packed


class Spooled:
    """Packed rows in a temporary file, until the columns that they need are known."""

    def __init__(self, file: Any, parts: Iterable[pa.Table]) -> None:
        self._file = file
        self.names, self.nbytes = ["list", "row"], 0
        with pa.ipc.new_stream(file, pa.schema(list(PACKED.items()))) as out:
            for part in parts:
                out.write_table(part)
                self.nbytes += part.nbytes
                self.names += [
                    name for name in PACKED
                    if name not in self.names and part[name].null_count < len(part)
                ]  # fmt: skip

    def tables(self) -> Iterator[pa.Table]:
        """Yield all rows again; a long list in parts."""
        self._file.seek(0)
        some: list[pa.RecordBatch] = []
        with pa.ipc.open_stream(self._file) as batches:
            for batch in batches:
                if some and sum(one.nbytes for one in (*some, batch)) > ROW_GROUP_BYTES:
                    yield pa.Table.from_batches(some)
                    some = []
                some.append(batch)
            yield pa.Table.from_batches(some, batches.schema)


@contextmanager
def spooled(parts: Iterable[pa.Table], folder: Path) -> Iterator[Spooled]:
    """Packed rows in an unnamed temporary file of this folder."""
    with tempfile.TemporaryFile(dir=folder) as file:
        yield Spooled(file, parts)


def write_packed(
    about: Described, lists: Sequence[PackedList], packed: Spooled, path: Path
) -> None:
    """Write a packed file with `about` and `lists` as its metadata.

    Raises Unfit if what is read back differs.
    """
    empty = PackedList(0, "", "", "")
    metadata = {
        "format": ARCHIVE_FORMAT,
        "snapshots": about.snapshots,
        "attempts": about.attempts,
        "lists": [
            {
                name: value for name, value in asdict(own).items()
                if name in ("rows", "list_day", "whole_day", "digest")
                or value != getattr(empty, name)
            }
            for own in lists
        ],
        "bases": about.bases,
        "full_sha256": about.full_sha256,
        **({"page_fields": about.page_fields} if about.page_fields else {}),
    }  # fmt: skip
    # A column that nothing is in costs as much as a hundred names.
    names = [name for name in PACKED if name in packed.names]
    steady = {"list", "row", "base", "length"}
    # A dictionary of what is hardly ever there twice only takes room, again in every row group.
    lone = steady | ({*KEYS, "avatar_url"} if packed.nbytes > ROW_GROUP_BYTES else set())
    made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(made, "wb") as file, pq.ParquetWriter(
        file, pa.schema([(name, PACKED[name]) for name in names]),
        compression="zstd", compression_level=9, write_statistics=False,
        store_schema=False, data_page_version="2.0",
        use_dictionary=[name for name in names if name not in lone],
        column_encoding={name: "DELTA_BINARY_PACKED" for name in names if name in steady},
    ) as writer:  # fmt: skip
        for table in packed.tables():
            writer.write_table(table.select(names))
        writer.add_key_value_metadata({METADATA_KEY: json.dumps(metadata)})
    with pq.ParquetFile(path) as there:
        for number, table in enumerate(packed.tables()):
            if not read_packed(there.read_row_group(number, use_threads=False)).equals(table):
                raise Unfit("read back it is not the same")


def _groups(sizes: Sequence[int]) -> Iterator[slice]:
    """Slices of lists of about ROWS_AT_A_TIME rows each, which bounds the memory."""
    first = rows = 0
    for number, size in enumerate(sizes):
        if number > first and rows + size > ROWS_AT_A_TIME:
            yield slice(first, number)
            first, rows = number, 0
        rows += size
    if sizes:
        yield slice(first, len(sizes))


def _settle(
    snapshots: Sequence[dict[str, Any]],
    lists: list[PackedList],
    plans: list[ListPlan],
    found: Whole,
) -> None:
    """Remove the base of lists that share few accounts with it."""
    begins = begins_of([plan.rows for plan in plans])
    for number, own in enumerate(lists):
        part = found[begins[number] : begins[number + 1]]
        if own.base_file is not None and (part >= 0).sum() < KNOWN_SHARE * own.rows:
            part[:] = -1
            day = snapshots[number]["snapshot_date"]
            lists[number] = PackedList(own.rows, day, day, own.digest, gaps=own.gaps)
            plans[number] = ListPlan(own.rows)


def _add(
    readings: dict[tuple[str, str], list[_Reading]],
    file: str,
    snapshots: Sequence[dict[str, Any]],
    lists: Sequence[PackedList],
) -> None:
    for number, (raw, own) in enumerate(zip(snapshots, lists, strict=True)):
        readings.setdefault((raw["relation"], raw["handle"]), []).append(
            _Reading(date.fromisoformat(raw["snapshot_date"]), file, number, raw["end_reason"], own)
        )


def _days(day: str, other: date) -> int:
    return abs((other - date.fromisoformat(day)).days)
