"""Other news than status changes: only where asked for, each once, oldest first, and true."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from sf_assets import alerts
from sf_assets.alerts import Alert
from sf_assets.alerts.kinds import ChurnSpike, CreditsLow, NotableChange, Stale
from sf_assets.alerts.kinds import Purge as PurgeEvent
from sf_assets.handles.edit import untrack
from sf_assets.model import ALERT_KINDS
from sf_assets.settings import load_settings
from sf_assets.simulator import ListSpec, Options, ProfileSpec, Purge, Status, World, in_thread
from sf_assets.warehouse.connection import reading, writing
from sf_assets.warehouse.publish import publish
from sf_assets_tests.conftest import Pipeline
from sf_assets_tests.defs.conftest import DAY, Location, made_once, put
from sf_assets_tests.defs.test_alert_sensor import asked, deliver
from sf_assets_tests.loopback import Reply, ScriptedServer


def on(number: int) -> date:
    return DAY + timedelta(days=number)


LAST, SWITCHED_ON, PURGED, CLOSED, POOR = on(12), on(9), on(10), on(8), on(11)
ALL = ",".join(ALERT_KINDS)

WORLD = World(
    [
        ProfileSpec("sim.calm", ListSpec(size=260, gain=0.02, loss=0.02)),
        ProfileSpec(
            "sim.purged", ListSpec(size=400, gain=0.005, loss=0.005, purges=(Purge(PURGED, 0.3),))
        ),
        ProfileSpec("sim.closed", ListSpec(size=60), statuses=(Status("private", CLOSED),)),
    ],
    epoch=on(-60),
    seed=5,
    horizon_days=120,
)


@pytest.fixture(scope="module")
def twelve_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read with status alone switched on, with everything from SWITCHED_ON on."""

    def make(home: Path) -> None:
        with (
            in_thread(WORLD, Options(page_size=200)) as simulator,
            pytest.MonkeyPatch.context() as m,
        ):
            pipeline = Pipeline(home, simulator.base_url, simulator.api_key, DAY)
            pipeline.track(*WORLD.handles, relations=["followers"])
            for number in range((LAST - DAY).days + 1):
                if on(number) == SWITCHED_ON:
                    m.setenv("SF_ASSETS_ALERTS", ALL)
                if on(number) == POOR:
                    simulator.set_balance(20)
                pipeline.snapshot(on(number), *WORLD.handles, relations=["followers"], derive=False)
                if on(number) == SWITCHED_ON:
                    with reading(pipeline.home.published) as con:
                        alerts.find(con, pipeline.home, load_settings())
            pipeline.snapshot(LAST, *WORLD.handles, relations=["followers"])

    return made_once(make, tmp_path_factory.mktemp("twelve days"))


@pytest.fixture
def location_then(
    twelve_days: Path, location: Location, monkeypatch: pytest.MonkeyPatch
) -> Location:
    monkeypatch.setenv("SF_ASSETS_TODAY", LAST.isoformat())
    return put(twelve_days, location)


@pytest.fixture
def everything(location_then: Location, monkeypatch: pytest.MonkeyPatch) -> Location:
    monkeypatch.setenv("SF_ASSETS_ALERTS", ALL)
    return location_then


def found(location: Location) -> list[Alert]:
    with reading(location.home.published) as con:
        return alerts.find(con, location.home, load_settings(), remember=False)


def of_kind(location: Location, kind: type[Alert]) -> list[Any]:
    return [one for one in found(location) if isinstance(one, kind)]


# --- what is found --------------------------------------------------------------------------------


def test_unless_somebody_asks_only_status_changes_are_told(location_then: Location) -> None:
    assert [(one.kind, one.handle) for one in found(location_then)] == [("status", "sim.closed")]


def test_none_at_all_can_be_told(location_then: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SF_ASSETS_ALERTS", "none")
    assert found(location_then) == []


def test_a_purge_is_a_spike_and_ordinary_days_are_none(everything: Location) -> None:
    (spike,) = of_kind(everything, ChurnSpike)
    assert (spike.handle, spike.change, spike.day) == ("sim.purged", "lost", PURGED)
    gone = WORLD.changes("sim.purged", "followers", PURGED - timedelta(days=1), PURGED).lost
    with reading(everything.home.published) as con:
        proved = con.execute(
            "SELECT followers_lost FROM follower_growth WHERE handle = ? AND snapshot_date = ?",
            ["sim.purged", PURGED],
        ).fetchall()
    assert [(spike.accounts,)] == proved
    assert 0.9 * len(gone) <= spike.accounts <= len(gone)
    assert spike.most < 20


def test_a_purge_is_an_event_too_and_its_total_tells(everything: Location) -> None:
    ((purge,), (spike,)) = (of_kind(everything, kind) for kind in (PurgeEvent, ChurnSpike))
    assert (purge.handle, purge.day, purge.accounts) == ("sim.purged", PURGED, spike.accounts)
    total = WORLD.truth("sim.purged", "followers", PURGED).total
    assert purge.followers_total == total
    assert f"the total changed by {purge.net:+,}" in purge.words.summary
    assert purge.net <= -0.8 * purge.accounts + 20


def notable(number: int, day: date) -> bool:
    """Whether the simulator shows this account as verified or large on the last day it is there."""
    shown = WORLD.item(number, "followers", day)
    return bool(shown["verified"]) or shown["metrics"]["followers"] >= 10_000


def test_notable_accounts_are_told_as_the_world_says(everything: Location) -> None:
    told = {
        (one.day, one.handle, one.change, account.account_id)
        for one in of_kind(everything, NotableChange)
        for account in one.accounts
    }
    true = set()
    for handle in ("sim.calm", "sim.purged"):
        for number in range((LAST - SWITCHED_ON).days + 1):
            day = SWITCHED_ON + timedelta(days=number)
            moved = WORLD.changes(handle, "followers", day - timedelta(days=1), day)
            true |= {
                (day, handle, "came", WORLD.platform_user_id(one))
                for one in moved.gained
                if notable(one, LAST)
            }
            if day < LAST - timedelta(days=1):  # later losses are provisional still
                true |= {
                    (day, handle, "left", WORLD.platform_user_id(one))
                    for one in moved.lost
                    if notable(one, day - timedelta(days=1))
                }
    assert len(true) > 5
    assert told <= true
    # Neighbours that a purge takes are not each a decision of somebody.
    assert {one for one in true if one[0] != PURGED} <= told


def test_a_handle_that_stays_closed_is_stale_once(everything: Location) -> None:
    (stale,) = of_kind(everything, Stale)
    last_usable = CLOSED - timedelta(days=1)
    assert (stale.handle, stale.previous_day, stale.last_status) == (
        *("sim.closed", last_usable),
        "private",
    )
    assert stale.day == last_usable + timedelta(days=3)
    assert stale.change_ids == (f"{last_usable}/sim.closed/followers/stale",)


@pytest.mark.parametrize(
    ("weekdays", "since"), [("sat, sun", None), ("mon, wed, fri", LAST), ("mon, tue, wed", on(10))]
)
def test_days_on_which_a_list_is_not_due_make_nothing_stale(
    everything: Location, weekdays: str, since: date | None
) -> None:
    everything.home.registry.write_text(f"handles:\n  sim.closed: {{weekdays: [{weekdays}]}}\n")
    assert [one.day for one in of_kind(everything, Stale)] == ([since] if since else [])


def test_what_is_no_longer_tracked_is_not_stale(everything: Location) -> None:
    untrack(everything.home.registry, ["sim.closed"])
    assert of_kind(everything, Stale) == []


def test_low_credits_are_told_from_the_first_run_that_left_few(everything: Location) -> None:
    (low,) = of_kind(everything, CreditsLow)
    assert low.day == POOR
    assert low.balance < 20
    with reading(everything.home.published) as con:
        asked_at = con.execute(
            "SELECT epoch_ms(min(asked_at)) FROM credit_balances WHERE snapshot_date = ?", [POOR]
        ).fetchall()[0][0]
    at = datetime.fromtimestamp(asked_at / 1000, timezone.utc)
    assert low.id == f"{at:%Y-%m-%dT%H:%M:%S}.{asked_at % 1000:03d}Z/credits"


def note_balance(location: Location, hour: int, balance: int) -> None:
    """As if a run of the day after the last one had ended with so many credits left."""
    with writing(location.home.warehouse) as con:
        con.execute(
            "INSERT INTO main.credit_balances BY NAME SELECT ? AS snapshot_date, "
            "now() + to_hours(?) AS asked_at, ? AS balance_after",
            [LAST + timedelta(days=1), hour, balance],
        )
    publish(location.home)


def test_credits_that_are_added_end_it_and_low_ones_begin_another(everything: Location) -> None:
    (before,) = of_kind(everything, CreditsLow)
    note_balance(everything, 1, 100_000)
    assert of_kind(everything, CreditsLow) == []
    note_balance(everything, 2, 3)
    (after,) = of_kind(everything, CreditsLow)
    assert after.balance == 3
    assert after.id != before.id
    note_balance(everything, 3, 2)
    assert of_kind(everything, CreditsLow) == [after]


# --- switching on and off -------------------------------------------------------------------------


def test_what_happened_before_a_kind_was_switched_on_wakes_nobody(
    location_then: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    location_then.home.deliveries.unlink()  # as if it had always been status alone
    monkeypatch.setenv("SF_ASSETS_ALERTS", "churn,notable")
    assert {one.day for one in found(location_then)} <= {LAST}
    monkeypatch.setenv("SF_ASSETS_TODAY", PURGED.isoformat())
    days = {one.day for one in found(location_then) if one.kind == "churn"}
    assert days == {PURGED}


def test_a_kind_that_was_off_meanwhile_does_not_catch_up(
    everything: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SF_ASSETS_ALERTS", "status")
    everything.tick("alerts")
    monkeypatch.setenv("SF_ASSETS_ALERTS", "churn,status")
    everything.tick("alerts")
    assert [one.kind for one in found(everything)] == ["status"]


# --- told -----------------------------------------------------------------------------------------


class Hook(ScriptedServer):
    """Takes what is posted; `heard` has the alerts, those of a digest one by one."""

    def __init__(self) -> None:
        super().__init__(lambda request: Reply(json={}))

    @property
    def heard(self) -> list[dict[str, Any]]:
        posted = [json.loads(request.body)["alert"] for request in self.requests]
        return [one for post in posted for one in post.get("alerts", [post])]


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    with Hook() as server:
        monkeypatch.setenv("SF_ASSETS_ALERT_URLS", f"json://127.0.0.1:{server.port}/")
        yield server


def test_each_is_told_once_and_the_oldest_first(everything: Location, hook: Hook) -> None:
    while requests := asked(everything):
        for request in requests:
            assert deliver(everything, request)
    told = Counter(name for one in hook.heard for name in one["ids"])
    assert set(told) == {name for one in found(everything) for name in one.change_ids}
    assert set(told.values()) == {1}
    since = [one["since"] for one in hook.heard]
    assert since == sorted(since)
    # Nothing of these kinds happened then.
    left_out = {"failed", "drift", "break", "wave", "milestone", "weekly"}
    assert {one["kind"] for one in hook.heard} == set(ALERT_KINDS) - left_out


def test_an_account_that_comes_to_light_later_is_told_alone(
    everything: Location, hook: Hook
) -> None:
    news = max(of_kind(everything, NotableChange), key=lambda one: len(one.accounts))
    assert len(news.accounts) > 1
    first, *rest = news.change_ids
    settings = load_settings()
    alerts.note_delivered(everything.home, [first], "1 addresses")
    waiting = alerts.undelivered([news], alerts.delivered(everything.home))
    alerts.deliver(everything.home, waiting, settings)
    assert [one["ids"] for one in hook.heard] == [rest]
    assert alerts.undelivered([news], alerts.delivered(everything.home)) == []
