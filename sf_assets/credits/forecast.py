"""Estimates what the tracked lists will cost, and when the balance runs out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from sf_assets.credits.estimate import MOST_ACCOUNTS, Cost
from sf_assets.handles.settings import PAGES_KNOWN, ListSettings, Registry


@dataclass(frozen=True)
class ListForecast:
    """The forecast of one list. Credits are for all days; None if the list was never read.

    `pages`: a full read. `if_full`, `if_recent`: credits at that depth on the same days.
    """

    handle: str
    relation: str
    depth: str
    pages: int | None
    paid: int
    credits: int | None
    if_full: int | None
    if_recent: int | None

    @property
    def recent_saves(self) -> int | None:
        """Credits that `depth: recent` would save; negative if it would cost more."""
        if self.credits is None or self.if_recent is None:
            return None
        return self.credits - self.if_recent


@dataclass(frozen=True)
class Forecast:
    """The forecast of all lists for `days` days from `first`. `by_day`: credits of each day."""

    first: date
    days: int
    lists: list[ListForecast]
    by_day: list[int]
    balance: int | None
    cap: int | None

    @property
    def credits(self) -> int:
        """Credits of all days; no day costs more than the cap."""
        return sum(self.by_day)

    @property
    def unread(self) -> int:
        """Number of lists that were never read; their cost is unknown."""
        return sum(each.credits is None for each in self.lists)

    @property
    def runs_out_on(self) -> date | None:
        """The first day that the balance does not cover; None if it lasts longer or is unknown."""
        if self.balance is None:
            return None
        left = self.balance
        for back, credits in enumerate(self.by_day):
            left -= credits
            if left < 0:
                return self.first + timedelta(days=back)
        return None

    @property
    def lasts_days(self) -> int | None:
        """Days for which the balance lasts at this rate; None if unknown."""
        if self.balance is None or not self.credits:
            return None
        return math.floor(self.balance * self.days / self.credits)


def forecast(
    registry: Registry,
    costs: Mapping[tuple[str, str], Cost],
    paid: Mapping[tuple[str, str], int],
    *,
    first: date,
    days: int,
    balance: int | None = None,
    cap: int | None = None,
) -> Forecast:
    """Forecast each tracked list day by day, with its weekdays and full reads.

    `paid`: credits of each list in the ledger over the same number of past days.
    """
    lists = []
    totals = [0] * days
    for handle, own in registry.handles.items():
        of_handle = [0] * days
        for relation in own.relations:
            settings = own.of(relation)
            cost = costs.get((relation, handle))
            by_day = _days(settings, cost, first, days) if cost else [0] * days
            of_handle = [a + b for a, b in zip(of_handle, by_day, strict=True)]
            lists.append(
                ListForecast(
                    handle=handle,
                    relation=relation,
                    depth=settings.describe(),
                    pages=cost.full if cost else None,
                    paid=paid.get((relation, handle), 0),
                    credits=sum(by_day) if cost else None,
                    if_full=_at(settings, "full", cost, first, days),
                    if_recent=_at(settings, "recent", cost, first, days),
                )
            )
        most = own.daily_credits
        totals = [
            total + (credits if most is None else min(most, credits))
            for total, credits in zip(totals, of_handle, strict=True)
        ]
    return Forecast(
        first, days, lists, [n if cap is None else min(cap, n) for n in totals], balance, cap
    )


def first_page_forecast(
    handle: str, days: int, *, total: int | None, listed: int, more: bool
) -> ListForecast:
    """The forecast of a list from its first page. `more`: the API announces more pages."""
    pages = 1
    if more and listed:
        shown = MOST_ACCOUNTS if total is None else min(MOST_ACCOUNTS, total)
        pages = math.ceil(shown / listed)
    weeks = math.ceil(days / ListSettings().full_every)
    top = min(pages, PAGES_KNOWN)
    return ListForecast(
        handle=handle,
        relation="followers",
        depth="full",
        pages=pages,
        paid=0,
        credits=pages * days,
        if_full=pages * days,
        if_recent=pages * weeks + top * (days - weeks),
    )


def _at(
    settings: ListSettings, depth: str, cost: Cost | None, first: date, days: int
) -> int | None:
    if cost is None:
        return None
    other = ListSettings(
        depth="recent" if depth == "recent" else "full",
        full_every=settings.full_every,
        weekdays=settings.weekdays,
    )
    return sum(_days(other, cost, first, days))


def _days(settings: ListSettings, cost: Cost, first: date, days: int) -> list[int]:
    whole_date = cost.whole_date
    spent = []
    for ahead in range(days):
        day = first + timedelta(days=ahead)
        if not settings.due(day):
            spent.append(0)
            continue
        whole = cost.whole_due(settings, day, whole_date)
        if whole:
            whole_date = day
        spent.append(cost.expected(settings, whole=whole))
    return spent
