"""The services of `deploy/compose.yaml` as processes here: a day is read, derived and shown.

What the containers add (images, volumes, names of hosts) is not in here; every command, every
variable and every file that the containers get is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sf_assets_tests.cli.test_up_processes import DagsterUi, wait_until
from sf_assets_tests.reliability.conftest import serve_day
from sf_assets_tests.served_lists import KEY, ListServer

from ..components import Cluster, free_port
from .conftest import DAY1
from .test_deploy import DEPLOY, instructions, read

pytestmark = pytest.mark.scale

IN_IMAGE = "/opt/sf_assets/dagster_home"


def filled_in(value: object, given: dict[str, str]) -> str:
    """As compose does it: ${NAME}, ${NAME:-default}, ${NAME:?why it has to be there}."""
    return re.sub(
        r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)?\}",
        lambda found: given.get(found[1]) or found[2] or "",
        str(value),
    )


class Compose:
    """The file, with the addresses of this machine in place of the containers'."""

    def __init__(self, folder: Path, cluster: Cluster, server: ListServer) -> None:
        self.services: dict[str, Any] = read("compose.yaml")["services"]
        self.folder, self.cluster, self.server = folder, cluster, server
        self.ports = {"4000": str(free_port()), "3000": str(free_port())}
        self.home = folder / "dagster_home"
        (folder / "data").mkdir()
        self.home.mkdir()
        shutil.copy(DEPLOY / "dagster.yaml", self.home)
        workspace = (DEPLOY / "workspace.yaml").read_text()
        (self.home / "workspace.yaml").write_text(
            workspace.replace("host: code", "host: 127.0.0.1").replace("4000", self.ports["4000"])
        )

    def make_databases(self) -> None:
        """As the image of Postgres does on its first start."""
        import psycopg2

        said = self.services["postgres"]["environment"]
        steps = [
            f"CREATE ROLE {said['POSTGRES_USER']} SUPERUSER LOGIN PASSWORD 'of compose'",
            f"CREATE DATABASE {said['POSTGRES_DB']}",
            (DEPLOY / "make_lake.sql").read_text(),
        ]
        con = psycopg2.connect(self.cluster.dsn("postgres"))
        try:
            con.autocommit = True
            for step in steps:
                con.cursor().execute(step)
        finally:
            con.close()

    def environment(self, service: str) -> dict[str, str]:
        given = {"SOCIALFETCH_API_KEY": KEY, "POSTGRES_PASSWORD": "of compose"}
        said = {
            name: filled_in(value, given)
            for name, value in self.services[service]["environment"].items()
            if value is not None
        }
        here = f"host=127.0.0.1 port={self.cluster.port}"
        moved = {
            "SF_ASSETS_HOME": str(self.folder / "data"),
            "SF_ASSETS_STORAGE": said["SF_ASSETS_STORAGE"].replace("/data", f"{self.folder}/data"),
            "SF_ASSETS_WAREHOUSE": said["SF_ASSETS_WAREHOUSE"].replace("host=postgres", here),
            "DAGSTER_PG_HOST": "127.0.0.1",
            "DAGSTER_PG_PORT": str(self.cluster.port),
            "DAGSTER_HOME": str(self.home),
            # The world outside: ours on loopback, on a day of its own.
            "SOCIALFETCH_BASE_URL": self.server.url,
            "SF_ASSETS_START_DATE": DAY1.isoformat(),
            "SF_ASSETS_TODAY": DAY1.isoformat(),
        }
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, **said, **moved, "PATH": programs, "PYTHONWARNINGS": "ignore"}

    def words(self, words: list[str]) -> list[str]:
        moved = (word.replace(IN_IMAGE, str(self.home)) for word in words)
        return [self.ports.get(word, word).replace("0.0.0.0", "127.0.0.1") for word in moved]

    def execute(self, service: str, *words: str) -> subprocess.CompletedProcess[str]:
        """`docker compose exec`."""
        return subprocess.run(
            self.words(list(words)),
            env=self.environment(service),
            capture_output=True,
            text=True,
            timeout=120,
        )

    @contextmanager
    def running(self, service: str) -> Iterator[None]:
        """The service's process, until its health check says that it is there."""
        said = self.services[service]
        (of_image,) = (json.loads(rest) for what, rest in instructions() if what == "CMD")
        with (self.folder / f"{service}.log").open("wb") as log:
            process = subprocess.Popen(
                self.words(said.get("command", of_image)),
                env=self.environment(service),
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            try:
                if "healthcheck" in said:
                    how, *words = said["healthcheck"]["test"]
                    assert how == "CMD"
                    wait_until(lambda: self.execute(service, *words).returncode == 0, service)
                yield
                assert process.poll() is None, f"{service} ended by itself"
            finally:
                process.terminate()
                try:
                    process.wait(timeout=60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@pytest.fixture
def server() -> Iterator[ListServer]:
    with ListServer() as running:
        yield running


def test_its_services_read_and_derive_a_day_and_show_it(
    cluster: Cluster, server: ListServer, tmp_path: Path
) -> None:
    serve_day(server, DAY1)
    compose = Compose(tmp_path, cluster, server)
    compose.make_databases()
    with ExitStack() as started:
        for service in ("code", "daemon", "webserver"):
            started.enter_context(compose.running(service))
        tracked = compose.execute("code", "sf-assets", "track", "one", "two")
        assert tracked.returncode == 0, tracked.stderr
        ui = DagsterUi(int(compose.ports["3000"]))

        snapshots = ["follower_snapshots", "following_snapshots"]
        pressed: list[str] = []

        def press() -> bool:
            days = [f"{DAY1}|one", f"{DAY1}|two"]
            pressed.append(ui.press_materialize(snapshots, days))  # refused until these are there
            return True

        wait_until(press, "the handles to be partitions")
        assert ui.outcome(*pressed)[0] == "COMPLETED_SUCCESS"

        def derived() -> bool:
            found = ui.ask(
                '{ assetOrError(assetKey: {path: ["follower_growth"]}) '
                "{ ... on Asset { assetMaterializations(limit: 1) { partition } } } }"
            )
            return bool(found["assetOrError"]["assetMaterializations"])

        wait_until(derived, "the derivation")
        asked = compose.execute(
            *("code", "sf-assets", "query", "--json"),
            "SELECT handle FROM follower_growth WHERE completeness = 'complete' ORDER BY handle",
        )
        assert [row["handle"] for row in json.loads(asked.stdout)] == ["one", "two"], asked.stderr
        assert not ui.runs("FAILURE")
    assert not list(compose.home.rglob("*.db"))
