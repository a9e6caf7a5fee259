"""The packed archive gives the same rows and tables as the full one, whatever is told when."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sf_assets.storage.home import Home
from sf_assets.warehouse import pack as packing
from sf_assets.warehouse.archive import read_archive, write_batch
from sf_assets.warehouse.archive_names import all_files, is_packed, name_of, packed_path
from sf_assets.warehouse.archive_reader import ArchiveReader, Wanted, one_file
from sf_assets.warehouse.pack import pack
from sf_assets.warehouse.rebuild import newest_rows

from ..lists import Lists, Told, who
from ..truth.invent import invent
from ..truth.player import Warehouse

LABELS = ["relation", "handle", "snapshot_date", "attempt", "position"]


def full_rows(con: duckdb.DuckDBPyConnection, path: Path) -> list[tuple[Any, ...]]:
    columns = [row[0] for row in con.execute("DESCRIBE FROM read_parquet(?)", [str(path)]).fetchall()]
    return con.execute(
        f"SELECT {', '.join(LABELS)}, COLUMNS(c -> c NOT IN {tuple(LABELS)}) "
        "FROM read_parquet(?, hive_partitioning = false) ORDER BY ALL", [str(path)]
    ).fetchall()  # fmt: skip


def keep_full(archive: Path, aside: Path) -> None:
    """Copy full files elsewhere before they go."""
    for path in all_files(archive):
        if not is_packed(path):
            (aside / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, aside / name_of(path))


@pytest.mark.parametrize("seed", [1, 2])
def test_random_worlds_give_the_same_tables(seed: int, tmp_path: Path) -> None:
    """Packed after every day, with days that come late; then from the archive alone, in any order."""
    chance = random.Random(seed)
    worlds = [invent(seed, number) for number in range(1, 13)]
    played = Warehouse(tmp_path)
    home, aside = played.lists.home, tmp_path / "aside" / "archive"
    days = sorted({day for world in worlds for day in world.days})
    late = {day: chance.sample(worlds, 3) for day in days[2:-3:3]}
    for day in days:
        played.play_day([world for world in worlds if world not in late.get(day, ())], day)
        if day - 2 in late:
            played.play_day(late[day - 2], day - 2)
        keep_full(home.archive, aside)
        packed = pack(home.archive)
        assert packed.left == []
        if chance.random() < 0.3:
            # As where all is packed: nothing is read from full files.
            for path in all_files(home.archive):
                if not is_packed(path):
                    path.unlink()
    tables = played.lists.tables()
    played.close()
    for archive, order in ((aside, None), (home.archive, None), (home.archive, chance)):
        fresh = Lists(tmp_path / f"fresh-{archive.parent.name}-{order is None}")
        fresh.home = Home(archive.parent)
        rows = list(newest_rows(archive).values())
        if order is not None:
            order.shuffle(rows)
        step = len(rows) if order is None else 80
        for at in range(0, len(rows), step):
            fresh.record(rows[at : at + step])
            fresh.derive()
        for name, table in fresh.tables().items():
            assert table == tables[name], (name, archive, order)
        fresh.close()
