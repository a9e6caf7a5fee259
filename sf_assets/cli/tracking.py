"""Commands for the registry: track, untrack, handles."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import click

from sf_assets.cli.common import (
    checked_home,
    json_option,
    not_tracked,
    quiet_option,
    registry_of,
    report_errors,
    tag_option,
    tracked_handles,
)

if TYPE_CHECKING:
    from sf_assets.storage.home import Home


@click.command(
    short_help="Track handles: add them to handles.yaml.",
    help="Track handles: add them to handles.yaml.",
    epilog="Example: sf-assets track @nasa esa --relation followers",
)
@click.argument("handles", nargs=-1, required=True)
@click.option(
    "--relation",
    type=click.Choice(["followers", "following", "both"]),
    help="Which lists to track. Defaults to both, or to `defaults` in handles.yaml.",
)
@click.option("--pages", type=click.IntRange(min=1), help="Read at most this many pages of a list.")
@click.option(
    "--depth",
    type=click.Choice(["full", "recent"]),
    help="How much of a list to read. `recent` stops at accounts that were in the last snapshot, "
    "and reads the full list once a week.",
)
@click.option("--priority", type=int, help="Handles with a higher priority are read first.")
@click.option("--tag", "tags", multiple=True, help="Tag for grouping handles. May be repeated.")
@click.option(
    "--continue/--new-series",
    "same",
    default=None,
    help="After the alert `break`: compare the lists across the break (same person), or keep the "
    "new series (another person).",
)
@quiet_option
@json_option
@report_errors
def track(
    handles: tuple[str, ...],
    relation: str | None,
    pages: int | None,
    depth: str | None,
    priority: int | None,
    tags: tuple[str, ...],
    same: bool | None,
    quiet: bool,
    as_json: bool,
) -> None:
    from sf_assets.cli.tables import print_json
    from sf_assets.handles.edit import track
    from sf_assets.handles.parse import registry_to_edit
    from sf_assets.handles.settings import normalise_handle
    from sf_assets.settings import load_settings

    settings = load_settings()
    own: dict[str, Any] = {}
    if relation is not None:
        own["relations"] = ["followers", "following"] if relation == "both" else [relation]
    if pages is not None and depth is not None:
        raise click.UsageError("choose one of --pages and --depth")
    if pages is not None:
        own["depth"] = {"pages": pages}
    if depth is not None:
        own["depth"] = depth
    if priority is not None:
        own["priority"] = priority
    if tags:
        own["tags"] = list(tags)
    # Checked before the home is created: a typing error must not leave a folder behind.
    wanted = [normalise_handle(handle) for handle in handles]
    home = checked_home(settings)
    registry = registry_to_edit(home.registry)
    breaks = {} if same is None else _breaks(home, wanted)
    home.ensure(settings)
    new = track(home.registry, wanted, own)
    for handle, days in breaks.items():
        answers = {str(day): what for day, what in registry.settings_of(handle).breaks.items()}
        answers |= {str(day): "continue" if same else "new" for day in days}
        track(home.registry, [handle], {"breaks": answers})
    if as_json:
        print_json([{"handle": each, "new": each in new} for each in dict.fromkeys(wanted)])
    elif not quiet:
        for handle in dict.fromkeys(wanted):
            click.echo(f"{handle}: {'tracked' if handle in new else 'already tracked'}")
        for handle, days in breaks.items():
            what = "compared across" if same else "a new series since"
            click.echo(
                f"{handle}: {what} {' and '.join(map(str, days))}, effective with the next snapshot"
            )
        done = "Written to" if new or own or breaks else "Nothing to change in"
        click.echo(f"{done} {home.registry}. Take a snapshot now with: sf-assets snapshot")


def _breaks(home: Home, handles: Sequence[str]) -> dict[str, list[date]]:
    """Handle -> the days of the newest break in each of its lists.

    Raises SettingsError for a handle without a break.
    """
    from sf_assets.errors import SettingsError
    from sf_assets.warehouse.connection import reading
    from sf_assets.warehouse.statements import sql

    try:
        with reading(home.readable) as con:
            rows = con.execute(sql("breaks")).fetchall()
    except FileNotFoundError:
        rows = []
    newest = {row[:2]: row[2] for row in sorted(rows)}
    breaks = {
        handle: sorted({day for (_, of), day in newest.items() if of == handle})
        for handle in handles
    }
    for handle in handles:
        if not breaks[handle]:
            raise SettingsError(f"{handle}: none of its lists has a break")
    return breaks


@click.command(
    short_help="Stop tracking handles. Stored data stays.",
    help="Stop tracking handles: remove them from handles.yaml. Stored data stays.",
    epilog="Example: sf-assets untrack esa",
)
@click.argument("handles", nargs=-1, required=True, shell_complete=tracked_handles)
@quiet_option
@json_option
@report_errors
def untrack(handles: tuple[str, ...], quiet: bool, as_json: bool) -> None:
    from sf_assets.cli.tables import print_json
    from sf_assets.errors import SettingsError
    from sf_assets.handles.edit import untrack
    from sf_assets.handles.parse import registry_to_edit
    from sf_assets.handles.settings import normalise_handle
    from sf_assets.settings import load_settings

    home = checked_home(load_settings())
    registry = registry_to_edit(home.registry)
    for handle in handles:
        if normalise_handle(handle) not in registry.handles:
            raise SettingsError(
                not_tracked(normalise_handle(handle), registry, "list them with: sf-assets handles")
            )
    gone = untrack(home.registry, list(handles))
    if as_json:
        print_json([{"handle": handle} for handle in gone])
    elif not quiet:
        for handle in gone:
            click.echo(f"{handle}: no longer tracked; stored data is kept")


@click.command(
    short_help="Show the tracked handles with their latest snapshots.",
    help="Show the tracked handles with their latest snapshots.",
    epilog="Example: sf-assets handles",
)
@tag_option
@json_option
@report_errors
def handles(tags: tuple[str, ...], as_json: bool) -> None:
    from sf_assets.cli.tables import latest_snapshots, print_json, print_table
    from sf_assets.settings import load_settings

    home = checked_home(load_settings())
    registry = registry_of(home)
    if not registry.handles and not as_json:
        click.echo("no handle is tracked yet; run: sf-assets track HANDLE")
        return
    latest = latest_snapshots(home)
    rows = []
    for handle in registry.tagged(tags) if tags else registry.handles:
        own = registry.handles[handle]
        for relation in own.relations:
            last = latest.get((relation, handle), {})
            depth = own.of(relation).describe()
            row = {"handle": handle, "relation": relation, "depth": depth, "tags": list(own.tags)}
            rows.append(row | last)
    columns = ["handle", "relation", "depth", "last", "status", "listed", "total", "completeness"]
    if as_json:
        print_json([{name: row.get(name) for name in [*columns, "tags"]} for row in rows])
    else:
        if any(row["tags"] for row in rows):
            columns.append("tags")
            rows = [{**row, "tags": " ".join(row["tags"])} for row in rows]
        print_table(columns, [[row.get(name) for name in columns] for row in rows])
