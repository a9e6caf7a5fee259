"""`follower_growth`: totals, gains, losses and averages of each handle on each day."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import dagster as dg
import duckdb

SPECS = [
    dg.AssetSpec(
        "follower_growth",
        deps=["follower_snapshots", "following_snapshots", "follower_churn"],
        description=(
            "One row a handle and day: the totals, how they changed, what of it the lists explain "
            "and what they do not.\n\n"
            "```sql\nFROM follower_growth WHERE handle = 'nasa' ORDER BY snapshot_date\n```"
        ),
        group_name="derived",
        kinds={"duckdb"},
        skippable=True,
    )
]


def describe(con: duckdb.DuckDBPyConnection, day: date) -> Mapping[str, dg.MetadataValue]:
    """The day's rows as a table, at most 100, and their sums."""
    handles, net, gained, lost = con.execute(
        "SELECT count(*), sum(followers_net), sum(followers_gained), sum(followers_lost) "
        "FROM main.follower_growth WHERE snapshot_date = ?",
        [day],
    ).fetchall()[0]
    columns = (
        "handle",
        "followers_total",
        "followers_net",
        "followers_gained",
        "followers_lost",
        "followers_unknown",
        "completeness",
    )
    rows = con.execute(
        "SELECT handle, followers_total, followers_net, followers_gained, followers_lost, "
        "followers_unknown, completeness FROM main.follower_growth WHERE snapshot_date = ? "
        "ORDER BY abs(followers_net) DESC NULLS LAST, handle LIMIT 100",
        [day],
    ).fetchall()
    return {
        "handles": dg.MetadataValue.int(handles),
        "net": dg.MetadataValue.int(int(net or 0)),
        "gained": dg.MetadataValue.int(int(gained or 0)),
        "lost": dg.MetadataValue.int(int(lost or 0)),
        "by_handle": dg.MetadataValue.table(
            records=[dg.TableRecord(dict(zip(columns, row, strict=True))) for row in rows],
            schema=dg.TableSchema(
                [
                    dg.TableColumn(name, "string" if name in ("handle", "completeness") else "int")
                    for name in columns
                ]
            ),
        ),
    }


DESCRIBE: dict[str, Callable[[duckdb.DuckDBPyConnection, date], Mapping[str, Any]]] = {
    "follower_growth": describe
}
