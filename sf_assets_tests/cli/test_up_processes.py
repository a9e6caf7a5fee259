"""`sf-assets up` for real: daemon, schedule, sensors, webhook; a day of a user in two minutes.

The slowest tests of all: Dagster's sensors tick every 30 seconds.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from datetime import time as time_of_day
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from sf_assets.warehouse.connection import reading
from sf_assets_tests.loopback import Reply, Request, ScriptedServer
from sf_assets_tests.served_lists import KEY, ListServer, account, followed

pytestmark = pytest.mark.daemon

TODAY = datetime.now(timezone.utc).date()
LATE = datetime.combine(TODAY, time_of_day(23), timezone.utc)
YESTERDAY = TODAY - timedelta(days=1)
PATIENCE = 480


def command(*words: str) -> list[str]:
    return [sys.executable, "-c", "from sf_assets.cli import main; main()", *words]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


class DagsterUi:
    """The GraphQL the UI itself talks."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.url = f"{self.address}/graphql"

    def ask(self, query: str, **variables: Any) -> Any:
        request = urllib.request.Request(
            self.url,
            data=json.dumps({"query": query, "variables": variables}).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]

    def press_materialize(self, assets: list[str], partitions: list[str]) -> str:
        """What the UI's button does; returns the backfill's id."""
        launched = self.ask(
            "mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) "
            "{ ... on LaunchBackfillSuccess { backfillId } } }",
            p={
                "assetSelection": [{"path": [asset]} for asset in assets],
                "partitionNames": partitions,
            },
        )
        return str(launched["launchPartitionBackfill"]["backfillId"])

    def runs(self, *statuses: str) -> list[str]:
        """The ids of the runs that have one of these statuses."""
        found = self.ask(
            "query($f: RunsFilter!) { runsOrError(filter: $f) "
            "{ ... on Runs { results { runId } } } }",
            f={"statuses": list(statuses)},
        )
        return [run["runId"] for run in found["runsOrError"]["results"]]

    def terminate(self, runs: list[str]) -> None:
        self.ask(
            "mutation($r: [String!]!) { terminateRuns(runIds: $r) { __typename } }",
            r=runs,
        )

    def outcome(self, backfill: str) -> tuple[str, list[str]]:
        """The status of a backfill that has ended, and those of its runs."""
        found: dict[str, Any] = {}

        def ended() -> bool:
            found.update(
                self.ask(
                    "query($id: String!) { partitionBackfillOrError(backfillId: $id) "
                    "{ ... on PartitionBackfill { status runs(limit: 9) { status } } } }",
                    id=backfill,
                )["partitionBackfillOrError"]
            )
            return found["status"] in ("COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED")

        wait_until(ended, "a backfill to end")
        return found["status"], [run["status"] for run in found["runs"]]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            if condition():
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError, KeyError, TypeError):
            pass
        time.sleep(1)
    raise AssertionError(f"waited {PATIENCE} s for {what}")


@contextmanager
def up(environment: dict[str, str], log: Path) -> Iterator[DagsterUi]:
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command("up", "--port", str(port)),
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield DagsterUi(port)
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 0


@contextmanager
def second_day(
    tmp_path: Path,
) -> Iterator[tuple[ListServer, dict[str, str], list[dict[str, Any]]]]:
    """`open` and `shy` were snapshotted yesterday, and today `shy` is private.

    Yields the vendor, the environment of a user, and the alerts told so far.
    """
    told: list[dict[str, Any]] = []

    def webhook(request: Request) -> Reply:
        told.append(json.loads(request.body))
        return Reply(200, json={})

    with ListServer() as server, ScriptedServer(webhook) as hook:
        environment = {
            **os.environ,
            "SF_ASSETS_HOME": str(tmp_path / "home"),
            "SF_ASSETS_START_DATE": (YESTERDAY - timedelta(days=1)).isoformat(),
            "SOCIALFETCH_BASE_URL": server.url,
            "SOCIALFETCH_API_KEY": KEY,
            "SF_ASSETS_ALERT_URLS": hook.url.replace("http://", "json://"),
            "SF_ASSETS_CRON": "* * * * *",
        }
        if datetime.now(timezone.utc) > LATE:  # midnight would make it a new day
            environment["SF_ASSETS_TODAY"] = TODAY.isoformat()
        for handle in ("open", "shy"):
            server.set(handle, "followers", [account(n) for n in range(30, 0, -1)])
            server.set(handle, "following", [followed(1)])
        for words in (["track", "open", "shy"], ["snapshot"]):
            subprocess.run(
                command(*words),
                env={**environment, "SF_ASSETS_TODAY": YESTERDAY.isoformat()},
                check=True,
                capture_output=True,
            )
        server.set("shy", "followers", status="private")
        server.set("shy", "following", status="private")
        yield server, environment, told


def test_a_profile_that_turns_private_is_told_once_and_the_buttons_of_the_ui_work(
    tmp_path: Path,
) -> None:
    with second_day(tmp_path) as (server, environment, told):
        home = tmp_path / "home"
        with up(environment, tmp_path / "up.log") as ui:
            # The schedule snapshots, the first sensor derives, the second one alerts.
            wait_until(lambda: bool(told), "the alert")
            assert [alert["title"] for alert in told] == ["@shy: profile turned private"]
            link = f"{ui.address}/assets/follower_snapshots?view=partitions&partition={TODAY}%7Cshy"
            assert told[0]["alert"]["links"]["ui"] == link

            with reading(home / "sf_assets.duckdb") as con:
                finished, changed = con.execute(
                    "SELECT (SELECT max(epoch(finished_at)) FROM snapshots), "
                    "(SELECT count(*) FROM status_changes WHERE relation = 'followers')"
                ).fetchall()[0]
                churn = con.execute("SELECT count(*) FROM follower_churn").fetchall()
            assert time.time() - finished < 120 + 30
            assert changed == 1
            assert churn == [(0,)]

            bought = server.credits
            today = TODAY.isoformat()
            both = ["follower_snapshots", "following_snapshots"]
            derived = ["follower_churn", "following_churn", "follower_growth", "status_changes"]
            past = (YESTERDAY - timedelta(days=1)).isoformat()
            one = ui.press_materialize(both[:1], [f"{today}|open"])
            several = ui.press_materialize(both, [f"{today}|open", f"{today}|shy"])
            days = ui.press_materialize(derived, [YESTERDAY.isoformat(), today])
            gone = ui.press_materialize(both[:1], [f"{past}|open"])
            for backfill in (one, several, days):
                assert ui.outcome(backfill) == ("COMPLETED_SUCCESS", ["SUCCESS"])
            assert ui.outcome(gone)[0] == "COMPLETED_FAILED"
            assert server.credits == bought
            assert len(told) == 1


def test_an_outage_that_outlasts_the_retries_costs_neither_the_day_nor_a_page_twice(
    tmp_path: Path,
) -> None:
    with second_day(tmp_path) as (server, environment, told):
        back, beats = Event(), []

        def down(request: Request) -> Reply | None:
            # The first page of one list still comes: it is not bought again.
            if back.is_set() or (request.path.endswith("/open/followers") and not request.query):
                return None
            return Reply(503, json={}, headers={"retry-after": "0"})

        def heartbeat(request: Request) -> Reply:
            beats.append(request.method)
            return Reply(200)

        server.fault = down
        spent = server.credits
        environment["SF_ASSETS_HURRY"] = "60"
        # Over for today: the sensor alone asks, as it does where the schedule's run failed.
        environment["SF_ASSETS_CRON"] = "0 0 * * *"
        with ScriptedServer(heartbeat) as hook:
            environment["SF_ASSETS_HEARTBEAT_URL"] = f"{hook.url}/beat"
            with up(environment, tmp_path / "up.log") as ui:
                wait_until(lambda: bool(ui.runs("FAILURE")), "the retries to be spent")
                wait_until(lambda: bool(told), "the failure to be told")
                back.set()
                wait_until(lambda: bool(beats), "the day to be complete")
                wait_until(lambda: len(told) == 3, "the recovery to be told")
        titles = [alert["title"] for alert in told]
        assert titles[0] == f"4 lists could not be read on {TODAY}"
        assert sorted(titles[1:]) == [
            f"4 lists stored again after failing since {TODAY}",
            "@shy: profile turned private",
        ]
        with reading(tmp_path / "home" / "sf_assets.duckdb") as con:
            stored = con.execute(
                "SELECT handle, relation, lookup_status FROM snapshots WHERE snapshot_date = ? "
                "ORDER BY ALL",
                [TODAY],
            ).fetchall()
        assert stored == [
            ("open", "followers", "found"),
            ("open", "following", "found"),
            ("shy", "followers", "private"),
            ("shy", "following", "private"),
        ]
        # Two pages and one of `open`; `shy` is asked again, twice, before private is believed.
        assert server.credits - spent == 3 + 4
        assert beats == ["GET"]


def test_two_daemons_by_mistake_do_what_one_does_and_a_cancelled_run_frees_its_slot(
    tmp_path: Path,
) -> None:
    hang = Event()

    def hanging(request: Request) -> None:
        if "/slow/" in request.path:
            hang.wait(PATIENCE)

    with (
        second_day(tmp_path) as (server, environment, told),
        up(environment, tmp_path / "up.log") as ui,
        up(environment, tmp_path / "up2.log"),
    ):
        spent = server.credits
        wait_until(lambda: bool(told), "the alert")
        # Time for both daemons to do everything once more.
        time.sleep(65)
        assert [alert["title"] for alert in told] == ["@shy: profile turned private"]
        # Two pages and one of `open`; `shy` is asked again, twice, before private is believed.
        assert server.credits - spent == 3 + 4
        with reading(tmp_path / "home" / "sf_assets.duckdb") as con:
            listed = con.execute(
                "SELECT handle, relation, count(*), count(DISTINCT snapshot_date) FROM snapshots "
                "GROUP BY ALL ORDER BY ALL"
            ).fetchall()
        assert listed == [
            (handle, relation, 2, 2)
            for handle in ("open", "shy")
            for relation in ("followers", "following")
        ]

        server.fault = hanging
        try:
            subprocess.run(command("track", "slow"), env=environment, check=True)
            # As many as may run at once, all on a list that does not come.
            today = f"{TODAY.isoformat()}|slow"

            def press() -> bool:
                return bool(ui.press_materialize(["follower_snapshots"], [today]))

            wait_until(press, "the new handle to have a partition")
            for _ in range(4):
                press()
            wait_until(lambda: len(ui.runs("STARTED")) == 4, "all slots to be taken")
            wait_until(lambda: bool(ui.runs("QUEUED")), "one run to wait for a slot")
            ui.terminate(ui.runs("STARTED"))
            wait_until(lambda: bool(ui.runs("CANCELED")), "the runs to be cancelled")
        finally:
            hang.set()
        server.set("slow", "followers", [account(1)])
        server.set("slow", "following", [followed(1)])
        server.fault = None
        wait_until(lambda: not ui.runs("QUEUED", "STARTED", "STARTING"), "the queue to move on")
        last = ui.press_materialize(["follower_snapshots"], [today])
        # Each of two daemons may start a run of the backfill.
        status, runs = ui.outcome(last)
        assert (status, set(runs)) == ("COMPLETED_SUCCESS", {"SUCCESS"})
