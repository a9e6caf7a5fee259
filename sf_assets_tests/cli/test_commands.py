"""Help, version, the simulator, rebuild, the demo."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path

import duckdb
import pytest

from sf_assets import __version__
from sf_assets.cli import main
from sf_assets_tests.cli.shell import DAY, child, contents, environment, run, use
from sf_assets_tests.conftest import Pipeline
from sf_assets_tests.served_lists import KEY, ListServer, account
from sf_assets_tests.tables import OF_THE_FILE, Tables, published_tables


@pytest.mark.parametrize("command", sorted(main.commands))
def test_the_help_of_every_command_shows_an_example(command: str) -> None:
    said = run(command, "--help")
    assert said.code == 0
    assert re.search(rf"Examples?: .*sf-assets {command}\b", said.out)


def test_help_names_every_command_and_the_exit_codes(tmp_path: Path) -> None:
    said = child("--help", cwd=tmp_path)
    assert (said.code, said.err) == (0, "")
    assert all(command in said.out for command in main.commands)
    assert "3 the API rejected the request" in said.out


def test_the_version_is_told() -> None:
    assert run("--version").out == f"sf-assets, version {__version__}\n"


def test_help_and_query_load_nothing_heavy() -> None:
    code = (
        "import sys, sf_assets.cli.main, sf_assets.cli.tables, sf_assets.storage.home;"
        "heavy = {'dagster', 'aiohttp', 'pyarrow', 'rich', 'uvicorn', 'numpy'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True)


def test_the_simulator_says_where_it_listens_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sf_assets", "simulate", "--port", "0", "--preset", "small"]
    with subprocess.Popen(
        command, env=environment(), cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"http://127\.0\.0\.1:[0-9]+", line)
            assert found is not None
            assert "key sfk_sim" in line
            request = urllib.request.Request(
                f"{found[0]}/v1/whoami", headers={"x-api-key": "sfk_sim"}
            )
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert json.load(answer)["data"]["user"]
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=10) == 0
        finally:
            process.kill()
    assert contents(tmp_path) == {}


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    home = use(tmp_path / "home", url="http://127.0.0.1:9", key=KEY)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for command in (
            ["simulate", "--preset", "small"],
            ["up"],
            ["demo", "--home", str(tmp_path / "demo")],
        ):
            said = run(*command, "--port", port)
            assert (said.code, said.out) == (2, "")
            assert port in said.complaint
    assert not home.exists()
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(
    "options", [["--fault-rate", "2"], ["--latency-ms", "-1"], ["--handles", "5"]]
)
def test_a_world_that_cannot_be_is_told(options: list[str]) -> None:
    with socket.socket() as taken:  # should the options be taken after all, nothing hangs
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = run("simulate", *options, "--port", str(taken.getsockname()[1]))
    assert said.code == 2


def tables(home: Path) -> Tables:
    return published_tables(home / "sf_assets.duckdb", without=OF_THE_FILE, without_tables=())


def test_a_rebuilt_warehouse_equals_the_one_before_and_buys_nothing(tmp_path: Path) -> None:
    with ListServer() as server:
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY)
        pipeline.track("nasa", relations=["followers"])
        for number, listed in enumerate(([3, 2, 1], [4, 3, 1], [5, 4, 3, 1])):
            server.set("nasa", "followers", [account(n) for n in listed])
            pipeline.snapshot(DAY + timedelta(days=number), "nasa", relations=["followers"])
        before, asked = tables(pipeline.home.root), len(server.requests)
        assert before["main.follower_churn"]
        said = run("rebuild")
        assert (said.code, said.err) == (0, "")
        assert said.out.startswith("3 snapshots replayed into ")
        assert "The old warehouse is kept as " in said.out
        assert len(server.requests) == asked
    assert tables(pipeline.home.root) == before


def test_rebuilding_an_empty_home_gives_empty_tables(tmp_path: Path) -> None:
    home = use(tmp_path / "home")
    run("track", "nasa")
    assert run("rebuild").code == 0
    assert tables(home)["main.snapshots"] == []


def test_what_is_no_home_is_not_rebuilt(tmp_path: Path) -> None:
    home = use(tmp_path / "mistyped")
    said = run("rebuild")
    assert said.code == 2
    assert f"{home} is not a home" in said.complaint
    assert not home.exists()


def test_the_demo_makes_its_days_through_the_pipeline(tmp_path: Path) -> None:
    home = tmp_path / "demo"
    # What is set for the real thing must not reach into the demo.
    said = child(
        *("demo", "--days", "3", "--no-ui", "--home", "demo"),
        cwd=tmp_path,
        SF_ASSETS_HOME=str(tmp_path / "real"),
        SF_ASSETS_DAILY_CREDITS="1",
        SOCIALFETCH_API_KEY="sfk_real",
    )
    assert said.code == 0
    today = datetime.now(timezone.utc).date()
    assert re.match(rf"{today - timedelta(days=2)} to {today}: [0-9]+ snapshots", said.out)
    assert f"SF_ASSETS_HOME={home}" in said.out
    assert "Traceback" not in said.err
    assert not (tmp_path / "real").exists()
    con = duckdb.connect(str((home / "sf_assets.duckdb").resolve()), read_only=True)
    with con:
        days, profiles = con.execute(
            "SELECT count(DISTINCT snapshot_date), count(DISTINCT handle) FROM snapshots"
        ).fetchall()[0]
        dark = con.execute(
            "SELECT to_status FROM status_changes WHERE handle = 'sim.goes.dark' "
            "AND changed_on = ?",
            [today],
        ).fetchall()
    assert (days, profiles) == (3, 13)
    assert dark == [("private",), ("private",)]


def test_the_demo_never_empties_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_bytes(b"precious")
    before = contents(tmp_path)
    said = run("demo", "--no-ui", "--home", str(tmp_path / "photos"))
    assert said.code == 2
    assert "is not a folder of the demo" in said.complaint
    assert contents(tmp_path) == before


def test_a_bad_setting_stops_the_demo_before_its_folder_is_emptied(tmp_path: Path) -> None:
    (tmp_path / "DEMO").write_text("ours")
    (tmp_path / "kept").write_text("of the demo before")
    os.environ["SF_ASSETS_CONCURRENCY"] = "none"
    before = contents(tmp_path)
    said = run("demo", "--no-ui", "--home", str(tmp_path))
    assert said.code == 2
    assert "SF_ASSETS_CONCURRENCY" in said.complaint
    assert contents(tmp_path) == before
