"""Reads the rows of archived lists from full and from packed files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sf_assets.errors import SfAssetsError
from sf_assets.storage.object_store import pattern_of
from sf_assets.text import first_line
from sf_assets.warehouse.archive_names import name_of, packed_path
from sf_assets.warehouse.lake import use_s3
from sf_assets.warehouse.ledger import METADATA_KEY
from sf_assets.warehouse.packing import (
    COLUMNS,
    PACKED,
    ListPlan,
    Unfit,
    begins_of,
    unpack_rows,
    with_macros,
)
from sf_assets.warehouse.statements import Rows, sql

ARCHIVE_FORMAT = 2


class ArchiveDamaged(SfAssetsError):
    """A file of the archive cannot be read."""


class ArchiveTooNew(ArchiveDamaged):
    """A file of the archive was written by a newer version."""


@dataclass(frozen=True)
class PackedList:
    """The metadata of one list of a packed file, apart from its snapshot.

    `base_file` and `base_list` name its base, None if it has none; a `copied` list takes only
    unchanged profiles from its base. `gaps` are the positions without a row. `list_day` and
    `whole_day` are the days of the last copy of the list and of the last full copy in its chain of
    bases. `digest`: profile_digest is `computed` from the rows, `stored`, or `none`.
    """

    rows: int
    list_day: str
    whole_day: str
    digest: str
    base_file: str | None = None
    base_list: int | None = None
    copied: bool = False
    depth: int = 0
    gaps: tuple[int, ...] = ()


@dataclass(frozen=True)
class Described:
    """The metadata of an archive file: its snapshots and, if packed, its lists.

    `bases`: file -> SHA-256 of each packed file with bases of its lists. `full_sha256` is the
    checksum of the full file that it was packed from.
    """

    path: Path
    snapshots: list[dict[str, Any]]
    attempts: list[dict[str, Any]]
    lists: list[PackedList] = field(default_factory=list)
    bases: dict[str, str] = field(default_factory=dict)
    full_sha256: str = ""
    format: int = ARCHIVE_FORMAT
    page_fields: list[Any] = field(default_factory=list)


def described(path: Path) -> Described:
    """Read the metadata of a file. Raises ArchiveDamaged, ArchiveTooNew."""
    try:
        with path.open("rb") as file:
            metadata = pq.read_metadata(file).metadata or {}
        raw = json.loads(metadata[METADATA_KEY.encode()])
        if raw["format"] > ARCHIVE_FORMAT:
            raise ArchiveTooNew(f"{path} was written by a newer sf_assets; upgrade it")
        return Described(
            path,
            raw["snapshots"],
            raw.get("attempts", []),
            [
                PackedList(**{**one, "gaps": tuple(one.get("gaps", ()))})
                for one in raw.get("lists", [])
            ],
            raw.get("bases", {}),
            raw.get("full_sha256", ""),
            raw["format"],
            raw.get("page_fields", []),
        )
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowInvalid) as error:
        raise damaged(path, error) from None


def damaged(path: Path, reason: str | BaseException) -> ArchiveDamaged:
    """The error for an archive file that cannot be read."""
    why = reason if isinstance(reason, str) else first_line(reason)
    return ArchiveDamaged(
        f"{path} cannot be read ({why}); restore it from a backup, or move it away to continue "
        "without the lists in it"
    )


@dataclass(frozen=True)
class Wanted:
    """One list of a day, and the file that holds it."""

    file: str
    relation: str
    handle: str
    day: date
    attempt: int


class ArchiveReader:
    """Reads lists of an archive. Caches the last two lists of each series, as bases of the next.
    Not thread-safe."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self._con: duckdb.DuckDBPyConnection | None = None
        self._described: dict[str, Described | None] = {}
        self._sha256: dict[str, str] = {}
        # Series -> (file, list) of its last two lists -> their rows.
        self._kept: dict[tuple[str, str], dict[tuple[str, int], pa.Table]] = {}
        self._problems: dict[tuple[str, int], tuple[str, bool]] = {}

    @property
    def con(self) -> duckdb.DuckDBPyConnection:
        """The in-memory database for packing and unpacking."""
        if self._con is None:
            self._con = with_macros()
            use_s3(self._con, self.archive)
        return self._con

    def has(self, file: str) -> bool:
        """Whether the file exists, full or packed."""
        return (self.archive / file).exists() or self.packed(file) is not None

    def packed(self, file: str) -> Described | None:
        """The metadata of the packed file of that name; None if there is none."""
        if file not in self._described:
            path = packed_path(self.archive, file)
            self._described[file] = described(path) if path.exists() else None
        return self._described[file]

    def opened(self, file: str) -> Described:
        """The metadata of the packed file. Raises ArchiveDamaged if there is none."""
        packed = self.packed(file)
        if packed is None:
            raise damaged(packed_path(self.archive, file), "it is missing")
        return packed

    def forget(self, file: str) -> None:
        """Drop the cached metadata of a file."""
        self._described.pop(file, None)

    def sha256(self, file: str) -> str:
        """The SHA-256 of a packed file."""
        if file not in self._sha256:
            self._sha256[file] = hashlib.sha256(
                packed_path(self.archive, file).read_bytes()
            ).hexdigest()
        return self._sha256[file]

    def problem(self, file: str, number: int) -> tuple[str, bool]:
        """Why a packed list is not readable in full ("" if it is), and if only profiles lack."""
        chain: list[tuple[tuple[str, int], bool]] = []
        at: tuple[str, int] | None = (file, number)
        found, whole = "", True
        while at is not None:
            if at in self._problems:
                found, whole = self._problems[at]
                break
            try:
                packed = self.opened(at[0])
            except ArchiveTooNew:
                raise
            except ArchiveDamaged as error:
                found, whole = str(error), False
                break
            own = packed.lists[at[1]]
            chain.append((at, own.copied))
            at = None
            if own.base_file is not None and own.base_list is not None:
                at = own.base_file, own.base_list
                if self._is_other(packed, own.base_file):
                    path = packed_path(self.archive, own.base_file)
                    found, whole = f"{path} is missing or another one", False
                    break
        for at, copied in reversed(chain):
            whole = whole or copied
            self._problems[at] = found, whole
        return found, whole

    def _is_other(self, packed: Described, base: str) -> bool:
        try:
            return self.sha256(base) != packed.bases[base]
        except FileNotFoundError:
            return True

    def numbers(self, file: str, wanted: Iterable[Wanted]) -> list[int]:
        """The numbers of these lists in a packed file. Raises ArchiveDamaged."""
        packed = self.opened(file)
        number = {
            (raw["relation"], raw["handle"], raw["snapshot_date"], raw["attempt"]): at
            for at, raw in enumerate(packed.snapshots)
        }
        try:
            return [
                number[one.relation, one.handle, one.day.isoformat(), one.attempt] for one in wanted
            ]
        except KeyError as error:
            raise damaged(packed.path, f"it lacks {error}") from None

    def rows(self, file: str, numbers: Sequence[int]) -> list[pa.Table]:
        """The rows of lists of a packed file, top first, with their positions.

        A copied list whose base is missing lacks the profiles. Raises ArchiveDamaged.
        """
        packed = self.opened(file)
        made: dict[int, pa.Table] = {}
        missing = []
        for number in numbers:
            kept = self._kept.get(self._series(packed, number), {}).get((file, number))
            if kept is None:
                missing.append(number)
            else:
                made[number] = kept
        if missing:
            bases = self._bases(packed, [packed.lists[number] for number in missing])
            plans, base = [], []
            begin = 0
            for number, under in zip(missing, bases, strict=True):
                own = packed.lists[number]
                plans.append(
                    ListPlan(
                        own.rows, None if under is None else begin,
                        0 if under is None else len(under), own.copied,
                    )
                )  # fmt: skip
                if under is not None:
                    base.append(under)
                    begin += len(under)
            rows = self._unpacked(packed, missing, plans, together(base))
            begins = begins_of([plan.rows for plan in plans])
            for at, number in enumerate(missing):
                own = packed.lists[number]
                table = rows.slice(begins[at], own.rows)
                table = table.append_column("position", pa.array(_positions(own), pa.int32()))
                self.keep(packed, number, table)
                made[number] = table
        return [made[number] for number in numbers]

    def keep(self, packed: Described, number: int, rows: pa.Table) -> None:
        """Cache the rows of a list and of its base; drop the others of its series."""
        own = packed.lists[number]
        series = self._series(packed, number)
        kept = self._kept.get(series, {})
        under = (own.base_file or "", -1 if own.base_list is None else own.base_list)
        now = {under: kept[under]} if under in kept else {}
        now[name_of(packed.path), number] = rows
        self._kept[series] = now

    def kept_bytes(self) -> int:
        """The bytes of all cached rows."""
        return sum(rows.nbytes for kept in self._kept.values() for rows in kept.values())

    def drop(self) -> None:
        """Empty the cache."""
        self._kept.clear()

    @staticmethod
    def _series(packed: Described, number: int) -> tuple[str, str]:
        raw = packed.snapshots[number]
        return raw["relation"], raw["handle"]

    def _bases(self, packed: Described, lists: Sequence[PackedList]) -> list[pa.Table | None]:
        found: list[pa.Table | None] = [None] * len(lists)
        by_file: dict[str, list[int]] = {}
        for at, own in enumerate(lists):
            if own.base_file is not None:
                by_file.setdefault(own.base_file, []).append(at)
        for base, ats in by_file.items():
            try:
                if self._is_other(packed, base):
                    raise ArchiveDamaged(
                        f"{packed_path(self.archive, base)} is missing or another one, and "
                        f"{packed.path} builds on it: restore it from a backup, or move "
                        f"{packed.path.name} away to continue without its lists"
                    )
                numbers = [lists[at].base_list or 0 for at in ats]
                for at, rows in zip(ats, self.rows(base, numbers), strict=True):
                    found[at] = rows
            except ArchiveTooNew:
                raise
            except ArchiveDamaged:
                if not all(lists[at].copied for at in ats):
                    raise
        return found

    def _unpacked(
        self, packed: Described, numbers: Sequence[int], plans: Sequence[ListPlan], base: pa.Table
    ) -> pa.Table:
        try:
            with packed.path.open("rb") as file:
                rows = read_packed(pq.read_table(file))
            if len(numbers) < len(packed.lists):
                place = pc.index_in(rows["list"], pa.array(numbers, pa.int32()))
                rows = rows.set_column(0, "list", place).filter(pc.is_valid(place))
            return unpack_rows(self.con, rows, plans, base)
        except (OSError, pa.ArrowException, duckdb.Error, Unfit, IndexError) as error:
            reason = first_line(error) if isinstance(error, Exception) else error
            raise damaged(packed.path, reason) from None


def read_packed(table: pa.Table) -> pa.Table:
    """A packed table with the columns that its file leaves out because they are all null."""
    return pa.table(
        {
            name: table[name].cast(kind) if name in table.column_names
            else pa.nulls(len(table), kind)
            for name, kind in PACKED.items()
        }
    )  # fmt: skip


def together(tables: Sequence[pa.Table]) -> pa.Table:
    """Rows of lists one after the other, without their positions."""
    names = list(COLUMNS)
    if not tables:
        return pa.table({name: pa.nulls(0, kind) for name, kind in COLUMNS.items()})
    return pa.concat_tables([table.select(names) for table in tables]).combine_chunks()


def _positions(own: PackedList) -> Any:
    positions = np.arange(1, own.rows + len(own.gaps) + 1)
    return np.delete(positions, np.array(own.gaps, dtype=np.int64) - 1) if own.gaps else positions


def one_file(reader: ArchiveReader, file: str) -> pa.Table:
    """All rows of a packed file, each with its list. Raises ArchiveDamaged."""
    return _labelled(
        reader,
        {
            file: [
                Wanted(
                    file, raw["relation"], raw["handle"],
                    date.fromisoformat(raw["snapshot_date"]), raw["attempt"],
                )
                for raw in reader.opened(file).snapshots
            ]
        },
    )  # fmt: skip


def show_lists(
    con: duckdb.DuckDBPyConnection,
    rows: Rows,
    reader: ArchiveReader,
    name: str,
    wanted: Sequence[Wanted],
) -> None:
    """Create the view `name` of all rows of these lists, with the path of their file.

    A full file is read whole, with its other lists. Raises ArchiveDamaged.
    """
    full: list[str] = []
    packed: dict[str, list[Wanted]] = {}
    there: dict[str, bool] = {}
    for one in wanted:
        # A file holds the lists of a batch; look for it once.
        if one.file not in there:
            there[one.file] = (reader.archive / one.file).exists()
        if there[one.file]:
            full.append(one.file)
        else:
            packed.setdefault(one.file, []).append(one)
    rows.put(f"{name}_unpacked", _labelled(reader, packed))
    files = [pattern_of(reader.archive / file) for file in sorted(set(full))]
    con.execute(f"SET VARIABLE {name}_files = ?", [files])
    of_files = sql("archived_files") if files else ""
    con.execute(
        sql("archived").format(
            name=name, digest=sql("profile_digest"), files=of_files.format(name=name)
        )
    )


def _labelled(reader: ArchiveReader, wanted: Mapping[str, Sequence[Wanted]]) -> pa.Table:
    """The rows of these lists of packed files, each with its file and list."""
    tables, labels = [], []
    for file, lists in wanted.items():
        packed = reader.opened(file)
        numbers = reader.numbers(file, lists)
        for one, number, table in zip(lists, numbers, reader.rows(file, numbers), strict=True):
            tables.append(table)
            labels.append((one, len(table), packed.lists[number].digest == "computed"))
    counts = np.array([count for _, count, _ in labels], dtype=np.int64)
    at = pa.array(np.repeat(np.arange(len(labels)), counts), pa.int32())
    schema = {**COLUMNS, "position": pa.int32()}
    made = pa.concat_tables(tables) if tables else pa.table(
        {name: pa.nulls(0, kind) for name, kind in schema.items()}
    )  # fmt: skip
    columns = {
        "path": pa.array([str(reader.archive / one.file) for one, *_ in labels], pa.string()),
        "relation": pa.array([one.relation for one, *_ in labels], pa.string()),
        "handle": pa.array([one.handle for one, *_ in labels], pa.string()),
        "snapshot_date": pa.array([one.day for one, *_ in labels], pa.date32()),
        "attempt": pa.array([one.attempt for one, *_ in labels], pa.int32()),
        "computed": pa.array([computed for *_, computed in labels], pa.bool_()),
    }
    for name, column in columns.items():
        made = made.append_column(name, column.take(at))
    return made
