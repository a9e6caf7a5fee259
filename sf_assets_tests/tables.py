"""All rows of a published file, to hold two homes against each other."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import duckdb

Tables = dict[str, list[tuple[Any, ...]]]

# Depends on how a file came about, not on what is in it.
OF_THE_FILE = frozenset({"copied_size", "published_at"})
# What differs between two runs of the same day, however equal they are.
OF_THE_RUN = OF_THE_FILE | {"run_id", "started_at", "finished_at", "archive_file", "seconds"}
TABLES_OF_THE_RUN = frozenset({"main.credit_balances", "internal.ledger_files"})


def published_tables(
    published: Path,
    *,
    without: Collection[str] = OF_THE_RUN,
    without_tables: Collection[str] = TABLES_OF_THE_RUN,
) -> Tables:
    """All rows of all tables and views, sorted, but for some columns and tables."""
    con = duckdb.connect(str(published.resolve()), read_only=True)
    try:
        columns: dict[str, list[str]] = {}
        for schema, name, column in con.execute(
            "SELECT table_schema, table_name, column_name FROM information_schema.columns "
            "WHERE table_schema IN ('main', 'internal') ORDER BY ALL"
        ).fetchall():
            if column not in without and f"{schema}.{name}" not in without_tables:
                columns.setdefault(f"{schema}.{name}", []).append(f'"{column}"')
        return {
            name: sorted(con.execute(f"SELECT {', '.join(own)} FROM {name}").fetchall(), key=repr)
            for name, own in columns.items()
        }
    finally:
        con.close()
