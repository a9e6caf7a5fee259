"""Old runs leave Dagster's storage, and the grid shows every day as before."""

import os
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.storage.runs.schema import RunTagsTable

from sf_assets.defs.audience import HOME_TAG, Audience
from sf_assets.defs.prune import prune_runs, remove_old_files
from sf_assets.settings import Settings
from sf_assets_tests.components import Cluster
from sf_assets_tests.defs.conftest import Location

DAYS = dg.StaticPartitionsDefinition([f"2026-11-{day:02d}" for day in range(1, 10)])
FIRST, SECOND, THIRD, FOURTH = DAYS.get_partition_keys()[:4]


class Config(dg.Config):
    fails: bool = False


@dg.asset(
    key="follower_snapshots",
    partitions_def=DAYS,
    check_specs=[dg.AssetCheckSpec("fine", asset="follower_snapshots")],
)
def snapshots(context: dg.AssetExecutionContext, config: Config):  # type: ignore[no-untyped-def]
    """Says a number, and what it is told to print."""
    print("to the compute log", flush=True)
    if config.fails:
        raise dg.Failure("the API is down")
    return dg.MaterializeResult(
        metadata={"listed": 7}, check_results=[dg.AssetCheckResult(passed=True, check_name="fine")]
    )


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.scale)])
def instance(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    overrides: dict[str, object] = {"telemetry": {"enabled": False}}
    if request.param == "postgres":
        cluster: Cluster = request.getfixturevalue("cluster")
        name = cluster.database().rpartition("dbname=")[2]
        address = f"postgresql://sf:{quote(cluster.password)}@127.0.0.1:{cluster.port}/{name}"
        overrides["storage"] = {"postgres": {"postgres_url": address}}
    folder = tmp_path / "dagster"
    folder.mkdir()
    with dg.DagsterInstance.local_temp(str(folder), overrides=overrides) as instance:
        yield instance


def run(location: Location, day: str, *, fails: bool = False, home: str | None = None) -> str:
    """A run over a day of this home, or another one's; returns its id."""
    done = dg.materialize(
        [snapshots],
        instance=location.instance,
        partition_key=day,
        tags={HOME_TAG: home or str(location.home.root)},
        run_config={
            "ops": {"follower_snapshots": {"config": {"fails": fails}}},
            "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        },
        raise_on_error=False,
    )
    assert done.success is not fails
    return done.run_id


def moment() -> datetime:
    """Now; what comes before and after has another time."""
    time.sleep(0.02)
    now = datetime.now(timezone.utc)
    time.sleep(0.02)
    return now


def statuses(location: Location) -> dict[str, str]:
    found = location.instance.get_status_by_partition(
        snapshots.key, DAYS.get_partition_keys(), DAYS
    )
    return {day: status.value for day, status in (found or {}).items() if status is not None}


def newest(location: Location, day: str) -> dg.EventLogRecord:
    wanted = dg.AssetRecordsFilter(asset_key=snapshots.key, asset_partitions=[day])
    return location.instance.fetch_materializations(wanted, limit=1).records[0]


def ids(location: Location) -> set[str]:
    return {run.run_id for run in location.instance.get_runs()}


def prune(location: Location, before: datetime, limit: int = 100) -> int:
    return prune_runs(location.instance, location.audience, None, before, limit)


def test_old_runs_go_with_their_logs_and_the_grid_stays(location: Location) -> None:
    old = [run(location, FIRST), run(location, SECOND), run(location, FIRST)]
    failed = run(location, THIRD, fails=True)
    others = run(location, FOURTH, home="/another/home")
    waiting = location.instance.create_run_for_job(
        dg.Definitions([snapshots]).resolve_implicit_global_asset_job_def(),
        status=dg.DagsterRunStatus.STARTED,
        tags={HOME_TAG: str(location.home.root)},
    ).run_id
    before = moment()
    new = run(location, SECOND)
    shown, kept = statuses(location), {day: newest(location, day) for day in (FIRST, SECOND)}
    assert prune(location, before, limit=1) == 1
    assert ids(location) == {*old[1:], failed, others, waiting, new}
    assert prune(location, before) == 3
    assert prune(location, before) == 0
    assert ids(location) == {others, waiting, new}
    # The failed day is a gap now: Dagster tells a failure by the run.
    assert {**statuses(location), THIRD: "FAILED"} == {**shown, THIRD: "FAILED"}
    assert statuses(location)[FIRST] == "MATERIALIZED"
    # As if nothing had happened: no sensor takes it for news, and it can be looked at.
    for day, record in kept.items():
        assert newest(location, day) == record
    assert newest(location, FIRST).run_id == old[2]
    location.instance.wipe_asset_cached_status([snapshots.key])  # as when a handle is added
    assert statuses(location)[FIRST] == statuses(location)[SECOND] == "MATERIALIZED"
    events = location.instance.event_log_storage
    assert {record.event_log_entry.run_id for record in materializations(location)} == {
        *(old[2], others, new)
    }
    check = dg.AssetCheckKey(snapshots.key, "fine")
    history = events.get_asset_check_execution_history(check, limit=10)
    assert {record.run_id for record in history} == {others, waiting, new}
    left = set(Path(location.instance.root_directory).rglob("*"))
    assert not [path for path in left if any(gone in str(path) for gone in (*old, failed))]
    assert [path for path in left if new in str(path)]
    with location.instance.run_storage.connect() as con:  # type: ignore[attr-defined]
        assert {run_id for (run_id,) in con.execute(sa.select(RunTagsTable.c.run_id))} == {
            *(others, waiting, new)
        }


def materializations(location: Location) -> list[dg.EventLogRecord]:
    return list(location.instance.fetch_materializations(snapshots.key, limit=100).records)


def test_files_that_rebuilds_put_aside_go_when_they_are_old(tmp_path: Path) -> None:
    audience = Audience(Settings(home=tmp_path))
    work = audience.home.warehouse
    work.parent.mkdir()
    now = datetime.now(timezone.utc)
    names = {
        "sf_assets.duckdb": 99,
        "sf_assets.duckdb.20260801T000000-000000001.old": 99,
        "sf_assets.duckdb.20260801T000000-000000001.old.wal": 99,
        "sf_assets.duckdb.20261120T000000-000000001.old": 3,
    }
    for name, days in names.items():
        file = work.with_name(name)
        file.touch()
        at = (now - timedelta(days=days)).timestamp()
        os.utime(file, (at, at))
    assert remove_old_files(audience, now - timedelta(days=90)) == 2
    assert sorted(file.name for file in work.parent.iterdir()) == [
        "sf_assets.duckdb",
        "sf_assets.duckdb.20261120T000000-000000001.old",
    ]
