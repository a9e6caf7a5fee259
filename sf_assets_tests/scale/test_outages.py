"""Postgres goes away, loses responses, or several workers write the same thing at once."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from sf_assets.cli.probe import run_probe
from sf_assets.credits import meter
from sf_assets.credits.budget import Budget
from sf_assets.credits.meter import SharedMeter
from sf_assets.ingest.client import client_of
from sf_assets.ingest.reader import Collected, ListToRead, Outcome, Reader, RunContext
from sf_assets.people.forget_files import _scrub_lines
from sf_assets.settings import load_settings
from sf_assets.storage import door as doors
from sf_assets.storage import landing_objects as objects
from sf_assets.storage.door import Door, note_forgotten
from sf_assets.storage.home import Home
from sf_assets.storage.landing import Landing, LandingBusy, drop_days_before
from sf_assets.storage.landing_objects import ObjectLanding, ObjectLog
from sf_assets.storage.landings import landing_of
from sf_assets.storage.records import LandingTaken, Page
from sf_assets.storage.shared import Shared
from sf_assets.storage.tombstone import Ids
from sf_assets_tests.served_lists import KEY as API_KEY
from sf_assets_tests.served_lists import ListServer, account

from .conftest import DAY1, DAY2, Far
from .test_object_landing import KEY, landing, names, opened, page, patient, walk

pytestmark = pytest.mark.scale
__all__ = ["landing"]


@pytest.fixture
def home(far: Far, tmp_path: Path, server: ListServer) -> Home:
    settings = load_settings(
        {"SF_ASSETS_HOME": str(tmp_path / "home"), "SOCIALFETCH_BASE_URL": server.url,
         "SF_ASSETS_TODAY": str(DAY1)}
    )  # fmt: skip
    return Home.of(settings).ensure(settings)


def read(home: Home, server: ListServer, landing: Landing, door: Door, budget: Budget) -> Collected:
    settings = load_settings(
        {"SF_ASSETS_HOME": str(home.root), "SOCIALFETCH_BASE_URL": server.url,
         "SOCIALFETCH_API_KEY": API_KEY}
    )  # fmt: skip

    async def work() -> Collected:
        async with client_of(settings) as client:
            context = RunContext(client, landing, budget, "run", door)
            return await Reader(ListToRead(KEY), context).run()

    return asyncio.run(work())


@pytest.mark.parametrize("away_at", [1, 2, 3])
@pytest.mark.parametrize("of", ["door", "new id", "count"])
def test_a_page_that_was_bought_while_postgres_went_away_is_landed(
    home: Home, server: ListServer, monkeypatch: pytest.MonkeyPatch, of: str, away_at: int
) -> None:
    server.set("nova", "followers", [account(n) for n in range(60)])
    if of != "count":
        note_forgotten(home, [], [account(45)["secUid"]], {}, "mail")
        monkeypatch.setattr(doors, "LOOK_SECONDS", 0.0 if of == "door" else 60.0)
    monkeypatch.setattr(meter, "TOGETHER", 1)
    landing = landing_of(home)

    def budget() -> Budget:
        if of != "count":
            return Budget(None)
        return Budget(None, meter=meter.meter_of(landing.meter(DAY1), lambda: 0))

    ask = Shared._ask

    def away(self: Shared, *values: Any, **named: Any) -> Any:
        if server.credits >= away_at:
            raise OSError("the lake cannot be opened")
        return ask(self, *values, **named)

    door, spending = Door(home), budget()
    assert door.closed is (of != "count")
    monkeypatch.setattr(Shared, "_ask", away)
    first = read(home, server, landing, door, spending)
    monkeypatch.setattr(Shared, "_ask", ask)
    if of == "door" and away_at < 3:
        assert first.outcome is Outcome.BROKEN_OFF, first.reason
        assert server.credits == away_at  # nobody knows who is forgotten meanwhile
    door.look()
    again = read(home, server, landing, door, spending)
    assert (again.outcome, server.credits) == (Outcome.FINISHED, 3), again.reason
    if of == "count":
        assert spending.meter is not None
        assert spending.meter.count == 3
        return
    assert again.landed is not None
    lines = again.landed.on_disk(home.root).read_text()
    assert account(44)["secUid"] in lines
    assert account(45)["secUid"] not in lines
    # What this worker learned of the person, the next one knows.
    door.look()
    assert Door(home).forgets(DAY1, [Ids(None, None, account(45)["handle"].lower())]) == [True]


def test_a_door_that_cannot_read_the_list_keeps_out_whom_it_knew(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "LOOK_SECONDS", 0.0)
    seven, eight = Ids("7", None, None), Ids("8", None, None)
    note_forgotten(home, ["7"], [], {}, "mail")
    door = Door(home)
    assert door.closed
    note_forgotten(home, ["8"], [], {}, "mail")
    asked = Shared.lines

    def away(self: Shared) -> list[str]:
        raise OSError("the lake cannot be opened")

    monkeypatch.setattr(Shared, "lines", away)
    assert door.forgets(DAY1, [seven]) == [True]
    with pytest.raises(OSError, match="cannot be opened"):
        door.look()
    with pytest.raises(OSError, match="cannot be opened"):
        assert Door(home).closed  # nothing is known, so nothing is landed
    monkeypatch.setattr(Shared, "lines", asked)
    assert door.forgets(DAY1, [seven, eight]) == [True, True]


class Loses:
    """A connection whose next response is lost, after the statement was done."""

    closed = False

    def __init__(self, con: Any, words: str) -> None:
        self._con, self._words = con, words

    def cursor(self) -> Loses:
        return self

    def __enter__(self) -> Loses:
        self._cursor = self._con.cursor()
        return self

    def __exit__(self, *_: object) -> None:
        self._cursor.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def execute(self, statement: str, values: Any) -> None:
        self._cursor.execute(statement, values)
        if self._words in statement:
            from psycopg2 import OperationalError  # of .[scale]: this file is read without it, too

            raise OperationalError("server closed the connection unexpectedly")

    def close(self) -> None:
        self._con.close()


@pytest.mark.parametrize(
    ("work", "at_least"),
    [
        (lambda meter: meter.settle(), 4),  # returns what was reserved and not spent
        (lambda meter: (meter.add(9), meter.settle()), 13),
        (lambda meter: (meter.add(-2), meter.settle()), 2),
        (lambda meter: [meter.take(100) for _ in range(12)], 16),
    ],
)
def test_a_lost_response_never_makes_room_below_a_cap(
    home: Home, monkeypatch: pytest.MonkeyPatch, work: Callable[[Any], object], at_least: int
) -> None:
    where = landing_of(home).meter(DAY1)
    assert isinstance(where, Shared)
    ours, theirs = SharedMeter(where, lambda: 0), SharedMeter(where, lambda: 0)
    assert [ours.take(1000) for _ in range(4)] == [True] * 4
    theirs._of.add(12)
    kept, lost = Shared._kept, []

    def loses(self: Shared) -> Any:
        if lost:
            return kept(self)
        return Loses(kept(self), "UPDATE")

    broken = Shared._connect
    monkeypatch.setattr(Shared, "_kept", loses)
    monkeypatch.setattr(Shared, "_connect", lambda self: (lost.append(1), broken(self))[1])
    try:
        work(ours)
    except OSError:
        lost.append(1)
    monkeypatch.undo()
    assert (where.count() or 0) >= 12 + at_least


def test_what_is_noted_while_a_log_is_scrubbed_stays(home: Home) -> None:
    log = home.log("forgotten.jsonl")
    assert isinstance(log, Shared)
    log.append(["one Bob", "two", "three Bob"])

    def scrubbed(line: str) -> str:
        if line == "two":
            log.append(["four"])
        return line.replace("Bob", "-")

    assert _scrub_lines(log, scrubbed) == ["forgotten.jsonl"]
    assert sorted(log.lines()) == ["four", "one -", "three -", "two"]


def test_a_run_that_goes_on_after_midnight_keeps_its_count(home: Home) -> None:
    yesterday = landing_of(home)
    meter = SharedMeter(yesterday.meter(DAY1), lambda: 0)  # type: ignore[arg-type]
    assert meter.take(100)
    meter.settle()
    drop_days_before(landing_of(home), DAY2, set())
    assert meter.take(100)
    assert meter.count == 2


def test_a_probe_lands_what_a_killed_process_left_without_who_was_forgotten_since(
    home: Home, server: ListServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sf_assets.cli.probe.PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(objects, "LEASE_SECONDS", 0.0)
    for relation in ("followers", "following"):
        server.set("nova", relation, [account(n) for n in range(60)])
    settings = load_settings(
        {"SF_ASSETS_HOME": str(home.root), "SOCIALFETCH_BASE_URL": server.url,
         "SOCIALFETCH_API_KEY": API_KEY, "SF_ASSETS_TODAY": str(DAY1)}
    )  # fmt: skip

    async def first() -> bytes:
        async with client_of(settings) as client:
            return (await client.list_page("followers", "nova", cursor=None, page=1)).body

    log = opened(landing_of(home, batch=True))
    assert isinstance(log, ObjectLog)
    log.begin("", "run")
    log.add_page(Page(1, None, "2026-11-01T06:00:00Z", "r", 1, False, 1, asyncio.run(first())))
    log._near.close()  # as the system does for a process that is gone
    note_forgotten(home, [], [account(5)["secUid"]], {}, "mail")
    assert run_probe(settings, home, "nova", last=False, yes=True, as_json=True) == 0
    landed = landing_of(home).read(KEY)
    assert landed is not None
    lines = landed.on_disk(tmp_path).read_text()
    assert account(6)["secUid"] in lines
    assert account(5)["secUid"] not in lines


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_machine_whose_clock_is_wrong_waits_as_long_as_the_others(
    landing: ObjectLanding, minutes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(minutes=minutes)

    log = opened(landing)
    log.begin("", "run")
    log.add_page(page(1))
    monkeypatch.setattr(objects, "datetime", Wrong)
    assert ObjectLanding(landing.root).open(KEY) is None
    time.sleep(2.1)  # the store's clock has whole seconds
    with opened(ObjectLanding(landing.root, lease_seconds=1)) as other:
        assert other.last is not None
        assert other.last.pages == 1
    assert not [name for name in landing.root.iterdir() if name.name.startswith(".")]
    log.close()


def empty(body: bytes) -> bytes:
    return b"{}"


def bodies(landing: ObjectLanding) -> list[bytes]:
    with opened(patient(landing)) as log:
        return [one.body for one in log.pages()]


def test_a_list_that_another_worker_is_reading_is_rewritten_after_it(
    landing: ObjectLanding,
) -> None:
    log = opened(landing)
    log.begin("", "run")
    log.add_page(page(1))
    with pytest.raises(LandingBusy):
        ObjectLanding(landing.root).rewrite(KEY, empty, empty)
    log.add_page(page(2))
    log.finish("found", "exhausted", "run")
    log.make_durable()
    log.close()
    assert ObjectLanding(landing.root).rewrite(KEY, empty, empty)
    assert bodies(landing) == [b"{}", b"{}"]


def test_a_slow_worker_does_not_bring_back_what_was_rewritten(landing: ObjectLanding) -> None:
    log = opened(landing)
    log.begin("", "run")
    log.add_page(page(1))
    assert patient(landing).rewrite(KEY, empty, empty)
    with pytest.raises(LandingTaken):
        log.finish("found", "exhausted", "run")
    with opened(patient(landing)) as log:
        assert [one.body for one in log.pages()] == [b"{}"]
        log.finish("found", "exhausted", "run")
        log.make_durable()
    assert bodies(landing) == [b"{}"]


def test_a_rewrite_and_a_refresh_of_a_whole_list_do_not_undo_each_other(
    landing: ObjectLanding, tmp_path: Path
) -> None:
    walk(landing, 2)

    def refreshed(body: bytes) -> bytes:
        if body == page(2).body:
            other = ObjectLanding(landing.root)
            with opened(other) as log:
                if len(log.attempts) == 1:
                    log.begin("again", "run")
                    log.add_page(page(7))
                    log.finish("found", "exhausted", "run")
                    log.make_durable()
        return b"{}"

    assert landing.rewrite(KEY, refreshed, empty)
    landed = landing.read(KEY)
    assert landed is not None
    assert [attempt.pages for attempt in landed.attempts] == [2, 1]
    assert b"data" not in b"".join(landed.on_disk(tmp_path).read_bytes().splitlines()[1:])


def test_a_refresh_keeps_what_was_rewritten_since_it_opened_the_list(
    landing: ObjectLanding,
) -> None:
    walk(landing, 2)
    log = opened(landing)
    assert ObjectLanding(landing.root).rewrite(KEY, empty, empty)
    log.begin("again", "run")
    log.add_page(page(1))
    log.finish("found", "exhausted", "run")
    with pytest.raises(LandingTaken):
        log.make_durable()
    log.close()
    landed = ObjectLanding(landing.root).read(KEY)
    assert landed is not None
    assert landed.finished
    assert [attempt.pages for attempt in landed.attempts] == [2, 1]
    with opened(patient(landing)) as after:
        assert [one.body for one in after.pages(1)] == [b"{}", b"{}"]
        assert [one.body for one in after.pages(2)] == [json.dumps({"data": {"page": 1}}).encode()]
    assert names(landing)
