"""Keeping a home well: doctor, rebuild, migrate."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from sf_assets.cli.common import json_option, known_home, quiet_option, said_clearly
from sf_assets.cli.exit_codes import FINE, SOME_FAILED
from sf_assets.text import counted


@click.command(
    short_help="Check key, credits, home, disk, grid, alerts; what to do.",
    help="Check key, balance, home, disk, DuckDB, grid, clock and alerts; say what to do.",
    epilog="Example: sf-assets doctor",
)
@quiet_option
@json_option
@said_clearly
def doctor(quiet: bool, as_json: bool) -> None:
    from sf_assets.cli.doctor import run_doctor

    sys.exit(run_doctor(quiet=quiet, as_json=as_json))


@click.command(
    short_help="The warehouse anew from archive and landing; buys nothing.",
    help="Make the warehouse anew from the archive and the landed pages; nothing is bought. The "
    "old file is kept beside it.",
    epilog="Example: sf-assets rebuild",
)
@quiet_option
@said_clearly
def rebuild(quiet: bool) -> None:
    from sf_assets.home import Home
    from sf_assets.settings import load_settings
    from sf_assets.warehouse.rebuild import rebuild

    settings = load_settings()
    home = Home.of(settings).ensure(settings)
    made = rebuild(home)
    if not quiet:
        click.echo(
            f"{counted(made.snapshots, 'snapshot')} replayed into {home.writable}"
            + ("" if home.lake else f"; published as {home.published}")
            + (f". The old warehouse is kept as {made.old}" if made.old else "")
        )
    for problem in made.problems:
        click.echo(f"not replayed: {problem}", err=True)
    sys.exit(SOME_FAILED if made.problems else FINE)


@click.command(
    short_help="Copy everything into a lake, or back.",
    help="Copy everything to a lake (or back with --to duckdb), compare it, and leave what is here "
    "as it is. Stop `sf-assets up` first.",
    epilog="Example: sf-assets migrate --to 'ducklake:postgres:host=db dbname=lake' "
    "--storage s3://bucket/sf",
)
@click.option("--to", "address", required=True, help="An SF_ASSETS_WAREHOUSE, or duckdb.")
@click.option("--storage", help="An SF_ASSETS_STORAGE: a folder or s3://bucket/prefix.")
@click.option(
    *("--home", "folder"),
    type=click.Path(path_type=Path, file_okay=False),
    help="The new home, with a copy of the registry; the present one unless given.",
)
@said_clearly
def migrate(address: str, storage: str | None, folder: Path | None) -> None:
    from sf_assets.home import Home
    from sf_assets.migrate import migrate
    from sf_assets.settings import SettingsError, load_settings

    settings = load_settings()
    source = known_home(settings)
    wanted = {"SF_ASSETS_WAREHOUSE": None if address == "duckdb" else address}
    wanted |= {"SF_ASSETS_STORAGE": storage, "SF_ASSETS_HOME": str(folder or settings.home)}
    if address == "duckdb" and storage is not None:
        raise SettingsError("migrate: a DuckDB file is kept in the home; leave out --storage")
    target = Home.of(load_settings(wanted))
    migrate(source, target, click.echo)
    click.echo("everything is copied; from now on set")
    for name, value in wanted.items():
        shown = str(target.lake) if value and name == "SF_ASSETS_WAREHOUSE" else value
        click.echo(f"  {name}={shown}" if value else f"  {name}, not any more")
