"""The Dagster component: the definitions of a home from a `defs.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import ConfigDict, Field, ValidationError

from sf_assets.defs.audience import Automation
from sf_assets.defs.build import build_definitions
from sf_assets.errors import SettingsError
from sf_assets.settings import Settings, sentence

_OWN = ("name", "key_prefix", "automation")


class AudienceComponent(dg.Component, dg.Model, dg.Resolvable):
    """Daily snapshots of who follows tracked TikTok handles, with growth, churn and alerts.

    One component is one home, with its own `handles.yaml`, database and API key. If there are
    several, give each a `name` and a `key_prefix`.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    home: str = Field(description="Folder for handles.yaml, fetched data and the database.")
    name: str = Field("sf_assets", description="Prefix of the names of jobs and sensors.")
    key_prefix: list[str] = Field([], description="Prefix of the asset keys.")
    automation: Automation = Field(
        "stopped",
        description="Schedule and sensors: stopped (start them in the UI), running, or none.",
    )
    api_key: str | None = Field(
        None,
        repr=False,
        description="API key; best taken from a variable: '{{ env.CLIENT_A_KEY }}'.",
    )
    api_key_file: str | None = Field(None, description="File that contains the API key.")
    base_url: str | None = Field(
        None, description="URL of the API, or of a simulator on this machine."
    )
    warehouse: str | None = Field(
        None, repr=False, description="ducklake:postgres:<dsn>. Default: a DuckDB file."
    )
    storage: str | None = Field(None, description="s3://bucket/prefix, for such a warehouse.")
    handles: str | None = Field(
        None, description="Path or s3:// address of handles.yaml; in the home by default."
    )
    landing_sync: str | None = Field(
        None, description="When pages are written to S3: page (each one, default) or batch."
    )
    group_read: bool = Field(
        False, description="Let the group of the home read the published file."
    )
    start_date: str | None = Field(None, description="First day of the partitions, as YYYY-MM-DD.")
    grid_days: int | None = Field(None, description="Maximum number of days of partitions.")
    cron: str | None = Field(None, description="When to read each day, in UTC. Default: 0 6 * * *.")
    concurrency: int | None = Field(None, description="Maximum number of concurrent requests.")
    daily_credits: int | None = Field(None, description="Maximum number of credits per day.")
    alert_urls: list[str] = Field([], repr=False, description="Apprise URLs to send alerts to.")
    alerts: list[str] | None = Field(
        None, description="Kinds of alerts to send: status, failed, churn, …"
    )
    weekly: str | None = Field(
        None, description="Weekday and hour (UTC) of the weekly alert, such as mon 8."
    )
    heartbeat_url: str | None = Field(
        None, repr=False, description="URL to call when a day is complete."
    )
    ui_url: str | None = Field(None, description="URL of the Dagster UI, for links in alerts.")
    ui_hosts: list[str] = Field(
        [], description="Host names under which the UI of `sf-assets up` is reached."
    )
    today: str | None = Field(
        None, description="Day to use instead of today, with a simulator only."
    )

    @property
    def settings(self) -> Settings:
        """The settings of the home. Raises SettingsError that names invalid attributes."""
        values: Mapping[str, Any] = self.model_dump(exclude_none=True, exclude=set(_OWN))
        try:
            return Settings.model_validate(values)
        except ValidationError as error:
            raise SettingsError("; ".join(map(sentence, error.errors()))) from None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The definitions of the home; see `sf_assets.build_definitions`."""
        return build_definitions(
            self.settings, name=self.name, key_prefix=self.key_prefix, automation=self.automation
        )
