"""Files that DuckDB 1.5 and 2 both read and write, whichever of them made them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import duckdb
import pytest

from sf_assets.warehouse import compact as compaction
from sf_assets.warehouse.connection import writing
from sf_assets.warehouse.rebuild import rebuild
from sf_assets_tests.homes import add_day, fill
from sf_assets_tests.tables import published_tables

# A Python with the other DuckDB and all else that we need; `.ci/run` has one.
OTHER = os.environ.get("SF_ASSETS_TESTS_OTHER_PYTHON")
ROOT = Path(__file__).resolve().parents[2]


def storage_version(path: Path) -> str:
    with duckdb.connect(str(path.resolve()), read_only=True) as con:
        return str(
            con.execute(
                "SELECT tags['storage_version'] FROM duckdb_databases() WHERE NOT internal"
            ).fetchall()[0][0]
        )


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of any size are made smaller, whenever that is looked at."""
    monkeypatch.setattr(compaction, "SMALL", 0)
    monkeypatch.setattr(compaction, "GROWTH", 0)


def test_all_files_are_of_the_version_of_1_5(tmp_path: Path, eager: None) -> None:
    home = fill(tmp_path / "home", days=1)
    assert storage_version(home.warehouse) == storage_version(home.published) == "v1.5.0+"
    rebuild(home)
    assert storage_version(home.warehouse) == "v1.5.0+"
    with writing(tmp_path / "new" / "w.duckdb"):
        pass
    assert storage_version(tmp_path / "new" / "w.duckdb") == "v1.5.0+"


@pytest.mark.skipif(duckdb.__version__ < "2", reason="DuckDB 1.5 cannot make such a file")
def test_a_file_that_only_duckdb_2_reads_is_copied_into_one_of_1_5(tmp_path: Path) -> None:
    home = fill(tmp_path / "home", days=1)
    newer = tmp_path / "newer.duckdb"
    with duckdb.connect() as con:
        con.execute(f"ATTACH '{home.warehouse}' AS old (READ_ONLY)")
        con.execute(f"ATTACH '{newer}' AS new (STORAGE_VERSION 'v2.0.0')")
        con.execute("COPY FROM DATABASE old TO new")
    newer.replace(home.warehouse)
    assert storage_version(home.warehouse) == "v2.0.0+"
    add_day(home, 2)
    assert storage_version(home.warehouse) == storage_version(home.published) == "v1.5.0+"
    assert published_tables(home.published) == published_tables(
        fill(tmp_path / "usual", days=2).published
    )


def elsewhere(code: str, *arguments: object) -> str:
    """Run code with the other DuckDB."""
    assert OTHER is not None
    done = subprocess.run(
        [OTHER, "-W", "ignore", "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd="/",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


ADD_DAY = """
import sys
from pathlib import Path
from sf_assets.storage.home import Home
from sf_assets.warehouse import compact
from sf_assets_tests.homes import add_day
compact.SMALL = compact.GROWTH = 0
add_day(Home(Path(sys.argv[1])), int(sys.argv[2]))
"""
READ = """
import sys
from pathlib import Path
from sf_assets_tests.tables import published_tables
print(published_tables(Path(sys.argv[1])))
"""


@pytest.mark.skipif(OTHER is None, reason="SF_ASSETS_TESTS_OTHER_PYTHON names no other DuckDB")
@pytest.mark.parametrize("first", ["here", "elsewhere"])
def test_two_duckdbs_take_turns_on_one_home(tmp_path: Path, eager: None, first: str) -> None:
    other = elsewhere("import duckdb; print(duckdb.__version__)")
    assert other.split(".")[0] != duckdb.__version__.split(".")[0]
    home = fill(tmp_path / "home", days=0)
    for day in (1, 2, 3, 4):
        if (day % 2 == 1) == (first == "here"):
            add_day(home, day)
        else:
            elsewhere(ADD_DAY, home.root, day)
        assert elsewhere(READ, home.published) == str(published_tables(home.published))
    wanted = published_tables(fill(tmp_path / "usual", days=4).published)
    assert published_tables(home.published) == wanted
    elsewhere(
        "import sys; from pathlib import Path; from sf_assets.storage.home import Home; "
        "from sf_assets.warehouse.rebuild import rebuild; rebuild(Home(Path(sys.argv[1])))",
        home.root,
    )
    assert published_tables(home.published) == wanted
