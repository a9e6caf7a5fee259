"""Before and after a run: nothing is bought in vain, raw pages go and their cost is kept."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import portalocker
import pytest

from sf_assets.handles.settings import Retention
from sf_assets.ingest import preflight
from sf_assets.ingest.ledger_gaps import left_behind
from sf_assets.ingest.retention import maintain_landing
from sf_assets.model import SnapshotKey
from sf_assets.storage.home import Home
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets.storage.records import Page, now
from sf_assets.warehouse.connection import reading, writing
from sf_assets.warehouse.errors import WarehouseBusy, WarehouseUnreadable
from sf_assets.warehouse.ledger import Balances, load_ledger, write_ledger
from sf_assets.warehouse.publish import publish
from sf_assets.warehouse.verify import verify
from sf_assets_tests.homes import fill
from sf_assets_tests.lists import on

NOVA = SnapshotKey(on(1), "nova", "followers")
OTHER = SnapshotKey(on(1), "other", "followers")
DAYS = Retention().raw_days
TODAY = on(1) + timedelta(days=DAYS + 1)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days; on the first a refresh broke off after a page, and so did a list never loaded."""
    home = fill(tmp_path_factory.mktemp("template") / "home", days=2)
    for key in (NOVA, OTHER):
        with DiskLanding(home.landing).open(key) as log:  # type: ignore[union-attr]
            log.begin("refresh", "killed")
            log.add_page(Page(1, None, now(), "id", 1, False, 1, b"{}"))
    return home.root


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Home:
    shutil.copytree(template, tmp_path / "home", symlinks=True)
    return Home(tmp_path / "home")


def ledger(home: Home, day: date) -> list[tuple[object, ...]]:
    with writing(home.warehouse) as con:
        return con.execute(
            "SELECT handle, relation, attempt FROM main.credit_ledger "
            "WHERE snapshot_date = ? ORDER BY ALL",
            [day],
        ).fetchall()


def test_old_pages_go_with_their_cost_noted_and_what_is_not_archived_stays(home: Home) -> None:
    landing = DiskLanding(home.landing)
    assert ledger(home, on(1)) == [("nova", "followers", 1), ("nova", "following", 1)]
    connect = partial(writing, home.warehouse)
    assert maintain_landing(home, landing, TODAY - timedelta(days=1), DAYS, never) == (0, 3)
    # What is archived is compressed, but for the refresh that broke off.
    assert (landing.not_packed(on(1)), landing.not_packed(on(2))) == ([NOVA, OTHER], [])
    assert verify(home)[1].problems == []
    assert maintain_landing(home, landing, TODAY, DAYS, connect) == (2, 0)
    assert landing.keys(on(1)) == [OTHER]
    assert len(landing.keys(on(2))) == 2
    assert ("nova", "followers", 2) in ledger(home, on(1))


def never() -> None:
    raise WarehouseBusy("held by another process")


@pytest.mark.parametrize("unreadable", [True, False])
def test_all_pages_stay_where_the_ledger_or_the_archive_cannot_be_told(
    home: Home, unreadable: bool
) -> None:
    landing = DiskLanding(home.landing)
    if unreadable:
        home.published.unlink()
        assert maintain_landing(home, landing, TODAY, DAYS, never) == (0, 0)
    else:
        with pytest.raises(WarehouseBusy):
            maintain_landing(home, landing, TODAY, DAYS, never)
    assert len(landing.keys(on(1))) == 3


def test_what_a_killed_run_paid_is_found_once(home: Home) -> None:
    landing, since = DiskLanding(home.landing), on(1) - timedelta(days=9)
    found = left_behind(home, landing, since, on(3))
    assert {key: [one.number for one in attempts] for key, attempts in found.items()} == {
        NOVA: [2],
        OTHER: [1],
    }
    assert left_behind(home, landing, on(2), on(3)) == {}
    assert left_behind(home, landing, since, on(1)) == {}
    # A later run that noted its balances has noted this too.
    balances = Balances("run", on(3), now(), 100, 90, 9)
    write_ledger(home.archive, on(3), [], balances)
    load_ledger(lambda: writing(home.warehouse), home.archive, on(3))
    publish(home)
    assert left_behind(home, landing, since, on(4)) == {}
    with reading(home.published) as con:
        assert con.execute("SELECT count(*) FROM credit_balances").fetchall() == [(1,)]


def test_nothing_is_bought_where_the_file_system_has_no_locks(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: object) -> None:
        raise portalocker.LockException("no locks available")

    monkeypatch.setattr(portalocker, "lock", refusing)
    with pytest.raises(WarehouseUnreadable, match="no locks available"):
        preflight.look(home, 1)


def test_without_a_published_file_all_that_is_landed_is_found(home: Home) -> None:
    home.published.unlink()
    found = left_behind(home, DiskLanding(home.landing), on(1), on(2))
    assert {key: len(attempts) for key, attempts in found.items()} == {
        NOVA: 2,
        OTHER: 1,
        SnapshotKey(on(1), "nova", "following"): 1,
    }
