"""An S3 that is slow, silent or loses what is put: nothing is lost, and nothing bought twice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sf_assets.model import SnapshotKey
from sf_assets.settings import load_settings
from sf_assets.storage import landing_objects
from sf_assets.storage import object_store as client
from sf_assets.storage.home import Home
from sf_assets.storage.landing import Landing
from sf_assets.storage.landing_objects import ObjectLanding
from sf_assets.storage.object_store import place
from sf_assets_tests.reliability.conftest import serve_day
from sf_assets_tests.served_lists import KEY, ListServer

from ..components import Cluster, ObjectStore, object_store
from ..conftest import Pipeline
from ..loopback import Request
from ..quick_s3 import told
from .conftest import DAY1, DAY2, Far
from .test_far_home import HANDLES, ended, expected, tables, worker
from .test_object_landing import page

pytestmark = pytest.mark.scale

FAULTS = {
    "slow down": {"slow_down": 0.3},
    "no answer": {"hang": 0.08, "hang_seconds": 30},
    "one write of ten lost": {"lose": 0.1},
    "all of it": {"slow_down": 0.1, "hang": 0.02, "hang_seconds": 30, "lose": 0.1},
}


@pytest.fixture
def faulty(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Far, ObjectStore]]:
    with object_store(quick=True) as store:
        made = Far(cluster.database(), store.bucket())
        os.environ.update(store.environment)
        os.environ.update(made.environment)
        monkeypatch.setattr(client, "ANSWER_SECONDS", 1)
        S3FileSystem = pytest.importorskip("s3fs").S3FileSystem
        S3FileSystem.clear_instance_cache()  # it remembers where the last test's was
        yield made, store
        S3FileSystem.clear_instance_cache()


def walk(landing: Landing, key: SnapshotKey, pages: int) -> int:
    """Read a list to its end as a reader does, which begins anew where pages cannot be landed."""
    bought, trouble = 0, OSError()
    for _ in range(20):
        try:
            log = landing.open(key)
            assert log is not None
            with log:
                if log.last is None:
                    log.begin("", "run")
                for number in range(log.attempts[-1].pages + 1, pages + 1):
                    bought += 1
                    log.add_page(page(number))
                if not log.finished:
                    log.finish("found", "exhausted", "run")
                log.make_durable()
            return bought
        except OSError as error:
            trouble = error
    raise AssertionError(f"{key} was never landed") from trouble


@pytest.mark.parametrize("sync", ["page", "batch"])
@pytest.mark.parametrize("fault", FAULTS)
def test_every_page_is_landed_and_none_bought_twice(
    faulty: tuple[Far, ObjectStore],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sync: str,
    fault: str,
) -> None:
    far, store = faulty
    monkeypatch.setattr(landing_objects, "BATCH_RECORDS", 3)
    monkeypatch.setattr(client, "TRIES", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    landing = ObjectLanding(place(far.storage, "landing"), tmp_path, batch=sync == "batch")
    keys = [SnapshotKey(DAY1, f"h{number}", "followers") for number in range(12)]
    told(store.port, FAULTS[fault])
    with ThreadPoolExecutor(6) as pool:
        bought = list(pool.map(lambda key: walk(landing, key, 8), keys))
    counted = told(store.port, {})
    assert counted.get("faults", 0) >= 3, counted
    landing.tidy()
    assert bought == [8] * len(keys)
    for key in keys:
        landed = landing.read(key)
        assert landed is not None
        assert (landed.attempts[0].pages, landed.credits, landed.finished) == (8, 8, True)
        bodies = landed.on_disk(tmp_path).read_bytes()
        assert all(page(number).body in bodies for number in range(1, 9))


def test_the_pipeline_makes_the_same_tables_for_the_same_credits(
    faulty: tuple[Far, ObjectStore], server: ListServer, tmp_path: Path
) -> None:
    far, store = faulty
    here = expected(far, server, tmp_path / "here")
    bought = server.credits
    there = Pipeline(tmp_path / "there", server.url, KEY, DAY1)
    there.track(*HANDLES)
    told(store.port, FAULTS["all of it"])
    for day in (DAY1, DAY2):
        serve_day(server, day)
        # A load or derivation that fails is done again by a later run, which buys nothing.
        for _ in range(5):
            done = there.snapshot(day, *HANDLES, derive=False)
            if all(one.success for one in done):
                break
    assert told(store.port, {})["faults"] >= 5
    assert server.credits == 2 * bought
    there.snapshot(DAY2, *HANDLES)
    assert server.credits == 2 * bought
    assert tables(there.home.readable) == here


def test_pages_that_could_not_be_put_are_not_bought_again(
    faulty: tuple[Far, ObjectStore], server: ListServer, tmp_path: Path
) -> None:
    far, store = faulty
    here = expected(far, server, tmp_path / "here")
    both_days = server.credits
    home = tmp_path / "there"
    home.mkdir()
    (home / "handles.yaml").write_text("handles: [one, two, shy]\n")
    how = {"AWS_MAX_ATTEMPTS": "1", "SF_ASSETS_HURRY": "600"}
    serve_day(server, DAY1)
    assert ended(worker(home, server, DAY1, "snapshot", **how))[0] == 0
    serve_day(server, DAY2)

    def away(request: Request) -> None:
        # From the second page of a list on the store takes nothing more.
        if request.path.endswith("/two/followers") and "cursor" in request.query:
            told(store.port, {"writes_fail": 1})

    server.fault = away
    code, said = ended(worker(home, server, DAY2, "snapshot", **how))
    assert code != 0, said
    assert "Traceback" not in said
    server.fault = None
    told(store.port, {})
    code, said = ended(worker(home, server, DAY2, "snapshot", **how))
    assert code == 0, said
    assert tables(Home.of(load_settings()).readable) == here
    assert server.credits == 2 * both_days
