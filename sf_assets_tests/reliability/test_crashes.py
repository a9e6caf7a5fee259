"""`kill -9` at every step and at random moments: nothing lost, nothing bought twice."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable

import dagster as dg
import pytest
from dagster._core.events import EngineEventData

from sf_assets.cli.runner import dagster_instance
from sf_assets.storage.landing import spent_on
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets.text import counted
from sf_assets_tests.defs.conftest import Location
from sf_assets_tests.loopback import Request

from .conftest import DAY2, Undisturbed, World, tables
from .processes import Process

# Requests that may be under way when a process dies: one a list.
IN_FLIGHT = 6

# Where to die, and how many answers are lost at most. The run of a day commits what it loaded, then
# its ledger, then what is derived of it.
STEPS = {
    "answered:4": IN_FLIGHT,
    "landed:5": IN_FLIGHT - 1,
    "ended:2": IN_FLIGHT - 1,
    "archived": 0,
    "committing:1": 0,
    "committed:1": 0,
    "copied:1": 0,
    "committing:2": 0,
    "committed:2": 0,
    "committing:3": 0,
    "copied:2": 0,
}


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_a_step_the_next_attempt_finishes_the_day(
    world: World, undisturbed: Undisturbed, step: str
) -> None:
    home = world.home()
    assert world.run(home, SF_ASSETS_CRASH_AT=step).killed
    spent = world.server.credits
    ended = world.run(home)
    assert ended.code == 0, ended.stderr
    assert world.server.credits <= undisturbed.credits + STEPS[step]
    if STEPS[step] == 0:
        assert world.server.credits == spent  # all was landed: nothing is asked for again
    assert tables(home) == undisturbed.tables


def test_killed_while_it_waits_for_a_page_it_buys_no_page_twice(
    world: World, undisturbed: Undisturbed, dies_at_page: Callable[[int], Callable[[Process], None]]
) -> None:
    home = world.home()
    aim = dies_at_page(8)
    process = world.start(home)
    aim(process)
    assert process.wait().killed
    world.server.fault = None
    assert world.run(home).code == 0
    assert world.server.credits <= undisturbed.credits + IN_FLIGHT
    assert tables(home) == undisturbed.tables


@pytest.mark.parametrize("seed", range(5))
def test_killed_at_random_moments_the_day_is_finished_all_the_same(
    world: World, undisturbed: Undisturbed, seed: int
) -> None:
    chance = random.Random(seed)
    home = world.home()
    kills = 0
    for _ in range(3):
        ended = world.start(home).kill_after(chance.uniform(0.1, 1.0) * undisturbed.seconds)
        kills += ended.killed
        assert ended.killed or ended.code == 0, ended.stderr
    ended = world.run(home)
    assert ended.code == 0, ended.stderr
    assert world.server.credits <= undisturbed.credits + IN_FLIGHT * kills
    assert tables(home) == undisturbed.tables


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "kill"])
def test_stopped_by_hand_it_says_what_is_kept_and_begins_nothing_more(
    world: World, undisturbed: Undisturbed, how: signal.Signals
) -> None:
    home = world.home()
    target: list[Process] = []
    reached = threading.Event()

    def fault(request: Request) -> None:
        if "cursor" in request.query and not reached.is_set():
            reached.set()
            while not target:
                pass
            os.kill(target[0].pid, how)
            time.sleep(0.3)  # it is told while it waits for a page

    world.server.fault = fault
    target.append(world.start(home, code=A_HANDLE_A_RUN))
    ended = target[0].wait()
    assert ended.code == 1
    assert "sf-assets: stopped before all lists were read" in ended.stderr
    assert "Error" not in ended.stderr
    bought = spent_on(DiskLanding(home.landing), DAY2)
    assert f"bought, {counted(bought, 'credit')}, " in ended.stdout
    # The runs of the other handles were still to come.
    assert len({request.path.split("/")[4] for request in world.server.asked}) == 1
    world.server.fault = None
    assert world.run(home).code == 0
    assert world.server.credits <= undisturbed.credits + 2
    assert tables(home) == undisturbed.tables


A_HANDLE_A_RUN = """
from sf_assets.defs import schedules
schedules.CHUNK = 1
from sf_assets.cli.main import main
main(["snapshot"])
"""


def test_the_crash_switch_is_deaf_towards_the_real_api(world: World) -> None:
    code = (
        "import os; os.environ['SOCIALFETCH_BASE_URL'] = 'https://api.socialfetch.dev'\n"
        "from sf_assets.fault_injection import crash_point\n"
        "crash_point('landed')"
    )
    assert world.run(world.home(fresh=True), code=code, SF_ASSETS_CRASH_AT="landed").code == 0


def test_a_killed_run_gives_its_slot_back(world: World) -> None:
    """Else Dagster takes it for running for ever, and starts nothing beside it any more."""
    home = world.home()
    assert world.run(home, SF_ASSETS_CRASH_AT="committing:3").killed  # while it derives
    os.environ.update(world.environment(home))
    in_progress = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    with dagster_instance(home) as instance:
        assert instance.get_runs_count(in_progress) == 1
        # One that is alive stays: here it is this process that has not ended it.
        ours = {"sf_assets/home": str(home.root)}
        alive = instance.create_run_for_job(a_job, status=dg.DagsterRunStatus.STARTED, tags=ours)
        instance.report_engine_event("Executing", alive, EngineEventData.in_process(os.getpid()))
        Location(home, instance).tick("registry")
        assert [run.run_id for run in instance.get_runs(in_progress)] == [alive.run_id]
    assert world.run(home).code == 0


@dg.job
def a_job() -> None:
    """Does nothing; only its run is wanted."""


def test_killed_in_the_middle_of_a_rebuild_the_old_warehouse_stands(
    world: World, undisturbed: Undisturbed
) -> None:
    home = world.home()
    assert world.run(home).code == 0
    # Its transactions: the schema, the archive's snapshots, what is derived of them.
    for turn in (1, 3):
        assert world.run(home, "rebuild", SF_ASSETS_CRASH_AT=f"committed:{turn}").killed
        assert tables(home) == undisturbed.tables
    asked = len(world.server.requests)
    assert world.run(home, day=DAY2).code == 0
    assert world.run(home, "rebuild").code == 0
    assert len(world.server.requests) == asked
    assert tables(home) == undisturbed.tables
