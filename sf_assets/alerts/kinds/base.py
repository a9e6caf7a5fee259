"""The base class of all kinds of alerts."""

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

# Accounts or handles listed in a message. The others are counted.
NAMED = 10


@dataclass(frozen=True)
class AlertContext:
    """What a kind finds its alerts in. `con` is None if nothing is published.

    The kind is on since the day `on_since`. `since` is that day or a later one, and changes before
    it are history.
    """

    con: duckdb.DuckDBPyConnection | None
    home: Home
    today: date
    on_since: date
    since: date
    digest_day: date | None = None
    """The newest day on which the weekly digest is due."""

    @cached_property
    def registry(self) -> Registry:
        """The handles.yaml in force."""
        return registry_in_force(self.home.registry)[0]

    def rows(self, query: str, **parameters: Any) -> list[Any]:
        """The rows of a query; empty if nothing is published."""
        return [] if self.con is None else self.con.execute(query, parameters).fetchall()


class Words(NamedTuple):
    """The texts of an alert for people, without Markdown."""

    what: str
    """What happened, as the second part of the title."""
    summary: str
    """Since when, and the state before."""
    means: str
    """What it means for the figures, and what to do."""
    was: str
    """The state before, in a word or two."""
    now: str
    """The state since then."""
    digest_suffix: str = ""
    """What follows the title in a digest."""


@dataclass(frozen=True)
class Alert(ABC):
    """One alert. `handle` is None if it concerns several handles or the whole home.

    `day` (UTC) is the first day of the new state, `previous_day` the last day of the state before,
    if there is one.
    """

    kind: ClassVar[AlertKind]
    # Whether a mail has a row for the first day, and for the state before.
    has_since: ClassVar[bool] = True
    has_before: ClassVar[bool] = False

    change_ids: tuple[str, ...]
    handle: str | None
    relations: tuple[str, ...]
    day: date
    previous_day: date | None

    @classmethod
    @abstractmethod
    def find(cls, context: AlertContext) -> Sequence[Alert]:
        """All alerts of this kind, delivered or not.

        An id depends on the change only, so deriving a day again gives the same id.
        """

    @property
    def concerns(self) -> tuple[str, ...]:
        """The handles that the alert is about; empty if it is about the whole home."""
        return (self.handle,) if self.handle else ()

    @property
    def tag(self) -> str | None:
        """The tag whose addresses get the alert; None for all addresses of its handles."""
        return None

    @property
    def lines(self) -> Sequence[tuple[str, str]]:
        """The lines after the sentences: (label, text)."""
        return ()

    @property
    def charts(self) -> Sequence[tuple[str, str]]:
        """Charts to attach if the service accepts files: (file name, SVG)."""
        return ()

    @property
    def id(self) -> str:
        """The id of the first change."""
        return self.change_ids[0]

    @property
    def run_name(self) -> str:
        """The name of the delivery run, without names of listed accounts."""
        return self.id

    def without_names(self) -> Alert:
        """The alert for logs and events, with ids instead of names of listed accounts."""
        return self

    @property
    def level(self) -> Level:
        """How serious the alert is."""
        return "warning"

    @property
    @abstractmethod
    def ui_path(self) -> str:
        """The path in the Dagster UI that shows the change."""

    @property
    @abstractmethod
    def details(self) -> dict[str, Any]:
        """More fields for machines, with names unchanged (docs/alerts.md)."""

    @property
    @abstractmethod
    def words(self) -> Words:
        """The texts of the message."""

    def undelivered_part(self, delivered: Collection[str]) -> Alert | None:
        """What remains to deliver; None if nothing does.

        One delivered id is enough, because the second list of a handle may be read later and show
        the same change.
        """
        return None if any(change in delivered for change in self.change_ids) else self


def partition(asset: str, key: str) -> str:
    """The UI path of a partition of an asset."""
    return f"/assets/{asset}?view=partitions&partition={key}"


def cell(relation: str, day: date, handle: str) -> str:
    """The UI path of the snapshot of a list."""
    asset = "follower_snapshots" if relation == "followers" else "following_snapshots"
    return partition(asset, f"{day}%7C{handle}")


def rate(value: float) -> str:
    """A number of accounts or days, with one decimal if it is small."""
    return f"{value:,.0f}" if value >= 10 or value == round(value) else f"{value:,.1f}"
