"""What does a page cost? Processor time a page, and of a whole day, against two other ways.

    python benchmarks/page_cost.py                  20 handles x 5,000 accounts, 3 days
    python benchmarks/page_cost.py --accounts 1000 --days 2 --no-dlt

Follower lists of 20 handles, page size 20, no latency, on loopback, 0.5 % gained and 0.4 % lost a
day; once with 5,000 accounts each (5,000 pages a day) and once with 500 (500 pages). Each day is
read by

- `sf-assets snapshot`, as anybody runs it: Dagster, landing, archive, warehouse, churn, growth,
  checks, publication;
- `bare.py`: aiohttp, Arrow and DuckDB that fetch, insert and diff the same lists, the floor;
- `with_dlt.py`: dlt with its REST client, cursor paginator and scd2 merge into DuckDB, as it comes,
  and `--tuned`, one Arrow table a list and 20 workers.

All ask the same server of prepared answers (`prepared_api.py`), which is another process and
not counted, take turns on each day, and run as processes of their own. Processor time is user and
system time of the process and its children, as `wait4` tells it; peak memory likewise. What a page
costs is (large day - small day) / (pages of the large - pages of the small); what is left of the
day is the fixed cost. Figures are means over the days. One more day of ours is sampled (`steps.py`)
and tells which steps take it. What Dagster alone takes, `import dagster` and an open instance, is
measured beside them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import fmean

import duckdb
from common import (
    LAST_DAY,
    SF_ASSETS,
    Used,
    days_up_to,
    measured,
    open_lists,
    pipeline_env,
    say,
    scratch,
    table,
    track,
    verdict,
)
from prepared_api import Serving, serving

HERE = Path(__file__).resolve().parent
TARGET_PAGE, TARGET_FIXED, TARGET_DLT = 1.8, 2.2, 2.0


@dataclass
class Way:
    """One way to read the lists: what each day used, large and small."""

    name: str
    large: list[Used] = field(default_factory=list)
    small: list[Used] = field(default_factory=list)

    def per_page(self, pages: tuple[float, float]) -> float:
        """Seconds of processor time a page; `pages` of a large and of a small day."""
        return (self.cpu(self.large) - self.cpu(self.small)) / (pages[0] - pages[1])

    def fixed(self, pages: tuple[float, float]) -> float:
        return self.cpu(self.large) - pages[0] * self.per_page(pages)

    @staticmethod
    def cpu(days: list[Used]) -> float:
        return fmean(used.cpu for used in days)

    @property
    def peak_mb(self) -> float:
        return max(used.peak_mb for used in self.large)


def run_day(way: str, folder: Path, api: Serving, days: list[date], day: date) -> Used:
    """One day of one way, in a process of its own."""
    handles = [f"bench.{number:04d}" for number in range(HANDLES)]
    common = ["--base-url", api.base_url, "--day", day.isoformat(), "--handles", *handles]
    if way == "bare":
        return measured(
            [sys.executable, str(HERE / "bare.py"), "--file", str(folder / "bare.duckdb"), *common]
        )
    if way.startswith("dlt"):
        script = [sys.executable, str(HERE / "with_dlt.py"), "--state", str(folder / way)]
        tuned = ["--tuned"] if way == "dlt, tuned" else []
        return measured([*script, *tuned, "--file", str(folder / f"{way}.duckdb"), *common])
    env = pipeline_env(folder / "home", api.base_url, days[0], day)
    if day == days[0]:
        track(env, handles)
    return measured([*SF_ASSETS, "snapshot"], env)


def steps_of(folder: Path, api: Serving, days: list[date], day: date) -> dict[str, float]:
    """Processor time of each step of a day of ours."""
    env, out = pipeline_env(folder / "home", api.base_url, days[0], day), folder / "steps.json"
    measured([sys.executable, str(HERE / "steps.py"), str(out), "snapshot"], env)
    found: dict[str, float] = json.loads(out.read_text())
    return found


def print_steps(steps: list[dict[str, float]], pages: tuple[float, float]) -> None:
    large, small = steps
    rows = []
    for name in sorted(large, key=lambda name: -large[name]):
        page = (large[name] - small.get(name, 0.0)) / (pages[0] - pages[1])
        fixed = small.get(name, 0.0) - pages[1] * page
        rows.append([name, f"{page * 1e3:.2f}", f"{fixed:.2f}", f"{large[name]:.2f}"])
    columns = ["step of ours (sampled)", "a page, ms", "fixed, s", "large day, s"]
    print("\n" + table(columns, rows))


_DAGSTER = """
import tempfile
import dagster as dg
with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.local_temp(folder) as instance:
    instance.get_runs()
"""


def counts(folder: Path, with_dlt: bool) -> dict[str, tuple[int, int, int]]:
    """(accounts listed on the last day, gained, lost) as each way has them: the same work?"""
    found = {}
    with duckdb.connect(str((folder / "home/sf_assets.duckdb").resolve()), read_only=True) as con:
        found["sf-assets"] = con.execute(
            "SELECT (SELECT sum(listed) FROM snapshots WHERE snapshot_date = "
            "(SELECT max(snapshot_date) FROM snapshots)), "
            "count(*) FILTER (change <> 'lost'), count(*) FILTER (change = 'lost') "
            "FROM follower_churn"
        ).fetchall()[0]
        pages = con.execute(
            "SELECT avg(pages) FROM (SELECT sum(pages) AS pages FROM snapshots "
            "GROUP BY snapshot_date)"
        ).fetchall()[0][0]
    found["pages"] = (pages, 0, 0)
    with duckdb.connect(str(folder / "bare.duckdb"), read_only=True) as con:
        found["bare"] = con.execute(
            "SELECT (SELECT count(DISTINCT (tracked, account_id)) FROM lists "
            "WHERE day = (SELECT max(day) FROM lists)), "
            "count(*) FILTER (change = 'gained'), count(*) FILTER (change = 'lost') FROM churn"
        ).fetchall()[0]
    for way in DLT if with_dlt else ():
        with duckdb.connect(str(folder / f"{way}.duckdb"), read_only=True) as con:
            found[way] = con.execute(
                "SELECT count(*) FILTER (_dlt_valid_to IS NULL), count(*) FILTER (_dlt_valid_from "
                "> (SELECT min(_dlt_valid_from) FROM lists.memberships)), "
                "count(*) FILTER (_dlt_valid_to IS NOT NULL) FROM lists.memberships"
            ).fetchall()[0]
    return found


HANDLES = 20
DLT = ("dlt", "dlt, tuned")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accounts", type=int, default=5_000, help="of a handle, on a large day")
    parser.add_argument("--small", type=int, default=500, help="of a handle, on a small day")
    parser.add_argument("--days", type=int, default=3)
    parser.add_argument("--no-dlt", action="store_true", help="only sf-assets and the bare script")
    parser.add_argument("--keep", type=Path, help="keep homes and files in this folder")
    wanted = parser.parse_args()
    with_dlt = not wanted.no_dlt
    if with_dlt and importlib.util.find_spec("dlt") is None:
        say("dlt is not installed: pip install -e '.[bench]', or pass --no-dlt")
        return 2
    *days, sampled = days_up_to(LAST_DAY, wanted.days + 1)
    ways = [Way("sf-assets"), Way("bare"), *(Way(name) for name in DLT if with_dlt)]
    pages, same, steps = [], {}, []
    with scratch(wanted.keep) as folder:
        for accounts, size in ((wanted.accounts, "large"), (wanted.small, "small")):
            at = folder / size
            at.mkdir(exist_ok=True)
            world = open_lists([accounts] * HANDLES)
            with serving(world, days=[*days, sampled]) as api:
                for day in days:
                    for way in ways:
                        used = run_day(way.name, at, api, days, day)
                        getattr(way, size).append(used)
                        say(
                            f"{size} {day} {way.name}: {used.cpu:.2f} s of processor time, "
                            f"{used.wall:.1f} s, {used.peak_mb:.0f} MB"
                        )
                same[size] = counts(at, with_dlt)
                steps.append(steps_of(at, api, days, sampled))
            pages.append(float(same[size].pop("pages")[0]))
    dagster = measured([sys.executable, "-W", "ignore", "-c", _DAGSTER])
    both = (pages[0], pages[1])
    ours, bare = ways[0], ways[1]
    print(
        f"{wanted.days} days of {HANDLES} lists, {both[0]:,.0f} and {both[1]:,.0f} pages a day:\n"
    )
    print(
        table(
            ["", *(way.name for way in ways)],
            [
                ["processor time a page, ms", *(f"{w.per_page(both) * 1e3:.2f}" for w in ways)],
                [
                    "of the bare script's",
                    *(f"{w.per_page(both) / bare.per_page(both):.2f} x" for w in ways),
                ],
                ["fixed processor time a day, s", *(f"{w.fixed(both):.1f}" for w in ways)],
                ["large day, s of processor time", *(f"{w.cpu(w.large):.1f}" for w in ways)],
                ["large day, s", *(f"{fmean(u.wall for u in w.large):.1f}" for w in ways)],
                ["large day, peak MB", *(f"{w.peak_mb:.0f}" for w in ways)],
                ["listed on the last day", *(f"{same['large'][w.name][0]:,}" for w in ways)],
                ["gained", *(f"{same['large'][w.name][1]:,}" for w in ways)],
                ["lost", *(f"{same['large'][w.name][2]:,}" for w in ways)],
            ],
        )
    )
    ratio = ours.per_page(both) / bare.per_page(both)
    lines = [
        [
            "processor time a page, of the bare script's",
            f"{ratio:.2f} x",
            f"<= {TARGET_PAGE} x",
            verdict(ratio, TARGET_PAGE),
        ],
        [
            "fixed cost of a day, s of processor time",
            f"{ours.fixed(both):.1f}",
            f"<= {TARGET_FIXED:g}",
            verdict(ours.fixed(both), TARGET_FIXED),
        ],
    ]
    most = max(used.peak_mb for used in bare.large) + dagster.peak_mb
    lines.append(
        [
            "our peak MB; the bare script's and Dagster's own "
            f"({dagster.cpu:.1f} s, {dagster.peak_mb:.0f} MB)",
            f"{ours.peak_mb:.0f}",
            f"<= {most:.0f}",
            verdict(ours.peak_mb, most),
        ]
    )
    for dlt in ways[2:]:
        faster = dlt.cpu(dlt.large) / ours.cpu(ours.large)
        lines.append(
            [
                f"processor time of a day of {dlt.name}, of ours",
                f"{faster:.2f} x",
                f">= {TARGET_DLT:g} x",
                verdict(faster, TARGET_DLT, least=True),
            ]
        )
    print("\n" + table(["figure", "measured", "target", ""], lines))
    print_steps(steps, both)
    return 0


if __name__ == "__main__":
    sys.exit(main())
