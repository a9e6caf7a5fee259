"""What every kind of alert has: how it is found, what it says, where to look at it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

import duckdb

from sf_assets.handles.parse import registry_in_force
from sf_assets.handles.settings import Registry
from sf_assets.model import AlertKind
from sf_assets.storage.home import Home

Level = Literal["warning", "info", "success"]

# Accounts or handles named in a message; the others are counted.
NAMED = 10


@dataclass(frozen=True)
class Look:
    """What a kind finds its alerts in. `con` is None where nothing is published.

    The kind was switched on on the day `on_since`; `since` is that day or a later one, before which
    everything is history.
    """

    con: duckdb.DuckDBPyConnection | None
    home: Home
    today: date
    on_since: date
    since: date
    digest_day: date | None = None
    """The newest day whose hour of the weekly digest has come."""

    @cached_property
    def registry(self) -> Registry:
        return registry_in_force(self.home.registry)[0]

    def rows(self, query: str, **parameters: Any) -> list[Any]:
        """The rows of a query; none where nothing is published."""
        return [] if self.con is None else self.con.execute(query, parameters).fetchall()


class Words(NamedTuple):
    """What people are told of an alert; no text holds Markdown."""

    what: str
    """What happened, as the end of a title."""
    said: str
    """Since when, and what it was before."""
    means: str
    """What it means for the figures, and what to do."""
    was: str
    """The state before, in a word or two."""
    now: str
    """The state since."""
    turn: str = ""
    """What follows the title in a digest."""


@dataclass(frozen=True)
class Alert(ABC):
    """Something to tell. `handle` is None where it concerns all of them.

    It is so since `day` (UTC); `previous_day` is when it was last seen otherwise, where there is
    one.
    """

    kind: ClassVar[AlertKind]
    # Whether a mail has a line for since when it is so, and for what it was before.
    has_since: ClassVar[bool] = True
    has_before: ClassVar[bool] = False

    change_ids: tuple[str, ...]
    handle: str | None
    relations: tuple[str, ...]
    day: date
    previous_day: date | None

    @classmethod
    @abstractmethod
    def find(cls, look: Look) -> Sequence[Alert]:
        """All there is of this kind, told or not.

        The id of each names what happened, not when it was looked for: deriving a day again gives
        the same one.
        """

    @property
    def concerns(self) -> tuple[str, ...]:
        """The handles that it names; none where it concerns the whole home."""
        return (self.handle,) if self.handle else ()

    @property
    def tag(self) -> str | None:
        """The tag whose addresses alone get it; None: whoever `concerns` says."""
        return None

    @property
    def lines(self) -> Sequence[tuple[str, str]]:
        """What follows the sentences, (label, text) each."""
        return ()

    @property
    def charts(self) -> Sequence[tuple[str, str]]:
        """Pictures to attach where that works: name and SVG."""
        return ()

    @property
    def id(self) -> str:
        """The id of the first change."""
        return self.change_ids[0]

    @property
    def run_name(self) -> str:
        """Names the run that delivers the alert, and nobody who is merely listed."""
        return self.id

    def without_names(self) -> Alert:
        """The same for logs and events: accounts that are merely listed by their ids."""
        return self

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

    @property
    @abstractmethod
    def words(self) -> Words:
        """What people are told of it."""

    def untold(self, told: Collection[str]) -> Alert | None:
        """What is left of it to tell; None where nothing is.

        The second list of a handle may be read later than the first; the same change is not told
        twice.
        """
        return None if any(one in told for one in self.change_ids) else self


def partition(asset: str, key: str) -> str:
    """The address of an asset's partition in the UI."""
    return f"/assets/{asset}?view=partitions&partition={key}"


def cell(relation: str, day: date, handle: str) -> str:
    """The address of a list's snapshot in the UI."""
    asset = "follower_snapshots" if relation == "followers" else "following_snapshots"
    return partition(asset, f"{day}%7C{handle}")


def rate(value: float) -> str:
    """A number of accounts or days, with a decimal where it is small."""
    return f"{value:,.0f}" if value >= 10 or value == round(value) else f"{value:,.1f}"
