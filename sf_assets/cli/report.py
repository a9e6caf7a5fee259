"""`sf-assets report`: writes a report as HTML or PDF."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import subprocess
import tempfile
import webbrowser
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
from sf_assets.report import Letterhead, gather, render
from sf_assets.settings import Settings
from sf_assets.storage.home import Home
from sf_assets.storage.sizes import sizes
from sf_assets.text import counted, first_line
from sf_assets.warehouse.connection import reading


def run_report(
    settings: Settings,
    home: Home,
    handles: Sequence[str],
    tags: Sequence[str],
    days: int,
    output: Path,
    *,
    head: Letterhead,
    people: bool = False,
    open_it: bool = False,
    quiet: bool = False,
    as_json: bool = False,
) -> None:
    """Write the report of `handles` and of handles with one of `tags`; of all if both are empty.

    Raises SettingsError if nothing is published, a handle has no snapshot in these days, or the
    file cannot be written.
    """
    registry = registry_in_force(home.registry)[0]
    named = [normalise_handle(handle) for handle in handles]
    wanted = [*named, *(registry.tagged(tags) if tags else ())]
    try:
        with reading(home.readable) as con:
            report = gather(con, wanted or None, days, tags=tags, people=people)
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
    report = replace(report, missing=gaps, letterhead=head)
    if not wanted:  # a report of some handles is for others, whom the disk does not concern
        report = replace(report, sizes=sizes(home, settings.day()))
    try:
        if output.suffix.lower() == ".pdf":
            write_pdf(render(report), output)
        else:
            output.write_text(render(report), encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"cannot write {output} ({first_line(error)})") from None
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

    if open_it:
        webbrowser.open(output.absolute().as_uri())


# Media types of logos, by suffix.
_PICTURES = {
    **{".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg"},
    **{".gif": "gif", ".webp": "webp", ".svg": "svg+xml"},
}
_LARGEST_LOGO = 1_000_000
PDF_SECONDS = 120


def letterhead(title: str | None, logo: Path | None, text: Path | None) -> Letterhead:
    """The head of a report. Raises SettingsError for a logo or text that cannot be used."""
    picture = None
    if logo is not None:
        kind, size = _PICTURES.get(logo.suffix.lower()), logo.stat().st_size
        if kind is None or size > _LARGEST_LOGO:
            raise SettingsError(
                f"{logo}: a logo must be a PNG, JPEG, GIF, WebP or SVG file of at most 1 MB"
            )
        picture = f"data:image/{kind};base64,{base64.b64encode(logo.read_bytes()).decode()}"
    paragraphs: list[str] = []
    if text is not None:
        try:
            parts = text.read_text(encoding="utf-8").split("\n\n")
        except UnicodeDecodeError:
            raise SettingsError(f"{text} is not a text file in UTF-8") from None
        paragraphs = [" ".join(part.split()) for part in parts if part.strip()]
    return Letterhead(title, picture, paragraphs)


def write_pdf(page: str, output: Path) -> None:
    """Print an HTML page to a PDF file with the Chromium or Chrome of this machine.

    Raises SettingsError if neither is installed, or if it fails.
    """
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        raise SettingsError(
            f"{output}: a PDF needs Chromium or Chrome, and neither is installed; write an .html "
            "file and print it from your browser"
        )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        source, target = Path(folder) / "report.html", Path(folder) / "report.pdf"
        source.write_text(page, encoding="utf-8")
        command = [
            *(browser, "--headless", "--disable-gpu", "--no-pdf-header-footer"),
            *(["--no-sandbox"] if os.geteuid() == 0 else []),  # its sandbox does not run as root
            *(f"--user-data-dir={folder}/profile", f"--print-to-pdf={target}", source.as_uri()),
        ]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(command, capture_output=True, timeout=PDF_SECONDS, check=False)
        if not target.exists():
            raise SettingsError(f"{output}: {browser} wrote no PDF; write an .html file instead")
        shutil.copyfile(target, output)


def _closest(home: Home, handle: str) -> str:
    """A hint: the stored handle with the closest name."""
    with reading(home.readable) as con:
        stored = [
            name for (name,) in con.execute("SELECT DISTINCT handle FROM snapshots").fetchall()
        ]
    close = [name for name in get_close_matches(handle, stored, n=1) if name != handle]
    return f"did you mean {close[0]}?" if close else "see `sf-assets handles`"
