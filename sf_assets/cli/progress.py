"""Progress of lists: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

from sf_assets.ingest.progress import (
    Pace,
    Watcher,
    is_long_way,
    line,
    watching,
)
from sf_assets.model import SnapshotKey
from sf_assets.social_fetch import ListWalk


@contextmanager
def reading_progress() -> Iterator[None]:
    """Show the progress of the lists that runs inside this context read."""
    if sys.stderr.isatty():
        with _bars():
            yield
    else:
        with watching(_plain_lines()):
            yield


def _plain_lines() -> Watcher:
    pace = Pace()

    def show(key: SnapshotKey, walk: ListWalk) -> None:
        left = pace.seconds_left(key, walk)
        if not walk.has_next_page or is_long_way(walk):
            click.echo(line(key, walk, left), err=True)

    return show


@contextmanager
def _bars() -> Iterator[None]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    lock = threading.Lock()
    tasks: dict[SnapshotKey, TaskID] = {}
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} accounts"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bars:

        def show(key: SnapshotKey, walk: ListWalk) -> None:
            total = max(walk.reported_total or walk.listed, walk.listed, 1)
            with lock:
                if walk.has_next_page and key not in tasks:
                    tasks[key] = bars.add_task(f"{key.handle} {key.relation}", total=total)
                if key in tasks:
                    bars.update(tasks[key], completed=walk.listed, total=total)
                if not walk.has_next_page:
                    if key in tasks:
                        bars.remove_task(tasks.pop(key))
                    bars.console.print(line(key, walk), highlight=False)

        with watching(show):
            yield
