"""`follower_snapshots` and `following_snapshots`: one relation of one handle on one UTC day.

One run reads all lists of its partitions at once, loads them in batches while others are still
being read, and materializes each handle by itself: a handle that fails does not fail the others.
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
    """Both snapshot assets on the grid."""

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
                # Of the asset as a whole: any handle of any day makes it fresh. The check `fresh`
                # looks at each handle.
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
        # Assets downstream in this run need outputs, and those come at its end; else each list is
        # told as soon as it is loaded.
        outputs = len(context.job_def.nodes) > 1 or len(context.partition_keys) == 1
        run = SnapshotRun(context, config, audience, selected, report_ready=outputs)
        yield from _as_outputs(context, run) if outputs else run.materialize()

    return snapshots


def _as_outputs(
    context: dg.AssetExecutionContext, run: SnapshotRun
) -> Iterator[dg.AssetMaterialization | dg.MaterializeResult[None]]:
    """The run's events as outputs of the assets of which every partition is there; those of the
    others, and of a run that fails, as they are."""
    said: dict[dg.AssetKey, dict[str, Metadata]] = {key: {} for key in run.asset_keys.values()}
    events = []
    try:
        for event in run.materialize():
            events.append(event)
            said[event.asset_key][event.partition or ""] = event.metadata
    except BaseException:
        for event in events:
            context.log_event(event)
        raise
    whole = {key for key, of in said.items() if of.keys() == set(context.partition_keys)}
    yield from (event for event in events if event.asset_key not in whole)
    for key in sorted(whole):
        yield materialized(context, key, said[key])


_DESCRIPTION: dict[Relation, str] = {
    "followers": (
        "The follower list of one tracked handle on one UTC day, read from Social Fetch page by "
        "page (a credit a page) and loaded into DuckDB. The accounts on it: "
        "`followers_on(handle, day)`."
    ),
    "following": (
        "Whom one tracked handle follows on one UTC day, read from Social Fetch page by page "
        "(a credit a page) and loaded into DuckDB. The accounts on it: "
        "`following_on(handle, day)`."
    ),
}
