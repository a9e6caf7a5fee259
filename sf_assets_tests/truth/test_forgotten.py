"""Random worlds in which somebody is forgotten, or everybody: every figure stays what it is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from sf_assets.storage.door import FILE_NAME, Door, note_forgotten
from sf_assets.storage.tombstone import Pseudonyms, pseudonyms_of

from ..forgetting import Doors, assert_equal, back_to, doors, named_again
from .invent import invent
from .player import Warehouse
from .test_worlds import SEED
from .worlds import Entry, World

__all__ = ["doors"]

WORLDS = int(os.environ.get("SF_ASSETS_WORLDS", "48")) // 12
DAYS = 7


def entries_of(world: World) -> Iterator[Entry]:
    for days in world.lists.values():
        for day in days:
            yield from day.entries
            yield from day.first.entries if day.first else ()


def all_ids(worlds: list[World], ids: Pseudonyms) -> dict[Any, str]:
    """Pseudonym -> id, of everybody."""
    entries = [entry for world in worlds for entry in entries_of(world)]
    numbers, sec_uids = ({getattr(one, name) for one in entries} for name in ("number", "sec"))
    handles = {one.handle for one in entries}
    return back_to(ids, numbers - {None}, sec_uids - {None}, handles)


@pytest.mark.parametrize("whom", ["everybody", "some"])
def test_figures_are_those_of_a_home_that_forgot_nobody(
    whom: str, doors: Doors, tmp_path: Path
) -> None:
    chance = Random(whom)
    worlds = [invent(SEED, 500 + number, days=DAYS) for number in range(WORLDS)]
    open_home, closed_home = Warehouse(tmp_path / "open"), Warehouse(tmp_path / "closed")
    root = closed_home.lists.home.root
    root.mkdir(exist_ok=True)
    doors_of_day = Door(root)
    try:
        if whom == "everybody":
            (root / FILE_NAME).write_text(json.dumps({"everybody": True}))
            # That a tracked account is in another list is not known any more, and proves nothing.
            worlds = [
                world.without_lists(key for key in world.lists if key[0] != world.handles[0])
                for world in worlds
            ]
        else:
            for world in worlds:
                forget(root, world, chance)
        for day in range(DAYS):
            doors.door = None
            open_home.play_day(worlds, day)
            doors.door = doors_of_day
            closed_home.play_day(worlds, day)
        back = all_ids(worlds, pseudonyms_of(root))
        expected, found = (
            named_again(home.lists.tables(), back) for home in (open_home, closed_home)
        )
        assert_equal(found, expected)
    finally:
        open_home.close()
        closed_home.close()


def forget(root: Path, world: World, chance: Random) -> None:
    """Two people by the ids that an operator gives: those of an entry with as many as there are.

    Not those whose handles others bear, too: who shows no id may then be taken for another.
    """
    bearers: dict[str, set[str]] = {handle: {"", handle} for handle in world.handles}
    for one in entries_of(world):
        bearers.setdefault(one.handle, set()).add(one.person)
    alone = {one.person for one in entries_of(world)}
    alone -= {person for some in bearers.values() if len(some) > 1 for person in some}
    for person in chance.sample(sorted(alone), 2):
        own = [one for one in entries_of(world) if one.person == person]
        entry = max(own, key=lambda one: (one.number is not None, one.sec is not None))
        numbers, sec_uids = filter(None, [entry.number]), filter(None, [entry.sec])
        note_forgotten(root, numbers, sec_uids, {entry.handle: (None, None)}, "test")
