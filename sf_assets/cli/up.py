"""`sf-assets up`: Dagster's code server, daemon and webserver on this home."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from sf_assets.cli.runner import prepare_dagster_home
from sf_assets.errors import SettingsError, SfAssetsError
from sf_assets.settings import Settings
from sf_assets.storage.files import write_atomically
from sf_assets.storage.home import Home

HOST = "127.0.0.1"
# Ctrl-C, `kill`, and a closed terminal, which would leave Dagster running.
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Seconds for a part to end by itself, and for processes it leaves behind.
_STOP_SECONDS, _LEFTOVER_SECONDS = 60.0, 3.0
_UI, _DAEMON, _CODE = (
    "the Dagster UI",
    "the Dagster daemon (schedule and sensors)",
    "the code server",
)


def check(settings: Settings) -> None:
    """Load the code location before anything starts or is written. Raises SettingsError if that
    fails.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dagster's notes on its own betas
        from sf_assets.defs.build import build_definitions

        build_definitions(settings)


@contextmanager
def listening(port: int) -> Iterator[socket.socket]:
    """A socket that listens on the UI's port, so that no other process can take it.

    Raises SettingsError if the port is taken.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            held.bind((HOST, port))
            held.listen(128)
        except OSError as error:
            raise SettingsError(
                f"cannot listen on {HOST}:{port} ({error.strerror}; another sf-assets up?); choose "
                "another port with --port"
            ) from None
        yield held


def run_up(home: Home, ui: socket.socket) -> int:
    """Serve the UI on this socket until Ctrl-C. Returns the exit code.

    Raises SfAssetsError if a part ends by itself.
    """
    prepare_dagster_home(home)
    url = "http://{}:{}".format(*ui.getsockname())
    click.echo(f"Dagster UI: {url} (stop with Ctrl-C). Home: {home.root}")
    os.environ.setdefault("SF_ASSETS_UI_URL", url)  # for links in alerts
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    # Before any child starts: a background job of a shell ignores Ctrl-C, Dagster would inherit
    # that, and nothing could stop it.
    previous = {number: signal.signal(number, stop) for number in _STOPS}
    parts: dict[str, subprocess.Popen[bytes]] = {}
    died: list[str] = []
    # The path of a socket has at most 107 bytes, so it cannot be in the home.
    with tempfile.TemporaryDirectory(prefix="sf_assets_") as folder:
        try:
            starting = _start(home, ui, Path(folder), parts)
            while not stopping and not died:
                next(starting, None)
                died = [name for name, part in parts.items() if part.poll() is not None]
                # A part may have received the same signal a moment earlier.
                time.sleep(1.0 if died else 0.1)
        finally:
            codes = _stop(parts)
            for number, handler in previous.items():
                signal.signal(number, handler)
    if stopping:
        return 0
    raise SfAssetsError(
        f"{died[0]} ended by itself ({_how(codes[died[0]])}), so everything was stopped. Landed "
        "pages are kept; start again with: sf-assets up"
    )


def _start(
    home: Home, ui: socket.socket, folder: Path, parts: dict[str, subprocess.Popen[bytes]]
) -> Iterator[None]:
    """Start the parts, the code server first. Yields while it is not ready."""
    code, workspace = folder / "code", folder / "workspace.yaml"
    write_atomically(
        workspace,
        f"load_from:\n  - grpc_server: {{location_name: sf_assets, host: localhost, "
        f"socket: '{code}'}}\n",
    )
    logs = ("--log-level", "warning")
    parts[_CODE] = _part(
        home,
        *("dagster", "code-server", "start", "--socket", str(code), *logs),
        *("-m", "sf_assets.definitions", "--location-name", "sf_assets"),
        *("--use-python-environment-entry-point", "--inject-env-vars-from-instance"),
    )
    while not _answers(code):
        yield
    parts[_DAEMON] = _part(home, "dagster._daemon", "run", *logs, "-w", str(workspace))
    ends_with_us, ours = os.pipe()  # `ours` closes when this process ends, however it ends
    with os.fdopen(ends_with_us) as passed:
        others = [str(part.pid) for part in parts.values()]
        fds = (ui.fileno(), passed.fileno())
        parts[_UI] = _part(
            home, "sf_assets.cli.ui", str(workspace), *map(str, fds), *others, pass_fds=fds
        )
    with os.fdopen(ours, "w"):
        while True:
            yield


def _part(home: Home, *words: str, pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        env={
            **os.environ,
            # Dagster's notes on its own betas.
            "PYTHONWARNINGS": "ignore",
            # No traceback for a name that the terminal cannot show.
            "PYTHONIOENCODING": "utf-8:replace",
            # Reports code that does not load once, without Dagster's part of the traceback.
            "DAGSTER_IS_DEV_CLI": "1",
        },
        cwd=home.dagster,
        # In its own group: Ctrl-C reaches this process only, which passes it on.
        start_new_session=True,
        pass_fds=pass_fds,
    )


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, suppress(OSError):
        probe.connect(str(path))
        return True
    return False


def _stop(parts: dict[str, subprocess.Popen[bytes]]) -> dict[str, int]:
    """Stop the parts, the code server last because the others use it. Returns the exit codes."""
    codes = {}
    for names in ((_UI, _DAEMON), (_CODE,)):
        running = [(name, parts[name]) for name in names if name in parts]
        for _, part in running:
            part.send_signal(signal.SIGINT)
        until = time.monotonic() + _STOP_SECONDS
        for name, part in running:
            with suppress(subprocess.TimeoutExpired):
                part.wait(max(0.0, until - time.monotonic()))
            _end_group(part.pid)
            codes[name] = part.wait()
    return codes


def _how(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _end_group(group: int) -> None:
    """End processes that a part left behind; the code server's child outlives it by a second."""
    with suppress(ProcessLookupError):
        for number in (0, signal.SIGTERM, signal.SIGKILL):
            os.killpg(group, number)
            until = time.monotonic() + _LEFTOVER_SECONDS
            while time.monotonic() < until:
                os.killpg(group, 0)
                time.sleep(0.05)
