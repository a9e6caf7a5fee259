"""Commands that maintain a home: doctor, probe, bundle, rebuild, verify, backup, migrate."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sf_assets.cli.common import CheckList, checked_home, json_option, quiet_option, report_errors
from sf_assets.cli.exit_codes import FINE, SOME_FAILED
from sf_assets.text import counted

if TYPE_CHECKING:
    from sf_assets.warehouse.verify import Finding


@click.command(
    short_help="Check key, credits, home, disk, grid and alerts.",
    help="Check key, balance, clock, home, disk, handles, DuckDB, days, grid and alerts, and "
    "suggest what to do.",
    epilog="Example: sf-assets doctor",
)
@quiet_option
@json_option
@report_errors
def doctor(quiet: bool, as_json: bool) -> None:
    from sf_assets.cli.doctor import run_doctor

    sys.exit(run_doctor(quiet=quiet, as_json=as_json))


@click.command(
    short_help="Check the API against our assumptions; buys up to 8 pages.",
    help="Measure how the API behaves, with up to 8 pages of a public profile, after asking: "
    "page size, overlap, ids, order, cache, cursors, totals, charges, fields and speed. Today's "
    "snapshot reuses the pages, and `doctor` shows the result. Without HANDLE, uses the first "
    "tracked handle.",
    epilog="Example: sf-assets probe @nasa",
)
@click.argument("handle", required=False)
@click.option(
    "--last", is_flag=True, help="Show the result of the last probe without asking the API."
)
@click.option("--yes", is_flag=True, help="Buy the pages without asking.")
@json_option
@report_errors
def probe(handle: str | None, last: bool, yes: bool, as_json: bool) -> None:
    from sf_assets.cli.probe import run_probe
    from sf_assets.settings import load_settings

    settings = load_settings()
    home = checked_home(settings)
    sys.exit(run_probe(settings, home, handle, last=last, yes=yes, as_json=as_json))


@click.command(
    short_help="Pack a zip for a bug report, without people and secrets.",
    help="Pack a zip for a bug report: versions, settings without secrets, the output of "
    "`doctor`, logs of the day's runs, API measurements, and the landed pages with invented "
    "people instead of the real ones. Checks that no original text is left.",
    epilog="Example: sf-assets bundle --handle nasa --day 2026-11-22",
)
@click.option("--handle", help="Limit to pages of this handle.")
@click.option(
    "--day",
    type=click.DateTime(["%Y-%m-%d"]),
    help="Day of the pages. Defaults to the newest day with pages.",
)
@click.option(
    *("-o", "--output"),
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("sf-assets-bundle.zip"),
    show_default=True,
    help="File to write.",
)
@report_errors
def bundle(handle: str | None, day: datetime | None, output: Path) -> None:
    from sf_assets.cli.bundle import run_bundle
    from sf_assets.handles.settings import normalise_handle
    from sf_assets.settings import load_settings

    settings = load_settings()
    wanted = normalise_handle(handle) if handle else None
    run_bundle(settings, checked_home(settings), wanted, day.date() if day else None, output)


@click.command(
    short_help="Rebuild the warehouse from the archive; spends no credits.",
    help="Rebuild the warehouse from the archive and the landed pages. Spends no credits. Keeps "
    "the old file.",
    epilog="Example: sf-assets rebuild",
)
@quiet_option
@report_errors
def rebuild(quiet: bool) -> None:
    from sf_assets.errors import SettingsError
    from sf_assets.settings import load_settings
    from sf_assets.storage.home import Home
    from sf_assets.warehouse.rebuild import rebuild

    settings = load_settings()
    home = Home.of(settings)
    # A home.json may be lost, as long as there is an archive.
    if not home.marker.exists() and not any(home.archive.glob("day=*")):
        raise SettingsError(f"SF_ASSETS_HOME: {home} is not a home: there is nothing to rebuild")
    result = rebuild(home.ensure(settings))
    if not quiet:
        click.echo(
            f"{counted(result.snapshots, 'snapshot')} replayed into {home.writable}"
            + ("" if home.lake else f"; published as {home.published}")
            + (f". The old warehouse is kept as {result.old}" if result.old else "")
        )
    for problem in result.problems:
        click.echo(f"not replayed: {problem}", err=True)
    sys.exit(SOME_FAILED if result.problems else FINE)


# Per check; `--json` shows all of them.
_PROBLEMS_SHOWN = 20


def _reporter(checks: CheckList) -> Callable[[Finding], None]:
    """A function that adds a finding of `verify` to `checks`."""

    def report(finding: Finding) -> None:
        if not finding.problems:
            checks.add(finding.check, True, finding.says)
        shown = len(finding.problems) if checks.as_json else _PROBLEMS_SHOWN
        for problem in finding.problems[:shown]:
            checks.add(finding.check, False, problem)
        if len(finding.problems) > shown:
            checks.add(finding.check, False, f"and {len(finding.problems) - shown} more")

    return report


@click.command(
    short_help="Check that archive, warehouse and published file agree.",
    help="Check that archive, landing, warehouse and published file agree: checksums, counts and "
    "a sample of lists. Reads only; may run while `sf-assets up` runs. Exits with 1 if it finds "
    "a problem, and suggests what to do.",
    epilog="Example: sf-assets verify --full",
)
@click.option("--full", is_flag=True, help="Also derive everything again and compare all tables.")
@quiet_option
@json_option
@report_errors
def verify(full: bool, quiet: bool, as_json: bool) -> None:
    from sf_assets.cli.tables import print_json
    from sf_assets.settings import load_settings
    from sf_assets.warehouse.verify import verify

    checks = CheckList(quiet=quiet, as_json=as_json)
    findings = verify(checked_home(load_settings()), _reporter(checks), full=full)
    if as_json:
        print_json(checks.results)
    sys.exit(SOME_FAILED if any(finding.problems for finding in findings) else FINE)


@click.command(
    short_help="Copy this home consistently, also while it runs.",
    help="Copy this home to a new folder and verify the copy. May run while `sf-assets up` runs. "
    "The folder is complete or absent. To restore, copy it to where SF_ASSETS_HOME points. Exits "
    "with 1 if the copy has a problem; the home then has it too.",
    epilog="Example: sf-assets backup /mnt/backups/2026-11-27",
)
@click.argument("to", type=click.Path(path_type=Path))
@quiet_option
@json_option
@report_errors
def backup(to: Path, quiet: bool, as_json: bool) -> None:
    from sf_assets.cli.tables import print_json
    from sf_assets.settings import load_settings
    from sf_assets.warehouse.backup import backup

    checks = CheckList(quiet=quiet, as_json=as_json)
    result = backup(checked_home(load_settings()), to.absolute(), _reporter(checks))
    if as_json:
        summary = {"folder": to.absolute(), "files": result.files, "bytes": result.bytes}
        print_json({**summary, "checks": checks.results})
    elif not quiet:
        click.echo(f"{result.files} files, {result.bytes:,} bytes, in {to.absolute()}")
    sys.exit(SOME_FAILED if any(finding.problems for finding in result.findings) else FINE)


@click.command(
    short_help="Copy everything to a lake, or back.",
    help="Copy everything to a lake (or back with --to duckdb) and compare both. Does not change "
    "this home. Stop `sf-assets up` first.",
    epilog="Example: sf-assets migrate --to 'ducklake:postgres:host=db dbname=lake' "
    "--storage s3://bucket/sf",
)
@click.option(
    "--to", "address", required=True, help="Target: a value for SF_ASSETS_WAREHOUSE, or duckdb."
)
@click.option("--storage", help="A value for SF_ASSETS_STORAGE: a folder or s3://bucket/prefix.")
@click.option(
    *("--home", "folder"),
    type=click.Path(path_type=Path, file_okay=False),
    help="New home, with a copy of the registry. Defaults to the current one.",
)
@report_errors
def migrate(address: str, storage: str | None, folder: Path | None) -> None:
    from sf_assets.errors import SettingsError
    from sf_assets.settings import load_settings
    from sf_assets.storage.home import Home
    from sf_assets.warehouse.migrate import migrate

    settings = load_settings()
    source = checked_home(settings)
    wanted = {"SF_ASSETS_WAREHOUSE": None if address == "duckdb" else address}
    wanted |= {"SF_ASSETS_STORAGE": storage, "SF_ASSETS_HOME": str(folder or settings.home)}
    if address == "duckdb" and storage is not None:
        raise SettingsError("migrate: a DuckDB file is always in the home; leave out --storage")
    try:
        target = Home.of(load_settings(wanted))
    except SettingsError as error:
        text = str(error).replace("SF_ASSETS_STORAGE:", "--storage:")
        text = text.replace("SF_ASSETS_WAREHOUSE:", "--to:").replace("leave it unset", "duckdb")
        raise SettingsError(f"migrate: {text}") from None
    migrate(source, target, click.echo)
    click.echo("everything is copied; change the settings to")
    for name, value in wanted.items():
        shown = str(target.lake) if value and name == "SF_ASSETS_WAREHOUSE" else value
        click.echo(f"  {name}={shown}" if value else f"  {name} (remove it)")
