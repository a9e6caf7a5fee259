"""Random worlds in which the door is closed for somebody, or for all: every figure stays what it is."""

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

from ..lists import Told
from .invent import invent
from .player import Warehouse
from .test_worlds import SEED
from .worlds import Entry, World

Tables = dict[str, list[tuple[Any, ...]]]

WORLDS = int(os.environ.get("SF_ASSETS_WORLDS", "48")) // 4
DAYS = 10


class Doors:
    """Which door the pages of a `Told` come through just now."""

    door: Door | None = None


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch) -> Doors:
    made, plain = Doors(), Told.bodies

    def bodies(told: Told) -> Iterator[bytes]:
        for body in plain(told):
            yield made.door.page(told.relation, told.key.day, body) if made.door else body

    monkeypatch.setattr(Told, "bodies", bodies)
    return made


def entries_of(world: World) -> Iterator[Entry]:
    for days in world.lists.values():
        for day in days:
            yield from day.entries
            yield from day.first.entries if day.first else ()


def named_again(tables: Tables, ids: Pseudonyms, worlds: list[World]) -> Tables:
    """The tables with ids in the place of their pseudonyms, without what profiles say."""
    back: dict[Any, str] = {}
    for entry in (entry for world in worlds for entry in entries_of(world)):
        back[ids.of("handle", entry.handle)] = entry.handle
        back["@" + ids.of("handle", entry.handle)] = f"@{entry.handle}"
        if entry.number:
            back[ids.of("number", entry.number)] = entry.number
        if entry.sec:
            back["sec:" + ids.of("sec_uid", entry.sec)] = f"sec:{entry.sec}"
    made = {
        name: sorted((tuple(back.get(value, value) for value in row) for row in rows), key=repr)
        for name, rows in tables.items()
    }
    made["internal.ids"] = sorted((row[1],) for row in made["internal.ids"])
    made["internal.profiles"] = sorted((row[0],) for row in made["internal.profiles"])
    made["internal.churn_profiles"] = [row[:5] for row in made["internal.churn_profiles"]]
    counted = {}
    for *of, _, accounts in made.pop("internal.profile_counts"):
        counted[tuple(of)] = counted.get(tuple(of), 0) + accounts
    return made | {"profile_counts": sorted(counted.items(), key=repr)}


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
        ids = pseudonyms_of(root)
        expected = named_again(open_home.lists.tables(), ids, worlds)
        found = named_again(closed_home.lists.tables(), ids, worlds)
        for name, rows in expected.items():
            wrong = [row for row in rows if row not in found[name]][:5]
            assert (wrong, [row for row in found[name] if row not in rows][:5]) == ([], []), name
    finally:
        open_home.close()
        closed_home.close()


def forget(root: Path, world: World, chance: Random) -> None:
    """Two people by the ids that an operator gives: those of an entry with as many as there are."""
    entries = [entry for entry in entries_of(world) if entry.handle not in world.handles]
    for person in chance.sample(sorted({entry.person for entry in entries}), 2):
        own = [entry for entry in entries if entry.person == person]
        entry = max(own, key=lambda one: (one.number is not None, one.sec is not None))
        numbers, sec_uids = filter(None, [entry.number]), filter(None, [entry.sec])
        note_forgotten(root, numbers, sec_uids, {entry.handle: (None, None)}, "test")
