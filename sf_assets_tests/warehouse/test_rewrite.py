"""Rows of the archive are changed, and all that builds on them still reads as it did."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from sf_assets.storage.tombstone import Pseudonyms
from sf_assets.warehouse import archive_reader
from sf_assets.warehouse import pack as packing
from sf_assets.warehouse.archive_names import all_files, is_packed
from sf_assets.warehouse.archive_reader import ArchiveDamaged, ArchiveReader
from sf_assets.warehouse.pack import pack
from sf_assets.warehouse.packing import Whole, unpack_rows
from sf_assets.warehouse.rewrite import Changed, ListOf, lists_of, rewrite, tombstoned

from ..lists import ID_BASE, Lists, Told, nameless, who
from .test_pack import SHOWN, as_first_format, rows_of

IDS = Pseudonyms(b"key")
GONE = {str(ID_BASE + n): n for n in (3, 7)}


def without_them(rows: pa.Table, numbers: Whole, lists: Sequence[ListOf]) -> Changed | None:
    """Accounts 3 and 7 as tombstones."""
    mask = np.asarray(pc.fill_null(pc.is_in(rows["platform_user_id"], pa.array(GONE)), False))
    if not mask.any():
        return None
    ids = {
        name: pa.array(
            [
                IDS.of(kind, value) if gone and value is not None else value
                for value, gone in zip(rows[name].to_pylist(), mask, strict=True)
            ],
            pa.string(),
        )
        for name, kind in (
            ("platform_user_id", "number"), ("sec_uid", "sec_uid"), ("account_handle", "handle"),
        )
    }  # fmt: skip
    return Changed(tombstoned(rows, mask, ids), mask)


KEPT = ("relation", "handle", "position", "platform_user_id", "sec_uid", "account_handle")


def expected(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """A row of `rows_of` as it is to be; the digests of tombstones aside."""
    named = dict(zip(SHOWN, row, strict=True))
    if named["platform_user_id"] in GONE:
        named = {name: named[name] if name in KEPT else None for name in SHOWN}
        named |= {
            "platform_user_id": IDS.of("number", named["platform_user_id"]),
            "sec_uid": named["sec_uid"] and IDS.of("sec_uid", named["sec_uid"]),
            "account_handle": IDS.of("handle", named["account_handle"]),
        }
    return tuple(named.values())


def without_digests(rows: dict[str, list[tuple[Any, ...]]]) -> dict[str, list[tuple[Any, ...]]]:
    """The same, of tombstones without the number that stands for their profile."""
    at, number = SHOWN.index("profile_digest"), SHOWN.index("platform_user_id")
    gone = {IDS.of("number", one) for one in GONE}
    return {
        file: sorted(
            ((*row[:at], None if row[number] in gone else row[at], *row[at + 1 :]) for row in some),
            key=repr,
        )
        for file, some in rows.items()
    }


def fill(lists: Lists, days: int) -> None:
    """Somebody comes and leaves, is renamed, changes the profile, shows no ids, is seen twice."""
    chance = random.Random(days)
    order = list(range(12))
    for day in range(1, days + 1):
        chance.shuffle(order[:3])
        order.insert(0, 20 + day)
        some = [n for n in order if chance.random() > 0.1]
        told = Told(
            day, "nova",
            tuple(
                nameless(n) if chance.random() < 0.1
                else who(n, f"fan{n}" if chance.random() < 0.8 else f"new{n}.{day}",
                         sec_uid=None if chance.random() < 0.2 else "",
                         bio=f"bio {chance.randrange(3)}",
                         metrics={"followers": chance.randrange(9), "following": 2})
                for n in some
            ),
        )  # fmt: skip
        following = Told(day, "nova", tuple(some[:5]), relation="following")
        lists.load([told, following, Told(day, "vega", (40, 41))])
        if day == 4:  # the same day again
            lists.load([Told(day, "vega", (41, 3, 40))])


@pytest.mark.parametrize("packs", [0, 3, 8, "first format"])
def test_rows_are_changed_in_full_and_packed_files_and_all_others_stay(
    lists: Lists, packs: int | str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(packing, "LIST_COPY_DAYS", 4)
    monkeypatch.setattr(packing, "WHOLE_COPY_DAYS", 6)
    fill(lists, 8)
    archive, staging = lists.home.archive, tmp_path / "staging"
    if packs == "first format":
        as_first_format(archive, ", CAST(position + 7 AS UINTEGER) AS profile_digest")
    if packs:
        aside = tmp_path / "aside"
        if packs == 3:  # the later days are not packed yet
            aside.mkdir()
            for folder in sorted(archive.iterdir())[3:]:
                shutil.move(folder, aside)
        assert pack(archive).left == []
        if packs == 3:
            for folder in list(aside.iterdir()):
                shutil.move(folder, archive)
    before = rows_of(archive)
    wanted = {file: [expected(row) for row in rows] for file, rows in before.items()}
    made = rewrite(archive, staging, without_them)
    assert without_digests(rows_of(archive)) == without_digests(wanted)
    gone = sum(str(row[SHOWN.index("platform_user_id")]) in GONE
               for rows in before.values() for row in rows)  # fmt: skip
    assert made.rows >= gone > 10
    # Other files build on them as on any.
    again = rewrite(archive, staging, without_them)
    assert (again.files, again.rows, staging.exists()) == (0, 0, False)
    assert pack(archive).left == []
    assert without_digests(rows_of(archive)) == without_digests(wanted)


REWRITE = """
import sys
from pathlib import Path
from sf_assets.warehouse.rewrite import rewrite
from sf_assets_tests.warehouse.test_rewrite import without_them
rewrite(Path(sys.argv[1]), Path(sys.argv[2]), without_them)
"""


@pytest.mark.parametrize("step", ["staging:3", "staged", "rewritten:1", "rewritten:4"])
def test_a_rewriting_that_is_killed_goes_on(lists: Lists, step: str, tmp_path: Path) -> None:
    fill(lists, 4)
    archive, staging = lists.home.archive, tmp_path / "staging"
    pack(archive)
    before = rows_of(archive)
    wanted = {file: [expected(row) for row in rows] for file, rows in before.items()}
    env = {**os.environ, "SOCIALFETCH_BASE_URL": "http://127.0.0.1:1", "SF_ASSETS_CRASH_AT": step}
    command = [sys.executable, "-c", REWRITE, str(archive), str(staging)]
    killed = subprocess.run(command, env=env, check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    if step.startswith("sta"):
        assert rows_of(archive) == before
    rewrite(archive, staging, without_them)
    assert without_digests(rows_of(archive)) == without_digests(wanted)
    assert not staging.exists()


def test_an_archive_that_is_damaged_is_left_as_it_is(lists: Lists, tmp_path: Path) -> None:
    fill(lists, 4)
    archive = lists.home.archive
    pack(archive)
    lost = min(archive.glob("*/*.packed.parquet"))
    lost.unlink()
    before = {path: path.read_bytes() for path in all_files(archive)}
    with pytest.raises(ArchiveDamaged, match=str(lost)):
        rewrite(archive, tmp_path / "staging", without_them)
    assert {path: path.read_bytes() for path in all_files(archive)} == before


def test_each_list_is_unpacked_once_although_full_copies_come_in_between(
    lists: Lists, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "LIST_COPY_DAYS", 4)
    monkeypatch.setattr(packing, "WHOLE_COPY_DAYS", 6)
    for day in range(1, 15):
        lists.tell(Told(day, "nova", tuple(range(60 + day, day, -1))))
        pack(lists.home.archive)
    unpacked = []

    def counted(*given: Any) -> pa.Table:
        unpacked.append(given)
        return unpack_rows(*given)

    monkeypatch.setattr(archive_reader, "unpack_rows", counted)
    archive = lists.home.archive
    days = [of.day.day for _, _, some in lists_of(archive, ArchiveReader(archive)) for of in some]
    assert sorted(days) == list(range(1, 15))
    assert 0 < len(unpacked) <= sum(map(is_packed, all_files(archive)))
