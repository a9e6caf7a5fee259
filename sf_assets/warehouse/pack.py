"""Packing the archive: what changed is kept, full rows of the newest day only.

A full file is packed against what is packed already, read back, compared row by row, and put beside
it, whole or not at all. Only then, and where it is not of the newest day, the full file goes; what
a killed process left is done again. A home of an older version is converted by the same steps.
"""

from __future__ import annotations

import io
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
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
from sf_assets.warehouse.ledger import METADATA_KEY
from sf_assets.warehouse.packing import (
    COLUMNS,
    PACKED,
    ListPlan,
    Unfit,
    Whole,
    begins_of,
    differ,
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
# So much of what was read last is held, to build on.
KEPT_BYTES = 64_000_000
ROWS_AT_A_TIME = 20_000
# Below this share of known accounts a list is stored as it is.
KNOWN_SHARE = 0.5
_LABELS = {"relation", "handle", "snapshot_date", "attempt", "position"}


@dataclass
class Packed:
    """How many files were packed and removed, the bytes before and after, what cannot be packed,
    and how many files wait for the next call."""

    packed: int = 0
    removed: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    left: list[str] = field(default_factory=list)
    waiting: int = 0


class _Reading(NamedTuple):
    """A packed list that others may build on."""

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

    Call it while nobody derives; with `shared`, others may read meanwhile: then only files go that
    were packed before this call. After `seconds` the rest waits for the next call. `tell` is told
    how many of how many files are done. Files that cannot be packed stay as they are and are named
    in `left`. Raises OSError where nothing can be written.
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
            said = described(path)
            if any(raw.get("source", "api") != "api" for raw in said.snapshots):
                continue  # an import may be removed again, so nothing builds on it
            if name not in there:
                packer.pack(said, made)
                crash_point("packed")
            elif not packer.is_same(path):
                raise Unfit("it is not what it was when it was packed")
            if name in there or not shared:
                done.append(path)
        except (Unfit, ArchiveDamaged, pa.ArrowException) as error:
            made.left.append(f"{path} is left as it is: {error}")
        tell(number, len(full))
    # The old ones go last.
    for path in done:
        if path.parent.name < newest:
            path.unlink(missing_ok=True)
            made.removed += 1
            crash_point("unpacked_removed")
    return made


class _Packer:
    def __init__(self, archive: Path, files: Sequence[Path]) -> None:
        self.archive = archive
        self.reader = ArchiveReader(archive)
        self._packed = sorted(path for path in files if is_packed(path))
        self._folders = {path.parent.name for path in self._packed}
        # Day -> list -> its packed readings of that day.
        self._readings: dict[str, dict[tuple[str, str], list[_Reading]]] = {}

    def is_same(self, path: Path) -> bool:
        """Whether a full file is the one that the packed file beside it was made of."""
        packed = self.reader.packed(name_of(path))
        return packed is not None and packed.full_sha256 == sha256_of(path)

    def pack(self, full: Described, made: Packed) -> None:
        """Pack one file, and compare what is read back. Raises Unfit where it cannot be packed."""
        path = full.path
        rows, sizes, gaps = _rows_of(self.reader.con, path, full)
        digests = self._digests(path, full)
        plain = _without_digests(rows, sizes, digests)
        lists = [
            self._planned(raw, size, own_gaps, digest)
            for raw, size, own_gaps, digest in zip(
                full.snapshots, sizes, gaps, digests, strict=True
            )
        ]
        begins = begins_of(sizes)
        parts = []
        for some in _groups(sizes):
            part = plain.slice(begins[some.start], begins[some.stop] - begins[some.start])
            lists[some], packed = self._packed_part(full, some, lists[some], part)
            parts.append(
                packed.set_column(
                    0, "list", pc.add(packed["list"], pa.scalar(some.start, pa.int32()))
                )
            )
        packed = pa.concat_tables(parts) if parts else pa.schema(list(PACKED.items())).empty_table()
        bases = {own.base_file for own in lists if own.base_file is not None}
        checksums = {file: self.reader.sha256(file) for file in sorted(bases)}
        body = packed_file(
            replace(full, bases=checksums, full_sha256=sha256_of(path)), lists, packed
        )
        self._write(packed_path(self.archive, name_of(path)), body)
        made.packed += 1
        made.bytes_before += path.stat().st_size
        made.bytes_after += len(body)
        self._note(path, full, lists, plain)

    def _packed_part(
        self, full: Described, some: slice, lists: list[PackedList], rows: pa.Table
    ) -> tuple[list[PackedList], pa.Table]:
        """Some lists of a file, packed, unpacked and compared; raises Unfit where they differ."""
        tables = self._bases(lists)
        plans, begin = [], 0
        for own, under in zip(lists, tables, strict=True):
            size = 0 if under is None else len(under)
            plans.append(ListPlan(own.rows, None if under is None else begin, size, own.copied))
            begin += size
        base = together([one for one in tables if one is not None])
        found = matches(rows, plans, base)
        _settle(full.snapshots[some], lists, plans, found)
        return lists, packed_rows(self.reader.con, rows, plans, base, found)

    def _note(
        self, path: Path, full: Described, lists: Sequence[PackedList], rows: pa.Table
    ) -> None:
        """Have later files build on this one."""
        self.reader.forget(name_of(path))
        self._folders.add(path.parent.name)
        _add(self._of_day(path.parent.name), name_of(path), full.snapshots, lists)
        self._keep(name_of(path), rows)

    def _keep(self, file: str, rows: pa.Table) -> None:
        packed = self.reader.opened(file)
        if self.reader.kept_bytes() > KEPT_BYTES:
            self.reader.drop()
        begins = begins_of([own.rows for own in packed.lists])
        for number, own in enumerate(packed.lists):
            self.reader.keep(packed, number, rows.slice(begins[number], own.rows))

    def _planned(
        self, raw: dict[str, Any], rows: int, gaps: tuple[int, ...], digest: str
    ) -> PackedList:
        """What a list is to build on."""
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
        """The nearest reading that a list of that day may build on, best one of a whole list."""
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
        """Folders with packed files of the days around, the nearest first."""
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

    def _bases(self, lists: Sequence[PackedList]) -> list[pa.Table | None]:
        """The rows that lists build on: from the full file, where it is still there."""
        found: list[pa.Table | None] = [None] * len(lists)
        by_file: dict[str, list[int]] = {}
        for at, own in enumerate(lists):
            if own.base_file is not None:
                by_file.setdefault(own.base_file, []).append(at)
        for file, ats in by_file.items():
            numbers = [lists[at].base_list or 0 for at in ats]
            full = self.archive / file
            if not self.reader.keeps(file, numbers) and full.exists() and self.is_same(full):
                packed = self.reader.opened(file)
                rows, sizes, _ = _rows_of(self.reader.con, full, packed)
                self._keep(file, _without_digests(rows, sizes, [o.digest for o in packed.lists]))
            for at, rows in zip(ats, self.reader.rows(file, numbers), strict=True):
                found[at] = rows
        return found

    def _digests(self, path: Path, full: Described) -> list[str]:
        """For each list whether its digests are what its rows give, or none are there."""
        if "profile_digest" not in _names(path):
            return ["none"] * len(full.snapshots)
        if full.format > 1:
            return ["computed"] * len(full.snapshots)
        found = {
            (relation, handle): "computed" if same else "none" if none else "stored"
            for relation, handle, same, none in self.reader.con.execute(
                sql("digests_in").replace("{digest}", sql("profile_digest")), [[pattern_of(path)]]
            ).fetchall()
        }
        return [found.get((raw["relation"], raw["handle"]), "computed") for raw in full.snapshots]

    def _write(self, path: Path, body: bytes) -> None:
        if is_remote(path):
            with suppress(FileExistsError):  # another worker was quicker
                put_bytes(body, path, mode="create")
            self.reader.forget(name_of(path))
            return
        partial = path.with_name(f".{path.name}.partial")
        try:
            made = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(made, "wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def packed_rows(
    con: duckdb.DuckDBPyConnection,
    rows: pa.Table,
    plans: Sequence[ListPlan],
    base: pa.Table,
    found: Whole,
) -> pa.Table:
    """The packed rows of lists, unpacked and compared; raises Unfit where they differ."""
    parts = []
    # Of a long list some rows at a time: each step copies what it works on.
    step = ROWS_AT_A_TIME if len(plans) == 1 else max(1, len(rows))
    for first in range(0, max(1, len(rows)), step):
        part = rows.slice(first, step)
        of_part = [replace(plans[0], rows=len(part))] if len(plans) == 1 else plans
        packed = pack_rows(con, part, of_part, base, found[first : first + len(part)])
        again = unpack_rows(con, packed, of_part, base)
        if any(differ(again[name], part[name]).any() for name in COLUMNS):
            raise Unfit("packed it would not be the same")
        row = pc.add(packed["row"], pa.scalar(first, pa.int32()))
        parts.append(packed.set_column(1, "row", row))
    return pa.concat_tables(parts)


def packed_file(about: Described, lists: Sequence[PackedList], packed: pa.Table) -> bytes:
    """The bytes of a packed file, which says of itself what `about` and `lists` say.

    Raises Unfit where it would not be read back as it is.
    """
    empty = PackedList(0, "", "", "")
    said = {
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
    names = [name for name in packed.column_names if packed[name].null_count < len(packed)]
    names = names or ["list", "row"]
    table = packed.select(names)
    sink = io.BytesIO()
    steady = {"list", "row", "base", "length"}
    with pq.ParquetWriter(
        sink, table.schema, compression="zstd", compression_level=9, write_statistics=False,
        store_schema=False, data_page_version="2.0",
        use_dictionary=[name for name in names if name not in steady],
        column_encoding={name: "DELTA_BINARY_PACKED" for name in names if name in steady},
    ) as writer:  # fmt: skip
        writer.write_table(table)
        writer.add_key_value_metadata({METADATA_KEY: json.dumps(said)})
    body = sink.getvalue()
    there = pq.ParquetFile(io.BytesIO(body))
    for name in PACKED:
        own = [name] if name in there.schema_arrow.names else ["list"]
        if not read_packed(there.read(own, use_threads=False))[name].equals(packed[name]):
            raise Unfit("read back it is not the same")
    return body


def _groups(sizes: Sequence[int]) -> Iterator[slice]:
    """Lists that are packed together: about ROWS_AT_A_TIME rows, which bounds the memory."""
    first = rows = 0
    for number, size in enumerate(sizes):
        if rows and rows + size > ROWS_AT_A_TIME:
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
    """Have lists of which hardly anybody is known stand alone."""
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


def _rows_of(
    con: duckdb.DuckDBPyConnection, path: Path, full: Described
) -> tuple[pa.Table, list[int], list[tuple[int, ...]]]:
    """The rows of a full file, list after list, each top first; how many each has, and its gaps.

    Raises Unfit where they are not what the file says of itself.
    """
    with path.open("rb") as file:
        table = pq.read_table(file, use_threads=False)
    unknown = set(table.column_names) - set(COLUMNS) - _LABELS - {"avatar_urls"}
    series = [f"{raw['relation']}/{raw['handle']}" for raw in full.snapshots]
    days = {(raw["snapshot_date"], raw["attempt"]) for raw in full.snapshots}
    if unknown or len(set(series)) < len(series) or len({day for day, _ in days}) != 1:
        raise Unfit(f"it is of a kind that is not packed ({', '.join(sorted(unknown))})")
    listed = pc.index_in(
        pc.binary_join_element_wise(table["relation"], table["handle"], "/"), pa.array(series)
    )
    positions = pc.fill_null(table["position"], 0).to_numpy()
    if listed.null_count or (len(table) and positions.min() < 1):
        raise Unfit("it has rows of lists that it does not name")
    numbers = listed.to_numpy().astype(np.int64)
    attempts = np.array([raw["attempt"] for raw in full.snapshots], dtype=np.int64)
    day = date.fromisoformat(full.snapshots[0]["snapshot_date"]) if full.snapshots else None
    if (table["attempt"].to_numpy() != attempts[numbers]).any() or (
        len(table) and pc.unique(table["snapshot_date"]).to_pylist() != [day]
    ):
        raise Unfit("it has rows of other readings than it names")
    order = np.lexsort((positions, numbers))
    sizes = np.bincount(numbers, minlength=len(series)).tolist()
    gaps = []
    for begin, size in zip(begins_of(sizes), sizes, strict=False):
        own = positions[order[begin : begin + size]]
        if size and (np.diff(own) < 1).any():
            raise Unfit("two of its rows have one position")
        last = int(own[-1]) if size else 0
        gaps.append(
            tuple(np.setdiff1d(np.arange(1, last + 1), own).tolist()) if last > size else ()
        )
    at = None if (np.diff(order) == 1).all() else pa.array(order)
    if "avatar_urls" in table.column_names:  # of the first format
        table = _with_rests(con, table)
    columns, rows = {}, len(table)
    for name, kind in COLUMNS.items():
        if name in table.column_names:
            column = table[name] if at is None else table[name].take(at)
            table = table.drop_columns([name])  # it is not held twice
            columns[name] = column.cast(kind).combine_chunks()
        else:
            columns[name] = pa.nulls(rows, kind)
    return pa.table(columns), sizes, gaps


def _with_rests(con: duckdb.DuckDBPyConnection, table: pa.Table) -> pa.Table:
    """The table with what its pictures' addresses add to the first one, in the place of them."""
    con.register("rows_in", table.select(["avatar_url", "avatar_urls"]))
    try:
        rests = con.sql(sql("avatar_rests")).to_arrow_table()
    finally:
        con.unregister("rows_in")
    if len(rests) and not pc.all(rests["same"]).as_py():
        raise Unfit("addresses of pictures in it cannot be shortened")
    return table.append_column("avatar_rests", rests["avatar_rests"])


def _without_digests(rows: pa.Table, sizes: Sequence[int], digests: Sequence[str]) -> pa.Table:
    """The rows without the digests that they give themselves."""
    computed = np.repeat(np.array([one == "computed" for one in digests], dtype=bool), sizes)
    if not computed.any():
        return rows
    at = rows.column_names.index("profile_digest")
    empty = pa.scalar(None, COLUMNS["profile_digest"])
    own = pc.if_else(pa.array(computed), empty, rows["profile_digest"])
    return rows.set_column(at, "profile_digest", own)


def _days(day: str, other: date) -> int:
    return abs((other - date.fromisoformat(day)).days)


def _names(path: Path) -> list[str]:
    with path.open("rb") as file:
        return list(pq.read_schema(file).names)
