"""Jobs: the day's snapshots, what is derived of them, an alert."""

import dagster as dg
from pydantic import Field

from sf_assets import alerts
from sf_assets.assets.snapshots import ASSET_OF
from sf_assets.home import Home
from sf_assets.settings import RELATIONS, load_settings
from sf_assets.warehouse.connection import locked, reading

SNAPSHOTS_JOB = "daily_snapshots"
DERIVE_JOB = "derive"
ALERT_JOB = "deliver_alert"

# How long a delivery waits for another one of the same home.
DELIVERY_SECONDS = 300.0

# Tags by which runs are found, and which dagster.yaml allows one at a time.
ALERT_TAG = "sf_assets/alert"
DERIVE_TAG = "sf_assets/derive"
DAY_TAG = "sf_assets/day"

snapshots_job = dg.define_asset_job(
    SNAPSHOTS_JOB,
    # The checks look at whole days: they run at the end of the derivation, not of each chunk.
    selection=dg.AssetSelection.assets(
        *(ASSET_OF[relation] for relation in RELATIONS)
    ).without_checks(),
    description="Reads the lists of a day's handles, one process for a whole chunk of them.",
    executor_def=dg.in_process_executor,
)

derive_job = dg.define_asset_job(
    DERIVE_JOB,
    selection=dg.AssetSelection.assets(
        "follower_churn", "following_churn", "follower_growth", "status_changes"
    ).without_checks(),
    description="Brings churn, growth and status changes up to the loaded snapshots; checks them.",
    executor_def=dg.in_process_executor,
)


class AlertConfig(dg.Config):
    """Which status change to tell."""

    change_id: str = Field(description="change_id of a row of status_changes")


@dg.op(
    description="Posts one status change to every address in SF_ASSETS_ALERT_URLS.",
    retry_policy=dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL),
)
def post_alert(context: dg.OpExecutionContext, config: AlertConfig) -> None:
    """Sends the alert unless it went out before, and what is older before it: news stay in order.

    Raises DeliveryFailed, which is retried.
    """
    settings = load_settings()
    home = Home.of(settings)
    with reading(home.readable) as con:
        found = alerts.alerts(con)
    alert = next((one for one in found if config.change_id in one.change_ids), None)
    if alert is None:
        context.log.info(f"{config.change_id} is no change any more: its day was read again")
        return
    # One at a time, also beside a second daemon: two would tell the same.
    with locked(home.deliveries, DELIVERY_SECONDS):
        waiting = alerts.undelivered(found, alerts.delivered(home))
        # Told already, perhaps by a run that was killed right after: never twice.
        if alert not in waiting:
            context.log.info(f"{config.change_id} has been told before")
            return
        news = waiting[: waiting.index(alert) + 1]
        for message in alerts.messages(news):
            context.log.info(f"{message.title}. {message.body}")
        addresses = alerts.deliver(home, news, settings)
    context.add_output_metadata(
        {
            "title": dg.MetadataValue.text(alerts.title(alert)),
            "handle": dg.MetadataValue.text(alert.handle),
            "to_status": dg.MetadataValue.text(alert.to_status),
            "addresses": dg.MetadataValue.int(addresses),
            "changes": dg.MetadataValue.int(len(news)),
        }
    )


@dg.job(
    name=ALERT_JOB,
    description="Tells that a profile turned private, hid a list, disappeared or came back.",
    executor_def=dg.in_process_executor,
)
def alert_job() -> None:
    post_alert()
