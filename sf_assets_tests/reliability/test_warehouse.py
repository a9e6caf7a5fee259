"""The files: held by others, damaged, missing, newer than we are, on a disk without room."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from sf_assets.home import Home
from sf_assets.warehouse.connection import writing
from sf_assets.warehouse.errors import WarehouseUnreadable
from sf_assets.warehouse.publish import PublishFailed, publish

from .conftest import DAY1, DAY2, DAY3, Undisturbed, World, serve_day, tables
from .processes import until

# `sf-assets snapshot`, with a limit that a test can wait for.
IMPATIENT = """
from functools import partial
from sf_assets import definitions
definitions.Warehouse = partial(definitions.Warehouse, wait_seconds=0.5)
from sf_assets.cli.main import main
main(["snapshot"])
"""

HOLD = """
import duckdb, sys
con = duckdb.connect(sys.argv[1], read_only=sys.argv[2] == "reading")
if sys.argv[2] == "reading":
    con.execute("BEGIN TRANSACTION")
    con.execute("SELECT count(*) FROM snapshots")
print("held", flush=True)
for line in sys.stdin:
    print(con.execute("SELECT count(*) FROM snapshots").fetchall()[0][0], flush=True)
"""


@contextmanager
def held(path: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    """The file open in another process: for `writing`, or for `reading` in a transaction."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.stdin.close()
            process.wait(timeout=10)


def landed_files(home: Home, day: object) -> int:
    return len(list((home.landing / str(day)).glob("*/*.jsonl")))


# --- held by somebody else ------------------------------------------------------------------------


def test_a_warehouse_held_by_a_tool_stops_the_load_and_nothing_else(
    world: World, undisturbed: Undisturbed
) -> None:
    home = world.home()
    with held(home.warehouse, "writing") as tool:
        ended = world.run(home, code=IMPATIENT)
        assert ended.code == 1
        assert f"held by process {tool.pid}" in ended.stderr
        assert landed_files(home, DAY2) == 6
        assert world.server.credits == undisturbed.credits
        with pytest.raises(PublishFailed, match="open for writing in another tool"):
            publish(home, 0.1)
    ended = world.run(home)
    assert ended.code == 0, ended.stderr
    assert world.server.credits == undisturbed.credits
    assert tables(home) == undisturbed.tables


def test_a_load_waits_for_a_tool_that_lets_go_in_time(
    world: World, undisturbed: Undisturbed
) -> None:
    home = world.home()
    with held(home.warehouse, "writing"):
        process = world.start(home)
        until(lambda: landed_files(home, DAY2) == 6)
    assert process.wait().code == 0
    assert tables(home) == undisturbed.tables


def test_a_notebook_on_the_published_file_delays_nothing(
    world: World, undisturbed: Undisturbed
) -> None:
    home = world.home()
    with held(home.published, "reading") as notebook:
        assert notebook.stdin is not None
        assert notebook.stdout is not None
        ended = world.run(home)
        assert ended.code == 0, ended.stderr
        for _ in range(10):
            publish(home, 0.1)
        # It reads on what it opened, though that generation's file is long gone.
        notebook.stdin.write("again\n")
        notebook.stdin.flush()
        assert notebook.stdout.readline() == "6\n"
    assert tables(home) == undisturbed.tables
    assert len(list(home.generations.iterdir())) == 2


def test_the_published_file_can_be_attached_under_any_name(world: World) -> None:
    home = world.home()
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{home.published.resolve()}' AS other (READ_ONLY)")
        for view in ("snapshots", "follower_churn", "accounts", "memberships", "follower_growth"):
            con.execute(f"SELECT count(*) FROM other.{view}").fetchall()
        # A macro looks its tables up where its caller stands, so the caller goes there.
        con.execute("USE other")
        listed = con.execute(
            "SELECT count(*) FROM followers_on('one', CAST(? AS DATE))", [DAY1]
        ).fetchall()
        assert (
            listed
            == con.execute("SELECT listed FROM follower_snapshots WHERE handle = 'one'").fetchall()
        )
        con.execute("FROM churn_between('one', DATE '2026-01-01', DATE '2027-01-01')").fetchall()


# --- two at once ----------------------------------------------------------------------------------


def test_two_runs_of_one_day_buy_each_page_once_and_say_what_they_bought_themselves(
    world: World, undisturbed: Undisturbed
) -> None:
    home = world.home()
    bought = []
    for process in [world.start(home, "snapshot", "--json") for _ in range(2)]:
        ended = process.wait()
        assert ended.code == 0, ended.stderr
        said = json.loads(ended.stdout)
        bought.append((said["pages_bought"], said["credits"]))
    assert world.server.credits == undisturbed.credits
    assert sum(credits for _, credits in bought) == world.server.credits
    assert sum(pages for pages, _ in bought) == len(world.server.asked)
    assert tables(home) == undisturbed.tables


def test_the_first_runs_of_a_home_may_begin_at_once(world: World) -> None:
    home = world.home(fresh=True)
    for process in [world.start(home) for _ in range(3)]:
        ended = process.wait()
        assert ended.code == 0, ended.stderr
    pages = [(request.path, request.query.get("cursor")) for request in world.server.asked]
    assert len(set(pages)) == len(pages)


def test_two_runs_of_one_day_share_the_cap_of_a_handle(world: World) -> None:
    """The second one finds a list that the cap cut, and must not spend the cap once more."""
    home = world.home()
    home.registry.write_text("handles:\n  one: {daily_credits: 4}\n  two:\n  shy:\n")
    for process in [world.start(home) for _ in range(2)]:
        ended = process.wait()
        assert ended.code == 0, ended.stderr
    assert sum("/one/" in request.path for request in world.server.asked) == 4
    assert world.run(home).code == 0
    assert sum("/one/" in request.path for request in world.server.asked) == 4


# --- damaged, missing, newer ----------------------------------------------------------------------


def spoil(path: Path, where: str) -> None:
    """Random bytes at the head, or all over the middle."""
    mode = path.stat().st_mode
    path.chmod(0o600)
    with path.open("r+b") as file:
        size = path.stat().st_size
        file.seek(0 if where == "head" else 12_288)
        file.write(os.urandom(4096 if where == "head" else size - 12_288))
    path.chmod(mode)


@pytest.mark.parametrize("where", ["head", "middle", "missing"])
def test_a_damaged_warehouse_is_told_and_rebuilt_without_a_request(
    world: World, undisturbed: Undisturbed, where: str
) -> None:
    home = world.home()
    if where == "missing":
        home.warehouse.unlink()
    else:
        spoil(home.warehouse, where)
    ended = world.run(home)
    assert ended.code == 1
    assert "sf-assets rebuild" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert world.server.credits == undisturbed.credits  # read and landed all the same
    assert tables(home) != undisturbed.tables
    ended = world.run(home, "rebuild")
    assert ended.code == 0, ended.stderr
    assert world.server.credits == undisturbed.credits
    assert tables(home) == undisturbed.tables
    if where == "head":  # and it goes on from there
        serve_day(world.server, DAY3)
        assert world.run(home, day=DAY3).code == 0


def test_a_damaged_published_file_is_made_anew_by_the_next_run(
    world: World, undisturbed: Undisturbed
) -> None:
    home = world.home()
    spoil(home.published.resolve(), "head")
    ended = world.run(home)
    assert ended.code == 0, ended.stderr
    assert tables(home) == undisturbed.tables
    assert world.server.credits == undisturbed.credits


def test_a_newer_warehouse_is_refused_and_not_changed(world: World) -> None:
    home = world.home()
    with duckdb.connect(str(home.warehouse)) as con:
        con.execute("UPDATE internal.warehouse_format SET format = 99")
    before = home.warehouse.read_bytes()
    with (
        pytest.raises(WarehouseUnreadable, match="made by a newer sf_assets"),
        writing(home.warehouse),
    ):
        raise AssertionError("it was opened")
    assert home.warehouse.read_bytes() == before


def test_a_damaged_landing_is_named_by_the_run_and_by_the_rebuild(
    world: World, undisturbed: Undisturbed
) -> None:
    home = world.home()
    assert world.run(home).code == 0
    path = home.landing / DAY2.isoformat() / "followers" / "one.jsonl"
    sound = path.read_bytes()
    lines = sound.splitlines(keepends=True)
    lines[2] = lines[2].replace(b"Fan", b"Fun", 1)
    path.write_bytes(b"".join(lines))
    asked = len(world.server.requests)
    ended = world.run(home)
    assert ended.code == 1
    assert f"{path}:3: damaged line" in ended.stderr
    assert len(world.server.requests) == asked
    ended = world.run(home, "rebuild")
    assert ended.code == 1
    assert f"{path}:3: damaged line" in ended.stderr
    # The archive has what was loaded of it.
    assert tables(home) == undisturbed.tables


# --- no room, no permission -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "fails_at"),
    [(4_000, "landing"), (60_000, "loading"), (None, "publishing")],
    ids=["landing", "loading", "publishing"],
)
def test_a_full_disk_loses_nothing_and_buys_nothing_twice(
    world: World, undisturbed: Undisturbed, limit: int | None, fails_at: str
) -> None:
    home = world.home()
    # What Dagster notes goes elsewhere on such a day; here only our own files find no room.
    code = FULL_DISK.format(limit=limit or home.warehouse.stat().st_size, fails_at=fails_at)
    ended = world.run(home, code=code)
    assert "Traceback" not in ended.stderr, ended.stderr
    assert ended.code == (0 if fails_at == "publishing" else 1), ended.stderr
    if fails_at == "publishing":
        assert world.server.credits == undisturbed.credits
        assert list(home.generations.glob(".*")) == []
    elif fails_at == "loading":
        assert world.server.credits == undisturbed.credits
        assert "sf_assets.duckdb cannot be written" in ended.stderr
    else:
        assert "cannot be landed" in ended.stderr
    spent = world.server.credits
    ended = world.run(home)
    assert ended.code == 0, ended.stderr
    if fails_at != "landing":
        assert world.server.credits == spent
    # Of a page that found no room the credit is spent; no other one is asked for again.
    assert world.server.credits <= undisturbed.credits + 6
    assert tables(home) == undisturbed.tables


# The size of any file is limited from the named step on, as if the disk had no more room.
FULL_DISK = """
import resource
from sf_assets.assets import snapshots
from sf_assets.cli.main import main

def limited(call):
    def wrapper(*given, **named):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, before[1]))
        try:
            return call(*given, **named)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    return wrapper

if {fails_at!r} == "landing":
    from sf_assets.landing import SnapshotLog
    SnapshotLog._append = limited(SnapshotLog._append)
elif {fails_at!r} == "loading":
    snapshots.load = limited(snapshots.load)
else:
    from sf_assets.assets import derived
    snapshots.publish, derived.publish = limited(snapshots.publish), limited(derived.publish)
main(["snapshot"])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are another matter there")
def test_a_home_that_cannot_be_written_buys_nothing(world: World, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way of the home")
    ended = world.run(Home(blocked), "track", "one")
    assert ended.code == 2
    assert "SF_ASSETS_HOME" in ended.stderr
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    home = world.home()
    home.root.chmod(0o500)
    try:
        ended = world.run(home)
    finally:
        home.root.chmod(0o700)
    assert ended.code == 2
    assert "cannot be written" in ended.stderr
    assert world.server.requests == []
