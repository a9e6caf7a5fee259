"""What a replay costs: a year of one list with a late day, and ids that turn out to be one account.

    python benchmarks/replay.py [--days 365] [--accounts 2000]

Each step is a process of its own, so that its peak memory is its own: the last day of the year, as
any day is derived; and a day of the first week that is loaded late, which replays the whole year.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from random import Random

from sf_assets.model import SnapshotKey
from sf_assets.storage.home import Home
from sf_assets.storage.landing import Landing
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets.storage.records import Page
from sf_assets.warehouse.connection import writing
from sf_assets.warehouse.derive import derive
from sf_assets.warehouse.load import load

FIRST = date(2025, 1, 1)
# Of all accounts, how many come and leave a day, and how many show only their secUid on a day.
MOVES, WITHOUT_NUMBER = 0.005, 0.002


def land(landing: Landing, day: int, accounts: list[tuple[int, bool]]) -> None:
    """A day's list of account numbers, newest first, each with or without its numeric id."""
    log = landing.open(SnapshotKey(FIRST + timedelta(days=day), "nova", "followers"))
    assert log is not None
    with log:
        log.begin("replay", "replay")
        pages = [accounts[at : at + 100] for at in range(0, len(accounts), 100)]
        for number, page in enumerate(pages, start=1):
            items = [
                {
                    "handle": f"fan{n}", "displayName": f"Fan {n}", "avatarUrl": None, "bio": "",
                    "verified": False, "privateAccount": False, "secUid": f"MS4wLjABAAAA{n:064}",
                    "metrics": {"followers": n % 997, "following": n % 89},
                    **({"platformUserId": str(7 * 10**18 + n)} if numbered else {}),
                }
                for n, numbered in page
            ]  # fmt: skip
            last = number == len(pages)
            body = {
                "data": {
                    "lookupStatus": "found",
                    "followers": items,
                    "page": {"nextCursor": None if last else f"{number}", "hasMore": not last},
                    "totalFollowers": len(accounts),
                },
                "meta": {"requestId": "r", "creditsCharged": 1, "version": "v1"},
            }
            text = json.dumps(body).encode()
            log.add_page(Page(number, None, "2025-01-01T06:00:00Z", "r", 1, False, 1, text))
        log.finish("found", "exhausted", "replay")


def make(root: Path, days: int, accounts: int) -> None:
    """The year's lists, landed and loaded but for the late day, all derived but for the last."""
    home, chance = Home(root), Random(1)
    landing = DiskLanding(home.landing)
    listed = list(range(accounts, 0, -1))
    following = accounts + 1
    connect = partial(writing, home.warehouse)
    keys = []
    for day in range(days):
        for _ in range(max(1, round(accounts * MOVES))):
            listed.remove(chance.choice(listed))
            listed.insert(0, following)
            following += 1
        newest = set(listed[: max(1, round(accounts * WITHOUT_NUMBER))])
        land(landing, day, [(n, n not in newest) for n in listed])
        keys.append(SnapshotKey(FIRST + timedelta(days=day), "nova", "followers"))
    late, last = keys[4], keys[-1]
    found = [landing.read(key) for key in keys if key not in (late, last)]
    load(connect, home.archive, [one for one in found if one])
    with connect() as con:
        derive(con, home.archive)


def peak_mb() -> int:
    """Peak memory of this process alone: what getrusage says includes the one that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def step(root: Path, day: int) -> None:
    """Load and derive one day; prints seconds, processor seconds and peak memory."""
    home = Home(root)
    landing = DiskLanding(home.landing)
    landed = landing.read(SnapshotKey(FIRST + timedelta(days=day), "nova", "followers"))
    assert landed is not None
    connect = partial(writing, home.warehouse)
    load(connect, home.archive, [landed])
    began, processor = time.monotonic(), time.process_time()
    with connect() as con:
        derived = derive(con, home.archive)
    print(
        json.dumps(
            {
                "snapshots": derived.snapshots,
                "replayed": derived.replayed,
                "seconds": round(time.monotonic() - began, 2),
                "processor_seconds": round(time.process_time() - processor, 2),
                "peak_mb": peak_mb(),
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--accounts", type=int, default=2_000)
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step:
        step(Path(asked.step[0]), int(asked.step[1]))
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root, asked.days, asked.accounts)
        print(f"{asked.days} days of {asked.accounts:,} accounts")
        for name, day in (("the last day", asked.days - 1), ("a late day of the first week", 4)):
            done = subprocess.run(
                [sys.executable, __file__, "--step", str(root), str(day)],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            print(f"{name}: {done.stdout.strip()}")


if __name__ == "__main__":
    main()
