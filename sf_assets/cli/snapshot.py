"""Running the assets from the command line: the same jobs as the daemon's, in this process."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click
import duckdb

from sf_assets.cli.exit_codes import FINE, REFUSED, SOME_FAILED
from sf_assets.cli.runner import Runner, dagster_instance, failure_of
from sf_assets.cli.tables import print_json, print_table, snapshots_of
from sf_assets.errors import SettingsError
from sf_assets.handles.parse import registry_in_force
from sf_assets.model import Relation, SnapshotKey
from sf_assets.settings import Settings
from sf_assets.storage.home import Home
from sf_assets.text import counted

if TYPE_CHECKING:
    import dagster as dg

_REASONS_SHOWN = 20


def reasons_of(result: dg.ExecuteInProcessResult) -> list[str]:
    """Why a failed run failed, one line a list that did not finish."""
    said, refused = failure_of(result)
    for event in result.all_events:
        failure = event.step_failure_data if event.is_step_failure else None
        if failure is not None and failure.user_failure_data is not None:
            value = getattr(failure.user_failure_data.metadata.get("reasons"), "data", None)
            reasons = [str(reason) for reason in value] if isinstance(value, list) else []
            # Where the vendor refused us, all lists say the same.
            shown = reasons[: 1 if refused else _REASONS_SHOWN]
            left = len(reasons) - len(shown)
            more = [f"the same for {counted(left, 'more list')}"] if refused else []
            more = more or [f"and {counted(left, 'more list')}; see the run in the Dagster UI"]
            return (shown + more if left else shown) or [said]
    return [said]


@dataclass(frozen=True)
class Manner:
    """How much `sf-assets snapshot` says, and in which form."""

    verbose: bool = False
    quiet: bool = False
    as_json: bool = False


def run_snapshot(
    settings: Settings,
    home: Home,
    handles: list[str],
    relations: list[Relation],
    *,
    refresh: bool,
    manner: Manner,
    due_only: bool = False,
) -> int:
    """Snapshot, derive, show what there is now; returns the exit code."""
    from sf_assets.cli.progress import reading_progress

    day, start = settings.day(), home.start_date(settings)
    if day < start:
        raise SettingsError(
            f"{day} lies before the first day of this home, {start}; set SF_ASSETS_START_DATE to "
            "an earlier day, or SF_ASSETS_TODAY to a later one"
        )
    began = time.monotonic()
    registry, _ = registry_in_force(home.registry)
    keys = [
        SnapshotKey(day, handle, relation)
        for handle in handles
        for relation in relations
        if relation in registry.settings_of(handle).relations
        and (not due_only or registry.due(handle, relation, day))
    ]
    with dagster_instance(home, verbose=manner.verbose) as instance:
        runner = Runner(instance, settings, verbose=manner.verbose)
        with contextlib.nullcontext() if manner.quiet else reading_progress():
            results = runner.snapshot(day, handles, relations, refresh=refresh, due_only=due_only)
        pages, credits = runner.bought(results)
        derived = runner.derive(day, day)
    failed = [result for result in [*results, derived] if not result.success]
    try:
        columns, rows = snapshots_of(home, day, handles, relations)
    except duckdb.Error:
        if not failed:
            raise
        columns, rows = [], []  # why they failed says more
    if not manner.quiet and not manner.as_json:
        print_table(columns, rows)
    code = FINE
    problems: list[str] = []
    for result in failed:
        # What keeps the day from being loaded keeps it from being derived: it is said once.
        problems += [
            one for one in reasons_of(result) if not any(one in other for other in problems)
        ]
        code = REFUSED if failure_of(result)[1] or code == REFUSED else SOME_FAILED
    for reason in problems:
        click.echo(f"sf-assets: {reason}", err=True)
    if code == FINE and len(rows) < len(keys):
        # No failure: what our own caps leave no page for waits for the next day.
        click.echo(
            f"sf-assets: {counted(len(keys) - len(rows), 'list')} got no page: what may be spent "
            "today is spent. Raise SF_ASSETS_DAILY_CREDITS or the handle's daily_credits, then "
            "run the day again",
            err=True,
        )
    seconds = time.monotonic() - began
    if manner.as_json:
        print_json(
            {
                "day": day,
                "lists": [dict(zip(columns, row, strict=True)) for row in rows],
                "lists_asked_for": len(keys),
                "pages_bought": pages,
                "credits": credits,
                "seconds": round(seconds, 1),
                "problems": problems,
                "exit_code": code,
            }
        )
    elif not manner.quiet:
        click.echo(
            f"{day}: {len(rows)} of {counted(len(keys), 'list')} stored; "
            f"{counted(pages, 'page')} bought, {counted(credits, 'credit')}, {seconds:.1f} seconds"
        )
    return code
