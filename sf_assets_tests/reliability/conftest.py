"""A history of one day to start from, a second day to be disturbed, and how it must look then."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from sf_assets.storage.home import Home
from sf_assets_tests.served_lists import KEY, ListServer, account, followed
from sf_assets_tests.tables import Tables, published_tables

from .processes import Ended, Forks, Process

DAY1, DAY2, DAY3 = date(2026, 11, 1), date(2026, 11, 2), date(2026, 11, 3)

_numbers = count()


def tables(home: Home) -> Tables:
    """All that is published of a home, but what belongs to the run that made it."""
    return published_tables(home.published)


def serve_day(server: ListServer, day: date) -> None:
    """Three handles; some come, some go, one turns private on the second day."""
    late = (day - DAY1).days
    one = [n for n in range(90 + late, 0, -1) if n % 41 != 7 + late]
    server.set("one", "followers", [account(n) for n in one])
    server.set("one", "following", [followed(n) for n in range(45 + late, late, -1)])
    two = [n for n in range(200 + 2 * late, 150, -1) if n % 29 != 3 * late]
    server.set("two", "followers", [account(n) for n in two])
    server.set("two", "following", [followed(n) for n in range(9, 0, -1)])
    if late == 1:
        server.set("shy", "followers", status="private")
        server.set("shy", "following", status="private")
    else:
        server.set("shy", "followers", [account(n) for n in range(30, 0, -1)])
        server.set("shy", "following", [followed(n) for n in range(8, 0, -1)])


@dataclass
class World:
    """A server, homes that have seen the first day, and real processes that go on from there."""

    server: ListServer
    forks: Forks
    folder: Path
    template: Path
    names: Iterator[int]

    def home(self, *, fresh: bool = False) -> Home:
        """A home of its own with the first day in it, or nothing but the registry."""
        root = self.folder / f"home{next(self.names)}"
        if fresh:
            root.mkdir(mode=0o700)
            for name in ("home.json", "handles.yaml"):
                shutil.copy(self.template / name, root / name)
        else:
            shutil.copytree(self.template, root, symlinks=True)
        return Home(root)

    def environment(self, home: Home, day: date = DAY2, **more: str) -> dict[str, str]:
        return {
            "SF_ASSETS_HOME": str(home.root),
            "SF_ASSETS_START_DATE": DAY1.isoformat(),
            "SF_ASSETS_TODAY": day.isoformat(),
            "SOCIALFETCH_BASE_URL": self.server.url,
            "SOCIALFETCH_API_KEY": self.server.key,
            **more,
        }

    def start(self, home: Home, *arguments: str, day: date = DAY2, **more: Any) -> Process:
        """`sf-assets snapshot` for a day, in a process of its own."""
        options = {name: more.pop(name) for name in ("code", "file_size") if name in more}
        return self.forks.start(
            arguments or ("snapshot",), self.environment(home, day, **more), **options
        )

    def run(self, home: Home, *arguments: str, day: date = DAY2, **more: Any) -> Ended:
        return self.start(home, *arguments, day=day, **more).wait()


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """In memory where there is such a place: most of the time goes into SQLite's syncing."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path_factory.mktemp("homes")
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="sf_assets_tests.") as name:
        yield Path(name)


@pytest.fixture
def tmp_path(folder: Path) -> Iterator[Path]:
    """Pytest's, but in that folder."""
    path = folder / f"tmp{next(_numbers)}"
    path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="package")
def forks(folder: Path) -> Iterator[Forks]:
    said = folder / "said"
    said.mkdir()
    with Forks(said) as made:
        yield made


@pytest.fixture(scope="package")
def template(folder: Path, forks: Forks) -> Path:
    """A home with the first day in it."""
    root = folder / "template"
    with ListServer() as server:
        serve_day(server, DAY1)
        world = World(server, forks, folder, root, count())
        assert world.run(Home(root), "track", "one", "two", "shy", day=DAY1).code == 0
        ended = world.run(Home(root), day=DAY1)
        assert ended.code == 0, ended.stderr
    return root


@pytest.fixture
def world(folder: Path, forks: Forks, template: Path) -> Iterator[World]:
    """The second day, served by a server of this test's own."""
    before = set(folder.iterdir())
    with ListServer() as server:
        serve_day(server, DAY2)
        yield World(server, forks, folder, template, _numbers)
    for made in set(folder.iterdir()) - before:
        shutil.rmtree(made)


@dataclass(frozen=True)
class Undisturbed:
    """The second day as it is when nothing goes wrong: tables, credits, seconds."""

    tables: Tables
    credits: int
    seconds: float


@pytest.fixture(scope="package")
def undisturbed(folder: Path, forks: Forks, template: Path) -> Undisturbed:
    with ListServer() as server:
        serve_day(server, DAY2)
        world = World(server, forks, folder, template, _numbers)
        home = world.home()
        began = time.monotonic()
        ended = world.run(home)
        seconds = time.monotonic() - began
        assert ended.code == 0, ended.stderr
        return Undisturbed(tables(home), server.credits, seconds)


@pytest.fixture
def dies_at_page(world: World) -> Callable[[int], Callable[[Process], None]]:
    """The server kills the client that asks for its n-th page, before it answers."""

    def arm(number: int) -> Callable[[Process], None]:
        asked = count(1)
        target: list[Process] = []

        def fault(_: Any) -> None:
            if next(asked) == number:
                while not target:
                    pass
                target[0].kill()

        world.server.fault = fault
        return target.append

    return arm


__all__ = ["DAY1", "DAY2", "DAY3", "KEY", "Tables", "Undisturbed", "World", "serve_day", "tables"]
