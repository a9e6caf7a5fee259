"""What the folders above a home are called never matters."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sf_assets.cli.runner import prepare_dagster_home
from sf_assets.errors import SettingsError
from sf_assets.settings import load_settings
from sf_assets.storage.home import Home
from sf_assets.storage.object_store import pattern_of
from sf_assets.warehouse.connection import reading
from sf_assets.warehouse.rebuild import rebuild
from sf_assets_tests.homes import fill
from sf_assets_tests.tables import published_tables

# Several folders of a path at once, where they do not need a neighbour of their own.
ODD = [
    ("handle=bob", "relation=x", "snapshot_date=1", "path=x"),
    ("day=2026-11-01", "attempt=9", "position=1"),
    ("it's", '"q"', "a;b", "{x,y}", "$HOME", "-x", "back\\slash"),
    ("100%", "100%20x", "#1", " two  words ", "día-日本", "a:b", "md:x", "new\nline"),
    ("a*b",),
    ("**",),
    ("a[b]c",),
    ("a[!b", "a\\*b"),
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return fill(tmp_path_factory.mktemp("plain") / "home")


@pytest.mark.parametrize("names", ODD, ids="/".join)
def test_a_home_of_any_name_loads_derives_and_rebuilds(
    names: tuple[str, ...], tmp_path: Path, plain: Home
) -> None:
    # What the name would match as a pattern is there, too, and must not be read.
    neighbours = [tmp_path / name for name in ("abc", "axb", "zz")] if len(names) == 1 else []
    for neighbour in neighbours:
        shutil.copytree(plain.root, neighbour, symlinks=True)
    home = fill(tmp_path.joinpath(*names))
    wanted = published_tables(plain.published)
    assert wanted["main.follower_churn"]
    assert published_tables(home.published) == wanted
    for neighbour in neighbours:
        shutil.copytree(home.archive, neighbour / "archive", dirs_exist_ok=True)
    rebuild(home)
    assert published_tables(home.published) == wanted
    with reading(home.readable) as con:
        listed = con.execute("SELECT count(*) FROM followers_on('nova', DATE '2026-11-02')")
        assert listed.fetchall() == [(8,)]


def test_a_pattern_stands_for_one_file_alone() -> None:
    assert pattern_of(Path("/a/b=1/c?d/x[1]*/e.parquet")) == "/a/b=1/c[?]d/x[[]1][*]/e.parquet"
    assert pattern_of("/back\\slash/a\\*b") == "/back\\slash/a?[*]b"
    assert pattern_of("s3://bucket/a[1]/b") == "s3://bucket/a[1]/b"


@pytest.mark.parametrize("variable", ["SF_ASSETS_HOME", "SF_ASSETS_STORAGE"])
@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("/srv/what?", "without ?"),
        ("/srv/x?access_mode=READ_ONLY/home", "without ?"),
        ("/srv/\udcff", "cannot be used as a folder"),
        ("~nosuchuser/home", "cannot be used as a folder"),
    ],
)
def test_a_folder_that_duckdb_cannot_be_given_is_refused(
    variable: str, folder: str, said: str
) -> None:
    with pytest.raises(SettingsError, match=f"{variable}: .*{said}"):
        load_settings({variable: folder, "SF_ASSETS_WAREHOUSE": "ducklake:postgres:dbname=x"})


def test_a_home_where_dagster_would_not_find_its_settings_is_refused(tmp_path: Path) -> None:
    for name in ("a*b", "[ab]"):
        with pytest.raises(SettingsError, match="use a path without"):
            prepare_dagster_home(Home(tmp_path / name))
    assert list(tmp_path.iterdir()) == []
