"""The Dagster definitions of one home, for its own code location or another project's."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from sf_assets.defs import sources
from sf_assets.defs.audience import Audience, Automation
from sf_assets.defs.checks import build_checks
from sf_assets.defs.derived import build_derived
from sf_assets.defs.jobs import alert_job, derive_job, snapshots_job
from sf_assets.defs.schedules import build_daily_schedule
from sf_assets.defs.sensors import alert_sensor, derivation_sensor, registry_sensor
from sf_assets.defs.snapshots import build_snapshots
from sf_assets.defs.tries import days_sensor
from sf_assets.settings import Settings


def build_definitions(
    settings: Settings,
    *,
    name: str = "sf_assets",
    key_prefix: str | Sequence[str] = (),
    automation: Automation = "stopped",
) -> dg.Definitions:
    """Build the assets, checks, jobs, schedule and sensors of the home in `settings`.

    Merge them into your own (`dg.Definitions.merge`), once per home. `name` is the prefix of jobs,
    sensors and operations (`client_a_daily_snapshots`), `key_prefix` that of the asset keys. With
    both, several homes fit into one code location and one Dagster instance.

    `automation`: "stopped" defines the schedule and sensors and leaves them off until somebody
    switches them on in the UI, "running" starts them as soon as the code location is loaded,
    "none" leaves them out.

    Reads the home's marker and writes nothing. Raises SettingsError for a name, a prefix or an
    `automation` that Dagster does not accept, and for a home made by a newer version.
    """
    parts = [key_prefix] if isinstance(key_prefix, str) and key_prefix else key_prefix
    prefix = tuple(parts)
    return definitions_of(Audience(settings, name, prefix, automation))


def definitions_of(audience: Audience) -> dg.Definitions:
    """Build the definitions of the home of `audience`."""
    snapshots, derive, alert = snapshots_job(audience), derive_job(audience), alert_job(audience)
    automatic = audience.automation != "none"
    return dg.Definitions(
        assets=[*sources.specs(audience), build_snapshots(audience), build_derived(audience)],
        asset_checks=[build_checks(audience)],
        jobs=[snapshots, derive, alert],
        schedules=[build_daily_schedule(audience, snapshots)] if automatic else [],
        sensors=[
            registry_sensor(audience),
            days_sensor(audience, snapshots),
            derivation_sensor(audience, derive),
            alert_sensor(audience, alert),
        ]
        if automatic
        else [],
    )
