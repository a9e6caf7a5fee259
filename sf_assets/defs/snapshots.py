"""`follower_snapshots` and `following_snapshots`: one list of one handle on one UTC day.

A run reads all lists of its partitions concurrently, loads finished lists in batches meanwhile, and
materializes each handle separately: a handle that fails does not fail the others.
"""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from sf_assets.defs.audience import Audience, keys_by_table, snapshot_keys
from sf_assets.defs.snapshot_run import SnapshotConfig, SnapshotRun
from sf_assets.defs.sources import HANDLE_REGISTRY, SOCIAL_FETCH_API
from sf_assets.defs.specs import Metadata, materialized, table_spec
from sf_assets.model import ASSET_OF, RELATIONS, Relation


def build_snapshots(audience: Audience) -> dg.AssetsDefinition:
    """Build both snapshot assets, partitioned by day and handle."""

    @dg.multi_asset(
        name=audience.named("snapshots"),
        specs=[
            table_spec(
                audience,
                ASSET_OF[relation],
                made_by="snapshots",
                partition_expr={"date": "snapshot_date", "handle": "handle"},
                deps=[HANDLE_REGISTRY, SOCIAL_FETCH_API],
                description=_DESCRIPTION[relation],
                example=(
                    "SELECT handle, snapshot_date, listed, reported_total, completeness\n"
                    f"FROM {ASSET_OF[relation]} ORDER BY snapshot_date DESC"
                ),
                group="snapshots",
                kinds={"tiktok", "duckdb", "python"},
                code=["defs/snapshot_run.py", "ingest/reader.py", "warehouse/load.py"],
                # For the whole asset: any handle makes it fresh. The check `fresh` looks at each
                # handle.
                freshness_policy=dg.FreshnessPolicy.time_window(
                    warn_window=timedelta(hours=26), fail_window=timedelta(hours=36)
                ),
            )
            for relation in RELATIONS
        ],
        partitions_def=audience.grid.cells,
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=250),
    )
    def snapshots(
        context: dg.AssetExecutionContext, config: SnapshotConfig
    ) -> Iterator[dg.AssetMaterialization | dg.MaterializeResult[None]]:
        audience.home.ensure(audience.settings)
        keys = snapshot_keys(keys_by_table(context.assets_def.specs))
        selected = {
            relation: key for relation, key in keys.items() if key in context.selected_asset_keys
        }
        # Downstream assets in this run need outputs, which come at its end. Otherwise each list is
        # reported as soon as it is loaded.
        outputs = len(context.job_def.nodes) > 1 or len(context.partition_keys) == 1
        run = SnapshotRun(context, config, audience, selected, report_ready=outputs)
        yield from _as_outputs(context, run) if outputs else run.materialize()

    return snapshots


def _as_outputs(
    context: dg.AssetExecutionContext, run: SnapshotRun
) -> Iterator[dg.AssetMaterialization | dg.MaterializeResult[None]]:
    """Yield outputs for assets with all partitions finished, and plain events for the others.

    A run that fails logs plain events only.
    """
    metadata_of: dict[dg.AssetKey, dict[str, Metadata]] = {
        key: {} for key in run.asset_keys.values()
    }
    events = []
    try:
        for event in run.materialize():
            events.append(event)
            metadata_of[event.asset_key][event.partition or ""] = event.metadata
    except BaseException:
        for event in events:
            context.log_event(event)
        raise
    finished = {
        key
        for key, of_partition in metadata_of.items()
        if of_partition.keys() == set(context.partition_keys)
    }
    yield from (event for event in events if event.asset_key not in finished)
    for key in sorted(finished):
        yield materialized(context, key, metadata_of[key])


_DESCRIPTION: dict[Relation, str] = {
    "followers": (
        "The follower list of one tracked handle on one UTC day, read from Social Fetch page by "
        "page (one credit per page) and loaded into DuckDB. `followers_on(handle, day)` returns "
        "its accounts."
    ),
    "following": (
        "The following list of one tracked handle on one UTC day, read from Social Fetch page by "
        "page (one credit per page) and loaded into DuckDB. `following_on(handle, day)` returns "
        "its accounts."
    ),
}
