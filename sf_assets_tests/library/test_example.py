"""The example of a project of somebody else's: two clients, a daemon, assets of its own."""

import csv
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg
import pytest

from sf_assets import AudienceReader
from sf_assets.simulator import background

pytestmark = pytest.mark.daemon

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "existing_project"
HANDLES = {"client_a": ["sim.bakery", "sim.nova"], "client_b": ["sim.tiny.garden"]}
SECONDS = 240.0


@pytest.fixture
def project(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a checkout of it, with an instance that has Dagster's own settings."""
    shutil.copytree(EXAMPLE, tmp_path / "project")
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with background(preset="demo") as simulator:
        yield {
            **os.environ,
            "DAGSTER_HOME": str(tmp_path / "dagster"),
            "SOCIALFETCH_BASE_URL": simulator.base_url,
            "CLIENT_A_API_KEY": simulator.api_key,
            "CLIENT_B_API_KEY": simulator.api_key,
            "SF_ASSETS_HURRY": "120",
            "PYTHONPATH": f"{tmp_path / 'project'}:{ROOT}",
            "PYTHONWARNINGS": "ignore",
        }


def dagster(project: dict[str, str], *words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dagster", *words],
        env=project,
        cwd=Path(project["DAGSTER_HOME"]).with_name("project"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@contextmanager
def daemon(project: dict[str, str], log: Path) -> Iterator[None]:
    with ExitStack() as stack:
        output = stack.enter_context(log.open("w"))
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster._daemon", "run", "-m", "existing_project.definitions"],
            env={**project, "AUTOMATION": "running"},
            cwd=Path(project["DAGSTER_HOME"]).with_name("project"),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        stack.callback(process.wait)
        stack.callback(process.terminate)
        yield


def growth(home: Path) -> list[str]:
    try:
        with AudienceReader(home=str(home)).get_connection() as con:
            rows = con.sql("SELECT handle FROM follower_growth ORDER BY ALL").fetchall()
    except FileNotFoundError:
        return []
    return [handle for (handle,) in rows]


def test_the_daemon_reads_both_clients_and_the_projects_own_assets_follow(
    project: dict[str, str], tmp_path: Path
) -> None:
    homes = tmp_path / "project" / "homes"
    with daemon(project, tmp_path / "daemon.log"):
        until = time.monotonic() + SECONDS
        while {client: growth(homes / client) for client in HANDLES} != HANDLES:
            assert time.monotonic() < until, (tmp_path / "daemon.log").read_text()[-5000:]
            time.sleep(0.5)
    with dg.DagsterInstance.from_config(project["DAGSTER_HOME"]) as instance:
        day = str(
            max(instance.get_materialized_partitions(dg.AssetKey(["client_a", "follower_growth"])))
        )
        module = ("-m", "existing_project.definitions")
        both = "key:client_a/follower_growth or key:digest"
        dagster(project, "asset", "materialize", *module, "--select", both, "--partition", day)
        dagster(project, "asset", "materialize", *module, "--select", "client_reports")
        digest = instance.get_latest_materialization_event(dg.AssetKey("digest"))
        assert digest is not None
        assert digest.asset_materialization is not None
        assert digest.asset_materialization.partition == day
        top = digest.asset_materialization.metadata["top"].value
        assert sorted(top) == HANDLES["client_a"]  # type: ignore[arg-type]
    for client, handles in HANDLES.items():
        with (homes / f"{client}.csv").open() as file:
            assert [row["handle"] for row in csv.DictReader(file)] == handles


def test_without_the_variable_nothing_is_switched_on(project: dict[str, str]) -> None:
    code = (
        "from existing_project.definitions import defs\n"
        "repository = defs.get_repository_def()\n"
        "print({one.default_status.value for one in "
        "[*repository.schedule_defs, *repository.sensor_defs]})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=project, capture_output=True, text=True, check=True
    )
    assert done.stdout == "{'STOPPED'}\n"


def test_the_page_names_what_there_is(tmp_path: Path) -> None:
    """Every name in the page's table is in the definitions that its first example builds."""
    from sf_assets import Settings, build_definitions

    page = (ROOT / "docs" / "dagster_project.md").read_text(encoding="utf-8")
    table = page.split("## What you get", 1)[1].split("\n\nThe default", 1)[0]
    named = set(re.findall(r"`(client_a[^`]*)`", table.split("| --- | --- |")[1]))
    defs = build_definitions(Settings(home=tmp_path), name="client_a", key_prefix="client_a")
    repository = defs.get_repository_def()
    there = {key.to_user_string() for key in repository.assets_defs_by_key}
    there |= {one.name for one in (*repository.schedule_defs, *repository.sensor_defs)}
    there |= {job.name for job in repository.get_all_jobs()}
    there |= {"client_a_handles", "client_a_derive"}
    assert named <= there
    assert {name for name in there if name.startswith("client_a_")} <= named
