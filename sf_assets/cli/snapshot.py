"""`sf-assets snapshot`: runs the jobs that the daemon runs, in this process."""

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
class ListsToRead:
    """Which lists to read; `due_only` leaves out lists that are not due today."""

    handles: Sequence[str]
    relations: Sequence[Relation]
    refresh: bool = False
    due_only: bool = False


@dataclass(frozen=True)
class OutputOptions:
    """How much to print, and in which format."""

    verbose: bool = False
    quiet: bool = False
    as_json: bool = False


def reasons_of(failed: Failed) -> list[str]:
    """Why a run failed: one line per list that did not finish."""
    # If the API rejected the key, all lists have the same reason.
    shown = list(failed.reasons[: 1 if failed.refused else _REASONS_SHOWN])
    left = counted(len(failed.reasons) - len(shown), "more list")
    if len(shown) == len(failed.reasons):
        return shown or [failed.message]
    if failed.refused:
        return [*shown, f"the same for {left}"]
    return [*shown, f"and {left}; open the run in the Dagster UI"]


def judge(failures: Sequence[Failed]) -> tuple[list[str], int]:
    """The problems of failed runs, and the exit code."""
    problems: list[str] = []
    for failed in failures:
        # One cause can fail both the load and the derivation; show it once.
        problems += [
            reason
            for reason in reasons_of(failed)
            if not any(reason in problem for problem in problems)
        ]
    if any(failed.refused for failed in failures):
        return problems, REFUSED
    return problems, SOME_FAILED if failures else FINE


def run_snapshot(settings: Settings, home: Home, wanted: ListsToRead, output: OutputOptions) -> int:
    """Take the snapshots, derive, and print the day's lists. Returns the exit code.

    Raises SettingsError if the day is before the first day of the home.
    """
    from sf_assets.cli.progress import reading_progress

    began = time.monotonic()
    day = _day(settings, home)
    registry, _ = registry_in_force(home.registry)
    handles, relations, due_only = wanted.handles, wanted.relations, wanted.due_only
    asked_for = registry.lists_of(handles, relations, day, due_only=due_only)
    with dagster_instance(home, verbose=output.verbose) as instance:
        runner = Runner(instance, settings, verbose=output.verbose)
        # The imports made 100,000 objects that stay; keep the collector from scanning them.
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
        columns, rows = [], []  # the problems explain it
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
            f"{day} is before {start}, the first day of this home; set SF_ASSETS_START_DATE to an "
            "earlier day, or SF_ASSETS_TODAY to a later one"
        )
    return day


def _show(answer: dict[str, Any], output: OutputOptions) -> None:
    for problem in answer["problems"]:
        click.echo(f"sf-assets: {problem}", err=True)
    stored, asked_for = len(answer["lists"]), answer["lists_asked_for"]
    if answer["exit_code"] == FINE and stored < asked_for:
        # Not a failure: lists beyond our own caps wait for the next day.
        click.echo(
            f"sf-assets: {counted(asked_for - stored, 'list')} not read: the credit cap of the day "
            "is reached. Raise SF_ASSETS_DAILY_CREDITS or the handle's daily_credits, then run "
            "the command again",
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
