"""What is derived of the snapshots, by day: churn, growth, status changes.

One operation brings all of it up to what is loaded, set-based and in one transaction; a late day
changes later ones too, so their partitions are reported as well. What each asset says of a day is
in its own module.
"""

from collections.abc import Iterator
from datetime import date

import dagster as dg
import duckdb

from sf_assets.defs import (
    checks,
    churn,
    growth,
)
from sf_assets.defs import (
    status_changes as status,
)
from sf_assets.defs.partitions import Grid
from sf_assets.defs.resources import Warehouse
from sf_assets.defs.specs import Describe
from sf_assets.errors import SfAssetsError
from sf_assets.handles.parse import registry_in_force
from sf_assets.settings import Settings, load_settings
from sf_assets.storage.home import Home
from sf_assets.text import counted
from sf_assets.warehouse.compact import compact
from sf_assets.warehouse.connection import committed
from sf_assets.warehouse.derive import derive
from sf_assets.warehouse.handles import record_handles
from sf_assets.warehouse.lake import tend
from sf_assets.warehouse.publish import publish

# What an asset says of days: their metadata, from the warehouse.
DESCRIBE: dict[str, Describe] = {
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
    ) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
        settings = load_settings()
        home = Home.of(settings).ensure(settings)
        done = None
        try:
            with warehouse.get_connection() as con:
                tracked, _ = registry_in_force(home.registry)
                committed(con, "derive", lambda: record_handles(con, tracked, settings.day()))
                done = derive(con, home.archive)
                context.log.info(
                    f"compared {counted(done.snapshots, 'snapshot')} of "
                    f"{counted(len(done.handles), 'handle')}"
                    + (f", {counted(done.replayed, 'list')} replayed" if done.replayed else "")
                )
                asked = {date.fromisoformat(key) for key in context.partition_keys}
                reported = sorted(asked | {day for day in done.all_days() if day >= grid.start})
                events = [
                    dg.AssetMaterialization(asset, partition=day.isoformat(), metadata=said)
                    for asset in (key.path[-1] for key in sorted(context.selected_asset_keys))
                    for day, said in DESCRIBE[asset](con, reported).items()
                ]
        finally:
            # What is derived is for people to see, also where describing it for the UI went wrong.
            if done is not None:
                _publish(context, home, warehouse)
        yield from events
        yield from _checked(context, home, settings)

    return derived


def _publish(context: dg.AssetExecutionContext, home: Home, warehouse: Warehouse) -> None:
    try:
        if home.lake is None:
            compact(home.warehouse)
        publish(home)
        if home.lake is not None:
            with warehouse.get_connection() as con:
                tend(con)
    except (SfAssetsError, duckdb.Error) as error:
        context.log.warning(str(error))


def _checked(
    context: dg.AssetExecutionContext, home: Home, settings: Settings
) -> list[dg.AssetCheckEvaluation]:
    """The checks as events of this run: Dagster skips a check's own step here, because the assets
    above report partitions and return no outputs. A check that breaks fails no derivation."""
    try:
        found = checks.evaluations(home, settings)
    except Exception as error:
        context.log.warning(f"the checks did not run: {error}")
        return []
    for one in found:
        if not one.passed:
            context.log.warning(f"{one.asset_key.path[-1]}, {one.check_name}: {one.description}")
    return found
