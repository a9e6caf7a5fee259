"""Runs that are long over leave Dagster's storage with their logs; the grid shows what it showed.

Dagster's own `delete_run` takes a run's materializations with it, and so the status of their
partitions. Here the newest materialization of each partition stays as it is, with its id and its
time, so that no sensor takes it for news. What only failed becomes a gap: Dagster tells that by
the run.
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

#: So many runs at most leave at a time, some milliseconds each: a year of them goes in a few days.
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
    """Delete our runs that were over `before`, oldest first; returns how many.

    Killed in between, the next call goes on. Nothing is done where Dagster's storage is not one
    of its own databases.
    """
    if not isinstance(instance.event_log_storage, SqlEventLogStorage) or not isinstance(
        instance.run_storage, SqlRunStorage
    ):
        return 0
    found: set[str] = set()
    for run in _over(instance, audience, location, before, limit):
        found.add(run.run_id)
        if len(found) == limit:
            break
    for run_id in sorted(found):
        _delete(instance, instance.event_log_storage, instance.run_storage, run_id)
    return len(found)


def remove_old_files(audience: Audience, before: datetime) -> int:
    """Delete the files that rebuilds put aside `before`; returns how many."""
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
    """Our runs that were over before that, those that name their home first."""
    tagged = dg.RunsFilter(statuses=_OVER, updated_before=before, tags=audience.tags)
    for record in instance.get_run_records(tagged, limit, ascending=True):
        yield record.dagster_run
    for job in (ASSET_JOB, *audience.jobs) if location is not None else ():
        # Started in the UI: they bear no tag, and may be others'.
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
        # A database of its own for each run; what is about assets is in the index as well.
        shard = events.path_for_shard(run_id)
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(f"{shard}{suffix}").unlink(missing_ok=True)
    # A project's own log manager may not delete.
    with suppress(NotImplementedError):
        instance.compute_log_manager.delete_logs(prefix=[run_id])
    shutil.rmtree(Path(instance.storage_directory()) / run_id, ignore_errors=True)
    with runs.connect() as con:
        con.execute(RunTagsTable.delete().where(RunTagsTable.c.run_id == run_id))
    # Last: by its record a run is found again that was not quite deleted.
    runs.delete_run(run_id)


def _delete_events(events: SqlEventLogStorage, run_id: str) -> None:
    """All that a run said but the newest materializations and check results."""
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
            some = ids[at : at + 500]
            con.execute(
                AssetEventTagsTable.delete().where(AssetEventTagsTable.c.event_id.in_(some))
            )
            con.execute(SqlEventLogStorageTable.delete().where(event.id.in_(some)))
        con.execute(AssetCheckExecutionsTable.delete().where(check.run_id == run_id, checked_again))
