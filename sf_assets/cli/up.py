"""`sf-assets up`: Dagster's webserver and daemon on this home."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import click

from sf_assets.cli.runs import prepare_dagster_home
from sf_assets.home import Home

HOST = "127.0.0.1"


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
    # In a group of its own: Ctrl-C reaches us alone, and we pass it on once.
    process = subprocess.Popen(
        command,
        # Dagster's notes on its own betas are no user's concern.
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        cwd=home.dagster,
        start_new_session=True,
    )

    def stop(*_: object) -> None:
        process.send_signal(signal.SIGINT)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = process.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 0 if code in (0, -signal.SIGINT, 130) else 1
