"""Makes a world that goes wrong as small as it can be in a few seconds."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from .judge import judge
from .people import People
from .player import played
from .worlds import World


def kind_of(complaint: str) -> str:
    """What sort of thing is wrong, without whom it is about."""
    return complaint.split(":")[0]


def first_wrong(world: World, kind: str) -> tuple[int, list[str]] | None:
    """The first day after which a kind of thing is wrong, and what."""
    with tempfile.TemporaryDirectory() as folder:
        days = played(Path(folder), [world])
        try:
            for day, tables in days:
                wrong = judge(world, People(world), tables.about(world), day)
                wrong = [each for each in wrong if kind_of(each) == kind]
                if wrong:
                    return day, wrong
        finally:
            days.close()  # type: ignore[attr-defined]
    return None


def shrunk(world: World, kind: str, seconds: float = 45.0) -> World:
    """A smaller world in which the same kind of thing is wrong."""
    deadline = time.monotonic() + seconds

    def still_wrong(candidate: World) -> bool:
        fair = bool(candidate.lists) and candidate.fair
        return fair and first_wrong(candidate, kind) is not None

    found = first_wrong(world, kind)
    if found:
        world = world.without_days(day for day in world.days if day > found[0])
    smaller = True
    while smaller and time.monotonic() < deadline:
        smaller = False
        for candidate in _smaller(world):
            if time.monotonic() > deadline:
                break
            if still_wrong(candidate):
                world, smaller = candidate, True
                break
    return world


def _smaller(world: World) -> Iterator[World]:
    for key in world.lists:
        if len(world.lists) > 1:
            yield world.without_lists([key])
    people = world.people()
    size = len(people) // 2
    while size:
        for at in range(0, len(people), size):
            yield world.without_people(people[at : at + size])
        size //= 2
    for day in world.days:
        yield world.without_days([day])
    for change in _TIDIER:
        lists = {k: tuple(change(d) for d in v) for k, v in world.lists.items()}
        if lists != world.lists:
            yield replace(world, lists=lists)


_TIDIER: tuple[Callable, ...] = (
    lambda day: replace(day, first=None),
    lambda day: replace(day, depth="full"),
)
