"""The kinds of alerts: what each tells, since when, and where in the Dagster UI to look at it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, ClassVar, Literal

from sf_assets.model import AlertKind

Level = Literal["warning", "info", "success"]


@dataclass(frozen=True)
class Alert(ABC):
    """Something to tell. `handle` is None where it concerns all of them."""

    kind: ClassVar[AlertKind]

    change_ids: tuple[str, ...]
    handle: str | None
    relations: tuple[str, ...]

    @property
    def id(self) -> str:
        """The id of the first change; names the run that delivers the alert."""
        return self.change_ids[0]

    @property
    @abstractmethod
    def day(self) -> date:
        """UTC day since when it is so."""

    @property
    def previous_day(self) -> date | None:
        """UTC day when it was last seen otherwise, where there is one."""
        return None

    @property
    def level(self) -> Level:
        return "warning"

    @property
    @abstractmethod
    def place(self) -> str:
        """Where in the Dagster UI to look at it."""

    @property
    @abstractmethod
    def details(self) -> dict[str, Any]:
        """What else machines may want to know; names stay as they are."""

    def untold(self, told: Collection[str]) -> Alert | None:
        """What is left of it to tell; None where nothing is.

        The second list of a handle may be read later than the first; the same change is not told
        twice.
        """
        return None if any(one in told for one in self.change_ids) else self


def _partition(asset: str, key: str) -> str:
    return f"/assets/{asset}?view=partitions&partition={key}"


def _cell(relation: str, day: date, handle: str) -> str:
    asset = "follower_snapshots" if relation == "followers" else "following_snapshots"
    return _partition(asset, f"{day}%7C{handle}")


@dataclass(frozen=True)
class StatusChange(Alert):
    """A change of a handle's status on a day, of one of its lists or of both alike."""

    kind: ClassVar[AlertKind] = "status"

    from_status: str
    to_status: str
    changed_on: date
    previous_date: date

    @property
    def day(self) -> date:
        return self.changed_on

    @property
    def previous_day(self) -> date:
        return self.previous_date

    @property
    def level(self) -> Level:
        return "success" if self.to_status == "found" else "warning"

    @property
    def place(self) -> str:
        return _cell(self.relations[0], self.changed_on, self.handle or "")

    @property
    def details(self) -> dict[str, Any]:
        return {"from_status": self.from_status, "to_status": self.to_status}


@dataclass(frozen=True)
class ChurnSpike(Alert):
    """Many more followers lost, or gained, than is usual for the handle."""

    kind: ClassVar[AlertKind] = "churn"

    change: Literal["lost", "gained"]
    accounts: int
    usual: float
    most: float
    snapshot_date: date
    previous_date: date
    followers_total: int | None

    @property
    def day(self) -> date:
        return self.snapshot_date

    @property
    def previous_day(self) -> date:
        return self.previous_date

    @property
    def level(self) -> Level:
        return "warning" if self.change == "lost" else "info"

    @property
    def place(self) -> str:
        return _partition("follower_churn", str(self.snapshot_date))

    @property
    def details(self) -> dict[str, Any]:
        return {
            "change": self.change,
            "accounts": self.accounts,
            "usual_a_day": round(self.usual, 1),
            "most_a_day": round(self.most, 1),
            "followers_total": self.followers_total,
        }


@dataclass(frozen=True)
class NotableAccount:
    """An account that is verified or large, as its newest profile says."""

    change_id: str
    account_id: str
    account_handle: str
    display_name: str | None
    verified: bool | None
    followers: int | None


@dataclass(frozen=True)
class NotableChange(Alert):
    """Notable accounts that came to a list of a handle, or left it, on a day."""

    kind: ClassVar[AlertKind] = "notable"

    change: Literal["came", "left"]
    snapshot_date: date
    previous_date: date
    accounts: tuple[NotableAccount, ...]

    @property
    def day(self) -> date:
        return self.snapshot_date

    @property
    def previous_day(self) -> date:
        return self.previous_date

    @property
    def level(self) -> Level:
        return "info"

    @property
    def place(self) -> str:
        asset = "follower_churn" if self.relations == ("followers",) else "following_churn"
        return _partition(asset, str(self.snapshot_date))

    @property
    def details(self) -> dict[str, Any]:
        return {
            "change": self.change,
            "accounts": [
                {
                    "account_id": one.account_id,
                    "account_handle": one.account_handle,
                    "display_name": one.display_name,
                    "verified": one.verified,
                    "followers": one.followers,
                }
                for one in self.accounts
            ],
        }

    def untold(self, told: Collection[str]) -> Alert | None:
        """Without the accounts that were told: others of the day may come to light later."""
        left = tuple(one for one in self.accounts if one.change_id not in told)
        if not left:
            return None
        return replace(self, accounts=left, change_ids=tuple(one.change_id for one in left))


@dataclass(frozen=True)
class Stale(Alert):
    """A tracked handle without a usable snapshot for days. `last_usable` None: never had one."""

    kind: ClassVar[AlertKind] = "stale"

    since: date
    last_usable: date | None
    last_snapshot: date
    last_status: str
    today: date = field(compare=False)

    @property
    def day(self) -> date:
        return self.since

    @property
    def previous_day(self) -> date | None:
        return self.last_usable

    @property
    def place(self) -> str:
        return _cell(self.relations[0], self.last_snapshot, self.handle or "")

    @property
    def details(self) -> dict[str, Any]:
        return {
            "last_usable": str(self.last_usable) if self.last_usable else None,
            "last_snapshot": str(self.last_snapshot),
            "last_status": self.last_status,
        }


@dataclass(frozen=True)
class DayFailed(Alert):
    """Lists that could not be read, since a day; with `healed_on` that they are stored again."""

    kind: ClassVar[AlertKind] = "failed"

    since: date
    lists: int
    handles: tuple[str, ...]
    reasons: tuple[str, ...]
    healed_on: date | None = field(default=None, compare=False)

    @property
    def healed(self) -> bool:
        return self.healed_on is not None

    @property
    def day(self) -> date:
        return self.healed_on or self.since

    @property
    def previous_day(self) -> date | None:
        return self.since if self.healed else None

    @property
    def level(self) -> Level:
        return "success" if self.healed else "warning"

    @property
    def place(self) -> str:
        return _cell(self.relations[0], self.day, self.handles[0])

    @property
    def details(self) -> dict[str, Any]:
        return {
            "healed": self.healed,
            "lists": self.lists,
            "handles": list(self.handles),
            "reasons": list(self.reasons),
        }


@dataclass(frozen=True)
class Reading:
    """Credits left at a moment (`at`, UTC, ISO 8601) after a run of a day."""

    at: str
    day: date
    balance: int


@dataclass(frozen=True)
class CreditsLow(Alert):
    """The credits do not last as long as they should."""

    kind: ClassVar[AlertKind] = "credits"

    reading: Reading
    a_day: float | None

    @property
    def day(self) -> date:
        return self.reading.day

    @property
    def place(self) -> str:
        return "/assets/social_fetch_api?view=checks"

    @property
    def details(self) -> dict[str, Any]:
        return {
            "balance": self.reading.balance,
            "credits_a_day": None if self.a_day is None else round(self.a_day),
        }
