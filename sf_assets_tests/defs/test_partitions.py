"""The grid of days and handles, and the runs that cover a day."""

from datetime import date, datetime, timedelta, timezone

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sf_assets.defs.partitions import (
    Grid,
    HandleRange,
    PartitionSet,
    grid_key,
    handle_ranges,
    split_grid_key,
)

DAY = date(2026, 11, 22)


@pytest.mark.parametrize("handle", ["bob", "007", "a..b_", "x" * 128])
def test_a_grid_key_names_a_day_and_a_handle_and_back(handle: str) -> None:
    assert grid_key(DAY, handle) == f"2026-11-22|{handle}"
    assert split_grid_key(grid_key(DAY, handle)) == (DAY, handle)


def test_our_keys_are_dagsters_keys() -> None:
    key = dg.MultiPartitionKey({"handle": "bob", "date": "2026-11-22"})
    assert grid_key(DAY, "bob") == key


def test_the_days_go_from_the_start_up_to_and_including_today() -> None:
    now = datetime(2026, 11, 22, 0, 0, 1, tzinfo=timezone.utc)
    keys = Grid(date(2026, 11, 20)).days.get_partition_keys(current_time=now)
    assert list(keys) == ["2026-11-20", "2026-11-21", "2026-11-22"]


def test_a_grid_that_starts_today_has_today() -> None:
    now = datetime(2026, 11, 22, 23, 59, 59, tzinfo=timezone.utc)
    assert list(Grid(DAY).days.get_partition_keys(current_time=now)) == ["2026-11-22"]


def test_the_grid_is_days_times_registered_handles() -> None:
    now = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
    with dg.DagsterInstance.ephemeral() as instance:
        PartitionSet().register(instance, ["bob", "alice"])
        keys = Grid(DAY - timedelta(days=1)).cells.get_partition_keys(
            current_time=now, dynamic_partitions_store=instance
        )
    assert sorted(keys) == [
        "2026-11-21|alice",
        "2026-11-21|bob",
        "2026-11-22|alice",
        "2026-11-22|bob",
    ]


def test_a_run_over_a_range_covers_its_handles_on_that_day_only() -> None:
    start = datetime.now(timezone.utc).date() - timedelta(days=3)
    day = start + timedelta(days=1)
    seen: list[str] = []

    @dg.asset(partitions_def=Grid(start).cells)
    def lists(context: dg.AssetExecutionContext) -> None:
        seen.extend(context.partition_keys)

    (first, second) = handle_ranges(["d", "b", "a", "c", "e"], {"b", "a", "c", "d"}, chunk=3)
    with dg.DagsterInstance.ephemeral() as instance:
        PartitionSet().register(instance, ["d", "b", "a", "c", "e"])
        for covered in (first, second):
            result = dg.materialize([lists], instance=instance, tags=covered.tags(day))
            assert result.success
    assert seen == [grid_key(day, handle) for handle in ("d", "b", "a", "c")]


def test_ranges_are_chunks_of_neighbours() -> None:
    registered = ["a", "b", "c", "d", "e"]
    assert handle_ranges(registered, set(registered), 2) == [
        HandleRange(("a", "b")),
        HandleRange(("c", "d")),
        HandleRange(("e",)),
    ]


def test_a_handle_that_is_not_wanted_ends_a_range() -> None:
    assert handle_ranges(["a", "b", "c", "d"], {"a", "c", "d"}, 10) == [
        HandleRange(("a",)),
        HandleRange(("c", "d")),
    ]


def test_ranges_follow_the_order_of_registration_and_not_the_alphabet() -> None:
    assert handle_ranges(["z", "a", "m"], {"a", "m", "z"}, 10) == [HandleRange(("z", "a", "m"))]


def test_a_handle_that_is_not_registered_yet_has_no_run() -> None:
    assert handle_ranges(["a"], {"a", "new"}, 10) == [HandleRange(("a",))]
    assert handle_ranges([], {"new"}, 10) == []
    assert handle_ranges(["a"], set(), 10) == []


NAMES = st.text(alphabet="abcdefgh", min_size=1, max_size=3)


@settings(deadline=None)
@given(st.lists(NAMES, unique=True), st.sets(NAMES), st.integers(1, 7))
def test_ranges_cover_exactly_the_wanted_handles_each_once(
    registered: list[str], wanted: set[str], chunk: int
) -> None:
    covered: list[str] = []
    for found in handle_ranges(registered, wanted, chunk):
        first, last = registered.index(found.first), registered.index(found.last)
        covered += registered[first : last + 1]
        assert 1 <= found.size == last - first + 1 <= chunk
    assert covered == [handle for handle in registered if handle in wanted]


@settings(deadline=None)
@given(st.lists(NAMES, unique=True, min_size=1), st.integers(1, 7))
def test_ranges_are_as_few_as_the_chunk_allows(registered: list[str], chunk: int) -> None:
    ranges = handle_ranges(registered, set(registered), chunk)
    assert len(ranges) == -(-len(registered) // chunk)


def test_a_pretended_day_ahead_of_the_clock_is_on_the_grid() -> None:
    ahead = datetime.now(timezone.utc).date() + timedelta(days=3)
    assert Grid(DAY, ahead).days.get_last_partition_key() == ahead.isoformat()
