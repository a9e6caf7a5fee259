"""The warehouse file without the room that rewriting leaves in it.

DuckDB uses free blocks again, and gives none back but by a copy. So once the file has grown by a
third, whatever grew it, it is copied and the copy takes its place: a file is at most so much larger
than it must be, and a copy costs no more than what was written since the last one. A file that only
DuckDB 2 reads, as older versions of ours made them with it, is copied once, whatever its size.
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

#: A file of up to so many bytes is left as it is.
SMALL = 4 << 20
# Of how many bytes a file may have for each one it had after its last copy.
GROWTH = 4 / 3

# What a copy holds in memory: it needs little, and comes beside what else a run holds.
MEMORY = "100MB"

_log = logging.getLogger("sf_assets.warehouse")


def compact(
    path: Path, wait_seconds: float = DEFAULT_WAIT_SECONDS, *, anyway: bool = False
) -> bool:
    """Copy the closed warehouse file into a smaller one if that is worth it, or `anyway`, for free
    blocks keep what was in them; True where it was copied.

    Never raises for what is in its way, a full disk or a tool that holds the file: that is logged,
    and the file stays as it is until the next time.
    """
    try:
        with locked(path, wait_seconds):
            return compact_locked(path, anyway=anyway)
    except WarehouseBusy as error:
        _log.info("%s is not made smaller now: %s", path, error)
        return False


def compact_locked(path: Path, *, anyway: bool = False) -> bool:
    """The same where the caller holds the lock, or nobody else knows of the file."""
    new = path.with_name(f"{path.name}.compacting")
    try:
        remove(new)  # of one that was killed
        try:
            return _replace(path, new, path.stat().st_size, anyway=anyway)
        finally:
            remove(new)
    except (duckdb.Error, OSError) as error:
        _log.warning("%s is not made smaller now (%s)", path, first_line(error))
        return False


def _replace(path: Path, new: Path, size: int, *, anyway: bool) -> bool:
    if any(path.parent.glob(f"{path.name}.wal*")):
        return False  # not closed cleanly: the next run mends it
    spill: dict[str, str | bool | int | float | list[str]] = {
        "temp_directory": f"{new}.tmp",
        "memory_limit": MEMORY,
        "threads": 1,
    }
    with duckdb.connect(":memory:", config=spill) as con:
        con.execute("SET TimeZone = 'UTC'")
        con.execute(f"ATTACH {quoted(path)} AS old (READ_ONLY)")
        grown = size > SMALL and size > GROWTH * _size_when_last_copied(con)
        if not anyway and not grown and not _is_for_newer_ones(con):
            return False
        if shutil.disk_usage(path.parent).free < size:
            raise OSError(f"a copy needs {size:,} bytes of room")
        _copy(con, new)
        with new.open("r+b") as file:
            os.fsync(file.fileno())
        new.chmod(0o600)
        if os.name == "nt":
            con.execute("DETACH old")  # what is open cannot be replaced there
        crash_point("compacted")
        # Open to the end for reading, so that no tool can have begun to write into the old one.
        os.replace(new, path)
    sync_folder(path.parent)
    _log.info("%s: %s bytes instead of %s", path, f"{path.stat().st_size:,}", f"{size:,}")
    return True


def _copy(con: duckdb.DuckDBPyConnection, new: Path) -> None:
    """All that is in `old` into a new file."""
    con.execute(f"ATTACH {quoted(new)} AS new (STORAGE_VERSION '{STORAGE_VERSION}')")
    con.execute("COPY FROM DATABASE old TO new")
    con.execute("CHECKPOINT new")
    con.execute("UPDATE new.internal.warehouse_format SET copied_size = ?", [new.stat().st_size])
    con.execute("CHECKPOINT new")
    con.execute("DETACH new")


def _is_for_newer_ones(con: duckdb.DuckDBPyConnection) -> bool:
    """True where the file is of a form that a DuckDB of STORAGE_VERSION does not read."""
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
    """Remove a file of DuckDB's with what DuckDB makes beside it: its WAL, and what it spills."""
    for left in file.parent.glob(f"{file.name}*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
