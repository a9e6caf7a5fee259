"""A backup made beside a run that writes is whole, or not there; and the day goes on from it."""

from __future__ import annotations

import hashlib
import time
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import duckdb
import pytest

from sf_assets.cli.runner import dagster_instance
from sf_assets.storage.home import Home
from sf_assets.warehouse.connection import locked
from sf_assets.warehouse.verify import verify
from sf_assets_tests.cli.shell import contents
from sf_assets_tests.homes import made_plain

from .conftest import DAY1, DAY3, Undisturbed, World, serve_day, tables
from .processes import until
from .test_warehouse import held


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "backups" / "it's one"


def checksums_hold(folder: Path) -> bool:
    lines = (folder / "backup.sha256").read_text().splitlines()
    named = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    there = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and path.suffix != ".lock"
    }
    del there["backup.sha256"]
    return named == there


def test_a_backup_in_the_middle_of_a_run_goes_on_without_buying_a_page_twice(
    world: World, undisturbed: Undisturbed, to: Path
) -> None:
    home = world.home()
    asked, waits, go_on = count(1), Event(), Event()

    def fault(request: Any) -> None:
        if "/profiles/" in request.path and next(asked) == 9:
            waits.set()
            go_on.wait(60)

    world.server.fault = fault
    run = world.start(home)
    assert waits.wait(60)
    before = world.server.credits
    ended = world.run(home, "backup", str(to))
    go_on.set()
    assert ended.code == 0, ended.stderr
    assert run.wait().code == 0
    assert tables(home) == undisturbed.tables
    world.server.fault = None
    assert checksums_hold(to)
    # Dagster's storage is in it: the handles, and the first day of the grid.
    copy = Home(to)
    with dagster_instance(copy) as instance:
        assert set(instance.get_dynamic_partitions("handles")) == {"one", "two", "shy"}
        assert len(instance.get_runs()) >= 2
    # What was landed then is bought no more: only the rest.
    spent = world.server.credits
    ended = world.run(copy)
    assert ended.code == 0, ended.stderr
    assert world.server.credits - spent <= undisturbed.credits - before + 1
    assert tables(copy) == undisturbed.tables
    serve_day(world.server, DAY3)
    assert world.run(copy, day=DAY3).code == 0


def test_backups_taken_one_after_the_other_while_runs_write_are_all_sound(
    world: World, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    home = world.home()
    process = world.start(home)
    backups: list[Path] = []
    while len(backups) < 3:
        backups.append(tmp_path / f"backup{len(backups)}")
        ended = world.run(home, "backup", str(backups[-1]), "--quiet")
        assert (ended.code, ended.stdout) == (0, ""), ended.stderr
    assert process.wait().code == 0
    assert tables(home) == undisturbed.tables
    for folder in backups:
        assert checksums_hold(folder)
        assert world.run(Home(folder)).code == 0
        assert tables(Home(folder)) == undisturbed.tables


def test_a_backup_has_all_of_a_home_and_leaves_it_as_it_was(world: World, to: Path) -> None:
    home = world.home()
    home.deliveries.write_text('{"change_id": "x", "at": "2026-11-01"}\n')
    (home.warehouse.parent / "sf_assets.duckdb.20261101.old").write_text("of a rebuild")
    before = contents(home.root)
    assert world.run(home, "backup", str(to)).code == 0
    # Of SQLite's databases the backup is another file with the same rows in it.
    own = (".lock", ".old", ".db-wal", ".db-shm", "backup.sha256")
    made, there = (
        {
            name
            for name, body in one.items()
            if body and not name.endswith(own) and not name.startswith("published/")
        }
        for one in (contents(to), before)
    )
    assert made == there
    same = [name for name in made if not name.endswith(".db")]
    assert {name: (to / name).read_bytes() for name in same} == {
        name: before[name] for name in same
    }
    after = contents(home.root)
    assert {name for name in after.keys() ^ before.keys() if not name.endswith(own)} == set()
    assert [
        name for name, body in before.items() if after.get(name) != body and not name.endswith(own)
    ] == []
    assert [one.problems for one in verify(Home(to), full=True)] == [[]] * 7
    assert to.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("step", ["backed_up", "at random"])
def test_a_killed_backup_leaves_nothing_that_looks_like_one(
    world: World, to: Path, step: str
) -> None:
    home = world.home()
    more = {"SF_ASSETS_CRASH_AT": step} if step == "backed_up" else {}
    process = world.start(home, "backup", str(to), **more)
    if step == "at random":
        until(lambda: to.with_name(f".{to.name}.partial").exists())
        process.kill()
    assert process.wait().code == -9
    assert not to.exists()
    assert world.run(home, "backup", str(to)).code == 0
    assert [path.name for path in to.parent.iterdir()] == [to.name]
    assert checksums_hold(to)


def test_a_full_disk_leaves_nothing_and_says_so(world: World, to: Path) -> None:
    home = world.home()
    ended = world.run(home, "backup", str(to), file_size=20_000)
    assert ended.code == 1
    assert "backup: cannot write" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(to.parent.iterdir()) == []


def test_nothing_is_overwritten(world: World, tmp_path: Path) -> None:
    home = world.home()
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("empty", "file", "link"):
        ended = world.run(home, "backup", str(tmp_path / name))
        assert ended.code == 2
        assert "already exists; choose a new folder" in ended.stderr
    ended = world.run(home, "backup", str(home.root / "inside"))
    assert ended.code == 2
    assert "is inside the home" in ended.stderr
    ended = world.run(Home(tmp_path / "empty"), "backup", str(tmp_path / "new"))
    assert ended.code == 2
    assert "is not a home" in ended.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "link"]


def test_a_lake_is_sent_to_its_own_tools(world: World, to: Path) -> None:
    ended = world.run(
        world.home(), "backup", str(to), SF_ASSETS_WAREHOUSE="ducklake:postgres:password=secret"
    )
    assert ended.code == 2
    assert "sf-assets migrate --to duckdb --home" in ended.stderr
    assert "secret" not in ended.stderr


def test_what_is_wrong_with_the_home_is_kept_as_it_is_and_said(world: World, to: Path) -> None:
    home = world.home()
    path = made_plain(home.landing / DAY1.isoformat() / "followers" / "one.jsonl")
    path.write_bytes(path.read_bytes().replace(b"Fan", b"Fun", 1))
    ended = world.run(home, "backup", str(to))
    assert ended.code == 1
    assert "BAD  landing" in ended.stdout
    assert (to / path.relative_to(home.root)).read_bytes() == path.read_bytes()


def test_what_a_killed_writer_left_in_its_log_is_in_the_backup(world: World, to: Path) -> None:
    home = world.home()
    code = (
        f"import duckdb, os; con = duckdb.connect({str(home.warehouse)!r}); "
        'con.execute("UPDATE follower_growth SET growth_rate = 7"); os._exit(1)'
    )
    assert world.run(home, code=code).code == 1
    assert home.warehouse.with_name("sf_assets.duckdb.wal").exists()
    assert world.run(home, "backup", str(to)).code == 0
    assert sorted(path.name for path in (to / "warehouse").glob("*.duckdb*")) == [
        "sf_assets.duckdb"
    ]
    with duckdb.connect(str(Home(to).published), read_only=True) as con:
        rates = con.execute("SELECT DISTINCT growth_rate FROM follower_growth").fetchall()
    assert rates == [(7.0,)]


def test_who_holds_the_warehouse_is_named_and_who_loads_is_waited_for(
    world: World, to: Path
) -> None:
    home = world.home()
    with held(home.warehouse, "writing"):
        ended = world.run(home, "backup", str(to))
        assert ended.code == 1
        assert "open for writing; close it" in ended.stderr
        assert not to.exists()
    with locked(home.warehouse):
        process = world.start(home, "backup", str(to))
        until(lambda: to.with_name(f".{to.name}.partial").joinpath("archive").exists())
        time.sleep(0.2)
        assert not to.exists()
    assert process.wait().code == 0


def test_only_one_backup_to_a_folder_at_a_time(world: World, to: Path) -> None:
    home = world.home()
    with locked(home.warehouse):
        first = world.start(home, "backup", str(to))
        until(lambda: to.with_name(f".{to.name}.partial").joinpath("archive").exists())
        ended = world.run(home, "backup", str(to))
        assert ended.code == 2
        assert "is running" in ended.stderr
    assert first.wait().code == 0
    assert checksums_hold(to)
