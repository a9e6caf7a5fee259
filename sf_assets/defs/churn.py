"""`follower_churn` and `following_churn`: who came and who left, where it can be proved."""

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
    table_spec,
)
from sf_assets.model import ASSET_OF, Relation
from sf_assets.render.markdown import escape_markdown, profile_link

CHURN_OF: dict[Relation, str] = {"followers": "follower_churn", "following": "following_churn"}

# Accounts named in an event; the rest is counted. Keeps it well under 100 kB.
NAMED = 50
NAME_LENGTH = 30

_MADE_BY = [
    "defs/churn.py",
    "warehouse/derive.py",
    "warehouse/compare.py",
    "warehouse/sql/derive_write.sql",
]


def specs(audience: Audience) -> list[dg.AssetSpec]:
    """What is made, for Dagster."""
    return [
        table_spec(
            audience,
            CHURN_OF[relation],
            deps=[ASSET_OF[relation]],
            description=(
                "Accounts that were gained, returned or lost between two snapshots, only where the "
                "lists can prove it. A loss is provisional until two later lists agree."
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
    """A day's counts, who came and who left, and the comparisons that allow no claim."""
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
    named: dict[tuple[date, bool], list[Any]] = defaultdict(list)
    for day, left, *who in con.execute(_WHO, [relation, days, NAMED]).fetchall():
        named[day, left].append(who)
    silent: dict[date, dict[str, str]] = defaultdict(dict)
    for day, handle, reason in con.execute(
        "SELECT snapshot_date, handle, reason FROM internal.comparisons "
        "WHERE relation = ? AND list_contains(?, snapshot_date) "
        "AND losses IN ('none', 'unusable', 'break') "
        "QUALIFY row_number() OVER (PARTITION BY snapshot_date ORDER BY handle) <= ? "
        "ORDER BY ALL",
        [relation, days, NAMED],
    ).fetchall():
        silent[day][handle] = reason
    return {
        day: {
            **{
                change: dg.MetadataValue.int(counts[day][change])
                for change in ("gained", "returned", "lost", "retracted")
            },
            "came": _list(named[day, False], counts[day]["gained"] + counts[day]["returned"]),
            "left": _list(named[day, True], counts[day]["lost"]),
            "no_claims": dg.MetadataValue.json(silent[day]),
            **row_counts(counts[day].total(), all_rows),
        }
        for day in days
    }


# One row is one account that came or left on a day: the verified and the largest of each first.
# Names are fetched for those alone: profiles are many, and their texts are most of them.
_WHO = """
WITH ranked AS (
    SELECT c.snapshot_date, c.change = 'lost' AS gone, c.handle, c.account_id, c.account_handle,
        p.followers, p.verified, c.change, c.state,
        row_number() OVER (
            PARTITION BY c.snapshot_date, c.change = 'lost'
            ORDER BY p.verified DESC NULLS LAST, p.followers DESC NULLS LAST, c.handle,
                c.account_handle
        ) AS number
    FROM internal.churn AS c
    LEFT JOIN internal.profiles AS p USING (account_id)
    WHERE c.relation = ? AND list_contains(?, c.snapshot_date) AND c.state <> 'retracted'
),
named AS MATERIALIZED (FROM ranked WHERE number <= ?)
SELECT n.snapshot_date, n.gone, n.handle, n.account_handle, p.display_name, n.followers,
    n.verified, n.change, n.state
FROM named AS n
LEFT JOIN internal.profiles AS p USING (account_id)
ORDER BY n.snapshot_date, n.gone, n.number
"""


def _list(rows: Sequence[Any], count: int) -> dg.MetadataValue:
    """Accounts as a Markdown table: what strangers call themselves stays plain text."""
    if not rows:
        return dg.MetadataValue.text("nobody")
    lines = ["| of | account | name | followers | |", "| --- | --- | --- | ---: | --- |"]
    for handle, account, name, followers, verified, change, state in rows:
        notes = ["verified"] if verified else []
        notes += [change] if change == "returned" else []
        notes += [state] if state == "provisional" else []
        cells = [
            escape_markdown(handle),
            profile_link(account),
            escape_markdown(name, NAME_LENGTH),
            "-" if followers is None else f"{followers:,}",
            ", ".join(notes),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if count > len(rows):
        lines += ["", f"… and {count - len(rows):,} more."]
    return dg.MetadataValue.md("\n".join(lines))


DESCRIBE: dict[str, Describe] = {
    name: partial(describe, relation) for relation, name in CHURN_OF.items()
}
