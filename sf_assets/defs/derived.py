"""The derived assets, partitioned by day: churn, growth and status changes.

One operation derives all of them from the loaded snapshots, set-based and in one transaction. A
late day changes later days too, so the run also reports their partitions. The module of each asset
makes its metadata.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from datetime import date, datetime, timedelta, timezone

import dagster as dg
import duckdb

from sf_assets.defs import churn, growth, status_changes
from sf_assets.defs.audience import Audience, keys_by_table
from sf_assets.defs.checks import CHECKS_OPERATION, evaluations
from sf_assets.defs.prune import prune_runs, remove_old_files
from sf_assets.defs.runs import location_of_run
from sf_assets.defs.sources import SOCIAL_FETCH_API
from sf_assets.defs.specs import Describe, Metadata, materialized
from sf_assets.errors import SfAssetsError
from sf_assets.handles.parse import registry_in_force
from sf_assets.handles.settings import Retention
from sf_assets.people.expire import expire_profiles
from sf_assets.text import counted, first_line
from sf_assets.warehouse.compact import compact
from sf_assets.warehouse.connection import StillHeld, always_held, committed, locked
from sf_assets.warehouse.derive import derive
from sf_assets.warehouse.handles import record_annotations, record_handles
from sf_assets.warehouse.lake import maintain
from sf_assets.warehouse.pack import pack
from sf_assets.warehouse.publish import publish
from sf_assets.warehouse.rewrite import finish_broken_off

# Asset -> function that returns the metadata of some days, from the warehouse.
DESCRIBE: dict[str, Describe] = {
    **churn.DESCRIBE,
    **growth.DESCRIBE,
    **status_changes.DESCRIBE,
}


# Packing the archive of an older version takes a while: progress is logged this often.
PROGRESS_SECONDS = 10.0
# Packing blocks loads. After this time the rest is left to the next run.
PACK_SECONDS = 300.0


def build_derived(audience: Audience) -> dg.AssetsDefinition:
    """Build the derived assets, partitioned by day."""

    @dg.multi_asset(
        name=audience.named("derived"),
        specs=[
            *churn.specs(audience),
            *growth.specs(audience),
            *status_changes.specs(audience),
        ],
        partitions_def=audience.grid.days,
        can_subset=True,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=audience.named("derive"),
    )
    def derived(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation | dg.MaterializeResult[None]]:
        audience.home.ensure(audience.settings)
        keys = keys_by_table(context.assets_def.specs)
        tables = {key: table for table, key in keys.items()}
        requested = {date.fromisoformat(key) for key in context.partition_keys}
        metadata_of: dict[dg.AssetKey, dict[date, Metadata]] = {}
        done = None
        expired = 0
        try:
            finish_broken_off(audience.home)
            with audience.deriving() as (con, still_held):
                tracked, _ = registry_in_force(audience.home.registry)
                today = audience.settings.day()
                committed(con, "derive", lambda: record_handles(con, tracked, today))
                notes = audience.home.annotations
                problem = committed(con, "derive", lambda: record_annotations(con, notes))
                if problem is not None:
                    context.log.warning(problem)
                done = derive(con, audience.home.archive)
                context.log.info(
                    f"Compared {counted(done.snapshots, 'snapshot')} of "
                    f"{counted(len(done.handles), 'handle')}"
                    + (f", replayed {counted(done.replayed, 'list')}" if done.replayed else "")
                    + "."
                )
                late = {day for day in done.all_days() if day >= audience.grid.start}
                measures = _api_day(con, max(requested | late))
                for key in sorted(context.selected_asset_keys):
                    metadata_of[key] = dict(DESCRIBE[tables[key]](con, sorted(requested | late)))
                days = tracked.retention.profiles_days
                expired = _expire(context, audience, con, days, still_held)
        finally:
            # Publish the derived tables even if making the metadata failed.
            if done is not None:
                _publish(context, audience, fresh_copy=expired > 0)
                _pack(context, audience)
        _prune(context, audience, tracked.retention)
        if measures:
            api = audience.key(SOCIAL_FETCH_API)
            text = f"Measures of the API's responses on {max(requested | late)}."
            context.log_event(dg.AssetObservation(api, description=text, metadata=measures))
        for key, of_day in metadata_of.items():
            for day, metadata in of_day.items():
                if day not in requested:
                    yield dg.AssetMaterialization(key, partition=day.isoformat(), metadata=metadata)
        yield from _checked(context, audience, keys)
        for key, of_day in metadata_of.items():
            yield materialized(context, key, {day.isoformat(): of_day[day] for day in requested})

    return derived


def _expire(
    context: dg.AssetExecutionContext,
    audience: Audience,
    con: duckdb.DuckDBPyConnection,
    days: int | None,
    still_held: StillHeld,
) -> int:
    """Remove expired profiles. A failure here does not fail the run: the next run tries again."""
    if days is None:
        return 0
    try:
        expired = expire_profiles(audience.home, con, audience.settings.day(), days, still_held)
    except (OSError, SfAssetsError, duckdb.Error) as error:
        context.log.warning(f"Profiles older than {days} days are kept: {first_line(error)}")
        return 0
    if expired:
        accounts = counted(expired, "account")
        context.log.info(f"Removed the profiles of {accounts} that left all lists {days} days ago.")
    return expired


def _api_day(con: duckdb.DuckDBPyConnection, day: date) -> dict[str, float]:
    """The measures of the API's responses on a day. The UI plots them over time."""
    rows = con.execute("FROM main.api_days WHERE snapshot_date = ?", [day])
    names = [name for name, *_ in rows.description]
    return {
        name: float(value)
        for row in rows.fetchall()
        for name, value in zip(names, row, strict=True)
        if name != "snapshot_date" and value is not None
    }


def _pack(context: dg.AssetExecutionContext, audience: Audience) -> None:
    """Pack the archive. A failure here does not fail the run: unpacked files are read as well."""
    begun = time.monotonic()

    def log_progress(done: int, files: int) -> None:
        nonlocal begun
        still_held()
        if time.monotonic() - begun > PROGRESS_SECONDS:
            begun = time.monotonic()
            context.log.info(f"Packed {done} of {files} archive files.")

    home = audience.home
    shared = home.lake is not None
    try:
        alone = home.far or not shared
        lock = locked(home.writer, audience.wait_seconds) if alone else nullcontext(always_held)
        with lock as still_held:
            made = pack(home.archive, log_progress, shared=shared, seconds=PACK_SECONDS)
    except (OSError, SfAssetsError, duckdb.Error) as error:
        context.log.warning(f"The archive is not packed: {error}")
        return
    for problem in made.left:
        context.log.warning(problem)
    if made.waiting:
        context.log.info(f"Later runs will pack {counted(made.waiting, 'more archive file')}.")


def _publish(context: dg.AssetExecutionContext, audience: Audience, *, fresh_copy: bool) -> None:
    """Publish. With `fresh_copy` the file is rewritten first, so that no removed data is left."""
    home = audience.home
    try:
        if home.lake is None:
            compact(home.warehouse, anyway=fresh_copy)
        publish(home)
        if home.lake is not None:
            with audience.writing() as con:
                maintain(con)
    except (SfAssetsError, duckdb.Error) as error:
        context.log.warning(str(error))


def _prune(context: dg.AssetExecutionContext, audience: Audience, retention: Retention) -> None:
    """Remove old runs and files. A failure here does not fail the run."""
    now, days = datetime.now(timezone.utc), retention.runs_days
    location = location_of_run(context.run)
    try:
        ours = audience.loaded_in(context.repository_def) if location else audience
        runs = prune_runs(context.instance, ours, location, now - timedelta(days=days))
        files = remove_old_files(audience, now - timedelta(days=retention.old_files_days))
    except Exception as error:
        context.log.warning(f"Old runs and files are kept for now: {error}")
        return
    if runs or files:
        context.log.info(f"Removed {counted(runs, 'old run')} and {counted(files, 'old file')}.")


def _checked(
    context: dg.AssetExecutionContext, audience: Audience, keys: Mapping[str, dg.AssetKey]
) -> list[dg.AssetCheckEvaluation]:
    """The checks as events of this run; none if the job has a step for them. A check that raises
    does not fail the run."""
    if context.job_def.has_node_named(audience.named(CHECKS_OPERATION)):
        return []
    try:
        results = evaluations(audience, keys)
    except Exception as error:
        context.log.warning(f"The checks did not run: {error}")
        return []
    for result in results:
        if not result.passed:
            context.log.warning(
                f"{result.asset_key.path[-1]}, {result.check_name}: {result.description}"
            )
    return results
