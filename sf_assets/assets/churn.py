"""`follower_churn` and `following_churn`: who came and who left, where it can be proved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from typing import Any

import dagster as dg
import duckdb

from sf_assets.assets.snapshots import ASSET_OF
from sf_assets.settings import Relation

CHURN_OF: dict[Relation, str] = {"followers": "follower_churn", "following": "following_churn"}

SPECS = [
    dg.AssetSpec(
        CHURN_OF[relation],
        deps=[ASSET_OF[relation]],
        description=(
            "Accounts that were gained, returned or lost between two snapshots, only where the "
            "lists can prove it. A loss is provisional until the next snapshot agrees.\n\n"
            f"```sql\nSELECT handle, snapshot_date, account_handle, change, state\n"
            f"FROM {CHURN_OF[relation]} WHERE state <> 'retracted'\n```"
        ),
        group_name="derived",
        kinds={"duckdb", "python"},
        skippable=True,
    )
    for relation in CHURN_OF
]


def describe(
    relation: Relation, con: duckdb.DuckDBPyConnection, day: date
) -> Mapping[str, dg.MetadataValue]:
    """Counts of a day's churn, and the comparisons that allow no claim, with the reason."""
    counts = dict(
        con.execute(
            "SELECT CASE WHEN state = 'retracted' THEN 'retracted' ELSE change END, count(*) "
            "FROM internal.churn WHERE relation = ? AND snapshot_date = ? GROUP BY ALL",
            [relation, day],
        ).fetchall()
    )
    silent = con.execute(
        "SELECT handle, reason FROM internal.comparisons WHERE relation = ? AND snapshot_date = ? "
        "AND losses IN ('none', 'unusable') ORDER BY handle LIMIT 50",
        [relation, day],
    ).fetchall()
    return {
        **{
            change: dg.MetadataValue.int(int(counts.get(change, 0)))
            for change in ("gained", "returned", "lost", "retracted")
        },
        "no_claims": dg.MetadataValue.json(dict(silent)),
    }


DESCRIBE: dict[str, Callable[[duckdb.DuckDBPyConnection, date], Mapping[str, Any]]] = {
    name: partial(describe, relation) for relation, name in CHURN_OF.items()
}
