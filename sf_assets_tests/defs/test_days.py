"""Which lists of a day are unfinished, what is noted of them, and who hears of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from pathlib import Path

import pytest

from sf_assets import alerts
from sf_assets import settings as settings_module
from sf_assets.alerts.kinds import DayFailed
from sf_assets.alerts.words import as_data
from sf_assets.cli.runner import Runner, dagster_instance
from sf_assets.defs import snapshot_run
from sf_assets.errors import SettingsError
from sf_assets.handles.edit import untrack
from sf_assets.handles.parse import read_registry
from sf_assets.handles.settings import WEEKDAYS, HandleSettings, Registry
from sf_assets.ingest import days
from sf_assets.ingest.days import Note
from sf_assets.model import SnapshotKey
from sf_assets.settings import load_settings
from sf_assets_tests.cli.shell import run
from sf_assets_tests.conftest import Pipeline
from sf_assets_tests.defs.conftest import Location
from sf_assets_tests.loopback import Action, Reply, Request, ScriptedServer, Wait, head
from sf_assets_tests.served_lists import KEY, ListServer, account

DAY = date(2026, 11, 2)
NEXT = DAY + timedelta(days=1)


@pytest.fixture
def server() -> Iterator[ListServer]:
    with ListServer() as server:
        for handle in ("whole", "down", "broken", "cut"):
            server.set(handle, "followers", [account(n) for n in range(45)])
        yield server


@pytest.fixture
def pipeline(tmp_path: Path, server: ListServer) -> Pipeline:
    return Pipeline(tmp_path / "home", server.url, KEY, DAY)


def unfinished(pipeline: Pipeline) -> set[str]:
    registry = read_registry(pipeline.home.registry)
    settings = load_settings()
    return {
        key.handle for key in days.unfinished(pipeline.home, settings, registry, settings.day())
    }


def followers_of(*handles: str, day: date = DAY) -> tuple[SnapshotKey, ...]:
    return tuple(SnapshotKey(day, handle, "followers") for handle in handles)


def faulty(request: Request) -> Reply | None:
    """`down` is refused at no charge, `broken` is answered and cannot be read."""
    if "/down/" in request.path:
        return Reply(400, json={})
    if "/broken/" in request.path:
        return Reply(200, json={"data": {"lookupStatus": "found"}, "meta": {}})
    return None


def test_what_another_try_may_finish_is_unfinished_and_nothing_else(
    pipeline: Pipeline, server: ListServer
) -> None:
    pipeline.track("whole", "down", "broken", relations=["followers"])
    pipeline.track("cut", relations=["followers"], daily_credits=1)
    other = WEEKDAYS[(DAY.weekday() + 1) % 7]
    pipeline.track("off", relations=["followers"], weekdays=[other])
    assert unfinished(pipeline) == {"whole", "down", "broken", "cut"}
    server.fault = faulty
    handles = ("whole", "down", "broken", "cut")
    pipeline.snapshot(DAY, *handles, relations=["followers"], derive=False)
    # What our own cap cut is finished; a list that is over is not asked for again.
    assert unfinished(pipeline) == {"down", "broken"}
    for _ in range(days.UNREADABLE_MOST - 1):
        pipeline.snapshot(DAY, "broken", relations=["followers"], derive=False)
    # Each answer that cannot be read costs a credit: this does not go on for ever.
    assert unfinished(pipeline) == {"down"}
    untrack(pipeline.home.registry, ["down"])
    assert unfinished(pipeline) == set()


def test_lists_that_the_days_cap_leaves_no_page_are_no_failure(
    pipeline: Pipeline, server: ListServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SF_ASSETS_DAILY_CREDITS", "3")
    pipeline.track("whole", "down", "cut", "broken", relations=["followers"])
    handles = ("whole", "down", "cut", "broken")
    pipeline.snapshot(DAY, *handles, relations=["followers"], derive=False)
    assert unfinished(pipeline) == set()
    (note,) = days.notes(pipeline.home)
    assert (note.kind, len(note.lists)) == ("capped", 1)
    assert days.outages([note], {}, read_registry(pipeline.home.registry)) == []
    (line,) = (line for line in run("doctor").out.splitlines() if " days " in line[:15])
    assert line == (
        f"ok   days      missing {DAY}: 1 of 4 lists (the credit cap of the day was reached: raise "
        "SF_ASSETS_DAILY_CREDITS or daily_credits). The next snapshot is compared across the gap"
    )
    monkeypatch.setenv("SF_ASSETS_DAILY_CREDITS", "30")
    assert unfinished(pipeline) == {note.lists[0].handle}


def test_without_credits_or_key_a_list_stays_unfinished_and_is_gone_on_with(
    pipeline: Pipeline, server: ListServer
) -> None:
    pipeline.track("whole", "cut", relations=["followers"])
    server.credits_left = 1
    pipeline.snapshot(DAY, "whole", "cut", relations=["followers"], derive=False)
    assert unfinished(pipeline) == {"whole", "cut"}
    server.credits_left = 100
    pipeline.snapshot(DAY, "whole", "cut", relations=["followers"], derive=False)
    assert unfinished(pipeline) == set()
    assert server.credits == 6  # three pages each, none of them twice
    (note,) = days.notes(pipeline.home)
    assert {key.handle for key in note.lists} == {"whole", "cut"}


def test_a_second_outage_of_a_day_is_another_one(pipeline: Pipeline, server: ListServer) -> None:
    """A list that fails after all others healed is told, and its recovery too."""
    settings = load_settings()

    def told() -> list[str]:
        found = alerts.find_all(pipeline.home, settings)
        waiting = alerts.undelivered(found, alerts.delivered(pipeline.home))
        alerts.deliver(pipeline.home, waiting, settings)
        return [one.id for one in waiting]

    def snapshot(*handles: str, refresh: bool = False) -> None:
        pipeline.snapshot(DAY, *handles, relations=["followers"], derive=False, refresh=refresh)

    pipeline.track("whole", "down", relations=["followers"])
    server.fault = faulty
    snapshot("whole", "down")
    snapshot("down")  # the same outage
    assert told() == [f"{DAY}/failed"]
    server.fault = None
    snapshot("down")
    assert told() == [f"{DAY}/healed"]
    server.fault = faulty
    snapshot("down", refresh=True)  # its list of the day is stored all the same
    assert told() == []
    pipeline.track("broken", relations=["followers"])
    snapshot("broken")
    snapshot("broken")
    assert told() == [f"{DAY}/failed-2"]
    server.fault = None
    snapshot("broken")
    assert told() == [f"{DAY}/healed-2"]
    assert [one.outage for one in days.notes(pipeline.home)] == [1, 1, 2, 2]


@pytest.mark.parametrize("handle", ["whole", "down"])
def test_a_run_that_midnight_overtakes_is_told_of_the_day_it_began_on(
    pipeline: Pipeline, server: ListServer, monkeypatch: pytest.MonkeyPatch, handle: str
) -> None:
    class Pretended(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            day = NEXT if server.asked else DAY
            return datetime(day.year, day.month, day.day, 12, tzinfo=timezone.utc)

    pipeline.track(handle, relations=["followers"])
    server.fault = faulty
    monkeypatch.delenv("SF_ASSETS_TODAY")
    monkeypatch.setattr(settings_module, "datetime", Pretended)
    with ScriptedServer(lambda _: Reply(200)) as hook, dagster_instance(pipeline.home) as instance:
        monkeypatch.setenv("SF_ASSETS_HEARTBEAT_URL", hook.url)
        settings = load_settings()
        Runner(instance, settings).snapshot(DAY, [handle], ["followers"], refresh=False)
        assert settings.day() == NEXT
        noted = [(one.kind, one.lists) for one in days.notes(pipeline.home)]
        if handle == "down":
            assert (noted, hook.requests) == ([("failed", followers_of("down"))], [])
        else:
            assert noted == []
            assert days.last_heartbeat(pipeline.home) == (DAY, "")


def test_what_is_landed_and_not_loaded_is_loaded_later_and_buys_nothing(
    pipeline: Pipeline, server: ListServer, location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = Pipeline(location.home.root, server.url, KEY, DAY)
    pipeline.track("whole", relations=["followers"])

    def held(*_: object) -> None:
        raise SettingsError("held by a tool")

    with monkeypatch.context() as patch:
        patch.setattr(snapshot_run, "load", held)
        pipeline.snapshot(DAY, "whole", relations=["followers"], derive=False)
    assert unfinished(pipeline) == {"whole"}
    bought = server.credits
    # The day is over: what was landed of it is loaded all the same, once no run is about it.
    monkeypatch.setenv("SF_ASSETS_TODAY", NEXT.isoformat())
    monkeypatch.setenv("SF_ASSETS_CRON", "59 23 31 12 *")
    location.instance.add_dynamic_partitions("handles", ["whole"])
    (request,) = location.tick("days").run_requests or []
    assert request.tags["sf_assets/day"] == str(DAY)
    with pytest.MonkeyPatch.context() as quiet:
        quiet.setenv("PYTHONWARNINGS", "ignore")
        pipeline.snapshot(DAY, "whole", relations=["followers"], derive=False)
    assert server.credits == bought
    assert pipeline.ask("SELECT handle, listed FROM snapshots") == [("whole", 45)]
    assert not location.tick("days").run_requests


# --- outages --------------------------------------------------------------------------------------

TWO = Registry({"a": HandleSettings(), "b": HandleSettings()})


def failed(day: int, *handles: str) -> Note:
    on = date(2026, 11, day)
    return Note("failed", on, "run", followers_of(*handles, day=on), (f"why {day}",))


@pytest.mark.parametrize(
    ("notes", "stored", "expected"),
    [
        ([], ["a3"], []),
        ([failed(2, "a"), failed(2, "a")], [], [(2, "a", None)]),
        ([failed(2, "a"), failed(2, "b")], [], [(2, "ab", None)]),
        # Stored on the same day by another try, or days later.
        ([failed(2, "a", "b")], ["a2", "b2"], [(2, "ab", 2)]),
        ([failed(2, "a", "b"), failed(3, "a", "b")], ["a4", "b5"], [(2, "ab", 5)]),
        ([failed(2, "a", "b")], ["a2"], [(2, "ab", None)]),
        # What was stored before proves nothing.
        ([failed(2, "a")], ["a1"], [(2, "a", None)]),
        # One that fails every day does not hide that others begin to fail.
        ([failed(2, "a"), failed(3, "a", "b")], ["b2", "b4"], [(2, "a", None), (3, "b", 4)]),
        # Well in between: another outage.
        ([failed(2, "a"), failed(5, "a")], ["a3", "a6"], [(2, "a", 3), (5, "a", 6)]),
        # Not tracked any more: nobody waits for it.
        ([failed(2, "a", "x")], ["a3"], [(2, "ax", 3)]),
        ([failed(2, "x")], [], [(2, "x", None)]),
    ],
)
def test_an_outage_is_what_began_on_a_day_and_ends_when_all_of_it_is_stored(
    notes: list[Note], stored: list[str], expected: list[tuple[int, str, int | None]]
) -> None:
    lists = {
        key: "exhausted"
        for text in stored
        for key in followers_of(text[0], day=date(2026, 11, int(text[1:])))
    }
    found = days.outages(notes, lists, TWO)
    assert [
        (
            one.day.day,
            "".join(sorted(handle for handle, _ in one.lists)),
            one.healed_on.day if one.healed_on else None,
        )
        for one in found
    ] == expected
    assert all(one.reasons == (f"why {one.day.day}",) for one in found)


def test_a_window_for_lack_of_credits_ends_no_outage() -> None:
    (key,) = followers_of("a")
    assert days.outages([failed(2, "a")], {key: "out_of_credits"}, TWO)[0].healed_on is None


def test_the_first_day_of_all_may_fail_and_is_told_then_its_recovery(
    pipeline: Pipeline, server: ListServer
) -> None:
    told: list[dict[str, object]] = []

    def webhook(request: Request) -> Reply:
        told.append(json.loads(request.body)["alert"])
        return Reply(200, json={})

    pipeline.track("down", relations=["followers"])
    server.fault = faulty
    with ScriptedServer(webhook) as hook:
        os.environ["SF_ASSETS_ALERT_URLS"] = hook.url.replace("http://", "json://")
        for heals in (False, False, True):
            server.fault = None if heals else faulty
            pipeline.snapshot(DAY, "down", relations=["followers"], derive=False)
            settings = load_settings()
            found = alerts.find_all(pipeline.home, settings)
            waiting = alerts.undelivered(found, alerts.delivered(pipeline.home))
            if waiting:
                alerts.deliver(pipeline.home, waiting, settings)
    assert [(one["kind"], one["id"], one["was"], one["now"]) for one in told] == [
        ("failed", f"{DAY}/failed", "stored", "failed"),
        ("failed", f"{DAY}/healed", "failed", "stored"),
    ]
    assert told[0]["title"] == f"@down: 1 list could not be read on {DAY}"
    assert told[1]["title"] == f"@down: 1 list stored again after failing since {DAY}"
    assert told[1]["means"] == "No day was missed."
    assert (told[0]["level"], told[1]["level"]) == ("warning", "success")
    details = told[0]["details"]
    assert isinstance(details, dict)
    assert details["lists"] == 1
    assert "HTTP 400" in details["reasons"][0]


def test_reasons_call_nobody_and_end_somewhere() -> None:
    reason = "for followers of @everyone: see https://evil.test " + "x" * 5000
    alert = DayFailed(("d/failed",), None, ("followers",), DAY, None, 2, ("a", "b"), (reason,))
    (message,) = alerts.messages([alert])
    assert "@everyone" not in message.body + message.markdown + message.html
    assert "https://evil.test" not in message.body
    assert len(message.body) < 1500
    assert as_data(alert, None)["details"]["reasons"] == [reason]  # machines get it as it is


# --- the heartbeat --------------------------------------------------------------------------------


def test_each_complete_day_is_told_once_and_a_lost_call_is_made_again(
    pipeline: Pipeline,
    server: ListServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    statuses = [200, 503, 200]
    with ScriptedServer(lambda request: Reply(statuses[len(hook.requests) - 1])) as hook:
        monkeypatch.setenv("SF_ASSETS_HEARTBEAT_URL", f"{hook.url}/beat?token=hush")
        pipeline.track("whole", "cut", relations=["followers"])
        pipeline.snapshot(DAY, "whole", relations=["followers"], derive=False)
        assert hook.requests == []  # one list is still to come
        for _ in range(2):
            pipeline.snapshot(DAY, "cut", relations=["followers"], derive=False)
        assert [(one.method, one.path) for one in hook.requests] == [("GET", "/beat")]
        (result,) = pipeline.snapshot(NEXT, "whole", "cut", relations=["followers"], derive=False)
        assert result.success
        assert len(hook.requests) == 2  # it was not taken …
        registry = read_registry(pipeline.home.registry)
        settings = load_settings()
        assert run("doctor").out.splitlines()[-1] == (
            f"BAD  heartbeat the call for {NEXT} failed (HTTP 503); sf-assets up retries it"
        )
        assert days.tell_heartbeat(pipeline.home, settings, registry, NEXT) is None
        monkeypatch.setattr(days, "HEARTBEAT_PAUSE", timedelta(0))
        assert days.tell_heartbeat(pipeline.home, settings, registry, NEXT) == ""
        assert days.tell_heartbeat(pipeline.home, settings, registry, NEXT) is None
        assert run("doctor").out.splitlines()[-1] == (
            f"ok   heartbeat called after {NEXT}, the last complete day"
        )
        assert len(hook.requests) == 3
    assert "hush" not in pipeline.home.days.read_text() + caplog.text


@pytest.mark.parametrize("answer", ["nobody", "silence", "drip", "nonsense"])
def test_a_heartbeat_that_does_not_come_through_fails_no_run(
    pipeline: Pipeline, server: ListServer, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(days, "HEARTBEAT_SECONDS", 0.3)
    actions: dict[str, list[Action]] = {
        "silence": [Wait(30)],
        "drip": [part for _ in range(60) for part in (b"H", Wait(0.1))],
        "nonsense": [b"\x00\x01\r\n\r\n" + head()],
    }
    with ScriptedServer(lambda _: actions[answer]) as hook:
        url = "http://127.0.0.1:9/beat" if answer == "nobody" else hook.url
        monkeypatch.setenv("SF_ASSETS_HEARTBEAT_URL", url)
        pipeline.track("whole", relations=["followers"])
        (result,) = pipeline.snapshot(DAY, "whole", relations=["followers"], derive=False)
    assert result.success


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"http_proxy": "{proxy}", "NO_PROXY": "[::1],fe80::/10"}, ""),
        ({"http_proxy": "{proxy}", "no_proxy": "beat.test"}, "no connection"),
        (
            {"http_proxy": "socks5://127.0.0.1:9"},
            "http_proxy: socks5://127.0.0.1:9 is not an HTTP proxy; it must look like "
            "http://127.0.0.1:3128",
        ),
        ({"http_proxy": "127.0.0.1:9"}, "no connection, through the proxy in http_proxy"),
        (
            {"SSL_CERT_FILE": "/nowhere.pem"},
            "SSL_CERT_FILE: cannot read trusted certificates from /nowhere.pem (No such file or "
            "directory); correct it or unset it",
        ),
    ],
)
def test_the_heartbeat_goes_the_way_of_all_requests_and_says_which_variable_is_wrong(
    pipeline: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    problem: str,
) -> None:
    pipeline.track("off", weekdays=[WEEKDAYS[(DAY.weekday() + 1) % 7]])  # nothing is due
    monkeypatch.setenv("SF_ASSETS_HEARTBEAT_URL", "http://beat.test/hush")
    with ScriptedServer(lambda _: Reply(200)) as proxy:
        for name, value in variables.items():
            address = proxy.url.removeprefix("http://")  # a proxy may be named without a scheme
            monkeypatch.setenv(name, value.format(proxy=address))
        registry, settings = read_registry(pipeline.home.registry), load_settings()
        assert days.tell_heartbeat(pipeline.home, settings, registry, DAY) == problem
        assert len(proxy.requests) == (not problem)
    assert "hush" not in pipeline.home.days.read_text()
    said = run("doctor").out.splitlines()[-1]
    assert (problem in said, said.startswith("ok ")) == (True, not problem)


# --- doctor and report ----------------------------------------------------------------------------


def test_doctor_and_report_name_the_days_that_are_missing_and_why(
    pipeline: Pipeline, server: ListServer, tmp_path: Path
) -> None:
    def doctor() -> str:
        os.environ["SF_ASSETS_TODAY"] = pipeline_day.isoformat()
        (line,) = (line for line in run("doctor").out.splitlines() if " days " in line[:15])
        return line

    pipeline.track("whole", "down", relations=["followers"])
    pipeline_day = DAY
    assert doctor() == "ok   days      no due list is missing"
    both = ("whole", "down")
    pipeline.snapshot(DAY, *both, relations=["followers"])
    server.fault = faulty
    pipeline_day = NEXT
    assert doctor() == "ok   days      no due list is missing"  # it is still to come
    pipeline.snapshot(NEXT, *both, relations=["followers"])
    assert doctor().startswith(f"BAD  days      unfinished {NEXT}: 1 of 2 lists (Social Fetch")
    server.fault = None
    # Nothing ran for two days, then all is well again.
    pipeline_day = NEXT + timedelta(days=3)
    two_days = f"{NEXT + timedelta(days=1)} to {NEXT + timedelta(days=2)}"
    assert doctor().startswith(
        f"BAD  days      missing {two_days}, each day: "
        f"2 of 2 lists (no run read them; was the daemon running?); {NEXT}: 1 of 2 lists (Social "
    )
    pipeline.snapshot(pipeline_day, *both, relations=["followers"])
    pipeline_day += timedelta(days=1)
    pipeline.snapshot(pipeline_day, *both, relations=["followers"])
    assert doctor().startswith(f"ok   days      missing {NEXT + timedelta(days=1)} to ")
    page = tmp_path / "report.html"
    assert run("report", "-o", str(page)).code == 0
    text = page.read_text()
    assert "Missing days" in text
    assert f"<td>{NEXT}</td>" in text
    assert "no run read them" in text
