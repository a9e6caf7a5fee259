"""Raw pages go when their day is long archived, and what only they know of its cost is kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta

import duckdb

from sf_assets.model import SnapshotKey
from sf_assets.storage.home import Home
from sf_assets.storage.landing import Landing, drop_days_before
from sf_assets.storage.records import Landed
from sf_assets.warehouse.archive_names import archive_files, name_of
from sf_assets.warehouse.connection import Connect, reading
from sf_assets.warehouse.ledger import Paid, load_ledger, paid_for, write_ledger
from sf_assets.warehouse.load import loaded_rows

# How long raw pages stay after their day is archived.
LANDING_DAYS = 30


def drop_old_pages(home: Home, landing: Landing, today: date, connect: Connect) -> int:
    """Drop the raw pages of archived lists older than LANDING_DAYS; returns of how many lists.

    Raises where the ledger cannot be kept; all pages stay then.
    """
    oldest = today - timedelta(days=LANDING_DAYS)
    old = [key for day in landing.days() if day < oldest for key in landing.keys(day)]
    if not old:
        return 0
    archived = _archived(home, old)
    paid = _paid_only_here(landing, archived)
    if paid:
        write_ledger(home.archive, today, paid)
        load_ledger(connect, home.archive, today)
    return drop_days_before(landing, oldest, keep=set(old) - archived)


def _archived(home: Home, keys: Sequence[SnapshotKey]) -> set[SnapshotKey]:
    """Those that are loaded and archived; none where that cannot be told."""
    try:
        with reading(home.readable) as con:
            there = {name_of(path) for path in archive_files(home.archive)}
            return {row.key for row in loaded_rows(con, keys) if row.archive_file in there}
    except (FileNotFoundError, duckdb.Error):
        return set()


def _paid_only_here(landing: Landing, keys: Iterable[SnapshotKey]) -> list[Paid]:
    """What only the landing of these lists knows: a refresh that broke off after the day was
    loaded, and was never gone on with."""
    return [
        one
        for key, landed in landing.read_each(sorted(keys))
        if isinstance(landed, Landed) and landed.attempts and landed.attempts[-1].end is None
        for one in paid_for(key, landed.attempts)
    ]
