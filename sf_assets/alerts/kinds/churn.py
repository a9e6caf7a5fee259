"""A churn spike: many more followers lost, or gained, than is usual for the handle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from sf_assets.alerts.kinds.base import Alert, Level, Look, Words, partition, rate
from sf_assets.model import AlertKind
from sf_assets.text import counted
from sf_assets.warehouse.statements import sql

# A day's losses (or gains) are a spike where they are at least so many, at least so many times the
# handle's median of the 28 days before, and more than on any of these. A handle with fewer days to
# compare with has no usual yet.
SPIKE_ACCOUNTS = 20
SPIKE_TIMES = 3
SPIKE_MIN_DAYS = 7

_MEANS = {
    "lost": "Later lists confirm that they are gone. So many at once are most often a purge by "
    "TikTok or bots that leave together.",
    "gained": "They count as gained. Whether they stay is in the view weekly_retention: bought "
    "followers leave again.",
}


@dataclass(frozen=True)
class ChurnSpike(Alert):
    """Far more losses or gains on a day than on the handle's 28 days before."""

    kind: ClassVar[AlertKind] = "churn"

    change: Literal["lost", "gained"]
    accounts: int
    usual: float
    most: float
    followers_total: int | None

    @classmethod
    def find(cls, look: Look) -> list[ChurnSpike]:
        rows = look.rows(
            sql("alert_churn"),
            since=look.since,
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
    def place(self) -> str:
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
        total = "" if self.followers_total is None else f" Now {self.followers_total:,} in all."
        usual = f"{rate(self.usual)} a day"
        return Words(
            f"{counted(self.accounts, 'follower')} {self.change} {span}",
            f"{self.accounts:,} {self.change} between {self.previous_day} and {self.day} (UTC); in "
            f"the 28 days before it was {usual} and never more than {rate(self.most)}.{total}",
            _MEANS[self.change],
            usual,
            f"{self.accounts:,} {self.change}",
        )
