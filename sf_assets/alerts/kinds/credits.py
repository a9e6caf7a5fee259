"""Credits that do not last as long as they should."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, ClassVar

import duckdb

from sf_assets.alerts.kinds.base import Alert, Look, Words, rate
from sf_assets.model import AlertKind
from sf_assets.warehouse.statements import sql

# Credits are low where they do not last so many days as the last 7 were.
CREDIT_DAYS = 3


@dataclass(frozen=True)
class CreditsLow(Alert):
    """The `balance` left after a run of `day`, and what the days before took (`a_day`)."""

    kind: ClassVar[AlertKind] = "credits"

    balance: int
    a_day: float | None

    @classmethod
    def find(cls, look: Look) -> list[CreditsLow]:
        """The balance with which the credits got low, where they still are.

        Low is less than CREDIT_DAYS days as the 7 before it were, or nothing left. It stays low
        until credits are added: one alert a spell, however the spending goes up and down.
        """
        try:
            rows = look.rows(sql("alert_balances"))
        except duckdb.CatalogException:
            return []  # published by a version that did not ask for balances
        spent = dict(look.rows(sql("alert_spent")))
        low_since: CreditsLow | None = None
        before: int | None = None
        for at, day, balance in rows:
            a_day = _usual_spending(spent, day)
            low = balance == 0 or (a_day is not None and balance < CREDIT_DAYS * a_day)
            if low and low_since is None:
                low_since = cls((f"{at}/credits",), None, (), day, None, balance, a_day)
            elif not low and before is not None and balance > before:
                low_since = None
            before = balance
        return [] if low_since is None else [low_since]

    @property
    def place(self) -> str:
        return "/assets/social_fetch_api?view=checks"

    @property
    def details(self) -> dict[str, Any]:
        a_day = None if self.a_day is None else round(self.a_day)
        return {"balance": self.balance, "credits_a_day": a_day}

    @property
    def words(self) -> Words:
        usual = (
            f"; the days before took {self.a_day:,.0f} each, so it is enough for "
            f"{rate(self.balance / self.a_day)} days"
            if self.a_day
            else ""
        )
        return Words(
            f"Credits are low: {self.balance:,} left",
            f"{self.balance:,} left on {self.day} (UTC){usual}.",
            "When they are spent, lists are cut short, and a day that was missed cannot be bought "
            "later. Top up, or read less: sf-assets track HANDLE --pages N.",
            "enough",
            f"{self.balance:,}",
        )


def _usual_spending(spent: Mapping[date, int], day: date) -> float | None:
    """Mean credits of the 7 days before `day`, of those on which any were spent."""
    past = [spent.get(day - timedelta(days=back), 0) for back in range(1, 8)]
    bought = [float(one) for one in past if one]
    return sum(bought) / len(bought) if bought else None
