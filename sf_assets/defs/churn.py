"""`follower_churn` and `following_churn`: proved gains and losses."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import date
from functools import partial
from typing import Any

import dagster as dg
import duckdb

from sf_assets.defs.audience import Audience
from sf_assets.defs.specs import (
    Describe,
    Metadata,
    row_counts,
    table,
    table_spec,
)
from sf_assets.model import ASSET_OF, Relation

CHURN_OF: dict[Relation, str] = {"followers": "follower_churn", "following": "following_churn"}

# Accounts listed in an event, by id only: Dagster's storage holds no names of strangers. The others
# are counted. This keeps an event well under 100 kB.
SAMPLE = 50

_MADE_BY = [
    "defs/churn.py",
    "warehouse/derive.py",
    "warehouse/compare.py",
    "warehouse/sql/derive_write.sql",
]


def specs(audience: Audience) -> list[dg.AssetSpec]:
    """The asset specs of this module."""
    return [
        table_spec(
            audience,
            CHURN_OF[relation],
            deps=[ASSET_OF[relation]],
            description=(
                "One row per account that was gained, returned or lost between two snapshots, as "
                "far as the lists prove it. A loss is provisional until two later lists confirm "
                "it. Events show account ids only; `sf-assets account ID` shows the account."
            ),
            example=(
                "SELECT handle, snapshot_date, account_handle, change, state\n"
                f"FROM {CHURN_OF[relation]}\nWHERE state <> 'retracted' ORDER BY snapshot_date DESC"
            ),
            made_by="derived",
            group="derived",
            partition_expr="snapshot_date",
            kinds={"duckdb", "python"},
            code=_MADE_BY,
        )
        for relation in CHURN_OF
    ]


def describe(
    relation: Relation, con: duckdb.DuckDBPyConnection, days: Sequence[date]
) -> dict[date, Metadata]:
    """Per day: counts, a sample of the accounts, and the comparisons that allow no claim."""
    counts: dict[date, Counter[str]] = defaultdict(Counter)
    for day, change, number in con.execute(
        "SELECT snapshot_date, CASE WHEN state = 'retracted' THEN 'retracted' ELSE change END, "
        "count(*) FROM internal.churn WHERE relation = ? AND list_contains(?, snapshot_date) "
        "GROUP BY ALL",
        [relation, days],
    ).fetchall():
        counts[day][change] = number
    all_rows = con.execute(
        "SELECT count(*) FROM internal.churn WHERE relation = ?", [relation]
    ).fetchall()[0][0]
    sample: dict[tuple[date, bool], list[Any]] = defaultdict(list)
    for day, left, *account in con.execute(_SAMPLE, [relation, days, SAMPLE]).fetchall():
        sample[day, left].append(account)
    no_claims: dict[date, dict[str, str]] = defaultdict(dict)
    for day, handle, reason in con.execute(
        "SELECT snapshot_date, handle, reason FROM internal.comparisons "
        "WHERE relation = ? AND list_contains(?, snapshot_date) "
        "AND losses IN ('none', 'unusable', 'break') "
        "QUALIFY row_number() OVER (PARTITION BY snapshot_date ORDER BY handle) <= ? "
        "ORDER BY ALL",
        [relation, days, SAMPLE],
    ).fetchall():
        no_claims[day][handle] = reason
    return {
        day: {
            **{
                change: dg.MetadataValue.int(counts[day][change])
                for change in ("gained", "returned", "lost", "retracted")
            },
            "came": table(_COLUMNS, sample[day, False]),
            "left": table(_COLUMNS, sample[day, True]),
            "no_claims": dg.MetadataValue.json(no_claims[day]),
            **row_counts(counts[day].total(), all_rows),
        }
        for day in days
    }


_COLUMNS = dict.fromkeys(("handle", "account_id", "change", "state"), "string")

# One row is one account that came or left on a day, the verified and the largest first. Accounts
# without an id are left out, because their id is their handle; they are only counted.
_SAMPLE = """
SELECT c.snapshot_date, c.change = 'lost' AS gone, c.handle, c.account_id, c.change, c.state
FROM internal.churn AS c
LEFT JOIN internal.profiles AS p USING (account_id)
WHERE c.relation = ? AND list_contains(?, c.snapshot_date) AND c.state <> 'retracted'
    AND NOT starts_with(c.account_id, '@')
QUALIFY row_number() OVER (
    PARTITION BY c.snapshot_date, gone
    ORDER BY p.verified DESC NULLS LAST, p.followers DESC NULLS LAST, c.handle, c.account_id
) <= ?
ORDER BY c.snapshot_date, gone, p.verified DESC NULLS LAST, p.followers DESC NULLS LAST, c.handle,
    c.account_id
"""


DESCRIBE: dict[str, Describe] = {
    name: partial(describe, relation) for relation, name in CHURN_OF.items()
}
