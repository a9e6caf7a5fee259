"""The runs of this home in a Dagster instance that other projects may share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, time, timezone
from typing import TYPE_CHECKING

import dagster as dg

from sf_assets.defs.audience import HOME_TAG, Audience
from sf_assets.defs.partitions import split_grid_key

if TYPE_CHECKING:
    from dagster_shared.error import SerializableErrorInfo

IN_PROGRESS = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

# The job name of a run that somebody started on assets in the UI.
ASSET_JOB = "__ASSET_JOB"
DAY_TAG = "sf_assets/day"
_PARTITION = "dagster/partition"
_FIRST = "dagster/asset_partition_range_start"
_LAST = "dagster/asset_partition_range_end"


def location_of(context: dg.SensorEvaluationContext) -> str | None:
    """The name of the code location in which a sensor is evaluated."""
    origin = context.code_location_origin
    return origin.location_name if origin is not None else None


def as_loaded(
    audience: Audience, context: dg.SensorEvaluationContext | dg.ScheduleEvaluationContext
) -> Audience:
    """The audience with the asset keys of the code location of a tick."""
    try:
        repository = context.repository_def
    except dg.DagsterInvariantViolationError:
        return audience  # a tick outside a code location, as in a test
    return audience.loaded_in(repository) if repository else audience


def location_of_run(run: dg.DagsterRun) -> str | None:
    """The name of the code location of a run; None for runs of the command line."""
    origin = run.remote_job_origin
    return origin.repository_origin.code_location_origin.location_name if origin else None


def is_ours(run: dg.DagsterRun, audience: Audience, location: str | None) -> bool:
    """Whether a run belongs to this home.

    The schedule, the sensors and the command line tag their runs with the home. Runs started in
    the UI have no tag: they belong to this home if their code location and job, or assets, do.
    """
    tagged = run.tags.get(HOME_TAG)
    if tagged is not None:
        return tagged == audience.tags[HOME_TAG]
    if run.remote_job_origin is None or location_of_run(run) != location:
        return False
    ours = set(audience.keys.values())
    return run.job_name in audience.jobs or bool(ours & (run.asset_selection or set()))


def in_progress(
    instance: dg.DagsterInstance, audience: Audience, location: str | None
) -> list[dg.DagsterRun]:
    """The runs of this home that are queued or running."""
    runs = instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS))
    return [run for run in runs if is_ours(run, audience, location)]


def handles_held(run: dg.DagsterRun, registered: Sequence[str]) -> set[str]:
    """The registered handles in the partitions of a run; empty for a derivation."""
    cells = _cells(run)
    if cells is None:
        return set()
    _, first, last = cells
    if first not in registered or last not in registered:
        return set(registered)
    return set(registered[registered.index(first) : registered.index(last) + 1])


def day_of(run: dg.DagsterRun) -> date | None:
    """The day of the snapshots that a run reads; None for other runs."""
    cells = _cells(run)
    return cells[0] if cells else None


def _cells(run: dg.DagsterRun) -> tuple[date, str, str] | None:
    """The day, the first and the last handle of a run over the grid; None for other runs."""
    first = run.tags.get(_FIRST) or run.tags.get(_PARTITION, "")
    try:
        day, handle = split_grid_key(first)
    except ValueError:
        return None
    return (day, handle, split_grid_key(run.tags.get(_LAST) or first)[1]) if handle else None


def day_runs(
    instance: dg.DagsterInstance, day: date, audience: Audience, location: str | None
) -> list[dg.RunRecord]:
    """The runs of this home over the snapshots of a day, newest first."""
    tagged = dg.RunsFilter(tags={DAY_TAG: day.isoformat()})
    # Runs started in the UI have no day tag, only their partitions.
    midnight = datetime.combine(day, time(), timezone.utc)
    materialized = dg.RunsFilter(job_name=ASSET_JOB, created_after=midnight)
    records = {
        record.dagster_run.run_id: record
        for wanted in (tagged, materialized)
        for record in instance.get_run_records(wanted, limit=1000)
        if day_of(record.dagster_run) == day and is_ours(record.dagster_run, audience, location)
    }
    return sorted(records.values(), key=lambda record: record.create_timestamp, reverse=True)


def handles_cancelled(records: Sequence[dg.RunRecord], registered: Sequence[str]) -> set[str]:
    """The handles whose last run among `records` (newest first) was cancelled."""
    seen: set[str] = set()
    cancelled: set[str] = set()
    for record in records:
        held = handles_held(record.dagster_run, registered) - seen
        seen |= held
        if record.dagster_run.status is dg.DagsterRunStatus.CANCELED:
            cancelled |= held
    return cancelled


def why_failed(instance: dg.DagsterInstance, run_id: str) -> str:
    """The reason of a failed run, in a sentence or two."""
    wanted = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    text = ""
    for entry in instance.all_logs(run_id, of_type=wanted):
        event = entry.dagster_event
        if event is None:
            continue
        if event.is_step_failure and event.step_failure_data.user_failure_data is not None:
            return event.step_failure_data.user_failure_data.description or text
        if event.is_step_failure and event.step_failure_data.error is not None:
            error = event.step_failure_data.error
            if error.cls_name == "DagsterExecutionInterruptedError":
                return "the run was stopped before all lists were read"
            return " ".join(root_cause(error).split())
        text = text or event.message or ""
    return text or "the run failed and gave no reason"


def root_cause(error: SerializableErrorInfo) -> str:
    """The message of the first error in a chain of causes."""
    while error.cause is not None:
        error = error.cause
    # The messages of our own errors need no class name before them.
    return re.sub(r"^sf_assets\.[\w.]+: ", "", error.message.strip())


def aware(moment: datetime) -> datetime:
    """A timestamp of Dagster with its time zone, which is always UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
