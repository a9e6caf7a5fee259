"""How far lists are while they are read: who wants to watch, and how it is said."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sf_assets.ingest.reader import pages_missing
from sf_assets.model import SnapshotKey
from sf_assets.social_fetch import ListWalk
from sf_assets.text import counted

Watcher = Callable[[SnapshotKey, ListWalk], None]

# A long list is spoken of each time it has so many more pages.
EVERY_PAGES = 50

_watchers: list[Watcher] = []


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Call `watcher` after each landed page of any list, for the length of a `with` block."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def report(key: SnapshotKey, walk: ListWalk) -> None:
    """Tell everybody who watches that a page of this list has landed."""
    for watcher in _watchers:
        watcher(key, walk)


@dataclass
class Pace:
    """How fast each list comes, from the pages that landed while we watched."""

    clock: Callable[[], float] = time.monotonic
    _began: dict[SnapshotKey, tuple[float, int]] = field(default_factory=dict)

    def seconds_left(self, key: SnapshotKey, walk: ListWalk) -> float | None:
        """About how long the list takes to the end that its total promises; None if unknown.

        To be called after each page. TikTok may end a list long before that.
        """
        now = self.clock()
        if not walk.has_next_page:
            self._began.pop(key, None)
            return None
        # A list that is gone on with has pages from before: they say nothing of today's speed.
        at, pages = self._began.setdefault(key, (now, walk.pages))
        missing = pages_missing(walk)
        if missing is None or walk.pages == pages:
            return None
        return missing * (now - at) / (walk.pages - pages)


def is_long_way(walk: ListWalk) -> bool:
    """Whether it is time to say how far a list is that goes on."""
    return walk.has_next_page and walk.pages % EVERY_PAGES == 0


def line(key: SnapshotKey, walk: ListWalk, seconds_left: float | None = None) -> str:
    """How far a list is: accounts of the reported total, pages, credits, time left."""
    total = walk.reported_total
    accounts = counted(walk.listed if total is None else total, "account")
    status = walk.lookup_status.value if walk.lookup_status else "?"
    what = (
        (accounts if total is None else f"{walk.listed:,} of {accounts}")
        if status == "found"
        else status
    )
    left = "" if seconds_left is None else f", at most about {_duration(seconds_left)} left"
    pages, credits = counted(walk.pages, "page"), counted(walk.credits_charged, "credit")
    return f"{key}: {what}, {pages}, {credits}{left}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
