"""`sf-assets import`: lists that somebody has already become snapshots with a source."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sf_assets.cli.common import known_home, quiet_option, registry_of, report_errors
from sf_assets.cli.exit_codes import FINE, SOME_FAILED
from sf_assets.text import clean, counted

if TYPE_CHECKING:
    from sf_assets.people.land import Found, Wanted
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
def import_lists(files: tuple[str, ...], handle: str | None, relation: Any, **said: Any) -> None:
    from sf_assets.handles.settings import normalise_handle
    from sf_assets.people.land import Wanted
    from sf_assets.people.shapes import read_mapping
    from sf_assets.settings import load_settings

    settings = load_settings()
    home = known_home(settings)
    if said["remove"]:
        if files:
            raise click.UsageError("--remove takes no files")
        sys.exit(_remove(settings, home, said["remove"], ask=not said["yes"]))
    if not files or handle is None or (relation is None and not said["counts"]):
        raise click.UsageError("needs FILES, --handle and --relation")
    if said["everyone"] and (said["window"] or said["total"] is not None):
        raise click.UsageError("choose one of --everyone and --window or --total")
    wanted = Wanted(
        normalise_handle(handle), relation or "followers", _name(said["name"] or files[0]),
        said["total"], said["everyone"], said["window"], said["order"],
        read_mapping(said["mapping"]) if said["mapping"] else None,
        said["encoding"], said["replace"],
    )  # fmt: skip
    work = _Import(settings, home, wanted, counts=said["counts"], quiet=said["quiet"])
    for path, day in paths(files, said["day"]):
        work.files.append((path, day))
    if said["dry_run"] or not said["yes"]:
        fine = work.look()
        if said["dry_run"] or not fine:
            work.end()
        click.confirm(f"Import {counted(fine, 'file')} as {wanted.name}?", abort=True)
        work.quiet = True
    fine = work.land()
    if fine and not said["quiet"]:
        new = len(work.landed)
        click.echo(
            f"{counted(new, 'snapshot')} imported" if new else "nothing new: it is all there"
        )
    # What was imported before is shown too where it is only now that the grid begins earlier, or
    # where that was killed before it was derived.
    rows = work.landed + (work.known if said["extend_grid"] or work.waits else [])
    if rows:
        _show_in_grid(settings, home, rows, said["extend_grid"], quiet=said["quiet"])
    work.end()


def _name(text: str) -> str:
    """What an import is called: letters, digits, `.`, `-` and `_`."""
    from sf_assets.people.days import PLACEHOLDER

    stem = Path(text.replace(PLACEHOLDER, "")).name.split(".")[0] or Path(text).parent.name
    return re.sub(r"[^a-z0-9_.-]+", "-", stem.lower()).strip("-_.") or "import"


def paths(files: tuple[str, ...], day: str | None) -> list[tuple[Path, date | None]]:
    """The files that were named, with the day that `--day` or their names say, if any.

    Raises ImportRefused.
    """
    import glob

    from sf_assets.people.days import PLACEHOLDER, day_in_name, parse_day
    from sf_assets.people.errors import ImportRefused
    from sf_assets.people.read import SUFFIXES

    pattern = day if day is not None and PLACEHOLDER in day else None
    fixed = parse_day(day, "--day") if day is not None and pattern is None else None
    found: list[tuple[Path, date | None]] = []
    for name in files:
        path = Path(name)
        own = pattern
        if PLACEHOLDER in name:
            if day is not None:
                raise ImportRefused(f"--day: {name} says already where the day is")
            inside, own = sorted(map(Path, glob.glob(name.replace(PLACEHOLDER, "*")))), path.name
        elif path.is_dir():
            inside = sorted(
                one for one in path.iterdir()
                if one.is_file() and one.name.lower().endswith(SUFFIXES)
            )  # fmt: skip
        else:
            inside = [path] if path.exists() else sorted(map(Path, glob.glob(name)))
        if not inside:
            raise ImportRefused(f"{name}: there is no such file")
        for one in inside:
            found.append((one, day_in_name(one.name, own) if own else fixed))
    return found


@dataclass
class _Import:
    """Files that are looked at and landed one after the other; refusals are told at the end."""

    settings: Settings
    home: Home
    wanted: Wanted
    counts: bool
    quiet: bool
    files: list[tuple[Path, date | None]] = field(default_factory=list)
    landed: list[SnapshotRow] = field(default_factory=list)
    known: list[SnapshotRow] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    waits: bool = False

    def look(self) -> int:
        """Show what each file is; returns how many can be imported."""
        return sum(self._each(path, day, land=False) for path, day in self.files)

    def land(self) -> int:
        """Import the files; returns how many were not refused."""
        self.refused.clear()
        return sum(self._each(path, day, land=True) for path, day in self.files)

    def _each(self, path: Path, day: date | None, *, land: bool) -> bool:
        from sf_assets.people import land as people
        from sf_assets.people.errors import ImportRefused

        today = self.settings.day()
        try:
            with people.in_memory() as con:
                if self.counts:
                    found = people.understand_counts(con, path, self.wanted, today)
                else:
                    found = people.understand(con, path, self.wanted, day, today)
                if not self.quiet:
                    self._show(found)
                if land:
                    self.home.ensure(self.settings)
                    landed = people.land(self.home, found, self.wanted)
                    self.landed += landed.new
                    self.known += landed.known
                    self.waits = landed.waits
                else:
                    landed = people.look(self.home, found, self.wanted)
                if landed.kept and not self.quiet:
                    click.echo(
                        f"  note: {counted(landed.kept, 'total')} left out: a list says more"
                    )
        except ImportRefused as refused:
            self.refused.append(str(refused))
            return False
        return True

    def _show(self, found: Found) -> None:
        rows, facts = found.rows, found.facts
        days = sorted({row.snapshot_date for row in rows})
        when = str(days[0]) if len(days) == 1 else f"{counted(len(days), 'day')} to {days[-1]}"
        click.echo(f"{self.wanted.handle} {when}: {clean(found.source.name)} ({found.source.kind})")
        if found.shape is not None:
            columns = ", ".join(
                f"{own} = {theirs.strip('/').replace('/', '.') or '$'}"
                for own, theirs in sorted(found.shape.fields.items())
            )
            click.echo(f"  {self.wanted.relation}, {found.shape.layout}: {clean(columns, 300)}")
            listed = sum(row.listed for row in rows)
            click.echo(
                f"  {counted(facts['rows'], 'row')}, {counted(listed, 'account')}; "
                f"{counted(facts['numbers'], 'numeric id')}, {counted(facts['sec_uids'], 'secUid')}"
                f", {counted(facts['times'], 'follow time')}"
            )
        for line in found.sample:
            click.echo("    " + "  ".join(clean(str(value)) for value in line if value is not None))
        for note in found.notes:
            click.echo(f"  note: {note}")
        click.echo(f"  claims: {found.claim}")

    def end(self) -> None:
        """Tell what was refused, and exit."""
        for refusal in self.refused:
            click.echo(f"sf-assets: {refusal}", err=True)
        if self.refused and len(self.files) > 1:
            click.echo(
                f"sf-assets: {len(self.refused)} of {counted(len(self.files), 'file')} refused; "
                "nothing of these was imported",
                err=True,
            )
        sys.exit(FINE if not self.refused else SOME_FAILED if len(self.files) > 1 else 2)


def _remove(settings: Settings, home: Home, name: str, *, ask: bool) -> int:
    from sf_assets.people.land import remove

    if ask:
        click.confirm(f"Remove the import {name}, and derive everything anew?", abort=True)
    gone = remove(home, name)
    click.echo(f"{name}: {counted(len(gone), 'snapshot')} removed")
    _show_in_grid(settings, home, [], False, quiet=True)
    return FINE


def _show_in_grid(
    settings: Settings, home: Home, rows: list[SnapshotRow], extend: bool, *, quiet: bool
) -> None:
    """Derive what was loaded, and let Dagster's grid show the imported days of tracked handles."""
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
            f"import: what was imported is kept, and not derived yet: {failure_of(derived)[0]}"
        )
    if quiet or not rows:
        return
    early = {row.snapshot_date for row in rows if row.snapshot_date < start}
    untracked = sorted({row.handle for row in rows if row.handle not in tracked})
    if untracked:
        click.echo(f"{', '.join(untracked)}: not tracked, so Dagster's grid does not show it")
    elif early:
        click.echo(
            f"{counted(len(early), 'day')} before {start}, where Dagster's grid begins; "
            "--extend-grid shows them"
        )
