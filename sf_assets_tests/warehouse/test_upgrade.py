"""A home of the format before: kept, derived anew by today's rules, whole or not at all."""

from __future__ import annotations

import logging
import tarfile
from contextlib import nullcontext
from datetime import date
from functools import partial
from pathlib import Path

import duckdb
import pytest

from sf_assets.storage.home import Home
from sf_assets.warehouse.archive import read_archive
from sf_assets.warehouse.connection import writing
from sf_assets.warehouse.derive import ArchiveIncomplete, derive
from sf_assets.warehouse.load import load
from sf_assets.warehouse.publish import publish
from sf_assets.warehouse.schema import RULES, TABLES, WAREHOUSE_FORMAT
from sf_assets.warehouse.verify import verify

from ..conftest import Pipeline
from ..lists import Lists, Told
from ..served_lists import KEY, ListServer, account

CHURN = (
    "SELECT relation, handle, change, state, count(*) FROM internal.churn GROUP BY ALL ORDER BY ALL"
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Made by that version: a list that grows past a cap, placeholders for ids, a private day."""
    with tarfile.open(Path(__file__).with_name("format_4.tar.xz")) as packed:
        packed.extractall(tmp_path / "home", filter="data")
    return Home(tmp_path / "home")


def test_what_is_derived_is_made_anew_once_by_todays_rules(home: Home, tmp_path: Path) -> None:
    with duckdb.connect(str(home.warehouse), read_only=True) as con:
        assert con.execute("SELECT format FROM internal.warehouse_format").fetchall() == [(4,)]
        assert ("followers", "cap", "lost", "confirmed", 1) in con.execute(CHURN).fetchall()
        before = home.warehouse.read_bytes()
    with writing(home.warehouse) as con:
        # Until it is derived, everything says what it said.
        assert ("followers", "cap", "lost", "confirmed", 1) in con.execute(CHURN).fetchall()
        assert derive(con, home.archive).snapshots == 32
        now = con.execute(CHURN).fetchall()
        assert not [row for row in now if row[:3] == ("followers", "cap", "lost")]
        # That version took the two whose id was "0" for one: the other was missing for two days.
        assert [row for row in now if row[:2] == ("followers", "odd")] == [
            ("followers", "odd", "lost", "retracted", 1)
        ]
        assert derive(con, home.archive).snapshots == 0
        made = con.execute("SELECT format, rules FROM internal.warehouse_format").fetchall()
        assert made == [(WAREHOUSE_FORMAT, RULES)]
        fresh = Lists(tmp_path / "fresh")
        fresh.record(read_archive(home.archive))
        derive(fresh.con, home.archive)
        for table in TABLES:
            if "credit" not in table and "ledger" not in table:
                columns = ", ".join(f'"{name}"' for (name, *_) in fresh.rows(f"DESCRIBE {table}"))
                rows = f"SELECT {columns} FROM {table} ORDER BY ALL"
                assert con.execute(rows).fetchall() == fresh.rows(rows), table
        fresh.close()
    (kept,) = home.warehouse.parent.glob("*.old")
    assert kept.read_bytes() == before


def test_the_first_run_after_an_upgrade_knows_what_the_version_before_knew(
    home: Home, tmp_path: Path
) -> None:
    """It reads the top of a `recent` list, as any other day; what it leaves fits together."""
    publish(home)
    with duckdb.connect(str(home.published), read_only=True) as con:
        last = con.execute(
            "SELECT account_handle, account_id FROM internal.presences WHERE handle = 'cap' "
            "AND relation = 'followers' AND last_seen IS NULL ORDER BY place DESC"
        ).fetchall()
    assert len(last) > 10
    accounts = [
        {**account(n), "handle": name, "platformUserId": number}
        for n, (name, number) in enumerate(last)
    ]
    with ListServer(pages_of=4) as server:
        server.set("cap", "followers", accounts)
        pipeline = Pipeline(home.root, server.url, KEY, date(2026, 11, 1))
        pipeline.track("cap", relations=["followers"], depth="recent")
        (result,) = pipeline.snapshot(date(2026, 11, 9), "cap", relations=["followers"])
        assert result.success
        assert server.credits <= 3
    assert pipeline.ask("SELECT end_reason FROM snapshots ORDER BY snapshot_date DESC LIMIT 1") == [
        ("known",)
    ]
    for path in home.landing.glob("*/*/odd.jsonl*"):
        path.unlink()  # of two accounts with the id "0" that version archived one
    assert [one for one in verify(home, full=True) if one.problems] == []


def test_an_upgrade_that_cannot_be_finished_changes_nothing(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    (lost,) = home.archive.glob("day=2026-11-03/*.parquet")
    aside = lost.rename(home.root / "aside")
    with caplog.at_level(logging.INFO), writing(home.warehouse) as con:
        before = con.execute(CHURN).fetchall()
        with pytest.raises(ArchiveIncomplete, match=lost.name):
            derive(con, home.archive)
        assert con.execute(CHURN).fetchall() == before
        aside.rename(lost)
        assert derive(con, home.archive).snapshots == 32
        assert con.execute(CHURN).fetchall() != before
    assert "is kept as" in caplog.text
    assert "rules of proof are new: deriving 4 lists again" in caplog.text


def test_names_change_in_place_and_nothing_is_derived_anew(tmp_path: Path) -> None:
    """A file of format 5 keeps every row; only columns have other names."""
    told = Lists(tmp_path / "told")
    path = tmp_path / "warehouse" / "sf_assets.duckdb"
    with writing(path) as con:
        rows = [one.land(told.landing) for one in (Told(1, "nova", (2, 1)), Told(9, "nova", (1,)))]
        load(lambda: nullcontext(con), told.home.archive, rows)
        derive(con, told.home.archive)
        growth = con.execute("FROM follower_growth").fetchall()
        assert (growth[1][11], growth[1][12]) == (None, -1 / 8)
    told.close()
    with duckdb.connect(str(path)) as con:
        for (view,) in con.execute(
            "SELECT schema_name || '.' || view_name FROM duckdb_views() WHERE NOT internal"
        ).fetchall():
            con.execute(f"DROP VIEW {view}")
        for statement in (
            "ALTER TABLE follower_growth RENAME COLUMN avg_daily_net_7d TO avg_7d",
            "ALTER TABLE follower_growth RENAME COLUMN avg_daily_net_28d TO avg_28d",
            "ALTER TABLE internal.snapshots DROP COLUMN source",
            "ALTER TABLE internal.snapshots DROP COLUMN ordered",
            "ALTER TABLE internal.snapshots DROP COLUMN imported_file",
            "ALTER TABLE internal.presences DROP COLUMN followed_at",
            "ALTER TABLE internal.presences DROP COLUMN followed_at_source",
            "ALTER TABLE internal.retractions RENAME TO healings",
            "ALTER TABLE internal.warehouse_format DROP COLUMN published_at",
            "DROP TABLE handles",
            "UPDATE internal.warehouse_format SET format = 5, words = ''",
        ):
            con.execute(statement)
    with writing(path) as con:
        assert con.execute("SELECT format FROM about").fetchall() == [(WAREHOUSE_FORMAT,)]
        assert con.execute("SELECT * FROM follower_growth").fetchall() == growth
        assert con.execute("SELECT avg_daily_net_28d FROM follower_growth").fetchall() == [
            (None,),
            (-1 / 8,),
        ]
        assert con.execute("SELECT DISTINCT source FROM snapshots").fetchall() == [("api",)]
        assert derive(con, told.home.archive).snapshots == 0


def test_a_format_that_is_too_old_is_named_with_the_way_out(home: Home) -> None:
    with duckdb.connect(str(home.warehouse)) as con:
        con.execute("UPDATE internal.warehouse_format SET format = 3")
    with (
        pytest.raises(Exception, match=r"format 3, which .* run `sf-assets rebuild`"),
        partial(writing, home.warehouse)(),
    ):
        pass
