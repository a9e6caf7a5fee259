"""The past and the estimated cost of lists."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date

import duckdb

from sf_assets.handles.settings import PAGES_KNOWN, ListSettings
from sf_assets.model import Relation
from sf_assets.warehouse.alignment import MIN_ORDER_AGREEMENT
from sf_assets.warehouse.statements import sql

#: The longest list ever seen, in accounts.
MOST_ACCOUNTS = 10_000


@dataclass(frozen=True)
class Cost:
    """The past cost of a list, in pages; None if it was never read that way.

    `whole`: last full read. `top`: last `recent` read. `most`: longest read. `whole_date`: day of
    the last full read.
    """

    relation: Relation
    handle: str
    last_date: date
    whole_date: date | None
    status: str
    whole: int | None
    top: int | None
    most: int | None
    total: int | None
    page_size: float | None
    gained_a_day: float | None
    order_agreement: float | None = None

    @property
    def in_order(self) -> bool:
        """Whether the list kept its order in the last comparison; else its top proves nothing."""
        return self.order_agreement is None or self.order_agreement >= MIN_ORDER_AGREEMENT

    @property
    def full(self) -> int:
        """Pages of a full read."""
        if self.whole is not None:
            return self.whole
        if self.total is None or not self.page_size:
            return self.most or 1
        # Never fully read: estimate from its total, up to the longest list ever seen.
        shown = min(MOST_ACCOUNTS, self.total)
        return max(self.most or 1, math.ceil(shown / self.page_size))

    @property
    def recent(self) -> int:
        """Pages of a read that stops at known accounts."""
        if self.top is not None:
            return min(self.top, self.full)
        new = math.ceil((self.gained_a_day or 0) / (self.page_size or 20))
        return min(self.full, new + PAGES_KNOWN)

    def whole_due(self, own: ListSettings, day: date, whole_date: date | None) -> bool:
        """Whether a read on `day` is a full one, given the day of the last full read."""
        return (
            own.depth != "recent"
            or not self.in_order
            or whole_date is None
            or (day - whole_date).days >= own.full_every
        )

    def expected(self, own: ListSettings, *, whole: bool) -> int:
        """Pages of the next read. `whole`: a `recent` list is fully read."""
        if self.status != "found":
            return 1
        if own.max_pages is not None:
            return min(own.max_pages, self.full)
        return self.recent if own.depth == "recent" and not whole else self.full


def costs_before(con: duckdb.DuckDBPyConnection, day: date) -> dict[tuple[str, str], Cost]:
    """(relation, handle) -> cost, from the snapshots before `day`."""
    rows = con.execute(sql("costs"), {"day": day}).fetchall()
    return {(row[0], row[1]): Cost(*row) for row in rows}
