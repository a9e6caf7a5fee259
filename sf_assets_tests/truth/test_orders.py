"""The tables are what the lists make of them, in whatever order the days came."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from .invent import invent
from .player import Warehouse
from .test_worlds import SEED
from .worlds import World


def read_whole(world: World) -> World:
    """The world without readings whose depth depends on what was known that day."""
    lists = {
        key: tuple(replace(day, depth="full", first=None) for day in days)
        for key, days in world.lists.items()
    }
    return replace(world, lists=lists)


@pytest.mark.parametrize("number", range(1, 3))
def test_days_loaded_late_again_or_in_any_order_make_the_same_tables(
    number: int, tmp_path: Path
) -> None:
    worlds = [read_whole(invent(SEED, 3 * number + n, days=6, size=12)) for n in range(3)]
    chance = Random(number)
    in_order, shuffled = Warehouse(tmp_path / "in_order"), Warehouse(tmp_path / "shuffled")
    try:
        for day in range(6):
            in_order.play_day(worlds, day)
        expected = in_order.lists.tables()
        told = [
            shuffled.told(key, day)
            for world in worlds
            for key, days in world.lists.items()
            for day in days
        ]
        chance.shuffle(told)
        while told:
            some = chance.randrange(1, 1 + len(told))
            shuffled.lists.tell(*told[:some])
            del told[:some]
        assert shuffled.lists.tables() == expected
        # A list that is loaded again as it was.
        key, days = chance.choice([each for world in worlds for each in world.lists.items()])
        landed = in_order.lists.landing.read(in_order.told(key, days[len(days) // 2]).key)
        assert landed is not None
        in_order.lists.load_again(landed)
        in_order.lists.derive()
        assert in_order.lists.tables() == expected
    finally:
        in_order.close()
        shuffled.close()


def test_what_is_read_at_once_is_what_is_read_day_by_day(tmp_path: Path) -> None:
    """Somebody who left comes back under another handle: the loss keeps the old one."""
    world = read_whole(invent(2, 4, days=8))
    by_day, at_once = Warehouse(tmp_path / "by_day"), Warehouse(tmp_path / "at_once")
    try:
        for day in range(8):
            by_day.play_day([world], day)
        at_once.lists.tell(
            *(at_once.told(key, day) for key, days in world.lists.items() for day in days)
        )
        assert at_once.lists.tables() == by_day.lists.tables()
    finally:
        by_day.close()
        at_once.close()
