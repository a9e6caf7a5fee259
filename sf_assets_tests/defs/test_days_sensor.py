"""A day is tried until it is over: when it is asked for again, and when not."""

from __future__ import annotations

from datetime import datetime, time, timedelta, timezone

import dagster as dg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
)

from sf_assets import settings as settings_module
from sf_assets.defs import runs, tries
from sf_assets.errors import SettingsError
from sf_assets.handles.edit import track, untrack
from sf_assets.handles.settings import WEEKDAYS
from sf_assets.ingest import days
from sf_assets.model import SnapshotKey
from sf_assets_tests.defs.conftest import DAY, Location


class Clock:
    """What the sensor takes for now: noon when the test begins, or a moment of its own.

    Dagster writes the real time of its runs; `seen` tells where that is on this clock. So no test
    depends on the hour at which it is run.
    """

    def __init__(self) -> None:
        noon = datetime.combine(DAY, time(12), timezone.utc)
        self.ahead = noon - datetime.now(timezone.utc)
        self.minutes_later = 0.0
        self.at: datetime | None = None

    def now(self) -> datetime:
        if self.at is not None:
            return self.at
        return datetime.now(timezone.utc) + self.ahead + timedelta(minutes=self.minutes_later)

    def seen(self, moment: datetime) -> datetime:
        return runs.aware(moment) + self.ahead


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()

    class Pretended(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return clock.now()

    for module in (tries, settings_module):
        monkeypatch.setattr(module, "datetime", Pretended)
    monkeypatch.setattr(tries, "aware", clock.seen)
    return clock


@pytest.fixture
def due_since_midnight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOCIALFETCH_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SF_ASSETS_CRON", "0 0 * * *")
    monkeypatch.setenv("SF_ASSETS_TODAY", DAY.isoformat())


@pytest.fixture
def location(due_since_midnight: None, location: Location) -> Location:
    """Two handles are tracked; nothing is stored of them."""
    track(location.home.registry, ["nasa", "esa"])
    location.instance.add_dynamic_partitions("handles", ["nasa", "esa"])
    return location


def asked(location: Location) -> list[dg.RunRequest]:
    return list(location.tick("days").run_requests or [])


def why_not(location: Location) -> str:
    tick = location.tick("days")
    assert not tick.run_requests
    assert tick.skip_reason is not None
    return tick.skip_reason.skip_message or ""


def test_after_each_failure_it_asks_again_a_little_later(location: Location, clock: Clock) -> None:
    (scheduled,), _ = location.schedule_tick()
    location.note_run(scheduled, dg.DagsterRunStatus.FAILURE, "daily_snapshots")
    keys = {scheduled.run_key}
    for pause in (5, 10, 20, 40, 60, 60, 60):
        clock.minutes_later = pause - 0.5
        assert "not stored; the next retry is at" in why_not(location)
        clock.minutes_later = pause + 0.1
        (request,) = asked(location)
        assert (request.tags["sf_assets/day"], request.tags["sf_assets/again"]) == (
            str(DAY),
            str(len(keys)),
        )
        assert request.tags["dagster/asset_partition_range_end"] == f"{DAY}|esa"
        assert request.run_config == {"ops": {"snapshots": {"config": {"due_only": True}}}}
        keys.add(request.run_key)
        location.note_run(request, dg.DagsterRunStatus.FAILURE, "daily_snapshots")
    assert len(keys) == 8


def test_a_day_begins_with_the_schedule_and_ends_at_midnight(
    location: Location, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SF_ASSETS_TODAY")
    monkeypatch.setenv("SF_ASSETS_CRON", "0 6 * * *")
    for hour, minute, due in [
        (0, 2, "06:00"),
        (5, 59, "06:00"),
        (6, 4, ""),  # the schedule comes first
        (6, 6, None),
        (23, 59, None),
    ]:
        clock.at = datetime(2026, 11, 2, hour, minute, tzinfo=timezone.utc)
        if due is None:
            (request,) = asked(location)
            assert request.tags["sf_assets/day"] == "2026-11-02"
        else:
            assert due in why_not(location)
    clock.at = datetime(2026, 11, 3, 0, 0, tzinfo=timezone.utc)
    assert why_not(location) == "The lists of 2026-11-03 are due at 2026-11-03 06:00 (UTC)."


@pytest.mark.parametrize(
    ("cron", "hour"),
    [
        ("0 6 * * *", 6),
        ("30 6,18 * * *", 6),
        ("*/15 * * * *", 0),
        ("0 6 * * mon-fri", 6),
        ("0 6 * * 0,6", None),
        ("0 6 1 * *", None),
        ("0 6 * jan *", None),
    ],
)
def test_lists_are_due_from_the_first_time_of_the_schedule(cron: str, hour: int | None) -> None:
    monday = datetime(2026, 11, 2, 12, tzinfo=timezone.utc)
    due = tries.due_since(cron, monday)
    assert (due.hour if due.date() == monday.date() else None) == hour


@pytest.mark.parametrize("status", runs.IN_PROGRESS[1:])  # queued ones need a code location
def test_nothing_is_asked_while_a_run_of_the_day_is_in_progress(
    location: Location, clock: Clock, status: dg.DagsterRunStatus
) -> None:
    clock.minutes_later = 100
    # Started in the UI for one handle: it bears the partition, and what we tag is not there.
    tags = {"dagster/partition": f"{DAY}|esa", "sf_assets/home": str(location.home.root)}
    location.note_run(dg.RunRequest(tags=tags), status, "__ASSET_JOB")
    assert why_not(location) == f"A run is reading the lists of {DAY}."


@pytest.mark.parametrize(
    "tags",
    [
        {"dagster/partition": f"{DAY}|esa", "sf_assets/home": "/another/home"},
        {"dagster/partition": f"{DAY}|esa"},
        {"dagster/partition": f"{DAY - timedelta(days=1)}|esa"},
        {"dagster/partition": str(DAY)},
        {"dagster/partition": "red|blue"},
        {},
    ],
    ids=["another home", "another code location", "another day", "derives", "colours", "plain"],
)
def test_runs_that_are_not_ours_or_not_of_the_day_do_not_count(
    location: Location, clock: Clock, tags: dict[str, str]
) -> None:
    clock.minutes_later = 100
    if "|" not in tags.get("dagster/partition", "") or "red" in tags["dagster/partition"]:
        tags = {**tags, "sf_assets/home": str(location.home.root)}
    location.note_run(dg.RunRequest(tags=tags), dg.DagsterRunStatus.STARTED, "any")
    assert asked(location), why_not(location)


def origin(location: str) -> RemoteRepositoryOrigin:
    return RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__")


@pytest.mark.parametrize(
    ("name", "of", "status", "stopped"),
    [
        ("daily", "sf_assets", InstigatorStatus.STOPPED, True),
        ("daily", "sf_assets", InstigatorStatus.RUNNING, False),
        ("daily", "sf_assets", InstigatorStatus.DECLARED_IN_CODE, False),
        ("daily", "another", InstigatorStatus.STOPPED, False),
        ("another", "sf_assets", InstigatorStatus.STOPPED, False),
    ],
)
def test_who_switches_off_the_schedule_is_asked_nothing_more(
    location: Location, name: str, of: str, status: InstigatorStatus, stopped: bool
) -> None:
    state = InstigatorState(
        RemoteInstigatorOrigin(origin(of), name),
        InstigatorType.SCHEDULE,
        status,
        ScheduleInstigatorData("0 0 * * *"),
    )
    location.instance.add_instigator_state(state)
    assert tries.schedule_is_stopped(location.instance, location.audience, "sf_assets") == stopped


def test_what_the_ui_started_is_ours_where_it_is_of_this_code_location(location: Location) -> None:
    def of(job: str, *assets: str) -> dg.DagsterRun:
        return dg.DagsterRun(
            job,
            remote_job_origin=RemoteJobOrigin(origin("sf_assets"), job),
            asset_selection=frozenset(map(dg.AssetKey, assets)) or None,
        )

    run = of("daily_snapshots")
    assert runs.is_ours(
        of("__ASSET_JOB", "mine", "follower_growth"), location.audience, "sf_assets"
    )
    assert not runs.is_ours(of("__ASSET_JOB", "mine"), location.audience, "sf_assets")
    assert not runs.is_ours(of("nightly"), location.audience, "sf_assets")
    assert runs.is_ours(run, location.audience, "sf_assets")
    assert not runs.is_ours(run, location.audience, "another")
    assert not runs.is_ours(run, location.audience, None)
    tagged = run.with_tags({"sf_assets/home": "/another/home"})
    assert not runs.is_ours(tagged, location.audience, "sf_assets")


def test_after_a_cancelled_run_it_waits_for_a_person(location: Location, clock: Clock) -> None:
    (scheduled,), _ = location.schedule_tick()
    location.note_run(scheduled, dg.DagsterRunStatus.CANCELED, "daily_snapshots")
    clock.minutes_later = 100
    assert "was cancelled" in why_not(location)
    location.note_run(scheduled, dg.DagsterRunStatus.FAILURE, "daily_snapshots")
    assert asked(location)
    # Started in the UI for one handle, and cancelled there: the other one does not wait.
    tags = {"dagster/partition": f"{DAY}|esa", "sf_assets/home": str(location.home.root)}
    location.note_run(dg.RunRequest(tags=tags), dg.DagsterRunStatus.CANCELED, "__ASSET_JOB")
    (request,) = asked(location)
    assert request.tags["sf_assets/handle"] == "nasa"


def test_only_tracked_lists_that_are_due_and_have_partitions_are_asked_for(
    location: Location, clock: Clock
) -> None:
    other = WEEKDAYS[(DAY.weekday() + 1) % 7]
    clock.minutes_later = 100
    track(location.home.registry, ["new.one"])
    track(location.home.registry, ["nasa"], {"following": {"weekdays": [other]}})
    untrack(location.home.registry, ["esa"])
    (request,) = asked(location)
    assert request.tags["dagster/asset_partition_range_start"] == f"{DAY}|nasa"
    assert request.tags["dagster/asset_partition_range_end"] == f"{DAY}|nasa"
    assert [key.path[-1] for key in request.asset_selection or []] == ["follower_snapshots"]
    track(location.home.registry, ["nasa"], {"weekdays": [other]})
    assert why_not(location) == "The handles with unfinished lists have no partitions yet."
    untrack(location.home.registry, ["new.one"])
    assert why_not(location) == f"All lists due on {DAY} are finished."


@pytest.mark.parametrize(("apart", "runs"), [(8, 8), (9, 1)])
def test_many_handles_apart_are_one_run_over_all(
    location: Location, clock: Clock, monkeypatch: pytest.MonkeyPatch, apart: int, runs: int
) -> None:
    clock.minutes_later = 100
    handles = [f"h{number:02}" for number in range(20)]
    track(location.home.registry, handles)
    location.instance.add_dynamic_partitions("handles", handles)
    left = [SnapshotKey(DAY, handle, "followers") for handle in handles[1 : 2 * apart : 2]]
    monkeypatch.setattr(days, "worth_a_try", lambda *_: left)
    requests = asked(location)
    assert len(requests) == runs
    if runs == 1:
        assert requests[0].tags["dagster/asset_partition_range_start"] == f"{DAY}|nasa"
        assert requests[0].tags["dagster/asset_partition_range_end"] == f"{DAY}|h19"


@pytest.mark.parametrize("days_later", [0, 1], ids=["on the day", "after midnight"])
def test_a_run_that_could_not_say_why_it_failed_is_noted_with_what_dagster_knows(
    location: Location, clock: Clock, monkeypatch: pytest.MonkeyPatch, days_later: int
) -> None:
    (scheduled,), _ = location.schedule_tick()
    run = location.note_run(scheduled, dg.DagsterRunStatus.STARTED, "daily_snapshots")
    location.instance.report_run_failed(run, "The run was killed: its process 7 is gone.")
    monkeypatch.setenv("SF_ASSETS_TODAY", str(DAY + timedelta(days=days_later)))
    clock.minutes_later = 6
    for _ in range(2):  # a second look notes nothing more
        location.tick("days")
    (note,) = days.notes(location.home)
    assert (note.kind, note.day, note.run_id) == ("failed", DAY, run.run_id)
    assert {key.handle for key in note.lists} == {"nasa", "esa"}
    assert note.reasons == ("The run was killed: its process 7 is gone.",)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SettingsError("SOCIALFETCH_API_KEY is not set"), "SOCIALFETCH_API_KEY is not set"),
        (dg.Failure("2 of 3 lists did not finish"), "2 of 3 lists did not finish"),
        (ValueError("no\n  wonder"), "ValueError: no wonder"),
        (DagsterExecutionInterruptedError(), "the run was stopped before all lists were read"),
    ],
)
def test_why_a_run_failed_is_a_sentence(
    instance: dg.DagsterInstance, error: BaseException, said: str
) -> None:
    @dg.op
    def fails() -> None:
        raise error

    @dg.job
    def a_job() -> None:
        fails()

    result = a_job.execute_in_process(instance=instance, raise_on_error=False)
    assert runs.why_failed(instance, result.run_id) == said
