"""Compresses raw pages when they are archived, and removes them some days later.

The cost of an attempt that is only in the landing goes into the ledger first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import date, timedelta

import duckdb

from sf_assets.model import SnapshotKey
from sf_assets.storage.home import Home
from sf_assets.storage.landing import Landing, drop_days_before
from sf_assets.storage.records import Landed, LandingDamaged
from sf_assets.warehouse.archive import SnapshotRow
from sf_assets.warehouse.archive_names import archive_files, name_of
from sf_assets.warehouse.connection import Connect, reading
from sf_assets.warehouse.ledger import Paid, load_ledger, paid_for, write_ledger
from sf_assets.warehouse.load import loaded_rows


def maintain_landing(
    home: Home, landing: Landing, today: date, raw_days: int, connect: Connect
) -> tuple[int, int]:
    """Compress the raw pages of archived lists, and remove those older than `raw_days` days.

    Returns the numbers of removed and of compressed lists. Raises OSError or DuckDB's errors if the
    ledger or a file cannot be written; no page is removed then.
    """
    dropped = _drop_old_pages(home, landing, today - timedelta(days=raw_days), today, connect)
    plain = [key for day in landing.days() for key in landing.not_packed(day)]
    packed = 0
    for row in _archived(home, plain):
        with suppress(LandingDamaged):  # kept unchanged; `verify` reports it
            packed += landing.pack(row.key, row.version)
    return dropped, packed


def _drop_old_pages(
    home: Home, landing: Landing, oldest: date, today: date, connect: Connect
) -> int:
    old = [key for day in landing.days() if day < oldest for key in landing.keys(day)]
    if not old:
        return 0
    archived = {row.key for row in _archived(home, old)}
    paid = _paid_only_here(landing, archived)
    if paid:
        write_ledger(home.archive, today, paid)
        load_ledger(connect, home.archive, today)
    return drop_days_before(landing, oldest, keep=set(old) - archived)


def _archived(home: Home, keys: Sequence[SnapshotKey]) -> list[SnapshotRow]:
    """The rows of these lists that are loaded and archived; empty if the tables are unreadable."""
    if not keys:
        return []
    try:
        with reading(home.readable) as con:
            names = {name_of(path) for path in archive_files(home.archive)}
            return [row for row in loaded_rows(con, keys) if row.archive_file in names]
    except (FileNotFoundError, duckdb.Error):
        return []


def _paid_only_here(landing: Landing, keys: Iterable[SnapshotKey]) -> list[Paid]:
    """Costs that only the landing has: of a refresh that was interrupted after the day was loaded
    and never continued."""
    return [
        paid
        for key, landed in landing.read_each(sorted(keys))
        if isinstance(landed, Landed) and landed.attempts and landed.attempts[-1].end is None
        for paid in paid_for(key, landed.attempts)
    ]
