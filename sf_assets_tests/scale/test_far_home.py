"""The whole pipeline with its tables in a lake on Postgres and its files on S3.

The same lists, read on one machine and far from it, make the same tables; whoever dies, whoever
comes at the same time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from threading import Thread
from typing import Any

import duckdb
import pytest

from sf_assets.handles.edit import track
from sf_assets.settings import load_settings
from sf_assets.storage.address import Lake
from sf_assets.storage.home import Home
from sf_assets.warehouse.connection import committed, reading, writing
from sf_assets.warehouse.derive import derive
from sf_assets.warehouse.load import load
from sf_assets.warehouse.rebuild import rebuild
from sf_assets_tests.lists import DERIVED_TABLES, INCIDENTAL, Told
from sf_assets_tests.reliability.conftest import serve_day
from sf_assets_tests.served_lists import KEY, ListServer

from ..components import free_port
from ..conftest import Pipeline
from .conftest import DAY1, DAY2, Far

pytestmark = pytest.mark.scale

HANDLES = ("one", "two", "shy")
# A worker that was killed is taken for dead sooner than in earnest.
_COMMAND = """
import sf_assets.storage.landing_objects as landing
landing.LEASE_SECONDS = 2.0
from sf_assets.cli.main import main
main()
"""


def tables(
    where: Path | Lake, names: Sequence[str] = DERIVED_TABLES
) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of these tables, without what differs between any two runs."""
    made = {}
    with reading(where) as con:
        for name in names:
            cursor = con.execute(f"SELECT * FROM {name}")
            kept = [n for n, one in enumerate(cursor.description) if one[0] not in INCIDENTAL]
            made[name] = sorted((tuple(r[n] for n in kept) for r in cursor.fetchall()), key=repr)
    return made


@contextmanager
def on_this_machine(far: Far) -> Iterator[None]:
    """As if nothing far were set."""
    held = {name: os.environ.pop(name) for name in far.environment}
    try:
        yield
    finally:
        os.environ.update(held)


def expected(far: Far, server: ListServer, root: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Both days as one machine has them."""
    with on_this_machine(far):
        here = Pipeline(root, server.url, KEY, DAY1)
        here.track(*HANDLES)
        for day in (DAY1, DAY2):
            serve_day(server, day)
            assert all(one.success for one in here.snapshot(day, *HANDLES))
        return tables(here.home.readable)


def worker(home: Path, server: ListServer, day: date, *arguments: str, **more: str) -> Any:
    """`sf-assets` in a process and a home of its own."""
    environment = {
        **os.environ,
        "SF_ASSETS_HOME": str(home),
        "SF_ASSETS_START_DATE": DAY1.isoformat(),
        "SF_ASSETS_TODAY": day.isoformat(),
        "SOCIALFETCH_BASE_URL": server.url,
        "SOCIALFETCH_API_KEY": KEY,
        **more,
    }
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _COMMAND, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: Any) -> tuple[int, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out + err


def test_two_days_make_the_tables_that_one_machine_makes(
    far: Far, server: ListServer, tmp_path: Path
) -> None:
    here = expected(far, server, tmp_path / "here")
    there = Pipeline(tmp_path / "there", server.url, KEY, DAY1)
    there.track(*HANDLES)
    for day in (DAY1, DAY2):
        serve_day(server, day)
        assert all(one.success for one in there.snapshot(day, *HANDLES))
    assert tables(there.home.readable) == here
    # Nothing of it is on this machine but what is small.
    kept = {path.name for path in there.home.root.iterdir()}
    assert kept <= {"sizes.jsonl", "dagster", "spool"}
    assert not [path for path in (there.home.root / "spool").rglob("*") if path.is_file()]
    # What was there on the first day is one version of the lake away.
    with reading(there.home.readable) as con:
        versions = con.execute(
            "SELECT snapshot_id FROM sf_assets.snapshots() ORDER BY ALL"
        ).fetchall()
        counts = []
        while 6 not in counts:
            as_of = f"SELECT count(*) FROM internal.snapshots AT (VERSION => {versions.pop()[0]})"
            counts.append(con.execute(as_of).fetchall()[0][0])
        assert counts[0] == 12
        with pytest.raises(duckdb.Error, match="read-only"):
            con.execute("DELETE FROM internal.snapshots")
    # Made anew from the archive it is the same.
    assert rebuild(there.home).problems == []
    assert tables(there.home.readable) == here


@pytest.mark.parametrize(
    "step", ["answered:4", "landed:5", "ended:2", "archived", "committing:1", "committed:2"]
)
def test_killed_at_a_step_another_worker_finishes_the_day(
    far: Far, server: ListServer, tmp_path: Path, step: str
) -> None:
    here = expected(far, server, tmp_path / "here")
    serve_day(server, DAY1)
    bought = server.credits
    homes = [tmp_path / "first", tmp_path / "second"]
    track(Home.of(load_settings()).registry, list(HANDLES))
    assert ended(worker(homes[0], server, DAY1, "snapshot"))[0] == 0
    one_day = server.credits - bought
    serve_day(server, DAY2)
    bought = server.credits
    killed = worker(homes[0], server, DAY2, "snapshot", SF_ASSETS_CRASH_AT=step)
    assert ended(killed)[0] == -9
    code, said = ended(worker(homes[1], server, DAY2, "snapshot"))
    assert code == 0, said
    lists = 2 * len(HANDLES)
    # Each list may have had one page under way.
    assert server.credits - bought <= one_day + lists + 2
    assert tables(Home.of(load_settings()).readable) == here


@pytest.mark.parametrize(("sync", "then"), [("page", "home"), ("batch", "home"), ("page", "empty")])
def test_killed_the_next_process_buys_nothing_again(
    far: Far, server: ListServer, tmp_path: Path, sync: str, then: str
) -> None:
    how = {"SF_ASSETS_LANDING_SYNC": sync, "SF_ASSETS_CONCURRENCY": "1"}
    track(Home.of(load_settings()).registry, list(HANDLES))
    serve_day(server, DAY1)
    killed = worker(
        tmp_path / "home", server, DAY1, "snapshot", SF_ASSETS_CRASH_AT="landed:5", **how
    )
    assert ended(killed)[0] == -9
    assert server.credits == 5
    code, said = ended(worker(tmp_path / then, server, DAY1, "snapshot", **how))
    assert code == 0, said
    # 90, 50 and 30 followers, 45, 9 and 8 followed, 20 a page.
    assert server.credits == 5 + 3 + 2 + 3 + 1 + 1


def test_two_workers_with_the_same_lists_buy_each_page_once(
    far: Far, server: ListServer, tmp_path: Path
) -> None:
    here = expected(far, server, tmp_path / "here")
    homes = [tmp_path / "first", tmp_path / "second"]
    track(Home.of(load_settings()).registry, list(HANDLES))
    for day in (DAY1, DAY2):
        serve_day(server, day)
        before = len(server.requests)
        both = [worker(home, server, day, "snapshot") for home in homes]
        for code, said in map(ended, both):
            assert code == 0, said
        asked = [
            (request.path, tuple(sorted(request.query.items())))
            for request in server.requests[before:]
            if "/profiles/" in request.path
        ]
        # Nothing was asked for by both. (Who turned private is asked again before it is believed.)
        again = [one for one in asked if asked.count(one) > 1]
        assert all("/shy/" in path for path, _ in again), again
    assert tables(Home.of(load_settings()).readable) == here


def test_loads_of_many_workers_at_once_all_arrive_and_none_twice(far: Far, tmp_path: Path) -> None:
    os.environ["SF_ASSETS_HOME"] = str(tmp_path)
    home = Home.of(load_settings())
    landed = [
        [Told(1, f"w{one}.{n}", (3, 2, 1)).land(_landing(tmp_path)) for n in range(3)]
        for one in range(6)
    ]
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for again in (number, number, (number + 1) % 6):
                load(lambda: writing(home.writable), home.archive, landed[again])
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    with reading(home.readable) as con:
        assert con.execute("SELECT count(*), count(DISTINCT handle) FROM snapshots").fetchall() == [
            (18, 18)
        ]


@pytest.mark.parametrize(
    "said",
    [
        "Transaction conflict - attempting to insert into table",
        'Failed to execute query "UPDATE …": ERROR:  deadlock detected\nDETAIL:  Process 7 waits',
        "ERROR:  could not serialize access due to concurrent update",
    ],
    ids=["conflict", "deadlock", "serialization"],
)
def test_a_commit_that_another_one_prevented_is_repeated(
    far: Far, tmp_path: Path, said: str
) -> None:
    os.environ["SF_ASSETS_HOME"] = str(tmp_path)
    tries: list[int] = []

    def work() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise duckdb.TransactionException(said)
        return 7

    with writing(Home.of(load_settings()).writable) as con:
        assert committed(con, "load", work) == 7
        tries.clear()
        said = "ERROR:  permission denied"
        with pytest.raises(duckdb.TransactionException, match="permission"):
            committed(con, "load", work)
    assert len(tries) == 1


def test_two_derivations_at_once_derive_everything_once(far: Far, tmp_path: Path) -> None:
    os.environ["SF_ASSETS_HOME"] = str(tmp_path)
    home = Home.of(load_settings())
    landed = [Told(n, "nova", (3 + n, 2 + n, 1)).land(_landing(tmp_path)) for n in (1, 2, 3)]
    load(lambda: writing(home.writable), home.archive, landed)
    done: list[Any] = []

    def work() -> None:
        try:
            with writing(home.writable) as con:
                done.append(derive(con, home.archive).snapshots)
        except BaseException as error:
            done.append(error)

    threads = [Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [0, 0, 3]
    with reading(home.readable) as con:
        for name in ("comparisons", "snapshots", "follower_growth"):
            assert con.execute(f"SELECT count(*) FROM {name}").fetchall() == [(3,)], name


def _landing(root: Path) -> Any:
    from sf_assets.storage.landings import landing_at

    return landing_at(Home.of(load_settings()).landing)


def test_the_password_is_in_no_message(far: Far, server: ListServer, tmp_path: Path) -> None:
    os.environ["SF_ASSETS_WAREHOUSE"] = f"ducklake:postgres:{far.dsn}_is_not_there"
    (tmp_path / "handles.yaml").write_text("handles: [one]\n")
    serve_day(server, DAY1)
    for arguments in (["query"], ["snapshot"], ["doctor"], ["handles"]):
        code, said = ended(worker(tmp_path, server, DAY1, *arguments))
        assert code != 0, said
        assert "cannot be opened" in said
        assert "password='***'" in said or "password=***" in said
        assert "hush" not in said
    assert "hush" not in repr(Home.of(load_settings()))
    assert "hush" not in repr(load_settings())


def test_a_lake_that_is_not_there_yet_reads_as_nothing_published(
    far: Far, server: ListServer, tmp_path: Path
) -> None:
    code, said = ended(worker(tmp_path, server, DAY1, "query"))
    assert code == 2
    assert "does not exist yet; the first snapshot creates it" in said


def test_while_s3_cannot_be_reached_nothing_is_bought(
    far: Far, server: ListServer, tmp_path: Path
) -> None:
    serve_day(server, DAY1)
    (tmp_path / "handles.yaml").write_text("handles: [one]\n")
    nowhere = f"http://127.0.0.1:{free_port()}"
    code, said = ended(
        worker(tmp_path, server, DAY1, "snapshot", AWS_ENDPOINT_URL=nowhere, AWS_MAX_ATTEMPTS="1")
    )
    assert code != 0
    assert "cannot reach" in said
    assert "Traceback" not in said
    assert server.requests == []


def test_another_storage_than_the_lakes_own_is_refused(
    far: Far, server: ListServer, tmp_path: Path
) -> None:
    os.environ["SF_ASSETS_HOME"] = str(tmp_path)
    with writing(Home.of(load_settings()).writable):
        pass
    os.environ["SF_ASSETS_STORAGE"] = str(tmp_path / "elsewhere")
    code, said = ended(worker(tmp_path, server, DAY1, "query"))
    assert code != 0
    assert "DATA_PATH" in said
