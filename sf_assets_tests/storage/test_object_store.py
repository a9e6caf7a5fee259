"""Where tables and files may be: addresses that are taken, passwords not told, the grid."""

from __future__ import annotations

import os
from datetime import date, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from sf_assets.cli import main
from sf_assets.defs.partitions import Grid
from sf_assets.errors import SettingsError
from sf_assets.settings import load_settings
from sf_assets.storage.address import Lake, without_password
from sf_assets.storage.home import Home
from sf_assets.storage.object_store import place
from sf_assets.warehouse.connection import reading, writing
from sf_assets_tests.components import missing
from sf_assets_tests.conftest import Pipeline
from sf_assets_tests.served_lists import KEY, ListServer, account


@pytest.mark.parametrize(
    "address",
    ["ducklake:postgres:host=db dbname=lake", "ducklake:/srv/catalog.ducklake"],
)
def test_an_address_of_the_warehouse_is_taken(address: str) -> None:
    os.environ["SF_ASSETS_WAREHOUSE"] = address
    assert Home.of(load_settings()).lake == Lake(address, f"{Path('data').absolute()}/lake/")


@pytest.mark.parametrize(
    "address", ["lake", "postgres:host=db", "ducklake:", "ducklake:mysql:x", "md:sf"]
)
def test_another_address_is_refused_with_what_it_may_be(address: str) -> None:
    os.environ["SF_ASSETS_WAREHOUSE"] = address
    with pytest.raises(SettingsError, match="SF_ASSETS_WAREHOUSE: must be ducklake:postgres:<dsn>"):
        load_settings()


@pytest.mark.parametrize("storage", ["s3://", "gs://bucket", "s3:// bucket", "https://x/y"])
def test_a_storage_that_is_none_is_refused(storage: str) -> None:
    os.environ.update(SF_ASSETS_WAREHOUSE="ducklake:x", SF_ASSETS_STORAGE=storage)
    with pytest.raises(SettingsError, match="must be a folder, or s3://bucket/prefix"):
        load_settings()


def test_a_storage_without_a_lake_is_refused() -> None:
    os.environ["SF_ASSETS_STORAGE"] = "s3://bucket/prefix"
    with pytest.raises(SettingsError, match=r"SF_ASSETS_STORAGE: .* set the warehouse too"):
        load_settings()


def test_unset_everything_is_in_the_home() -> None:
    home = Home.of(load_settings())
    assert (home.writable, home.readable) == (home.warehouse, home.published)
    assert home.archive == home.root / "archive"


def test_a_folder_holds_archive_landing_and_the_lakes_files(tmp_path: Path) -> None:
    os.environ.update(SF_ASSETS_WAREHOUSE="ducklake:x", SF_ASSETS_STORAGE=f"{tmp_path}/far/")
    home = Home.of(load_settings())
    assert (home.archive, home.landing) == (tmp_path / "far/archive", tmp_path / "far/landing")
    assert home.lake is not None
    assert home.lake.data == f"{tmp_path}/far/lake/"
    assert place(str(tmp_path), "archive") == tmp_path / "archive"


@pytest.mark.parametrize(
    "address",
    [
        "ducklake:postgres:host=db user=sf password=hush dbname=lake",
        r"ducklake:postgres:host=db password='hush it\'s hush' user=sf",
        "ducklake:postgres:postgresql://sf:hush@db:5432/lake",
    ],
)
def test_the_password_of_an_address_is_not_shown(address: str) -> None:
    lake = Lake(address, "/data")
    for shown in (str(lake), repr(lake), without_password(f"cannot connect to {address}: no")):
        assert "hush" not in shown
    assert "***" in str(lake)
    os.environ["SF_ASSETS_WAREHOUSE"] = address
    assert "hush" not in repr(load_settings())


def test_the_grid_rolls_on_and_forgets_no_marker(tmp_path: Path) -> None:
    os.environ.update(
        SF_ASSETS_HOME=str(tmp_path),
        SOCIALFETCH_BASE_URL="http://127.0.0.1:1",
        SF_ASSETS_TODAY="2026-11-01",
    )
    Home.of(load_settings()).ensure(load_settings())
    os.environ["SF_ASSETS_TODAY"] = "2026-12-01"
    home = Home.of(load_settings())
    assert home.start_date(load_settings()) == date(2026, 11, 1)
    os.environ["SF_ASSETS_GRID_DAYS"] = "10"
    assert home.start_date(load_settings()) == date(2026, 11, 22)
    os.environ["SF_ASSETS_GRID_DAYS"] = "100"
    assert home.start_date(load_settings()) == date(2026, 11, 1)
    os.environ["SF_ASSETS_START_DATE"] = "2026-11-30"
    assert home.start_date(load_settings()) == date(2026, 11, 30)


def test_days_that_left_the_grid_stay_in_the_warehouse_and_count(tmp_path: Path) -> None:
    first = date(2026, 11, 1)
    os.environ["SF_ASSETS_GRID_DAYS"] = "2"
    with ListServer() as server:
        pipeline = Pipeline(tmp_path, server.url, KEY, first)
        pipeline.track("nova")
        for late in range(4):
            day = first + timedelta(days=late)
            server.set("nova", "followers", [account(n) for n in range(30 + late, late, -1)])
            server.set("nova", "following", [])
            assert all(one.success for one in pipeline.snapshot(day, "nova"))
    grid = Grid(pipeline.home.start_date(load_settings()), date(2026, 11, 4))
    assert grid.days.get_first_partition_key() == "2026-11-03"
    assert pipeline.ask("SELECT count(*), min(snapshot_date) FROM follower_snapshots") == [
        (4, first)
    ]
    assert pipeline.ask("SELECT max(avg_daily_net_28d), count(*) FROM follower_growth") == [
        (0.0, 4)
    ]
    assert pipeline.ask("SELECT count(*) FROM follower_churn WHERE change = 'gained'") == [(3,)]


@pytest.mark.scale
@pytest.mark.skipif(missing("lake") is not None, reason=str(missing("lake")))
def test_a_lake_whose_catalog_is_a_file_needs_no_server(tmp_path: Path) -> None:
    os.environ.update(
        SF_ASSETS_HOME=str(tmp_path), SF_ASSETS_WAREHOUSE=f"ducklake:{tmp_path}/lake/catalog.db"
    )
    home = Home.of(load_settings())
    with pytest.raises(FileNotFoundError), reading(home.readable):
        pass
    with writing(home.writable) as con:
        con.execute("INSERT INTO internal.snapshots (handle) VALUES ('nova')")
    with reading(home.readable) as con:
        assert con.execute("SELECT handle FROM snapshots").fetchall() == [("nova",)]
        meaning = con.execute(
            "SELECT meaning FROM column_meanings "
            "WHERE table_name = 'snapshots' AND column_name = 'listed'"
        ).fetchall()
        assert len(meaning[0][0]) > 10
    done = CliRunner().invoke(main, ["query"])
    assert done.exit_code == 0, done.output
    assert "followers_on(handle, day)" in done.output
    assert "in the follower list as it stood on a day" in done.output
