"""Profiles of accounts that left every list long ago become tombstones, in archive and tables.

What stays is the place of the account in each list, and the id by which lists tell it apart, so
that every claim stays what it is, also when it comes back. Since a row that changes changes all
later files of the archive, profiles go many at a time: with those that are due go those of the last
tenth of the period.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sf_assets.storage.home import Home
from sf_assets.storage.tombstone import Pseudonyms, pseudonyms_of
from sf_assets.warehouse.connection import committed
from sf_assets.warehouse.packing import Mask, Whole
from sf_assets.warehouse.rewrite import (
    KEPT_COLUMNS,
    Changed,
    ListOf,
    Rewritten,
    rewrite,
    tombstoned,
)
from sf_assets.warehouse.statements import put_table, run_sql, sql

_IDS = ("platform_user_id", "sec_uid", "account_handle")
_NO_PROFILE = {*KEPT_COLUMNS, *_IDS, "profile_digest"}


class Account(NamedTuple):
    """An account whose profile goes; `nameless` if its handle goes as well."""

    account_id: str
    sec_uid: str | None
    handles: list[str]
    nameless: bool

    @property
    def number(self) -> str:
        return self.account_id.removeprefix("id:")

    @property
    def sec_uids(self) -> set[str]:
        found = {self.sec_uid, self.account_id.removeprefix("sec:")}
        return {one for one in found if one} - {self.account_id}


def expire_profiles(home: Home, con: duckdb.DuckDBPyConnection, today: date, days: int) -> int:
    """Take out the profiles of accounts that left every list `days` days ago; returns how many.

    `con` is the warehouse, open for writing and derived. Killed in between, a later call goes on,
    after `finish_broken_off`. Raises ArchiveDamaged, OSError.
    """
    accounts = _expired(con, today, days)
    if not accounts:
        return 0
    pseudonyms = pseudonyms_of(home)
    strip_archive(home.archive, home.rewriting, accounts, pseudonyms)
    committed(con, "derive", lambda: _strip_tables(con, accounts, pseudonyms))
    return len(accounts)


def _expired(con: duckdb.DuckDBPyConnection, today: date, days: int) -> list[Account]:
    """Nobody where nothing is due yet."""
    due = today - timedelta(days=days)
    gone_since = due + timedelta(days=days // 10)
    rows = con.execute(sql("profiles_expired"), {"gone_since": gone_since}).fetchall()
    if not any(last_seen <= due for *_, last_seen in rows):
        return []
    accounts = [Account(*row) for *row, _ in rows]
    while True:
        # A handle that one of them keeps stays with all who bore it.
        kept = {handle for one in accounts if not one.nameless for handle in one.handles}
        named = [one.nameless and not kept.isdisjoint(one.handles) for one in accounts]
        if not any(named):
            return accounts
        accounts = [
            one._replace(nameless=one.nameless and not keeps)
            for one, keeps in zip(accounts, named, strict=True)
        ]


def strip_archive(
    archive: Path, staging: Path, accounts: Sequence[Account], pseudonyms: Pseudonyms
) -> Rewritten:
    """The same in the archive alone."""
    of_all, of_nameless = _Ids(accounts), _Ids(one for one in accounts if one.nameless)

    def change(rows: pa.Table, numbers: Whole, lists: Sequence[ListOf]) -> Changed | None:
        theirs = of_all.are_in(rows)
        if not theirs.any():
            return None
        handles = rows["account_handle"].to_pylist()
        renamed = {
            at: pseudonyms.of("handle", handles[at].lower())
            for at in np.flatnonzero(of_nameless.are_in(rows)).tolist()
            if handles[at]
        }
        new = [renamed.get(at, handle) for at, handle in enumerate(handles)]
        differs = np.array([old != now for old, now in zip(handles, new, strict=True)])
        for name in set(rows.column_names) - _NO_PROFILE:
            differs |= theirs & np.asarray(pc.is_valid(rows[name]))
        ids = {name: rows[name] for name in _IDS} | {"account_handle": pa.array(new, pa.string())}
        return Changed(tombstoned(rows, differs, ids), differs)

    return rewrite(archive, staging, change)


class _Ids:
    """The ids of accounts, for finding their rows: by a lesser id only where there is no other."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        some = list(accounts)
        self.numbers = pa.array([one.number for one in some], pa.string())
        self.sec_uids = pa.array([sec for one in some for sec in one.sec_uids], pa.string())
        self.handles = pa.array([name for one in some for name in one.handles], pa.string())

    def are_in(self, rows: pa.Table) -> Mask:
        number = pc.utf8_ltrim(pc.utf8_trim_whitespace(rows["platform_user_id"]), characters="0")
        has_number = _true(pc.match_substring_regex(number, "^[0-9]+$"))
        sec_uid = pc.utf8_trim_whitespace(rows["sec_uid"])
        has_sec_uid = _true(pc.not_equal(sec_uid, ""))
        by_sec_uid = _true(pc.is_in(sec_uid, self.sec_uids))
        by_handle = _true(pc.is_in(pc.utf8_lower(rows["account_handle"]), self.handles))
        lesser = np.where(has_sec_uid, by_sec_uid, by_handle)
        found: Mask = np.where(has_number, _true(pc.is_in(number, self.numbers)), lesser)
        return found


def _true(column: pa.ChunkedArray) -> Mask:
    found: Mask = np.asarray(pc.fill_null(column, False))
    return found


def _strip_tables(
    con: duckdb.DuckDBPyConnection, accounts: Sequence[Account], pseudonyms: Pseudonyms
) -> None:
    put_table(con, "expired", pa.table({"account_id": [one.account_id for one in accounts]}))
    names = [
        (one.account_id, handle, pseudonyms.of("handle", handle))
        for one in accounts if one.nameless for handle in one.handles
    ]  # fmt: skip
    columns = zip(*names, strict=True) if names else ([], [], [])
    kinds = ("account_id", "handle", "pseudonym")
    put_table(
        con,
        "pseudonyms",
        pa.table({name: pa.array(c, pa.string()) for name, c in zip(kinds, columns, strict=True)}),
    )
    run_sql(con, "expire_profiles")
