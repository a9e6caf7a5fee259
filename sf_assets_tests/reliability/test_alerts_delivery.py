"""Alerts when their addresses are down, slow or many: later, in order, once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import pytest

from sf_assets.alerts import DeliveryFailed, StatusChange, deliver, delivered, messages, title
from sf_assets.defs.audience import Audience
from sf_assets.defs.jobs import ALERT_TAG, AlertConfig, alert_job, deliver_alerts
from sf_assets.defs.sensors import alert_sensor
from sf_assets.settings import Settings, load_settings
from sf_assets.storage.home import Home
from sf_assets.warehouse.connection import writing
from sf_assets.warehouse.publish import publish
from sf_assets_tests.loopback import HANG, Action, Reply, Request, ScriptedServer

from .conftest import World

DAY = date(2026, 11, 1)


class Webhook(ScriptedServer):
    """Keeps what is posted to it; answers with `status`, or hangs where that is None."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.status: int | None = 200
        self.heard: list[str] = []

    def _answer(self, request: Request) -> Reply | list[Action]:
        import json

        if self.status is None:
            return [HANG]
        if self.status == 200:
            said = json.loads(request.body)
            self.heard.append(said["title"] + "\n" + said["message"])
        return Reply(self.status)

    @property
    def address(self) -> str:
        # The shortest time Apprise waits for an answer.
        return f"json://127.0.0.1:{self.port}/?rto=1&cto=1"

    @property
    def titles(self) -> list[str]:
        return [said.splitlines()[0] for said in self.heard]


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as server:
        yield server


def alert(number: int, handle: str | None = None) -> StatusChange:
    handle = handle or f"h{number:03d}"
    day = DAY + timedelta(days=number)
    return StatusChange((f"{day}/{handle}",), handle, ("followers",), day, DAY, "found", "private")


def settings_for(*addresses: str) -> Settings:
    return Settings.model_validate({"alert_urls": ",".join(addresses)})


# --- what is posted -------------------------------------------------------------------------------


def test_few_news_are_a_message_each_and_many_are_one() -> None:
    few, many = [alert(n) for n in range(5)], [alert(n) for n in range(500)]
    assert [one.title for one in messages(few)] == [title(one) for one in few]
    (digest,) = messages(many)
    assert digest.title.startswith("500 status changes from 2026-11-01 to ")
    assert len(digest.change_ids) == 500
    lines = digest.body.splitlines()
    assert lines[0] == "@h000: followers list turned private (found → private)"
    assert len(lines) == 21
    assert lines[-1] == "… and 480 more: see sf-assets alerts"


@pytest.mark.parametrize("handle", ["everyone", "here", "channel", "all", "everyone.else"])
def test_a_handle_that_reads_like_a_call_calls_nobody(handle: str) -> None:
    assert f"@{handle}" not in title(alert(1, handle))
    assert handle in title(alert(1, handle))


def test_what_is_no_handle_is_made_harmless() -> None:
    shown = title(alert(1, "a\x1b[31m\n<!channel> @here [x](javascript:y)"))
    assert not set("\x1b\n<>!()[]") & set(shown)
    assert "@here" not in shown


# --- to whom, when --------------------------------------------------------------------------------


@pytest.mark.parametrize("trouble", [500, None], ids=["answers 500", "hangs"])
def test_after_an_outage_everything_arrives_in_order_and_once(
    tmp_path: Path, webhook: Webhook, trouble: int | None
) -> None:
    home, settings = Home(tmp_path), settings_for(webhook.address)
    news = [alert(n) for n in range(3)]
    webhook.status = trouble
    for _ in range(2):
        with pytest.raises(DeliveryFailed, match="1 of 1 alert addresses"):
            deliver(home, news, settings)
    assert delivered(home) == set()
    webhook.status = 200
    deliver(home, news, settings)
    deliver(home, news, settings)
    assert webhook.titles == [title(one) for one in news]
    assert delivered(home) == {one.id for one in news}


def test_an_address_that_is_down_makes_no_other_one_hear_things_twice(
    tmp_path: Path, webhook: Webhook
) -> None:
    home, news = Home(tmp_path), [alert(n) for n in range(3)]
    with Webhook() as other:
        settings = settings_for(webhook.address, other.address)
        webhook.status = 500
        for _ in range(3):
            with pytest.raises(DeliveryFailed, match="1 of 2 alert addresses"):
                deliver(home, news, settings)
        assert other.titles == [title(one) for one in news]
        assert delivered(home) == set()
        webhook.status = 200
        deliver(home, news, settings)
        assert webhook.titles == other.titles
    assert delivered(home) == {one.id for one in news}
    assert "127.0.0.1" not in home.deliveries.read_text()


# --- as Dagster does it ---------------------------------------------------------------------------


def publish_changes(home: Home, count: int) -> None:
    """A published file with so many status changes, a day each."""
    with writing(home.warehouse) as con:
        for number in range(count):
            one = alert(number)
            con.execute(
                "INSERT INTO main.status_changes "
                "VALUES ('followers', ?, 'found', 'private', ?, ?, ?)",
                [one.handle, one.day, one.previous_day, one.id],
            )
    publish(home)


def tick(home: Home, instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    """What the alert sensor asks for now."""
    audience = Audience(load_settings(), automation="running")
    sensor = alert_sensor(audience, alert_job(audience))
    with dg.build_sensor_context(instance=instance) as context:
        return list(sensor.evaluate_tick(context).run_requests or [])


def change_of(request: dg.RunRequest) -> AlertConfig:
    return AlertConfig(change_id=request.run_config["ops"]["post_alert"]["config"]["change_id"])


def run(instance: dg.DagsterInstance, request: dg.RunRequest) -> None:
    """The step of the run that was asked for, without the tries and pauses Dagster adds."""
    deliver_alerts(change_of(request).change_id, Audience(load_settings()), print)


@pytest.fixture
def home(tmp_path: Path, webhook: Webhook) -> Home:
    os.environ.update(SF_ASSETS_HOME=str(tmp_path / "home"), SF_ASSETS_ALERT_URLS=webhook.address)
    return Home(tmp_path / "home").ensure(load_settings())


def test_five_hundred_changes_at_once_are_one_run_and_one_message(
    home: Home, webhook: Webhook
) -> None:
    publish_changes(home, 500)
    with dg.instance_for_test() as instance:
        (request,) = tick(home, instance)
        assert request.tags[ALERT_TAG] == alert(0).id
        run(instance, request)
        assert len(webhook.heard) == 1
        assert "and 480 more" in webhook.heard[0]
        assert tick(home, instance) == []


def test_a_later_run_tells_first_what_an_earlier_one_could_not(
    home: Home, webhook: Webhook
) -> None:
    publish_changes(home, 2)
    with dg.instance_for_test() as instance:
        first, second = tick(home, instance)
        webhook.status = 500
        with pytest.raises(DeliveryFailed):
            run(instance, first)
        webhook.status = 200
        run(instance, second)
        assert webhook.titles == [title(alert(0)), title(alert(1))]
        run(instance, first)  # tried again, it finds its news told
        assert len(webhook.heard) == 2


def test_killed_between_sending_and_noting_it_is_told_again_at_least(
    world: World, webhook: Webhook
) -> None:
    """At least once is all that can be promised, and it is kept."""
    home = world.home(fresh=True)
    publish_changes(home, 1)
    code = (
        "from sf_assets.defs.audience import Audience\n"
        "from sf_assets.defs.jobs import alert_job\n"
        "from sf_assets.settings import load_settings\n"
        "job = alert_job(Audience(load_settings()))\n"
        "job.execute_in_process(run_config={'ops': {'post_alert': {'config': "
        f"{AlertConfig(change_id=alert(0).id).model_dump()!r}}}}}}})"
    )
    addressed = {"SF_ASSETS_ALERT_URLS": webhook.address}
    ended = world.run(home, code=code, SF_ASSETS_CRASH_AT="sent", **addressed)
    assert ended.code == -signal.SIGKILL
    assert delivered(home) == set()
    assert world.run(home, code=code, **addressed).code == 0
    assert world.run(home, code=code, **addressed).code == 0
    assert webhook.titles == [title(alert(0))] * 2
    assert delivered(home) == {alert(0).id}
