"""`notable`: verified or large accounts that came to a list or left it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any, ClassVar, Literal

from sf_assets.alerts.kinds.base import NAMED, Alert, AlertContext, Level, Words, partition
from sf_assets.alerts.strangers import plain_name, stranger
from sf_assets.model import AlertKind
from sf_assets.text import counted
from sf_assets.warehouse.statements import sql


@dataclass(frozen=True)
class NotableAccount:
    """An account that is verified or large, by its newest profile."""

    change_id: str
    account_id: str
    account_handle: str | None
    display_name: str | None
    verified: bool | None
    followers: int | None

    @property
    def who(self) -> str:
        """The account in a message: its handle, or its id without names."""
        if self.account_handle is not None:
            return stranger(self.account_handle)
        # The id of an account without an id in the API is its handle.
        by_id = not self.account_id.startswith("@")
        return f"account {self.account_id}" if by_id else "an account without an id"

    def __str__(self) -> str:
        name = plain_name(self.display_name)
        notes = [name] if name else []
        notes += ["verified"] if self.verified else []
        notes += [counted(self.followers, "follower")] if self.followers is not None else []
        return self.who + (f" ({', '.join(notes)})" if notes else "")

    def without_names(self) -> NotableAccount:
        """The account with its id only."""
        return NotableAccount(self.change_id, self.account_id, None, None, None, None)


@dataclass(frozen=True)
class NotableChange(Alert):
    """Notable accounts that came to a list or left it on a day, the verified and largest first."""

    kind: ClassVar[AlertKind] = "notable"

    change: Literal["came", "left"]
    accounts: tuple[NotableAccount, ...]

    @classmethod
    def find(cls, context: AlertContext) -> list[NotableChange]:
        """One alert per list, day and direction.

        Only confirmed changes, so a loss is reported two lists later.
        """
        rows = context.rows(sql("alert_notable"), since=context.since)
        found = []
        for (day, handle, relation, change, previous), group in groupby(rows, lambda row: row[:5]):
            accounts = tuple(
                NotableAccount(
                    f"{day}/{handle}/{relation}/notable-{kind}/{account}", account, *rest
                )
                for *_, kind, account, name, shown, verified, followers in group
                for rest in [(name, shown, verified, followers)]
            )
            ids = tuple(account.change_id for account in accounts)
            found.append(cls(ids, handle, (relation,), day, previous, change, accounts))
        return found

    @property
    def run_name(self) -> str:
        return f"{self.day}/{self.handle}/{self.relations[0]}/notable-{self.change}"

    def without_names(self) -> NotableChange:
        return replace(self, accounts=tuple(account.without_names() for account in self.accounts))

    @property
    def level(self) -> Level:
        return "info"

    @property
    def ui_path(self) -> str:
        asset = "follower_churn" if self.relations == ("followers",) else "following_churn"
        return partition(asset, str(self.day))

    @property
    def details(self) -> dict[str, Any]:
        accounts = [asdict(account) for account in self.accounts]
        for account in accounts:
            del account["change_id"]
        return {"change": self.change, "accounts": accounts}

    @property
    def words(self) -> Words:
        who = "; ".join(map(str, self.accounts[:NAMED]))
        more = len(self.accounts) - NAMED
        who += f"; and {more:,} more" if more > 0 else ""
        states = ("not listed", "listed") if self.change == "came" else ("listed", "not listed")
        return Words(
            self._what,
            f"Between {self.previous_day} and {self.day} (UTC): {who}.",
            "The lists confirm it. The view notable_changes has all notable accounts.",
            *states,
        )

    @property
    def _what(self) -> str:
        many = len(self.accounts)
        name = self.accounts[0].who
        if self.relations == ("following",):
            who = name if many == 1 else f"{many:,} notable accounts"
            return f"now follows {who}" if self.change == "came" else f"no longer follows {who}"
        if many > 1:
            return f"{many:,} notable followers {self.change}"
        return f"notable follower {name} {self.change}"

    def undelivered_part(self, delivered: Collection[str]) -> Alert | None:
        """The alert without delivered accounts. More accounts of the day may be found later."""
        left = tuple(account for account in self.accounts if account.change_id not in delivered)
        if not left:
            return None
        return replace(self, accounts=left, change_ids=tuple(account.change_id for account in left))
