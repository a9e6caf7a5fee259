"""The file gives back what rewriting left free, whatever happens while it does."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from sf_assets.storage.home import Home
from sf_assets.warehouse import compact as compaction
from sf_assets.warehouse.compact import GROWTH, SMALL, compact
from sf_assets.warehouse.connection import locked, writing
from sf_assets.warehouse.migrate import migrate
from sf_assets.warehouse.rebuild import rebuild

from .conftest import DAY1, DAY3, Undisturbed, World, serve_day, tables
from .test_warehouse import held

# `sf-assets snapshot`, with files of any size made smaller; the step itself may be wrapped.
EAGER = """
from sf_assets.warehouse import compact as compaction
compaction.SMALL = 0
{more}
from sf_assets.cli.main import main
main(["snapshot"])
"""

FULL_DISK = """
import resource
from sf_assets.warehouse import compact as compaction
replace = compaction._replace
def limited(*given, **named):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        return replace(*given, **named)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
compaction._replace = limited
"""

# All that is in the file and can have a comment, with its form.
_FORM = (
    "SELECT schema_name, table_name, column_name, data_type, comment FROM duckdb_columns()",
    "SELECT schema_name, view_name, comment FROM duckdb_views()",
    "SELECT schema_name, table_name, comment FROM duckdb_tables()",
    "SELECT schema_name, function_name, parameters, macro_definition, comment "
    "FROM duckdb_functions()",
)


def everything(path: Path) -> tuple[list[Any], dict[str, list[Any]]]:
    """Form and comments of all that is in the file, and all rows in their order."""
    with duckdb.connect(str(path), read_only=True) as con:
        form = [
            con.execute(f"{query} WHERE NOT internal ORDER BY ALL").fetchall() for query in _FORM
        ]
        names = con.execute(
            "SELECT table_schema, table_name FROM information_schema.tables"
        ).fetchall()
        rows = {
            f"{schema}.{name}": con.execute(f"SELECT * FROM {schema}.{name}").fetchall()
            for schema, name in names
            if name != "warehouse_format"
        }
    return form, rows


def bloat(path: Path) -> None:
    """Rewrite a table of some megabytes, as many days would."""
    with writing(path) as con:
        con.execute(
            "INSERT INTO internal.churn (account_id, account_handle) "
            "SELECT sha256(CAST(n AS VARCHAR)), sha256('@' || n) FROM range(60000) AS r(n)"
        )
    for column in ("account_id", "account_handle"):
        with writing(path) as con:
            con.execute(f"UPDATE internal.churn SET {column} = sha256({column})")


@pytest.fixture(scope="module")
def bloated_once(folder: Path) -> Path:
    path = folder / "bloated" / "sf_assets.duckdb"
    path.parent.mkdir()
    bloat(path)
    return path


@pytest.fixture
def bloated(bloated_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(bloated_once, tmp_path))


def test_a_file_is_made_smaller_once_and_holds_what_it_held(bloated: Path) -> None:
    before, size = everything(bloated), bloated.stat().st_size
    assert size > SMALL
    form, _ = before
    assert all(any(row[-1] for row in rows) for rows in form)  # there are comments to lose
    assert compact(bloated)
    assert everything(bloated) == before
    small = bloated.stat().st_size
    assert small < size / GROWTH
    assert bloated.stat().st_mode & 0o777 == 0o600
    assert not compact(bloated)
    # Once it has grown by a third again, it is worth it again.
    bloat(bloated)
    assert bloated.stat().st_size > GROWTH * small
    assert compact(bloated)
    assert sorted(path.name for path in bloated.parent.iterdir()) == [
        "sf_assets.duckdb",
        "sf_assets.lock",
    ]


def test_a_small_file_is_left_alone_and_left_overs_go(tmp_path: Path) -> None:
    path = tmp_path / "sf_assets.duckdb"
    with writing(path):
        pass
    spilled = tmp_path / "sf_assets.duckdb.compacting.tmp"
    spilled.mkdir()
    (spilled / "one").write_bytes(b"spilled by a process that was killed")
    (tmp_path / "sf_assets.duckdb.compacting").write_bytes(b"half a file")
    before = path.read_bytes()
    assert not compact(path)
    assert path.read_bytes() == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ["sf_assets.duckdb", "sf_assets.lock"]


def test_a_file_that_is_held_or_was_not_closed_is_left_alone(
    bloated: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = bloated.stat()
    with duckdb.connect(str(bloated)) as con:
        con.execute("CREATE VIEW snapshots_seen AS FROM snapshots")
    with held(bloated, "writing"):
        assert not compact(bloated)
    assert "is not compacted now" in caplog.text
    with locked(bloated):
        assert not compact(bloated, 0.1)
    wal = bloated.with_name("sf_assets.duckdb.wal")
    wal.write_bytes(b"")
    assert not compact(bloated)
    assert bloated.stat().st_ino == before.st_ino
    wal.unlink()
    with held(bloated, "reading") as tool:
        assert compact(bloated)
        assert tool.stdin is not None
        assert tool.stdout is not None
        tool.stdin.write("again\n")
        tool.stdin.flush()
        assert tool.stdout.readline() == "0\n"  # it reads on what it opened


def test_a_disk_without_room_fails_no_run(world: World, undisturbed: Undisturbed) -> None:
    home = world.home()
    ended = world.run(home, code=EAGER.format(more=FULL_DISK))
    assert ended.code == 0, ended.stderr
    assert copied_size(home) is None
    assert tables(home) == undisturbed.tables
    assert [one.name for one in home.warehouse.parent.iterdir() if "compacting" in one.name] == []


def test_killed_before_the_smaller_file_is_in_place_the_old_one_stands(
    world: World, undisturbed: Undisturbed
) -> None:
    home = world.home()
    eager = EAGER.format(more="")
    assert world.run(home, code=eager, SF_ASSETS_CRASH_AT="compacted").killed
    assert home.warehouse.with_name("sf_assets.duckdb.compacting").exists()
    spent = world.server.credits
    ended = world.run(home, code=eager)
    assert ended.code == 0, ended.stderr
    assert world.server.credits == spent
    assert tables(home) == undisturbed.tables
    assert not home.warehouse.with_name("sf_assets.duckdb.compacting").exists()
    # The day was derived before it was killed: nothing is left to be done of it but this.
    serve_day(world.server, DAY3)
    assert world.run(home, code=eager, day=DAY3).code == 0
    assert copied_size(home)


def test_what_is_rebuilt_or_moved_has_no_room_left_in_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "SMALL", 0)
    for name, value in world.environment(Home(tmp_path), DAY1).items():
        monkeypatch.setenv(name, value)
    home = world.home()
    before = tables(home)
    rebuild(home)
    assert copied_size(home)
    assert tables(home) == before
    there = Home(tmp_path / "there")
    migrate(home, there)
    assert copied_size(there)


def copied_size(home: Home) -> int | None:
    """How large the file was when it was last copied."""
    with duckdb.connect(os.fspath(home.warehouse), read_only=True) as con:
        found = con.execute("SELECT copied_size FROM internal.warehouse_format").fetchall()
    size: int | None = found[0][0]
    return size
