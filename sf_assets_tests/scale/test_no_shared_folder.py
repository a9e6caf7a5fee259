"""Workers that share a lake and a bucket and no folder: what one does, all others know."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner

from sf_assets.alerts import deliveries
from sf_assets.alerts.ledger import note_delivered
from sf_assets.cli.main import main
from sf_assets.credits.meter import TOGETHER, SharedMeter, meter_of
from sf_assets.defs.audience import Audience
from sf_assets.defs.jobs import deliver_alerts
from sf_assets.handles.edit import track, untrack
from sf_assets.handles.parse import read_registry, registry_in_force
from sf_assets.handles.settings import RegistryError
from sf_assets.ingest import days
from sf_assets.model import SnapshotKey
from sf_assets.settings import Settings, load_settings
from sf_assets.storage import door
from sf_assets.storage.files import Locked
from sf_assets.storage.home import Home
from sf_assets.storage.landings import landing_of
from sf_assets.storage.shared import Shared
from sf_assets.storage.tombstone import Ids
from sf_assets.warehouse.connection import writing
from sf_assets.warehouse.derive import derive
from sf_assets.warehouse.errors import WarehouseBusy
from sf_assets.warehouse.load import load
from sf_assets_tests.lists import Told, on
from sf_assets_tests.loopback import Reply, Request, ScriptedServer
from sf_assets_tests.reliability.conftest import serve_day
from sf_assets_tests.served_lists import ListServer

from .conftest import DAY1, DAY2, Far
from .test_far_home import ended, worker

pytestmark = pytest.mark.scale


@pytest.fixture
def machine(far: Far, tmp_path: Path) -> Callable[..., Settings]:
    """Settings of one more worker, whose folder is empty."""
    numbers = iter(range(99))
    os.environ["SOCIALFETCH_BASE_URL"] = "http://127.0.0.1:9"

    def made(**more: Any) -> Settings:
        folder = tmp_path / f"empty{next(numbers)}"
        named = {f"SF_ASSETS_{name.upper()}": value for name, value in more.items()}
        return load_settings({"SF_ASSETS_HOME": str(folder), **named})

    return made


def at_once(*work: Callable[[], object]) -> list[object]:
    """What each returns, or raises."""
    done: list[object] = [None] * len(work)

    def do(at: int) -> None:
        try:
            done[at] = work[at]()
        except Exception as error:
            done[at] = error

    threads = [Thread(target=do, args=(at,)) for at in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


def test_registry_start_date_and_notes_are_everybodys(machine: Callable[..., Settings]) -> None:
    first = machine(start_date="2026-11-01")
    a, b = Home.of(first).ensure(first), Home.of(machine())
    assert b.start_date(machine()) == DAY1
    b.ensure(machine(start_date="2026-12-24"))
    assert b.start_date(machine()) == DAY1
    names = [f"handle{n}" for n in range(6)]
    each = (a, b, Home.of(machine()))
    assert sorted(map(str, at_once(*(lambda n=n, at=at: track(each[at % 3].registry, [n])
                                     for at, n in enumerate(names))))) == [
        f"['{name}']" for name in names
    ]  # fmt: skip
    for home in each:
        assert sorted(read_registry(home.registry).handles) == names
    untrack(b.registry, names[1:])
    current, wrong = registry_in_force(a.registry)
    assert (list(current.handles), wrong) == (names[:1], None)
    # A broken file leaves the last good list in force for all.
    a.registry.write_text("handles: [")
    current, wrong = registry_in_force(b.registry)
    assert list(current.handles) == names[:1]
    assert wrong is not None
    days.note(a, "failed", "run", {SnapshotKey(DAY1, "x", "followers"): "down"}, current)
    assert [one.reasons for one in days.notes(b)] == [("down",)]
    note_delivered(a, ["c1"], "here")
    assert set(deliveries(b)) == {"c1"}
    for home in each:
        there = {path.name for path in home.root.iterdir()} if home.root.exists() else set()
        assert there <= {"spool"}


def test_a_home_that_was_in_a_folder_is_taken_over_once(
    machine: Callable[..., Settings], far: Far
) -> None:
    settings = machine()
    here = Home(settings.home).ensure(settings.model_copy(update={"start_date": DAY1}))
    here.registry.write_text("handles: [nova]\n")
    note_delivered(here, ["c1"], "here")
    door.note_forgotten(here, ["7"], [], {}, "mail")
    assert Home.of(settings).start_date(settings) == DAY1
    other = Home.of(machine())
    assert list(read_registry(other.registry).handles) == ["nova"]
    assert set(deliveries(other)) == {"c1"}
    assert door.Door(other).forgets(DAY1, [Ids("7", None, None)]) == [True]
    Home.of(settings).ensure(settings)
    assert len(Shared(other.lake, "alerts.jsonl").lines()) == 1  # type: ignore[arg-type]


def test_handles_may_be_at_an_address_or_in_a_file_that_nobody_can_write(
    machine: Callable[..., Settings], far: Far, tmp_path: Path
) -> None:
    address = f"{far.storage}/elsewhere/handles.yaml"
    there = Home.of(machine(handles=address))
    assert track(there.registry, ["nova"]) == ["nova"]
    assert list(read_registry(Home.of(machine(handles=address)).registry).handles) == ["nova"]
    assert read_registry(Home.of(machine()).registry).handles == {}
    (tmp_path / "image").mkdir()
    baked = tmp_path / "image" / "handles.yaml"
    baked.write_text("handles: [vega]\n")
    home = Home.of(machine(handles=str(baked)))
    assert list(registry_in_force(home.registry)[0].handles) == ["vega"]
    (tmp_path / "file").write_text("")
    gone = Home.of(machine(handles=str(tmp_path / "file" / "handles.yaml")))
    with pytest.raises(RegistryError, match=r"[Cc]annot (be )?(read|write)"):
        track(gone.registry, ["nova"])


@pytest.mark.parametrize("limit", [7, 100, 5000])
def test_a_cap_holds_for_all_workers_together(machine: Callable[..., Settings], limit: int) -> None:
    def spend() -> int:
        landing = landing_of(Home.of(machine()))
        meter = meter_of(landing.meter(DAY1), lambda: 3)
        assert isinstance(meter, SharedMeter)
        bought = 0
        while bought < 200 and meter.take(limit):
            bought += 1
            meter.add(bought % 10 == 0)  # one of ten pages costs two
        meter.settle()
        return bought + bought // 10

    spent = at_once(spend, spend, spend)
    assert all(isinstance(one, int) for one in spent), spent
    count = meter_of(landing_of(Home.of(machine())).meter(DAY1), lambda: 99).count
    assert count == 3 + sum(one for one in spent if isinstance(one, int))
    # What a page costs beyond one credit is known only when it came.
    assert min(limit, 3 + 3 * 220) <= count <= limit + 3


def test_a_worker_that_was_killed_leaves_counted_what_it_took(
    machine: Callable[..., Settings],
) -> None:
    day = landing_of(Home.of(machine())).meter(DAY1)
    killed, other = meter_of(day, lambda: 0), meter_of(day, lambda: 0)
    assert killed.take(2000)
    assert other.count == TOGETHER
    assert meter_of(landing_of(Home.of(machine())).meter(DAY2), lambda: 4).at_least(2) == 4
    assert isinstance(day, Shared)
    Shared(day.lake, f".spent-{DAY2}").forget_older(".spent-")
    assert (day.count(), Shared(day.lake, f".spent-{DAY2}").count()) == (None, 4)


def test_derivation_is_by_one_at_a_time_and_the_lock_of_a_dead_worker_is_free(
    machine: Callable[..., Settings],
) -> None:
    settings = machine()
    home = Home.of(settings)
    assert isinstance(home.writer, Shared)

    class Impatient(Audience):
        wait_seconds = 0.2

    with Audience(settings).deriving():
        waiting = Impatient(machine()).deriving()
        with pytest.raises(WarehouseBusy, match="held by another worker"), waiting:
            pass
        with pytest.raises(Locked), home.writer.locked(0):
            pass
    command = """
import time
from sf_assets.storage.home import Home
from sf_assets.settings import load_settings
with Home.of(load_settings()).writer.locked(0):
    print("held", flush=True)
    time.sleep(60)
"""
    holding = subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, text=True)
    assert holding.stdout is not None
    assert holding.stdout.readline() == "held\n"
    with pytest.raises(Locked), home.writer.locked(0):
        pass
    holding.send_signal(signal.SIGKILL)
    holding.communicate()
    with home.writer.locked(10):
        pass


def test_an_alert_is_delivered_once(machine: Callable[..., Settings]) -> None:
    home = Home.of(machine())
    landed = [
        Told(n, "shy", (1, 2), status="found" if n == 1 else "private").land(landing_of(home))
        for n in (1, 2)
    ]
    load(lambda: writing(home.writable), home.archive, landed)
    with writing(home.writable) as con:
        derive(con, home.archive)
    heard = []

    def webhook(request: Request) -> Reply:
        heard.append(json.loads(request.body)["alert"]["id"])
        time.sleep(0.3)
        return Reply(200, json={})

    with ScriptedServer(webhook) as hook:
        url = hook.url.replace("http://", "json://")
        each = [Audience(machine(alert_urls=url, today=str(on(2)), alerts="status"))
                for _ in range(3)]  # fmt: skip
        news = _found(each[0])
        done = at_once(
            *(lambda one=one: deliver_alerts(news[0], one, lambda said: None) for one in each)
        )
    assert all(isinstance(one, dict) for one in done), done
    assert len(heard) == 1
    assert sorted(map(bool, done)) == [False, False, True]


def _found(audience: Audience) -> list[str]:
    from sf_assets import alerts

    return [one.run_name for one in alerts.find_all(audience.home, audience.settings)]


def test_who_is_forgotten_by_one_is_forgotten_by_all(
    machine: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = door.Door(Home.of(machine())), door.Door(Home.of(machine()))
    assert not b.closed
    door.note_forgotten(Home.of(machine()), ["7"], [], {"bob": door.ALWAYS}, "mail")
    assert a.pseudonyms.of("number", "7") == b.pseudonyms.of("number", "7")
    monkeypatch.setattr(door, "LOOK_SECONDS", 0.0)
    assert b.forgets(DAY1, [Ids("7", None, "bob"), Ids("8", None, "eve")]) == [True, False]
    # What one learns of the person, all know.
    assert b.forgets(DAY1, [Ids("7", None, "bobby")]) == [True]
    assert a.forgets(DAY1, [Ids(None, None, "bobby")]) == [True]


def test_two_empty_workers_keep_a_cap_and_a_third_finishes_the_day(
    far: Far, server: ListServer, tmp_path: Path
) -> None:
    serve_day(server, DAY1)
    homes = [tmp_path / f"empty{n}" for n in range(3)]
    track(Home.of(load_settings()).registry, ["one", "two", "shy"])
    capped = [
        worker(home, server, DAY1, "snapshot", SF_ASSETS_DAILY_CREDITS="9") for home in homes[:2]
    ]
    for process in capped:
        ended(process)
    assert server.credits == 9
    code, said = ended(worker(homes[2], server, DAY1, "snapshot"))
    assert code == 0, said
    # 90, 50 and 30 followers, 45, 9 and 8 followed, 20 a page: each page once.
    assert server.credits == 5 + 3 + 2 + 3 + 1 + 1


def test_commands_work_from_an_empty_folder(
    far: Far, machine: Callable[..., Settings], tmp_path: Path
) -> None:
    os.environ["SF_ASSETS_HOME"] = str(tmp_path / "a")
    run = CliRunner().invoke
    assert run(main, ["track", "nova"]).exit_code == 0
    os.environ["SF_ASSETS_HOME"] = str(tmp_path / "b")
    said = run(main, ["untrack", "nova"])
    assert said.exit_code == 0, said.output
    assert "nova" in said.output
    assert date.fromisoformat(json.loads(Home.of(machine()).marker.read_text())["start_date"])
