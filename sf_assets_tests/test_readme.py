"""The README says what is so: its session, its commands, its settings, its tables."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from datetime import date
from pathlib import Path

import duckdb
import pytest

from sf_assets.alerts import StatusChange, messages
from sf_assets.cli import main
from sf_assets.cli.examples import examples
from sf_assets.model import ALERT_KINDS
from sf_assets.settings import VARIABLES
from sf_assets.simulator import background
from sf_assets.warehouse.connection import writing_file
from sf_assets.warehouse.schema import column_comments

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def session(title: str) -> list[tuple[str, list[str]]]:
    """(command, the output shown below it) of a session, in order."""
    steps: list[tuple[str, list[str]]] = []
    part = re.split(r"sf-assets up|\n## ", README.split(f"## {title}\n", 1)[1])[0]
    for block in re.findall(r"```console\n(.*?)```", part, re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append((line[2:], []))
            elif line and steps:
                steps[-1][1].append(line)
    return steps


@pytest.mark.parametrize(
    ("title", "length"), [("A first session", 6), ("Your first day with a real key", 5)]
)
def test_a_session_prints_what_the_readme_shows(tmp_path: Path, title: str, length: int) -> None:
    steps = session(title)
    assert len(steps) >= length
    with background(preset="demo", today=date(2026, 11, 22)) as simulator:
        environment = {**os.environ, "NO_COLOR": "1"}
        for command, shown in steps:
            words = shlex.split(command)
            if words[0] == "export":
                environment.update(word.split("=", 1) for word in words[1:])
                environment["SOCIALFETCH_BASE_URL"] = simulator.base_url
                continue
            assert words[0] == "sf-assets"
            done = subprocess.run(
                [sys.executable, "-m", "sf_assets", *words[1:]],
                env=environment,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                check=True,
            )
            printed = [line.rstrip() for line in done.stdout.splitlines()]
            for line in shown:
                assert line.rstrip() in printed, (command, done.stdout)


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_is_in_the_readme(name: str) -> None:
    assert re.search(rf"`(sf-assets )?{name}[` ]", README)


@pytest.mark.parametrize("name", VARIABLES.values())
def test_every_setting_is_in_the_readme(name: str) -> None:
    assert f"`{name}`" in README


@pytest.mark.parametrize("name", sorted(column_comments()))
def test_every_table_is_in_the_readme(name: str) -> None:
    assert f"`{name}`" in README


def test_sql_of_the_readme_and_the_examples_ask_for_utc_days_wherever_one_is(
    tmp_path: Path,
) -> None:
    asked = re.findall(r"```sql\n(.*?)```", README, re.DOTALL)
    asked += [one.sql() for one in examples()]
    assert len(asked) > 10
    path = tmp_path / "sf_assets.duckdb"
    with writing_file(path):
        pass  # the tables, which are empty
    for sql in asked:
        with duckdb.connect(str(path), read_only=True) as con:
            plans = []
            for zone in ("Pacific/Kiritimati", "Pacific/Niue"):  # 25 hours apart
                con.execute(f"SET TimeZone = '{zone}'")
                con.execute(sql)
                days = re.findall(r"timezone\('UTC', now\(\)\)::DATE(?: - \d+)?", sql)
                plans.append([con.execute(f"SELECT {day}").fetchall() for day in days])
            assert plans[0] == plans[1]
        assert not re.search(r"current_date|today\(\)|current_timestamp|now\(\)(?!\))", sql)


def test_pictures_of_the_readme_are_there() -> None:
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", README)
    assert pictures
    assert [name for name in pictures if not (ROOT / name).exists()] == []


def test_ci_runs_the_readmes_test_command() -> None:
    command = re.search(r"^python3 -m venv .* && \.venv/bin/pytest$", README, re.MULTILINE)
    assert command is not None
    assert command[0] in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_alert_in_the_readme_is_the_one_that_is_posted() -> None:
    (shown,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    day = date(2026, 11, 22)
    handle, both = "sim.goes.dark", ("followers", "following")
    ids = tuple(f"{day}/{handle}/{relation}/found-private" for relation in both)
    before = date(2026, 11, 21)
    alert = StatusChange(ids, handle, both, day, before, "found", "private")
    (message,) = messages([alert], "http://127.0.0.1:3000")
    assert json.loads(shown) == message.data


@pytest.mark.parametrize("kind", ALERT_KINDS)
def test_every_kind_of_alert_is_in_the_readme(kind: str) -> None:
    assert f"| `{kind}` |" in README
