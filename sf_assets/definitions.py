"""Everything Dagster sees, on one page.

handles.yaml -> partitions (date x handle)
Social Fetch -> landing -> follower_snapshots, following_snapshots    once a day, in chunks
             -> churn, growth, status changes -> alerts      whenever something has landed
"""

import os

import dagster as dg

from sf_assets.defs import checks
from sf_assets.defs import sources as external
from sf_assets.defs.derived import build_derived
from sf_assets.defs.jobs import alert_job, derive_job, snapshots_job
from sf_assets.defs.partitions import Grid
from sf_assets.defs.resources import Warehouse
from sf_assets.defs.schedules import build_daily_schedule
from sf_assets.defs.sensors import build_sensors
from sf_assets.defs.snapshots import build_snapshots
from sf_assets.settings import Settings, load_settings
from sf_assets.storage.home import Home


def build_definitions(settings: Settings) -> dg.Definitions:
    """The code location of one home. Reads its marker, writes nothing.

    Raises SettingsError where the home was made by a newer version.
    """
    home = Home.of(settings)
    grid = Grid(home.start_date(settings), settings.today)
    return dg.Definitions(
        assets=[*external.SPECS, build_snapshots(grid), build_derived(grid)],
        asset_checks=[checks.checks],
        jobs=[snapshots_job, derive_job, alert_job],
        schedules=[build_daily_schedule(settings, home)],
        sensors=build_sensors(home, grid.start),
        resources={"warehouse": Warehouse(database=str(home.writable))},
        # A run is one process: its lists are read concurrently inside it.
        executor=dg.in_process_executor,
    )


# Lists of people: what a run writes, Dagster's own files too, is for this user's eyes, whoever
# started it. The command line does the same.
os.umask(0o077)

defs = build_definitions(load_settings())
