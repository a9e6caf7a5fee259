"""Forgetting somebody whose lists are in a lake on Postgres and in a bucket."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from sf_assets.alerts.ledger import note_delivered
from sf_assets.cli.main import main
from sf_assets.model import SnapshotKey
from sf_assets.people import forget as forgetting
from sf_assets.storage.landing_objects import ObjectLog
from sf_assets.storage.landings import landing_of
from sf_assets.warehouse.connection import locked, reading
from sf_assets.warehouse.pack import pack
from sf_assets_tests.forgetting import places_of
from sf_assets_tests.served_lists import ListServer, account, followed

from ..conftest import Pipeline
from .conftest import DAY1, DAY2, Far
from .test_far_home import ended, worker
from .test_object_landing import opened, page

pytestmark = pytest.mark.scale
psycopg2 = pytest.importorskip("psycopg2")

TERMS = {"fan.7", "7000000000000000007", "MS4wLjABAAAA00000007", "Fan 7"}


def fetched(far: Far, folder: Path) -> Path:
    """All objects of the bucket, as files."""
    from upath import UPath

    bucket = UPath(far.storage)
    bucket.fs.get(str(bucket.path).rstrip("/") + "/", str(folder) + "/", recursive=True)
    return folder


def catalog(far: Far) -> str:
    """All rows of all tables of the lake's catalog."""
    with psycopg2.connect(far.dsn) as con, con.cursor() as rows:
        rows.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname LIKE 'sf_assets%'"
        )
        made = []
        for schema, table in rows.fetchall():
            rows.execute(f'SELECT * FROM "{schema}"."{table}"')
            made.append(str(rows.fetchall()))
    return "\n".join(made)


def test_whoever_is_forgotten_is_in_no_object_and_no_version_of_the_lake(
    far: Far, pipeline: Pipeline, server: ListServer, tmp_path: Path
) -> None:
    def snapshot(day: int) -> None:
        server.set("nova", "followers", [account(n) for n in (20 + day, 9, 8, 7, 6)])
        server.set("nova", "following", [followed(n) for n in range(3)])
        when = DAY1 if day == 1 else DAY2
        assert all(one.success for one in pipeline.snapshot(when, "nova"))

    snapshot(1)
    with reading(pipeline.home.readable) as con:
        before = con.execute("SELECT count(*), min(first_seen) FROM memberships").fetchall()
    assert places_of(fetched(far, tmp_path / "before"), TERMS)
    note_delivered(pipeline.home, ["2026-11-01/7000000000000000007"], "here")
    # From other machines, whose folders are empty: where one is killed, the next goes on.
    os.environ["SF_ASSETS_HURRY"] = "60"
    killed = worker(
        tmp_path / "killed", server, DAY1, "forget", "fan.7", "--yes",
        SF_ASSETS_CRASH_AT="rewritten",
    )  # fmt: skip
    assert ended(killed)[0] == -9
    os.environ["SF_ASSETS_HOME"] = str(tmp_path / "empty")
    done = CliRunner().invoke(main, ["forget"])
    os.environ["SF_ASSETS_HOME"] = str(pipeline.home.root)
    assert done.exit_code == 0, done.output
    assert "bucket" in done.stdout
    with reading(pipeline.home.readable) as con:
        assert con.execute("SELECT count(*), min(first_seen) FROM memberships").fetchall() == before
    snapshot(2)
    assert places_of(fetched(far, tmp_path / "after"), TERMS) == set()
    assert places_of(pipeline.home.root, TERMS) == set()
    assert [term for term in TERMS if term in catalog(far)] == []
    with reading(pipeline.home.readable) as con:
        ((lost,),) = con.execute(
            "SELECT count(*) FROM follower_churn "
            "WHERE change = 'lost' AND account_handle LIKE 'anon%'"
        ).fetchall()
    assert lost == 0


@pytest.mark.parametrize("step", ["forget", "pack"])
def test_who_lost_the_lock_of_the_archive_changes_nothing_in_it(
    step: str, far: Far, pipeline: Pipeline, server: ListServer, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    server.set("nova", "followers", [account(n) for n in (9, 8, 7, 6)])
    server.set("nova", "following", [followed(n) for n in range(3)])
    assert all(one.success for one in pipeline.snapshot(DAY1, "nova"))

    def lost(*_: object) -> None:
        """Postgres ends the connections that hold locks, as after a restart."""
        with psycopg2.connect(far.dsn) as con, con.cursor() as rows:
            rows.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            )

    def files() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in pipeline.home.archive.rglob("*.parquet")}

    before = files()
    assert len(before) == 2
    os.environ["SF_ASSETS_HURRY"] = "60"
    if step == "forget":
        # What a killed process of this machine did not upload, with a page that names the account.
        left = SnapshotKey(DAY2, "nova", "followers")
        log = opened(landing_of(pipeline.home, batch=True), left)
        assert isinstance(log, ObjectLog)
        log.begin("", "run")
        accounts = {"lookupStatus": "found", "followers": [account(7), account(6)]}
        log.add_page(replace(page(1), body=json.dumps({"data": accounts}).encode()))
        log._near.close()
        rewrite = forgetting.rewrite
        with monkeypatch.context() as patched:
            patched.setattr(forgetting, "rewrite", lambda *of: lost() or rewrite(*of))
            refused = CliRunner().invoke(main, ["forget", "fan.7", "--yes"])
        assert refused.exit_code != 0
        assert "was lost with its connection" in refused.output
        assert files() == before
        assert CliRunner().invoke(main, ["forget"]).exit_code == 0
        assert places_of(fetched(far, tmp_path / "after"), TERMS) == set()
        assert places_of(pipeline.home.root, TERMS) == set()
        landed = landing_of(pipeline.home).read(left)
        assert landed is not None
        assert [attempt.pages for attempt in landed.attempts] == [1]
    else:
        with locked(pipeline.home.writer) as still_held:
            still_held()
            lost()
            with pytest.raises(OSError, match="was lost with its connection"):
                pack(pipeline.home.archive, lambda done, files: still_held(), shared=True)
        assert files() == before
