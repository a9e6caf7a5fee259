"""Running the assets from the command line: the same jobs as the daemon's, in this process."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import click
import duckdb

from sf_assets.cli.exit_codes import FINE, REFUSED, SOME_FAILED
from sf_assets.cli.runner import Failed, Runner, dagster_instance, failure_of
from sf_assets.cli.tables import print_json, print_table, snapshots_of
from sf_assets.errors import SettingsError
from sf_assets.handles.parse import registry_in_force
from sf_assets.model import Relation
from sf_assets.settings import Settings
from sf_assets.storage.home import Home
from sf_assets.text import counted

_REASONS_SHOWN = 20


@dataclass(frozen=True)
class Wanted:
    """What `sf-assets snapshot` is asked for; `due_only` leaves out lists that are not due."""

    handles: Sequence[str]
    relations: Sequence[Relation]
    refresh: bool = False
    due_only: bool = False


@dataclass(frozen=True)
class OutputOptions:
    """How much `sf-assets snapshot` says, and in which form."""

    verbose: bool = False
    quiet: bool = False
    as_json: bool = False


def reasons_of(failed: Failed) -> list[str]:
    """Why a run failed, one line a list that did not finish."""
    # Where the vendor refused us, all lists say the same.
    shown = list(failed.reasons[: 1 if failed.refused else _REASONS_SHOWN])
    left = counted(len(failed.reasons) - len(shown), "more list")
    if len(shown) == len(failed.reasons):
        return shown or [failed.said]
    if failed.refused:
        return [*shown, f"the same for {left}"]
    return [*shown, f"and {left}; see the run in the Dagster UI"]


def judge(failures: Sequence[Failed]) -> tuple[list[str], int]:
    """What to say of the runs that failed, and the exit code."""
    problems: list[str] = []
    for failed in failures:
        # What keeps the day from being loaded keeps it from being derived: it is said once.
        problems += [
            one for one in reasons_of(failed) if not any(one in other for other in problems)
        ]
    if any(failed.refused for failed in failures):
        return problems, REFUSED
    return problems, SOME_FAILED if failures else FINE


def run_snapshot(settings: Settings, home: Home, wanted: Wanted, output: OutputOptions) -> int:
    """Snapshot, derive, show what there is now; returns the exit code."""
    from sf_assets.cli.progress import reading_progress

    began = time.monotonic()
    day = _day(settings, home)
    registry, _ = registry_in_force(home.registry)
    handles, relations, due_only = wanted.handles, wanted.relations, wanted.due_only
    asked_for = registry.lists_of(handles, relations, day, due_only=due_only)
    with dagster_instance(home, verbose=output.verbose) as instance:
        runner = Runner(instance, settings, verbose=output.verbose)
        # The hundred thousand objects of the imports stay, and are looked at no more.
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        gc.enable()
        with contextlib.nullcontext() if output.quiet else reading_progress():
            results = runner.snapshot(
                day, handles, relations, refresh=wanted.refresh, due_only=due_only
            )
        pages, credits = runner.bought(results)
        results.append(runner.derive(day, day))
    problems, code = judge([failure_of(result) for result in results if not result.success])
    try:
        columns, rows = snapshots_of(home, day, handles, relations)
    except duckdb.Error:
        if not problems:
            raise
        columns, rows = [], []  # why they failed says more
    answer = {
        "day": day,
        "lists": [dict(zip(columns, row, strict=True)) for row in rows],
        "lists_asked_for": len(asked_for),
        "pages_bought": pages,
        "credits": credits,
        "seconds": round(time.monotonic() - began, 1),
        "problems": problems,
        "exit_code": code,
    }
    if not output.quiet and not output.as_json:
        print_table(columns, rows)
    _show(answer, output)
    return code


def _day(settings: Settings, home: Home) -> date:
    day, start = settings.day(), home.start_date(settings)
    if day < start:
        raise SettingsError(
            f"{day} lies before the first day of this home, {start}; set SF_ASSETS_START_DATE to "
            "an earlier day, or SF_ASSETS_TODAY to a later one"
        )
    return day


def _show(answer: dict[str, Any], output: OutputOptions) -> None:
    for problem in answer["problems"]:
        click.echo(f"sf-assets: {problem}", err=True)
    stored, asked_for = len(answer["lists"]), answer["lists_asked_for"]
    if answer["exit_code"] == FINE and stored < asked_for:
        # No failure: what our own caps leave no page for waits for the next day.
        click.echo(
            f"sf-assets: {counted(asked_for - stored, 'list')} got no page: what may be spent "
            "today is spent. Raise SF_ASSETS_DAILY_CREDITS or the handle's daily_credits, then "
            "run the day again",
            err=True,
        )
    if output.as_json:
        print_json(answer)
    elif not output.quiet:
        pages, credits = (
            counted(answer["pages_bought"], "page"),
            counted(answer["credits"], "credit"),
        )
        click.echo(
            f"{answer['day']}: {stored} of {counted(asked_for, 'list')} stored; {pages} bought, "
            f"{credits}, {answer['seconds']:.1f} seconds"
        )
