"""`sf-assets` as a user runs it: in a process of its own, or in this one where that is enough."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from click.testing import CliRunner

from sf_assets.cli import main

ROOT = Path(__file__).resolve().parents[2]
DAY = date(2026, 11, 1)


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line of standard error that begins with our name."""
        assert "Traceback" not in self.err
        (line,) = (line for line in self.err.splitlines() if line.startswith("sf-assets: "))
        return line


def environment(**more: str) -> dict[str, str]:
    """The environment of a child: ours, in which sf_assets can be imported from any folder."""
    path = os.environ.get("PYTHONPATH")
    return {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{path}" if path else str(ROOT),
        **more,
    }


def child(*arguments: str, cwd: Path, **more: str) -> Said:
    """Run `sf-assets` in a process of its own, in the folder `cwd`."""
    done = subprocess.run(
        [sys.executable, "-m", "sf_assets", *arguments],
        env=environment(**more),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def run(*arguments: str) -> Said:
    """Run `sf-assets` in this process, as cheaply as can be."""
    result = CliRunner().invoke(main, list(arguments), prog_name="sf-assets")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception  # a user would see a traceback
    return Said(result.exit_code, result.stdout, result.stderr)


def use(home: Path, *, url: str | None = None, key: str | None = None, day: date = DAY) -> Path:
    """Set the environment of this test: a home and, where given, a server on loopback."""
    os.environ["SF_ASSETS_HOME"] = str(home)
    if url is not None:
        os.environ["SOCIALFETCH_BASE_URL"] = url
        os.environ["SF_ASSETS_TODAY"] = day.isoformat()
    if key is not None:
        os.environ["SOCIALFETCH_API_KEY"] = key
    return home


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder and what it holds, to see that nothing was written."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
