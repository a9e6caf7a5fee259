"""`purge`, `wave` and `milestone`: events of a handle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sf_assets.alerts.kinds.base import Alert, AlertContext, Level, Words, partition, rate
from sf_assets.model import AlertKind
from sf_assets.text import counted
from sf_assets.warehouse.statements import sql

# A common property is reported if its share exceeds that among all listed accounts by this much.
ALIKE = 0.2


@dataclass(frozen=True)
class Event(Alert):
    """A row of `events`."""

    accounts: int | None
    usual: float | None
    net: int | None
    followers_total: int | None
    milestone: int | None
    alike_in: str | None
    alike_value: str | None
    alike_share: float | None
    alike_share_listed: float | None

    @classmethod
    def find(cls, context: AlertContext) -> list[Event]:
        """The events of this kind since `context.since`."""
        rows = context.rows(sql("alert_events"), kind=cls.kind, since=context.since)
        return [
            cls(
                (f"{day}/{handle}/followers/{cls.kind}",),
                handle,
                ("followers",),
                day,
                previous,
                *figures,
            )
            for day, handle, previous, *figures in rows
        ]

    @property
    def level(self) -> Level:
        return "warning" if self.kind == "purge" else "info"

    @property
    def ui_path(self) -> str:
        return partition("follower_growth", str(self.day))

    @property
    def details(self) -> dict[str, Any]:
        names = ["accounts", "followers_total", "milestone", "alike_in", "alike_value"]
        names += ["alike_share", "alike_share_listed"]
        fields = {name: getattr(self, name) for name in names}
        return {**fields, "usual_a_day": self.usual, "followers_net": self.net}

    def _alike(self) -> str:
        among = self.alike_share_listed or 0
        if self.alike_in is None or (self.alike_share or 0) - among < ALIKE:
            return ""
        return (
            f" Most common property: {self.alike_in.replace('_', ' ')} {self.alike_value}, "
            f"{100 * (self.alike_share or 0):.0f} % of them against {100 * among:.0f} % of all "
            "listed accounts."
        )

    def _many(self, went: str, means: str) -> Words:
        accounts = self.accounts or 0
        usual = f"{rate(self.usual or 0)} a day"
        total = "" if self.net is None else f", and the total changed by {self.net:+,}"
        return Words(
            f"{self.kind}: {counted(accounts, 'follower')} {went}",
            f"{accounts:,} {went} between {self.previous_day} and {self.day} (UTC){total}. The "
            f"median before was {usual}.",
            means + self._alike(),
            usual,
            f"{accounts:,} {went}",
        )


@dataclass(frozen=True)
class Purge(Event):
    """Many followers left on a day, and the total fell by as much."""

    kind: ClassVar[AlertKind] = "purge"

    @property
    def words(self) -> Words:
        return self._many("left", "Later lists confirm these losses.")


@dataclass(frozen=True)
class Wave(Event):
    """Many followers came on a day."""

    kind: ClassVar[AlertKind] = "wave"

    @property
    def words(self) -> Words:
        return self._many("came", "The view weekly_retention shows later how many of them stay.")


@dataclass(frozen=True)
class Milestone(Event):
    """The total reached a round number for the first time."""

    kind: ClassVar[AlertKind] = "milestone"

    @property
    def words(self) -> Words:
        total = f"{self.followers_total:,}"
        return Words(
            f"{self.milestone:,} followers",
            f"{total} followers on {self.day} (UTC), for the first time at least "
            f"{self.milestone:,}.",
            "This is the total that the API reports. It includes banned and private accounts.",
            "",
            total,
        )
