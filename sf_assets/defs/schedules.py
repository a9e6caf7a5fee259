"""The daily schedule: a few runs per day, each over a chunk of the tracked handles."""

from collections.abc import Collection, Iterator, Sequence
from datetime import date

import dagster as dg

from sf_assets.defs.audience import Audience, snapshot_keys
from sf_assets.defs.jobs import AGAIN_TAG, chunk_tags
from sf_assets.defs.partitions import handle_ranges
from sf_assets.defs.runs import as_loaded
from sf_assets.handles.parse import registry_in_force
from sf_assets.handles.settings import Registry
from sf_assets.model import RELATIONS, Relation

# Handles per run. A crash affects at most this many, and a thousand handles take four runs.
CHUNK = 250
SCHEDULE = "daily"


def build_daily_schedule(
    audience: Audience, job: "dg.UnresolvedAssetJobDefinition"
) -> dg.ScheduleDefinition:
    """Build the schedule that reads the lists in handles.yaml at SF_ASSETS_CRON (UTC)."""
    settings = audience.settings

    def daily(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        registry, problem = registry_in_force(audience.home.registry)
        if problem is not None:
            context.log.warning(problem)
        if not registry.handles:
            yield dg.SkipReason(problem or "No handle is tracked: run `sf-assets track HANDLE`.")
            return
        registered = audience.handles.register(context.instance, registry.handles)
        # The API knows only the current lists, so a late tick reads today's as well.
        requests = list(day_requests(as_loaded(audience, context), registered, registry))
        yield from requests
        if not requests:
            yield dg.SkipReason(f"handles.yaml has no list that is due on {settings.day():%A}s.")

    return dg.schedule(
        name=audience.named(SCHEDULE),
        job=job,
        cron_schedule=settings.cron,
        execution_timezone="UTC",
        default_status=audience.default_schedule_status,
        description="Reads the lists of every tracked handle once a day.",
    )(daily)


def day_requests(
    audience: Audience, registered: Sequence[str], registry: Registry
) -> Iterator[dg.RunRequest]:
    """Today's runs over the tracked handles with a due list; other partitions are left out."""
    day = audience.settings.day()
    there = set(registered)
    due = [(key.handle, key.relation) for key in registry.lists_due(day) if key.handle in there]
    return requests_for(audience, day, due, registered, registry)


def requests_for(
    audience: Audience,
    day: date,
    lists: Collection[tuple[str, Relation]],
    registered: Sequence[str],
    registry: Registry,
    *,
    again: str = "",
    due_only: bool = True,
) -> Iterator[dg.RunRequest]:
    """Runs over the handles of these lists, each over a chunk of neighbours.

    `again` names a retry of the day; it is empty for the scheduled run.
    """
    handles = {handle for handle, _ in lists}
    chunks = handle_ranges(registered, handles, CHUNK)
    keys = snapshot_keys(audience.keys)
    name = f"{day}/again-{again}" if again else f"{day}"
    for chunk, tags in zip(chunks, chunk_tags(day, chunks, registry), strict=True):
        covered = set(chunk.handles)
        relations = {relation for handle, relation in lists if handle in covered}
        suffix = "" if len(relations) == len(RELATIONS) else f"/{'-'.join(sorted(relations))}"
        yield dg.RunRequest(
            run_key=f"{name}/{chunk.first}..{chunk.last}/{chunk.size}{suffix}",
            tags={**tags, **audience.tags, **({AGAIN_TAG: again} if again else {})},
            run_config={"ops": {audience.named("snapshots"): {"config": {"due_only": due_only}}}},
            asset_selection=[keys[relation] for relation in RELATIONS if relation in relations],
            # None would select all checks of these assets, which run after the derivation instead.
            asset_check_keys=[],
        )
