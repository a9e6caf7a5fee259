"""Runs whose process is gone, its number used again or not; and runs of others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.events import EngineEventData

from sf_assets.defs.dead_runs import fail_dead_runs
from sf_assets_tests.defs.conftest import Location


@dg.job
def a_job() -> None:
    """Does nothing; only its run is wanted."""


def started(
    location: Location, process: int, *, seconds_ago: float = 0, home: str | None = None
) -> str:
    """A run that said so long ago that it is executed by this process."""
    tags = {} if home == "" else {"sf_assets/home": home or str(location.home.root)}
    run = location.instance.create_run_for_job(a_job, status=dg.DagsterRunStatus.STARTED, tags=tags)
    location.instance.report_engine_event("Executing", run, EngineEventData.in_process(process))
    (entry,) = location.instance.all_logs(run.run_id)
    earlier = entry._replace(timestamp=time.time() - seconds_ago)
    location.instance.event_log_storage.delete_events(run.run_id)
    location.instance.event_log_storage.store_event(earlier)
    return run.run_id


def dead(location: Location) -> list[str]:
    return fail_dead_runs(location.instance, location.audience, None)


@pytest.fixture
def ended() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_run_is_dead_when_its_process_is_gone(location: Location, ended: int) -> None:
    run = started(location, ended)
    alive = started(location, os.getpid())
    assert dead(location) == [run]
    assert dead(location) == []
    record = location.instance.get_run_by_id(run)
    assert record is not None
    assert record.status is dg.DagsterRunStatus.FAILURE
    record = location.instance.get_run_by_id(alive)
    assert record is not None
    assert record.status is dg.DagsterRunStatus.STARTED


def test_a_number_that_another_process_has_got_is_not_the_run(location: Location) -> None:
    # This process began long after the run said that it had this number.
    run = started(location, os.getpid(), seconds_ago=7 * 24 * 3600)
    assert dead(location) == [run]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="zombies are shown in /proc")
def test_a_killed_process_that_nobody_has_waited_for_is_gone(location: Location) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        run = started(location, process.pid)
        assert dead(location) == []
        process.kill()
        while Path(f"/proc/{process.pid}/stat").read_text().split()[2] != "Z":
            time.sleep(0.01)
        assert dead(location) == [run]
    finally:
        process.wait()


@pytest.mark.parametrize("home", ["/another/home", ""], ids=["another home", "somebody's job"])
def test_runs_of_others_are_left_alone(location: Location, ended: int, home: str) -> None:
    run = started(location, ended, home=home)
    assert dead(location) == []
    record = location.instance.get_run_by_id(run)
    assert record is not None
    assert record.status is dg.DagsterRunStatus.STARTED
