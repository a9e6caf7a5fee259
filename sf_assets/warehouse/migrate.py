"""Moves a home to a lake and back: copies and compares everything, removes nothing.

Archive, landing, registry and delivered alerts are first, and the tables last, in one transaction.
An interrupted move leaves a target without tables, which the next one fills.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from sf_assets.errors import SettingsError, SfAssetsError
from sf_assets.storage.address import Lake
from sf_assets.storage.files import read_text
from sf_assets.storage.home import DOCUMENTS, LOGS, Home
from sf_assets.storage.jsonl import lines
from sf_assets.storage.landings import landing_of
from sf_assets.storage.object_store import is_remote, names_below
from sf_assets.storage.shared import Shared
from sf_assets.text import counted
from sf_assets.warehouse.compact import compact
from sf_assets.warehouse.connection import locked, reading, writing
from sf_assets.warehouse.schema import TABLES, WAREHOUSE_FORMAT, fingerprint
from sf_assets.warehouse.statements import quoted, transaction

OLD = "moved_from"


class MoveFailed(SfAssetsError):
    """A copy differs from its source. The old home is unchanged."""


@dataclass
class Moved:
    """What was copied: rows by table, archive files, landed lists."""

    rows: dict[str, int] = field(default_factory=dict)
    archive_files: int = 0
    landed_lists: int = 0


def migrate(source: Home, target: Home, tell: Callable[[str], None] = lambda _: None) -> Moved:
    """Copy a home to another one without tables. `source` is only read.

    Calls `tell` with progress lines. Raises SettingsError if there is nothing to move or the target
    is in use, and MoveFailed if a copy differs.
    """
    _refuse(source, target)
    moved = Moved()
    # No loads meanwhile: a file is locked, and of a lake one version is copied.
    with nullcontext() if source.lake else locked(source.warehouse):
        moved.archive_files = _copy_archive(source, target)
        tell(f"archive: {counted(moved.archive_files, 'file')}, checksums equal")
        moved.landed_lists = _copy_landing(source, target)
        tell(f"landing: {counted(moved.landed_lists, 'list')}")
        _copy_small_files(source, target)
        moved.rows = _copy_tables(source, target, tell)
    if target.lake is None:
        compact(target.warehouse)
    return moved


def _refuse(source: Home, target: Home) -> None:
    if source.writable == target.writable:
        raise SettingsError(f"migrate: the tables are already in {target.writable}")
    if source.lake is None and not source.warehouse.exists():
        raise SettingsError(
            f"migrate: {source.warehouse} does not exist, so there is nothing to move"
        )
    try:
        if source.lake is not None:
            with reading(source.lake):
                pass
    except FileNotFoundError:
        raise SettingsError(
            f"migrate: {source.lake} does not exist, so there is nothing to move"
        ) from None
    if target.lake is None and target.warehouse.exists():
        raise SettingsError(
            f"migrate: {target.warehouse} already exists; choose another folder with --home"
        )
    try:
        if target.lake is not None:
            with reading(target.lake) as con:
                if con.execute("SELECT count(*) FROM internal.snapshots").fetchall()[0][0]:
                    raise SettingsError(f"migrate: {target.lake} already has snapshots")
    except (FileNotFoundError, duckdb.CatalogException):
        return


def _copy_archive(source: Home, target: Home) -> int:
    if str(source.archive) == str(target.archive):
        return 0
    names = sorted(names_below(source.archive, "day=*/*.parquet"))
    for name in names:
        body = (source.archive / name).read_bytes()
        copy = target.archive / name
        _write(copy, body)
        if hashlib.sha256(copy.read_bytes()).digest() != hashlib.sha256(body).digest():
            raise MoveFailed(f"{copy} differs from {source.archive / name}; run migrate again")
    return len(names)


def _copy_landing(source: Home, target: Home) -> int:
    if str(source.landing) == str(target.landing):
        return 0
    from tempfile import TemporaryDirectory

    of, to = landing_of(source), landing_of(target)
    copied = 0
    with TemporaryDirectory() as scratch:
        for day in of.days():
            for key in of.keys(day):
                landed = of.read(key)
                if landed is None:
                    continue
                file = landed.on_disk(Path(scratch))
                # Without an incomplete last line.
                _write(to.path(key), file.read_bytes()[: landed.sound_bytes])
                if file.parent == Path(scratch):
                    file.unlink()
                copy = to.read(key)
                if copy is None or copy.attempts != landed.attempts:
                    raise MoveFailed(
                        f"{to.path(key)} differs from {landed.path}; run migrate again"
                    )
                copied += 1
    return copied


def _copy_small_files(source: Home, target: Home) -> None:
    for name in DOCUMENTS:
        path, copy = source.document(name), target.document(name)
        if str(path) != str(copy):
            with suppress(FileNotFoundError):
                _write(copy, read_text(path).encode())
    for name in LOGS:
        log, to = source.log(name), target.log(name)
        if log != to:
            entries = list(lines(log))
            if isinstance(to, Shared):
                to.replace([json.dumps(entry) for entry in entries])
            elif entries:
                _write(to, "".join(f"{json.dumps(entry)}\n" for entry in entries).encode())


def _write(path: Path, body: bytes) -> None:
    if is_remote(path):
        path.write_bytes(body)
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{path.name}.moving")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _copy_tables(source: Home, target: Home, tell: Callable[[str], None]) -> dict[str, int]:
    rows = {}
    with writing(target.writable) as con, _attached(con, source.writable):
        made_as = con.execute(f"SELECT max(format) FROM {OLD}.internal.warehouse_format").fetchall()
        if made_as[0][0] != WAREHOUSE_FORMAT:
            raise SettingsError(
                f"migrate: {source.writable} has format {made_as[0][0]} and this sf_assets writes "
                f"{WAREHOUSE_FORMAT}; run a snapshot with it first"
            )
        with transaction(con):
            for table in TABLES:
                con.execute(f"INSERT INTO {table} BY NAME SELECT * FROM {OLD}.{table}")
        for table in TABLES:
            there, here = (fingerprint(con, name, table) for name in (f"{OLD}.{table}", table))
            if there != here:
                # Otherwise the next attempt would find a target in use.
                with transaction(con):
                    for one in TABLES:
                        con.execute(f"DELETE FROM {one}")
                raise MoveFailed(
                    f"{table} differs: {counted(here[0], 'row')} in {target.writable}, {there[0]} "
                    f"in {source.writable}; the copy was emptied again"
                )
            rows[table] = here[0]
            tell(f"{table}: {counted(here[0], 'row')}, checksums equal")
    return rows


@contextmanager
def _attached(con: duckdb.DuckDBPyConnection, where: Path | Lake) -> Iterator[None]:
    from sf_assets.warehouse.lake import attach_to

    if isinstance(where, Lake):
        attach_to(con, where, OLD, read_only=True)
    else:
        con.execute(f"ATTACH {quoted(where)} AS {OLD} (READ_ONLY)")
    try:
        yield
    finally:
        con.execute(f"DETACH {OLD}")
