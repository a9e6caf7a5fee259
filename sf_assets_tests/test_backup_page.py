"""docs/backup.md, word by word: its commands are run in its order, and lose nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

from sf_assets_tests.served_lists import KEY, ListServer, account
from sf_assets_tests.tables import published_tables

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "backup.md").read_text(encoding="utf-8")
MONDAY, TUESDAY = date(2026, 11, 2), date(2026, 11, 3)


def commands(heading: str) -> list[str]:
    """The shell blocks of a section."""
    section = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"^```sh\n(.*?)^```", section, re.DOTALL | re.MULTILINE)


def serve(server: ListServer, day: date) -> None:
    server.set("nasa", "followers", [account(n) for n in range(40 + day.day, day.day, -1)])


def test_the_page_is_followed_from_backup_to_restore(tmp_path: Path) -> None:
    parts = ["Make a backup", "Check a backup", "Restore"]
    assert PAGE.count("```sh") == sum(len(commands(part)) for part in parts) == 6
    home, programs = tmp_path / "home of sf", tmp_path / "bin"
    programs.mkdir()
    program = programs / "sf-assets"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m sf_assets "$@"\n')
    program.chmod(0o700)
    with ListServer() as server:
        environment = {
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
            "SF_ASSETS_HOME": str(home),
            "SF_ASSETS_START_DATE": MONDAY.isoformat(),
            "SOCIALFETCH_BASE_URL": server.url,
            "SOCIALFETCH_API_KEY": KEY,
        }

        def shell(script: str, day: date = TUESDAY) -> None:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=tmp_path,
                env={**environment, "SF_ASSETS_TODAY": day.isoformat()},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"

        serve(server, MONDAY)
        shell("sf-assets track nasa --relation followers; sf-assets snapshot", MONDAY)
        for script in commands("Make a backup"):
            shell(script, MONDAY)
        # The home lives on; what happens then is in its archive and landing only.
        serve(server, TUESDAY)
        shell("sf-assets track esa --relation followers; sf-assets snapshot")
        tracked = (home / "handles.yaml").read_text()
        wanted, credits = published_tables(home / "sf_assets.duckdb"), server.credits
        for part in ("Check a backup", "Restore"):
            for script in commands(part):
                shell(script)
        assert server.credits == credits
        assert published_tables(home / "sf_assets.duckdb") == wanted
        assert wanted["main.follower_churn"]
        assert (home / "handles.yaml").read_text() == tracked
