"""Does the alert `drift` stay silent while the API is as it was, and speak when it changes?

    python benchmarks/drift.py             20 calm years of 1, 2, 3 and 8 handles, 9 changes of each
    python benchmarks/drift.py --years 2   smaller

A calm year is 365 simulated days: handles grow, lose, rename, miss ids, flicker, turn private;
some lists skip or shuffle, one answer in twenty fails, some pages are cached, seconds vary. Each
alert in it is a false alarm. Then the API changes on a day, in one way: the alert has to come once,
within three days. One handle alone may be the handle's doing: of 1 and 2 only what no handle can do
is told. Days are measured as the reader measures pages; nothing is landed. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from random import Random

import duckdb

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sf_assets.alerts.kinds import Drift
from sf_assets.simulator import ListSpec, ProfileSpec, Status
from sf_assets.storage.home import Home
from sf_assets.warehouse.schema import prepare
from sf_assets_tests.alerts.test_drift import DRIFTS
from sf_assets_tests.answers import Api, Days, profiles

FIRST = date(2026, 1, 1)
CHANGE, WATCHED = 40, 30


def people(handles: int, seed: int) -> Iterator[ProfileSpec]:
    draw = Random(seed)
    for number in range(handles):
        size = draw.choice((12, 45, 80, 200))
        away = FIRST + timedelta(days=draw.randrange(20, 300))
        followers = ListSpec(
            size=size, gain=draw.uniform(0, 0.03), loss=draw.uniform(0, 0.02), refollow=0.2,
            rename=0.002, no_user_id=draw.uniform(0, 0.1), no_sec_uid=0.05, id_gap=0.02,
            flicker=0.005, quirk_chance={"skip": 0.01, "shuffle": 0.005, "overlap": 0.01},
        )  # fmt: skip
        yield ProfileSpec(
            f"sim.drift.{number}",
            followers,
            replace(followers, size=max(5, size // 3)),
            (Status("private", away, away + timedelta(days=4)),),
        )


def found(handles: int, seed: int, length: int, changed: Api | None = None) -> list[Drift]:
    with duckdb.connect(":memory:") as con:
        prepare(con, Path("memory"))
        days = Days(con, Home(Path("nowhere")))
        world = profiles(people(handles, seed), FIRST, length)
        draw = Random(seed)
        for number in range(length):
            calm = Api(
                troubles=lambda n: ("503",) if n % 20 == 0 else (),
                cached=lambda n: n % 50 == 0,
                seconds=draw.lognormvariate(0, 0.5),
            )
            api = changed if changed is not None and number >= CHANGE else calm
            days.play(FIRST + timedelta(days=number), world, api)
        return days.found(FIRST, FIRST + timedelta(days=length))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--years", type=int, default=20, help="calm years of each size")
    wanted = parser.parse_args()
    print("| handles | calm years | false alarms | changes | told | told once, in 3 days |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    for handles in (1, 2, 3, 8):
        alarms = [one for seed in range(wanted.years) for one in found(handles, seed, 365)]
        told = once = 0
        for api, _ in DRIFTS.values():
            late = found(handles, 1, CHANGE + WATCHED, api)
            told += bool(late)
            once += len(late) == 1 and (late[0].day - FIRST).days in range(CHANGE, CHANGE + 3)
        print(
            f"| {handles} | {wanted.years} | {len(alarms)} | {len(DRIFTS)} | {told} | {once} |",
            flush=True,
        )
        for alarm in alarms:
            print("  ", alarm.day, alarm.words.summary, file=sys.stderr)


if __name__ == "__main__":
    main()
