"""The daily schedule: a few runs a day, each over a chunk of the tracked handles."""

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

# Handles a run: one crash or one bad handle spoils no more than these, and a thousand handles are
# four runs, not a thousand.
CHUNK = 250
SCHEDULE = "daily"


def build_daily_schedule(
    audience: Audience, job: "dg.UnresolvedAssetJobDefinition"
) -> dg.ScheduleDefinition:
    """Snapshots of what handles.yaml names, once a day at SF_ASSETS_CRON in UTC."""
    settings = audience.settings

    def daily(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        registry, wrong = registry_in_force(audience.home.registry)
        if wrong is not None:
            context.log.warning(wrong)
        if not registry.handles:
            yield dg.SkipReason(wrong or "no handle is tracked yet: `sf-assets track HANDLE`")
            return
        registered = audience.handles.register(context.instance, registry.handles)
        # The API knows only now: a tick that comes late still asks for today.
        requests = list(day_requests(as_loaded(audience, context), registered, registry))
        yield from requests
        if not requests:
            yield dg.SkipReason(f"no list is due on {settings.day():%A}s, says handles.yaml")

    return dg.schedule(
        name=audience.named(SCHEDULE),
        job=job,
        cron_schedule=settings.cron,
        execution_timezone="UTC",
        default_status=audience.default_schedule_status,
        description="Snapshots every tracked handle once a day.",
    )(daily)


def day_requests(
    audience: Audience, registered: Sequence[str], registry: Registry
) -> Iterator[dg.RunRequest]:
    """Today's runs over the tracked handles that have a list due; other partitions are left out."""
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
    """Runs over the handles of these lists, a chunk of neighbours each.

    `again` names the try of the day, after the scheduled one.
    """
    handles = {handle for handle, _ in lists}
    chunks = handle_ranges(registered, handles, CHUNK)
    keys = snapshot_keys(audience.keys)
    name = f"{day}/again-{again}" if again else f"{day}"
    for chunk, tags in zip(chunks, chunk_tags(day, chunks, registry), strict=True):
        covered = set(chunk.handles)
        relations = {relation for handle, relation in lists if handle in covered}
        of = "" if len(relations) == len(RELATIONS) else f"/{'-'.join(sorted(relations))}"
        yield dg.RunRequest(
            run_key=f"{name}/{chunk.first}..{chunk.last}/{chunk.size}{of}",
            tags={**tags, **audience.tags, **({AGAIN_TAG: again} if again else {})},
            run_config={"ops": {audience.named("snapshots"): {"config": {"due_only": due_only}}}},
            asset_selection=[keys[one] for one in RELATIONS if one in relations],
            # None would be all checks of these assets, which then have nothing to look at.
            asset_check_keys=[],
        )
