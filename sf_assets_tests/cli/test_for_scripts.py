"""--quiet, --json and shell completion: what a script and a shell want of the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sf_assets.cli.runner import dagster_instance
from sf_assets.storage.home import Home
from sf_assets_tests.cli.shell import DAY, Said, child, contents, environment, run, use
from sf_assets_tests.loopback import Reply, ScriptedServer
from sf_assets_tests.served_lists import KEY, ListServer, account

SHELLS = ("bash", "zsh", "fish")


@pytest.fixture
def server() -> Iterator[ListServer]:
    with ListServer() as server:
        server.set("nasa", "followers", [account(n) for n in range(45, 0, -1)])
        server.set("esa", "followers", status="private")
        yield server


@pytest.fixture
def home(tmp_path: Path, server: ListServer) -> Path:
    return use(tmp_path / "home", url=server.url, key=KEY)


def answer(said: Said) -> Any:
    """The one JSON document on standard output."""
    return json.loads(said.out)


# --- quiet and JSON -------------------------------------------------------------------------------


def test_tracking_answers_as_json_or_not_at_all(home: Path) -> None:
    run("track", "esa")
    assert answer(run("track", "@NASA", "esa", "--json")) == [
        {"handle": "nasa", "new": True},
        {"handle": "esa", "new": False},
    ]
    assert run("track", "abc", "--quiet") == Said(0, "", "")
    assert answer(run("untrack", "abc", "--json")) == [{"handle": "abc"}]
    assert run("untrack", "esa", "-q") == Said(0, "", "")
    assert [one["handle"] for one in answer(run("handles", "--json"))] == ["nasa", "nasa"]


def test_no_handles_are_an_empty_array(home: Path) -> None:
    assert answer(run("handles", "--json")) == []


def test_a_snapshot_answers_as_json(home: Path) -> None:
    run("track", "nasa", "esa", "--relation", "followers")
    said = run("snapshot", "--json")
    found = answer(said)
    assert found.pop("seconds") > 0
    lists = found.pop("lists")
    assert found == {
        "day": str(DAY),
        "lists_asked_for": 2,
        "pages_bought": 4,
        "credits": 4,
        "problems": [],
        "exit_code": 0,
    }
    assert [(one["handle"], one["status"], one["listed"], one["total"]) for one in lists] == [
        ("esa", "private", 0, None),
        ("nasa", "found", 45, 45),
    ]
    latest = answer(run("handles", "--json"))
    assert [(one["handle"], one["last"], one["status"]) for one in latest] == [
        ("nasa", str(DAY), "found"),
        ("esa", str(DAY), "private"),
    ]


def test_a_quiet_snapshot_says_only_what_is_wrong(home: Path, server: ListServer) -> None:
    run("track", "nasa", "--relation", "followers")
    assert run("snapshot", "--quiet") == Said(0, "", "")
    server.set("bad", "followers", status="unheard_of")
    run("track", "bad", "--relation", "followers")
    said = run("snapshot", "--quiet")
    assert (said.code, said.out) == (1, "")
    assert "@bad" in said.complaint


def test_problems_are_in_the_json_too(home: Path, server: ListServer) -> None:
    server.set("bad", "followers", status="unheard_of")
    run("track", "bad", "--relation", "followers")
    said = run("snapshot", "--json")
    (problem,) = answer(said)["problems"]
    assert "@bad" in problem
    assert answer(said)["exit_code"] == said.code == 1


def test_doctor_answers_as_json_or_with_what_is_wrong(home: Path, server: ListServer) -> None:
    checks = answer(run("doctor", "--json"))
    assert {name: one["ok"] for one in checks for name in [one["check"]]}["handles"] is False
    assert all(set(one) == {"check", "ok", "says"} for one in checks)
    quiet = run("doctor", "--quiet").out.splitlines()
    assert [line.split()[:2] for line in quiet] == [["BAD", "handles"]]
    run("track", "nasa")
    assert run("doctor", "--quiet") == Said(0, "", "")


def test_a_report_answers_as_json_or_not_at_all(home: Path, tmp_path: Path) -> None:
    run("track", "nasa", "--relation", "followers")
    run("snapshot")
    page = tmp_path / "page.html"
    said = run("report", "-o", str(page), "--days", "7", "--json")
    assert answer(said) == {
        "file": str(page),
        "handles": ["nasa"],
        "days": 7,
        "last_day": str(DAY),
        "missing_days": [],
    }
    assert run("report", "-o", str(page), "--quiet") == Said(0, "", "")
    assert run("rebuild", "--quiet") == Said(0, "", "")


# --- long lists -----------------------------------------------------------------------------------


def logged(home: Path) -> list[str]:
    """What the runs of this home said of lists that were being read."""
    with dagster_instance(Home(home)) as instance:
        return [
            entry.user_message
            for run in instance.get_runs()
            for entry in instance.all_logs(run.run_id)
            if " pages, " in entry.user_message and " accounts" in entry.user_message
        ]


def test_a_long_list_says_in_log_and_terminal_how_far_it_is(home: Path, server: ListServer) -> None:
    server.set("long", "followers", [account(n) for n in range(2_500, 0, -1)])
    run("track", "nasa", "long", "--relation", "followers")
    said = run("snapshot")
    assert said.code == 0
    told = [line for line in said.err.splitlines() if line.startswith("long")]
    begun = f"long followers {DAY}: 1,000 of 2,500 accounts, 50 pages, 50 credits, at most about "
    assert len(told) == 3  # after 50 and 100 pages, and at its end
    assert told[0].startswith(begun)
    assert told[0].endswith(" left")
    assert told[-1] == f"long followers {DAY}: 2,500 of 2,500 accounts, 125 pages, 125 credits"
    with dagster_instance(Home(home)) as instance:
        (run_id,) = (one.run_id for one in instance.get_runs() if one.job_name == "daily_snapshots")
        log = "\n".join(entry.user_message for entry in instance.all_logs(run_id))
    assert f"long followers {DAY}: found, 2,500 listed of 2,500, complete" in log
    lines = "\n".join(logged(home)).splitlines()
    assert lines
    assert all(line.startswith(f"long followers {DAY}: ") for line in lines)
    assert lines[0].startswith(begun)


def test_a_short_list_costs_the_log_nothing(home: Path) -> None:
    run("track", "nasa", "--relation", "followers")
    run("snapshot")
    assert logged(home) == []


# --- completion -----------------------------------------------------------------------------------


def completed(line: str, cwd: Path) -> list[str]:
    """What bash is offered for the last word of a line, as click's script asks for it."""
    words = line.split(" ")
    done = subprocess.run(
        [sys.executable, "-m", "sf_assets"],
        env=environment(
            _SF_ASSETS_COMPLETE="bash_complete",
            COMP_WORDS=line,
            COMP_CWORD=str(len(words) - 1),
        ),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return [found.partition(",")[2] for found in done.stdout.splitlines() if found]


def test_commands_options_and_tracked_handles_are_completed(home: Path, tmp_path: Path) -> None:
    run("track", "nasa", "nasa.too", "esa")
    assert completed("sf-assets sn", tmp_path) == ["snapshot"]
    assert completed("sf-assets snapshot na", tmp_path) == ["nasa", "nasa.too"]
    assert completed("sf-assets untrack @E", tmp_path) == ["@esa"]
    assert completed("sf-assets snapshot nasa na", tmp_path) == ["nasa.too"]
    assert completed("sf-assets report --handle e", tmp_path) == ["esa"]
    assert completed("sf-assets snapshot --ref", tmp_path) == ["--refresh"]
    assert completed("sf-assets alerts te", tmp_path) == ["test"]


def test_without_a_home_or_with_a_broken_one_nothing_is_offered_or_made(
    tmp_path: Path,
) -> None:
    home = use(tmp_path / "home")
    assert completed("sf-assets snapshot n", tmp_path) == []
    assert contents(tmp_path) == {}
    home.mkdir()
    (home / "handles.yaml").write_text("handles: [nasa")
    assert completed("sf-assets snapshot n", tmp_path) == []
    os.environ["SF_ASSETS_CONCURRENCY"] = "none"
    assert completed("sf-assets snapshot n", tmp_path) == []


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_each_shell_is_one_that_the_shell_understands(
    shell: str, tmp_path: Path
) -> None:
    said = child("completion", shell, cwd=tmp_path)
    assert said.code == 0
    assert f"_SF_ASSETS_COMPLETE={shell}_complete" in said.out
    program = shutil.which(shell)
    if program is not None:
        (tmp_path / "script").write_text(said.out)
        subprocess.run([program, "-n", str(tmp_path / "script")], check=True)


def test_an_unknown_shell_is_wrong_usage() -> None:
    assert run("completion", "csh").code == 2


# --- alerts ---------------------------------------------------------------------------------------


@pytest.fixture
def hook() -> Iterator[ScriptedServer]:
    with ScriptedServer(
        lambda request: Reply(500 if request.path.startswith("/bad") else 200)
    ) as server:
        yield server


def test_alerts_are_listed_newest_first_with_whether_they_went_out(
    home: Path, server: ListServer
) -> None:
    assert "no alerts so far" in run("alerts").out
    run("track", "nasa", "esa", "--relation", "followers")
    for number, status in enumerate(("found", "private", "hidden")):
        os.environ["SF_ASSETS_TODAY"] = DAY.replace(day=DAY.day + number).isoformat()
        server.set("nasa", "followers", [account(1)] if status == "found" else [], status=status)
        run("snapshot", "nasa")
    newest, oldest = answer(run("alerts", "--json"))
    assert [(one["was"], one["now"]) for one in (newest, oldest)] == [
        ("private", "hidden"),
        ("found", "private"),
    ]
    assert (newest["delivered_at"], oldest["delivered_at"]) == (None, None)
    from sf_assets.alerts import note_delivered

    note_delivered(Home(home), oldest["ids"], "by hand")
    newest, oldest = answer(run("alerts", "--json"))
    assert newest["delivered_at"] is None
    assert oldest["delivered_at"] is not None
    lines = run("alerts", "--limit", "1").out.splitlines()
    assert lines[1].split() == [str(DAY.replace(day=3)), "status", *lines[1].split()[2:]]
    assert lines[1].endswith("waiting")
    assert lines[-1].startswith(
        "1 of 2 alerts; enabled kinds: status, failed, drift, break; shown in log and UI only"
    )


def test_a_sample_goes_to_every_address_and_says_where_it_arrived(
    home: Path, hook: ScriptedServer
) -> None:
    base = f"127.0.0.1:{hook.port}"
    os.environ["SF_ASSETS_ALERT_URLS"] = f"json://{base}/good/hush"
    assert run("alerts", "test") == Said(0, "address 1 (JSON): delivered\n", "")
    assert run("alerts", "test", "--quiet") == Said(0, "", "")
    os.environ["SF_ASSETS_ALERT_URLS"] += f",json://{base}/bad/hush"
    said = run("alerts", "test")
    assert said.code == 1
    assert said.out.splitlines() == [
        "address 1 (JSON): delivered",
        "address 2 (JSON): not delivered, HTTP 500; check this URL",
    ]
    assert answer(run("alerts", "test", "--json")) == [
        {"address": 1, "service": "JSON", "arrived": True, "why": None},
        {"address": 2, "service": "JSON", "arrived": False, "why": "HTTP 500"},
    ]
    assert "hush" not in said.out + said.err
    assert not home.exists()  # nothing is noted: it was no news
    assert {json.loads(one.body)["alert"]["kind"] for one in hook.requests} == {"test"}


def test_without_an_address_or_with_a_wrong_one_no_sample_is_sent(home: Path) -> None:
    assert run("alerts", "test").code == 2
    os.environ["SF_ASSETS_ALERT_URLS"] = "discord://only-one-part"
    said = run("alerts")
    assert "sent to" not in said.out
    assert said.out.rstrip().endswith(
        "not sent: address 1 of SF_ASSETS_ALERT_URLS is not an Apprise URL; see the list of "
        "services in Apprise's documentation"
    )
    os.environ["SF_ASSETS_ALERT_URLS"] = "nothing://hushhush"
    said = run("alerts", "test")
    assert said.code == 1
    assert "address 1 of SF_ASSETS_ALERT_URLS is not an Apprise URL" in said.complaint
    assert "hushhush" not in said.out + said.err
