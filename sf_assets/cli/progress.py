"""Progress on a terminal as bars, elsewhere as plain lines."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import click

from sf_assets.cli.tables import counted
from sf_assets.landing import SnapshotKey
from sf_assets.progress import watching
from sf_assets.social_fetch import ListWalk

PLAIN_EVERY_PAGES = 50


@contextmanager
def reading_progress() -> Iterator[None]:
    """Shows how far the lists are while the runs inside read them."""
    if sys.stderr.isatty():
        with _bars():
            yield
    else:
        with watching(_plain):
            yield


def _plain(key: SnapshotKey, walk: ListWalk) -> None:
    if not walk.has_next_page or walk.pages % PLAIN_EVERY_PAGES == 0:
        click.echo(_line(key, walk), err=True)


def _line(key: SnapshotKey, walk: ListWalk) -> str:
    of = f" of {walk.reported_total}" if walk.reported_total is not None else ""
    status = walk.lookup_status.value if walk.lookup_status else "?"
    what = f"{walk.listed}{of} accounts" if status == "found" else status
    pages, credits = counted(walk.pages, "page"), counted(walk.credits_charged, "credit")
    return f"{key}: {what}, {pages}, {credits}"


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
        TextColumn("{task.completed:.0f}/{task.total:.0f} accounts"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as bars:

        def show(key: SnapshotKey, walk: ListWalk) -> None:
            with lock:
                if key not in tasks:
                    tasks[key] = bars.add_task(f"{key.handle} {key.relation}")
                total = max(walk.reported_total or walk.listed, walk.listed, 1)
                bars.update(tasks[key], completed=walk.listed, total=total)
                if not walk.has_next_page:
                    bars.remove_task(tasks.pop(key))
                    bars.console.print(_line(key, walk), highlight=False)

        with watching(show):
            yield
