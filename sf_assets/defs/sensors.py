"""The sensors: the registry becomes partitions, what is loaded gets derived, changes get told.

They read files and the published database, never the warehouse, so they wait for nobody. A sensor
that asks for a run which then fails asks again, later and later.
"""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import dagster as dg

from sf_assets.defs.audience import Audience
from sf_assets.defs.dead_runs import fail_dead_runs
from sf_assets.defs.jobs import ALERT_TAG, DERIVE_TAG, HANDLE_TAG, KIND_TAG, derive_tags
from sf_assets.defs.runs import (
    DAY_TAG,
    IN_PROGRESS,
    as_loaded,
    aware,
    handles_held,
    in_progress,
    location_of,
)
from sf_assets.defs.tries import interval
from sf_assets.handles.parse import registry_in_force
from sf_assets.text import counted
from sf_assets.warehouse.connection import reading
from sf_assets.warehouse.statements import sql


def registry_sensor(audience: Audience) -> dg.SensorDefinition:
    """Keeps the partitions equal to the registry."""

    @dg.sensor(
        name=audience.named("registry"),
        minimum_interval_seconds=interval(),
        default_status=audience.default_sensor_status,
        description="Keeps the handle partitions equal to handles.yaml.",
    )
    def registry(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        location, ours = location_of(context), as_loaded(audience, context)
        for run_id in fail_dead_runs(context.instance, ours, location):
            context.log.warning(f"run {run_id} was killed; it no longer counts as in progress")
        partitions = audience.handles.registered(context.instance)
        registered = set(partitions)
        # A failed read must never look like an empty list: the partitions then stay as they are.
        current, wrong = registry_in_force(audience.home.registry)
        if wrong is not None or not current.has_list:
            why = wrong or "no handle is tracked yet: `sf-assets track HANDLE`"
            return dg.SkipReason(f"{why}; {counted(len(registered), 'partition')} as before")
        tracked = current.handles
        known = set(json.loads(context.cursor)) if context.cursor else set()
        new = [handle for handle in tracked if handle not in registered]
        # Only what was in the file and is taken out leaves; what others registered stays.
        gone = sorted((known - tracked.keys()) & registered)
        # Deleting a key while a run holds it loses the run's end.
        runs = in_progress(context.instance, ours, location) if gone else []
        held = {handle for run in runs for handle in handles_held(run, partitions)} & set(gone)
        if held:
            context.log.info(f"{', '.join(sorted(held))}: removed when no run holds it any more")
            gone = [handle for handle in gone if handle not in held]
        cursor = json.dumps(sorted(tracked.keys() | held))
        if not new and not gone:
            context.update_cursor(cursor)
            return dg.SkipReason(f"{counted(len(tracked), 'handle')}, unchanged")
        partitions_def = audience.handles.definition
        requests: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = []
        if new:
            requests.append(partitions_def.build_add_request(new))
        if gone:
            requests.append(partitions_def.build_delete_request(gone))
        return dg.SensorResult(dynamic_partitions_requests=requests, cursor=cursor)

    return registry


def derivation_sensor(
    audience: Audience, job: "dg.UnresolvedAssetJobDefinition"
) -> dg.SensorDefinition:
    """Asks for a derivation whenever snapshots wait for one."""
    home, start = audience.home, audience.grid.start

    @dg.sensor(
        name=audience.named("derivation"),
        job=job,
        minimum_interval_seconds=interval(),
        default_status=audience.default_sensor_status,
        description="Derives churn, growth and status whenever snapshots of a day have landed.",
    )
    def derivation(
        context: dg.SensorEvaluationContext,
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        try:
            with reading(home.readable) as con:
                first, last, marker = con.execute(sql("pending_days")).fetchall()[0]
        except FileNotFoundError:
            yield dg.SkipReason("nothing is loaded yet")
            return
        if first is None:
            yield dg.SkipReason("everything that is loaded is derived")
            return
        attempt = _next_attempt(context.instance, audience, DERIVE_TAG, marker)
        if attempt is None:
            yield dg.SkipReason(f"deriving {first} to {last} is under way or waits for a retry")
            return
        yield dg.RunRequest(
            run_key=f"derive/{marker}/{attempt}",
            tags={
                **audience.tags,
                **derive_tags(max(first, start), max(last, start), marker),
            },
        )

    return derivation


def alert_sensor(audience: Audience, job: dg.JobDefinition) -> dg.SensorDefinition:
    """Asks for the delivery of each alert, oldest first."""
    home = audience.home
    operation = audience.named("post_alert")

    @dg.sensor(
        name=audience.named("alerts"),
        job=job,
        minimum_interval_seconds=interval(),
        default_status=audience.default_sensor_status,
        description="Turns each change to private, hidden, not_found and back into an alert, and "
        "what else SF_ASSETS_ALERTS names.",
    )
    def alert(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        from sf_assets import alerts  # all that draws and sends, which no run of another job needs

        found = alerts.find_all(home, audience.settings)
        waiting = alerts.undelivered(found, alerts.delivered(home))
        if not waiting:
            yield dg.SkipReason("everything is told")
            return
        if len(waiting) > alerts.DIGEST_ABOVE:
            # One run tells all of them; it is asked for again as its oldest one is.
            oldest, newest = waiting[0].run_name, waiting[-1].run_name
            attempt = _next_attempt(context.instance, audience, ALERT_TAG, oldest)
            if attempt is None:
                yield dg.SkipReason(f"{oldest} is under way or waits for a retry")
                return
            yield dg.RunRequest(
                run_key=f"{oldest}..{newest}#{attempt}",
                tags={
                    **audience.tags,
                    ALERT_TAG: oldest,
                    KIND_TAG: "digest",
                    DAY_TAG: waiting[-1].day.isoformat(),
                },
                run_config=dg.RunConfig(ops={operation: {"config": {"change_id": newest}}}),
            )
            return
        for number, one in enumerate(waiting):
            attempt = _next_attempt(context.instance, audience, ALERT_TAG, one.run_name)
            if attempt is None:
                # Oldest first: the later ones wait until this one is out. Dagster takes requests
                # or a reason from one tick, never both.
                if number == 0:
                    yield dg.SkipReason(f"{one.run_name} is under way or waits for a retry")
                return
            yield dg.RunRequest(
                run_key=one.run_name if attempt == 0 else f"{one.run_name}#{attempt}",
                tags={
                    **audience.tags,
                    ALERT_TAG: one.run_name,
                    KIND_TAG: one.kind,
                    DAY_TAG: one.day.isoformat(),
                    **({HANDLE_TAG: one.handle} if one.handle else {}),
                },
                run_config=dg.RunConfig(ops={operation: {"config": {"change_id": one.run_name}}}),
            )

    return alert


def _next_attempt(
    instance: dg.DagsterInstance, audience: Audience, tag: str, value: str
) -> int | None:
    """0 where no run was asked for yet; the number of failed ones where it is time for another.

    None while one is in progress, or so soon after a failure (1, 2, 4 … 60 minutes).
    """
    ours = dg.RunsFilter(tags={tag: value, **audience.tags})
    records = instance.get_run_records(ours, limit=100)
    if not records:
        return 0
    if any(record.dagster_run.status in IN_PROGRESS for record in records):
        return None
    latest = max(record.update_timestamp for record in records)
    pause = timedelta(minutes=min(60, 2 ** (len(records) - 1)))
    return len(records) if datetime.now(timezone.utc) - aware(latest) >= pause else None
