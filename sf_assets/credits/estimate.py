"""What lists have really cost, and what they are likely to cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date

import duckdb

from sf_assets.handles.settings import PAGES_KNOWN, ListSettings
from sf_assets.model import Relation
from sf_assets.warehouse.alignment import MIN_ORDER_AGREEMENT
from sf_assets.warehouse.statements import sql

#: No list was ever seen to show more.
MOST_ACCOUNTS = 10_000


@dataclass(frozen=True)
class Cost:
    """What is known of the cost of a list, in pages; None where it was never read so.

    `whole` was read to its end, `top` as far as it was new, `most` is the longest reading.
    `whole_date` is the day of the last one that did not stop at what is known.
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
        """Whether the list kept its order when last compared: else its top tells nothing."""
        return self.order_agreement is None or self.order_agreement >= MIN_ORDER_AGREEMENT

    @property
    def full(self) -> int:
        """Pages of all that the list shows."""
        if self.whole is not None:
            return self.whole
        if self.total is None or not self.page_size:
            return self.most or 1
        # Cut short whenever it was read: by its total, at most what was ever seen of a list.
        shown = min(MOST_ACCOUNTS, self.total)
        return max(self.most or 1, math.ceil(shown / self.page_size))

    @property
    def recent(self) -> int:
        """Pages of a reading that stops at what is known."""
        if self.top is not None:
            return min(self.top, self.full)
        new = math.ceil((self.gained_a_day or 0) / (self.page_size or 20))
        return min(self.full, new + PAGES_KNOWN)

    def whole_due(self, own: ListSettings, day: date, whole_date: date | None) -> bool:
        """Whether a reading on `day` goes to the list's end, by the day of the last that did."""
        return (
            own.depth != "recent"
            or not self.in_order
            or whole_date is None
            or (day - whole_date).days >= own.full_every
        )

    def expected(self, own: ListSettings, *, whole: bool) -> int:
        """Pages of the next reading; `whole` where a `recent` list is read to its end."""
        if self.status != "found":
            return 1
        if own.max_pages is not None:
            return min(own.max_pages, self.full)
        return self.recent if own.depth == "recent" and not whole else self.full


def costs_before(con: duckdb.DuckDBPyConnection, day: date) -> dict[tuple[str, str], Cost]:
    """(relation, handle) -> what is known of its cost from the snapshots before `day`."""
    rows = con.execute(sql("costs"), {"day": day}).fetchall()
    return {(row[0], row[1]): Cost(*row) for row in rows}
