"""Types that every package uses: relations, handles, alert kinds, the key of a snapshot."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Literal, get_args

Relation = Literal["followers", "following"]

RELATIONS: tuple[Relation, ...] = ("followers", "following")

_HANDLE = re.compile(r"[a-z0-9_]|[a-z0-9_][a-z0-9._]{0,126}[a-z0-9_]")

# All kinds of alerts; the first four are on by default.
AlertKind = Literal[
    "status",
    "failed",
    "drift",
    "break",
    "churn",
    "notable",
    "stale",
    "credits",
    "purge",
    "wave",
    "milestone",
    "weekly",
]

ALERT_KINDS: tuple[AlertKind, ...] = get_args(AlertKind)


def is_handle(text: str) -> bool:
    """Whether the text is a normalised handle, which is safe in a path and a URL."""
    return _HANDLE.fullmatch(text) is not None


@dataclass(frozen=True, order=True)
class SnapshotKey:
    """One relation of one handle on one UTC day."""

    day: date
    handle: str
    relation: Relation

    def __str__(self) -> str:
        return f"{self.handle} {self.relation} {self.day}"


ASSET_OF: dict[Relation, str] = {
    "followers": "follower_snapshots",
    "following": "following_snapshots",
}
