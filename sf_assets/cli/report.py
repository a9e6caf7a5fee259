"""`sf-assets report`: write the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

import click

from sf_assets.cli.common import not_published
from sf_assets.cli.tables import print_json
from sf_assets.errors import SettingsError
from sf_assets.handles.parse import registry_in_force
from sf_assets.handles.settings import normalise_handle
from sf_assets.ingest import days as days_of
from sf_assets.report import gather, render
from sf_assets.settings import Settings
from sf_assets.storage.home import Home
from sf_assets.text import counted
from sf_assets.warehouse.connection import reading


def run_report(
    settings: Settings,
    home: Home,
    handles: Sequence[str],
    tags: Sequence[str],
    days: int,
    output: Path,
    *,
    quiet: bool = False,
    as_json: bool = False,
) -> None:
    """Write the report of `handles` and of those with one of `tags`; of all where none is named.

    Raises SettingsError where nothing is published, a handle has no snapshot in these days, or the
    file cannot be written.
    """
    registry = registry_in_force(home.registry)[0]
    named = [normalise_handle(handle) for handle in handles]
    wanted = [*named, *(registry.tagged(tags) if tags else ())]
    try:
        with reading(home.readable) as con:
            report = gather(con, wanted or None, days)
    except FileNotFoundError:
        raise not_published(home) from None
    missing = sorted(set(named) - {handle.name for handle in report.handles})
    if missing:
        raise SettingsError(
            f"{', '.join(missing)}: no snapshot in the {counted(days, 'day')} up to "
            f"{report.days[-1]}; " + _closest(home, missing[0])
        )
    gaps = days_of.missing_days(home, settings, registry)
    shown = {handle.name for handle in report.handles}
    gaps = [gap for gap in gaps if gap.day >= report.days[0]]
    gaps = [gap for gap in gaps if not wanted or shown & {key.handle for key in gap.missing}]
    report = replace(report, missing=gaps)
    try:
        output.write_text(render(report), encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{output} cannot be written ({error})") from None
    last, names = report.days[-1], [handle.name for handle in report.handles]
    if as_json:
        print_json(
            {
                "file": str(output),
                "handles": names,
                "days": days,
                "last_day": last,
                "missing_days": [str(gap.day) for gap in gaps],
            }
        )
    elif not quiet:
        click.echo(
            f"{output}: {counted(len(names), 'handle')}, {counted(days, 'day')} up to {last}"
        )


def _closest(home: Home, handle: str) -> str:
    """Which stored handle may have been meant."""
    with reading(home.readable) as con:
        stored = [
            name for (name,) in con.execute("SELECT DISTINCT handle FROM snapshots").fetchall()
        ]
    found = [one for one in get_close_matches(handle, stored, n=1) if one != handle]
    return f"did you mean {found[0]}?" if found else "see `sf-assets handles`"
