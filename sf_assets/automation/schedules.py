"""The daily schedule: a few runs a day, each over a chunk of the tracked handles."""

from collections.abc import Iterator

import dagster as dg

from sf_assets.assets.specs import ASSET_OF
from sf_assets.automation.jobs import chunk_tags, snapshots_job
from sf_assets.home import Home
from sf_assets.partitions import handle_ranges, register_handles
from sf_assets.registry import Registry, registry_in_force
from sf_assets.settings import RELATIONS, Settings, SettingsError

# Handles a run: one crash or one bad handle spoils no more than these, and a thousand handles are
# four runs, not a thousand.
CHUNK = 250


def build_daily_schedule(settings: Settings, home: Home) -> dg.ScheduleDefinition:
    """Snapshots of what handles.yaml names, once a day at SF_ASSETS_CRON in UTC; on by default.

    Raises SettingsError for a cron expression that Dagster does not take.
    """

    def daily(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
        registry, wrong = registry_in_force(home.registry)
        if wrong is not None:
            context.log.warning(wrong)
        if not registry.handles:
            yield dg.SkipReason(wrong or "no handle is tracked yet: `sf-assets track HANDLE`")
            return
        registered = register_handles(context.instance, registry.handles)
        # The API knows only now: a tick that comes late still asks for today.
        requests = list(day_requests(settings, registered, registry))
        yield from requests
        if not requests:
            yield dg.SkipReason(f"no list is due on {settings.day():%A}s, says handles.yaml")

    decorate = dg.schedule(
        name="daily",
        job=snapshots_job,
        cron_schedule=settings.cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Snapshots every tracked handle once a day.",
    )
    try:
        return decorate(daily)
    except dg.DagsterInvalidDefinitionError:
        # Each field is right, yet no day is like that: the 31st of February.
        raise SettingsError(
            f"SF_ASSETS_CRON: {settings.cron!r} names a time that never comes; a daily one reads "
            "0 6 * * *"
        ) from None


def day_requests(
    settings: Settings, registered: list[str], registry: Registry
) -> Iterator[dg.RunRequest]:
    """Today's runs over the tracked handles that have a list due; other partitions are left out."""
    day = settings.day()
    due = {handle for handle, own in registry.handles.items() if own.due(day)}
    chunks = handle_ranges(registered, due, CHUNK)
    for chunk, tags in zip(chunks, chunk_tags(day, chunks), strict=True):
        at = registered.index(chunk.first)
        handles = registered[at : at + chunk.size]
        relations = {
            one for one in RELATIONS for handle in handles if registry.due(handle, one, day)
        }
        yield dg.RunRequest(
            run_key=f"{day}/{chunk.first}..{chunk.last}/{chunk.size}",
            tags=tags,
            run_config={"ops": {"snapshots": {"config": {"due_only": True}}}},
            asset_selection=[dg.AssetKey(ASSET_OF[one]) for one in RELATIONS if one in relations],
        )
