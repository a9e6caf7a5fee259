"""Homes made without Dagster and without HTTP, in a second: landed, loaded, derived, published."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pyarrow as pa

from sf_assets.handles.parse import read_registry
from sf_assets.model import RELATIONS
from sf_assets.storage.home import HOME_FORMAT, Home
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets.warehouse.compact import compact
from sf_assets.warehouse.connection import writing
from sf_assets.warehouse.derive import derive
from sf_assets.warehouse.handles import record_handles
from sf_assets.warehouse.load import load
from sf_assets.warehouse.publish import publish
from sf_assets_tests.lists import Told


def add_day(home: Home, day: int) -> None:
    """One more day of both lists of `nova`: somebody comes, somebody leaves."""
    accounts = (9 + day, *range(9, day, -1))
    landing = DiskLanding(home.landing)
    landed = [
        Told(day, "nova", accounts, relation=relation).land(landing) for relation in RELATIONS
    ]
    rows, failures = load(lambda: writing(home.warehouse), home.archive, landed)
    assert (len(rows), failures) == (2, [])
    with writing(home.warehouse) as con:
        record_handles(con, read_registry(home.registry), date(2026, 11, day))
        derive(con, home.archive)
    compact(home.warehouse)
    publish(home)


def fill(root: Path, days: int = 2) -> Home:
    """A home with so many days in it."""
    root.mkdir(parents=True, mode=0o700)
    home = Home(root)
    home.marker.write_text(json.dumps({"format": HOME_FORMAT, "start_date": "2026-11-01"}))
    home.registry.write_text("handles: [nova]\n")
    for day in range(1, days + 1):
        add_day(home, day)
    return home


def made_plain(path: Path) -> Path:
    """A landed list as a plain file again, as it was before it was archived."""
    packed = path.with_name(path.name + ".zst")
    path.write_bytes(uncompressed(packed))
    packed.unlink()
    return path


def uncompressed(path: Path) -> bytes:
    """What a compressed file holds."""
    with pa.OSFile(str(path)) as file, pa.CompressedInputStream(file, "zstd") as lines:
        return bytes(lines.read())
