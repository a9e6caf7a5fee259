"""The jobs: daily snapshots, derivation, delivery of an alert."""

import re
from collections.abc import Callable, Sequence
from datetime import date

import dagster as dg
from pydantic import Field

from sf_assets.defs.audience import (
    ALERT_JOB,
    DERIVE_JOB,
    MADE_BY_TAG,
    SNAPSHOTS_JOB,
    Audience,
)
from sf_assets.defs.partitions import HandleRange
from sf_assets.defs.runs import DAY_TAG
from sf_assets.handles.settings import Registry
from sf_assets.warehouse.connection import locked

# How long a delivery waits for another delivery of the same home.
DELIVERY_SECONDS = 300.0

# Run tags. dagster.yaml allows one run at a time for each of the first two.
ALERT_TAG = "sf_assets/alert"
DERIVE_TAG = "sf_assets/derive"
HANDLE_TAG = "sf_assets/handle"
CHUNK_TAG = "sf_assets/chunk"
KIND_TAG = "sf_assets/kind"
# The number of the retry of a day.
AGAIN_TAG = "sf_assets/again"


def snapshots_job(audience: Audience) -> "dg.UnresolvedAssetJobDefinition":
    """The job that reads lists. It has no checks: the derivation runs them for whole days."""
    return dg.define_asset_job(
        audience.named(SNAPSHOTS_JOB),
        selection=_made_by(audience, "snapshots"),
        description="Reads the lists of a chunk of handles on one day, in one process.",
        executor_def=dg.in_process_executor,
    )


def derive_job(audience: Audience) -> "dg.UnresolvedAssetJobDefinition":
    """The job that derives what is loaded."""
    return dg.define_asset_job(
        audience.named(DERIVE_JOB),
        selection=_made_by(audience, "derived"),
        description="Derives churn, growth and status changes from the loaded snapshots and runs "
        "the checks.",
        executor_def=dg.in_process_executor,
    )


def _made_by(audience: Audience, operation: str) -> dg.AssetSelection:
    # By tag, because a project that merges these definitions may change the keys.
    return dg.AssetSelection.tag(MADE_BY_TAG, audience.named(operation)).without_checks()


def chunk_tags(
    day: date, chunks: Sequence[HandleRange], registry: Registry
) -> list[dict[str, str]]:
    """The tags of each run over a day's chunks: its partitions, and tags to find it by."""
    return [
        {
            **chunk.tags(day),
            DAY_TAG: day.isoformat(),
            CHUNK_TAG: f"{number} of {len(chunks)}: "
            + (chunk.first if chunk.size == 1 else f"{chunk.first} to {chunk.last}, {chunk.size}"),
            **({HANDLE_TAG: chunk.first} if chunk.size == 1 else {}),
            **{_tag_key(tag): "true" for tag in registry.tags_of(chunk.handles)},
        }
        for number, chunk in enumerate(chunks, start=1)
    ]


def _tag_key(tag: str) -> str:
    """One key per handle tag, so that a run over many handles is found by each of them."""
    return f"sf_assets.tag/{re.sub(r'[^A-Za-z0-9_.-]', '_', tag)[:63] or '_'}"


def derive_tags(first: date, last: date, marker: str) -> dict[str, str]:
    """The tags of a run that derives the days from `first` to `last`."""
    return {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
        DAY_TAG: last.isoformat(),
        DERIVE_TAG: marker,
    }


class AlertConfig(dg.Config):
    """Which alert to deliver."""

    change_id: str = Field(
        description="The alert to deliver: a change_id of status_changes or the name of its run."
    )


def alert_job(audience: Audience) -> dg.JobDefinition:
    """The job that delivers an alert."""

    @dg.op(
        name=audience.named("post_alert"),
        description="Posts an alert to every address in SF_ASSETS_ALERT_URLS.",
        retry_policy=dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL),
    )
    def post_alert(context: dg.OpExecutionContext, config: AlertConfig) -> None:
        context.add_output_metadata(deliver_alerts(config.change_id, audience, context.log.info))

    @dg.job(
        name=audience.named(ALERT_JOB),
        description="Delivers an alert: a profile turned private, hid a list, disappeared or came "
        "back, or another kind that SF_ASSETS_ALERTS names.",
        executor_def=dg.in_process_executor,
    )
    def deliver_alert() -> None:
        post_alert()

    return deliver_alert


def deliver_alerts(
    change_id: str, audience: Audience, log: Callable[[str], None]
) -> dict[str, dg.MetadataValue]:
    """Send an alert once, after the older undelivered alerts, so that they arrive in order.

    Raises DeliveryFailed; the job then retries.
    """
    settings, home = audience.settings, audience.home
    from sf_assets import alerts  # heavy imports that other runs do not need

    current = alerts.find_all(home, settings)
    alert = next((each for each in current if change_id in (each.run_name, *each.change_ids)), None)
    if alert is None:
        log(f"{change_id} no longer exists, because its day was read again. Nothing was sent.")
        return {}
    # One delivery at a time, even with a second daemon, so that nothing is sent twice.
    with locked(home.deliveries, DELIVERY_SECONDS):
        waiting = alerts.undelivered(current, alerts.delivered(home))
        last = [at for at, one in enumerate(waiting) if one.run_name == alert.run_name]
        # Delivered before, perhaps by a run that was killed right after.
        if not last:
            log(f"{change_id} is already delivered.")
            return {}
        news = waiting[: last[0] + 1]
        for message in alerts.messages([one.without_names() for one in news], settings.ui_url):
            log(f"{message.title}. {message.body}")
        addresses = alerts.deliver(home, news, settings)
    return {
        "title": dg.MetadataValue.text(alerts.title(alert.without_names())),
        "kind": dg.MetadataValue.text(alert.kind),
        "handle": dg.MetadataValue.text(alert.handle or "all"),
        "since": dg.MetadataValue.text(str(alert.day)),
        "addresses": dg.MetadataValue.int(addresses),
        "alerts": dg.MetadataValue.int(len(news)),
    }
