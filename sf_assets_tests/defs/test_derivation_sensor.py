"""What has landed is derived: one run a burst, and again, later and later, where that failed."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from sf_assets.defs import sensors
from sf_assets.warehouse.connection import writing
from sf_assets.warehouse.derive import derive
from sf_assets.warehouse.publish import publish
from sf_assets_tests.conftest import Pipeline
from sf_assets_tests.defs.conftest import DAY, Location, made_once, put
from sf_assets_tests.served_lists import KEY, ListServer, account


@pytest.fixture(scope="module")
def two_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Snapshots of two days that are not derived."""

    def make(home: Path) -> None:
        with ListServer() as server:
            server.set("nasa", "followers", [account(1)])
            pipeline = Pipeline(home, server.url, KEY, DAY)
            pipeline.track("nasa", relations=["followers"])
            for number in range(2):
                day = DAY + timedelta(days=number)
                pipeline.snapshot(day, "nasa", relations=["followers"], derive=False)

    return made_once(make, tmp_path_factory.mktemp("two days"))


@pytest.fixture
def burst(two_days: Path, location: Location) -> Location:
    return put(two_days, location)


def test_nothing_loaded_asks_for_nothing(location: Location) -> None:
    assert location.tick("derivation").skip_reason == dg.SkipReason("Nothing is loaded yet.")


def test_what_is_derived_is_not_asked_for_again(burst: Location) -> None:
    with writing(burst.home.warehouse) as con:
        derive(con, burst.home.archive)
    publish(burst.home)
    reason = burst.tick("derivation").skip_reason
    assert reason == dg.SkipReason("All loaded snapshots are derived.")


def test_a_burst_is_asked_for_once(burst: Location) -> None:
    (request,) = burst.tick("derivation").run_requests or []
    assert request.tags["dagster/asset_partition_range_start"] == str(DAY)
    assert request.tags["dagster/asset_partition_range_end"] == str(DAY + timedelta(days=1))
    assert request.tags["sf_assets/day"] == str(DAY + timedelta(days=1))
    # Under the same key until the daemon has made a run of it …
    (again,) = burst.tick("derivation").run_requests or []
    assert again.run_key == request.run_key
    # … and not at all while that run is in progress.
    for status in set(sensors.IN_PROGRESS) - {dg.DagsterRunStatus.QUEUED}:
        run = burst.note_run(request, status)
        assert not burst.tick("derivation").run_requests
        burst.instance.delete_run(run.run_id)


def test_more_that_lands_is_another_burst(burst: Location) -> None:
    (first,) = burst.tick("derivation").run_requests or []
    burst.note_run(first, dg.DagsterRunStatus.STARTED)
    with ListServer() as server:
        server.set("nasa", "followers", [account(1)])
        pipeline = Pipeline(burst.home.root, server.url, KEY, DAY)
        day = DAY + timedelta(days=2)
        pipeline.snapshot(day, "nasa", relations=["followers"], derive=False)
    (second,) = burst.tick("derivation").run_requests or []
    assert second.run_key != first.run_key
    assert second.tags["dagster/asset_partition_range_end"] == str(day)


def test_after_a_failure_it_asks_again_with_growing_pauses(
    burst: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    minutes_later = {"now": 0.0}
    real = sensors.datetime

    class Later(real):  # type: ignore[misc, valid-type]
        @classmethod
        def now(cls, tz: object = None) -> object:
            return real.now(tz) + timedelta(minutes=minutes_later["now"])

    monkeypatch.setattr(sensors, "datetime", Later)
    keys = []
    for pause in (1, 2, 4, 8):
        minutes_later["now"] = 100  # long after whatever failed before
        (request,) = burst.tick("derivation").run_requests or []
        keys.append(request.run_key)
        burst.note_run(request, dg.DagsterRunStatus.FAILURE)
        minutes_later["now"] = pause - 0.5
        assert not burst.tick("derivation").run_requests
        minutes_later["now"] = pause + 0.1
        assert burst.tick("derivation").run_requests
    assert len(set(keys)) == 4


def test_a_tick_never_waits_for_the_warehouse(burst: Location) -> None:
    with duckdb.connect(str(burst.home.warehouse)):
        began = time.monotonic()
        assert burst.tick("derivation").run_requests
        assert time.monotonic() - began < 5
