"""Money goes only where handles.yaml sends it, whatever Dagster is asked for."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from sf_assets.cli.runner import Runner, dagster_instance, failure_of
from sf_assets.cli.snapshot import reasons_of
from sf_assets.credits.meter import DayMeter
from sf_assets.defs import snapshot_run
from sf_assets.defs.partitions import PartitionSet, grid_key
from sf_assets.model import SnapshotKey
from sf_assets.settings import load_settings
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets.storage.landing_objects import ObjectLanding
from sf_assets_tests.cli.shell import contents, run
from sf_assets_tests.components import ObjectStore
from sf_assets_tests.conftest import Pipeline
from sf_assets_tests.loopback import Reply
from sf_assets_tests.served_lists import KEY, ListServer, account, error_body

DAY = date(2026, 11, 1)
NOT_HANDLES = [
    *("ALICE", "@alice", "alice ", " alice", "alice\n", "alic\u00e9", "\u212aate", "a b", "a/b"),
    *("", ".", "..", "../../evil", "/etc/evil", ".alice", "alice.", "a\\b", "%2e%2e", "x" * 129),
    *("alice\x1b[31m", "alice\x00", "alice\u202e", "'; DROP TABLE snapshots; --"),
]


@pytest.fixture
def server() -> Iterator[ListServer]:
    with ListServer() as server:
        for handle in ("alice", "bob"):
            server.set(handle, "followers", [account(n) for n in range(60, 0, -1)])
        yield server


@pytest.fixture
def pipeline(tmp_path: Path, server: ListServer) -> Pipeline:
    return Pipeline(tmp_path / "a" / "b" / "home", server.url, KEY, DAY)


def materialize(
    pipeline: Pipeline, first: str, last: str, handles: Sequence[str], **config: bool
) -> dg.ExecuteInProcessResult:
    """As the UI does: a run over the partitions from `first` to `last` with this config."""
    with dagster_instance(pipeline.home) as instance, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dagster's notes on its own betas
        PartitionSet().register(instance, handles)
        job = Runner(instance, load_settings()).defs.resolve_job_def("daily_snapshots")
        return job.execute_in_process(
            run_config={
                "ops": {"snapshots": {"config": config}},
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
            },
            instance=instance,
            tags={
                "dagster/asset_partition_range_start": grid_key(DAY, first),
                "dagster/asset_partition_range_end": grid_key(DAY, last),
            },
            asset_selection=[dg.AssetKey("follower_snapshots")],
            raise_on_error=False,
        )


def stored(pipeline: Pipeline) -> list[tuple[object, ...]]:
    return pipeline.ask("SELECT handle, pages, end_reason FROM snapshots ORDER BY ALL")


# --- keys -----------------------------------------------------------------------------------------


def test_partitions_that_are_no_handle_are_refused_and_the_others_are_stored(
    tmp_path: Path, pipeline: Pipeline, server: ListServer
) -> None:
    pipeline.track("alice", "bob")
    result = materialize(pipeline, "alice", "bob", ["alice", *NOT_HANDLES, "bob"], untracked=True)
    assert not result.success
    assert stored(pipeline) == [("alice", 3, "exhausted"), ("bob", 3, "exhausted")]
    assert {request.path.split("/")[4] for request in server.asked} == {"alice", "bob"}
    assert [path.name for path in tmp_path.rglob("*evil*")] == []
    assert [key.handle for key in DiskLanding(pipeline.home.landing).keys(DAY)] == ["alice", "bob"]
    said = failure_of(result)[0]
    assert said.startswith(f"{len(NOT_HANDLES)} of {len(NOT_HANDLES) + 2} lists did not finish")
    reasons = reasons_of(failure_of(result))
    assert reasons[0].startswith("the partition 'ALICE' is not a handle as in handles.yaml")
    assert (said + "".join(reasons)).isprintable()


def test_a_partition_with_a_bar_in_it_buys_nothing(pipeline: Pipeline, server: ListServer) -> None:
    pipeline.track("alice")
    with pytest.raises(Exception, match=r"a\|b"):
        materialize(pipeline, "alice", "a|b", ["alice", "a|b"], untracked=True)
    assert server.asked == []


@pytest.mark.parametrize("handle", NOT_HANDLES, ids=ascii)
def test_what_is_no_handle_becomes_no_path(tmp_path: Path, handle: str) -> None:
    landing = DiskLanding(tmp_path / "landing")
    key = SnapshotKey(DAY, handle, "followers")
    for use in (landing.read, landing.open, landing.path, landing.drop, landing.modified):
        with pytest.raises(ValueError, match="is not a handle"):
            use(key)
    with pytest.raises(ValueError, match="is not a handle"):
        landing.quarantine(key, 1, "why", b"body")
    if handle:
        with pytest.raises(ValueError, match="is not a handle"):
            landing.meter(DAY, handle)
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_no_lists_are_not_taken_for_some(tmp_path: Path) -> None:
    landing = DiskLanding(tmp_path)
    folder = landing.path(SnapshotKey(DAY, "bob", "followers")).parent
    folder.mkdir(parents=True)
    for name in ("bob", "BOB", ".bob", "bob copy"):
        (folder / f"{name}.jsonl").touch()
    assert landing.keys(DAY) == [SnapshotKey(DAY, "bob", "followers")]


@pytest.mark.scale
def test_what_is_no_handle_becomes_no_object(store: ObjectStore) -> None:
    os.environ.update(store.environment)
    from sf_assets.storage.landings import landing_at
    from sf_assets.storage.object_store import place

    landing = landing_at(place(store.bucket(), "landing"))
    assert isinstance(landing, ObjectLanding)
    for use in (landing.read, landing.open, landing.drop):
        with pytest.raises(ValueError, match="is not a handle"):
            use(SnapshotKey(DAY, "../../evil", "followers"))


# --- who is tracked -------------------------------------------------------------------------------


def test_a_handle_that_is_not_tracked_is_refused_unless_the_run_asks_for_it(
    pipeline: Pipeline, server: ListServer
) -> None:
    pipeline.home.registry.write_text("defaults: {depth: {pages: 2}}\nhandles: [alice]\n")
    result = materialize(pipeline, "alice", "bob", ["alice", "bob"], refresh=True)
    assert not result.success
    assert stored(pipeline) == [("alice", 2, "page_limit")]
    (reason,) = reasons_of(failure_of(result))
    assert "bob is not in handles.yaml, so nothing was requested" in reason
    assert "sf-assets track bob" in reason
    assert "untracked: true" in reason
    # Who asks gets it, as deep as the file says of everybody.
    assert materialize(pipeline, "bob", "bob", [], untracked=True).success
    assert stored(pipeline) == [("alice", 2, "page_limit"), ("bob", 2, "page_limit")]


def test_a_cap_of_the_defaults_holds_for_a_handle_that_is_not_tracked(
    pipeline: Pipeline, server: ListServer
) -> None:
    pipeline.home.registry.write_text("defaults: {daily_credits: 1}\nhandles: [alice]\n")
    for _ in range(2):
        assert materialize(pipeline, "bob", "bob", ["bob"], untracked=True).success
    assert stored(pipeline) == [("bob", 1, "budget")]


def test_a_handle_that_was_untracked_while_its_run_waited_is_left_out(
    pipeline: Pipeline, server: ListServer
) -> None:
    pipeline.track("alice", "bob")
    assert run("untrack", "bob").code == 0
    assert materialize(pipeline, "alice", "bob", ["alice", "bob"], due_only=True).success
    assert stored(pipeline) == [("alice", 3, "exhausted")]


def test_what_was_bought_while_it_was_tracked_is_loaded_and_never_bought_again(
    pipeline: Pipeline, server: ListServer
) -> None:
    pipeline.snapshot(DAY, "alice", relations=["followers"])
    pipeline.home.warehouse.unlink()
    pipeline.home.published.unlink()
    assert run("untrack", "alice").code == 0
    assert materialize(pipeline, "alice", "alice", []).success
    assert stored(pipeline) == [("alice", 3, "exhausted")]
    assert len(server.asked) == 3


@pytest.mark.parametrize("now", [None, "handles: [alice"], ids=repr)
def test_without_a_list_in_the_file_the_last_good_one_is_bought_with_its_limits(
    pipeline: Pipeline, server: ListServer, now: str | None
) -> None:
    pipeline.track("alice", daily_credits=1, relations=["followers"])
    registry = pipeline.home.registry
    registry.unlink() if now is None else registry.write_text(now)
    said = run("snapshot")
    assert said.code == 0
    assert "the last valid version with 1 handle stays in force" in said.complaint
    assert stored(pipeline) == [("alice", 1, "budget")]
    assert run("snapshot", "bob").code == 2
    assert materialize(pipeline, "alice", "bob", ["bob"]).success is False
    assert len(server.asked) == 1


def test_every_command_says_that_another_list_is_in_force(
    pipeline: Pipeline, server: ListServer
) -> None:
    pipeline.track("alice", relations=["followers"])
    pipeline.snapshot(DAY, "alice")
    pipeline.home.registry.unlink()
    before = contents(pipeline.home.root)
    for command in ("handles", "forecast"):
        said = run(command)
        assert said.code == 0
        assert "alice" in said.out
        assert "the last valid version with 1 handle stays in force" in said.complaint
    for edit in ("track", "untrack"):
        said = run(edit, "alice")
        assert said.code == 2
        assert "the last valid version with 1 handle stays in force" in said.complaint
    assert contents(pipeline.home.root) == before
    said = run("doctor")
    assert said.code == 2
    (line,) = (line for line in said.out.splitlines() if line.startswith("BAD  handles"))
    assert "the last valid version with 1 handle stays in force" in line


# --- what a run bought ----------------------------------------------------------------------------


def test_a_run_bears_what_it_bought_itself_over_all_its_tries(
    pipeline: Pipeline, server: ListServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_run, "RETRY_SECONDS", 0)
    failing = iter([False, False, True])
    server.fault = lambda request: (
        Reply(400, json=error_body("bad_request"))
        if "/profiles/" in request.path and next(failing, False)
        else None
    )
    pipeline.track("alice")
    results = [materialize(pipeline, "alice", "alice", ["alice"], refresh=n == 2) for n in range(3)]
    assert all(result.success for result in results)
    with dagster_instance(pipeline.home) as instance:
        runs: list[Any] = [instance.get_run_by_id(result.run_id) for result in results]
    tags = [(one.tags.get("sf_assets/pages"), one.tags.get("sf_assets/credits")) for one in runs]
    assert tags == [("3", "3"), (None, None), ("3", "3")]
    assert next(failing, None) is None


@pytest.mark.parametrize("spoilt", [b"", b"\x00" * 21, b"much\n", b"-5\n"], ids=repr)
def test_a_damaged_count_of_the_day_is_counted_anew(tmp_path: Path, spoilt: bytes) -> None:
    path = tmp_path / "count"
    path.write_bytes(spoilt)
    assert DayMeter(path, lambda: 7).count == 7


def test_a_list_that_is_not_tracked_any_more_still_counts_for_its_handle_s_cap(
    pipeline: Pipeline, server: ListServer
) -> None:
    server.set("alice", "following", status="hidden")
    pipeline.snapshot(DAY, "alice", relations=["following"], derive=False)
    pipeline.track("alice", relations=["followers"], daily_credits=2)
    pipeline.snapshot(DAY, "alice", relations=["followers"], derive=False)
    assert pipeline.ask("SELECT pages FROM follower_snapshots") == [(1,)]
    assert server.credits == 2
    assert DAY + timedelta(days=1) not in DiskLanding(pipeline.home.landing).days()
