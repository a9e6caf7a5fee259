"""Whatever is wrong is told in one clear sentence, with the right exit code; nothing is written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import duckdb
import pytest

from sf_assets.warehouse.publish import publish
from sf_assets.warehouse.schema import WAREHOUSE_FORMAT
from sf_assets_tests.cli.shell import child, contents, run, use
from sf_assets_tests.homes import fill
from sf_assets_tests.served_lists import KEY, ListServer

BAD_HANDLES = [
    "a/b",
    "..",
    "",
    " ",
    "a" * 129,
    "foo|bar",
    "'; DROP TABLE snapshots; --",
    "<script>alert(1)</script>",
    "nasa\nesa",
    "@",
    "наса",
]
COMMANDS = [
    ["track", "nasa"],
    ["untrack", "nasa"],
    ["handles"],
    ["snapshot"],
    ["query", "FROM snapshots"],
    ["rebuild"],
    ["up", "--port", "39998"],
]


@pytest.mark.parametrize("handle", BAD_HANDLES, ids=range(len(BAD_HANDLES)))
@pytest.mark.parametrize("command", ["track", "untrack", "snapshot"])
def test_what_is_no_handle_is_refused_before_anything_is_made(
    tmp_path: Path, command: str, handle: str
) -> None:
    home = use(tmp_path / "home", url="http://127.0.0.1:9", key=KEY)
    said = run(command, "--", handle)
    assert (said.code, said.out) == (2, "")
    assert "is not a TikTok handle" in said.complaint
    assert not home.exists()


@pytest.mark.parametrize("command", ["track", "untrack", "snapshot"])
def test_a_bad_handle_among_good_ones_changes_nothing(tmp_path: Path, command: str) -> None:
    home = use(tmp_path / "home", url="http://127.0.0.1:9", key=KEY)
    run("track", "nasa")
    before = contents(home)
    assert run(command, "nasa", "a/b").code == 2
    assert contents(home) == before


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("handles:\n  - nasa\n  - a/b\n", 3),
        ("handles:\n  nasa:\n    depth: shallow\n", 3),
        ("handles: [nasa\n", 2),
        ("handels: [nasa]\n", 1),
        ("handles:\n  - nasa\n  - NASA\n", 3),
        ("handles: 'nasa\x00'\n", 1),
    ],
)
@pytest.mark.parametrize(
    "command", [["track", "esa"], ["untrack", "nasa"], ["handles"], ["snapshot"]]
)
def test_a_broken_registry_is_told_with_file_and_line_and_kept(
    tmp_path: Path, command: list[str], text: str, line: int
) -> None:
    home = use(tmp_path / "home", url="http://127.0.0.1:9", key=KEY)
    home.mkdir()
    (home / "handles.yaml").write_text(text)
    before = contents(home)
    said = run(*command)
    assert (said.code, said.out) == (2, "")
    assert f"handles.yaml:{line}: " in said.complaint
    assert contents(home) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SOCIALFETCH_BASE_URL", "http://api.socialfetch.dev"),
        ("SOCIALFETCH_BASE_URL", "api.socialfetch.dev"),
        ("SOCIALFETCH_BASE_URL", "https://user:word@api.socialfetch.dev"),
        ("SF_ASSETS_START_DATE", "yesterday"),
        ("SF_ASSETS_START_DATE", "0"),
        ("SF_ASSETS_CRON", "daily"),
        ("SF_ASSETS_CRON", "61 6 * * *"),
        ("SF_ASSETS_CONCURRENCY", "501"),
        ("SF_ASSETS_CONCURRENCY", "many"),
        ("SF_ASSETS_DAILY_CREDITS", "-1"),
        ("SF_ASSETS_TODAY", "2026-02-30"),
    ],
)
def test_a_bad_setting_is_named_before_anything_is_made(
    tmp_path: Path, name: str, value: str
) -> None:
    home = use(tmp_path / "home", key=KEY)
    os.environ[name] = value
    for command in COMMANDS:
        said = run(*command)
        assert (said.code, said.out) == (2, "")
        assert name in said.complaint
        assert said.err.count("\n") == 1
        assert "user:word" not in said.err
    assert not home.exists()


def test_a_pretend_day_with_the_real_api_is_refused(tmp_path: Path) -> None:
    home = use(tmp_path / "home", key=KEY)
    os.environ["SF_ASSETS_TODAY"] = "2026-11-01"
    for command in COMMANDS:
        said = run(*command)
        assert said.code == 2
        assert "SF_ASSETS_TODAY: works only with" in said.complaint
    assert not home.exists()


@pytest.mark.parametrize("command", [["snapshot"], ["up", "--port", "39998"]])
def test_the_real_api_needs_a_key(tmp_path: Path, command: list[str]) -> None:
    home = use(tmp_path / "home")
    said = run(*command)
    assert (said.code, said.out) == (2, "")
    assert "SOCIALFETCH_API_KEY is not set" in said.complaint
    assert "sf-assets demo" in said.complaint
    assert not home.exists()


def test_a_key_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    home = use(tmp_path / "home")
    os.environ["SOCIALFETCH_API_KEY_FILE"] = str(tmp_path / "no.key")
    said = run("snapshot")
    assert said.code == 2
    assert "SOCIALFETCH_API_KEY_FILE" in said.complaint
    assert not home.exists()


def test_a_cron_expression_that_never_comes_is_refused_before_anything_starts(
    tmp_path: Path,
) -> None:
    home = use(tmp_path / "home", url="http://127.0.0.1:9", key=KEY)
    said = child("up", "--port", "39998", cwd=tmp_path, SF_ASSETS_CRON="0 6 31 2 *")
    assert (said.code, said.out) == (2, "")
    assert said.complaint.startswith("sf-assets: SF_ASSETS_CRON: '0 6 31 2 *' never occurs")
    assert not home.exists()


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    # Below a file: not even root can write there.
    use(tmp_path / "file" / "home", url="http://127.0.0.1:9", key=KEY)
    before = contents(tmp_path)
    for command in (["track", "nasa"], ["rebuild"], ["up", "--port", "39998"]):
        said = run(*command)
        assert (said.code, said.out) == (2, "")
        assert "SF_ASSETS_HOME" in said.complaint
    assert contents(tmp_path) == before


def test_a_home_of_a_newer_version_is_refused_by_every_command_and_not_changed(
    tmp_path: Path,
) -> None:
    with ListServer() as server:
        home = use(tmp_path / "home", url=server.url, key=KEY)
        run("track", "nasa")
        marker = {"format": 99, "start_date": "2026-11-01", "created_by": "9.0"}
        (home / "home.json").write_text(json.dumps(marker))
        before = contents(home)
        for command in COMMANDS:
            said = run(*command)
            assert (said.code, said.out) == (2, "")
            assert "made by a newer sf_assets (9.0)" in said.complaint
        assert run("doctor").code == 2
        assert contents(home) == before
        assert not [one for one in server.requests if "/profiles/" in one.path]


@pytest.mark.parametrize(
    "arguments", [["handles"], ["alerts"], ["report"], ["forecast"], ["query", "FROM snapshots"]]
)
def test_a_published_file_that_is_damaged_is_told(tmp_path: Path, arguments: list[str]) -> None:
    home = use(tmp_path / "home", url="http://127.0.0.1:9", key=KEY)
    run("track", "nasa")
    (home / "sf_assets.duckdb").write_bytes(b"no database at all, but long enough for one" * 999)
    said = run(*arguments)
    assert said.code == 2
    assert "not a valid DuckDB database file" in said.complaint


def test_a_dagster_yaml_that_dagster_does_not_know_is_told(tmp_path: Path) -> None:
    home = use(tmp_path / "home", url="http://127.0.0.1:9", key=KEY)
    run("track", "nasa")
    (home / "dagster").mkdir()
    (home / "dagster" / "dagster.yaml").write_text("no_such_section: 1\n")
    said = run("snapshot")
    assert said.code == 2
    assert "dagster.yaml" in said.complaint
    assert (home / "dagster" / "dagster.yaml").read_text() == "no_such_section: 1\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["track"],
        ["track", "nasa", "--pages", "0"],
        ["track", "nasa", "--relation", "friends"],
        ["snapshot", "--relation", "friends"],
        ["up", "--port", "0"],
        ["demo", "--days", "0"],
        ["simulate", "--page-size", "0"],
        ["query", "SELECT 1", "SELECT 2"],
        ["--no-such-option"],
    ],
)
def test_wrong_usage_is_exit_2_and_shows_where_help_is(
    tmp_path: Path, arguments: list[str]
) -> None:
    home = use(tmp_path / "home")
    said = run(*arguments)
    assert said.code == 2
    assert "--help" in said.err
    assert not home.exists()


def test_a_mistyped_command_is_told_the_one_that_was_meant() -> None:
    said = run("snapsot")
    assert said.code == 2
    assert "Did you mean 'snapshot'?" in said.err


def test_a_wrong_target_of_a_migration_names_the_option(tmp_path: Path) -> None:
    use(tmp_path / "home")
    assert run("migrate", "--to", "postgres:x").complaint == (
        "sf-assets: migrate: --to: must be ducklake:postgres:<dsn> or ducklake:<catalog file>; "
        "duckdb for a DuckDB file in the home"
    )
    said = run("migrate", "--to", "ducklake:x", "--storage", "ftp://x")
    assert said.complaint.startswith("sf-assets: migrate: --storage: must be ")


@pytest.mark.parametrize(
    ("made_as", "said_of_it"),
    [
        (99, "made by a newer sf_assets; this one knows formats up to"),
        (4, "made by an older sf_assets: run a snapshot to upgrade it, or sf-assets rebuild"),
        (WAREHOUSE_FORMAT, "run sf-assets rebuild, or a snapshot, which publishes it again"),
    ],
)
def test_a_published_file_in_another_form_is_named_with_the_way_out(
    tmp_path: Path, made_as: int, said_of_it: str
) -> None:
    home = fill(tmp_path / "home")
    use(home.root, url="http://127.0.0.1:9", key=KEY)
    with duckdb.connect(str(home.warehouse)) as con:
        con.execute(f"UPDATE internal.warehouse_format SET format = {made_as}")
        for table, column in (("internal.snapshots", "listed"), ("follower_growth", "gap_days")):
            con.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    publish(home)
    for command in ("report", "handles"):
        said = run(command)
        assert said.code == 2
        assert said_of_it in said.complaint
    assert said_of_it in run("doctor").out
    if made_as == 99:  # the reason is told, not that no table can be shown
        asked = run("snapshot")
        assert asked.code == 1
        assert "0 pages bought" in asked.out
        assert said_of_it in asked.complaint
