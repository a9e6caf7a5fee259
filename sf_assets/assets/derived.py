"""What is derived of the snapshots, by day: churn, growth, status changes.

One operation brings all of it up to what is loaded, set-based and in one transaction; a late day
changes later ones too, so their partitions are reported as well. What each asset says of a day is
in its own module.
"""

from collections.abc import Iterator
from datetime import date

import dagster as dg
import duckdb

from sf_assets.assets import churn, growth, status
from sf_assets.home import Home
from sf_assets.partitions import Grid
from sf_assets.resources import Warehouse
from sf_assets.settings import load_settings
from sf_assets.warehouse.derive import derive
from sf_assets.warehouse.publish import PublishFailed, publish

# What an asset says of one day: its metadata, from the warehouse.
DESCRIBE = {
    **churn.DESCRIBE,
    **growth.DESCRIBE,
    **status.DESCRIBE,
}


def build_derived(grid: Grid) -> dg.AssetsDefinition:
    """The derived assets on the days of the grid."""

    @dg.multi_asset(
        name="derived",
        specs=[*churn.SPECS, *growth.SPECS, *status.SPECS],
        partitions_def=grid.days,
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def derived(
        context: dg.AssetExecutionContext, warehouse: Warehouse
    ) -> Iterator[dg.AssetMaterialization]:
        settings = load_settings()
        home = Home(settings.home).ensure(settings)
        with warehouse.get_connection() as con:
            done = derive(con, home.archive)
            context.log.info(
                f"compared {done.snapshots} snapshots of {len(done.handles)} handles"
                + (f", {done.replayed} lists replayed" if done.replayed else "")
            )
            asked = {date.fromisoformat(key) for key in context.partition_keys}
            reported = sorted(asked | {day for day in done.all_days() if day >= grid.start})
            events = [
                _event(con, asset, day)
                for asset in (key.path[-1] for key in sorted(context.selected_asset_keys))
                for day in reported
            ]
        try:
            publish(home)
        except PublishFailed as error:
            context.log.warning(str(error))
        yield from events

    return derived


def _event(con: duckdb.DuckDBPyConnection, asset: str, day: date) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        asset, partition=day.isoformat(), metadata=DESCRIBE[asset](con, day)
    )
