"""How much memory does a day take, and does it stay flat while pages come in?

    python benchmarks/memory.py                  one list of 1,000,000 accounts; 20 of 5,000
    python benchmarks/memory.py --accounts 100000

`sf-assets snapshot` as a process of its own against prepared answers in another one: first 20 lists
of 5,000 accounts, then one list of 1,000,000 (50,000 pages). Peak memory is what `wait4` says of
the process and its children; its course is its resident memory, noted twice a second, with the
number of pages that were landed by then, told by the size of the landing. `while reading` is how
much it grew between a tenth and 95 % of the pages.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from common import (
    LAST_DAY,
    SF_ASSETS,
    Used,
    measured,
    open_lists,
    pipeline_env,
    say,
    scratch,
    table,
    track,
    verdict,
)
from prepared_api import serving

SAMPLE_SECONDS = 0.25


@dataclass
class Course:
    """Resident memory over time, and how much had been landed by then."""

    used: Used
    landed: list[tuple[float, int]] = field(default_factory=list)

    def landed_at(self, second: float) -> float:
        """Share of the pages that were landed by a second."""
        # The most so far: pages that are archived are compressed.
        whole = max((size for _, size in self.landed), default=0)
        most = max((size for at, size in self.landed if at <= second), default=0)
        return most / whole if whole else 0.0

    def memory_at(self, share: float) -> float:
        """Resident MB when that share of the pages was landed."""
        for second, megabytes in self.used.course:
            if self.landed_at(second) >= share:
                return megabytes
        return self.used.course[-1][1]


def snapshot_of(folder: Path, sizes: list[int]) -> Course:
    """One day of follower lists of these sizes, the memory of its process watched."""
    home = folder / "home"
    world = open_lists(sizes, days=5)
    # Nothing is prepared: a million accounts would take a gigabyte of the server's memory.
    with serving(world) as api:
        env = pipeline_env(home, api.base_url, LAST_DAY, LAST_DAY)
        track(env, world.handles)
        landed: list[tuple[float, int]] = []
        done = threading.Event()
        began = time.monotonic()

        def watch() -> None:
            while not done.wait(SAMPLE_SECONDS):
                size = sum(path.stat().st_size for path in (home / "landing").rglob("*.jsonl"))
                landed.append((time.monotonic() - began, size))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            used = measured([*SF_ASSETS, "snapshot"], env, sample_seconds=SAMPLE_SECONDS)
        finally:
            done.set()
            watcher.join()
    return Course(used, landed)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accounts", type=int, default=1_000_000, help="of the one long list")
    parser.add_argument("--handles", type=int, default=20, help="of the many lists")
    parser.add_argument("--size", type=int, default=5_000, help="accounts of each of the many")
    parser.add_argument("--only", choices=["many", "one"])
    parser.add_argument("--course", action="store_true", help="print the course of the memory")
    wanted = parser.parse_args()
    cases = {
        "many": (f"{wanted.handles} x {wanted.size:,}", [wanted.size] * wanted.handles, 250.0),
        "one": (
            f"1 x {wanted.accounts:,}",
            [wanted.accounts],
            500.0 if wanted.accounts > 200_000 else 330.0,
        ),
    }
    rows = []
    for name, (words, sizes, target) in cases.items():
        if wanted.only not in (None, name):
            continue
        with scratch() as folder:
            course = snapshot_of(folder, sizes)
        peak = course.used.peak_mb
        early, late = course.memory_at(0.1), course.memory_at(0.95)
        rows.append(
            [
                words,
                f"{peak:.0f}",
                f"<= {target:.0f}",
                verdict(peak, target),
                f"{early:.0f}",
                f"{late:.0f}",
                f"{late / early:.2f} x",
                f"{course.used.wall:.0f}",
                f"{course.used.cpu:.0f}",
            ]
        )
        say(f"{words}: {peak:.0f} MB, {course.used.wall:.0f} s")
        if wanted.course:
            print(f"{words}:\n")
            print(table(["second", "MB", "landed"], _thinned(course)) + "\n")
    print(
        table(
            [
                "lists",
                "peak MB",
                "target",
                "",
                "MB at 10 % of the pages",
                "MB at 95 %",
                "while reading",
                "seconds",
                "processor seconds",
            ],
            rows,
        )
    )
    return 0


def _thinned(course: Course) -> list[list[str]]:
    step = max(1, len(course.used.course) // 40)
    return [
        [f"{second:.0f}", f"{megabytes:.0f}", f"{course.landed_at(second):.0%}"]
        for second, megabytes in course.used.course[::step]
    ]


if __name__ == "__main__":
    sys.exit(main())
