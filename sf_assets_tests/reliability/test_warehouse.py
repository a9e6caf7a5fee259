"""The files: held by others, damaged, missing, newer than we are, on a disk without room."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sf_assets.storage.home import Home
from sf_assets.warehouse.connection import reading
from sf_assets.warehouse.publish import PublishFailed, publish
from sf_assets_tests.homes import made_plain

from .conftest import DAY1, DAY2, Undisturbed, World, tables
from .processes import until

GMTIME = time.gmtime

# `sf-assets snapshot`, with a limit that a test can wait for.
IMPATIENT = """
from sf_assets.defs.audience import Audience
Audience.wait_seconds = 0.5
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
    return len(list((home.landing / str(day)).glob("*/*.jsonl*")))


# --- held by somebody else ------------------------------------------------------------------------


def test_a_warehouse_held_by_a_tool_stops_the_load_and_nothing_else(
    world: World, undisturbed: Undisturbed
) -> None:
    home = world.home()
    with held(home.warehouse, "writing") as tool:
        ended = world.run(home, code=IMPATIENT)
        assert ended.code == 1
        assert f"process {tool.pid} has held" in ended.stderr
        assert landed_files(home, DAY2) == 6
        assert world.server.credits == undisturbed.credits
        with pytest.raises(PublishFailed, match=r"another tool has .* open for writing"):
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


@pytest.mark.parametrize("seconds", [(1_000, 1_001), (1_001, 1_000), (1_000, 900)])
def test_what_was_just_published_stays_whatever_the_clock_does(
    world: World, monkeypatch: pytest.MonkeyPatch, seconds: tuple[int, int]
) -> None:
    """A clock that goes back, and one that enters the next second while it is read."""
    home = world.home()
    for second in seconds:
        ticks = iter(range(second * 10**9 - 1, second * 10**9 + 10))
        monkeypatch.setattr(time, "time_ns", lambda ticks=ticks: next(ticks))
        monkeypatch.setattr(
            time, "gmtime", lambda at=None, s=second: GMTIME(s if at is None else at)
        )
        before = home.published.resolve()
        published = publish(home, 0.1)
        monkeypatch.undo()
        assert home.published.resolve() == published
        assert {path.name for path in home.generations.iterdir()} == {
            before.parent.name,
            published.parent.name,
        }
        with reading(home.published) as con:
            con.execute("FROM snapshots").fetchall()


def test_the_published_file_can_be_attached_under_any_name(world: World) -> None:
    home = world.home()
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{home.published.resolve()}' AS other (READ_ONLY)")
        views = con.execute(
            "SELECT table_name FROM duckdb_columns() "
            "WHERE database_name = 'other' AND schema_name = 'main' GROUP BY ALL"
        ).fetchall()
        assert {"about", "handles", "list_days", "accounts"} < {name for (name,) in views}
        for (view,) in views:
            con.execute(f"SELECT count(*) FROM other.{view}").fetchall()
        assert con.execute("SELECT handle, tracked_until FROM other.handles").fetchall()
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
def test_a_damaged_warehouse_buys_nothing_and_is_rebuilt_without_a_request(
    world: World, undisturbed: Undisturbed, where: str
) -> None:
    home = world.home()
    before = tables(home)
    if where == "missing":
        home.warehouse.unlink()
    else:
        spoil(home.warehouse, where)
    ended = world.run(home)
    assert ended.code == 1
    assert "nothing was bought" in ended.stderr
    assert "sf-assets rebuild" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert world.server.asked == []
    ended = world.run(home, "rebuild")
    assert ended.code == 0, ended.stderr
    assert world.server.requests == []
    assert tables(home) == before
    # And it goes on from there.
    assert world.run(home).code == 0
    assert tables(home) == undisturbed.tables


def newer_warehouse(home: Home) -> None:
    with duckdb.connect(str(home.warehouse)) as con:
        con.execute("UPDATE internal.warehouse_format SET format = 99")


def newer_archive(home: Home) -> None:
    described = {"sf_assets_snapshots": json.dumps({"format": 99, "snapshots": []})}
    table = pa.table({"handle": ["one"]}).replace_schema_metadata(described)
    pq.write_table(table, home.archive / f"day={DAY1}" / "newer.parquet")


def archive_in_the_way(home: Home) -> None:
    home.archive.rename(home.root / "elsewhere")
    home.archive.write_text("in the way of the archive")


def landing_in_the_way(home: Home) -> None:
    home.landing.rename(home.root / "elsewhere")
    home.landing.symlink_to("/proc/self")


def large_pages(home: Home) -> None:
    (line,) = (home.root / "sizes.jsonl").read_text().splitlines()
    noted = json.loads(line)
    assert 500 < noted["bytes"] / noted["pages"] < 50_000
    (home.root / "sizes.jsonl").write_text(json.dumps({**noted, "bytes": 10**18}) + "\n")


@pytest.mark.parametrize(
    ("spoiled", "limits", "said"),
    [
        (newer_warehouse, "", r"sf_assets\.duckdb has format 99, made by a newer sf_assets"),
        (newer_archive, "", r"newer\.parquet was written by a newer sf_assets; upgrade it"),
        (archive_in_the_way, "", "cannot write to .*archive .*; fix the permission or free some"),
        (landing_in_the_way, "", "cannot write to .*landing .*; fix the permission or free some"),
        (
            large_pages,
            "",
            r"has [\d,]+ MB of free space and the day needs about [\d,]{13,} MB; free",
        ),
        (None, "preflight.look = limited(preflight.look)", "File too large"),
    ],
    ids=["warehouse", "archive", "archive folder", "landing folder", "room", "full"],
)
def test_what_would_stop_the_load_is_found_before_anything_is_bought(
    world: World, spoiled: Callable[[Home], None] | None, limits: str, said: str
) -> None:
    home = world.home()
    if spoiled is not None:
        spoiled(home)
    before = home.warehouse.read_bytes()
    ended = world.run(home, code=LIMITED.format(limits=limits) + SNAPSHOT_AND_SCHEDULE)
    assert ended.code == 0, ended.stderr
    (of_the_command,) = [one for one in ended.stderr.splitlines() if one.startswith("sf-assets: ")]
    (of_the_schedule,) = ended.stdout.splitlines()
    for reason in (of_the_command, of_the_schedule):
        assert re.search(f"nothing was bought: .*{said}", reason), reason
    assert "exit code 1" in ended.stderr
    assert world.server.asked == []
    assert home.warehouse.read_bytes() == before


LIMITED = """
import resource
from sf_assets.ingest import preflight

def limited(call):
    def wrapper(*given, **named):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        try:
            return call(*given, **named)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    return wrapper

{limits}
"""

# The day by hand, then what the daily schedule asks for; what the latter says goes to stdout.
SNAPSHOT_AND_SCHEDULE = """
import sys
import dagster as dg
from sf_assets.cli.main import main
from sf_assets.cli.runner import dagster_instance, failure_of
from sf_assets.defs.build import build_definitions
from sf_assets.storage.home import Home
from sf_assets.settings import load_settings

try:
    main(["snapshot", "--quiet"])
except SystemExit as end:
    print("exit code", end.code, file=sys.stderr)
settings = load_settings()
with dagster_instance(Home.of(settings)) as instance:
    defs = build_definitions(settings, name="", automation="running")
    daily = defs.resolve_schedule_def("daily")
    tick = daily.evaluate_tick(dg.build_schedule_context(instance=instance))
    for request in tick.run_requests:
        result = defs.resolve_job_def("daily_snapshots").execute_in_process(
            run_config={
                **request.run_config,
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
            tags=dict(request.tags),
            asset_selection=request.asset_selection,
            instance=instance,
            raise_on_error=False,
        )
        print(failure_of(result)[0])
"""


def test_a_damaged_published_file_is_made_anew_by_the_next_run(
    world: World, undisturbed: Undisturbed
) -> None:
    home = world.home()
    spoil(home.published.resolve(), "head")
    ended = world.run(home)
    assert ended.code == 0, ended.stderr
    assert tables(home) == undisturbed.tables
    assert world.server.credits == undisturbed.credits


def test_a_damaged_landing_is_named_by_the_run_and_by_the_rebuild(
    world: World, undisturbed: Undisturbed
) -> None:
    home = world.home()
    assert world.run(home).code == 0
    path = made_plain(home.landing / DAY2.isoformat() / "followers" / "one.jsonl")
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
        assert "cannot land pages" in ended.stderr
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
from sf_assets.defs import snapshot_run as snapshots
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
    from sf_assets.storage.landing import SnapshotLog
    SnapshotLog._append = limited(SnapshotLog._append)
elif {fails_at!r} == "loading":
    snapshots.load = limited(snapshots.load)
else:
    from sf_assets.defs import derived
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
