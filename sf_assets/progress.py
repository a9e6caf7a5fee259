"""Who wants to watch lists being read, in the process that reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sf_assets.landing import SnapshotKey
from sf_assets.social_fetch import ListWalk

Watcher = Callable[[SnapshotKey, ListWalk], None]

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
