"""Replaces profiles of accounts that left every list long ago with tombstones.

The position of the account in each list and the id that distinguishes it stay, so that no claim
changes, even if the account comes back. A changed row changes all later files of the archive, so
profiles expire in batches: together with due profiles go those of the last tenth of the period.
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
from sf_assets.warehouse.connection import StillHeld, always_held, committed
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
    """An account whose profile expires; `nameless` if its handle expires too."""

    account_id: str
    sec_uid: str | None
    handles: list[str]
    nameless: bool

    @property
    def number(self) -> str:
        """The account's number, or its `account_id` if it has none."""
        return self.account_id.removeprefix("id:")

    @property
    def sec_uids(self) -> set[str]:
        """The account's secUid, if it has one."""
        ids = {self.sec_uid, self.account_id.removeprefix("sec:")}
        return {sec_uid for sec_uid in ids if sec_uid} - {self.account_id}


def expire_profiles(
    home: Home,
    con: duckdb.DuckDBPyConnection,
    today: date,
    days: int,
    still_held: StillHeld = always_held,
) -> int:
    """Remove the profiles of accounts that left every list `days` days ago. Returns how many.

    `con` is the warehouse, open for writing and derived; for `still_held` see `rewrite`. If it is
    killed, a later call continues after `finish_broken_off`. Raises ArchiveDamaged, OSError.
    """
    accounts = _expired(con, today, days)
    if not accounts:
        return 0
    pseudonyms = pseudonyms_of(home)
    strip_archive(home.archive, home.rewriting, accounts, pseudonyms, still_held)
    committed(con, "derive", lambda: _strip_tables(con, accounts, pseudonyms))
    return len(accounts)


def _expired(con: duckdb.DuckDBPyConnection, today: date, days: int) -> list[Account]:
    """The accounts to expire now; none if no profile is due."""
    due = today - timedelta(days=days)
    gone_since = due + timedelta(days=days // 10)
    rows = con.execute(sql("profiles_expired"), {"gone_since": gone_since}).fetchall()
    if not any(last_seen <= due for *_, last_seen in rows):
        return []
    accounts = [Account(*row) for *row, _ in rows]
    while True:
        # A handle that one account keeps stays with all accounts that had it.
        kept = {handle for each in accounts if not each.nameless for handle in each.handles}
        named = [each.nameless and not kept.isdisjoint(each.handles) for each in accounts]
        if not any(named):
            return accounts
        accounts = [
            account._replace(nameless=account.nameless and not keeps)
            for account, keeps in zip(accounts, named, strict=True)
        ]


def strip_archive(
    archive: Path,
    staging: Path,
    accounts: Sequence[Account],
    pseudonyms: Pseudonyms,
    still_held: StillHeld = always_held,
) -> Rewritten:
    """Remove the profiles of these accounts from the archive only, see `rewrite`."""
    of_all, of_nameless = _Ids(accounts), _Ids(account for account in accounts if account.nameless)

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

    return rewrite(archive, staging, change, still_held=still_held)


class _Ids:
    """The ids of accounts, to find their rows: by a weaker id only if a row has no stronger one."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        some = list(accounts)
        self.numbers = pa.array([each.number for each in some], pa.string())
        self.sec_uids = pa.array([sec for each in some for sec in each.sec_uids], pa.string())
        self.handles = pa.array([name for each in some for name in each.handles], pa.string())

    def are_in(self, rows: pa.Table) -> Mask:
        """Which rows belong to one of these accounts."""
        number = pc.utf8_ltrim(pc.utf8_trim_whitespace(rows["platform_user_id"]), characters="0")
        has_number = _true(pc.match_substring_regex(number, "^[0-9]+$"))
        sec_uid = pc.utf8_trim_whitespace(rows["sec_uid"])
        has_sec_uid = _true(pc.not_equal(sec_uid, ""))
        by_sec_uid = _true(pc.is_in(sec_uid, self.sec_uids))
        by_handle = _true(pc.is_in(pc.utf8_lower(rows["account_handle"]), self.handles))
        weaker = np.where(has_sec_uid, by_sec_uid, by_handle)
        mask: Mask = np.where(has_number, _true(pc.is_in(number, self.numbers)), weaker)
        return mask


def _true(column: pa.ChunkedArray) -> Mask:
    mask: Mask = np.asarray(pc.fill_null(column, False))
    return mask


def _strip_tables(
    con: duckdb.DuckDBPyConnection, accounts: Sequence[Account], pseudonyms: Pseudonyms
) -> None:
    put_table(con, "expired", pa.table({"account_id": [each.account_id for each in accounts]}))
    names = [
        (each.account_id, handle, pseudonyms.of("handle", handle))
        for each in accounts if each.nameless for handle in each.handles
    ]  # fmt: skip
    columns = zip(*names, strict=True) if names else ([], [], [])
    kinds = ("account_id", "handle", "pseudonym")
    put_table(
        con,
        "pseudonyms",
        pa.table({name: pa.array(c, pa.string()) for name, c in zip(kinds, columns, strict=True)}),
    )
    run_sql(con, "expire_profiles")
