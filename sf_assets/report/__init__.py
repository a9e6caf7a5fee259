"""A report to share: one HTML file that needs no network and no other file.

It has a script only if it lists people, for the search.
"""

from __future__ import annotations

import base64
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from functools import cached_property
from importlib import resources
from typing import Any

import duckdb

from sf_assets import __version__
from sf_assets.ingest.days import MissingDay
from sf_assets.render.charts import chart_css, draw
from sf_assets.storage.sizes import Sizes, megabytes
from sf_assets.text import clean, named
from sf_assets.warehouse.statements import sql

# Handles with charts of their own: all, or those that moved most.
DETAILED = 20
# Lines in the chart of all handles, rows in the table of accounts, rows of status history.
DRAWN = 6
NAMED = 40
CHANGES = 200
# Handles in the matrix of shared followers, accounts in the table of people.
COMPARED = 20
# Events and notes listed below a chart.
MARKS = 20
PEOPLE = 3000

# Wide charts for a desktop, narrow ones for a phone, so that the text does not shrink.
WIDE, NARROW = (960, 300), (370, 250)


@dataclass(frozen=True)
class Day:
    """One handle on one day, as in `follower_growth`; None without a figure."""

    total: int | None = None
    net: int | None = None
    gained: int | None = None
    lost: int | None = None
    provisional: int | None = None
    unknown: int | None = None
    unexplained: int | None = None
    completeness: str = "missing"


@dataclass(frozen=True)
class Handle:
    """A tracked handle over the days of the report."""

    name: str
    days: Sequence[date]
    by_day: Mapping[date, Day]
    status: str
    since: date | None

    def series(self, field: str) -> list[Any]:
        """A field of `Day`, one value per day."""
        return [getattr(self.by_day.get(day, Day()), field) for day in self.days]

    def sum(self, field: str) -> int | None:
        """The sum of a field of `Day`; None without any figure."""
        return _sum(self.series(field))

    @cached_property
    def totals(self) -> list[int]:
        """The totals of the days that have one."""
        return [value for value in self.series("total") if value is not None]

    @property
    def total(self) -> int | None:
        """The newest total."""
        return self.totals[-1] if self.totals else None

    @property
    def net(self) -> int | None:
        """The newest total minus the first one."""
        return self.totals[-1] - self.totals[0] if len(self.totals) > 1 else None

    @property
    def percent(self) -> float | None:
        """`net` in percent of the first total."""
        return 100 * self.net / self.totals[0] if self.net is not None and self.totals[0] else None

    @property
    def completeness(self) -> dict[str, int]:
        """Completeness -> number of days."""
        by_day = self.series("completeness")
        kinds = ("complete", "window", "none", "counts", "missing")
        return {kind: by_day.count(kind) for kind in kinds}

    @property
    def counted(self) -> list[date]:
        """Days with a total and no list. Charts show them lighter."""
        return [day for day, figures in self.by_day.items() if figures.completeness == "counts"]

    def sparkline(self, width: int = 110, height: int = 24) -> list[str]:
        """SVG points of the totals: one text per stretch of days, and a dot for a single day."""
        if not self.totals:
            return []
        low, high = min(self.totals), max(self.totals)
        step_x, step_y = width / max(1, len(self.days) - 1), (height - 4) / ((high - low) or 1)
        pieces: list[list[tuple[float, float]]] = [[]]
        for number, value in enumerate(self.series("total")):
            if value is None:
                pieces.append([])
            else:
                pieces[-1].append((number * step_x, height - 2 - (value - low) * step_y))
        return [
            " ".join(f"{x:.1f},{y:.1f}" for x, y in (piece if piece[1:] else _dot(*piece[0])))
            for piece in pieces
            if piece
        ]


@dataclass(frozen=True)
class Letterhead:
    """The sender's own title, logo (a data URI) and introduction."""

    title: str | None = None
    logo: str | None = None
    paragraphs: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """The content of the page."""

    days: Sequence[date]
    handles: Sequence[Handle]
    changes: Sequence[Mapping[str, Any]]
    changes_in_all: int
    notable: Sequence[Mapping[str, Any]]
    spend: Mapping[date, Mapping[str, int]]
    missing: Sequence[MissingDay] = ()
    sizes: Sizes | None = None
    groups: Sequence[Mapping[str, Any]] = ()
    members: Sequence[Mapping[str, Any]] = ()
    group_days: Mapping[str, Mapping[date, Mapping[str, Any]]] = field(default_factory=dict)
    shared: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    audience: Sequence[Mapping[str, Any]] = ()
    marks: Sequence[Mapping[str, Any]] = ()
    people: Sequence[Mapping[str, Any]] = ()
    letterhead: Letterhead = Letterhead()

    def group_series(self, tag: str, column: str) -> list[Any]:
        """A column of `group_growth`, one value per day.

        A total is None on days on which fewer handles had one than on other days.
        """
        days = self.group_days.get(tag, {})
        most = max((figures["handles_with_total"] for figures in days.values()), default=0)
        return [
            None
            if day not in days
            or (column == "followers_total" and days[day]["handles_with_total"] < most)
            else days[day][column]
            for day in self.days
        ]

    def group_marks(self, tag: str) -> list[dict[str, Any]]:
        """The events and notes of the handles of a group, each once; `of` names the handles."""
        handles_of: dict[tuple[Any, ...], list[str]] = {}
        for mark in self.marks:
            if tag in (mark["tags"] or ()):
                key = tuple(value for name, value in mark.items() if name not in ("handle", "tags"))
                handles_of.setdefault(key, []).append(mark["handle"])
        names = [name for name in (self.marks or ({},))[0] if name not in ("handle", "tags")]
        return [
            {
                **dict(zip(names, key, strict=True)),
                # A note about several handles is about the group.
                "of": ""
                if handles[1:] and key[names.index("kind")] == "note"
                else named(handles, 3),
            }
            for key, handles in handles_of.items()
        ]

    @property
    def compared(self) -> list[Handle]:
        """The handles in the matrix of shared followers: the largest that share any."""
        sharing = {name for pair in self.shared for name in pair}
        by_size = sorted(self.handles, key=lambda handle: -(handle.total or 0))
        chosen = [handle for handle in by_size if handle.name in sharing][:COMPARED]
        return [handle for handle in self.handles if handle in chosen]

    @property
    def detailed(self) -> list[Handle]:
        """The handles with charts of their own, in the order of the page."""
        movers = sorted(self.handles, key=lambda handle: -abs(handle.net or 0))[:DETAILED]
        return [handle for handle in self.handles if handle in movers]

    @property
    def movers(self) -> list[Handle]:
        """The handles whose totals moved most, for the chart of all handles."""
        drawable = [handle for handle in self.handles if handle.percent is not None]
        return sorted(drawable, key=lambda handle: -abs(handle.net or 0))[:DRAWN]

    def sum(self, field: str) -> int | None:
        """The sum of a field of `Day` over all handles and days; None without any figure."""
        return _sum(handle.sum(field) for handle in self.handles)

    @property
    def total(self) -> int | None:
        """The sum of the newest totals."""
        return _sum(handle.total for handle in self.handles)

    @property
    def net(self) -> int | None:
        """The sum of the net changes."""
        return _sum(handle.net for handle in self.handles)

    @property
    def not_open(self) -> list[Handle]:
        """The handles whose follower list is private, hidden or not found."""
        return [handle for handle in self.handles if handle.status != "found"]

    @property
    def credits(self) -> int:
        """The credits spent in the days of the report."""
        return sum(sum(of_day.values()) for of_day in self.spend.values())


def _dot(x: float, y: float) -> list[tuple[float, float]]:
    return [(x - 1, y), (x + 1, y)]


def _sum(values: Iterable[int | None]) -> int | None:
    """The sum of the figures; None without any, because unknown is not 0."""
    figures = [value for value in values if value is not None]
    return sum(figures) if figures else None


def gather(
    con: duckdb.DuckDBPyConnection,
    handles: Sequence[str] | None = None,
    days: int = 30,
    *,
    tags: Sequence[str] = (),
    people: bool = False,
) -> Report:
    """Query the published file for the last `days` days of `handles` (None: all handles).

    `tags` are the groups to show. Without them, a report on all handles shows the groups of two
    handles or more.
    """
    newest: date | None = con.execute("SELECT max(snapshot_date) FROM main.snapshots").fetchall()[
        0
    ][0]
    last = newest or datetime.now(timezone.utc).date()
    span = [last - timedelta(days=back) for back in range(days - 1, -1, -1)]
    names = [
        name
        for (name,) in con.execute(
            "SELECT DISTINCT handle FROM main.snapshots WHERE snapshot_date >= ? ORDER BY handle",
            [span[0]],
        ).fetchall()
        if handles is None or name in handles
    ]
    by_handle: dict[str, dict[date, Day]] = defaultdict(dict)
    for handle, day, *figures in con.execute(
        "SELECT handle, snapshot_date, followers_total, followers_net, followers_gained, "
        "followers_lost, followers_lost_provisional, followers_unknown, net_unexplained, "
        "CASE WHEN s.end_reason = 'counts' THEN 'counts' ELSE coalesce(g.completeness, 'missing') "
        "END FROM main.follower_growth AS g LEFT JOIN main.follower_snapshots AS s "
        "USING (handle, snapshot_date) WHERE snapshot_date >= ?",
        [span[0]],
    ).fetchall():
        by_handle[handle][day] = Day(*figures)
    status = {
        handle: (now, since)
        for handle, now, since in con.execute(
            "SELECT s.handle, coalesce(arg_max(s.lookup_status, s.snapshot_date) "
            "FILTER (s.source = 'api'), 'found'), max(c.changed_on) "
            "FROM main.follower_snapshots AS s LEFT JOIN main.status_changes AS c "
            "ON c.handle = s.handle AND c.relation = 'followers' GROUP BY s.handle"
        ).fetchall()
    }
    spend: dict[date, dict[str, int]] = {day: {"followers": 0, "following": 0} for day in span}
    for day, relation, credits in con.execute(
        "SELECT snapshot_date, relation, sum(credits_charged) FROM main.snapshots "
        "WHERE snapshot_date >= ? AND list_contains(?, handle) GROUP BY ALL",
        [span[0], names],
    ).fetchall():
        spend[day][relation] = int(credits)
    changes = _dicts(
        con,
        "SELECT changed_on, handle, relation, from_status, to_status, previous_date "
        "FROM main.status_changes WHERE changed_on >= $first AND list_contains($names, handle) "
        "UNION ALL SELECT snapshot_date, handle, relation, 'found', 'maybe another person', "
        "previous_date FROM main.comparisons WHERE losses = 'break' AND snapshot_date >= $first "
        "AND list_contains($names, handle) ORDER BY changed_on DESC, handle, relation",
        {"first": span[0], "names": names},
    )
    notable = _dicts(
        con,
        "SELECT snapshot_date, handle, relation, change, account_handle, display_name, verified, "
        "followers FROM main.notable_changes "
        "WHERE snapshot_date >= ? AND list_contains(?, handle) "
        "ORDER BY verified DESC NULLS LAST, followers DESC NULLS LAST, account_handle LIMIT ?",
        [span[0], names, NAMED],
    )
    groups: list[dict[str, Any]] = []
    if tags or handles is None:
        groups = _dicts(con, sql("report_groups"), {"first": span[0], "tags": list(tags) or None})
    shown = [group["tag"] for group in groups]
    group_days: dict[str, dict[date, dict[str, Any]]] = {tag: {} for tag in shown}
    for group_day in _dicts(
        con,
        "FROM main.group_growth WHERE snapshot_date >= ? AND list_contains(?, tag)",
        [span[0], shown],
    ):
        group_days[group_day["tag"]][group_day["snapshot_date"]] = group_day
    shared = _dicts(
        con,
        "FROM main.audience_overlap WHERE list_contains($names, handle) "
        "AND list_contains($names, other_handle)",
        {"names": names},
    )
    persons = {"first": span[0], "handles": names, "most": PEOPLE}
    return Report(
        days=span,
        groups=groups,
        members=_dicts(con, sql("report_members"), {"tags": shown, "first": span[0]}),
        group_days=group_days,
        shared={(pair["handle"], pair["other_handle"]): pair for pair in shared},
        marks=_dicts(con, sql("report_marks"), {"first": span[0], "handles": names}),
        audience=_dicts(con, sql("report_audience"), {"first": span[0], "handles": names}),
        people=_dicts(con, sql("report_people"), persons) if people else (),
        handles=[
            Handle(name, span, by_handle[name], *status.get(name, ("found", None)))
            for name in names
        ],
        changes=changes[:CHANGES],
        changes_in_all=len(changes),
        notable=notable,
        spend=spend,
    )


def render(report: Report) -> str:
    """The page as HTML text. All data is escaped."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    def chart(
        kind: str,
        series: Mapping[str, Sequence[float | None]],
        marks: Sequence[Mapping[str, Any]] = (),
        **more: Any,
    ) -> Markup:
        more["marks"] = [
            at
            for at, day in enumerate(report.days)
            if any(mark["first_day"] <= day <= mark["last_day"] for mark in marks)
        ]
        # pygal escapes its output, and it gets only figures and normalised handles.
        wide, narrow = (
            draw(kind, report.days, series, width=width, height=height, **more)
            for width, height in (WIDE, NARROW)
        )
        return Markup(f'<div class="wide-only">{wide}</div><div class="narrow-only">{narrow}</div>')

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        clean=clean,
        megabytes=megabytes,
        number=lambda value: "-" if value is None else f"{value:,}",
        signed=lambda value: "-" if value is None else f"{value:+,}" if value else "0",
        percent=lambda value: "" if value is None else f"{value:+.1f} %",
        rate=lambda value: f"{value:+.3f} %",
        share=lambda value: (
            "-" if value is None else f"{100 * value:.{1 if value < 0.1 else 0}f} %"
        ),
    )
    page, script = (
        (resources.files(__package__) / name).read_text(encoding="utf-8")
        for name in ("page.html", "search.js")
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.from_string(page).render(
        # The policy of the page allows only this script, by its digest.
        script=Markup(script),
        script_policy=f"; script-src 'sha256-{digest}'" if report.people else "",
        report=report,
        chart=chart,
        chart_css=Markup(
            chart_css("var(--muted)", "var(--grid)", [f"var(--c{n})" for n in range(DRAWN)])
        ),
        no_day=Day(),
        most_people=PEOPLE,
        most_marks=MARKS,
        version=__version__,
        made=datetime.now(timezone.utc),
    )


def _dicts(
    con: duckdb.DuckDBPyConnection, query: str, parameters: list[Any] | dict[str, Any]
) -> list[dict[str, Any]]:
    result = con.execute(query, parameters)
    names = [column[0] for column in result.description or ()]
    return [dict(zip(names, row, strict=True)) for row in result.fetchall()]
