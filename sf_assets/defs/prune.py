"""Removes old runs and their logs from Dagster's storage and keeps the status of the grid.

Dagster's own `delete_run` also deletes the materializations of the run, and with them the status of
their partitions. This module keeps the newest materialization of each partition unchanged, with its
id and time, so that no sensor takes it for a new one. A partition that only failed becomes missing,
because Dagster reads a failure from the run.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

import dagster as dg
import sqlalchemy as sa
from dagster._core.storage.event_log import (  # noqa: PLC2701
    SqlEventLogStorage,
    SqliteEventLogStorage,
)
from dagster._core.storage.event_log.schema import (  # noqa: PLC2701
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.runs import SqlRunStorage  # noqa: PLC2701
from dagster._core.storage.runs.schema import RunTagsTable  # noqa: PLC2701

from sf_assets.defs.audience import Audience
from sf_assets.defs.runs import ASSET_JOB, is_ours

#: Runs to delete per call, a few milliseconds each. A backlog of a year takes a few days.
LIMIT = 100

_OVER = [
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
]


def prune_runs(
    instance: dg.DagsterInstance,
    audience: Audience,
    location: str | None,
    before: datetime,
    limit: int = LIMIT,
) -> int:
    """Delete the runs of this home that ended before `before`, oldest first; returns their number.

    The next call continues after an interruption. Does nothing if Dagster's storage is not one of
    Dagster's own databases.
    """
    if not isinstance(instance.event_log_storage, SqlEventLogStorage) or not isinstance(
        instance.run_storage, SqlRunStorage
    ):
        return 0
    old_runs: set[str] = set()
    for run in _over(instance, audience, location, before, limit):
        old_runs.add(run.run_id)
        if len(old_runs) == limit:
            break
    for run_id in sorted(old_runs):
        _delete(instance, instance.event_log_storage, instance.run_storage, run_id)
    return len(old_runs)


def remove_old_files(audience: Audience, before: datetime) -> int:
    """Delete the files that rebuilds set aside before `before`; returns their number."""
    work = audience.home.warehouse
    old = [
        file
        for file in work.parent.glob(f"{work.name}.*.old*")
        if datetime.fromtimestamp(file.stat().st_mtime, timezone.utc) < before
    ]
    for file in old:
        file.unlink(missing_ok=True)
    return len(old)


def _over(
    instance: dg.DagsterInstance,
    audience: Audience,
    location: str | None,
    before: datetime,
    limit: int,
) -> Iterator[dg.DagsterRun]:
    """The runs of this home that ended before `before`, those tagged with the home first."""
    tagged = dg.RunsFilter(statuses=_OVER, updated_before=before, tags=audience.tags)
    for record in instance.get_run_records(tagged, limit, ascending=True):
        yield record.dagster_run
    for job in (ASSET_JOB, *audience.jobs) if location is not None else ():
        # Runs started in the UI have no tag and may belong to others.
        cursor, wanted = None, dg.RunsFilter(job_name=job, statuses=_OVER, updated_before=before)
        while records := instance.get_run_records(wanted, limit, cursor=cursor, ascending=True):
            cursor = records[-1].dagster_run.run_id
            runs = (record.dagster_run for record in records)
            yield from (run for run in runs if is_ours(run, audience, location))


def _delete(
    instance: dg.DagsterInstance, events: SqlEventLogStorage, runs: SqlRunStorage, run_id: str
) -> None:
    _delete_events(events, run_id)
    if isinstance(events, SqliteEventLogStorage):
        # SQLite storage has one file per run, and asset events also in an index.
        shard = events.path_for_shard(run_id)
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{shard}{suffix}").unlink(missing_ok=True)
    # The log manager of a project may not support deletion.
    with suppress(NotImplementedError):
        instance.compute_log_manager.delete_logs(prefix=[run_id])
    shutil.rmtree(Path(instance.storage_directory()) / run_id, ignore_errors=True)
    with runs.connect() as con:
        con.execute(RunTagsTable.delete().where(RunTagsTable.c.run_id == run_id))
    # Last, so that an interrupted deletion finds the run again.
    runs.delete_run(run_id)


def _delete_events(events: SqlEventLogStorage, run_id: str) -> None:
    """Delete the events of a run except the newest materializations and check results."""
    event, newer = SqlEventLogStorageTable.c, SqlEventLogStorageTable.alias().c
    materialized = dg.DagsterEventType.ASSET_MATERIALIZATION.value
    renewed = sa.exists().where(
        newer.asset_key == event.asset_key,
        newer.dagster_event_type == materialized,
        sa.or_(
            newer.partition == event.partition,
            sa.and_(newer.partition.is_(None), event.partition.is_(None)),
        ),
        newer.id > event.id,
    )
    check, later = AssetCheckExecutionsTable.c, AssetCheckExecutionsTable.alias().c
    checked_again = sa.exists().where(
        later.asset_key == check.asset_key,
        later.check_name == check.check_name,
        later.id > check.id,
    )
    with events.index_connection() as con:
        doomed = sa.select(event.id).where(
            event.run_id == run_id,
            sa.or_(
                event.dagster_event_type.is_(None),
                event.dagster_event_type != materialized,
                renewed,
            ),
        )
        ids = [number for (number,) in con.execute(doomed)]
        for at in range(0, len(ids), 500):
            batch = ids[at : at + 500]
            con.execute(
                AssetEventTagsTable.delete().where(AssetEventTagsTable.c.event_id.in_(batch))
            )
            con.execute(SqlEventLogStorageTable.delete().where(event.id.in_(batch)))
        con.execute(AssetCheckExecutionsTable.delete().where(check.run_id == run_id, checked_again))
