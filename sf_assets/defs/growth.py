"""`follower_growth`: totals, gains, losses and averages of each handle on each day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
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
from sf_assets.render.charts import (
    COLOURS,
    as_markdown_image,
    chart_css,
    draw,
    sparkline,
)

# Days of a sparkline and of the picture; handles in the table (the rest is counted), and drawn.
LOOK_BACK = 30
SHOWN = 100
DRAWN = 6


def specs(audience: Audience) -> list[dg.AssetSpec]:
    """What is made, for Dagster."""
    return [
        table_spec(
            audience,
            "follower_growth",
            deps=["follower_snapshots", "following_snapshots", "follower_churn"],
            description=(
                "One row a handle and day: the totals, how they changed, what of it the lists "
                "explain and what they do not."
            ),
            example="FROM follower_growth WHERE handle = 'nasa' ORDER BY snapshot_date DESC",
            made_by="derived",
            group="derived",
            partition_expr="snapshot_date",
            kinds={"duckdb"},
            code=["warehouse/sql/growth.sql", "defs/growth.py"],
        )
    ]


# The sparkline first: what is too wide for the window is cut off at the right. Figures are texts,
# for Dagster separates no thousands; those to count with are in the table itself.
_COLUMNS = dict.fromkeys(
    (
        *("handle", f"last {LOOK_BACK} days", "total", "net", "gained", "lost", "provisional"),
        *("unknown", "completeness"),
    ),
    "string",
)


def describe(con: duckdb.DuckDBPyConnection, days: Sequence[date]) -> dict[date, Metadata]:
    """A day's handles as a table with a sparkline each, and their sums.

    The newest of `days` also gets a picture of those that moved most: drawing one for each day of
    a long run would cost more than deriving it.
    """
    if not days:
        return {}
    rows: dict[date, list[Any]] = defaultdict(list)
    totals: dict[str, dict[date, int | None]] = defaultdict(dict)
    counted: dict[str, list[date]] = defaultdict(list)
    for day, handle, total, *more in con.execute(
        "SELECT snapshot_date, handle, followers_total, followers_net, followers_gained, "
        "followers_lost, followers_lost_provisional, followers_unknown, "
        "CASE WHEN s.end_reason = 'counts' THEN 'counts' ELSE g.completeness END "
        "FROM main.follower_growth AS g LEFT JOIN main.follower_snapshots AS s "
        "USING (handle, snapshot_date) "
        "WHERE snapshot_date BETWEEN ? AND ? "
        "ORDER BY snapshot_date, abs(followers_net) DESC NULLS LAST, handle",
        [min(days) - timedelta(days=LOOK_BACK - 1), max(days)],
    ).fetchall():
        rows[day].append((handle, total, *more))
        totals[handle][day] = total
        if more[-1] == "counts":
            counted[handle].append(day)
    all_rows = con.execute("SELECT count(*) FROM main.follower_growth").fetchall()[0][0]
    described = {day: _of_day(day, rows[day], totals, all_rows) for day in days}
    newest = max(days)
    picture = top_movers(totals, newest, counted)
    if picture is not None:
        described[newest] = {"top_movers": picture, **described[newest]}
    return described


def _of_day(
    day: date,
    rows: Sequence[Any],
    totals: Mapping[str, Mapping[date, int | None]],
    all_rows: int,
) -> Metadata:
    past = _days_up_to(day)
    shown = [
        (
            *(handle, sparkline([totals[handle].get(one) for one in past])),
            *(_figure(total), _figure(net, sign="+"), *map(_figure, counts), completeness),
        )
        for handle, total, net, *counts, completeness in rows[:SHOWN]
    ]
    net, gained, lost, provisional = (sum(row[at] or 0 for row in rows) for at in (2, 3, 4, 5))
    return {
        "handles": dg.MetadataValue.int(len(rows)),
        "net": dg.MetadataValue.int(net),
        "gained": dg.MetadataValue.int(gained),
        "lost": dg.MetadataValue.int(lost),
        "lost_provisional": dg.MetadataValue.int(provisional),
        "by_handle": table(_COLUMNS, shown),
        **({"handles_not_shown": dg.MetadataValue.int(len(rows) - SHOWN)} if rows[SHOWN:] else {}),
        **row_counts(len(rows), all_rows),
    }


def _figure(value: int | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign if value else ''},}"


def top_movers(
    totals: Mapping[str, Mapping[date, int | None]],
    day: date,
    counted: Mapping[str, Sequence[date]],
) -> dg.MetadataValue | None:
    """A picture of the handles whose totals moved most in the last days, or None.

    Days in `counted`, of which only the total is known, are drawn lighter. Chosen by accounts,
    drawn in percent: else one large profile would flatten all others.
    """
    days = _days_up_to(day)
    moved: dict[str, int] = {}
    lines: dict[str, list[float | None]] = {}
    for handle, by_day in totals.items():
        values = [by_day.get(one) for one in days]
        known = [value for value in values if value is not None]
        if len(known) > 1 and known[0] > 0:
            moved[handle] = abs(known[-1] - known[0])
            lines[handle] = [
                None if value is None else round(100 * (value / known[0] - 1), 2)
                for value in values
            ]
    movers = sorted(moved, key=lambda handle: (-moved[handle], handle))[:DRAWN]
    if not movers:
        return None
    svg = draw(
        "Line",
        days,
        {handle: lines[handle] for handle in movers},
        # Read on white and on Dagster's dark theme alike.
        css=chart_css("#8a8a86", "rgba(128,128,128,.25)", COLOURS),
        unit=" %",
        lighter=counted,
    )
    said = f"Followers since {days[0]} in percent: the handles that moved most"
    return dg.MetadataValue.md(f"{said}.\n\n{as_markdown_image(svg, said)}")


def _days_up_to(day: date) -> list[date]:
    return [day - timedelta(days=back) for back in range(LOOK_BACK - 1, -1, -1)]


DESCRIBE: dict[str, Describe] = {"follower_growth": describe}
