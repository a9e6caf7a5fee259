"""`churn`: a handle lost or gained many more followers than usual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from sf_assets.alerts.kinds.base import Alert, AlertContext, Level, Words, partition, rate
from sf_assets.model import AlertKind
from sf_assets.text import counted
from sf_assets.warehouse.statements import sql

# The losses (or gains) of a day are a spike if they are at least SPIKE_ACCOUNTS, at least
# SPIKE_TIMES the handle's median of the 28 days before, and more than on any of them. This needs
# SPIKE_MIN_DAYS days.
SPIKE_ACCOUNTS = 20
SPIKE_TIMES = 3
SPIKE_MIN_DAYS = 7

_MEANS = {
    "lost": "Later lists confirm these losses. Many losses on one day are most often a purge by "
    "TikTok or bots that leave together.",
    "gained": "These gains are proved. The view weekly_retention shows later how many of them "
    "stay; bought followers leave again.",
}


@dataclass(frozen=True)
class ChurnSpike(Alert):
    """Far more losses or gains on a day than on the 28 days before. Figures are accounts."""

    kind: ClassVar[AlertKind] = "churn"

    change: Literal["lost", "gained"]
    accounts: int
    usual: float
    most: float
    followers_total: int | None

    @classmethod
    def find(cls, context: AlertContext) -> list[ChurnSpike]:
        """The spikes since `context.since`."""
        rows = context.rows(
            sql("alert_churn"),
            since=context.since,
            min_days=SPIKE_MIN_DAYS,
            accounts=SPIKE_ACCOUNTS,
            times=SPIKE_TIMES,
        )
        return [
            cls(
                (f"{day}/{handle}/followers/churn-{change}",),
                handle,
                ("followers",),
                day,
                previous,
                change,
                *figures,
            )
            for day, handle, previous, change, *figures in rows
        ]

    @property
    def level(self) -> Level:
        return "warning" if self.change == "lost" else "info"

    @property
    def ui_path(self) -> str:
        return partition("follower_churn", str(self.day))

    @property
    def details(self) -> dict[str, Any]:
        return {
            "change": self.change,
            "accounts": self.accounts,
            "usual_a_day": round(self.usual, 1),
            "most_a_day": round(self.most, 1),
            "followers_total": self.followers_total,
        }

    @property
    def words(self) -> Words:
        days = (self.day - self.previous_day).days if self.previous_day else 1
        span = "in a day" if days == 1 else f"in {days} days"
        total = "" if self.followers_total is None else f" The total is {self.followers_total:,}."
        usual = f"{rate(self.usual)} a day"
        return Words(
            f"{counted(self.accounts, 'follower')} {self.change} {span}",
            f"{self.accounts:,} {self.change} between {self.previous_day} and {self.day} (UTC). In "
            f"the 28 days before, the median was {usual} and the maximum {rate(self.most)}.{total}",
            _MEANS[self.change],
            usual,
            f"{self.accounts:,} {self.change}",
        )
