"""Recreates the warehouse from archive and landing. Buys nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import duckdb

from sf_assets.handles.parse import registry_in_force
from sf_assets.storage.address import Lake
from sf_assets.storage.home import Home
from sf_assets.storage.landings import landing_of
from sf_assets.storage.records import Landed, LandingDamaged
from sf_assets.warehouse.archive import SnapshotRow, readable
from sf_assets.warehouse.archive_reader import ArchiveDamaged
from sf_assets.warehouse.compact import compact_locked, remove
from sf_assets.warehouse.connection import DEFAULT_WAIT_SECONDS, committed, locked, writing
from sf_assets.warehouse.derive import derive, derive_within
from sf_assets.warehouse.handles import record_annotations, record_handles
from sf_assets.warehouse.ledger import (
    Paid,
    archived_attempts,
    paid_for,
    record_new_files,
    record_paid,
)
from sf_assets.warehouse.load import load, record
from sf_assets.warehouse.publish import publish
from sf_assets.warehouse.rewrite import finish
from sf_assets.warehouse.schema import TABLES
from sf_assets.warehouse.statements import transaction


@dataclass
class Rebuilt:
    """The number of replayed snapshots, the old file, and what could not be read."""

    snapshots: int = 0
    old: Path | None = None
    problems: list[str] = field(default_factory=list)


def rebuild(home: Home, wait_seconds: float = DEFAULT_WAIT_SECONDS) -> Rebuilt:
    """Replay all snapshots of the archive, then load what is landed and not archived, and publish.

    The old warehouse is moved aside when the new one is complete, so a killed rebuild changes
    nothing. Damaged landings are skipped and reported. Raises ArchiveDamaged and WarehouseBusy. A
    lake is emptied and filled in one transaction and keeps its old content as a version.
    """
    if home.lake is not None:
        return _rebuild_lake(home, home.lake)
    made = Rebuilt()
    new = home.warehouse.with_name("rebuilding.duckdb")
    connect = partial(writing, new, wait_seconds)
    # Locked to the end, so that nobody loads into the old file.
    with locked(home.warehouse, wait_seconds):
        finish(home.archive, home.rewriting)
        remove(new)  # left by a killed rebuild
        with connect() as con, transaction(con):
            rows, landings = _replay(con, home, made.problems)
        landing = landing_of(home)
        loaded, failures = load(connect, home.archive, landings, landing)
        made.problems += [f"{failure.key}: {failure.reason}" for failure in failures]
        with connect() as con:
            _record_handles(con, home)
            derive(con, home.archive)
        compact_locked(new)
        made.old = _swap(home.warehouse, new)
    publish(home, wait_seconds)
    made.snapshots = len(
        rows.keys() | {(row.relation, row.handle, row.snapshot_date) for row in loaded}
    )
    return made


def _rebuild_lake(home: Home, lake: Lake) -> Rebuilt:
    made = Rebuilt()
    with writing(lake) as con:

        def replay() -> tuple[dict[tuple[str, str, object], SnapshotRow], list[Landed]]:
            # No load may commit between the reading of the archive and this commit.
            con.execute("UPDATE internal.load_turn SET taken = taken + 1")
            made.problems.clear()
            for table in TABLES:
                con.execute(f"DELETE FROM {table}")
            rows, landings = _replay(con, home, made.problems)
            registry, _ = registry_in_force(home.registry, keep=False)
            record_handles(con, registry, datetime.now(timezone.utc).date())
            derive_within(con, home.archive)
            return rows, landings

        rows, landings = committed(con, "derive", replay)
        landing = landing_of(home)
        loaded, failures = load(lambda: nullcontext(con), home.archive, landings, landing)
        made.problems += [f"{failure.key}: {failure.reason}" for failure in failures]
        if loaded:
            derive(con, home.archive)
        _record_handles(con, home)
    made.snapshots = len(
        rows.keys() | {(row.relation, row.handle, row.snapshot_date) for row in loaded}
    )
    return made


def _record_handles(con: duckdb.DuckDBPyConnection, home: Home) -> None:
    registry, _ = registry_in_force(home.registry, keep=False)
    today = datetime.now(timezone.utc).date()
    committed(con, "derive", lambda: record_handles(con, registry, today))
    committed(con, "derive", lambda: record_annotations(con, home.annotations))


def _replay(
    con: duckdb.DuckDBPyConnection, home: Home, problems: list[str]
) -> tuple[dict[tuple[str, str, object], SnapshotRow], list[Landed]]:
    """Load snapshots and ledger of the archive; returns the rows, and landings to load."""
    rows = newest_rows(home.archive, problems)
    paid, landings = _landed(home, rows, problems)
    if rows:
        record(con, list(rows.values()))
    paid += archived_attempts(home.archive)
    record_paid(con, paid)
    record_new_files(con, home.archive, None)
    return rows, landings


def _swap(work: Path, new: Path) -> Path | None:
    """Replace `work` by `new`; returns the new path of the old file."""
    old = None
    if work.exists():
        stamp = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{time.time_ns() % 10**9:09d}"
        old = work.with_name(f"{work.name}.{stamp}.old")
        work.rename(old)
    for wal in work.parent.glob(f"{work.name}.wal*"):
        # DuckDB would replay it into the new file.
        aside = old or work.with_name(f"{work.name}.lost")
        wal.rename(aside.with_name(aside.name + wal.name.removeprefix(work.name)))
    os.replace(new, work)
    return old


def newest_rows(
    archive: Path, problems: list[str] | None = None
) -> dict[tuple[str, str, object], SnapshotRow]:
    """(relation, handle, day) -> the snapshot that counts. Raises ArchiveDamaged.

    Lists whose base is missing are left out and added to `problems`.
    """
    return newest_of(readable(archive, [] if problems is None else problems))


def newest_of(rows: Iterable[SnapshotRow]) -> dict[tuple[str, str, object], SnapshotRow]:
    """(relation, handle, day) -> the snapshot that counts among these."""
    newest: dict[tuple[str, str, object], SnapshotRow] = {}
    for row in rows:
        key = (row.relation, row.handle, row.snapshot_date)
        other = newest.get(key)
        if other is None or _rank(row) > _rank(other):
            newest[key] = row
    return newest


def _rank(row: SnapshotRow) -> tuple[int, int, str]:
    # A later attempt, or the same one with more pages, counts.
    return row.attempt, row.pages, row.archive_file


def _landed(
    home: Home, rows: dict[tuple[str, str, object], SnapshotRow], problems: list[str]
) -> tuple[list[Paid], list[Landed]]:
    """The costs of all landed lists, and the landed lists that are not archived yet."""
    landing = landing_of(home)
    paid: list[Paid] = []
    to_load: list[Landed] = []
    for day in landing.days():
        for key, landed in landing.read_each(landing.keys(day)):
            if isinstance(landed, LandingDamaged):
                problems.append(str(landed))
                continue
            if landed is None:
                continue
            paid += paid_for(key, landed.attempts)
            best = landed.to_load
            row = rows.get((key.relation, key.handle, key.day))
            if best and (row is None or (row.attempt, row.pages) < (best.number, best.pages)):
                to_load.append(landed)
    return paid, to_load


__all__ = ["ArchiveDamaged", "Rebuilt", "rebuild"]
