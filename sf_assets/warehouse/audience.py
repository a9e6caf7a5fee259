"""Counts the traits of listed accounts on each day, once, from the archive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa

from sf_assets.warehouse.archive_reader import ArchiveReader, Wanted, show_lists
from sf_assets.warehouse.statements import Rows, put_table, run_sql, sql

# Accounts to read at once.
ACCOUNTS_AT_A_TIME = 1_000_000


def count_profiles(con: duckdb.DuckDBPyConnection, rows: Rows, archive: ArchiveReader) -> None:
    """Count the profiles of lists that are compared and not counted yet, and store the profiles of
    accounts that came or left. Runs in the caller's transaction; skips lists without a file.
    """
    for group in _groups(con.execute(sql("profiles_waiting")).fetchall(), archive):
        lists = [
            {
                "relation": one.relation,
                "handle": one.handle,
                "snapshot_date": one.day,
                "attempt": one.attempt,
                "path": str(archive.archive / one.file),
                "counted": counted,
            }
            for one, counted in group
        ]
        put_table(con, "to_count", pa.Table.from_pylist(lists))
        show_lists(con, rows, archive, "profiles_archived", [wanted for wanted, _ in group])
        rows.query("profiles_shown", "profiles_shown")
        run_sql(con, "profiles_count")
        rows.empty()


def _groups(lists: list[Any], archive: ArchiveReader) -> Iterator[list[tuple[Wanted, bool]]]:
    """The lists, and whether each is counted itself, in groups that fit into memory."""
    has_file: dict[str, bool] = {}
    group: list[tuple[Wanted, bool]] = []
    accounts = 0
    for archive_file, relation, handle, day, attempt, listed, counted in lists:
        if archive_file not in has_file:
            has_file[archive_file] = archive.has(archive_file)
        if not has_file[archive_file]:
            continue
        if group and accounts + listed > ACCOUNTS_AT_A_TIME:
            yield group
            group, accounts = [], 0
        group.append((Wanted(archive_file, relation, handle, day, attempt), counted))
        accounts += listed
    if group:
        yield group
