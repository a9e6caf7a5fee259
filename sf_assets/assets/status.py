"""`status_changes`: a profile that turned private, hidden, missing, or came back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import dagster as dg
import duckdb

SPECS = [
    dg.AssetSpec(
        "status_changes",
        deps=["follower_snapshots", "following_snapshots"],
        description=(
            "One row a change of a list's lookup status (found, hidden, private, not_found) "
            "between two snapshots. Each becomes an alert.\n\n"
            "```sql\nFROM status_changes ORDER BY changed_on DESC\n```"
        ),
        group_name="derived",
        kinds={"duckdb"},
        skippable=True,
    )
]


def describe(con: duckdb.DuckDBPyConnection, day: date) -> Mapping[str, dg.MetadataValue]:
    """The day's changes, and how many lists are not open on it."""
    changes = con.execute(
        "SELECT handle, relation, from_status, to_status FROM main.status_changes "
        "WHERE changed_on = ? ORDER BY handle, relation",
        [day],
    ).fetchall()
    closed = con.execute(
        "SELECT count(*) FROM internal.snapshots WHERE snapshot_date = ? "
        "AND lookup_status <> 'found'",
        [day],
    ).fetchall()[0][0]
    columns = ("handle", "relation", "from_status", "to_status")
    return {
        "changes": dg.MetadataValue.int(len(changes)),
        "lists_not_open": dg.MetadataValue.int(closed),
        "who": dg.MetadataValue.table(
            records=[dg.TableRecord(dict(zip(columns, row, strict=True))) for row in changes[:100]],
            schema=dg.TableSchema([dg.TableColumn(name) for name in columns]),
        ),
    }


DESCRIBE: dict[str, Callable[[duckdb.DuckDBPyConnection, date], Mapping[str, Any]]] = {
    "status_changes": describe
}
