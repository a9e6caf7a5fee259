"""README.md and docs/ are true: sessions, commands, settings, tables, SQL; the site builds."""

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
from sf_assets_tests.looks.test_english import ODD_WORDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
README = PAGES["README.md"]
EVERYTHING = "\n".join(PAGES.values())
Steps = tuple[tuple[str, tuple[str, ...]], ...]


def sessions() -> dict[Steps, str]:
    """Each session once, with where it stands: (command, the output shown below it), in order.

    A section is a session. Those that import files are run in cli/test_importing.py.
    """
    found: dict[Steps, str] = {}
    for page, text in PAGES.items():
        for section in re.split(r"^## ", text, flags=re.MULTILINE):
            steps: list[tuple[str, list[str]]] = []
            for line in "".join(
                re.findall(r"```console\n(.*?)```", section, re.DOTALL)
            ).splitlines():
                if line.startswith("$ "):
                    steps.append((line[2:], []))
                elif line:
                    steps[-1][1].append(line)
            steps = [step for step in steps if step[0] != "sf-assets up"]
            if steps and "sf-assets import" not in section:
                where = f"{page}: {section.splitlines()[0]}"
                found.setdefault(tuple((command, tuple(out)) for command, out in steps), where)
    return found


@pytest.mark.parametrize("steps", [pytest.param(one, id=name) for one, name in sessions().items()])
def test_a_session_prints_what_the_page_shows(tmp_path: Path, steps: Steps) -> None:
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
    published = tmp_path / "data" / "sf_assets.duckdb"
    if "follower_churn" in str(steps):
        # The SQL of the page has rows in the home of its session, on whatever day it is read.
        with duckdb.connect(str(published), read_only=True) as con:
            for sql in re.findall(r"```sql\n(.*?)```", README + PAGES["docs/tables.md"], re.DOTALL):
                assert "now()" not in sql
                assert con.execute(sql).fetchall()


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_command_is_documented(name: str) -> None:
    assert re.search(rf"`(sf-assets )?{name}[` ]", EVERYTHING)


@pytest.mark.parametrize("name", VARIABLES.values())
def test_every_setting_is_documented(name: str) -> None:
    assert f"`{name}`" in EVERYTHING


@pytest.mark.parametrize("name", sorted(column_comments()))
def test_every_table_is_documented(name: str) -> None:
    assert f"`{name}`" in EVERYTHING


def test_sql_of_the_pages_and_the_examples_asks_for_utc_days_wherever_one_is(
    tmp_path: Path,
) -> None:
    # The macros of docs/archive.md have a test of their own (warehouse/test_pack.py).
    pages = "".join(text for page, text in PAGES.items() if page != "docs/archive.md")
    asked = re.findall(r"```sql\n(.*?)```", pages, re.DOTALL)
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


OTHER_PAGES = (
    "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "benchmarks/README.md",
    "deploy/README.md", "examples/existing_project/README.md",
    "sf_assets/warehouse/sql/README.md",
)  # fmt: skip


@pytest.mark.parametrize("page", [*PAGES, *OTHER_PAGES])
def test_a_page_is_in_plain_words(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```|`[^`]*`", "", text, flags=re.DOTALL | re.MULTILINE)
    assert [found[0] for found in ODD_WORDS.finditer(" ".join(prose.split()))] == []


def test_the_readme_is_read_in_two_minutes() -> None:
    assert len(README.encode()) <= 8_000


def test_links_and_pictures_of_the_readme_are_there() -> None:
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", README)
    local = [name for name in targets if not name.startswith("https://")]
    assert len(local) > 20
    assert [name for name in local if not (ROOT / name).exists()] == []


def test_ci_runs_the_readmes_test_command() -> None:
    command = re.search(r"^python3 -m venv .* && \.venv/bin/pytest$", README, re.MULTILINE)
    assert command is not None
    assert command[0] in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_alert_on_the_page_is_the_one_that_is_posted() -> None:
    (shown,) = re.findall(r"```json\n(.*?)```", PAGES["docs/alerts.md"], re.DOTALL)
    day = date(2026, 11, 22)
    handle, both = "sim.goes.dark", ("followers", "following")
    ids = tuple(f"{day}/{handle}/{relation}/found-private" for relation in both)
    before = date(2026, 11, 21)
    alert = StatusChange(ids, handle, both, day, before, "found", "private")
    (message,) = messages([alert], "http://127.0.0.1:3000")
    assert json.loads(shown) == message.data


@pytest.mark.parametrize("kind", ALERT_KINDS)
def test_every_kind_of_alert_is_documented(kind: str) -> None:
    assert f"| `{kind}` |" in EVERYTHING


def build_site(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "-q",
        "--strict",
        "-d",
        str(folder),
        *options,
    ]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_site_builds_without_a_broken_link_and_loads_nothing_from_the_net(
    tmp_path: Path,
) -> None:
    done = build_site(tmp_path / "site")
    assert done.returncode == 0, done.stderr
    built = list((tmp_path / "site").rglob("*.html"))
    assert len(built) > len(PAGES)
    loads = re.compile(r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=\"?(?:https?:)?//[^>]*>")
    for path in built:
        assert loads.findall(path.read_text(encoding="utf-8")) == [], path
