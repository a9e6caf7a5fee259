"""Two months with everything against them, and two without: they must end alike.

    python benchmarks/soak.py --days 60 --handles 50

The same invented world is snapshotted day by day through the command line, twice: once in peace,
once with a share of all answers spoiled (errors, resets, broken bodies) and every few days a
`kill -9` at a random moment. Then all tables must be equal, and the vendor may have charged no more
than in peace, plus what it billed for answers it spoiled itself and for those that were under way
when a process died. Prints a Markdown table; exit code 1 where something differs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sf_assets.simulator import Options, SimulatorProcess, World, background, worst_month
from sf_assets.simulator.faults import ERRORS
from sf_assets_tests.tables import TABLES_OF_THE_RUN, published_tables

LAST_DAY = date(2026, 10, 31)
CONCURRENCY = 32
# A body that breaks the contract fails its list until the command is run again.
ATTEMPTS = 12

# What it cost in peace and in the storm is told apart below.
NOT_EQUAL = TABLES_OF_THE_RUN | {"main.credit_ledger"}


@dataclass
class Season:
    """What one walk through all days cost."""

    seconds: float = 0.0
    attempts: int = 0
    kills: int = 0
    failed: int = 0
    charged: int = 0
    faults: dict[str, int] = field(default_factory=dict)

    @property
    def spoiled_and_billed(self) -> int:
        """Answers the simulator made, billed and then spoiled."""
        return sum(count for kind, count in self.faults.items() if kind not in ERRORS)


def sf_assets(
    home: Path, simulator: SimulatorProcess, start: date, day: date, *arguments: str
) -> subprocess.Popen[str]:
    """A command, started in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", "from sf_assets.cli import main; main()", *arguments],
        env={
            **os.environ,
            "SF_ASSETS_HOME": str(home),
            "SF_ASSETS_START_DATE": start.isoformat(),
            "SF_ASSETS_TODAY": day.isoformat(),
            "SF_ASSETS_CONCURRENCY": str(CONCURRENCY),
            "SOCIALFETCH_BASE_URL": simulator.base_url,
            "SOCIALFETCH_API_KEY": simulator.api_key,
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def season(
    home: Path,
    simulator: SimulatorProcess,
    days: list[date],
    chance: random.Random | None,
    kill_every: int,
) -> Season:
    """Snapshot all days; with a `chance`, kill a run every few days."""
    made = Season()
    simulator.reset_ledger()
    began = time.monotonic()
    track = sf_assets(home, simulator, days[0], days[0], "track", *simulator.world.handles)
    track.communicate()
    usual = 5.0
    for day in days:
        unlucky = chance is not None and chance.random() < 1 / kill_every
        said = ""
        for attempt in range(ATTEMPTS):
            made.attempts += 1
            started = time.monotonic()
            process = sf_assets(home, simulator, days[0], day, "snapshot")
            if chance is not None and unlucky and attempt == 0:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=chance.uniform(0.3, 1.0) * usual)
                if process.poll() is None:
                    process.kill()
                    made.kills += 1
            said = process.communicate()[1]
            if process.returncode == 0:
                usual = time.monotonic() - started
                break
            made.failed += process.returncode > 0
        else:
            raise SystemExit(f"{day} did not finish in {ATTEMPTS} attempts: {said[-2_000:]}")
        print(f"{home.name} {day}: {attempt + 1} attempts", file=sys.stderr)
    made.seconds = time.monotonic() - began
    ledger = simulator.ledger()
    made.charged, made.faults = ledger["charged"], ledger["faults"]
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--handles", type=int, default=50)
    parser.add_argument("--accounts", type=int, default=200, help="followers of each handle")
    parser.add_argument("--fault-rate", type=float, default=0.05)
    parser.add_argument("--kill-every", type=int, default=3, help="days, on average")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="keep both homes in this folder")
    wanted = parser.parse_args()
    days = [LAST_DAY - timedelta(days=back) for back in reversed(range(wanted.days))]
    folder = wanted.keep or Path(tempfile.mkdtemp(prefix="sf_assets_soak."))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        world = World(
            worst_month(LAST_DAY, handles=wanted.handles, accounts=wanted.accounts, giant=False),
            epoch=LAST_DAY - timedelta(days=wanted.days + 10),
            seed=wanted.seed,
            horizon_days=wanted.days + 40,
        )
        with background(world, Options(day=LAST_DAY)) as simulator:
            calm = season(folder / "calm", simulator, days, None, wanted.kill_every)
            simulator.set_options(fault_rate=wanted.fault_rate)
            storm = season(
                folder / "storm",
                simulator,
                days,
                random.Random(wanted.seed),
                wanted.kill_every,
            )
        expected, found = (
            published_tables(folder / name / "sf_assets.duckdb", without_tables=NOT_EQUAL)
            for name in ("calm", "storm")
        )
    finally:
        if wanted.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    different = sorted(name for name in expected if expected[name] != found.get(name))
    under_way = storm.charged - calm.charged - storm.spoiled_and_billed
    rows = sum(len(own) for own in expected.values())
    print(f"{wanted.days} days, {wanted.handles} handles, seed {wanted.seed}:\n")
    print("| | in peace | in the storm |\n| --- | --- | --- |")
    print(f"| attempts | {calm.attempts} | {storm.attempts} |")
    print(f"| answers spoiled | 0 | {sum(storm.faults.values()):,} |")
    print(f"| processes killed | 0 | {storm.kills} |")
    print(f"| runs that ended with failed handles | {calm.failed} | {storm.failed} |")
    print(f"| credits charged | {calm.charged:,} | {storm.charged:,} |")
    print(f"| of these for answers the vendor spoiled | 0 | {storm.spoiled_and_billed:,} |")
    print(f"| of these under way at a kill | 0 | {under_way:,} |")
    print(f"| seconds | {calm.seconds:.0f} | {storm.seconds:.0f} |")
    print(
        f"\n{rows:,} rows in {len(expected)} tables and views: "
        + (f"{', '.join(different)} differ" if different else "all equal")
    )
    paid_twice = not 0 <= under_way <= CONCURRENCY * storm.kills
    if paid_twice:
        print(f"{under_way} credits are not accounted for")
    return 1 if different or paid_twice else 0


if __name__ == "__main__":
    sys.exit(main())
