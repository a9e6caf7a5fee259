"""Serves the simulator on loopback: in the foreground, in a child process, or in a thread."""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import date, datetime, timezone
from pathlib import Path
from typing import IO, Any

import uvicorn

from sf_assets.simulator.app import Options, SimulatedApi
from sf_assets.simulator.faults import FaultKind
from sf_assets.simulator.presets import Preset, preset_world
from sf_assets.simulator.world import Relation, World

HOST = "127.0.0.1"
API_KEY = "sfk_sim"
_START_SECONDS = 30.0
_LENGTH_BYTES = 8


def run(
    world: World,
    options: Options | None = None,
    *,
    port: int = 0,
    quiet: bool = False,
    app: SimulatedApi | None = None,
) -> None:
    """Serve until Ctrl-C. Port 0 picks a free one. Prints the address once it listens."""
    with _listen(port) as listening:
        app = app or SimulatedApi(world, options)
        server = _server(app)
        if not quiet:
            print(_start_line(app, listening), flush=True)
        with suppress(KeyboardInterrupt):  # the usual way to stop it
            server.run(sockets=[listening])


def _start_line(app: SimulatedApi, listening: socket.socket) -> str:
    where = f"Simulator of the Social Fetch API on {_address(listening)}"
    return f"{where} (key {API_KEY}, {app.serves}). All data is invented."


def _listen(port: int) -> socket.socket:
    # asyncio switches off Nagle's delay only if the protocol is given; otherwise each answer
    # would take 40 ms without uvloop.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
    except OSError as error:
        listening.close()
        raise OSError(error.errno, f"cannot listen on {HOST}:{port}: {error.strerror}") from error
    listening.listen(1_024)
    return listening


def _address(listening: socket.socket) -> str:
    return f"http://{HOST}:{listening.getsockname()[1]}"


def _server(app: SimulatedApi) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app,
            access_log=False,
            log_level="critical",
            date_header=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="off",
            # Hanging and endless answers must not delay the shutdown.
            timeout_graceful_shutdown=1,
        )
    )


class RunningSimulator:
    """A running simulator: its address, and the admin routes as methods."""

    def __init__(self, base_url: str, world: World, api_key: str) -> None:
        self.base_url = base_url
        self.api_key = api_key
        #: The same world as the server's, to get the truth without HTTP.
        self.world = world

    def get(self, path: str) -> Any:
        """The JSON answer to an admin GET."""
        return self._call("GET", path, None)

    def post(self, path: str, payload: Any) -> Any:
        """The JSON answer to an admin POST. Raises ValueError with the reason if it is refused."""
        return self._call("POST", path, payload)

    def _call(self, method: str, path: str, payload: Any) -> Any:
        body = None if payload is None else json.dumps(payload).encode()
        request = urllib.request.Request(self.base_url + path, data=body, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise ValueError(f"{method} {path}: {error.read().decode()}") from None

    def set_day(self, day: date | None) -> None:
        """Set the day for requests without X-Sim-Day; None means the current UTC day."""
        self.post("/_sim/day", {"day": day.isoformat() if day else None})

    def set_balance(self, credits: int) -> None:
        """Set the credit balance."""
        self.post("/_sim/balance", {"balance": credits})

    def set_options(self, **options: float) -> None:
        """Set `latency_ms`, `page_size`, `fault_rate`, `cache_seconds` or `cursor_seconds`."""
        self.post("/_sim/options", options)

    def add_fault(
        self,
        kind: FaultKind,
        *,
        handle: str | None = None,
        relation: Relation | str | None = None,
        page: int | None = None,
        times: int = 1,
    ) -> None:
        """Disturb the next `times` matching calls. Pages count from 0."""
        self.post(
            "/_sim/faults",
            {"kind": kind, "handle": handle, "relation": relation, "page": page, "times": times},
        )

    def clear_faults(self) -> None:
        """Remove queued faults, and stop random ones."""
        self._call("DELETE", "/_sim/faults", None)

    def ledger(self) -> dict[str, Any]:
        """`balance`, `charged`, `requests`, `faults`, `most_in_flight`, `charges`."""
        ledger: dict[str, Any] = self.get("/_sim/ledger")
        return ledger

    def reset_ledger(self) -> None:
        """Empty the ledger; the balance stays."""
        self.post("/_sim/ledger", {})


class SimulatorProcess(RunningSimulator):
    """A simulator in a child process. It ends with `stop()`, or when this process ends."""

    def __init__(self, world: World, options: Options | None = None, *, port: int = 0) -> None:
        options = options or Options()
        root = str(Path(__file__).resolve().parents[2])
        path = os.environ.get("PYTHONPATH")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sf_assets.simulator", "--as-child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root},
            # Ctrl-C goes to the parent only; the child ends when its stdin closes.
            start_new_session=True,
        )
        # A child that hangs before it listens would block the read below.
        watchdog = threading.Timer(_START_SECONDS, self.process.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            base_url = self._start(pickle.dumps((world, options, port)))
            super().__init__(base_url, world, (options.api_keys or (API_KEY,))[0])
            self._wait_until_healthy()
        except BaseException:
            self.stop()
            raise
        finally:
            watchdog.cancel()

    def _start(self, payload: bytes) -> str:
        stdin, stdout = _pipe(self.process.stdin), _pipe(self.process.stdout)
        try:
            stdin.write(len(payload).to_bytes(_LENGTH_BYTES, "little") + payload)
            stdin.flush()
            line = stdout.readline().decode().strip()
        except BrokenPipeError:
            line = ""
        if not line.startswith("http://"):
            raise RuntimeError("the simulator process ended before it listened; see its stderr")
        return line

    def _wait_until_healthy(self) -> None:
        until = time.monotonic() + _START_SECONDS
        while True:
            try:
                self.get("/health")
            except (OSError, ValueError):
                if self.process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{self.base_url} does not answer") from None
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """End the child process, if it still runs."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None and not pipe.closed:
                with suppress(BrokenPipeError):  # it ended first
                    pipe.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise RuntimeError("the child has no pipe")
    return stream


@contextmanager
def background(
    world: World | None = None,
    options: Options | None = None,
    *,
    preset: Preset = "demo",
    today: date | None = None,
    seed: int = 1,
    handles: int | None = None,
    accounts: int | None = None,
    port: int = 0,
) -> Iterator[SimulatorProcess]:
    """Run a simulator in a child process during a `with` block.

    Give a `world`, or a `preset` and the last day of its history (default: the current UTC day).
    `today` is also the day to answer for, unless `options` has another.
    """
    if world is None:
        world = preset_world(
            preset,
            today=today or datetime.now(timezone.utc).date(),
            seed=seed,
            handles=handles,
            accounts=accounts,
        )
    options = options or Options()
    if options.day is None:
        options = replace(options, day=today)
    simulator = SimulatorProcess(world, options, port=port)
    try:
        yield simulator
    finally:
        simulator.stop()


@contextmanager
def in_thread(
    world: World, options: Options | None = None, app: SimulatedApi | None = None
) -> Iterator[RunningSimulator]:
    """Run a simulator in a thread of this process. It starts in milliseconds."""
    listening = _listen(0)
    server = _server(app or SimulatedApi(world, options))
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listening]}, name="simulator", daemon=True
    )
    thread.start()
    try:
        until = time.monotonic() + _START_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > until:
                raise RuntimeError("the simulator thread did not start")
            time.sleep(0.005)
        keys = options.api_keys if options else None
        yield RunningSimulator(_address(listening), world, (keys or (API_KEY,))[0])
    finally:
        server.should_exit = True
        thread.join(timeout=5)
        listening.close()


def run_as_child() -> None:
    """The child of SimulatorProcess: reads world and options from stdin, writes the address to
    stdout, and ends when stdin closes."""
    stdin = sys.stdin.buffer
    length = int.from_bytes(stdin.read(_LENGTH_BYTES), "little")
    world, options, port = pickle.loads(stdin.read(length))
    with _listen(port) as listening:
        server = _server(SimulatedApi(world, options))

        def end_with_parent() -> None:
            stdin.read()
            server.should_exit = True
            time.sleep(3)
            os._exit(0)

        threading.Thread(target=end_with_parent, daemon=True).start()
        print(_address(listening), flush=True)
        server.run(sockets=[listening])
