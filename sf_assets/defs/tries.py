"""The sensor that retries a day until it is over.

While a list that is due today is unfinished, it starts another run after 5, 10, 20, 40, 60, 60 …
minutes, until midnight UTC. It also loads pages that landed on earlier days and were not loaded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import date, datetime, time, timedelta, timezone

import dagster as dg
from cronsim import CronSim

from sf_assets.defs.audience import Audience
from sf_assets.defs.jobs import AGAIN_TAG
from sf_assets.defs.runs import (
    as_loaded,
    aware,
    day_of,
    day_runs,
    handles_cancelled,
    handles_held,
    in_progress,
    location_of,
    why_failed,
)
from sf_assets.defs.schedules import SCHEDULE, requests_for
from sf_assets.fault_injection import shortened
from sf_assets.handles.parse import registry_in_force
from sf_assets.handles.settings import Registry
from sf_assets.ingest import days
from sf_assets.model import RELATIONS, SnapshotKey
from sf_assets.text import counted

SECONDS = 30
FIRST_PAUSE = 5
LONGEST_PAUSE = 60
# Minutes, for landed pages that cannot be loaded: waiting loses nothing.
LONGEST_PAUSE_LATE = 24 * 60
LATE = "late "
LOOK_BACK_SECONDS = 300.0
# A retry starts at most this many separate runs. If it needs more, a run goes over all due handles
# and reports the finished ones again.
SEPARATE_RUNS = 8


def interval() -> int:
    """Seconds between two ticks of a sensor."""
    return max(1, round(shortened(SECONDS)))


def pause_before(attempt: int, longest: int = LONGEST_PAUSE) -> timedelta:
    """The pause before a retry of a day; the first retry is number 1."""
    minutes = min(longest, FIRST_PAUSE * 2 ** min(attempt - 1, 12))
    return timedelta(seconds=shortened(minutes * 60))


def due_since(cron: str, moment: datetime) -> datetime:
    """When the day's lists became due: the schedule's first time on the UTC day of `moment`.

    On a day that the schedule skips, this is its next time on a later day.
    """
    midnight = datetime.combine(moment.date(), time(), timezone.utc)
    return next(CronSim(cron, midnight - timedelta(minutes=1)))


def days_sensor(audience: Audience, job: dg.UnresolvedAssetJobDefinition) -> dg.SensorDefinition:
    """The sensor that retries what a day lacks."""

    look_back = timedelta(seconds=shortened(LOOK_BACK_SECONDS))

    @dg.sensor(
        name=audience.named("days"),
        job=job,
        minimum_interval_seconds=interval(),
        default_status=audience.default_sensor_status,
        description="Retries unfinished lists of the day after growing pauses until midnight UTC, "
        "and calls SF_ASSETS_HEARTBEAT_URL when the day is complete.",
    )
    def retry_unfinished(
        context: dg.SensorEvaluationContext,
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        registry, _ = registry_in_force(audience.home.registry)
        ours = as_loaded(audience, context)
        requests, why_not = _today(context, ours, registry)
        moment = datetime.now(timezone.utc)
        last_look = datetime.fromisoformat(context.cursor) if context.cursor else None
        if last_look is None or moment - last_look >= look_back:
            context.update_cursor(moment.isoformat())
            _note_yesterday(context, ours, registry)
            requests += _late(context, ours, registry)
        yield from requests
        if not requests:
            yield dg.SkipReason(why_not)

    return retry_unfinished


def _today(
    context: dg.SensorEvaluationContext, audience: Audience, registry: Registry
) -> tuple[list[dg.RunRequest], str]:
    """The runs to start for today's lists, or the reason why there are none."""
    home, settings = audience.home, audience.settings
    day, moment = settings.day(), datetime.now(timezone.utc)
    due = due_since(settings.cron, moment)
    if moment < due:
        return [], f"The lists of {day} are due at {due:%Y-%m-%d %H:%M} (UTC)."
    left = days.not_stored(home, registry, day)
    if not left:
        return [], _finished(context, audience, registry)
    if schedule_is_stopped(context.instance, audience, location_of(context)):
        return [], "The daily schedule is switched off, so nothing is retried."
    records = day_runs(context.instance, day, audience, location_of(context))
    registered = audience.handles.registered(context.instance)
    cancelled = handles_cancelled(records, registered)
    left = {key: stored for key, stored in left.items() if key.handle not in cancelled}
    if not left:
        return [], f"The last run of {day} was cancelled. Start it again to read its lists."
    attempt, at = _next_try(context, audience, day, records, due)
    if at is None:
        return [], f"A run is reading the lists of {day}."
    if moment < at:
        return [], (
            f"{counted(len(left), 'list')} of {day} not stored; the next retry is at "
            f"{at:%H:%M:%S} (UTC)."
        )
    # Checked last, because it reads the landed pages, which may be many.
    unfinished = days.worth_a_try(home, settings, registry, left)
    if not unfinished:
        return [], _finished(context, audience, registry)
    unfinished = [key for key in unfinished if key.handle in registered]
    if not unfinished:
        return [], "The handles with unfinished lists have no partitions yet."
    _note_failures(context.instance, audience, registry, records, registered, unfinished)
    lists = [(key.handle, key.relation) for key in unfinished]
    requests = list(requests_for(audience, day, lists, registered, registry, again=str(attempt)))
    if len(requests) > SEPARATE_RUNS:
        handles = set(registered) - cancelled
        lists = [
            (key.handle, key.relation) for key in registry.lists_due(day) if key.handle in handles
        ]
        requests = list(
            requests_for(audience, day, lists, registered, registry, again=str(attempt))
        )
    return requests, ""


def _finished(context: dg.SensorEvaluationContext, audience: Audience, registry: Registry) -> str:
    day = audience.settings.day()
    problem = days.tell_heartbeat(audience.home, audience.settings, registry, day)
    if problem:
        context.log.warning(
            f"The call to SF_ASSETS_HEARTBEAT_URL failed ({problem}); it will be retried."
        )
    return f"All lists due on {day} are finished."


def _late(
    context: dg.SensorEvaluationContext, audience: Audience, registry: Registry
) -> list[dg.RunRequest]:
    """Runs that load landed pages of earlier days. They buy nothing."""
    registered = audience.handles.registered(context.instance)
    landed: dict[date, list[SnapshotKey]] = {}
    for key in days.landed_not_loaded(audience.home, audience.settings):
        if key.handle in registered and key.day >= audience.grid.start:
            landed.setdefault(key.day, []).append(key)
    requests: list[dg.RunRequest] = []
    for day, keys in landed.items():
        records = day_runs(context.instance, day, audience, location_of(context))
        attempt, at = _next_try(context, audience, day, records, None)
        if at is None or datetime.now(timezone.utc) < at:
            continue
        for relation in RELATIONS:
            # One run per relation: a list without landed pages would fail the run.
            lists = [(key.handle, relation) for key in keys if key.relation == relation]
            again = f"{LATE}{attempt}"
            requests += requests_for(
                audience, day, lists, registered, registry, again=again, due_only=False
            )
    return requests


def _note_yesterday(
    context: dg.SensorEvaluationContext, audience: Audience, registry: Registry
) -> None:
    """Note the failures of runs that were killed shortly before midnight."""
    yesterday = audience.settings.day() - timedelta(days=1)
    left = days.not_stored(audience.home, registry, yesterday)
    if left:
        registered = audience.handles.registered(context.instance)
        records = day_runs(context.instance, yesterday, audience, location_of(context))
        _note_failures(context.instance, audience, registry, records, registered, left)


def _next_try(
    context: dg.SensorEvaluationContext,
    audience: Audience,
    day: date,
    records: Sequence[dg.RunRecord],
    due: datetime | None,
) -> tuple[int, datetime | None]:
    """The number of the next retry of a day and its time; None while a run of the day is active.

    `due` is the time since which today's lists are due, None for a day that is over.
    """
    location = location_of(context)
    if any(day_of(run) == day for run in in_progress(context.instance, audience, location)):
        return 0, None
    prefix, longest = ("", LONGEST_PAUSE) if due else (LATE, LONGEST_PAUSE_LATE)
    tags = [record.dagster_run.tags.get(AGAIN_TAG, "") for record in records]
    numbers = [tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix)]
    attempt = 1 + max((int(number) for number in numbers if number.isdigit()), default=0)
    ended = [aware(record.update_timestamp) for record in records]
    since = max(ended, default=due or datetime.min.replace(tzinfo=timezone.utc))
    return attempt, since + pause_before(attempt, longest)


def _note_failures(
    instance: dg.DagsterInstance,
    audience: Audience,
    registry: Registry,
    records: Sequence[dg.RunRecord],
    registered: Sequence[str],
    unfinished: Collection[SnapshotKey],
) -> None:
    """Note the failures of runs that could not note them, such as killed ones."""
    noted = {note.run_id for note in days.notes(audience.home)}
    for record in records:
        run = record.dagster_run
        if run.status is dg.DagsterRunStatus.FAILURE and run.run_id not in noted:
            held = handles_held(run, registered)
            lists = [key for key in unfinished if key.handle in held]
            why = dict.fromkeys(lists, why_failed(instance, run.run_id))
            days.note(audience.home, "failed", run.run_id, why, registry)


def schedule_is_stopped(
    instance: dg.DagsterInstance, audience: Audience, location: str | None
) -> bool:
    """Whether the daily schedule is off: switched off, or never switched on."""
    for state in instance.all_instigator_state():
        where = state.origin.repository_origin.code_location_origin.location_name
        if (state.name, where) == (audience.named(SCHEDULE), location) and (
            state.status.value in ("RUNNING", "STOPPED")
        ):
            return bool(state.status.value == "STOPPED")
    return audience.automation != "running"
