"""Runs of a Dagster instance that others may use as well: which are ours, and what they hold."""

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

# What the UI calls a run of assets.
_ASSET_JOB = "__ASSET_JOB"
DAY_TAG = "sf_assets/day"
_PARTITION = "dagster/partition"
_FIRST = "dagster/asset_partition_range_start"
_LAST = "dagster/asset_partition_range_end"


def location_of(context: dg.SensorEvaluationContext) -> str | None:
    """The name of the code location that a sensor is evaluated in."""
    origin = context.code_location_origin
    return origin.location_name if origin is not None else None


def as_loaded(
    audience: Audience, context: dg.SensorEvaluationContext | dg.ScheduleEvaluationContext
) -> Audience:
    """The audience with its assets' keys in the code location of a tick, which may be others."""
    try:
        repository = context.repository_def
    except dg.DagsterInvariantViolationError:
        return audience  # a tick that is evaluated by hand
    return audience.loaded_in(repository) if repository else audience


def is_ours(run: dg.DagsterRun, audience: Audience, location: str | None) -> bool:
    """Whether a run is of this home.

    What schedule, sensors and the command line start names its home in a tag. Runs that were
    started in the UI do not; those of this code location are ours if their job or assets are.
    """
    tagged = run.tags.get(HOME_TAG)
    if tagged is not None:
        return tagged == audience.tags[HOME_TAG]
    origin = run.remote_job_origin
    if origin is None or origin.repository_origin.code_location_origin.location_name != location:
        return False
    ours = set(audience.keys.values())
    return audience.is_job(run.job_name) or bool(ours & (run.asset_selection or set()))


def in_progress(
    instance: dg.DagsterInstance, audience: Audience, location: str | None
) -> list[dg.DagsterRun]:
    """Our runs that are queued or being executed."""
    runs = instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS))
    return [run for run in runs if is_ours(run, audience, location)]


def handles_held(run: dg.DagsterRun, registered: Sequence[str]) -> set[str]:
    """The registered handles whose partitions a run is about; none for what is derived by day."""
    cells = _cells(run)
    if cells is None:
        return set()
    _, first, last = cells
    if first not in registered or last not in registered:
        return set(registered)
    return set(registered[registered.index(first) : registered.index(last) + 1])


def day_of(run: dg.DagsterRun) -> date | None:
    """The day whose snapshots a run reads; None for other runs."""
    cells = _cells(run)
    return cells[0] if cells else None


def _cells(run: dg.DagsterRun) -> tuple[date, str, str] | None:
    """The day of the grid that a run is about, its first and its last handle."""
    first = run.tags.get(_FIRST) or run.tags.get(_PARTITION, "")
    try:
        day, handle = split_grid_key(first)
    except ValueError:
        return None
    return (day, handle, split_grid_key(run.tags.get(_LAST) or first)[1]) if handle else None


def day_runs(
    instance: dg.DagsterInstance, day: date, audience: Audience, location: str | None
) -> list[dg.RunRecord]:
    """Our runs over the snapshots of a day, newest first."""
    tagged = dg.RunsFilter(tags={DAY_TAG: day.isoformat()})
    # What the UI starts bears its partitions alone.
    midnight = datetime.combine(day, time(), timezone.utc)
    materialized = dg.RunsFilter(job_name=_ASSET_JOB, created_after=midnight)
    records = {
        record.dagster_run.run_id: record
        for wanted in (tagged, materialized)
        for record in instance.get_run_records(wanted, limit=1000)
        if day_of(record.dagster_run) == day and is_ours(record.dagster_run, audience, location)
    }
    return sorted(records.values(), key=lambda record: record.create_timestamp, reverse=True)


def handles_cancelled(records: Sequence[dg.RunRecord], registered: Sequence[str]) -> set[str]:
    """The handles whose last run, of these, somebody cancelled. `records` come newest first."""
    seen: set[str] = set()
    cancelled: set[str] = set()
    for record in records:
        held = handles_held(record.dagster_run, registered) - seen
        seen |= held
        if record.dagster_run.status is dg.DagsterRunStatus.CANCELED:
            cancelled |= held
    return cancelled


def why_failed(instance: dg.DagsterInstance, run_id: str) -> str:
    """What a failed run says of its failure, in a sentence or two."""
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
                return "the run was stopped before everything was read"
            return " ".join(root_cause(error).split())
        text = text or event.message or ""
    return text or "the run failed without saying why"


def root_cause(error: SerializableErrorInfo) -> str:
    """The message of the error that led to this one."""
    while error.cause is not None:
        error = error.cause
    # Our own errors are sentences; the class before them says nothing to a person.
    return re.sub(r"^sf_assets\.[\w.]+: ", "", error.message.strip())


def aware(moment: datetime) -> datetime:
    """Dagster's timestamps are UTC, with or without saying so."""
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
