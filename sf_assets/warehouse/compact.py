"""Makes the warehouse file smaller by copying it without free blocks.

DuckDB reuses free blocks, but only a copy returns them to the disk. When the file has grown by a
third, it is copied and the copy replaces it. So the file is at most a third larger than necessary,
and a copy costs no more than what was written since the last one. A file that only DuckDB 2 can
read, as older versions of sf_assets wrote it, is copied once, whatever its size.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import duckdb

from sf_assets.fault_injection import crash_point
from sf_assets.storage.files import sync_folder
from sf_assets.text import first_line
from sf_assets.warehouse.connection import DEFAULT_WAIT_SECONDS, locked
from sf_assets.warehouse.errors import WarehouseBusy
from sf_assets.warehouse.statements import STORAGE_VERSION, quoted

#: Files up to this size in bytes are left unchanged.
SMALL = 4 << 20
# The size at which a file is copied, as a multiple of its size after the last copy.
GROWTH = 4 / 3

# DuckDB's memory for a copy, in addition to the memory of the run.
MEMORY = "100MB"

_log = logging.getLogger("sf_assets.warehouse")


def compact(
    path: Path, wait_seconds: float = DEFAULT_WAIT_SECONDS, *, anyway: bool = False
) -> bool:
    """Copy the closed warehouse file into a smaller one if it has grown; True if it was copied.

    With `anyway` always, because free blocks keep removed data. A full disk or a tool that holds
    the file is logged, and the file stays unchanged until the next time.
    """
    try:
        with locked(path, wait_seconds):
            return compact_locked(path, anyway=anyway)
    except WarehouseBusy as error:
        _log.info("%s is not compacted now: %s", path, error)
        return False


def compact_locked(path: Path, *, anyway: bool = False) -> bool:
    """Compact the file, as `compact`. The caller holds its lock."""
    new = path.with_name(f"{path.name}.compacting")
    try:
        remove(new)  # left by a killed process
        try:
            return _replace(path, new, path.stat().st_size, anyway=anyway)
        finally:
            remove(new)
    except (duckdb.Error, OSError) as error:
        _log.warning("%s is not compacted now (%s)", path, first_line(error))
        return False


def _replace(path: Path, new: Path, size: int, *, anyway: bool) -> bool:
    if any(path.parent.glob(f"{path.name}.wal*")):
        return False  # not closed cleanly; the next run repairs it
    spill: dict[str, str | bool | int | float | list[str]] = {
        "temp_directory": f"{new}.tmp",
        "memory_limit": MEMORY,
        "threads": 1,
    }
    with duckdb.connect(":memory:", config=spill) as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(f"ATTACH {quoted(path)} AS old (READ_ONLY)")
        grown = size > SMALL and size > GROWTH * _size_when_last_copied(con)
        if not anyway and not grown and not _needs_newer_duckdb(con):
            return False
        if shutil.disk_usage(path.parent).free < size:
            raise OSError(f"a copy needs {size:,} free bytes")
        _copy(con, new)
        with new.open("r+b") as file:
            os.fsync(file.fileno())
        new.chmod(0o600)
        if os.name == "nt":
            con.execute("DETACH old")  # Windows cannot replace an open file
        crash_point("compacted")
        # The old file is open for reading until here, so that no tool can open it for writing.
        os.replace(new, path)
    sync_folder(path.parent)
    _log.info("%s: compacted to %s bytes from %s", path, f"{path.stat().st_size:,}", f"{size:,}")
    return True


def _copy(con: duckdb.DuckDBPyConnection, new: Path) -> None:
    """Copy `old` into a new file."""
    con.execute(f"ATTACH {quoted(new)} AS new (STORAGE_VERSION '{STORAGE_VERSION}')")
    con.execute("COPY FROM DATABASE old TO new")
    con.execute("CHECKPOINT new")
    con.execute("UPDATE new.internal.warehouse_format SET copied_size = ?", [new.stat().st_size])
    con.execute("CHECKPOINT new")
    con.execute("DETACH new")


def _needs_newer_duckdb(con: duckdb.DuckDBPyConnection) -> bool:
    """Whether a DuckDB of STORAGE_VERSION cannot read the file."""
    tags = "SELECT tags['storage_version'] FROM duckdb_databases() WHERE database_name = 'old'"
    found, ours = (
        [int(part) for part in str(text).strip("v+").split(".")]
        for text in (con.execute(tags).fetchall()[0][0], STORAGE_VERSION)
    )
    return found > ours


def _size_when_last_copied(con: duckdb.DuckDBPyConnection) -> int:
    sizes = con.execute("SELECT max(copied_size) FROM old.internal.warehouse_format").fetchall()
    return int(sizes[0][0] or 0)


def remove(file: Path) -> None:
    """Remove a DuckDB file with its WAL and its temporary files."""
    for left in file.parent.glob(f"{file.name}*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
