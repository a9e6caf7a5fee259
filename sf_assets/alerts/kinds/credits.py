"""`credits`: the balance lasts only a few days."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, ClassVar

import duckdb

from sf_assets.alerts.kinds.base import Alert, AlertContext, Words, rate
from sf_assets.model import AlertKind
from sf_assets.text import counted
from sf_assets.warehouse.statements import sql

# Credits are low if they do not last this many days at the spend of the last 7 days.
CREDIT_DAYS = 3


@dataclass(frozen=True)
class CreditsLow(Alert):
    """The `balance` after a run on `day`, and the mean credits per day before it (`a_day`)."""

    kind: ClassVar[AlertKind] = "credits"

    balance: int
    a_day: float | None

    @classmethod
    def find(cls, context: AlertContext) -> list[CreditsLow]:
        """The first low balance, if the credits are still low: one alert until credits are added.

        A balance is low if it is 0 or less than CREDIT_DAYS times the mean of the 7 days before.
        """
        try:
            rows = context.rows(sql("alert_balances"))
        except duckdb.CatalogException:
            return []  # published by a version without balances
        spent = dict(context.rows(sql("alert_spent")))
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
    def ui_path(self) -> str:
        return "/assets/social_fetch_api?view=checks"

    @property
    def details(self) -> dict[str, Any]:
        a_day = None if self.a_day is None else round(self.a_day)
        return {"balance": self.balance, "credits_a_day": a_day}

    @property
    def words(self) -> Words:
        usual = (
            f"; the days before cost {self.a_day:,.0f} each, so they last for "
            f"{rate(self.balance / self.a_day)} days"
            if self.a_day
            else ""
        )
        return Words(
            f"Credits are low: {self.balance:,} left",
            f"{counted(self.balance, 'credit')} left on {self.day} (UTC){usual}.",
            "Without credits, lists are cut short, and a missed day cannot be read later. Top up, "
            "or read less: sf-assets track HANDLE --pages N.",
            "enough",
            f"{self.balance:,}",
        )


def _usual_spending(spent: Mapping[date, int], day: date) -> float | None:
    """Mean credits per day of the 7 days before `day`, without days that cost nothing."""
    past = [spent.get(day - timedelta(days=back), 0) for back in range(1, 8)]
    bought = [float(credits) for credits in past if credits]
    return sum(bought) / len(bought) if bought else None
