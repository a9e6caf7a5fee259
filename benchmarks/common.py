"""What the benchmarks share: measured child processes, worlds, homes, tables."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from sf_assets.simulator import ListSpec, ProfileSpec, World

SF_ASSETS = [sys.executable, "-c", "from sf_assets.cli import main; main()"]
LAST_DAY = date(2026, 10, 31)

# Starts the measured program from a process of a few MB: a child's peak memory begins with what its
# parent had, and the benchmark itself may be large. wait4 counts the whole tree below.
_LAUNCHER = """
import json, os, sys, time
began = time.monotonic()
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
with open(sys.argv[1] + ".pid", "w") as file:
    file.write(str(pid))
_, status, used = os.wait4(pid, 0)
with open(sys.argv[1], "w") as file:
    json.dump({
        "code": os.waitstatus_to_exitcode(status),
        "user": used.ru_utime,
        "system": used.ru_stime,
        "peak": used.ru_maxrss,
        "wall": time.monotonic() - began,
    }, file)
"""


@dataclass(frozen=True)
class Used:
    """What a process and its children used. `course` is (second, MB) while it ran."""

    code: int
    user: float
    system: float
    wall: float
    peak_mb: float
    stdout: str = ""
    stderr: str = ""
    course: list[tuple[float, float]] = field(default_factory=list)

    @property
    def cpu(self) -> float:
        return self.user + self.system


def measured(
    command: Sequence[str],
    env: Mapping[str, str] | None = None,
    *,
    sample_seconds: float | None = None,
    check: bool = True,
) -> Used:
    """Run a command in a process of its own; processor time and peak memory of its tree.

    `sample_seconds` notes its resident memory that often. Raises RuntimeError with its last words
    where it fails, unless `check` is off.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "used.json"
        program = shutil.which(command[0]) or command[0]
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(report), program, *command[1:]],
            # An installed package has its bytecode, whatever this machine's habits are.
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        course: list[tuple[float, float]] = []
        sampler = None
        if sample_seconds is not None:
            sampler = threading.Thread(
                target=_sample, args=(process, report, sample_seconds, course), daemon=True
            )
            sampler.start()
        stdout, stderr = process.communicate()
        if sampler is not None:
            sampler.join()
        found = json.loads(report.read_text())
    # Linux says kilobytes, macOS bytes.
    peak = found["peak"] / (1024 if platform.system() == "Linux" else 1024 * 1024)
    used = Used(
        found["code"], found["user"], found["system"], found["wall"], peak, stdout, stderr, course
    )
    if check and used.code != 0:
        raise RuntimeError(f"{' '.join(command)[:200]} ended with {used.code}: {stderr[-3_000:]}")
    return used


def _sample(
    process: subprocess.Popen[str],
    report: Path,
    seconds: float,
    course: list[tuple[float, float]],
) -> None:
    began = time.monotonic()
    noted = Path(f"{report}.pid")
    while process.poll() is None:
        time.sleep(seconds)
        try:
            status = Path(f"/proc/{noted.read_text()}/status").read_text()
            resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        except (OSError, StopIteration):
            continue
        course.append((time.monotonic() - began, int(resident.split()[1]) / 1024))


@contextmanager
def scratch(keep: Path | None = None) -> Iterator[Path]:
    """A folder that goes away at the end, unless it is to be kept."""
    folder = keep or Path(tempfile.mkdtemp(prefix="sf_assets_bench."))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def days_up_to(last: date, count: int) -> list[date]:
    return [last - timedelta(days=back) for back in reversed(range(count))]


def open_lists(
    sizes: Sequence[int], *, gain: float = 0.005, loss: float = 0.004, days: int = 60
) -> World:
    """A world of follower lists of these sizes, with a little churn, and nobody followed."""
    return World(
        [
            ProfileSpec(f"bench.{number:04d}", ListSpec(size=size, gain=gain, loss=loss))
            for number, size in enumerate(sizes)
        ],
        epoch=LAST_DAY - timedelta(days=days + 5),
        seed=7,
        horizon_days=days + 40,
    )


def pipeline_env(home: Path, base_url: str, start: date, day: date, **more: str) -> dict[str, str]:
    """The environment of a `sf-assets` command on a pretended day."""
    return {
        "SF_ASSETS_HOME": str(home),
        "SF_ASSETS_START_DATE": start.isoformat(),
        "SF_ASSETS_TODAY": day.isoformat(),
        "SOCIALFETCH_BASE_URL": base_url,
        "SOCIALFETCH_API_KEY": "sfk_sim",
        **more,
    }


def track(env: Mapping[str, str], handles: Sequence[str], relation: str = "followers") -> None:
    """Track handles in a home, in batches a command line can hold."""
    for at in range(0, len(handles), 500):
        measured(
            [*SF_ASSETS, "track", *handles[at : at + 500], "--relation", relation],
            env,
        )


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, the first column to the left, the others to the right."""
    lines = [f"| {' | '.join(columns)} |", "| --- |" + " ---: |" * (len(columns) - 1)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def verdict(value: float, target: float, *, least: bool = False) -> str:
    """Whether a figure keeps its target, in a word."""
    return "met" if (value >= target if least else value <= target) else "not met"


def best_of(times: int, what: Callable[[], object]) -> float:
    """Milliseconds of the quickest of several calls."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        what()
        found.append(time.perf_counter() - began)
    return min(found) * 1_000


def say(text: str) -> None:
    """Progress, beside the result."""
    print(text, file=sys.stderr, flush=True)
