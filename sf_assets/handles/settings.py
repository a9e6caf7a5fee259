"""What may be said of a handle, and what follows from it."""

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

# What may be said of one of a handle's two lists.
OF_A_LIST = ("depth", "full_every", "weekdays")

# What a browser's address line has of a profile.
_PROFILE = re.compile(r"(?:https?://)?(?:www\.|m\.)?tiktok\.com/@([^/?#@]+)/?(?:[?#].*)?", re.I)

Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class RegistryError(SettingsError):
    """`handles.yaml` or a handle is wrong; the list last read stays in force."""


def normalise_handle(text: str) -> str:
    """`@Bob `, or the address of its profile -> `bob`.

    Letters a-z, digits, `_` and `.`, 1 to 128 characters, no `.` at an end. Raises RegistryError
    for anything else, because a handle becomes a partition key and a path.
    """
    pasted = _PROFILE.fullmatch(text.strip())
    handle = (pasted.group(1) if pasted else text.strip().removeprefix("@")).lower()
    # Asked of the text as it came: the Kelvin sign's lower case is an ordinary k.
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
    """How deep one list is read, and on which days.

    `recent`: from the top until what comes is known; all of it every `full_every` days.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    depth: Depth = "full"
    full_every: int = Field(default=7, ge=1)
    weekdays: tuple[Weekday, ...] = Field(default=WEEKDAYS, min_length=1)

    @property
    def max_pages(self) -> int | None:
        """Pages to read of a list, None for all of them."""
        return self.depth.pages if isinstance(self.depth, PageDepth) else None

    def due(self, day: date) -> bool:
        """Whether the list is read on that day by itself."""
        return WEEKDAYS[day.weekday()] in self.weekdays

    def said(self) -> str:
        """In a few words: `full`, `recent (full every 7 days), mon thu`."""
        depth = f"{counted(self.max_pages, 'page')}" if self.max_pages else str(self.depth)
        if self.depth == "recent":
            depth += f" (full every {counted(self.full_every, 'day')})"
        days = "" if set(self.weekdays) == set(WEEKDAYS) else ", " + " ".join(self.weekdays)
        return depth + days


class HandleSettings(ListSettings):
    """What may be said of a handle, or of all of them under `defaults:`.

    `followers` and `following` say otherwise of one of its lists. `daily_credits` are the most that
    both together may cost a day.
    """

    relations: tuple[Relation, ...] = RELATIONS
    priority: int = 0
    daily_credits: int | None = Field(default=None, ge=1)
    user_id: str | None = Field(default=None, pattern=r"^[0-9]{1,20}$")
    tags: tuple[Tag, ...] = ()
    followers: ListSettings | None = None
    following: ListSettings | None = None

    def of(self, relation: Relation) -> ListSettings:
        """The settings of one of its lists."""
        own = self.followers if relation == "followers" else self.following
        return own or self


class Retention(BaseModel):
    """For how many days the home keeps what the tables do not need.

    `raw_days`: pages of archived lists as they came. `runs_days`: runs in Dagster with their logs,
    and the old files of rebuilds. `profiles_days`: profiles of accounts that left every list; None
    for ever.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    raw_days: int = Field(default=7, ge=1, le=36_500)
    # The sensors look at the runs of yesterday.
    runs_days: int = Field(default=90, ge=2, le=36_500)
    profiles_days: int | None = Field(default=None, ge=1, le=36_500)

    @property
    def old_files_days(self) -> int:
        """The old files of rebuilds have profiles, too."""
        return min(self.runs_days, self.profiles_days or self.runs_days)

    @model_validator(mode="after")
    def _pages_go_first(self) -> Retention:
        if self.profiles_days is not None and self.profiles_days < self.raw_days:
            raise ValueError(
                "profiles_days must not be less than raw_days: raw pages have profiles"
            )
        return self


class AlertSettings(BaseModel):
    """What `alerts:` says: about whom there are alerts, and who else gets those of a tag.

    `tags` None: about all handles. `addresses`: tag -> Apprise URLs.
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

    `defaults` are the settings of a handle that is not tracked. `has_list`: the file has the key
    `handles`; without it, the file does not say who is tracked. `pseudonyms`: no name of a listed
    account is kept.
    """

    handles: dict[str, HandleSettings] = field(default_factory=dict)
    defaults: HandleSettings = field(default_factory=HandleSettings)
    has_list: bool = field(default=True, compare=False)
    retention: Retention = field(default_factory=Retention, compare=False)
    alerts: AlertSettings = field(default_factory=AlertSettings, compare=False)
    pseudonyms: bool = field(default=False, compare=False)

    def settings_of(self, handle: str) -> HandleSettings:
        return self.handles.get(handle, self.defaults)

    def tagged(self, tags: Iterable[str]) -> list[str]:
        """The handles that have one of these tags. Raises RegistryError for a tag that none has."""
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
        """Whether a list is tracked, and read on that day by itself."""
        own = self.handles.get(handle)
        return own is not None and relation in own.relations and own.of(relation).due(day)

    def lists_due(self, day: date) -> list[SnapshotKey]:
        """The lists that are read on that day by themselves."""
        return self.lists_of(self.handles, RELATIONS, day, due_only=True)

    def lists_of(
        self, handles: Iterable[str], relations: Sequence[Relation], day: date, *, due_only: bool
    ) -> list[SnapshotKey]:
        """The lists of these handles, of untracked ones as the defaults say; or those due."""
        return [
            SnapshotKey(day, handle, relation)
            for handle in handles
            for relation in relations
            if relation in self.settings_of(handle).relations
            and (not due_only or self.due(handle, relation, day))
        ]

    def closest(self, handle: str) -> str | None:
        """A tracked handle that looks like this one, for "did you mean"."""
        return next(iter(difflib.get_close_matches(handle, self.handles, n=1)), None)


#: A page that is all known, and one more: what comes below is as it was.
PAGES_KNOWN = 2
