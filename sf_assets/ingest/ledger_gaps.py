"""Finds what killed runs paid, for the ledger."""

from __future__ import annotations

from datetime import date

import duckdb

from sf_assets.model import SnapshotKey
from sf_assets.storage.home import Home
from sf_assets.storage.landing import Landing
from sf_assets.storage.records import Attempt, Landed
from sf_assets.warehouse.connection import reading
from sf_assets.warehouse.statements import sql


def left_behind(
    home: Home, landing: Landing, since: date, today: date
) -> dict[SnapshotKey, tuple[Attempt, ...]]:
    """The attempts from `since` on and before `today` that the ledger lacks.

    Skips the days before the last run that recorded its balances.
    """
    ended: dict[SnapshotKey, str] = {}
    recorded: dict[tuple[SnapshotKey, int], int] = {}
    try:
        with reading(home.readable) as con:
            ((since,),) = con.execute(sql("ledger_since"), [since, today]).fetchall()
            for relation, handle, day, at, attempts in con.execute(
                sql("ledger_noted"), {"first": since, "last": today}
            ).fetchall():
                key = SnapshotKey(day, handle, relation)
                if at is not None:
                    ended[key] = at
                recorded |= {(key, number): credits for number, credits in attempts or ()}
    except (FileNotFoundError, duckdb.Error):
        pass  # without the tables all attempts are recorded again, which changes nothing
    return {
        key: tuple(
            attempt
            for attempt in landed.attempts
            if attempt.spent > recorded.get((key, attempt.number), -1)
        )
        for day in landing.days()
        if since <= day < today
        for key, landed in landing.read_each(landing.unsettled(day, ended))
        if isinstance(landed, Landed)
    }
