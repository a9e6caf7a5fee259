"""Real `sf-assets` processes, many of them, at a tenth of their price.

A process of ours spends most of its life importing Dagster. So one process imports everything and
forks a child for each command: the child has a process id of its own, runs the command line's
`main`, and can be killed like any other.

    with Forks() as forks:
        process = forks.start(["snapshot"], home, environment)
        process.kill()
        process.wait()
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, cast

_PARENT = r"""
import json, os, resource, sys, warnings

warnings.simplefilter("ignore")
import dagster, duckdb, numpy, pyarrow.parquet  # noqa: F401  what takes long to import
import sf_assets.defs.derived, sf_assets.defs.snapshot_run  # noqa: F401
import sf_assets.defs.schedules, sf_assets.defs.sensors  # noqa: F401
import sf_assets.cli.main, sf_assets.cli.progress, sf_assets.cli.snapshot, sf_assets.cli.tables
import rich.console, rich.table, rich.progress, aiohttp, alembic, sqlalchemy.orm  # noqa: F401
import dagster._core.storage.base_storage, dagster._core.storage.runs.sqlite  # noqa: F401
import dagster._core.storage.event_log.sqlite, dagster._core.storage.schedules.sqlite  # noqa: F401
import dagster._core.storage.sqlite_storage, sf_assets.warehouse.rebuild  # noqa: F401


def child(order):
    os.environ.clear()
    os.environ.update(order["environment"])
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if order["file_size"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["file_size"],) * 2)
    os.umask(0o022)
    if order["code"]:
        exec(order["code"], {"__name__": "__main__"})
    else:
        sf_assets.cli.main.main(order["arguments"], prog_name="sf-assets")


print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    if order["do"] == "wait":
        print(os.waitstatus_to_exitcode(os.waitpid(order["pid"], 0)[1]), flush=True)
        continue
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            child(order)
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 70
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    print(pid, flush=True)
"""


@dataclass
class Ended:
    """How a process ended: its exit code (negative: the signal), and what it said."""

    code: int
    stdout: str
    stderr: str

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


class Process:
    """A forked command."""

    def __init__(self, forks: Forks, pid: int, said: tuple[Path, Path]) -> None:
        self.pid = pid
        self._forks, self._said, self._code = forks, said, cast("int | None", None)

    def kill(self) -> None:
        """`kill -9`; does nothing where the process has ended by itself."""
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> Ended:
        if self._code is None:
            self._code = int(self._forks.ask(do="wait", pid=self.pid))
        stdout, stderr = (path.read_text(encoding="utf-8") for path in self._said)
        return Ended(self._code, stdout, stderr)

    def kill_after(self, seconds: float) -> Ended:
        """Kill it so long after its start, unless it ends before."""
        timer = threading.Timer(seconds, self.kill)
        timer.start()
        ended = self.wait()
        timer.cancel()
        timer.join()
        return ended


class Forks:
    """The parent of all forked commands."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._count = folder, 0

    def __enter__(self) -> Forks:
        path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
        self._parent = subprocess.Popen(
            [sys.executable, "-c", _PARENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            text=True,
        )
        assert self._parent.stdout is not None
        assert self._parent.stdout.readline() == "ready\n"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.close()
        self._parent.stdout.close()
        self._parent.wait(timeout=30)

    def start(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        code: str = "",
        file_size: int = 0,
    ) -> Process:
        """Run `sf-assets` with these arguments, or Python `code`, in a process of its own.

        `environment` is added to ours; `file_size` limits the bytes of any file it writes.
        """
        self._count += 1
        said = tuple(self.folder / f"{self._count}.{name}" for name in ("stdout", "stderr"))
        pid = self.ask(
            do="start",
            arguments=list(arguments),
            code=code,
            environment={**os.environ, **environment},
            stdout=str(said[0]),
            stderr=str(said[1]),
            file_size=file_size,
        )
        return Process(self, int(pid), cast("tuple[Path, Path]", said))

    def run(self, arguments: Sequence[str], environment: Mapping[str, str], **more: Any) -> Ended:
        """Like `start`, to its end."""
        return self.start(arguments, environment, **more).wait()

    def ask(self, **order: Any) -> str:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(json.dumps(order) + "\n")
        self._parent.stdin.flush()
        return self._parent.stdout.readline().strip()


def until(condition: Any, seconds: float = 30) -> None:
    """Wait for something another process does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing came of it"
        time.sleep(0.01)
