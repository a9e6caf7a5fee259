"""`depth: recent` through the whole pipeline: cheaper, as exact, and off where order fails."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from sf_assets.cli.runner import dagster_instance
from sf_assets.warehouse.rebuild import rebuild
from sf_assets_tests.conftest import Pipeline
from sf_assets_tests.served_lists import KEY, ListServer, account

DAY1 = date(2026, 11, 1)
BASE = list(range(200, 0, -1))


@pytest.fixture
def server() -> Iterator[ListServer]:
    with ListServer() as server:
        yield server


@pytest.fixture
def pipeline(tmp_path: Path, server: ListServer) -> Pipeline:
    made = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
    made.track("open", relations=["followers"], depth="recent", full_every=3)
    return made


def on(day: int) -> date:
    return DAY1 + timedelta(days=day - 1)


def see(pipeline: Pipeline, server: ListServer, day: int, numbers: list[int], **more: bool) -> int:
    """Serve a list on a day; returns the credits its snapshot cost."""
    before = server.credits
    server.set("open", "followers", [account(n) for n in numbers])
    (result,) = pipeline.snapshot(on(day), "open", relations=["followers"], **more)
    assert result.success
    return server.credits - before


def churn(pipeline: Pipeline) -> list[tuple[object, ...]]:
    return pipeline.ask(
        "SELECT previous_date, snapshot_date, account_handle, change, state FROM follower_churn "
        "ORDER BY ALL"
    )


def test_a_week_of_a_list_costs_its_top_and_a_whole_reading_now_and_then(
    pipeline: Pipeline, server: ListServer
) -> None:
    later = [203, 202, 201, *(n for n in BASE if n not in (190, 60))]
    cost = [see(pipeline, server, 1, BASE)]
    cost += [see(pipeline, server, day, later) for day in range(2, 8)]
    assert cost == [10, 3, 2, 11, 2, 2, 11]
    assert churn(pipeline) == [
        (on(1), on(2), "fan.190", "lost", "confirmed"),
        (on(1), on(2), "fan.201", "gained", "confirmed"),
        (on(1), on(2), "fan.202", "gained", "confirmed"),
        (on(1), on(2), "fan.203", "gained", "confirmed"),
        (on(1), on(4), "fan.60", "lost", "provisional"),
    ]
    assert pipeline.ask("SELECT end_reason, completeness FROM snapshots ORDER BY snapshot_date")[
        :4
    ] == [
        ("exhausted", "complete"),
        ("known", "window"),
        ("known", "window"),
        ("exhausted", "complete"),
    ]
    kept = churn(pipeline), pipeline.ask("FROM memberships ORDER BY ALL")
    rebuild(pipeline.home)
    assert (churn(pipeline), pipeline.ask("FROM memberships ORDER BY ALL")) == kept


def test_a_reading_that_breaks_off_goes_on_and_stops_where_it_would_have(
    pipeline: Pipeline, server: ListServer
) -> None:
    see(pipeline, server, 1, BASE)
    os.environ["SF_ASSETS_DAILY_CREDITS"] = "2"
    assert see(pipeline, server, 2, [*range(230, 200, -1), *BASE]) == 2
    del os.environ["SF_ASSETS_DAILY_CREDITS"]
    assert see(pipeline, server, 2, [*range(230, 200, -1), *BASE]) == 2
    assert pipeline.ask(
        "SELECT end_reason, pages FROM snapshots WHERE snapshot_date = ?", on(2)
    ) == [("known", 4)]
    assert pipeline.ask("SELECT count(*) FROM follower_churn WHERE change = 'gained'") == [(30,)]


def test_a_refresh_reads_the_whole_list(pipeline: Pipeline, server: ListServer) -> None:
    see(pipeline, server, 1, BASE)
    assert see(pipeline, server, 2, BASE) == 2
    assert see(pipeline, server, 2, BASE, refresh=True) == 10


def test_where_order_failed_a_list_is_read_whole_and_the_run_says_so(
    pipeline: Pipeline, server: ListServer
) -> None:
    mixed = [n for pair in zip(BASE[100:], BASE[:100], strict=True) for n in pair]
    see(pipeline, server, 1, BASE)
    see(pipeline, server, 2, BASE)
    assert see(pipeline, server, 3, mixed) == 10
    assert pipeline.ask(
        "SELECT order_agreement < 0.9 FROM comparisons WHERE snapshot_date = ?", on(3)
    ) == [(True,)]
    assert see(pipeline, server, 4, BASE) == 10
    assert see(pipeline, server, 5, BASE) == 2  # in order again
    with dagster_instance(pipeline.home) as instance:
        told = {
            record.partition_key: record.asset_materialization.metadata  # type: ignore[union-attr]
            for record in instance.fetch_materializations(
                dg.AssetKey("follower_snapshots"), limit=9
            ).records
        }
    off = {key for key, said in told.items() if "recent_off_order_agreement" in said}
    assert off == {f"{on(4)}|open"}


def test_a_closed_day_does_not_make_a_list_forgotten(
    pipeline: Pipeline, server: ListServer
) -> None:
    see(pipeline, server, 1, BASE)
    server.set("open", "followers", status="private")
    pipeline.snapshot(on(2), "open", relations=["followers"])
    assert see(pipeline, server, 3, [201, *BASE]) == 3
    assert churn(pipeline) == [(on(1), on(3), "fan.201", "gained", "confirmed")]
