"""Jobs: the day's snapshots, what is derived of them, an alert."""

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

# How long a delivery waits for another one of the same home.
DELIVERY_SECONDS = 300.0

# Tags by which runs are found; dagster.yaml allows one run at a time with either of the first two.
ALERT_TAG = "sf_assets/alert"
DERIVE_TAG = "sf_assets/derive"
HANDLE_TAG = "sf_assets/handle"
CHUNK_TAG = "sf_assets/chunk"
KIND_TAG = "sf_assets/kind"
# Of another try of the same day: the number of the try.
AGAIN_TAG = "sf_assets/again"


def snapshots_job(audience: Audience) -> "dg.UnresolvedAssetJobDefinition":
    """Reads lists; the checks look at whole days, and run at the end of the derivation."""
    return dg.define_asset_job(
        audience.named(SNAPSHOTS_JOB),
        selection=_made_by(audience, "snapshots"),
        description="Reads the lists of a day's handles, one process for a whole chunk of them.",
        executor_def=dg.in_process_executor,
    )


def derive_job(audience: Audience) -> "dg.UnresolvedAssetJobDefinition":
    """Derives what is loaded."""
    return dg.define_asset_job(
        audience.named(DERIVE_JOB),
        selection=_made_by(audience, "derived"),
        description="Brings churn, growth and status changes up to the loaded snapshots; checks "
        "them.",
        executor_def=dg.in_process_executor,
    )


def _made_by(audience: Audience, operation: str) -> dg.AssetSelection:
    # By tag: a key may be changed by whoever takes these definitions into their own.
    return dg.AssetSelection.tag(MADE_BY_TAG, audience.named(operation)).without_checks()


def chunk_tags(
    day: date, chunks: Sequence[HandleRange], registry: Registry
) -> list[dict[str, str]]:
    """The tags of each run over a day's chunks: which partitions, and by what it is found."""
    return [
        {
            **chunk.tags(day),
            DAY_TAG: day.isoformat(),
            CHUNK_TAG: f"{place} of {len(chunks)}: "
            + (chunk.first if chunk.size == 1 else f"{chunk.first} to {chunk.last}, {chunk.size}"),
            **({HANDLE_TAG: chunk.first} if chunk.size == 1 else {}),
            **{_tag_key(tag): "true" for tag in registry.tags_of(chunk.handles)},
        }
        for place, chunk in enumerate(chunks, start=1)
    ]


def _tag_key(tag: str) -> str:
    """One key a tag, so that a run over many handles is found by each of theirs."""
    return f"sf_assets.tag/{re.sub(r'[^A-Za-z0-9_.-]', '_', tag)[:63] or '_'}"


def derive_tags(first: date, last: date, marker: str) -> dict[str, str]:
    """The tags of a run that reports the days from `first` to `last`, found by the last one."""
    return {
        "dagster/asset_partition_range_start": first.isoformat(),
        "dagster/asset_partition_range_end": last.isoformat(),
        DAY_TAG: last.isoformat(),
        DERIVE_TAG: marker,
    }


class AlertConfig(dg.Config):
    """Which news to tell."""

    change_id: str = Field(
        description="Which alert: a change_id of status_changes, or what its run is called by"
    )


def alert_job(audience: Audience) -> dg.JobDefinition:
    """Tells an alert."""

    @dg.op(
        name=audience.named("post_alert"),
        description="Posts an alert to every address in SF_ASSETS_ALERT_URLS.",
        retry_policy=dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL),
    )
    def post_alert(context: dg.OpExecutionContext, config: AlertConfig) -> None:
        context.add_output_metadata(deliver_alerts(config.change_id, audience, context.log.info))

    @dg.job(
        name=audience.named(ALERT_JOB),
        description="Tells that a profile turned private, hid a list, disappeared or came back, "
        "and what else SF_ASSETS_ALERTS names.",
        executor_def=dg.in_process_executor,
    )
    def deliver_alert() -> None:
        post_alert()

    return deliver_alert


def deliver_alerts(
    change_id: str, audience: Audience, log: Callable[[str], None]
) -> dict[str, dg.MetadataValue]:
    """Sends the alert unless it went out before, and what is older before it: news stay in order.

    Raises DeliveryFailed, which is retried.
    """
    settings, home = audience.settings, audience.home
    from sf_assets import alerts  # all that draws and sends, which no other run needs

    found = alerts.find_all(home, settings)
    alert = next((one for one in found if change_id in (one.run_name, *one.change_ids)), None)
    if alert is None:
        log(f"{change_id} is no change any more: its day was read again")
        return {}
    # One at a time, also beside a second daemon: two would tell the same.
    with locked(home.deliveries, DELIVERY_SECONDS):
        waiting = alerts.undelivered(found, alerts.delivered(home))
        last = [at for at, one in enumerate(waiting) if one.run_name == alert.run_name]
        # Told already, perhaps by a run that was killed right after: never twice.
        if not last:
            log(f"{change_id} has been told before")
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
