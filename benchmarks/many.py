"""What does Dagster cost when lists are many and small?

    python benchmarks/many.py                    1,000 lists of 40 accounts, one day
    python benchmarks/many.py --handles 100

The day is read twice, from the same prepared answers, by processes of their own: by
`sf-assets snapshot` with its SQLite-backed Dagster instance, and directly, by the product's own
functions in the same order (`collect` in batches, `load`, `derive`, `publish`) without Dagster.
What the first takes more is Dagster's overhead: its import, its instance, runs, steps, one
materialization event a list, what is derived being described and checked for the UI. Seconds on the
clock, and of processor time. Runs and events are counted in the instance afterwards.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

from common import (
    LAST_DAY,
    SF_ASSETS,
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

TARGET_SECONDS, TARGET_RUNS = 60.0, 4


def directly() -> None:
    """The day without Dagster: what the assets do, in a plain process."""
    from sf_assets.credits.budget import Budget
    from sf_assets.handles.parse import read_registry
    from sf_assets.ingest.batches import read_in_batches
    from sf_assets.ingest.client import client_of
    from sf_assets.ingest.reader import Collected, ListToRead, RunContext
    from sf_assets.ingest.scheduler import collect
    from sf_assets.model import SnapshotKey
    from sf_assets.settings import load_settings
    from sf_assets.storage.door import Door
    from sf_assets.storage.home import Home
    from sf_assets.storage.landing_disk import DiskLanding
    from sf_assets.warehouse.connection import writing
    from sf_assets.warehouse.derive import derive
    from sf_assets.warehouse.load import load
    from sf_assets.warehouse.publish import publish

    settings = load_settings()
    home = Home(settings.home).ensure(settings)
    day = settings.day()
    lists = [
        ListToRead(SnapshotKey(day, handle, "followers"))
        for handle in read_registry(home.registry).handles
    ]

    async def read() -> AsyncIterator[Collected]:
        async with client_of(settings) as client:
            async for ended in collect(
                lists,
                RunContext(
                    client, DiskLanding(home.landing), Budget(None), "benchmark", Door(home.root)
                ),
                concurrency=settings.concurrency,
            ):
                yield ended

    stored = 0
    for batch in read_in_batches(read, say):
        landed = [ended.landed for ended in batch if ended.landed is not None]
        rows, failures = load(lambda: writing(home.warehouse), home.archive, landed)
        if failures:
            raise RuntimeError(failures[0].reason)
        stored += len(rows)
    with writing(home.warehouse) as con:
        derive(con, home.archive)
    publish(home)
    if stored != len(lists):
        raise RuntimeError(f"{stored} of {len(lists)} lists are stored")


def counted(dagster_home: Path) -> dict[str, int]:
    """Runs and events in a SQLite-backed instance."""
    found = {}
    with sqlite3.connect(dagster_home / "history" / "runs.db") as con:
        found["runs"] = con.execute("SELECT count(*) FROM runs").fetchone()[0]
        found["snapshot runs"] = con.execute(
            "SELECT count(*) FROM runs WHERE pipeline_name = 'daily_snapshots'"
        ).fetchone()[0]
    with sqlite3.connect(dagster_home / "history" / "runs" / "index.db") as con:
        found["materializations"] = con.execute(
            "SELECT count(*) FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION'"
        ).fetchone()[0]
    found["events"] = 0
    for path in (dagster_home / "history" / "runs").glob("*.db"):
        if path.name != "index.db":
            with sqlite3.connect(path) as con:
                found["events"] += con.execute("SELECT count(*) FROM event_logs").fetchone()[0]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--handles", type=int, default=1_000)
    parser.add_argument("--accounts", type=int, default=40)
    parser.add_argument("--keep", type=Path, help="keep both homes in this folder")
    parser.add_argument("--directly", action="store_true", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.directly:
        directly()
        return 0
    day: date = LAST_DAY
    world = open_lists([wanted.accounts] * wanted.handles, days=5)
    with scratch(wanted.keep) as folder, serving(world, days=[day]) as api:
        used = {}
        for name, command in (
            ("directly", [sys.executable, os.path.abspath(__file__), "--directly"]),
            ("snapshot", [*SF_ASSETS, "snapshot"]),
        ):
            env = pipeline_env(folder / name, api.base_url, day, day)
            track(env, world.handles)
            used[name] = measured(command, env)
            say(f"{name}: {used[name].wall:.1f} s, {used[name].cpu:.1f} s of processor time")
        counts = counted(folder / "snapshot" / "dagster")
    ours, bare = used["snapshot"], used["directly"]
    print(f"One day of {wanted.handles:,} lists of {wanted.accounts} accounts:\n")
    print(
        table(
            ["", "snapshot", "without Dagster", "Dagster's own", "a list, ms"],
            [
                [
                    "seconds",
                    f"{ours.wall:.1f}",
                    f"{bare.wall:.1f}",
                    f"{ours.wall - bare.wall:.1f}",
                    f"{(ours.wall - bare.wall) / wanted.handles * 1e3:.0f}",
                ],
                [
                    "processor seconds",
                    f"{ours.cpu:.1f}",
                    f"{bare.cpu:.1f}",
                    f"{ours.cpu - bare.cpu:.1f}",
                    f"{(ours.cpu - bare.cpu) / wanted.handles * 1e3:.0f}",
                ],
                ["peak MB", f"{ours.peak_mb:.0f}", f"{bare.peak_mb:.0f}", "", ""],
            ],
        )
    )
    over = ours.wall - bare.wall
    print(
        "\n"
        + table(
            ["figure", "measured", "target", ""],
            [
                [
                    "Dagster's own seconds",
                    f"{over:.1f}",
                    f"<= {TARGET_SECONDS:g}",
                    verdict(over, TARGET_SECONDS),
                ],
                [
                    "runs that read lists",
                    f"{counts['snapshot runs']}",
                    f"<= {TARGET_RUNS}",
                    verdict(counts["snapshot runs"], TARGET_RUNS),
                ],
                ["runs, with the one that derives", f"{counts['runs']}", "", ""],
                ["materializations", f"{counts['materializations']:,}", "", ""],
                ["events in all", f"{counts['events']:,}", "", ""],
            ],
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
