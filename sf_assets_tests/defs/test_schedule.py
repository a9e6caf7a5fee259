"""Once a day, a few range runs over all registered handles."""

from __future__ import annotations

from datetime import date

import dagster as dg
import pytest

from sf_assets.defs import schedules
from sf_assets.errors import SettingsError
from sf_assets.handles.edit import track
from sf_assets.handles.settings import WEEKDAYS
from sf_assets_tests.defs.conftest import DAY, Location


@pytest.fixture
def today(monkeypatch: pytest.MonkeyPatch) -> date:
    monkeypatch.setenv("SF_ASSETS_TODAY", DAY.isoformat())
    return DAY


def names(request: dg.RunRequest) -> list[str]:
    return [key.to_user_string() for key in request.asset_selection or []]


def test_without_tracked_handles_the_next_step_is_told(today: date, location: Location) -> None:
    assert location.schedule_tick() == ([], "No handle is tracked: run `sf-assets track HANDLE`.")


def test_runs_cover_chunks_of_neighbours_each_under_a_key_of_its_own(
    today: date, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "CHUNK", 2)
    handles = ["nasa", "esa", "abc", "xyz", "one"]
    track(location.home.registry, handles)
    requests, _ = location.schedule_tick()
    assert [
        (
            request.tags["dagster/asset_partition_range_start"],
            request.tags["dagster/asset_partition_range_end"],
        )
        for request in requests
    ] == [
        (f"{DAY}|nasa", f"{DAY}|esa"),
        (f"{DAY}|abc", f"{DAY}|xyz"),
        (f"{DAY}|one", f"{DAY}|one"),
    ]
    keys = [request.run_key for request in requests]
    assert len(set(keys)) == 3
    assert all(
        names(request) == ["follower_snapshots", "following_snapshots"] for request in requests
    )
    # A second tick of the day has the same keys, so the daemon launches nothing twice.
    assert [request.run_key for request in location.schedule_tick()[0]] == keys


def test_a_run_is_found_by_its_day_its_chunk_and_its_handle_and_its_tags(
    today: date, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "CHUNK", 2)
    track(location.home.registry, ["nasa", "esa", "abc"])
    track(location.home.registry, ["nasa"], {"tags": ["space", "the USA"]})
    track(location.home.registry, ["esa", "abc"], {"tags": ["space"]})
    requests, _ = location.schedule_tick()
    home = {"sf_assets/home": str(location.home.root)}
    found = [
        {name: text for name, text in request.tags.items() if name.startswith("sf_assets")}
        for request in requests
    ]
    assert found == [
        {
            **home,
            "sf_assets/day": str(DAY),
            "sf_assets/chunk": "1 of 2: nasa to esa, 2",
            "sf_assets.tag/space": "true",
            "sf_assets.tag/the_USA": "true",
        },
        {
            **home,
            "sf_assets/day": str(DAY),
            "sf_assets/chunk": "2 of 2: abc",
            "sf_assets/handle": "abc",
            "sf_assets.tag/space": "true",
        },
    ]


def test_a_thousand_handles_are_four_runs(today: date, location: Location) -> None:
    track(location.home.registry, [f"h{n:04d}" for n in range(1000)])
    assert len(location.schedule_tick()[0]) == 4


def test_only_relations_that_somebody_is_tracked_for_are_selected(
    today: date, location: Location
) -> None:
    track(location.home.registry, ["nasa"], {"relations": ["followers"]})
    ((request,), _) = location.schedule_tick()
    assert names(request) == ["follower_snapshots"]


def test_lists_that_are_not_due_on_the_weekday_are_left_out(
    today: date, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    weekday = WEEKDAYS[DAY.weekday()]
    other = WEEKDAYS[(DAY.weekday() + 1) % 7]
    track(location.home.registry, ["now"], {"following": {"weekdays": [other]}})
    track(location.home.registry, ["later"], {"weekdays": [other]})
    track(location.home.registry, ["also"], {"weekdays": [weekday], "relations": ["followers"]})
    requests, _ = location.schedule_tick()
    assert [request.tags["dagster/asset_partition_range_end"] for request in requests] == [
        f"{DAY}|now",
        f"{DAY}|also",
    ]
    assert all(names(request) == ["follower_snapshots"] for request in requests)
    # A run over both lists of a handle leaves out the one that is not due.
    assert requests[0].run_config == {"ops": {"snapshots": {"config": {"due_only": True}}}}
    for handle in ("now", "also"):
        track(location.home.registry, [handle], {"weekdays": [other]})
    _, why = location.schedule_tick()
    assert why == f"handles.yaml has no list that is due on {DAY:%A}s."


def ranges(requests: list[dg.RunRequest]) -> list[tuple[str, str]]:
    ends = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
    return [(request.tags[ends[0]], request.tags[ends[1]]) for request in requests]


@pytest.mark.parametrize(
    "partitions",
    [[], ["gone"], ["esa", "nasa"], ["nasa", "gone", "esa"], ["ALICE", "@nasa", "nasa ", "a|b"]],
    ids=lambda names: " ".join(names) or "none",
)
def test_the_file_alone_says_who_is_read_whatever_partitions_there_are(
    today: date, location: Location, partitions: list[str]
) -> None:
    location.instance.add_dynamic_partitions("handles", partitions)
    track(location.home.registry, ["nasa", "esa"])
    requests, _ = location.schedule_tick()
    handles = location.handles
    assert set(handles) == {*partitions, "nasa", "esa"}
    read: list[str] = []
    for first, last in ranges(requests):
        between = slice(handles.index(first.split("|")[1]), handles.index(last.split("|")[1]) + 1)
        read += handles[between]
    assert sorted(read) == ["esa", "nasa"]


@pytest.mark.parametrize("now", [None, "", "# nobody\n", "handles: [nasa", "nasa"], ids=repr)
def test_without_a_list_in_the_file_the_last_good_one_is_read(
    today: date, location: Location, now: str | None
) -> None:
    track(location.home.registry, ["nasa"], {"relations": ["followers"]})
    location.instance.add_dynamic_partitions("handles", ["nasa", "esa"])
    before, _ = location.schedule_tick()
    location.home.registry.unlink() if now is None else location.home.registry.write_text(now)
    requests, _ = location.schedule_tick()
    assert [names(request) for request in requests] == [["follower_snapshots"]]
    assert ranges(requests) == ranges(before) == [(f"{DAY}|nasa", f"{DAY}|nasa")]


def test_a_list_of_nobody_reads_nobody(today: date, location: Location) -> None:
    track(location.home.registry, ["nasa"])
    location.schedule_tick()
    location.home.registry.write_text("handles: {}\n")
    assert location.schedule_tick() == ([], "No handle is tracked: run `sf-assets track HANDLE`.")


def test_a_list_that_was_never_good_is_told(today: date, location: Location) -> None:
    location.instance.add_dynamic_partitions("handles", ["nasa"])
    location.home.registry.write_text("handles: [nasa")
    requests, why = location.schedule_tick()
    assert requests == []
    assert why.startswith("handles.yaml:1: ")


def test_it_runs_by_default_in_utc_at_the_set_time(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SF_ASSETS_CRON", "30 4 * * *")
    daily = location.definitions.resolve_schedule_def("daily")
    assert (daily.cron_schedule, daily.execution_timezone) == ("30 4 * * *", "UTC")
    assert daily.default_status is dg.DefaultScheduleStatus.RUNNING


def test_a_time_that_never_comes_is_a_settings_error(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SF_ASSETS_CRON", "0 6 30 2 *")
    with pytest.raises(SettingsError, match="never occurs"):
        _ = location.definitions
