"""`sf-assets up`: Dagster's webserver and daemon on this home."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from contextlib import suppress

import click

from sf_assets.cli.runs import prepare_dagster_home
from sf_assets.home import Home
from sf_assets.settings import Settings, SettingsError

HOST = "127.0.0.1"
# Ctrl-C, `kill`, and a terminal that is closed: the last would else leave Dagster behind.
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# What Dagster's code servers may take to end by themselves after `dagster dev` has.
_LEFTOVER_SECONDS = 3.0


def check(settings: Settings, port: int) -> None:
    """Find out before anything starts or is written what would stop the code location or the UI.

    Raises SettingsError.
    """
    check_port(port)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dagster's notes on its own betas
        from sf_assets.definitions import build_definitions

        build_definitions(settings)


def check_port(port: int) -> None:
    """Raises SettingsError where something else listens on the UI's port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise SettingsError(
                f"port {port} of {HOST} cannot be used ({error.strerror}): "
                "choose another with --port"
            ) from None


def run_up(home: Home, port: int) -> int:
    """Serve until Ctrl-C; returns the exit code."""
    prepare_dagster_home(home)
    command = [
        *(sys.executable, "-m", "dagster", "dev"),
        *("-w", str(home.dagster / "workspace.yaml")),
        *("-h", HOST, "-p", str(port)),
        *("--log-level", "warning"),
    ]
    click.echo(f"Dagster UI: http://{HOST}:{port} (Ctrl-C stops it). Home: {home.root}")
    os.environ.setdefault("SF_ASSETS_UI_URL", f"http://{HOST}:{port}")  # for links in alerts
    process: subprocess.Popen[bytes] | None = None
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        if process is not None and not stopping:
            process.send_signal(signal.SIGINT)
        stopping = True  # once: a second one would break off Dagster's own tidying

    # Before the child is there: a job in a shell's background starts with Ctrl-C ignored, and would
    # hand that down to Dagster, which could then never be stopped.
    previous = {number: signal.signal(number, stop) for number in _STOPS}
    try:
        # In a group of its own: Ctrl-C reaches us alone, and we pass it on.
        process = subprocess.Popen(
            command,
            # Dagster's notes on its own betas are no user's concern.
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            cwd=home.dagster,
            start_new_session=True,
        )
        if stopping:
            process.send_signal(signal.SIGINT)
        code = process.wait()
        _end_group(process.pid)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 0 if stopping or code in (0, -signal.SIGINT, 130) else 1


def _end_group(group: int) -> None:
    """End what `dagster dev` left of itself; its code servers outlive it by a second."""
    with suppress(ProcessLookupError):
        for number in (0, signal.SIGTERM, signal.SIGKILL):
            os.killpg(group, number)
            until = time.monotonic() + _LEFTOVER_SECONDS
            while time.monotonic() < until:
                os.killpg(group, 0)
                time.sleep(0.05)
