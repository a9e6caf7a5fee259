"""WARN for what is normal in the world, ERROR for what is broken here."""

from __future__ import annotations

import os
import time
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from sf_assets.cli.runner import dagster_instance
from sf_assets.defs.audience import Audience
from sf_assets.defs.checks import (
    CHECKS,
    Check,
    Verdict,
    build_checks,
    evaluate,
)
from sf_assets.handles.settings import WEEKDAYS
from sf_assets.settings import Settings, load_settings
from sf_assets_tests.conftest import Pipeline
from sf_assets_tests.looks.conftest import NEWEST
from sf_assets_tests.loopback import Reply, Request
from sf_assets_tests.served_lists import KEY, ListServer, account

DAY1 = date(2026, 11, 1)
DAY2 = DAY1 + timedelta(days=1)
WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR


def verdicts(pipeline: Pipeline, today: date) -> dict[str, Verdict]:
    """`asset.check` -> verdict."""
    os.environ["SF_ASSETS_TODAY"] = today.isoformat()
    found = evaluate(pipeline.home, load_settings())
    return {f"{check.asset}.{check.name}": verdict for check, verdict in found}


def fans(*numbers: int) -> list[dict[str, object]]:
    return [account(n) for n in numbers]


def test_a_good_day_passes_but_for_the_profile_that_stays_private(at_home: Pipeline) -> None:
    found = verdicts(at_home, NEWEST)
    failed = {name for name, verdict in found.items() if not verdict.passed}
    assert failed == {"follower_snapshots.fresh", "following_snapshots.fresh"}
    fresh = found["follower_snapshots.fresh"]
    assert fresh.severity is WARN
    assert [row[0] for row in fresh.notable] == ["shy"]


def test_a_handle_without_snapshots_for_days_is_an_error(at_home: Pipeline) -> None:
    found = verdicts(at_home, NEWEST + timedelta(days=3))["follower_snapshots.fresh"]
    assert found.severity is ERROR
    assert {row[0] for row in found.bad} == {"open", "shy", "twin"}


def test_the_checks_ran_after_the_derivation(at_home: Pipeline) -> None:
    with dagster_instance(at_home.home) as instance:
        records = instance.event_log_storage.get_latest_asset_check_execution_by_key(
            [check.spec(Audience(load_settings())).key for check in CHECKS]
        )
    assert len(records) == len(CHECKS)
    statuses = {key.name: record.status.value for key, record in records.items()}
    assert statuses["finished_today"] == "SUCCEEDED"
    assert statuses["fresh"] == "FAILED"


def test_the_checks_can_be_run_by_hand(at_home: Pipeline) -> None:
    checks = build_checks(Audience(load_settings()))
    job = dg.define_asset_job("by_hand", dg.AssetSelection.checks(checks))
    defs = dg.Definitions(asset_checks=[checks], jobs=[job])
    result = defs.resolve_job_def("by_hand").execute_in_process()
    assert result.success
    evaluations = result.get_asset_check_evaluations()
    assert len(evaluations) == len(CHECKS)
    for one in evaluations:
        assert one.description
        if not one.passed:
            assert {"what_to_do", "who", "concerned"} <= set(one.metadata)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: f"{check.asset}.{check.name}")
def test_every_check_asks_and_says_what_to_do(check: Check) -> None:
    description = check.spec(Audience(Settings())).description
    assert "?" in description
    assert "What to do:" in description


def test_a_list_that_broke_off_is_an_error_once_nobody_reads_it(tmp_path: Path) -> None:
    def second_page_breaks(request: Request) -> Reply | None:
        return (
            Reply(json={"no": "page"})
            if "bad" in request.path and request.query.get("cursor")
            else None
        )

    with ListServer() as server:
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
        pipeline.track("good", "bad", relations=["followers"])
        for handle in ("good", "bad"):
            server.set(handle, "followers", fans(*range(45, 0, -1)))
        server.fault = second_page_breaks
        pipeline.snapshot(DAY1, "good", "bad", relations=["followers"], derive=False)
    just_now = verdicts(pipeline, DAY1)
    assert just_now["follower_snapshots.finished_today"].severity is WARN
    assert just_now["follower_snapshots.landing_finished"].severity is WARN
    (path,) = pipeline.home.landing.glob("*/followers/bad.jsonl")
    an_hour_ago = time.time() - 3600
    os.utime(path, (an_hour_ago, an_hour_ago))
    later = verdicts(pipeline, DAY1)
    summary = later["follower_snapshots.landing_finished"].summary
    assert summary == "1 interrupted list, 0 in progress."
    for name in ("finished_today", "landing_finished"):
        verdict = later[f"follower_snapshots.{name}"]
        assert verdict.severity is ERROR
        assert [row[0] for row in verdict.bad] == ["bad"]
    assert later["following_snapshots.finished_today"].passed  # not tracked, not missed


def test_shuffled_lists_and_unexplained_totals_are_warned_about(tmp_path: Path) -> None:
    numbers = list(range(60, 0, -1))
    with ListServer() as server:
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
        pipeline.track("open", relations=["followers"])
        server.set("open", "followers", fans(*numbers))
        pipeline.snapshot(DAY1, "open", relations=["followers"], derive=False)
        server.set("open", "followers", fans(*numbers[::2], *numbers[1::2]), total=560)
        pipeline.snapshot(DAY2, "open", relations=["followers"])
    found = verdicts(pipeline, DAY2)
    for name in ("follower_churn.order_agreement", "follower_growth.totals_explained"):
        assert found[name].severity is WARN
        assert [row[0] for row in found[name].notable] == ["open"]


def test_a_list_read_from_the_top_on_purpose_is_no_warning(tmp_path: Path) -> None:
    numbers = list(range(400, 0, -1))
    left = numbers[300:340]
    with ListServer() as server:
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
        pipeline.track("open", relations=["followers"], depth="recent", full_every=2)
        server.set("open", "followers", fans(*numbers))
        pipeline.snapshot(DAY1, "open", relations=["followers"])
        server.set("open", "followers", fans(*(n for n in numbers if n not in left)))
        for day in (DAY2, DAY2 + timedelta(days=1)):
            pipeline.snapshot(day, "open", relations=["followers"])
            found = verdicts(pipeline, day)
            assert found["follower_snapshots.reached_the_end"].passed
            assert found["follower_growth.totals_explained"].passed
    assert pipeline.ask("SELECT end_reason FROM snapshots ORDER BY snapshot_date") == [
        ("exhausted",),
        ("known",),
        ("exhausted",),
    ]


def test_a_cap_that_cut_lists_short_is_named(tmp_path: Path) -> None:
    with ListServer() as server:
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
        os.environ["SF_ASSETS_DAILY_CREDITS"] = "2"
        pipeline.track("open", relations=["followers"])
        server.set("open", "followers", fans(*range(100, 0, -1)))
        pipeline.snapshot(DAY1, "open", relations=["followers"], derive=False)
        found = verdicts(pipeline, DAY1)
    spent = found["social_fetch_api.credits_within_budget"]
    assert (spent.severity, spent.notable) == (WARN, [("open", "followers", "budget")])
    assert "2 credits on 2026-11-01" in spent.summary
    assert found["follower_snapshots.reached_the_end"].notable[0][:2] == ("open", "budget")


def test_a_list_is_missed_only_on_days_on_which_it_is_due(tmp_path: Path) -> None:
    with ListServer() as server:
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
        weekdays = [WEEKDAYS[DAY1.weekday()]]
        pipeline.track("daily", relations=["followers"])
        pipeline.track("weekly", relations=["followers"], weekdays=weekdays)
        for handle in ("daily", "weekly"):
            server.set(handle, "followers", fans(3, 2, 1))
        pipeline.snapshot(DAY1, "daily", "weekly", relations=["followers"], derive=False)
        for back in range(1, 5):
            day = DAY1 + timedelta(days=back)
            pipeline.snapshot(day, "daily", relations=["followers"], derive=False)
    found = verdicts(pipeline, day)
    for name in ("finished_today", "fresh"):
        assert found[f"follower_snapshots.{name}"].passed, name
    late = verdicts(pipeline, DAY1 + timedelta(days=22))["follower_snapshots.fresh"]
    assert [row[0] for row in late.bad] == ["daily", "weekly"]
    soon = verdicts(pipeline, DAY1 + timedelta(days=14))["follower_snapshots.fresh"]
    assert [row[0] for row in soon.bad] == ["daily"]
    assert soon.summary == "1 handle without a snapshot of followers on more than 2 due days."


def test_a_registry_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with ListServer() as server:
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY1)
        pipeline.track("open", relations=["followers"])
        server.set("open", "followers", fans(2, 1))
        pipeline.snapshot(DAY1, "open", relations=["followers"], derive=False)
    pipeline.home.registry.write_text("handles: [a b]\n", encoding="utf-8")
    verdict = verdicts(pipeline, DAY1)["follower_snapshots.finished_today"]
    assert verdict.severity is ERROR
    assert "handles.yaml" in verdict.summary
