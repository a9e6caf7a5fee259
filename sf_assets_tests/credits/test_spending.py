"""Before a run its cost is held against what may be spent; what is cut is a window, no failure."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from sf_assets.cli.runner import dagster_instance
from sf_assets.credits.estimate import costs_before
from sf_assets.defs import schedules
from sf_assets.handles.parse import read_registry
from sf_assets.ingest.reader import ListToRead
from sf_assets.ingest.run_budget import Spending
from sf_assets.model import SnapshotKey
from sf_assets.settings import load_settings
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets.warehouse.connection import reading
from sf_assets_tests.conftest import Pipeline
from sf_assets_tests.served_lists import KEY, ListServer, account

DAY1 = date(2026, 11, 1)
DAY2 = DAY1 + timedelta(days=1)
SIZES = {"giant": 400, "middle": 100, "small": 30, "tiny": 10}


@pytest.fixture
def server() -> Iterator[ListServer]:
    with ListServer() as server:
        for handle, size in SIZES.items():
            server.set(handle, "followers", [account(n) for n in range(size)])
        yield server


@pytest.fixture
def pipeline(tmp_path: Path, server: ListServer) -> Pipeline:
    made = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
    made.track(*SIZES, relations=["followers"])
    return made


def ends(pipeline: Pipeline, day: date) -> dict[object, tuple[object, ...]]:
    rows = pipeline.ask(
        "SELECT handle, pages, end_reason FROM snapshots WHERE snapshot_date = ?", day
    )
    return {row[0]: row[1:] for row in rows}


def test_what_the_budget_cuts_is_a_window_and_everybody_has_first_pages(
    pipeline: Pipeline, server: ListServer
) -> None:
    os.environ["SF_ASSETS_DAILY_CREDITS"] = "12"
    (result,) = pipeline.snapshot(DAY1, *SIZES, relations=["followers"])
    assert result.success
    assert server.credits == 12
    found = ends(pipeline, DAY1)
    assert found["tiny"] == (1, "exhausted")
    assert found["small"] == (2, "exhausted")
    assert (found["giant"], found["middle"]) == ((5, "budget"), (4, "budget"))
    assert pipeline.ask(
        "SELECT DISTINCT completeness FROM snapshots WHERE end_reason = 'budget'"
    ) == [("window",)]


def test_runs_over_chunks_of_one_day_share_its_budget_fairly(
    pipeline: Pipeline, server: ListServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.snapshot(DAY1, *SIZES, relations=["followers"])
    monkeypatch.setattr(schedules, "CHUNK", 1)
    os.environ["SF_ASSETS_DAILY_CREDITS"] = "14"
    before = server.credits
    results = pipeline.snapshot(DAY2, *SIZES, relations=["followers"])
    assert len(results) == 4
    assert all(result.success for result in results)
    assert server.credits - before == 14
    # The first chunk is the giant's: it leaves the others theirs.
    assert ends(pipeline, DAY2) == {
        "giant": (6, "budget"),
        "middle": (5, "exhausted"),
        "small": (2, "exhausted"),
        "tiny": (1, "exhausted"),
    }


def test_a_list_without_a_page_is_no_failure_and_priority_says_who_comes_first(
    pipeline: Pipeline, server: ListServer
) -> None:
    pipeline.track("tiny", priority=5)
    os.environ["SF_ASSETS_DAILY_CREDITS"] = "2"
    (result,) = pipeline.snapshot(DAY1, *SIZES, relations=["followers"])
    assert result.success
    assert ends(pipeline, DAY1) == {"giant": (1, "budget"), "tiny": (1, "exhausted")}
    # Who got nothing waits longest, and is first on the next day.
    (result,) = pipeline.snapshot(DAY2, *SIZES, relations=["followers"])
    assert set(ends(pipeline, DAY2)) == {"middle", "tiny"}
    del os.environ["SF_ASSETS_DAILY_CREDITS"]
    pipeline.snapshot(DAY2, *SIZES, relations=["followers"])
    assert {end for _, end in ends(pipeline, DAY2).values()} == {"exhausted"}


def test_a_handle_s_own_cap_cuts_that_handle_alone(pipeline: Pipeline, server: ListServer) -> None:
    pipeline.track("giant", daily_credits=3)
    (result,) = pipeline.snapshot(DAY1, *SIZES, relations=["followers"])
    assert result.success
    found = ends(pipeline, DAY1)
    assert found.pop("giant") == (3, "budget")
    assert {end for _, end in found.values()} == {"exhausted"}
    (result,) = pipeline.snapshot(DAY1, *SIZES, relations=["followers"])
    assert ends(pipeline, DAY1)["giant"] == (3, "budget")  # the cap is the day's, not the run's


def test_handles_with_caps_of_their_own_keep_no_file_open(pipeline: Pipeline) -> None:
    resource = pytest.importorskip("resource")
    os.environ["SF_ASSETS_TODAY"] = DAY1.isoformat()
    handles = [f"capped.{n}" for n in range(250)]  # as a run of the schedule has at most
    pipeline.track(*handles, relations=["followers"], daily_credits=3)
    spending = Spending(
        load_settings(),
        read_registry(pipeline.home.registry),
        DiskLanding(pipeline.home.landing),
        "run",
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 64, hard))
    try:
        keys = [SnapshotKey(DAY1, handle, "followers") for handle in handles]
        budget = spending.prepare([ListToRead(key) for key in keys], {})
        assert [budget.take(keys[-1]) for _ in range(4)] == [True] * 3 + [False]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_short_balance_is_spent_on_first_pages_before_the_vendor_refuses(
    pipeline: Pipeline, server: ListServer
) -> None:
    pipeline.snapshot(DAY1, *SIZES, relations=["followers"])
    server.credits_left = 14
    (result,) = pipeline.snapshot(DAY2, *SIZES, relations=["followers"], derive=False)
    assert not result.success  # credits that ran out must be heard of
    assert ends(pipeline, DAY2) == {
        "giant": (6, "out_of_credits"),
        "middle": (5, "exhausted"),
        "small": (2, "exhausted"),
        "tiny": (1, "exhausted"),
    }


def test_the_plan_is_one_line_of_the_log(pipeline: Pipeline, server: ListServer) -> None:
    pipeline.snapshot(DAY1, *SIZES, relations=["followers"])
    os.environ.update(SF_ASSETS_DAILY_CREDITS="20", SF_ASSETS_TODAY=DAY2.isoformat())
    pipeline.track("new", relations=["followers"])
    server.credits_left = 5_000
    settings = load_settings()
    spending = Spending(
        settings, read_registry(pipeline.home.registry), DiskLanding(pipeline.home.landing), "run"
    )
    with reading(pipeline.home.published) as con:
        costs = costs_before(con, DAY2)
    lists = [ListToRead(SnapshotKey(DAY2, handle, "followers")) for handle in (*SIZES, "new")]
    budget = spending.prepare(lists, costs)
    assert spending.plan == (
        "about 28 credits and 1 list of unknown length; 0 of 20 spent today; balance 5,000: "
        "not sufficient, shared page by page (new followers 6 of ?, giant followers 6 of 20)"
    )
    assert sum(credits or 0 for credits in budget.allowances.values()) == 20
    del os.environ["SF_ASSETS_DAILY_CREDITS"]
    spending = Spending(load_settings(), spending.registry, spending.landing, "run")
    assert not spending.prepare(lists[:4], costs).allowances
    assert spending.plan == "about 28 credits; balance 5,000: sufficient"


def test_a_run_of_the_schedule_leaves_out_what_is_not_due(
    pipeline: Pipeline, server: ListServer
) -> None:
    from sf_assets.cli.runner import Runner
    from sf_assets.handles.settings import WEEKDAYS

    pipeline.track("tiny", weekdays=[WEEKDAYS[DAY2.weekday()]])
    os.environ["SF_ASSETS_TODAY"] = DAY1.isoformat()
    with dagster_instance(pipeline.home) as instance:
        runner = Runner(instance, load_settings())
        (result,) = runner.snapshot(DAY1, list(SIZES), ["followers"], refresh=False, due_only=True)
        assert result.success
        made = {
            event.partition
            for event in result.all_events
            if event.event_type == dg.DagsterEventType.ASSET_MATERIALIZATION
        }
    assert made == {f"{DAY1}|{handle}" for handle in SIZES if handle != "tiny"}
    # Who asks for it by name gets it on any day.
    pipeline.snapshot(DAY1, "tiny", relations=["followers"])
    assert ends(pipeline, DAY1)["tiny"] == (1, "exhausted")
