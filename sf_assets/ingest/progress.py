"""Reports the progress of lists while they are read."""

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

# The progress of a long list is reported after each this many pages.
EVERY_PAGES = 50

_watchers: list[Watcher] = []


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Call `watcher` after each landed page of any list, inside a `with` block."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


def report(key: SnapshotKey, walk: ListWalk) -> None:
    """Call all watchers after a page of this list has landed."""
    for watcher in _watchers:
        watcher(key, walk)


@dataclass
class Pace:
    """The reading speed of each list, from the pages that landed while it is watched."""

    clock: Callable[[], float] = time.monotonic
    _began: dict[SnapshotKey, tuple[float, int]] = field(default_factory=dict)

    def seconds_left(self, key: SnapshotKey, walk: ListWalk) -> float | None:
        """An estimate of the time to the end of the list by its total; None if unknown.

        Call it after each page. TikTok may end a list much earlier.
        """
        now = self.clock()
        if not walk.has_next_page:
            self._began.pop(key, None)
            return None
        # Pages from an earlier run say nothing about today's speed.
        at, pages = self._began.setdefault(key, (now, walk.pages))
        missing = pages_missing(walk)
        if missing is None or walk.pages == pages:
            return None
        return missing * (now - at) / (walk.pages - pages)


def is_long_way(walk: ListWalk) -> bool:
    """Whether to report the progress of an unfinished list now."""
    return walk.has_next_page and walk.pages % EVERY_PAGES == 0


def line(key: SnapshotKey, walk: ListWalk, seconds_left: float | None = None) -> str:
    """A progress line: accounts of the reported total, pages, credits, time left."""
    total = walk.reported_total
    accounts = counted(walk.listed if total is None else total, "account")
    status = walk.lookup_status.value if walk.lookup_status else "?"
    progress = (
        (accounts if total is None else f"{walk.listed:,} of {accounts}")
        if status == "found"
        else status
    )
    left = "" if seconds_left is None else f", at most about {_duration(seconds_left)} left"
    pages, credits = counted(walk.pages, "page"), counted(walk.credits_charged, "credit")
    return f"{key}: {progress}, {pages}, {credits}{left}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
