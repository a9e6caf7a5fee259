"""`status_changes`: profiles that turned private or hidden, disappeared or came back."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import date
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

SHOWN = 100


def specs(audience: Audience) -> list[dg.AssetSpec]:
    """The asset specs of this module."""
    return [
        table_spec(
            audience,
            "status_changes",
            deps=["follower_snapshots", "following_snapshots"],
            description=(
                "One row per change of a list's lookup status (found, hidden, private, not_found) "
                "between two snapshots. Each change becomes an alert."
            ),
            example="FROM status_changes ORDER BY changed_on DESC",
            made_by="derived",
            group="derived",
            partition_expr="changed_on",
            kinds={"duckdb"},
            code=["warehouse/sql/status_changes.sql", "defs/status_changes.py"],
        )
    ]


_CHANGES = dict.fromkeys(
    ("handle", "relation", "from_status", "to_status", "last_seen_so"), "string"
)
_CLOSED = dict.fromkeys(("handle", "relation", "status", "since", "was_before"), "string")


def describe(con: duckdb.DuckDBPyConnection, days: Sequence[date]) -> dict[date, Metadata]:
    """Per day: the changes, and the lists that are not open, with their last change."""
    changes: dict[date, list[Any]] = defaultdict(list)
    counts: Counter[date] = Counter()
    all_rows = 0
    for day, *change in con.execute(
        "SELECT changed_on, handle, relation, from_status, to_status, "
        "CAST(previous_date AS VARCHAR) FROM main.status_changes ORDER BY handle, relation"
    ).fetchall():
        all_rows += 1
        counts[day] += 1
        changes[day].append(change)
    closed: dict[date, list[Any]] = defaultdict(list)
    for day, *row in con.execute(_NOT_OPEN, [days]).fetchall():
        closed[day].append(row)
    return {
        day: {
            "changes": dg.MetadataValue.int(counts[day]),
            "lists_not_open": dg.MetadataValue.int(len(closed[day])),
            "who": table(_CHANGES, changes[day][:SHOWN]),
            "not_open": table(_CLOSED, closed[day][:SHOWN]),
            **row_counts(counts[day], all_rows),
        }
        for day in days
    }


# One row is one list that is not open on a day, with the change that closed it. A list that was
# closed on its first snapshot has no change.
_NOT_OPEN = """
SELECT s.snapshot_date, s.handle, s.relation, s.lookup_status,
    coalesce(CAST(max(c.changed_on) AS VARCHAR), 'its first snapshot'),
    coalesce(arg_max(c.from_status, c.changed_on), '-')
FROM internal.snapshots AS s
LEFT JOIN main.status_changes AS c
    ON c.relation = s.relation AND c.handle = s.handle AND c.changed_on <= s.snapshot_date
WHERE list_contains(?, s.snapshot_date) AND s.lookup_status <> 'found'
GROUP BY ALL
ORDER BY s.snapshot_date, s.handle, s.relation
"""

DESCRIBE: dict[str, Describe] = {"status_changes": describe}
