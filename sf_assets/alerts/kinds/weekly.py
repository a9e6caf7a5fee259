"""`weekly`: the week in one message, for all handles or for a tag with its own addresses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, ClassVar, NamedTuple

from sf_assets.alerts.kinds.base import Alert, AlertContext, Level, Words, partition
from sf_assets.alerts.strangers import shown
from sf_assets.model import AlertKind
from sf_assets.render.charts import COLOURS, chart_css, draw
from sf_assets.text import counted
from sf_assets.warehouse.statements import sql

# Handles with a line in the message, and handles in the chart.
LINES, DRAWN = 40, len(COLOURS)


class WeekOf(NamedTuple):
    """The week of a handle; None without a figure. `days` is the number of days with a total."""

    handle: str
    total: int | None
    net: int | None
    gained: int | None
    lost: int | None
    days: int

    def line(self) -> str:
        """The week in a line of the message."""
        if self.total is None:
            return "no total this week"
        net = "" if self.net is None else f", {self.net:+,}"
        moved = "" if self.gained is None else f"; {self.gained:,} came, {self.lost or 0:,} left"
        days = "" if self.days == 7 else f" ({counted(self.days, 'day')} of 7 with a total)"
        return f"{self.total:,} followers{net}{moved}{days}"


@dataclass(frozen=True)
class Weekly(Alert):
    """The seven days before `day`."""

    kind: ClassVar[AlertKind] = "weekly"
    has_since: ClassVar[bool] = False

    weeks: tuple[WeekOf, ...]
    of_tag: str | None = None
    totals: tuple[tuple[str, date, int | None], ...] = ()

    @classmethod
    def find(cls, context: AlertContext) -> list[Weekly]:
        """The newest digest, if it is due: for all handles, and for tags with addresses."""
        day, registry = context.digest_day, context.registry
        if context.con is None or day is None or day < context.since:
            return []
        last = day - timedelta(days=1)
        found = []
        only = registry.alerts.tags
        tags_of = {handle: set(own.tags) for handle, own in registry.handles.items()}
        for tag in (None, *registry.alerts.addresses):
            handles = [
                handle
                for handle, tags in tags_of.items()
                if (tag is None or tag in tags) and (only is None or tags & set(only))
            ]
            rows = context.rows(sql("alert_weekly"), handles=handles, last=last)
            if not rows:
                continue
            weeks = tuple(WeekOf(*row) for row in rows)
            drawn = [week.handle for week in weeks[:DRAWN]]
            totals = context.rows(sql("alert_weekly_days"), handles=drawn, last=last)
            name = f"{day}/weekly" + (f"/{tag}" if tag else "")
            before = day - timedelta(days=7)
            found.append(cls((name,), None, ("followers",), day, before, weeks, tag, tuple(totals)))
        return found

    @property
    def tag(self) -> str | None:
        return self.of_tag

    @property
    def level(self) -> Level:
        return "info"

    @property
    def ui_path(self) -> str:
        return partition("follower_growth", str(self.day - timedelta(days=1)))

    @property
    def details(self) -> dict[str, Any]:
        return {"tag": self.of_tag, "handles": [week._asdict() for week in self.weeks]}

    @property
    def lines(self) -> list[tuple[str, str]]:
        rows = [(shown(week.handle), week.line()) for week in self.weeks[:LINES]]
        left = len(self.weeks) - LINES
        return [*rows, ("", f"and {counted(left, 'more handle')}")] if left > 0 else rows

    @property
    def charts(self) -> list[tuple[str, str]]:
        days = [self.day - timedelta(days=back) for back in range(8, 0, -1)]
        series: dict[str, Sequence[float | None]] = {}
        for handle in dict.fromkeys(row[0] for row in self.totals):
            by_day = {day: total for name, day, total in self.totals if name == handle}
            values = [by_day.get(day) for day in days]
            first = next((value for value in values if value), None)
            if first is not None:
                series[handle] = [
                    None if value is None else round(100 * (value / first - 1), 2)
                    for value in values
                ]
        if not series:
            return []
        # Readable in light and dark image viewers.
        css = chart_css("#767676", "rgba(128,128,128,.25)", COLOURS)
        return [("followers.svg", draw("Line", days, series, css=css, unit=" %"))]

    @property
    def words(self) -> Words:
        of_tag = f" of {self.of_tag}" if self.of_tag else ""
        with_total = [week for week in self.weeks if week.total is not None]
        sums = f"{counted(len(with_total), 'handle')} of {len(self.weeks):,} with a total"
        total = self._sum("total")
        for what, value in (
            ("followers", total),
            ("net", self._sum("net")),
            ("came", self._sum("gained")),
            ("left", self._sum("lost")),
        ):
            shown_value = "unknown" if value is None else f"{value:,}"
            sums += f", {what}: {shown_value}"
        return Words(
            f"The week{of_tag} from {self.previous_day} to {self.day - timedelta(days=1)}",
            f"{sums}.",
            "Came and left count proved changes; left counts confirmed losses only. To "
            "unsubscribe, ask for your address to be removed from the alerts.",
            "",
            "unknown" if total is None else f"{total:,} followers",
        )

    def _sum(self, what: str) -> int | None:
        """The sum over the handles that have the figure; None if no handle has it."""
        values = [value for week in self.weeks if (value := getattr(week, what)) is not None]
        return sum(values) if values else None
