"""Changes are told oldest first, each once, and again only where telling failed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from sf_assets import alerts
from sf_assets.defs import sensors
from sf_assets.warehouse.connection import reading
from sf_assets_tests.conftest import Pipeline
from sf_assets_tests.defs.conftest import DAY, Location, made_once, put
from sf_assets_tests.loopback import Reply, ScriptedServer
from sf_assets_tests.served_lists import KEY, ListServer, account


@pytest.fixture(scope="module")
def three_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On the second day `first` turned private, on the third `second` and `third` did."""
    turns = {"first": 1, "second": 2, "third": 2}

    def make(home: Path) -> None:
        with ListServer() as server:
            pipeline = Pipeline(home, server.url, KEY, DAY)
            pipeline.track(*turns, relations=["followers"])
            for number in range(3):
                for handle, turn in turns.items():
                    if number >= turn:
                        server.set(handle, "followers", status="private")
                    else:
                        server.set(handle, "followers", [account(1)])
                pipeline.snapshot(
                    DAY + timedelta(days=number),
                    *turns,
                    relations=["followers"],
                    derive=number == 2,
                )

    return made_once(make, tmp_path_factory.mktemp("three days"))


@pytest.fixture
def changed(three_days: Path, location: Location) -> Location:
    return put(three_days, location)


def asked(location: Location) -> list[dg.RunRequest]:
    return list(location.tick("alerts").run_requests or [])


def deliver(location: Location, request: dg.RunRequest) -> bool:
    """Run the job a request asks for, as the daemon would."""
    return (
        location.definitions.resolve_job_def("deliver_alert")
        .execute_in_process(
            run_config=request.run_config,
            tags=dict(request.tags),
            instance=location.instance,
            raise_on_error=False,
        )
        .success
    )


def test_without_a_change_nothing_is_told(location: Location) -> None:
    reason = location.tick("alerts").skip_reason
    assert reason == dg.SkipReason("No undelivered alerts.")


def test_changes_are_told_oldest_first_under_their_ids(changed: Location) -> None:
    requests = asked(changed)
    told = changed_ids(changed)
    assert [request.run_key for request in requests] == told
    assert [
        request.run_config["ops"]["post_alert"]["config"]["change_id"] for request in requests
    ] == told
    assert len(told) == 3


def test_a_delivery_is_found_by_day_handle_and_kind(changed: Location) -> None:
    first, *_ = asked(changed)
    ours = {name: text for name, text in first.tags.items() if name.startswith("sf_assets/")}
    assert ours == {
        "sf_assets/alert": first.run_key,
        "sf_assets/day": str(DAY + timedelta(days=1)),
        "sf_assets/handle": "first",
        "sf_assets/home": str(changed.home.root),
        "sf_assets/kind": "status",
    }


def changed_ids(location: Location) -> list[str]:
    with reading(location.home.published) as con:
        rows = con.execute(
            "SELECT change_id FROM status_changes ORDER BY changed_on, handle"
        ).fetchall()
    return [row[0] for row in rows]


def test_what_is_told_is_not_told_again(changed: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(lambda request: Reply(json={})) as hook:
        monkeypatch.setenv("SF_ASSETS_ALERT_URLS", f"json://127.0.0.1:{hook.port}/")
        requests = asked(changed)
        for request in requests:
            assert deliver(changed, request)
        assert [b"@first" in one.body for one in hook.requests] == [True, False, False]
        assert asked(changed) == []
        # Nor when the same run is launched once more.
        assert deliver(changed, requests[0])
        assert len(hook.requests) == 3


def test_deleting_runs_tells_nothing_again(changed: Location) -> None:
    for request in asked(changed):
        assert deliver(changed, request)
    for run in changed.instance.get_runs():
        changed.instance.delete_run(run.run_id)
    assert asked(changed) == []


def test_later_ones_wait_while_the_oldest_is_under_way(changed: Location) -> None:
    first, *_ = asked(changed)
    changed.note_run(first, dg.DagsterRunStatus.STARTED, "deliver_alert")
    tick = changed.tick("alerts")
    assert not tick.run_requests
    assert tick.skip_reason is not None


def test_a_failed_one_in_the_middle_does_not_stop_the_oldest(changed: Location) -> None:
    _, second, _ = asked(changed)
    changed.note_run(second, dg.DagsterRunStatus.FAILURE, "deliver_alert")
    # Dagster takes requests or a reason from one tick, never both.
    assert [request.run_key for request in asked(changed)] == changed_ids(changed)[:1]


def test_a_failed_one_is_asked_for_again_under_another_key(
    changed: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *_ = asked(changed)
    changed.note_run(first, dg.DagsterRunStatus.FAILURE, "deliver_alert")
    assert asked(changed) == []
    real = sensors.datetime

    class Later(real):  # type: ignore[misc, valid-type]
        @classmethod
        def now(cls, tz: object = None) -> object:
            return real.now(tz) + timedelta(minutes=2)

    monkeypatch.setattr(sensors, "datetime", Later)
    assert asked(changed)[0].run_key == f"{first.run_key}#1"


def test_a_change_that_is_noted_as_delivered_is_skipped(changed: Location) -> None:
    ids = changed_ids(changed)
    alerts.note_delivered(changed.home, ids[:2], "by hand")
    assert [request.run_key for request in asked(changed)] == ids[2:]
