"""Plays random worlds, many at a time in one warehouse, and explains what went wrong."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from .invent import invent
from .judge import judge
from .people import People
from .player import played
from .shrink import first_wrong, kind_of, shrunk

BATCH = 48


class Wrong(NamedTuple):
    world: int
    day: int
    what: str


def explore(root: Path, seed: int, numbers: Iterable[int]) -> dict[str, list[Wrong]]:
    """What went wrong, by kind: once a world, on its first day."""
    worlds = {number: invent(seed, number) for number in numbers}
    people = {number: People(world) for number, world in worlds.items()}
    wrong: dict[str, list[Wrong]] = defaultdict(list)
    told: set[tuple[int, str]] = set()
    for day, tables in played(root, list(worlds.values())):
        for number, world in worlds.items():
            if day not in world.days:
                continue
            for what in judge(world, people[number], tables.about(world), day):
                if (number, kind_of(what)) not in told:
                    told.add((number, kind_of(what)))
                    wrong[kind_of(what)].append(Wrong(number, day, what))
    return dict(wrong)


def explain(
    seed: int, wrong: Mapping[str, list[Wrong]], *, kind: str | None = None, seconds: float = 30
) -> str:
    """Each kind with its worlds, and the smallest world that shows the first or a wanted one."""
    lines = []
    for name, some in sorted(wrong.items(), key=lambda item: -len(item[1])):
        shown = ", ".join(str(each.world) for each in some[:10])
        lines.append(f"{len(some)} worlds: {name} (seed {seed}, worlds {shown})")
        lines.append(f"    day {some[0].day}: {some[0].what}")
    kind = kind or min(wrong, key=_gravity)
    example = min(wrong.get(kind, ()), key=lambda each: each.day, default=None)
    if example is None:
        return "\n".join([*lines, f"no world shows: {kind}"])
    world = shrunk(invent(seed, example.world), kind, seconds)
    found = first_wrong(world, kind)
    if found is None:
        return "\n".join([*lines, f"world {example.world} goes wrong only beside others: {kind}"])
    lines += ["", f"The smallest world with: {kind}"]
    lines += [f"day {found[0]}: {each}" for each in found[1][:6]]
    return "\n".join([*lines, str(world)])


def _gravity(kind: str) -> int:
    """What is told falsely of people comes first, then what contradicts itself, then silence."""
    order = ("a confirmed loss", "gained", "returned", "one account", "a claim", "provisional")
    return next((at for at, each in enumerate(order) if kind.startswith(each)), len(order))


def explore_many(seed: int, count: int) -> dict[str, list[Wrong]]:
    wrong: dict[str, list[Wrong]] = defaultdict(list)
    for first in range(1, count + 1, BATCH):
        with tempfile.TemporaryDirectory() as folder:
            numbers = range(first, min(first + BATCH, count + 1))
            for kind, some in explore(Path(folder), seed, numbers).items():
                wrong[kind] += some
    return dict(wrong)
