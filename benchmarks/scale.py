"""Beyond one machine, measured on one: workers with homes of their own, a lake, a month in it.

    python benchmarks/scale.py --handles 2000 --accounts 500 --workers 1 2 4
    python benchmarks/scale.py --month --handles 660 --accounts 500 --days 30

The first reads the same invented day with 1, 2 and 4 worker processes, each with a home of its own;
tables go into a lake on Postgres, pages and archive to an S3 in memory that answers at once
(`sf_assets_tests/quick_s3.py`, checked against moto's; no registry was found to have a compiled
one), the API answers after 50 ms. It prints wall time, commits that met another one, what was
charged, for each page the processor time of workers, S3, Postgres and simulator and the requests to
S3, and the transactions of the catalog. `--sync` is SF_ASSETS_LANDING_SYNC. Then all tables must be
those of one machine with a DuckDB file, and the charge the least there can be. The second loads and
derives day after day into such a lake and prints seconds and bytes as it grows. Postgres, S3 and
workers share the cores of this machine: what more machines would bring is not in it. Needs
`.[scale-test]` and Postgres. Exit code 1 where something differs.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil
import psycopg2
from walks import land_whole

from sf_assets.handles.edit import track
from sf_assets.model import RELATIONS, SnapshotKey
from sf_assets.settings import load_settings
from sf_assets.simulator import Options, background, preset_world
from sf_assets.storage.home import Home
from sf_assets.storage.landings import landing_at
from sf_assets.warehouse.connection import reading, writing
from sf_assets.warehouse.derive import derive
from sf_assets.warehouse.lake import maintain
from sf_assets.warehouse.load import load
from sf_assets_tests.components import missing, object_store, postgres
from sf_assets_tests.lists import DERIVED_TABLES, INCIDENTAL
from sf_assets_tests.quick_s3 import told

DAY = date(2026, 10, 31)
FAR = ("SF_ASSETS_WAREHOUSE", "SF_ASSETS_STORAGE")


def work(number: int, workers: int, chunk: int) -> None:
    """One worker: every so-manieth chunk of the day's handles, through the pipeline's own job."""
    from sf_assets.cli.runner import Runner, dagster_instance
    from sf_assets.defs import schedules
    from sf_assets.handles.parse import read_registry

    met = _Count()
    logging.getLogger("sf_assets.warehouse").addHandler(met)
    logging.getLogger("sf_assets.warehouse").setLevel(logging.INFO)
    schedules.CHUNK = chunk
    settings = load_settings()
    home = Home.of(settings).ensure(settings)
    handles = list(read_registry(home.registry).handles)
    mine = [
        handle
        for start in range(number * chunk, len(handles), workers * chunk)
        for handle in handles[start : start + chunk]
    ]
    with dagster_instance(home) as instance:
        runner = Runner(instance, settings)
        runner.audience.handles.register(instance, handles)
        began = time.monotonic()
        done = runner.snapshot(settings.day(), mine, RELATIONS, refresh=False)
        seconds = time.monotonic() - began
    told = {"ok": all(one.success for one in done), "met": met.number, "seconds": seconds}
    print(json.dumps({**told, "cpu": sum(os.times()[:4])}))


def processor_seconds(process: int) -> float:
    """Of a process, those it has waited for, and those of its children that run."""
    one = psutil.Process(process)
    running = [child.cpu_times()[:2] for child in one.children(recursive=True)]
    return float(sum(one.cpu_times()[:4]) + sum(map(sum, running)))


def transactions(dsn: str) -> int:
    """Transactions that the database of a lake has committed."""
    return int(asked(dsn, "SELECT xact_commit FROM pg_stat_database WHERE datname = %s"))


class _Count(logging.Handler):
    number = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.number += 1


def tables(home: Home) -> dict[str, list[tuple[Any, ...]]]:
    """All rows that are loaded or derived, but what differs between any two runs."""
    made = {}
    with reading(home.readable) as con:
        for name in DERIVED_TABLES:
            cursor = con.execute(f"SELECT * FROM {name}")
            kept = [n for n, one in enumerate(cursor.description) if one[0] not in INCIDENTAL]
            made[name] = sorted((tuple(r[n] for n in kept) for r in cursor.fetchall()), key=repr)
    return made


def read_a_day(arguments: argparse.Namespace) -> int:
    world = preset_world("bench", today=DAY, handles=arguments.handles, accounts=arguments.accounts)
    options = Options(latency_ms=50.0, day=DAY, page_size=arguments.page_size, balance=10**9)
    print(
        "| home | workers | seconds | lists a second | commits done again | credits "
        "| ms of a worker a page | of S3 | of Postgres | of the simulator | S3 requests a page "
        "| of these | transactions |"
    )
    print("|---" * 13 + "|")
    wrong: list[str] = []
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sf_scale_")))
        cluster = stack.enter_context(postgres())
        store = stack.enter_context(object_store(quick=True))
        simulator = stack.enter_context(background(world, options))
        least: int | None = None
        expected: dict[str, list[tuple[Any, ...]]] = {}
        for workers in (0, *arguments.workers):
            dsn = cluster.database()
            far = {
                "SF_ASSETS_WAREHOUSE": f"ducklake:postgres:{dsn}",
                "SF_ASSETS_LANDING_SYNC": arguments.sync,
                "SF_ASSETS_STORAGE": store.bucket(),
                **store.environment,
            }
            simulator.reset_ledger()
            environment = {
                **{k: v for k, v in os.environ.items() if not k.startswith("SF_ASSETS_")},
                "SOCIALFETCH_BASE_URL": simulator.base_url,
                "SOCIALFETCH_API_KEY": simulator.api_key,
                "SF_ASSETS_TODAY": DAY.isoformat(),
                "SF_ASSETS_START_DATE": DAY.isoformat(),
                **(far if workers else {}),
            }
            told(store.port)
            before = [processor_seconds(one) for one in (store.process, cluster.process())]
            simulating = time.process_time()
            began = time.monotonic()
            started = []
            for number in range(max(1, workers)):
                root = scratch / f"{workers}_{number}"
                root.mkdir()
                track(root / "handles.yaml", list(world.handles), {})
                started.append(
                    subprocess.Popen(
                        [
                            *(sys.executable, "-W", "ignore", __file__, "--work"),
                            *(str(number), str(max(1, workers)), str(arguments.chunk)),
                        ],
                        env={**environment, "SF_ASSETS_HOME": str(root)},
                        stdout=subprocess.PIPE,
                        text=True,
                    )
                )
            said = [json.loads(one.communicate()[0].splitlines()[-1]) for one in started]
            seconds = time.monotonic() - began
            simulating = time.process_time() - simulating
            serving = [
                processor_seconds(one) - was
                for one, was in zip((store.process, cluster.process()), before, strict=True)
            ]
            counts = told(store.port)
            committed = transactions(dsn) if workers else 0
            os.environ.update(environment)
            os.environ["SF_ASSETS_HOME"] = str(scratch / f"{workers}_0")
            home = Home.of(load_settings({} if workers else dict.fromkeys(FAR)))
            with writing(home.writable) as con:
                derive(con, home.archive)
            if not workers:
                from sf_assets.warehouse.publish import publish

                publish(home)
            charged = int(simulator.ledger()["charged"])
            found = tables(home)
            lists = len(found["internal.snapshots"])
            pages = max(1, charged)
            cpu = [sum(one["cpu"] for one in said), *serving, simulating]
            kinds = {name: n for name, n in counts.items() if name.isupper()}
            print(
                f"| {f'lake, S3, {arguments.sync}' if workers else 'DuckDB file'} "
                f"| {max(1, workers)} | {seconds:.0f} | {lists / seconds:.1f} "
                f"| {sum(one['met'] for one in said)} | {charged:,} | "
                f"{' | '.join(f'{1000 * one / pages:.2f}' for one in cpu)} "
                f"| {sum(kinds.values()) / pages:.3f} "
                f"| {', '.join(f'{n} {name}' for name, n in sorted(kinds.items()))} "
                f"| {committed} |",
                flush=True,
            )
            if not all(one["ok"] for one in said):
                wrong.append(f"{workers} workers: a run failed")
            if least is None:
                # One machine, undisturbed: a page of each list once.
                least, expected = charged, found
            if charged != least:
                wrong.append(f"{workers} workers: {charged} credits, not {least}")
            wrong += [
                f"{workers} workers: {name} differs: {differing(expected[name], found[name])}"
                for name in DERIVED_TABLES if found[name] != expected[name]
            ]  # fmt: skip
    for one in wrong:
        print(one, file=sys.stderr)
    print("All tables are those of one machine." if not wrong else "NOT equal.")
    return 1 if wrong else 0


def differing(rows: list[tuple[Any, ...]], others: list[tuple[Any, ...]]) -> str:
    """The values of the first two rows that are not the same."""
    first = next((pair for pair in zip(rows, others, strict=False) if pair[0] != pair[1]), None)
    if first is None:
        return f"{len(rows)} rows and {len(others)}"
    return str([pair for pair in zip(*first, strict=True) if pair[0] != pair[1]])


def a_month(arguments: argparse.Namespace) -> int:
    """Day after day into a lake on Postgres with its Parquet in a folder."""
    first = DAY - timedelta(days=arguments.days - 1)
    world = preset_world("bench", today=DAY, handles=arguments.handles, accounts=arguments.accounts)
    print(
        "| day | account-days | load s | derive s | upkeep s | lake MB | archive MB | catalog MB |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sf_month_")))
        dsn = stack.enter_context(postgres()).database()
        os.environ["SF_ASSETS_HOME"] = str(scratch / "home")
        os.environ["SF_ASSETS_WAREHOUSE"] = f"ducklake:postgres:{dsn}"
        os.environ["SF_ASSETS_STORAGE"] = str(scratch / "storage")
        home = Home.of(load_settings())
        landing = landing_at(home.landing)
        account_days = 0
        for number in range(arguments.days):
            day = first + timedelta(days=number)
            landed = [
                land_whole(landing, world, SnapshotKey(day, handle, "followers"))
                for handle in world.handles
            ]
            began = time.monotonic()
            for start in range(0, len(landed), 250):
                batch = landed[start : start + 250]
                rows, failures = load(lambda: writing(home.writable), home.archive, batch)
                assert not failures
                account_days += sum(row.listed for row in rows)
            loaded = time.monotonic()
            with writing(home.writable) as con:
                derive(con, home.archive)
                derived = time.monotonic()
                maintain(con)
            maintained = time.monotonic()
            for key in landing.keys(day):
                landing.drop(key)
            if number < 3 or (number + 1) % 5 == 0:
                print(
                    f"| {number + 1} | {account_days:,} | {loaded - began:.1f} "
                    f"| {derived - loaded:.1f} | {maintained - derived:.1f} "
                    f"| {size(scratch / 'storage' / 'lake'):.1f} "
                    f"| {size(scratch / 'storage' / 'archive'):.1f} | {catalog(dsn):.1f} |",
                    flush=True,
                )
        kept = size(scratch / "storage")
        print(f"\n{1e6 * kept / account_days:.1f} bytes an account-day, archive and lake together")
    return 0


def size(folder: Path) -> float:
    """Megabytes of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def catalog(dsn: str) -> float:
    """Megabytes of the lake's own tables in Postgres."""
    return asked(dsn, "SELECT pg_database_size(current_database())") / 1e6


def asked(dsn: str, query: str) -> float:
    """The one number that Postgres answers; `%s` is the name of the database."""
    con = psycopg2.connect(dsn)
    try:
        cursor = con.cursor()
        cursor.execute(query, [con.info.dbname] if "%s" in query else None)
        return float(cursor.fetchone()[0])
    finally:
        con.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--handles", type=int, default=2000)
    parser.add_argument("--accounts", type=int, default=500)
    parser.add_argument("--page-size", type=int, default=20)
    parser.add_argument("--chunk", type=int, default=250)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--sync", choices=["page", "batch"], default="page")
    parser.add_argument("--month", action="store_true")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--work", type=int, nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(*arguments.work)
        return 0
    why_not = missing("lake", "postgres", "s3")
    if why_not is not None:
        parser.error(why_not)
    return a_month(arguments) if arguments.month else read_a_day(arguments)


if __name__ == "__main__":
    sys.exit(main())
