"""up: Dagster's webserver and daemon, with everything on, that leave nothing behind."""

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
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from sf_assets_tests.cli.shell import child, environment, run, use
from sf_assets_tests.served_lists import KEY, ListServer

SECONDS = 90.0
GRAPHQL_WS = Subprotocol("graphql-ws")
LOADED = """{ workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError {
  __typename ... on PythonError { message }
  ... on RepositoryLocation { repositories {
    sensors { name sensorState { status } } schedules { name scheduleState { status } } } } } } } }
  partitions: assetNodeOrError(assetKey: {path: ["follower_snapshots"]}) { ... on AssetNode {
    partitionKeysByDimension { name partitionKeys } } } }"""


def wait_for(what: str, found: Callable[[], Any]) -> Any:
    until = time.monotonic() + SECONDS
    while not (answer := found()):
        assert time.monotonic() < until, f"no {what}"
        time.sleep(0.1)
    return answer


def get(url: str, query: str | None = None) -> Any:
    """A JSON answer, None while nobody listens."""
    body = None if query is None else json.dumps({"query": query}).encode()
    request = urllib.request.Request(url, data=body, headers={"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except OSError:
        return None


def of_home(home: Path) -> list[int]:
    """Processes that were started for this home and have not ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"SF_ASSETS_HOME={home}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue  # gone meanwhile, or not ours
    return sorted(set(found) - {os.getpid()})


def free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc")
def test_up_serves_with_everything_on_and_leaves_no_process_however_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No day is due: a daemon that is stopped while it launches a run has a traceback to print.
    monkeypatch.setenv("SF_ASSETS_CRON", "0 6 29 2 *")
    ends = ("stopped", "daemon_killed", "killed")
    with ListServer() as server, ExitStack() as stack:
        started = []
        # All at once: each takes seconds to come up.
        for end, port in zip(ends, free_ports(len(ends)), strict=True):
            home = use(tmp_path / end, url=server.url, key=KEY)
            run("track", "nasa")
            output = (tmp_path / f"{end}.txt").open("w+")
            stack.enter_context(output)
            # A shell starts its background jobs with Ctrl-C ignored; they must end all the same.
            before = signal.signal(signal.SIGINT, signal.SIG_IGN)
            process = subprocess.Popen(
                [sys.executable, "-m", "sf_assets", "up", "--port", str(port)],
                env=environment(),
                cwd=tmp_path,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            signal.signal(signal.SIGINT, before)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            started.append((end, home, f"http://127.0.0.1:{port}", process, output))
        only_one_home_has_a_port(started[0][2], tmp_path / "late")
        for end, home, url, process, _ in started:
            assert wait_for("server", lambda url=url: get(f"{url}/server_info"))["dagster_version"]
            data = get(f"{url}/graphql", LOADED)["data"]
            (location,) = data["workspaceOrError"]["locationEntries"]
            assert location["name"] == "sf_assets"
            loaded = location["locationOrLoadError"]
            assert loaded["__typename"] == "RepositoryLocation", loaded
            (repository,) = loaded["repositories"]
            assert {
                one["name"]: one["sensorState"]["status"] for one in repository["sensors"]
            } == dict.fromkeys(("registry", "days", "derivation", "alerts"), "RUNNING")
            assert {
                one["name"]: one["scheduleState"]["status"] for one in repository["schedules"]
            } == {"daily": "RUNNING"}
            # The daemon runs: its registry sensor has made the partition.
            wait_for("partition", lambda url=url: partitions(url) == ["nasa"])
            assert len(of_home(home)) > 3
            if end == "stopped":
                its_webserver_is_closed_to_other_sites(url)
                for pid in reversed(of_home(home)):  # as systemd stops all at once
                    os.kill(pid, signal.SIGTERM)
            elif end == "daemon_killed":
                os.kill(daemon_of(home), signal.SIGKILL)
            else:
                process.kill()
        codes = {"stopped": 0, "daemon_killed": 1, "killed": -signal.SIGKILL}
        for end, home, _, process, output in started:
            assert process.wait(timeout=SECONDS) == codes[end]
            wait_for("end of all processes", lambda home=home: of_home(home) == [])
            output.seek(0)
            text = output.read()
            assert text.startswith("Dagster UI: http://127.0.0.1:")
            assert " - DEBUG - " not in text
            assert "Traceback" not in text
            assert end != "daemon_killed" or text.splitlines()[-1] == (
                "sf-assets: the Dagster daemon (schedule and sensors) ended by itself (killed by "
                "SIGKILL), so everything was stopped. Landed pages are kept; start again with: "
                "sf-assets up"
            )


def only_one_home_has_a_port(url: str, late: Path) -> None:
    """A second home on the port is refused from the first moment on, before the UI answers."""
    wait_for("hold on the port", lambda: is_held(url))
    said = child(
        *("up", "--port", url.rpartition(":")[2]), cwd=late.parent, SF_ASSETS_HOME=str(late)
    )
    assert said.code == 2
    assert "(Address already in use; another sf-assets up?)" in said.complaint
    assert said.out == ""
    assert not late.exists()


def is_held(url: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(url.rpartition(":")[2]))) == 0


def daemon_of(home: Path) -> int:
    (daemon,) = (
        pid
        for pid in of_home(home)
        if b"dagster._daemon" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    return daemon


def its_webserver_is_closed_to_other_sites(url: str) -> None:
    """Of `up` for real; every kind of request is in test_ui.py."""
    mutation = "mutation { reloadWorkspace { __typename } }"
    by_get = f"{url}/graphql?query={quote(mutation)}"
    image = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert status_of(by_get, image) == 403
    assert status_of(by_get) == 405
    assert status_of(url, {"host": "rebound.test"}) == 403
    assert get(f"{url}/graphql", mutation)["data"]["reloadWorkspace"]["__typename"] == "Workspace"
    socket_url = f"{url.replace('http', 'ws')}/graphql"
    with pytest.raises(InvalidStatus) as refused:
        connect(socket_url, origin=Origin("http://localhost:8000"), proxy=None)
    assert refused.value.response.status_code == 403
    with connect(socket_url, origin=Origin(url), subprotocols=[GRAPHQL_WS], proxy=None) as live:
        live.send('{"type": "connection_init"}')
        assert json.loads(live.recv(timeout=30)) == {"type": "connection_ack"}


def status_of(url: str, headers: dict[str, str] | None = None) -> int:
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers or {}), timeout=30
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def partitions(url: str) -> list[str]:
    data = get(f"{url}/graphql", LOADED)["data"]
    dimensions = data["partitions"]["partitionKeysByDimension"]
    return next(one["partitionKeys"] for one in dimensions if one["name"] == "handle")
