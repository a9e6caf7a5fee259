"""`follower_growth`: totals, gains, losses and averages per handle and day."""

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

# Days of the sparklines and the chart; handles in the table (the others are counted) and the chart.
LOOK_BACK = 30
SHOWN = 100
DRAWN = 6


def specs(audience: Audience) -> list[dg.AssetSpec]:
    """The asset specs of this module."""
    return [
        table_spec(
            audience,
            "follower_growth",
            deps=["follower_snapshots", "following_snapshots", "follower_churn"],
            description=(
                "One row per handle and day: the totals, their change, the part of the change that "
                "the lists explain and the part that they do not."
            ),
            example="FROM follower_growth WHERE handle = 'nasa' ORDER BY snapshot_date DESC",
            made_by="derived",
            group="derived",
            partition_expr="snapshot_date",
            kinds={"duckdb"},
            code=["warehouse/sql/growth.sql", "defs/growth.py"],
        )
    ]


# The sparkline comes first, because Dagster cuts wide tables at the right. Figures are text, for
# Dagster does not separate thousands.
_COLUMNS = dict.fromkeys(
    (
        *("handle", f"last {LOOK_BACK} days", "total", "net", "gained", "lost", "provisional"),
        *("unknown", "completeness"),
    ),
    "string",
)


def describe(con: duckdb.DuckDBPyConnection, days: Sequence[date]) -> dict[date, Metadata]:
    """Per day: a table of the handles with sparklines, and sums.

    Only the newest day gets a chart of the handles that moved most: drawing one per day of a long
    run would cost more than deriving it.
    """
    if not days:
        return {}
    rows: dict[date, list[Any]] = defaultdict(list)
    totals: dict[str, dict[date, int | None]] = defaultdict(dict)
    total_only_days: dict[str, list[date]] = defaultdict(list)
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
            total_only_days[handle].append(day)
    all_rows = con.execute("SELECT count(*) FROM main.follower_growth").fetchall()[0][0]
    described = {day: _of_day(day, rows[day], totals, all_rows) for day in days}
    newest = max(days)
    chart = top_movers(totals, newest, total_only_days)
    if chart is not None:
        described[newest] = {"top_movers": chart, **described[newest]}
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
            *(handle, sparkline([totals[handle].get(past_day) for past_day in past])),
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
    total_only_days: Mapping[str, Sequence[date]],
) -> dg.MetadataValue | None:
    """A chart of the handles whose totals moved most in the last days, or None.

    Days in `total_only_days`, which have a total and no list, are drawn lighter. Handles are chosen
    by the number of accounts and drawn in percent, so that one large profile does not flatten the
    others.
    """
    days = _days_up_to(day)
    moved: dict[str, int] = {}
    lines: dict[str, list[float | None]] = {}
    for handle, by_day in totals.items():
        values = [by_day.get(past) for past in days]
        figures = [value for value in values if value is not None]
        if len(figures) > 1 and figures[0] > 0:
            moved[handle] = abs(figures[-1] - figures[0])
            lines[handle] = [
                None if value is None else round(100 * (value / figures[0] - 1), 2)
                for value in values
            ]
    movers = sorted(moved, key=lambda handle: (-moved[handle], handle))[:DRAWN]
    if not movers:
        return None
    svg = draw(
        "Line",
        days,
        {handle: lines[handle] for handle in movers},
        # Readable on white and on Dagster's dark theme.
        css=chart_css("#8a8a86", "rgba(128,128,128,.25)", COLOURS),
        unit=" %",
        lighter=total_only_days,
    )
    caption = f"Change of the total since {days[0]} in percent, for the handles that moved most"
    return dg.MetadataValue.md(f"{caption}.\n\n{as_markdown_image(svg, caption)}")


def _days_up_to(day: date) -> list[date]:
    return [day - timedelta(days=back) for back in range(LOOK_BACK - 1, -1, -1)]


DESCRIBE: dict[str, Describe] = {"follower_growth": describe}
