"""A report to pass on: one HTML file that needs no network and no other file.

It has no script either, unless people can be searched in it.
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

# Handles that get charts of their own; with more of them, those that moved most do.
DETAILED = 20
# Lines in the chart of all handles, rows in the table of accounts, rows of status history.
DRAWN = 6
NAMED = 40
CHANGES = 200
# Handles in the matrix of shared followers, accounts in the table of people.
COMPARED = 20
# Events and notes that are said below a chart.
MARKS = 20
PEOPLE = 3000

# Wide charts for a desk, narrow ones for a phone: letters must not shrink with the picture.
WIDE, NARROW = (960, 300), (370, 250)


@dataclass(frozen=True)
class Day:
    """One handle on one day, as in `follower_growth`; None where there is no figure."""

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

    def series(self, what: str) -> list[Any]:
        return [getattr(self.by_day.get(day, Day()), what) for day in self.days]

    def sum(self, what: str) -> int | None:
        return _sum(self.series(what))

    @cached_property
    def totals(self) -> list[int]:
        return [value for value in self.series("total") if value is not None]

    @property
    def total(self) -> int | None:
        return self.totals[-1] if self.totals else None

    @property
    def net(self) -> int | None:
        return self.totals[-1] - self.totals[0] if len(self.totals) > 1 else None

    @property
    def percent(self) -> float | None:
        return 100 * self.net / self.totals[0] if self.net is not None and self.totals[0] else None

    @property
    def completeness(self) -> dict[str, int]:
        seen = self.series("completeness")
        kinds = ("complete", "window", "none", "counts", "missing")
        return {kind: seen.count(kind) for kind in kinds}

    @property
    def counted(self) -> list[date]:
        """Days of which only the total is known; charts show them lighter."""
        return [day for day, one in self.by_day.items() if one.completeness == "counts"]

    def sparkline(self, width: int = 110, height: int = 24) -> list[str]:
        """Points of the totals, one text an unbroken stretch of days; a day alone is a dot."""
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
    """What the one who passes the report on puts on it: a title, a picture as a data URI, texts."""

    title: str | None = None
    logo: str | None = None
    paragraphs: Sequence[str] = ()


@dataclass(frozen=True)
class Report:
    """All that is on the page."""

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

    def group_series(self, tag: str, what: str) -> list[Any]:
        """A figure of a group by day; a total only where as many handles as ever had one."""
        days = self.group_days.get(tag, {})
        most = max((one["handles_with_total"] for one in days.values()), default=0)
        return [
            None
            if day not in days
            or (what == "followers_total" and days[day]["handles_with_total"] < most)
            else days[day][what]
            for day in self.days
        ]

    def group_marks(self, tag: str) -> list[dict[str, Any]]:
        """What happened to handles of a group and was noted of them, each once; `of` names those
        it happened to."""
        found: dict[tuple[Any, ...], list[str]] = {}
        for one in self.marks:
            if tag in (one["tags"] or ()):
                key = tuple(value for name, value in one.items() if name not in ("handle", "tags"))
                found.setdefault(key, []).append(one["handle"])
        names = [name for name in (self.marks or ({},))[0] if name not in ("handle", "tags")]
        return [
            {
                **dict(zip(names, key, strict=True)),
                # A note about several is about the group.
                "of": "" if one_of[1:] and key[names.index("kind")] == "note" else named(one_of, 3),
            }
            for key, one_of in found.items()
        ]

    @property
    def compared(self) -> list[Handle]:
        """The handles of the matrix of shared followers: of those with any, the largest."""
        with_some = {name for pair in self.shared for name in pair}
        large = sorted(self.handles, key=lambda one: -(one.total or 0))
        chosen = [one for one in large if one.name in with_some][:COMPARED]
        return [one for one in self.handles if one in chosen]

    @property
    def detailed(self) -> list[Handle]:
        """Handles with charts of their own, in the order of the page."""
        movers = sorted(self.handles, key=lambda one: -abs(one.net or 0))[:DETAILED]
        return [handle for handle in self.handles if handle in movers]

    @property
    def movers(self) -> list[Handle]:
        drawable = [handle for handle in self.handles if handle.percent is not None]
        return sorted(drawable, key=lambda one: -abs(one.net or 0))[:DRAWN]

    def sum(self, what: str) -> int | None:
        return _sum(handle.sum(what) for handle in self.handles)

    @property
    def total(self) -> int | None:
        return _sum(handle.total for handle in self.handles)

    @property
    def net(self) -> int | None:
        return _sum(handle.net for handle in self.handles)

    @property
    def not_open(self) -> list[Handle]:
        return [handle for handle in self.handles if handle.status != "found"]

    @property
    def credits(self) -> int:
        return sum(sum(of_day.values()) for of_day in self.spend.values())


def _dot(x: float, y: float) -> list[tuple[float, float]]:
    return [(x - 1, y), (x + 1, y)]


def _sum(values: Iterable[int | None]) -> int | None:
    """None where there is no figure: nothing known is not nothing."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def gather(
    con: duckdb.DuckDBPyConnection,
    handles: Sequence[str] | None = None,
    days: int = 30,
    *,
    tags: Sequence[str] = (),
    people: bool = False,
) -> Report:
    """Ask the published file for the last `days` days of `handles`, of all where None.

    `tags`: the groups to show; without, all that have two handles, where the report is of all.
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
        "UNION ALL SELECT snapshot_date, handle, relation, 'found', 'may be somebody else''s', "
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
    shown = [one["tag"] for one in groups]
    group_days: dict[str, dict[date, dict[str, Any]]] = {tag: {} for tag in shown}
    for one in _dicts(
        con,
        "FROM main.group_growth WHERE snapshot_date >= ? AND list_contains(?, tag)",
        [span[0], shown],
    ):
        group_days[one["tag"]][one["snapshot_date"]] = one
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
        shared={(one["handle"], one["other_handle"]): one for one in shared},
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
    """The page as text. Everything that came from outside is escaped."""
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
            if any(one["first_day"] <= day <= one["last_day"] for one in marks)
        ]
        # What pygal writes is escaped already; it gets figures and normalised handles only.
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
        # The only script that the page's policy lets run, by its digest.
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
    found = con.execute(query, parameters)
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
