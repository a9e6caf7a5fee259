"""What the profiles of listed accounts said on the day: counted once, from the archive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from sf_assets.storage.object_store import pattern_of
from sf_assets.warehouse.statements import put_table, run_sql, sql

# Accounts that are read at a time.
ACCOUNTS_AT_A_TIME = 1_000_000


def count_profiles(con: duckdb.DuckDBPyConnection, archive: Path) -> None:
    """Count the profiles of lists that are compared and not counted yet, and keep those of accounts
    that came or left; in the transaction of the caller. Lists whose file is gone are left out.
    """
    for lists in _groups(con.execute(sql("profiles_waiting")).fetchall(), archive):
        names = ("relation", "handle", "snapshot_date", "attempt", "counted", "path")
        columns = zip(*lists, strict=True)
        put_table(con, "to_count", pa.table(dict(zip(names, columns, strict=True))))
        files = sorted({pattern_of(one[-1]) for one in lists})
        con.execute("SET VARIABLE profile_files = ?", [files])
        run_sql(con, "profiles_count")


def _groups(rows: list[Any], archive: Path) -> Iterator[list[tuple[Any, ...]]]:
    """The lists, some files at a time: (relation, handle, day, attempt, counted, path)."""
    there: dict[str, bool] = {}
    group: list[tuple[Any, ...]] = []
    accounts = 0
    for archive_file, relation, handle, day, attempt, listed, counted in rows:
        path = archive / archive_file
        if not there.setdefault(archive_file, path.exists()):
            continue
        if group and accounts + listed > ACCOUNTS_AT_A_TIME:
            yield group
            group, accounts = [], 0
        group.append((relation, handle, day, attempt, counted, str(path)))
        accounts += listed
    if group:
        yield group
