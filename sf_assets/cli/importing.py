"""`sf-assets import`: existing lists become snapshots with a source."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sf_assets.cli.common import checked_home, quiet_option, registry_of, report_errors
from sf_assets.cli.exit_codes import FINE, SOME_FAILED
from sf_assets.text import clean, counted

if TYPE_CHECKING:
    from sf_assets.people.land import FileContent, ImportOptions
    from sf_assets.settings import Settings
    from sf_assets.storage.home import Home
    from sf_assets.warehouse.archive import SnapshotRow


@click.command(
    "import",
    short_help="Import existing lists: exports, scraper results, your own files.",
    help="Import lists of a profile from files (CSV, TSV, JSON, JSON lines, XLSX, Parquet or "
    "text, compressed or not), folders or patterns. Shows how the files are interpreted and what "
    "they will prove, then asks for confirmation. Spends no credits. See docs/import.md.",
    epilog="Example: sf-assets import 'old/followers_{date}.csv' --handle nasa "
    "--relation followers --everyone",
)
@click.argument("files", nargs=-1)
@click.option("--handle", help="Profile that the lists belong to.")
@click.option(
    "--relation", type=click.Choice(["followers", "following"]), help="Which list the files hold."
)
@click.option(
    "--day", help="UTC day of the list, or a pattern of file names such as 'fans_{date}.csv'."
)
@click.option("--name", help="Name of the import. Defaults to the file name.")
@click.option(
    "--total", type=click.IntRange(0, 2**63 - 1), help="Total that TikTok showed on that day."
)
@click.option("--everyone", is_flag=True, help="The file is the full list.")
@click.option(
    "--window", is_flag=True, help="The file is the newest part of the list, newest first."
)
@click.option(
    "--order",
    type=click.Choice(["newest", "oldest"]),
    help="The rows are in the order of the follows, starting with this end.",
)
@click.option(
    *("--map", "mapping"),
    type=click.Path(path_type=Path, dir_okay=False),
    help="YAML file that maps columns to fields.",
)
@click.option("--encoding", help="Encoding of text that is not UTF-8, such as latin-1.")
@click.option("--counts", is_flag=True, help="The file has totals by day and no accounts.")
@click.option("--replace", is_flag=True, help="Replace what is stored for these days.")
@click.option("--extend-grid", is_flag=True, help="Start Dagster's grid with these days.")
@click.option("--remove", metavar="NAME", help="Remove the import with this name.")
@click.option("--dry-run", is_flag=True, help="Only show how the files are interpreted.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@quiet_option
@report_errors
def import_lists(files: tuple[str, ...], handle: str | None, relation: Any, **options: Any) -> None:
    from sf_assets.handles.settings import normalise_handle
    from sf_assets.people.land import ImportOptions
    from sf_assets.people.shapes import read_mapping
    from sf_assets.settings import load_settings

    settings = load_settings()
    home = checked_home(settings)
    if options["remove"]:
        if files:
            raise click.UsageError("--remove takes no files")
        sys.exit(_remove(settings, home, options["remove"], ask=not options["yes"]))
    if not files or handle is None or (relation is None and not options["counts"]):
        needed = {
            "FILES": files, "--handle": handle, "--relation": relation or options["counts"],
        }  # fmt: skip
        missing = ", ".join(name for name, value in needed.items() if not value)
        raise click.UsageError(f"missing: {missing}")
    if options["everyone"] and (options["window"] or options["total"] is not None):
        raise click.UsageError("choose one of --everyone and --window or --total")
    wanted = ImportOptions(
        normalise_handle(handle), relation or "followers", _name(options["name"] or files[0]),
        options["total"], options["everyone"], options["window"], options["order"],
        read_mapping(options["mapping"]) if options["mapping"] else None,
        options["encoding"], options["replace"],
    )  # fmt: skip
    work = _Import(settings, home, wanted, counts=options["counts"], quiet=options["quiet"])
    for path, day in paths(files, options["day"]):
        work.files.append((path, day))
    if options["dry_run"] or not options["yes"]:
        importable = work.look()
        if options["dry_run"] or not importable:
            work.end()
        click.confirm(f"Import {counted(importable, 'file')} as {wanted.name}?", abort=True)
        work.quiet = True
    imported = work.land()
    if imported and not options["quiet"]:
        new = len(work.landed)
        click.echo(
            f"{counted(new, 'snapshot')} imported" if new else "nothing new: already imported"
        )
    # Earlier imports are shown too if the grid now begins earlier, or if that import was killed
    # before its derivation.
    rows = work.landed + (work.known if options["extend_grid"] or work.waits else [])
    if rows:
        _show_in_grid(settings, home, rows, options["extend_grid"], quiet=options["quiet"])
    work.end()


def _name(text: str) -> str:
    """The name of an import: lower-case letters, digits, `.`, `-` and `_`."""
    from sf_assets.people.days import PLACEHOLDER

    stem = Path(text.replace(PLACEHOLDER, "")).name.split(".")[0] or Path(text).parent.name
    return re.sub(r"[^a-z0-9_.-]+", "-", stem.lower()).strip("-_.") or "import"


def paths(files: tuple[str, ...], day: str | None) -> list[tuple[Path, date | None]]:
    """The named files, with the day from `--day` or the file name, or None.

    Raises ImportRefused if a file does not exist or its day is unclear.
    """
    import glob

    from sf_assets.people.days import PLACEHOLDER, day_in_name, parse_day
    from sf_assets.people.errors import ImportRefused
    from sf_assets.people.read import SUFFIXES

    pattern = day if day is not None and PLACEHOLDER in day else None
    fixed = parse_day(day, "--day") if day is not None and pattern is None else None
    dated: list[tuple[Path, date | None]] = []
    for name in files:
        path = Path(name)
        own = pattern
        if PLACEHOLDER in name:
            if day is not None:
                raise ImportRefused(f"--day: {name} contains the day; leave out --day")
            inside, own = sorted(map(Path, glob.glob(name.replace(PLACEHOLDER, "*")))), path.name
        elif path.is_dir():
            inside = sorted(
                file for file in path.iterdir()
                if file.is_file() and file.name.lower().endswith(SUFFIXES)
            )  # fmt: skip
        else:
            inside = [path] if path.exists() else sorted(map(Path, glob.glob(name)))
        if not inside:
            raise ImportRefused(f"{name}: no such file")
        for file in inside:
            dated.append((file, day_in_name(file.name, own) if own else fixed))
    return dated


@dataclass
class _Import:
    """Files to check and import one after the other. Refusals are printed at the end."""

    settings: Settings
    home: Home
    wanted: ImportOptions
    counts: bool
    quiet: bool
    files: list[tuple[Path, date | None]] = field(default_factory=list)
    landed: list[SnapshotRow] = field(default_factory=list)
    known: list[SnapshotRow] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    waits: bool = False

    def look(self) -> int:
        """Show how each file is interpreted. Returns how many can be imported."""
        return sum(self._each(path, day, land=False) for path, day in self.files)

    def land(self) -> int:
        """Import the files. Returns how many were not refused."""
        self.refused.clear()
        return sum(self._each(path, day, land=True) for path, day in self.files)

    def _each(self, path: Path, day: date | None, *, land: bool) -> bool:
        from sf_assets.people import land as people
        from sf_assets.people.errors import ImportRefused

        today = self.settings.day()
        try:
            with people.in_memory() as con:
                if self.counts:
                    content = people.understand_counts(con, path, self.wanted, today)
                else:
                    content = people.understand(con, path, self.wanted, day, today)
                if not self.quiet:
                    self._show(content)
                if land:
                    self.home.ensure(self.settings)
                    landed = people.land(self.home, content, self.wanted)
                    self.landed += landed.new
                    self.known += landed.known
                    self.waits = landed.waits
                else:
                    landed = people.look(self.home, content, self.wanted)
                if landed.kept and not self.quiet:
                    click.echo(
                        f"  note: {counted(landed.kept, 'total')} left out: these days have a list"
                    )
        except ImportRefused as refused:
            self.refused.append(str(refused))
            return False
        return True

    def _show(self, content: FileContent) -> None:
        rows, facts = content.rows, content.facts
        days = sorted({row.snapshot_date for row in rows})
        when = str(days[0]) if len(days) == 1 else f"{counted(len(days), 'day')} to {days[-1]}"
        click.echo(
            f"{self.wanted.handle} {when}: {clean(content.source.name)} ({content.source.kind})"
        )
        if content.shape is not None:
            columns = ", ".join(
                f"{own} = {theirs.strip('/').replace('/', '.') or '$'}"
                for own, theirs in sorted(content.shape.fields.items())
            )
            click.echo(f"  {self.wanted.relation}, {content.shape.layout}: {clean(columns, 300)}")
            listed = sum(row.listed for row in rows)
            click.echo(
                f"  {counted(facts['rows'], 'row')}, {counted(listed, 'account')}; "
                f"{counted(facts['numbers'], 'numeric id')}, {counted(facts['sec_uids'], 'secUid')}"
                f", {counted(facts['times'], 'follow time')}"
            )
        for line in content.sample:
            click.echo("    " + "  ".join(clean(str(value)) for value in line if value is not None))
        for note in content.notes:
            click.echo(f"  note: {note}")
        click.echo(f"  proves: {content.claim}")

    def end(self) -> None:
        """Print the refusals, and exit."""
        for refusal in self.refused:
            click.echo(f"sf-assets: {refusal}", err=True)
        if self.refused and len(self.files) > 1:
            click.echo(
                f"sf-assets: {len(self.refused)} of {counted(len(self.files), 'file')} refused; "
                "nothing from them was imported",
                err=True,
            )
        sys.exit(FINE if not self.refused else SOME_FAILED if len(self.files) > 1 else 2)


def _remove(settings: Settings, home: Home, name: str, *, ask: bool) -> int:
    from sf_assets.people.land import remove

    if ask:
        click.confirm(f"Remove the import {name} and rebuild all tables?", abort=True)
    gone = remove(home, name)
    if gone:
        click.echo(f"{name}: {counted(len(gone), 'snapshot')} removed")
    _show_in_grid(settings, home, [], False, quiet=True)
    if not gone:  # an earlier removal was killed before its derivation
        click.echo(f"{name}: was removed already; the tables are up to date")
    return FINE


def _show_in_grid(
    settings: Settings, home: Home, rows: list[SnapshotRow], extend: bool, *, quiet: bool
) -> None:
    """Derive the imported days, and show those of tracked handles in Dagster's grid."""
    from sf_assets.cli.runner import Runner, dagster_instance, failure_of
    from sf_assets.defs.audience import snapshot_keys
    from sf_assets.defs.snapshot_metadata import snapshot_event
    from sf_assets.errors import SfAssetsError

    if extend and rows:
        home.begin_earlier(settings, min(row.snapshot_date for row in rows))
    start = home.start_date(settings)
    tracked = registry_of(home).handles
    shown = [row for row in rows if row.snapshot_date >= start and row.handle in tracked]
    with dagster_instance(home) as instance:
        runner = Runner(instance, settings)
        keys = snapshot_keys(runner.audience.keys)
        runner.audience.handles.register(instance, sorted({row.handle for row in shown}))
        for row in shown:
            instance.report_runless_asset_event(snapshot_event(keys[row.relation], row, None))
        day = max([start, *(row.snapshot_date for row in shown)])
        derived = runner.derive(day, day)
    if not derived.success:
        raise SfAssetsError(
            f"import: the files are imported but not derived yet: {failure_of(derived)[0]}"
        )
    if quiet or not rows:
        return
    early = {row.snapshot_date for row in rows if row.snapshot_date < start}
    untracked = sorted({row.handle for row in rows if row.handle not in tracked})
    if untracked:
        click.echo(f"{', '.join(untracked)}: not tracked, so not shown in Dagster's grid")
    elif early:
        click.echo(
            f"{counted(len(early), 'day')} before {start}, the first day of Dagster's grid; add "
            "--extend-grid to show them"
        )
