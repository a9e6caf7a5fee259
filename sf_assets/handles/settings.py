"""The settings of handles, and the registry of tracked handles."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StringConstraints,
    field_validator,
    model_validator,
)

from sf_assets.errors import SettingsError
from sf_assets.model import RELATIONS, Relation, SnapshotKey, is_handle
from sf_assets.text import counted

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

# Settings that can be given for one of the two lists of a handle.
OF_A_LIST = ("depth", "full_every", "weekdays")

# The URL of a profile as browsers show it.
_PROFILE = re.compile(r"(?:https?://)?(?:www\.|m\.)?tiktok\.com/@([^/?#@]+)/?(?:[?#].*)?", re.I)

Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class RegistryError(SettingsError):
    """`handles.yaml` or a handle is invalid. The last valid version stays in force."""


def normalise_handle(text: str) -> str:
    """`@Bob `, or the URL of the profile -> `bob`.

    A handle has 1 to 128 letters a-z, digits, `_` and `.`, and no `.` at an end. Raises
    RegistryError for anything else, because a handle becomes a partition key and a path.
    """
    pasted = _PROFILE.fullmatch(text.strip())
    handle = (pasted.group(1) if pasted else text.strip().removeprefix("@")).lower()
    # Checks the original text: the lower case of the Kelvin sign is an ordinary k.
    if not text.strip().isascii() or not is_handle(handle):
        shown = text if len(text) <= 60 else text[:57] + "…"
        raise RegistryError(
            f"{shown!r} is not a TikTok handle: use 1 to 128 letters a-z, digits, underscores and "
            "periods, without a period at either end"
        )
    return handle


class PageDepth(BaseModel):
    """Read at most this many pages of a list a day."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    pages: int = Field(ge=1)


Depth = Literal["full", "recent"] | PageDepth


class ListSettings(BaseModel):
    """How much of a list is read, and on which days.

    `recent`: from the top to accounts of the last snapshot; the full list every `full_every` days.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    depth: Depth = "full"
    full_every: int = Field(default=7, ge=1)
    weekdays: tuple[Weekday, ...] = Field(default=WEEKDAYS, min_length=1)

    @property
    def max_pages(self) -> int | None:
        """Maximum number of pages, or None."""
        return self.depth.pages if isinstance(self.depth, PageDepth) else None

    def due(self, day: date) -> bool:
        """Whether the schedule reads the list on that day."""
        return WEEKDAYS[day.weekday()] in self.weekdays

    def describe(self) -> str:
        """A short description: `full`, `recent (full every 7 days), mon thu`."""
        depth = f"{counted(self.max_pages, 'page')}" if self.max_pages else str(self.depth)
        if self.depth == "recent":
            depth += f" (full every {counted(self.full_every, 'day')})"
        days = "" if set(self.weekdays) == set(WEEKDAYS) else ", " + " ".join(self.weekdays)
        return depth + days


class HandleSettings(ListSettings):
    """The settings of a handle, or `defaults:` of all handles.

    `followers` and `following` override settings for one list. `daily_credits`: maximum cost of
    both lists per day. `breaks`: whether the lists from a day on `continue` the earlier ones (same
    person) or start a `new` series.
    """

    relations: tuple[Relation, ...] = RELATIONS
    priority: int = 0
    daily_credits: int | None = Field(default=None, ge=1)
    user_id: str | None = Field(default=None, pattern=r"^[0-9]{1,20}$")
    tags: tuple[Tag, ...] = ()
    followers: ListSettings | None = None
    following: ListSettings | None = None
    breaks: dict[date, Literal["continue", "new"]] = Field(default_factory=dict)

    def of(self, relation: Relation) -> ListSettings:
        """The settings of one of the two lists."""
        own = self.followers if relation == "followers" else self.following
        return own or self


class Retention(BaseModel):
    """Days for which the home keeps data that the tables do not need.

    `raw_days`: API pages of archived lists. `runs_days`: Dagster runs with their logs, and old
    files of rebuilds. `profiles_days`: profiles of accounts that left every list; None: no limit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    raw_days: int = Field(default=7, ge=1, le=36_500)
    # The sensors need yesterday's runs.
    runs_days: int = Field(default=90, ge=2, le=36_500)
    profiles_days: int | None = Field(default=None, ge=1, le=36_500)

    @property
    def old_files_days(self) -> int:
        """Days for which old files of rebuilds are kept; they contain profiles."""
        return min(self.runs_days, self.profiles_days or self.runs_days)

    @model_validator(mode="after")
    def _pages_go_first(self) -> Retention:
        if self.profiles_days is not None and self.profiles_days < self.raw_days:
            raise ValueError(
                "profiles_days must be at least raw_days, because raw pages contain profiles"
            )
        return self


class AlertSettings(BaseModel):
    """The settings under `alerts:`.

    `tags`: send alerts about handles with these tags only; None means all. `addresses`: tag ->
    additional Apprise URLs.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    tags: tuple[Tag, ...] | None = Field(default=None, min_length=1)
    addresses: dict[str, tuple[SecretStr, ...]] = Field(default_factory=dict)

    @field_validator("addresses", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {tag: (urls,) if isinstance(urls, str) else urls for tag, urls in value.items()}


@dataclass(frozen=True)
class Registry:
    """The tracked handles, in the order of the file.

    `defaults`: the settings of handles that are not tracked. `has_list`: whether the file has the
    key `handles`. `pseudonyms`: names of listed accounts are not kept.
    """

    handles: dict[str, HandleSettings] = field(default_factory=dict)
    defaults: HandleSettings = field(default_factory=HandleSettings)
    has_list: bool = field(default=True, compare=False)
    retention: Retention = field(default_factory=Retention, compare=False)
    alerts: AlertSettings = field(default_factory=AlertSettings, compare=False)
    pseudonyms: bool = field(default=False, compare=False)

    def settings_of(self, handle: str) -> HandleSettings:
        """The settings of a handle, or the defaults if it is not tracked."""
        return self.handles.get(handle, self.defaults)

    def tagged(self, tags: Iterable[str]) -> list[str]:
        """The handles with one of these tags. Raises RegistryError for a tag that no handle has."""
        wanted = set(tags)
        known = self.tags_of(self.handles)
        for tag in wanted - set(known):
            hint = f"tags are {', '.join(known)}" if known else "give it `tags: [...]` there"
            raise RegistryError(f"no handle in handles.yaml has the tag {tag!r}; {hint}")
        return [handle for handle, own in self.handles.items() if wanted & set(own.tags)]

    def tags_of(self, handles: Iterable[str]) -> list[str]:
        """All tags of these handles, sorted."""
        return sorted({tag for handle in handles for tag in self.settings_of(handle).tags})

    def due(self, handle: str, relation: Relation, day: date) -> bool:
        """Whether a list is tracked and the schedule reads it on that day."""
        own = self.handles.get(handle)
        return own is not None and relation in own.relations and own.of(relation).due(day)

    def lists_due(self, day: date) -> list[SnapshotKey]:
        """The lists that the schedule reads on that day."""
        return self.lists_of(self.handles, RELATIONS, day, due_only=True)

    def lists_of(
        self, handles: Iterable[str], relations: Sequence[Relation], day: date, *, due_only: bool
    ) -> list[SnapshotKey]:
        """The lists of these handles, or only those due. Untracked handles use the defaults."""
        return [
            SnapshotKey(day, handle, relation)
            for handle in handles
            for relation in relations
            if relation in self.settings_of(handle).relations
            and (not due_only or self.due(handle, relation, day))
        ]

    def closest(self, handle: str) -> str | None:
        """The tracked handle with the most similar name, or None."""
        return next(iter(difflib.get_close_matches(handle, self.handles, n=1)), None)


#: Consecutive pages with known accounts only, after which the rest of a list is unchanged.
PAGES_KNOWN = 2
