"""Moving up to a lake and back: the same rows, the same files, and the old home as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sf_assets.errors import SettingsError
from sf_assets.settings import load_settings
from sf_assets.storage.home import Home
from sf_assets.storage.landings import landing_at
from sf_assets.storage.object_store import names_below, place
from sf_assets.warehouse.connection import reading, writing
from sf_assets.warehouse.derive import derive
from sf_assets.warehouse.load import load
from sf_assets.warehouse.migrate import MoveFailed, migrate
from sf_assets.warehouse.pack import pack
from sf_assets.warehouse.publish import publish
from sf_assets.warehouse.schema import TABLES
from sf_assets.warehouse.verify import verify
from sf_assets_tests.lists import Told

from .conftest import Far
from .test_far_home import tables

pytestmark = pytest.mark.scale


def a_home(root: Path) -> Home:
    """Three days of two handles on this machine, one list more landed and not loaded."""
    os.environ["SF_ASSETS_HOME"] = str(root)
    settings = load_settings({"SF_ASSETS_WAREHOUSE": None, "SF_ASSETS_STORAGE": None})
    home = Home.of(settings).ensure(settings)
    home.registry.write_text("handles: [nova, vega]\n")
    landing = landing_at(home.landing)
    told = [Told(day, name, (9 + day, 8, 7)) for day in (1, 2, 3) for name in ("nova", "vega")]
    landed = [one.land(landing) for one in told]
    load(lambda: writing(home.writable), home.archive, landed)
    with writing(home.writable) as con:
        derive(con, home.archive)
    publish(home)
    Told(4, "nova", (12, 8)).land(landing)
    return home


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.suffix != ".lock"
    }


def test_up_and_back_is_what_it_was_and_nothing_is_taken_away(far: Far, tmp_path: Path) -> None:
    old = a_home(tmp_path / "old")
    before, rows = files(old.root), tables(old.readable, TABLES)
    assert all(
        rows[name] for name in ("internal.snapshots", "internal.churn", "internal.stored_profiles")
    )
    lake = Home.of(load_settings({"SF_ASSETS_HOME": str(tmp_path / "shared")}))
    said: list[str] = []
    moved = migrate(old, lake, said.append)
    assert files(old.root) == before
    assert tables(lake.readable, TABLES) == rows
    assert moved.rows == {name: len(rows[name]) for name in TABLES}
    assert (moved.archive_files, moved.landed_lists) == (3, 7)
    assert lake.registry.read_text() == old.registry.read_text()
    assert sum("checksums equal" in line for line in said) == len(TABLES) + 1
    assert [one.problems for one in verify(lake, full=True)] == [[]] * 7
    with writing(lake.writable) as con:
        con.execute("UPDATE internal.snapshots SET listed = listed + 1 WHERE handle = 'vega'")
    assert [one.check for one in verify(lake) if one.problems] == ["snapshots"]
    with writing(lake.writable) as con:
        con.execute("UPDATE internal.snapshots SET listed = listed - 1 WHERE handle = 'vega'")
    # There the work goes on: what was landed and not loaded is loaded, and the next day compared.
    landing = landing_at(lake.landing)
    waiting = landing.read(Told(4, "nova").key)
    assert waiting is not None
    load(lambda: writing(lake.writable), lake.archive, [waiting])
    with writing(lake.writable) as con:
        assert derive(con, lake.archive).snapshots == 1
    # There its archive is packed like one on a disk; whoever reads full files meanwhile finds them.
    packed = [pack(lake.archive, shared=True) for _ in range(2)]
    assert [(one.packed, one.removed, one.left) for one in packed] == [(4, 0, []), (0, 3, [])]
    assert [one.problems for one in verify(lake, full=True)] == [[]] * 7
    # And back, into a new folder.
    back = Home(tmp_path / "back")
    migrate(lake, back)
    publish(back)
    assert tables(back.readable, TABLES) == tables(lake.readable, TABLES)
    assert names_below(back.archive, "day=*/*.parquet") == names_below(
        place(far.storage, "archive"), "day=*/*.parquet"
    )
    assert len(landing_at(back.landing).keys(Told(4, "nova").key.day)) == 1


def test_a_target_that_holds_something_is_left_alone(far: Far, tmp_path: Path) -> None:
    old = a_home(tmp_path / "old")
    lake = Home.of(load_settings())
    migrate(old, lake)
    with pytest.raises(SettingsError, match="already has snapshots"):
        migrate(old, lake)
    with pytest.raises(SettingsError, match="already exists; choose another folder"):
        migrate(lake, old)
    with pytest.raises(SettingsError, match="nothing to move"):
        migrate(Home(tmp_path / "nothing"), lake)
    with pytest.raises(SettingsError, match="the tables are already in"):
        migrate(lake, lake)


def test_a_copy_that_differs_is_emptied_again_and_said(far: Far, tmp_path: Path) -> None:
    old = a_home(tmp_path / "old")
    lake = Home.of(load_settings())
    with writing(lake.writable) as con:
        con.execute("INSERT INTO internal.churn (relation, handle) VALUES ('followers', 'odd')")
    with pytest.raises(MoveFailed, match=r"internal\.churn differs: \d+ rows?"):
        migrate(old, lake)
    with reading(lake.readable) as con:
        assert con.execute("SELECT count(*) FROM internal.churn").fetchall() == [(0,)]
    assert migrate(old, lake).rows["internal.snapshots"] == 6
