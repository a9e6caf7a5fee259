"""up: Dagster's webserver and daemon, with everything on, that leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sf_assets_tests.cli.shell import environment, run, use
from sf_assets_tests.served_lists import KEY, ListServer

SECONDS = 90.0
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
def test_up_serves_with_everything_on_and_stops_without_leaving_processes(tmp_path: Path) -> None:
    stops = (signal.SIGINT, signal.SIGTERM)
    with ListServer() as server, ExitStack() as stack:
        started = []
        # Both at once: each takes seconds to come up.
        for stop, port in zip(stops, free_ports(len(stops)), strict=True):
            home = use(tmp_path / stop.name, url=server.url, key=KEY)
            run("track", "nasa")
            output = (tmp_path / f"{stop.name}.txt").open("w+")
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
            started.append((stop, home, f"http://127.0.0.1:{port}", process, output))
        for stop, home, url, process, _ in started:
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
            process.send_signal(stop)
        for _, home, _, process, output in started:
            assert process.wait(timeout=SECONDS) == 0
            assert of_home(home) == []
            output.seek(0)
            text = output.read()
            assert text.startswith("Dagster UI: http://127.0.0.1:")
            assert " - DEBUG - " not in text
            assert "Traceback" not in text


def partitions(url: str) -> list[str]:
    data = get(f"{url}/graphql", LOADED)["data"]
    dimensions = data["partitions"]["partitionKeysByDimension"]
    return next(one["partitionKeys"] for one in dimensions if one["name"] == "handle")
