"""Days, the ledger, faults and processes, over real HTTP on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from sf_assets.simulator import KINDS, FaultKind, Options, RunningSimulator, background, in_thread
from sf_assets_tests.simulator.client import items, open_client, path, walk
from sf_assets_tests.simulator.worlds import TODAY, back, make_world

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def started() -> Iterator[RunningSimulator]:
    with in_thread(make_world(), Options(day=TODAY)) as running:
        yield running


@pytest.fixture
def simulator(started: RunningSimulator) -> RunningSimulator:
    """One server for all tests, as good as new for each."""
    started.set_day(TODAY)
    started.set_options(page_size=20)
    started.set_balance(1_000_000)
    started.clear_faults()
    started.reset_ledger()
    return started


@pytest.fixture
def client(simulator: RunningSimulator) -> Iterator[httpx.Client]:
    with open_client(simulator.base_url) as made:
        yield made


def names(answer: httpx.Response) -> list[str]:
    return [item["handle"] for item in items(answer.json())]


# days


def test_the_header_goes_before_the_set_day(
    simulator: RunningSimulator, client: httpx.Client
) -> None:
    def ask(**headers: str) -> str:
        answer = client.get(path("sim.private"), headers=headers)
        return str(answer.json()["data"]["lookupStatus"])

    assert ask() == "found"
    assert ask(**{"X-Sim-Day": back(3).isoformat()}) == "private"
    simulator.set_day(back(3))
    assert ask() == "private"
    assert ask(**{"X-Sim-Day": TODAY.isoformat()}) == "found"


def test_a_day_that_is_none_is_refused(client: httpx.Client) -> None:
    answer = client.get(path("sim.open"), headers={"X-Sim-Day": "yesterday"})
    assert answer.status_code == 400


def test_differing_days_at_once_do_not_mix(
    simulator: RunningSimulator, client: httpx.Client
) -> None:
    days = [back(days) for days in range(12)] * 2

    def read(day: object) -> list[int]:
        assert day in days
        with open_client(simulator.base_url) as own:
            return [
                simulator.world.number_of(item, day)  # type: ignore[arg-type]
                for body in walk(own, "sim.open", "followers", day)  # type: ignore[arg-type]
                for item in items(body)
            ]

    with ThreadPoolExecutor(8) as pool:
        for day, numbers in zip(days, pool.map(read, days), strict=True):
            truth = simulator.world.truth("sim.open", "followers", day)
            assert numbers == truth.listed.tolist()


# steering


def test_the_ledger_says_what_was_charged(
    simulator: RunningSimulator, client: httpx.Client
) -> None:
    pages = sum(1 for _ in walk(client, "sim.open", "followers", TODAY))
    client.get(path("sim.open", "following"), headers={"X-Sim-Day": back(1).isoformat()})
    client.get(path("sim.open"), params={"cursor": ""})
    ledger = simulator.ledger()
    assert ledger["charges"] == [
        {"handle": "sim.open", "relation": "followers", "day": str(TODAY), "credits": pages},
        {"handle": "sim.open", "relation": "following", "day": str(back(1)), "credits": 1},
    ]
    assert ledger["charged"] == pages + 1
    assert ledger["balance"] == 1_000_000 - pages - 1
    assert ledger["requests"]["followers"] == pages + 1
    assert ledger["requests"]["status 400"] == 1
    simulator.reset_ledger()
    assert simulator.ledger()["charged"] == 0


def test_the_truth_is_told_over_http(simulator: RunningSimulator) -> None:
    truth = simulator.get(f"/_sim/truth?handle=sim.capped&relation=followers&day={TODAY}")
    assert len(truth["listed"]) == 110
    assert truth["total"] == len(truth["following"])
    changes = simulator.get(
        f"/_sim/changes?handle=sim.open&relation=followers&from={back(5)}&to={TODAY}"
    )
    known = simulator.world.changes("sim.open", "followers", back(5), TODAY)
    assert {row["account"] for row in changes["gained"]} == known.gained
    assert {row["platformUserId"] for row in changes["lost"]} == {
        simulator.world.platform_user_id(number) for number in known.lost
    }


def test_profiles_say_what_they_are_for(simulator: RunningSimulator) -> None:
    assert len(simulator.get("/_sim/profiles")) == len(simulator.world.handles)


def test_page_size_can_be_changed(simulator: RunningSimulator, client: httpx.Client) -> None:
    assert len(names(client.get(path("sim.open")))) == 20
    simulator.set_options(page_size=30)
    assert len(names(client.get(path("sim.open")))) == 30


@pytest.mark.parametrize(
    ("route", "payload"),
    [
        ("/_sim/faults", {"kind": "earthquake"}),
        ("/_sim/faults", {"kind": "html", "colour": "red"}),
        ("/_sim/options", {"seed": 2}),
        ("/_sim/options", {"page_size": 0}),
        ("/_sim/day", {}),
    ],
)
def test_admin_calls_that_make_no_sense_are_refused(
    simulator: RunningSimulator, route: str, payload: object
) -> None:
    with pytest.raises(ValueError, match="/_sim/"):
        simulator.post(route, payload)


def test_only_given_keys_are_let_in() -> None:
    options = Options(api_keys=("sfk_one",), day=TODAY)
    with in_thread(make_world(), options) as simulator:
        assert simulator.api_key == "sfk_one"
        with open_client(simulator.base_url, "sfk_two") as client:
            assert client.get(path("sim.open")).status_code == 401
        with open_client(simulator.base_url, "sfk_one") as client:
            assert client.get(path("sim.open")).status_code == 200


# faults

ERRORS: dict[FaultKind, tuple[int, str]] = {
    "http_500": (500, "internal_error"),
    "http_502": (502, "lookup_failed"),
    "http_503": (503, "temporarily_unavailable"),
    "http_503_retry_after": (503, "temporarily_unavailable"),
    "http_429": (429, "temporarily_unavailable"),
    "http_401": (401, "unauthorized"),
    "http_402": (402, "insufficient_credits"),
    "http_403": (403, "forbidden"),
}


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_is_answered_once_and_not_charged(
    simulator: RunningSimulator, client: httpx.Client, kind: FaultKind
) -> None:
    simulator.add_fault(kind, handle="sim.open")
    answer = client.get(path("sim.open"))
    assert (answer.status_code, answer.json()["error"]["code"]) == ERRORS[kind]
    assert answer.headers.get("Retry-After") == ("1" if "retry_after" in kind else None)
    assert client.get(path("sim.open")).status_code == 200
    assert simulator.ledger()["charged"] == 1
    assert simulator.ledger()["faults"] == {kind: 1}


def test_bad_bodies_come_with_200_and_are_charged(
    simulator: RunningSimulator, client: httpx.Client
) -> None:
    def ask(kind: FaultKind) -> httpx.Response:
        simulator.add_fault(kind)
        answer = client.get(path("sim.open"))
        assert answer.status_code == 200
        return answer

    with pytest.raises(json.JSONDecodeError):
        json.loads(ask("truncated_json").content)
    assert ask("html").headers["content-type"].startswith("text/html")
    with pytest.raises(UnicodeDecodeError):
        ask("bad_utf8").content.decode("utf-8")
    assert isinstance(ask("wrong_type").json()["data"]["totalFollowers"], str)
    assert "page" not in ask("missing_field").json()["data"]
    assert simulator.ledger()["charged"] == 5


@pytest.mark.parametrize(
    ("kind", "error"), [("reset", httpx.ReadError), ("reset_body", httpx.ReadError)]
)
def test_resets_are_real(
    simulator: RunningSimulator, client: httpx.Client, kind: FaultKind, error: type[Exception]
) -> None:
    simulator.add_fault(kind)
    with pytest.raises(error):
        client.get(path("sim.open"))
    assert client.get(path("sim.open")).status_code == 200


def test_hanging_and_endless_answers_last_as_long_as_the_client(
    simulator: RunningSimulator, client: httpx.Client
) -> None:
    simulator.add_fault("hang")
    with pytest.raises(httpx.ReadTimeout):
        client.get(path("sim.open"), timeout=0.2)
    simulator.add_fault("endless")
    with client.stream("GET", path("sim.open")) as answer:
        size = 0
        for piece in answer.iter_raw():
            size += len(piece)
            if size > 3_000_000:
                break
    assert size > 3_000_000
    assert client.get(path("sim.open")).status_code == 200


def test_a_slow_answer_is_whole_in_the_end(
    simulator: RunningSimulator, client: httpx.Client
) -> None:
    wanted = client.get(path("sim.open")).json()["data"]
    simulator.add_fault("slow")
    begun = time.monotonic()
    assert client.get(path("sim.open")).json()["data"] == wanted
    assert time.monotonic() - begun > 1


def test_a_fault_can_be_meant_for_one_page(
    simulator: RunningSimulator, client: httpx.Client
) -> None:
    simulator.add_fault("http_503", handle="sim.open", relation="followers", page=2, times=2)
    cursor: dict[str, str] = {}
    statuses = []
    for _ in range(6):
        answer = client.get(path("sim.open"), params=cursor)
        statuses.append(answer.status_code)
        if answer.status_code == 200:
            cursor = {"cursor": answer.json()["data"]["page"]["nextCursor"]}
    assert statuses == [200, 200, 503, 503, 200, 200]


def test_the_free_routes_can_be_disturbed_too(
    simulator: RunningSimulator, client: httpx.Client
) -> None:
    simulator.add_fault("http_429", relation="balance")
    assert client.get(path("sim.open")).status_code == 200
    assert client.get("/v1/balance").status_code == 429
    assert client.get("/v1/balance").status_code == 200


def test_faults_by_chance_are_repeatable() -> None:
    def outcomes() -> list[object]:
        options = Options(fault_rate=0.3, day=TODAY, fault_kinds=("http_500", "html", "http_429"))
        seen: list[object] = []
        with in_thread(make_world(), options) as simulator:
            with open_client(simulator.base_url) as client:
                for handle in simulator.world.handles * 2:
                    answer = client.get(path(handle))
                    seen.append((answer.status_code, answer.headers["content-type"]))
            assert set(simulator.ledger()["faults"]) <= set(KINDS)
        return seen

    first = outcomes()
    assert first == outcomes()
    assert 5 < sum(outcome != (200, "application/json") for outcome in first) < 30


def test_latency_is_waited_for_side_by_side() -> None:
    options = Options(latency_ms=200, day=TODAY)
    with in_thread(make_world(), options) as simulator:

        def ask(_: int) -> int:
            with open_client(simulator.base_url) as client:
                return client.get(path("sim.open")).status_code

        begun = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(ask, range(8))) == {200}
        assert 0.2 <= time.monotonic() - begun < 1.4
        assert simulator.ledger()["most_in_flight"] >= 2


# processes


def test_a_child_process_ends_with_the_block() -> None:
    with background(preset="small", today=TODAY, options=Options(page_size=7)) as simulator:
        assert simulator.process.poll() is None
        with open_client(simulator.base_url, simulator.api_key) as client:
            assert len(names(client.get(path("sim.bench.0000")))) == 7
            bodies = list(walk(client, "sim.bench.0000", "followers", TODAY))
        numbers = [
            simulator.world.number_of(item, TODAY) for body in bodies for item in items(body)
        ]
        truth = simulator.world.truth("sim.bench.0000", "followers", TODAY)
        assert numbers == truth.listed.tolist()
    assert simulator.process.poll() == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{simulator.base_url}/health", trust_env=False)


@pytest.mark.skipif(os.name != "posix", reason="kills a process group leader")
def test_a_child_process_ends_when_its_parent_is_killed() -> None:
    script = """
        import time
        from sf_assets.simulator import background
        with background(preset="small") as simulator:
            print(simulator.process.pid, flush=True)
            time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
    until = time.monotonic() + 6
    while time.monotonic() < until and _runs(child):
        time.sleep(0.05)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    """True while the process lives; a dead one whose new parent has not looked yet counts out."""
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")
        return not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_the_command_serves_in_the_foreground() -> None:
    command = [sys.executable, "-m", "sf_assets.simulator", "--preset", "small", "--handles", "2"]
    with subprocess.Popen(
        [*command, "--today", str(TODAY), "--page-size", "5"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert f"2 profiles, seed 1, day: {TODAY}" in line
        base_url = next(word for word in line.split() if word.startswith("http://"))
        with open_client(base_url) as client:
            assert len(names(client.get(path("sim.bench.0001")))) == 5
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0


def test_a_port_in_use_is_told(simulator: RunningSimulator) -> None:
    port = simulator.base_url.rsplit(":", 1)[1]
    done = subprocess.run(
        [sys.executable, "-m", "sf_assets.simulator", "--preset", "small", "--port", port],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=20,
    )
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr


def test_no_thread_is_left_behind() -> None:
    before = threading.active_count()
    with in_thread(make_world()):
        assert threading.active_count() > before
    assert threading.active_count() == before
