"""Publications take room for what is new in them where that can be; else they are copies."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sf_assets.storage.home import Home
from sf_assets.warehouse.connection import writing
from sf_assets.warehouse.publish import publish
from sf_assets.warehouse.verify import verify
from sf_assets_tests.homes import fill
from sf_assets_tests.tables import published_tables

# What a file of some megabytes may take besides the blocks that it shares.
SOME = 300_000


@pytest.fixture(params=["here", pytest.param("xfs", marks=pytest.mark.scale)])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder, on the file system of the tests and on one whose files can share blocks."""
    if request.param == "here":
        yield tmp_path
        return
    if os.getuid() != 0 or shutil.which("mkfs.xfs") is None:
        pytest.skip("only root can mount, and mkfs.xfs is needed")
    image, mounted = tmp_path / "image", tmp_path / "mounted"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(320 << 20)
    subprocess.run(["mkfs.xfs", "-q", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mounted)], check=True)
    try:
        yield mounted
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


def used(folder: Path) -> int:
    os.sync()
    state = os.statvfs(folder)
    return (state.f_blocks - state.f_bfree) * state.f_frsize


def grow(home: Home, rows: int = 400_000) -> None:
    """Make the warehouse some megabytes larger."""
    with writing(home.warehouse) as con:
        con.execute("CREATE TABLE main.weight AS SELECT hash(range) AS n FROM range(?)", [rows])


def test_an_unchanged_warehouse_is_published_as_the_same_file(folder: Path) -> None:
    home = fill(folder / "home", days=2)
    first = home.published.resolve()
    second = publish(home)
    assert isinstance(second, Path)
    assert (second == home.published.resolve(), second != first) == (True, True)
    assert first.samefile(second)
    assert second.stat().st_mode & 0o777 == 0o400
    assert verify(home)[4].says == "equal to the warehouse, byte for byte"


def test_a_changed_one_is_another_file_and_the_one_before_stays(folder: Path) -> None:
    home = fill(folder / "home", days=2)
    before, tables = home.published.resolve(), published_tables(home.published)
    grow(home)
    room = used(folder)
    published = publish(home)
    assert isinstance(published, Path)
    if folder.name == "mounted":
        assert used(folder) - room < SOME < published.stat().st_size
    assert published.read_bytes() == home.warehouse.read_bytes()
    assert published_tables(before) == tables
    # What is written afterwards reaches nobody who reads.
    there = published.read_bytes()
    with writing(home.warehouse) as con:
        con.execute("DROP TABLE main.weight")
    grow(home, 500_000)
    assert published.read_bytes() == there
    # A damaged publication is not taken for the same.
    shutil.copyfile(home.warehouse, folder / "whole")
    publish(home)
    damaged = home.published.resolve()
    damaged.chmod(0o600)
    with damaged.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    assert publish(home) == home.published.resolve()
    assert home.published.read_bytes() == (folder / "whole").read_bytes()


def test_where_files_cannot_be_linked_they_are_copied(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = fill(folder / "home", days=1)
    first = home.published.resolve()

    def refusing(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", refusing)
    second = publish(home)
    assert isinstance(second, Path)
    assert not first.samefile(second)
    assert first.read_bytes() == second.read_bytes()
