"""Does the Dagster UI still answer when a year of 250 handles is in its event log?

    python benchmarks/grid.py                    365 days x 250 handles, both lists
    python benchmarks/grid.py --days 60 --handles 50
    python benchmarks/grid.py --postgres         Dagster's tables in Postgres

An event log is filled as a year of daily runs would: a run a day and 250 handles, for each asset
and partition the planned event and the materialization with the metadata our assets give, and the
derived assets' days. The events are Dagster's own objects, turned into rows by Dagster's own event
log storage (`prepare_insert_event_batch`) and inserted into the real SQLite files of the instance
many at a time, in one transaction a day, where Dagster would open the file anew for each; the last
event of each asset goes through `store_event`, which notes the asset. Left out are the logs of the
single runs (a file each, read only when a run is looked at). With `--postgres` the rows go into a
Postgres with default settings on this machine (needs `.[scale-test]`).

Then the real webserver is started on it, with the code location in a server of its own as
`sf-assets up` has it, and asked what the UI asks, over GraphQL: the partitions of an asset (every
status of the grid, on the first look, when nothing is cached, and again), the counts beside an
asset in the graph, and the events of one partition. A schedule tick is evaluated through the same
webserver, as its "Test schedule" does. Last, the real daemon is started with a schedule that is due
every minute, and ended after its first tick: that one also creates the runs it asks for, for which
Dagster notes an event for each of their partitions. Seconds on the clock; of the daemon's tick,
from when it is first seen in the instance to the end that Dagster notes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import days_up_to, say, scratch, table, verdict

TARGET_SECONDS, TICK_TARGET_SECONDS = 3.0, 5.0
TICK_SECONDS = 600
ASSETS = ("follower_snapshots", "following_snapshots")
DERIVED = ("follower_churn", "following_churn", "follower_growth", "status_changes")

PARTITIONS = """
query PartitionHealth($assetKey: AssetKeyInput!) {
  assetNodeOrError(assetKey: $assetKey) {
    ... on AssetNode {
      id
      partitionKeysByDimension { name type partitionKeys }
      assetPartitionStatuses {
        ... on TimePartitionStatuses { ranges { status startTime endTime startKey endKey } }
        ... on DefaultPartitionStatuses {
          materializedPartitions materializingPartitions failedPartitions
        }
        ... on MultiPartitionStatuses {
          primaryDimensionName
          ranges {
            primaryDimStartKey primaryDimEndKey primaryDimStartTime primaryDimEndTime
            secondaryDim {
              ... on TimePartitionStatuses { ranges { status startTime endTime startKey endKey } }
              ... on DefaultPartitionStatuses {
                materializedPartitions materializingPartitions failedPartitions
              }
            }
          }
        }
      }
    }
  }
}
"""
COUNTS = """
query Live($assetKeys: [AssetKeyInput!]) {
  assetNodes(assetKeys: $assetKeys) {
    id
    partitionStats { numMaterialized numMaterializing numPartitions numFailed }
    assetMaterializations(limit: 1) { timestamp runId }
  }
}
"""
EVENTS = """
query PartitionEvents($assetKey: AssetKeyInput!, $partitions: [String!]) {
  assetNodeOrError(assetKey: $assetKey) {
    ... on AssetNode {
      id
      assetMaterializations(partitions: $partitions, limit: 100) {
        partition runId timestamp metadataEntries { label }
      }
    }
  }
}
"""
TICK = """
mutation Tick($selector: ScheduleSelector!, $timestamp: Float) {
  scheduleDryRun(selectorData: $selector, timestamp: $timestamp) {
    __typename
    ... on DryRunInstigationTick {
      evaluationResult {
        runRequests { runKey tags { key value } }
        skipReason
        error { message }
      }
    }
    ... on PythonError { message stack }
  }
}
"""


@contextlib.contextmanager
def in_postgres(home: Path) -> Iterator[str]:
    """Tell Dagster to keep its tables in a Postgres of its own; yields the DSN."""
    import psycopg2.extensions

    from sf_assets_tests.components import postgres

    names = {"host": "hostname", "user": "username", "dbname": "db_name"}
    with postgres() as cluster:
        dsn = cluster.database()
        parts = psycopg2.extensions.parse_dsn(dsn)
        database = {names.get(name, name): value for name, value in parts.items()}
        database["port"] = int(database["port"])
        settings = Path(__file__).resolve().parents[1] / "dagster.yaml"
        (home / "dagster").mkdir(parents=True)
        (home / "dagster" / "dagster.yaml").write_text(
            settings.read_text()
            + f"\nstorage: {json.dumps({'postgres': {'postgres_db': database}})}\n"
        )
        yield dsn


def size_of(home: Path, dsn: str | None) -> int:
    """The bytes of Dagster's event log, or of its database."""
    if dsn is None:
        log = home / "dagster" / "history" / "runs" / "index.db"
        return sum(path.stat().st_size for path in log.parent.glob("index.db*"))
    import psycopg2

    with contextlib.closing(psycopg2.connect(dsn)) as con, con.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        return int(cursor.fetchall()[0][0])


def fill(home: Path, days: list[date], handles: list[str]) -> dict[str, int]:
    """A home whose Dagster instance has all days; returns counts."""
    import dagster as dg
    from dagster._core.events import (  # noqa: PLC2701
        AssetMaterializationPlannedData,
        DagsterEvent,
        DagsterEventType,
        StepMaterializationData,
    )
    from dagster._core.events.log import EventLogEntry  # noqa: PLC2701
    from dagster._core.storage.event_log import SqlEventLogStorage  # noqa: PLC2701

    from sf_assets.cli.runner import dagster_instance
    from sf_assets.defs.partitions import PartitionSet
    from sf_assets.defs.snapshot_metadata import snapshot_event
    from sf_assets.handles.edit import track
    from sf_assets.model import RELATIONS
    from sf_assets.settings import load_settings
    from sf_assets.storage.home import Home
    from sf_assets.warehouse.archive import SnapshotRow

    place = Home(home).ensure(load_settings())
    track(place.registry, handles)
    counts = {"runs": 0, "events": 0}

    def entry(event: DagsterEvent, run_id: str, job: str, at: float) -> EventLogEntry:
        return EventLogEntry(  # type: ignore[no-untyped-call]  # of Dagster, without types
            error_info=None,
            level=logging.DEBUG,
            user_message="",
            run_id=run_id,
            timestamp=at,
            step_key=event.step_key,
            job_name=job,
            dagster_event=event,
        )

    def both(
        asset: str, partition: str, event: dg.AssetMaterialization, job: str, step: str
    ) -> tuple[DagsterEvent, DagsterEvent]:
        planned = DagsterEvent.build_asset_materialization_planned_event(
            job, step, AssetMaterializationPlannedData(dg.AssetKey(asset), partition=partition)
        )
        done = DagsterEvent(
            event_type_value=DagsterEventType.ASSET_MATERIALIZATION.value,
            job_name=job,
            step_key=step,
            event_specific_data=StepMaterializationData(event),
            message=f"Materialized value {asset}.",
        )
        return planned, done

    def run(job: str, tags: dict[str, str], at: float) -> str:
        made = dg.DagsterRun(job_name=job, status=dg.DagsterRunStatus.SUCCESS, tags=tags)
        instance.add_run(made)
        counts["runs"] += 1
        return made.run_id

    with dagster_instance(place) as instance:
        PartitionSet().register(instance, handles)
        storage = instance.event_log_storage
        assert isinstance(storage, SqlEventLogStorage)
        for number, day in enumerate(days, start=1):
            at = datetime(day.year, day.month, day.day, 6, tzinfo=timezone.utc).timestamp()
            entries, last = [], {}
            snapshots = run(
                "daily_snapshots",
                {
                    "dagster/asset_partition_range_start": f"{day}|{handles[0]}",
                    "dagster/asset_partition_range_end": f"{day}|{handles[-1]}",
                    "sf_assets/day": day.isoformat(),
                },
                at,
            )
            for asset, relation in zip(ASSETS, RELATIONS, strict=True):
                for handle in handles:
                    moment = f"{day}T06:00:00.000Z"
                    row = SnapshotRow(
                        relation, handle, day, "found", "exhausted", "complete", 1_000, 1_000, 50,
                        50, moment, moment, snapshots, 1, f"day={day}/benchmark.parquet",
                    )  # fmt: skip
                    said = snapshot_event(dg.AssetKey(asset), row, None)
                    planned, done = both(
                        asset, f"{day}|{handle}", said, "daily_snapshots", "snapshots"
                    )
                    entries.append(entry(planned, snapshots, "daily_snapshots", at))
                    last[asset] = entry(done, snapshots, "daily_snapshots", at + 60)
                    entries.append(last[asset])
            derived = run("derive", {}, at + 120)
            for asset in DERIVED:
                said = dg.AssetMaterialization(asset, partition=day.isoformat())
                planned, done = both(asset, day.isoformat(), said, "derive", "derived")
                entries.append(entry(planned, derived, "derive", at + 120))
                last[asset] = entry(done, derived, "derive", at + 180)
                entries.append(last[asset])
            if number == len(days):
                noted = list(last.values())
                known = {id(one) for one in noted}
                entries = [one for one in entries if id(one) not in known]
            with storage.index_connection() as con:
                for start in range(0, len(entries), 500):
                    con.execute(storage.prepare_insert_event_batch(entries[start : start + 500]))
            counts["events"] += len(entries)
            if number % 60 == 0:
                say(f"{number} of {len(days)} days written")
        for one in noted:
            storage.store_event(one)
            counts["events"] += 1
    return counts


@contextlib.contextmanager
def webserver(home: Path) -> Iterator[str]:
    """The real webserver on this home; yields its GraphQL address."""
    from sf_assets.cli.runner import prepare_dagster_home
    from sf_assets.storage.home import Home

    prepare_dagster_home(Home(home))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port)),
        *("-w", str(home / "dagster" / "workspace.yaml"), "--log-level", "warning"),
    ]
    log = (home / "webserver.log").open("w")
    process = subprocess.Popen(
        command,
        stdout=log,
        stderr=log,
        cwd=home / "dagster",
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        start_new_session=True,
    )
    try:
        address = f"http://127.0.0.1:{port}/graphql"
        until = time.monotonic() + 180
        while True:
            with contextlib.suppress(OSError):
                asked(address, "{ version }", {})
                break
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError((home / "webserver.log").read_text()[-3_000:])
            time.sleep(0.2)
        yield address
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its code server too
        log.close()


def asked(address: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    """The data of a GraphQL answer. Raises RuntimeError for one with errors."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(
        address, data=body, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            found: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            raise RuntimeError(error.read().decode()[:2_000]) from None
    if found.get("errors"):
        raise RuntimeError(str(found["errors"])[:2_000])
    return dict(found["data"])


def timed(address: str, query: str, variables: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    began = time.perf_counter()
    data = asked(address, query, variables)
    return time.perf_counter() - began, data


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--handles", type=int, default=250)
    parser.add_argument("--postgres", action="store_true", help="Dagster's tables in Postgres")
    parser.add_argument("--keep", type=Path, help="keep the home in this folder")
    wanted = parser.parse_args()
    # The grid ends today, whatever day that is: the webserver knows no other.
    today = datetime.now(timezone.utc).date()
    days = days_up_to(today - timedelta(days=1), wanted.days)
    handles = [f"bench.{number:04d}" for number in range(wanted.handles)]
    warnings.simplefilter("ignore")
    with contextlib.ExitStack() as stack:
        home = stack.enter_context(scratch(wanted.keep))
        dsn = stack.enter_context(in_postgres(home)) if wanted.postgres else None
        os.environ.update(
            SF_ASSETS_HOME=str(home),
            SF_ASSETS_START_DATE=days[0].isoformat(),
            SOCIALFETCH_BASE_URL="http://127.0.0.1:9",
            SOCIALFETCH_API_KEY="sfk_sim",
        )
        os.environ.pop("SF_ASSETS_TODAY", None)
        began = time.perf_counter()
        counts = fill(home, days, handles)
        say(f"{counts['events']:,} events written in {time.perf_counter() - began:.0f} s")
        size = size_of(home, dsn)
        rows: list[list[str]] = []

        def note(what: str, seconds: float, detail: str) -> None:
            say(f"{what}: {seconds:.2f} s, {detail}")
            target = TICK_TARGET_SECONDS if "tick" in what else TARGET_SECONDS
            rows.append(
                [
                    what,
                    f"{seconds:.2f}",
                    f"<= {target:g}",
                    verdict(seconds, target),
                    detail,
                ]
            )

        key = {"path": [ASSETS[0]]}
        with webserver(home) as address:
            for turn in ("first look", "again"):
                seconds, data = timed(address, PARTITIONS, {"assetKey": key})
                node = data["assetNodeOrError"]
                keys = [len(one["partitionKeys"]) for one in node["partitionKeysByDimension"]]
                ranges = node["assetPartitionStatuses"]["ranges"]
                green = sum(
                    _days_of(one) * len(one["secondaryDim"].get("materializedPartitions", ()))
                    for one in ranges
                )
                note(
                    f"partitions of `{ASSETS[0]}`, {turn}",
                    seconds,
                    f"{keys[0]} x {keys[1]} keys, {green:,} green",
                )
            seconds, data = timed(address, COUNTS, {"assetKeys": [{"path": [a]} for a in ASSETS]})
            stats = data["assetNodes"][0]["partitionStats"]
            note(
                "counts of both assets in the graph",
                seconds,
                f"{stats['numMaterialized']:,} of {stats['numPartitions']:,}",
            )
            one = f"{days[-1]}|{handles[0]}"
            seconds, data = timed(address, EVENTS, {"assetKey": key, "partitions": [one]})
            found = data["assetNodeOrError"]["assetMaterializations"]
            note("events of one partition", seconds, f"{len(found)} found")
            selector = {
                "repositoryLocationName": "sf_assets",
                "repositoryName": "__repository__",
                "scheduleName": "daily",
            }
            for turn in ("first", "again"):
                seconds, data = timed(
                    address, TICK, {"selector": selector, "timestamp": time.time()}
                )
                tick = data["scheduleDryRun"]
                if tick["__typename"] != "DryRunInstigationTick":
                    raise RuntimeError(str(tick)[:2_000])
                evaluated = tick["evaluationResult"]
                note(
                    f"schedule tick through the webserver, {turn}",
                    seconds,
                    f"{len(evaluated['runRequests'] or [])} runs asked for",
                )
        seconds, runs = tick_of_the_daemon(home)
        note("schedule tick of the daemon, runs created", seconds, f"{runs} runs created")
    print(
        f"{wanted.days} days x {wanted.handles} handles, both lists: {counts['runs']:,} runs, "
        f"{counts['events']:,} events, event log of {size / 1e6:,.0f} MB:\n"
    )
    print(table(["what the UI asks", "seconds", "target", "", "answer"], rows))
    return 0


def _days_of(one: dict[str, Any]) -> int:
    first, last = (
        date.fromisoformat(one[name]) for name in ("primaryDimStartKey", "primaryDimEndKey")
    )
    return (last - first).days + 1


def tick_of_the_daemon(home: Path) -> tuple[float, int]:
    """Seconds of the first tick of the schedule in a real daemon, and how many runs it created."""
    import dagster as dg
    from dagster._core.scheduler.instigation import TickStatus  # noqa: PLC2701

    command = [
        *(sys.executable, "-m", "dagster._daemon", "run", "--log-level", "warning"),
        *("-w", str(home / "dagster" / "workspace.yaml")),
    ]
    with (home / "daemon.log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            cwd=home / "dagster",
            env={**os.environ, "PYTHONWARNINGS": "ignore", "SF_ASSETS_CRON": "* * * * *"},
            start_new_session=True,
        )
        try:
            with dg.DagsterInstance.get() as instance:
                until = time.monotonic() + TICK_SECONDS
                # The tick's own time is when it was due; when it began is when it is first seen.
                began: float | None = None
                while time.monotonic() < until:
                    for state in instance.all_instigator_state():
                        if state.instigator_name != "daily":
                            continue
                        for tick in instance.get_ticks(
                            state.instigator_origin_id, state.selector_id
                        ):
                            began = began or time.time()
                            ended = tick.tick_data.end_timestamp
                            if tick.status == TickStatus.SUCCESS and ended is not None:
                                return max(0.0, ended - began), len(tick.run_ids)
                    time.sleep(0.05)
            raise RuntimeError(
                f"no tick ended in {TICK_SECONDS} s: {(home / 'daemon.log').read_text()[-2_000:]}"
            )
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with its code server and a run begun
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
