"""The sensors that keep the partitions up to date, start derivations and deliver alerts.

They read files and the published database, never the warehouse, so they wait for no writer. If a
run that a sensor requested fails, the sensor requests it again after growing pauses.
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
    """The sensor that keeps the handle partitions equal to handles.yaml."""

    @dg.sensor(
        name=audience.named("registry"),
        minimum_interval_seconds=interval(),
        default_status=audience.default_sensor_status,
        description="Keeps the handle partitions equal to handles.yaml.",
    )
    def registry(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        location, ours = location_of(context), as_loaded(audience, context)
        for run_id in fail_dead_runs(context.instance, ours, location):
            context.log.warning(f"Run {run_id} was killed; it is now reported as failed.")
        partitions = audience.handles.registered(context.instance)
        registered = set(partitions)
        # A failed read must not look like an empty list, which would delete partitions.
        current, problem = registry_in_force(audience.home.registry)
        if problem is not None or not current.has_list:
            reason = problem or "No handle is tracked: run `sf-assets track HANDLE`"
            return dg.SkipReason(f"{reason}; {counted(len(registered), 'partition')} kept.")
        tracked = current.handles
        seen_before = set(json.loads(context.cursor)) if context.cursor else set()
        new = [handle for handle in tracked if handle not in registered]
        # Delete only handles that were removed from the file, not partitions that others added.
        removed = sorted((seen_before - tracked.keys()) & registered)
        # Deleting a key while a run holds it loses the run's end.
        runs = in_progress(context.instance, ours, location) if removed else []
        held = {handle for run in runs for handle in handles_held(run, partitions)} & set(removed)
        if held:
            names = ", ".join(sorted(held))
            context.log.info(f"The partition is in use and will be removed later: {names}.")
            removed = [handle for handle in removed if handle not in held]
        cursor = json.dumps(sorted(tracked.keys() | held))
        if not new and not removed:
            context.update_cursor(cursor)
            return dg.SkipReason(f"No change: {counted(len(tracked), 'handle')}.")
        partitions_def = audience.handles.definition
        requests: list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest] = []
        if new:
            requests.append(partitions_def.build_add_request(new))
        if removed:
            requests.append(partitions_def.build_delete_request(removed))
        return dg.SensorResult(dynamic_partitions_requests=requests, cursor=cursor)

    return registry


def derivation_sensor(
    audience: Audience, job: "dg.UnresolvedAssetJobDefinition"
) -> dg.SensorDefinition:
    """The sensor that starts a derivation when loaded snapshots are not derived yet."""
    home, start = audience.home, audience.grid.start

    @dg.sensor(
        name=audience.named("derivation"),
        job=job,
        minimum_interval_seconds=interval(),
        default_status=audience.default_sensor_status,
        description="Derives churn, growth and status changes when new snapshots are loaded.",
    )
    def derivation(
        context: dg.SensorEvaluationContext,
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        try:
            with reading(home.readable) as con:
                first, last, marker = con.execute(sql("pending_days")).fetchall()[0]
        except FileNotFoundError:
            yield dg.SkipReason("Nothing is loaded yet.")
            return
        if first is None:
            yield dg.SkipReason("All loaded snapshots are derived.")
            return
        attempt = _next_attempt(context.instance, audience, DERIVE_TAG, marker)
        if attempt is None:
            yield dg.SkipReason(f"Deriving {first} to {last} is in progress or waits for a retry.")
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
    """The sensor that starts the delivery of each alert, oldest first."""
    home = audience.home
    operation = audience.named("post_alert")

    @dg.sensor(
        name=audience.named("alerts"),
        job=job,
        minimum_interval_seconds=interval(),
        default_status=audience.default_sensor_status,
        description="Delivers an alert for each change to private, hidden or not_found and back, "
        "and for the other kinds in SF_ASSETS_ALERTS.",
    )
    def alert(context: dg.SensorEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        from sf_assets import alerts  # heavy imports that other jobs do not need

        found = alerts.find_all(home, audience.settings)
        waiting = alerts.undelivered(found, alerts.delivered(home))
        if not waiting:
            yield dg.SkipReason("No undelivered alerts.")
            return
        if len(waiting) > alerts.DIGEST_ABOVE:
            # One run delivers all of them. Its retries are counted for the oldest alert.
            oldest, newest = waiting[0].run_name, waiting[-1].run_name
            attempt = _next_attempt(context.instance, audience, ALERT_TAG, oldest)
            if attempt is None:
                yield dg.SkipReason(f"{oldest} is in progress or waits for a retry.")
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
                # Later alerts wait for this one. Dagster accepts either requests or a reason from
                # one tick, not both.
                if number == 0:
                    yield dg.SkipReason(f"{one.run_name} is in progress or waits for a retry.")
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
    """The number of runs with this tag that ended, if it is time for another one.

    None while a run is in progress and during the pause after a failure (1, 2, 4 … 60 minutes).
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
