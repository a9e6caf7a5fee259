"""The Dagster component: a home's definitions out of a `defs.yaml`."""

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
    """Daily snapshots of who follows tracked TikTok handles; growth, churn and alerts from them.

    One component is one home, with its own `handles.yaml`, database and key of the vendor. Give
    each a `name` and a `key_prefix` where there are several.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    home: str = Field(description="The folder with handles.yaml, everything fetched, the database.")
    name: str = Field("sf_assets", description="Stands before the names of jobs and sensors.")
    key_prefix: list[str] = Field([], description="Stands before the keys of the assets.")
    automation: Automation = Field(
        "stopped",
        description="Schedule and sensors: stopped until switched on in the UI, running, or none.",
    )
    api_key: str | None = Field(
        None,
        repr=False,
        description="The vendor's key; better from a variable: '{{ env.CLIENT_A_KEY }}'.",
    )
    api_key_file: str | None = Field(None, description="A file that holds the key.")
    base_url: str | None = Field(None, description="The API, or a simulator on this machine.")
    warehouse: str | None = Field(
        None, repr=False, description="ducklake:postgres:<dsn>; unset, a file."
    )
    storage: str | None = Field(None, description="s3://bucket/prefix, beside such a warehouse.")
    landing_sync: str | None = Field(
        None, description="page or batch: how many pages are put on S3 at once; page if unset."
    )
    group_read: bool = Field(False, description="Lets the home's group read the published file.")
    start_date: str | None = Field(None, description="First day of the partitions, YYYY-MM-DD.")
    grid_days: int | None = Field(None, description="So many days of partitions at most.")
    cron: str | None = Field(None, description="When the day is read, in UTC; 0 6 * * * if unset.")
    concurrency: int | None = Field(None, description="Requests at a time.")
    daily_credits: int | None = Field(None, description="The most that a day may cost.")
    alert_urls: list[str] = Field(
        [], repr=False, description="Where alerts go, as Apprise takes them."
    )
    alerts: list[str] | None = Field(None, description="Kinds of alerts: status, failed, churn, …")
    weekly: str | None = Field(None, description="Weekday and hour of the alert weekly: mon 8.")
    heartbeat_url: str | None = Field(
        None, repr=False, description="Called when a day is complete."
    )
    ui_url: str | None = Field(None, description="The Dagster UI, linked in alerts.")
    ui_hosts: list[str] = Field([], description="Host names under which `sf-assets up` is reached.")
    today: str | None = Field(None, description="A pretended day, with a simulator only.")

    @property
    def settings(self) -> Settings:
        """The settings of the home. Raises SettingsError naming attributes that are wrong."""
        told: Mapping[str, Any] = self.model_dump(exclude_none=True, exclude=set(_OWN))
        try:
            return Settings.model_validate(told)
        except ValidationError as error:
            raise SettingsError("; ".join(map(sentence, error.errors()))) from None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The definitions; see `sf_assets.build_definitions`."""
        return build_definitions(
            self.settings, name=self.name, key_prefix=self.key_prefix, automation=self.automation
        )
