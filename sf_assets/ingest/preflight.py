"""Checks before buying: finds what would prevent a load before pages are paid for.

A warehouse that another process holds is fine: the load waits, and the pages are kept.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from pathlib import Path

import duckdb

from sf_assets.errors import SettingsError
from sf_assets.storage.home import Home
from sf_assets.storage.object_store import Store, is_remote, put_bytes
from sf_assets.storage.sizes import page_size
from sf_assets.text import first_line
from sf_assets.warehouse.archive import refuse_newer
from sf_assets.warehouse.connection import writing
from sf_assets.warehouse.errors import WarehouseBusy, WarehouseUnreadable, WarehouseUnwritable
from sf_assets.warehouse.schema import LOADED, fingerprint

# Disk space for a page, landed, archived and loaded, with a margin: if no page was landed yet, and
# as a multiple of the size of earlier pages.
PAGE_BYTES = 50_000
TIMES = 2
# Additional space for Dagster's events and the log of a transaction.
SPARE_BYTES = 32 << 20
PROBE = bytes(64 << 10)


def look(home: Home, pages: int) -> None:
    """Check that about `pages` pages can be landed, archived and loaded.

    Upgrades a warehouse of an older version. Raises SettingsError for a folder that cannot be
    written, WarehouseUnwritable if the disk is too full, WarehouseUnreadable for a warehouse that
    is damaged, missing or of a newer format, and ArchiveTooNew.
    """
    folders = [home.landing, home.archive]
    folders += [home.warehouse.parent] if home.lake is None else []
    for folder in folders:
        _write_something(folder)
    needed = round(pages * TIMES * (page_size(home) or PAGE_BYTES / TIMES))
    here = [folder for folder in folders if not is_remote(folder)]
    # With a lake elsewhere, the home keeps only Dagster's events.
    _find_room(home.root, (needed if here else 0) + SPARE_BYTES)
    for folder in here:
        _find_room(folder, needed)
    refuse_newer(home.archive)
    _open_warehouse(home)


def _write_something(folder: Path) -> None:
    try:
        if is_remote(folder):
            probe = folder / f".probe-{uuid.uuid4().hex}"
            put_bytes(b"", probe)
            Store(folder).rm([probe.path])  # type: ignore[attr-defined]
            return
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(PROBE)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise SettingsError(
            f"cannot write to {folder} ({first_line(error)}); fix the permission or free some "
            "space, then run the day again"
        ) from None


def _find_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise WarehouseUnwritable(
            f"{folder} has {free / 1e6:,.0f} MB of free space and the day needs about "
            f"{needed / 1e6:,.0f} MB; free some space, then run the day again"
        )


def _open_warehouse(home: Home) -> None:
    if home.lake is None and not home.warehouse.exists() and not home.published.is_symlink():
        return  # the first day creates it
    try:
        with writing(home.writable, wait_seconds=0) as con:
            if home.lake is None:
                for table in LOADED:
                    fingerprint(con, table, table)
    except WarehouseBusy:
        return
    except (OSError, duckdb.Error) as error:
        raise WarehouseUnreadable(
            f"{home.writable} cannot be opened for writing ({first_line(error)})"
        ) from None
