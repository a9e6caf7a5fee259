"""A home that forgets, and one that keeps no names, over HTTP and with Dagster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sf_assets.cli.main import main
from sf_assets.storage.door import Door
from sf_assets.warehouse.connection import reading

from ..conftest import Pipeline
from ..forgetting import places_of
from ..loopback import Reply
from ..served_lists import KEY, ListServer, account, followed

DAYS = [date(2026, 11, day) for day in range(1, 5)]
# Whom only listed accounts have: handle, number, secUid, name, picture.
TERMS = {"fan.7", "7000000000000000007", "MS4wLjABAAAA00000007", "Fan 7", "creator.3",
         "https://pictures.test/7.jpeg"}  # fmt: skip
FIGURES = (
    "SELECT handle, relation, snapshot_date, listed, completeness FROM snapshots",
    "SELECT handle, snapshot_date, change, state, evidence FROM follower_churn",
    "SELECT * FROM follower_growth",
    "SELECT relation, handle, first_seen, last_seen, first_missed, start_kind FROM memberships",
    "SELECT * FROM weekly_retention",
    "SELECT * FROM audience_overlap",
)


@pytest.fixture
def server() -> Iterator[ListServer]:
    with ListServer() as running:
        yield running


def serve(server: ListServer, day: date) -> None:
    """Number 7 is there but on the third day; somebody comes each day, somebody leaves."""
    people = [n for n in range(40 + day.day, day.day, -1) if n != 7 or day.day != 3]
    fans = [account(n) for n in people]
    if day.day == 4:
        fans = [{**one, "handle": "fan.seven"} if one["handle"] == "fan.7" else one for one in fans]
    server.set("nova", "followers", fans)
    server.set("nova", "following", [followed(n) for n in range(5)])
    server.set("vega", "followers", fans[:30])
    server.set("vega", "following", [])


def figures(pipeline: Pipeline) -> list[Any]:
    with reading(pipeline.home.readable) as con:
        return [sorted(con.execute(query).fetchall(), key=repr) for query in FIGURES]


def snapshot(pipeline: Pipeline, server: ListServer, *days: date) -> None:
    for day in days:
        serve(server, day)
        assert all(one.success for one in pipeline.snapshot(day, "nova", "vega"))


def say_pseudonyms(pipeline: Pipeline) -> None:
    path = pipeline.home.registry
    path.write_text("privacy: pseudonyms\n" + (path.read_text() if path.exists() else "handles:\n"))


def forget(*words: str) -> Any:
    return CliRunner().invoke(main, ["forget", *words])


def test_a_forgotten_account_is_nowhere_however_it_is_listed_again(
    server: ListServer, tmp_path: Path
) -> None:
    plain = Pipeline(tmp_path / "plain", server.url, KEY, DAYS[0])
    snapshot(plain, server, *DAYS)
    home = Pipeline(tmp_path / "home", server.url, KEY, DAYS[0])
    snapshot(home, server, *DAYS[:2])
    terms = TERMS - {"creator.3"} | {"fan.seven"}
    assert {"archive", "landing", "published"} <= {
        place.split("/")[0] for place, _ in places_of(home.home.root, terms)
    }
    done = forget("@fan.7", "--yes", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["left"] == []
    assert places_of(home.home.root, terms) == set()
    # An answer that breaks the contract is kept without what it says, if it names the account.
    snapshot(home, server, DAYS[2])
    body = {"data": {"people": [account(7)], "lookupStatus": "found"}}
    server.fault = lambda request: Reply(json=body) if "/vega/" in request.path else None
    serve(server, DAYS[3])
    assert not all(one.success for one in home.snapshot(DAYS[3], "nova", "vega"))
    server.fault = None
    (kept, *_) = home.home.landing.rglob("*.quarantine")
    assert b"body_base64" in kept.read_bytes()
    assert places_of(home.home.root, terms) == set()
    assert all(one.success for one in home.snapshot(DAYS[3], "nova", "vega", refresh=True))
    assert places_of(home.home.root, terms) == set()
    assert figures(home) == figures(plain)


def test_a_home_that_keeps_no_names_has_the_same_figures_from_its_first_day_or_later(
    server: ListServer, tmp_path: Path
) -> None:
    plain = Pipeline(tmp_path / "plain", server.url, KEY, DAYS[0])
    snapshot(plain, server, *DAYS[:3])
    early = Pipeline(tmp_path / "early", server.url, KEY, DAYS[0])
    say_pseudonyms(early)
    snapshot(early, server, *DAYS[:3])
    assert places_of(early.home.root, TERMS) == set()
    assert figures(early) == figures(plain)

    late = Pipeline(tmp_path / "late", server.url, KEY, DAYS[0])
    snapshot(late, server, *DAYS[:2])
    assert "privacy: pseudonyms" in forget("--everybody", "--yes").output
    say_pseudonyms(late)
    serve(server, DAYS[2])
    asked = len(server.asked)
    refused = late.snapshot(DAYS[2], "nova")
    assert not any(one.success for one in refused)
    assert len(server.asked) == asked
    done = forget("--everybody", "--yes")
    assert done.exit_code == 0, done.output
    assert places_of(late.home.root, TERMS) == set()
    snapshot(late, server, DAYS[2])
    assert places_of(late.home.root, TERMS) == set()
    assert figures(late) == figures(plain)

    # There is no way back.
    late.home.registry.write_text("handles: [nova, vega]\n")
    asked = len(server.asked)
    assert not any(one.success for one in late.snapshot(DAYS[3], "nova"))
    assert len(server.asked) == asked
    assert Door(late.home.root).everybody
