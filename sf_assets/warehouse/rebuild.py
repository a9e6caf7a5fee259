"""The warehouse anew, from archive and landing; nothing is bought."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sf_assets.home import Home
from sf_assets.landing import Landed, LandingDamaged
from sf_assets.landing_objects import landing_at
from sf_assets.places import Lake
from sf_assets.warehouse.archive import ArchiveDamaged, SnapshotRow, read_archive
from sf_assets.warehouse.connection import (
    DEFAULT_WAIT_SECONDS,
    TABLES,
    committed,
    locked,
    transaction,
    writing,
)
from sf_assets.warehouse.derive import derive, derive_within
from sf_assets.warehouse.load import load, record
from sf_assets.warehouse.publish import publish


@dataclass
class Rebuilt:
    """How many snapshots were replayed, where the old file is, and what could not be read."""

    snapshots: int = 0
    old: Path | None = None
    problems: list[str] = field(default_factory=list)


def rebuild(home: Home, wait_seconds: float = DEFAULT_WAIT_SECONDS) -> Rebuilt:
    """Replay all snapshots of the archive, then what is landed and not archived, and publish.

    The old warehouse is moved aside, not deleted, and only when the new one is whole: a rebuild
    that is killed changes nothing. Damaged landings are left out and named. Raises ArchiveDamaged,
    WarehouseBusy while another process writes. A lake is emptied and filled in one transaction;
    what it held before stays one of its versions.
    """
    if home.lake is not None:
        return _rebuild_lake(home, home.lake)
    made = Rebuilt()
    new = home.warehouse.with_name("rebuilding.duckdb")
    connect = partial(writing, new, wait_seconds)
    # Held to the end, so that nobody loads into a file that is about to be moved aside.
    with locked(home.warehouse, wait_seconds):
        for left in new.parent.glob(f"{new.name}*"):
            left.unlink()  # of a rebuild that was killed
        rows = _newest(home.archive)
        with connect() as con, transaction(con):
            if rows:
                record(con, list(rows.values()))
        landings = _not_archived(home, rows, made.problems)
        loaded, failures = load(connect, home.archive, landings)
        made.problems += [f"{failure.key}: {failure.reason}" for failure in failures]
        with connect() as con:
            derive(con, home.archive)
        made.old = _swap(home.warehouse, new)
    publish(home, wait_seconds)
    made.snapshots = len(
        rows.keys() | {(row.relation, row.handle, row.snapshot_date) for row in loaded}
    )
    return made


def _rebuild_lake(home: Home, lake: Lake) -> Rebuilt:
    made = Rebuilt()
    with writing(lake) as con:

        def replay() -> dict[tuple[str, str, object], SnapshotRow]:
            # Nobody's load may come between the reading of the archive and the commit.
            con.execute("UPDATE internal.load_turn SET taken = taken + 1")
            for table in TABLES:
                con.execute(f"DELETE FROM {table}")
            rows = _newest(home.archive)
            if rows:
                record(con, list(rows.values()))
            derive_within(con, home.archive)
            return rows

        rows = committed(con, "derive", replay)
        landings = _not_archived(home, rows, made.problems)
        loaded, failures = load(lambda: nullcontext(con), home.archive, landings)
        made.problems += [f"{failure.key}: {failure.reason}" for failure in failures]
        if loaded:
            derive(con, home.archive)
    made.snapshots = len(
        rows.keys() | {(row.relation, row.handle, row.snapshot_date) for row in loaded}
    )
    return made


def _swap(work: Path, new: Path) -> Path | None:
    """Put `new` in the place of `work`; returns where the old file is now."""
    old = None
    if work.exists():
        stamp = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{time.time_ns() % 10**9:09d}"
        old = work.with_name(f"{work.name}.{stamp}.old")
        work.rename(old)
    for wal in work.parent.glob(f"{work.name}.wal*"):
        # Replayed into another file it would do harm.
        aside = old or work.with_name(f"{work.name}.lost")
        wal.rename(aside.with_name(aside.name + wal.name.removeprefix(work.name)))
    os.replace(new, work)
    return old


def _newest(archive: Path) -> dict[tuple[str, str, object], SnapshotRow]:
    newest: dict[tuple[str, str, object], SnapshotRow] = {}
    for row in read_archive(archive):
        key = (row.relation, row.handle, row.snapshot_date)
        known = newest.get(key)
        if known is None or _rank(row) > _rank(known):
            newest[key] = row
    return newest


def _rank(row: SnapshotRow) -> tuple[int, int, str]:
    # A later attempt, or the same one read further, stands for the day.
    return row.attempt, row.pages, row.archive_file


def _not_archived(
    home: Home, rows: dict[tuple[str, str, object], SnapshotRow], problems: list[str]
) -> list[Landed]:
    landing = landing_at(home.landing)
    found = []
    for day in landing.days():
        for key in landing.keys(day):
            try:
                landed = landing.read(key)
            except LandingDamaged as error:
                problems.append(str(error))
                continue
            best = landed.to_load if landed else None
            if landed is None or best is None:
                continue
            row = rows.get((key.relation, key.handle, key.day))
            if row is None or (row.attempt, row.pages) < (best.number, best.pages):
                found.append(landed)
    return found


__all__ = ["ArchiveDamaged", "Rebuilt", "rebuild"]
