"""What is derived of the snapshots, by day: churn, growth, status changes.

One operation brings all of it up to what is loaded, set-based and in one transaction; a late day
changes later ones too, so their partitions are reported as well. What each asset says of a day is
in its own module.
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
from sf_assets.warehouse.connection import committed, locked
from sf_assets.warehouse.derive import derive
from sf_assets.warehouse.handles import record_annotations, record_handles
from sf_assets.warehouse.lake import maintain
from sf_assets.warehouse.pack import pack
from sf_assets.warehouse.publish import publish
from sf_assets.warehouse.rewrite import finish_broken_off

# What an asset says of days: their metadata, from the warehouse.
DESCRIBE: dict[str, Describe] = {
    **churn.DESCRIBE,
    **growth.DESCRIBE,
    **status_changes.DESCRIBE,
}


# A home of an older version is packed once, which takes a while: so often it is said how far it is.
SAY_SECONDS = 10.0
# Nobody loads meanwhile; what is left is packed by the next run.
PACK_SECONDS = 300.0


def build_derived(audience: Audience) -> dg.AssetsDefinition:
    """The derived assets on the days of the grid."""

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
        asked = {date.fromisoformat(key) for key in context.partition_keys}
        said: dict[dg.AssetKey, dict[date, Metadata]] = {}
        done = None
        expired = 0
        try:
            finish_broken_off(audience.home)
            with audience.deriving() as con:
                tracked, _ = registry_in_force(audience.home.registry)
                today = audience.settings.day()
                committed(con, "derive", lambda: record_handles(con, tracked, today))
                notes = audience.home.annotations
                wrong = committed(con, "derive", lambda: record_annotations(con, notes))
                if wrong is not None:
                    context.log.warning(wrong)
                done = derive(con, audience.home.archive)
                context.log.info(
                    f"compared {counted(done.snapshots, 'snapshot')} of "
                    f"{counted(len(done.handles), 'handle')}"
                    + (f", {counted(done.replayed, 'list')} replayed" if done.replayed else "")
                )
                late = {day for day in done.all_days() if day >= audience.grid.start}
                measures = _api_day(con, max(asked | late))
                for key in sorted(context.selected_asset_keys):
                    said[key] = dict(DESCRIBE[tables[key]](con, sorted(asked | late)))
                expired = _expire(context, audience, con, tracked.retention.profiles_days)
        finally:
            # What is derived is for people to see, also where describing it for the UI went wrong.
            if done is not None:
                _publish(context, audience, anew=expired > 0)
                _pack(context, audience)
        _prune(context, audience, tracked.retention)
        if measures:
            api = audience.key(SOCIAL_FETCH_API)
            text = f"What the API's answers of {max(asked | late)} were like."
            context.log_event(dg.AssetObservation(api, description=text, metadata=measures))
        for key, of_day in said.items():
            for day, metadata in of_day.items():
                if day not in asked:
                    yield dg.AssetMaterialization(key, partition=day.isoformat(), metadata=metadata)
        yield from _checked(context, audience, keys)
        for key, of_day in said.items():
            yield materialized(context, key, {day.isoformat(): of_day[day] for day in asked})

    return derived


def _expire(
    context: dg.AssetExecutionContext,
    audience: Audience,
    con: duckdb.DuckDBPyConnection,
    days: int | None,
) -> int:
    """Take out profiles that are kept no longer. Nothing here fails a run: the next one does it."""
    if days is None:
        return 0
    try:
        expired = expire_profiles(audience.home, con, audience.settings.day(), days)
    except (OSError, SfAssetsError, duckdb.Error) as error:
        context.log.warning(f"profiles of more than {days} days ago stay: {first_line(error)}")
        return 0
    if expired:
        what = counted(expired, "account")
        context.log.info(f"removed the profiles of {what} that left all lists {days} days ago")
    return expired


def _api_day(con: duckdb.DuckDBPyConnection, day: date) -> dict[str, float]:
    """What the API's answers of a day were like; the UI plots it over time."""
    rows = con.execute("FROM main.api_days WHERE snapshot_date = ?", [day])
    names = [name for name, *_ in rows.description]
    return {
        name: float(value)
        for row in rows.fetchall()
        for name, value in zip(names, row, strict=True)
        if name != "snapshot_date" and value is not None
    }


def _pack(context: dg.AssetExecutionContext, audience: Audience) -> None:
    """Make the archive small. Nothing here fails a run: what is not packed is read as it is."""
    begun = time.monotonic()

    def tell(done: int, files: int) -> None:
        nonlocal begun
        if time.monotonic() - begun > SAY_SECONDS:
            begun = time.monotonic()
            context.log.info(f"{done} of {files} files of the archive are packed")

    home = audience.home
    shared = home.lake is not None
    try:
        alone = home.far or not shared
        with locked(home.writer, audience.wait_seconds) if alone else nullcontext():
            made = pack(home.archive, tell, shared=shared, seconds=PACK_SECONDS)
    except (OSError, SfAssetsError, duckdb.Error) as error:
        context.log.warning(f"the archive is not packed: {error}")
        return
    for problem in made.left:
        context.log.warning(problem)
    if made.waiting:
        context.log.info(f"{counted(made.waiting, 'file')} of the archive are packed by later runs")


def _publish(context: dg.AssetExecutionContext, audience: Audience, *, anew: bool) -> None:
    """Publish, `anew` from a copy in which nothing is left of what was removed."""
    home = audience.home
    try:
        if home.lake is None:
            compact(home.warehouse, anyway=anew)
        publish(home)
        if home.lake is not None:
            with audience.writing() as con:
                maintain(con)
    except (SfAssetsError, duckdb.Error) as error:
        context.log.warning(str(error))


def _prune(context: dg.AssetExecutionContext, audience: Audience, retention: Retention) -> None:
    """Remove the runs and files that were over so many days ago; fails no derivation."""
    now, days = datetime.now(timezone.utc), retention.runs_days
    location = location_of_run(context.run)
    try:
        ours = audience.loaded_in(context.repository_def) if location else audience
        runs = prune_runs(context.instance, ours, location, now - timedelta(days=days))
        files = remove_old_files(audience, now - timedelta(days=retention.old_files_days))
    except Exception as error:
        context.log.warning(f"old runs and files are kept for now: {error}")
        return
    if runs or files:
        what = f"{counted(runs, 'run')} and {counted(files, 'old file')}"
        context.log.info(f"removed {what} that were too old to keep")


def _checked(
    context: dg.AssetExecutionContext, audience: Audience, keys: Mapping[str, dg.AssetKey]
) -> list[dg.AssetCheckEvaluation]:
    """The checks as events of this run, which looks at whole days; where they have a step of their
    own, that says it. A check that breaks fails no derivation."""
    if context.job_def.has_node_named(audience.named(CHECKS_OPERATION)):
        return []
    try:
        found = evaluations(audience, keys)
    except Exception as error:
        context.log.warning(f"the checks did not run: {error}")
        return []
    for one in found:
        if not one.passed:
            context.log.warning(f"{one.asset_key.path[-1]}, {one.check_name}: {one.description}")
    return found
