"""How many bytes does an account take for a day?

    python benchmarks/storage.py                 60 days of 200 lists of 5,000 accounts
    python benchmarks/storage.py --handles 20 --days 60

Follower lists with 0.5 % gained and 0.4 % lost a day, profiles included. The days are written into
the archive without HTTP (`direct.py`; the first and the last one are also landed, loaded and
compared row by row), recorded and derived a day at a time as they would be, and the file is copied
into a smaller one where it has grown by a third, so it has what rewriting leaves behind until the
next copy. The figure is the size of the closed warehouse file over the accounts listed on all days.
Beside it: the file compacted (COPY FROM DATABASE), the archive, and every table by itself, copied
into a file of its own; the largest columns by their blocks in it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from functools import partial
from pathlib import Path

import duckdb
from common import LAST_DAY, days_up_to, open_lists, say, scratch, table, verdict
from direct import DirectLists, check_direct, land_day

from sf_assets.storage.home import Home
from sf_assets.warehouse.compact import compact
from sf_assets.warehouse.connection import writing
from sf_assets.warehouse.derive import derive
from sf_assets.warehouse.load import load, record
from sf_assets.warehouse.statements import transaction

TARGET_BYTES = 1.5
COLUMNS_SHOWN = 12


def fill(home: Home, handles: int, accounts: int, days: int, check: bool) -> None:
    """Record and derive all days; the first and last are checked against their pages."""
    world = open_lists([accounts] * handles, days=days)
    direct = DirectLists(world)
    home.warehouse.parent.mkdir(parents=True, exist_ok=True)
    dates = days_up_to(LAST_DAY, days)
    for number, day in enumerate(dates, start=1):
        began = time.perf_counter()
        rows = direct.archive(home, day)
        with writing(home.warehouse) as con:
            with transaction(con):
                record(con, rows)
            derive(con, home.archive)
        compact(home.warehouse)
        if check and day in (dates[0], dates[-1]):
            aside = Home(home.root / "aside")
            aside.warehouse.parent.mkdir(parents=True)
            landed = land_day(aside, world, day)
            real, failures = load(partial(writing, aside.warehouse), home.archive, landed)
            if failures:
                raise RuntimeError(failures[0].reason)
            check_direct(home.archive, real, rows)
            for name in {row.archive_file for row in real}:
                (home.archive / name).unlink()
            shutil.rmtree(aside.root)
        size = home.warehouse.stat().st_size
        say(f"day {number}: {size / 1e6:.1f} MB, {time.perf_counter() - began:.0f} s")


def sizes(
    home: Home, scratch_folder: Path
) -> tuple[int, dict[str, tuple[int, int]], dict[str, int]]:
    """Bytes of the compacted file, (rows, bytes) of each table, bytes of each column's blocks."""
    tables: dict[str, tuple[int, int]] = {}
    columns: dict[str, int] = {}
    with duckdb.connect(":memory:") as con:
        con.execute(f"ATTACH '{home.warehouse}' AS warehouse (READ_ONLY)")
        whole = scratch_folder / "compact.duckdb"
        con.execute(f"ATTACH '{whole}' AS compact")
        con.execute("COPY FROM DATABASE warehouse TO compact")
        con.execute("DETACH compact")
        block = con.execute(
            "SELECT block_size FROM pragma_database_size() WHERE database_name = 'warehouse'"
        ).fetchall()[0][0]
        for schema, name in con.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() "
            "WHERE database_name = 'warehouse' ORDER BY ALL"
        ).fetchall():
            own = scratch_folder / f"{schema}.{name}.duckdb"
            con.execute(f"ATTACH '{own}' AS own")
            con.execute(f"CREATE TABLE own.only AS FROM warehouse.{schema}.{name}")
            con.execute("DETACH own")
            con.execute(f"ATTACH '{own}' AS own (READ_ONLY)")
            rows = con.execute("SELECT count(*) FROM own.only").fetchall()[0][0]
            tables[f"{schema}.{name}"] = (rows, own.stat().st_size)
            for column, blocks in con.execute(
                "SELECT column_name, count(DISTINCT block_id) FROM "
                "pragma_storage_info('own.only') WHERE persistent AND block_id >= 0 GROUP BY ALL"
            ).fetchall():
                columns[f"{schema}.{name}.{column}"] = blocks * block
            con.execute("DETACH own")
    return whole.stat().st_size, tables, columns


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--handles", type=int, default=200)
    parser.add_argument("--accounts", type=int, default=5_000)
    parser.add_argument("--no-check", action="store_true", help="skip the comparison with pages")
    parser.add_argument("--home", type=Path, help="measure this home instead of making one")
    wanted = parser.parse_args()
    with scratch() as folder:
        home = Home(wanted.home or folder / "home")
        if wanted.home is None:
            home.root.mkdir()
            fill(home, wanted.handles, wanted.accounts, wanted.days, not wanted.no_check)
        apart = folder / "apart"
        apart.mkdir()
        compact, tables, columns = sizes(home, apart)
        file = home.warehouse.stat().st_size
        archive = sum(path.stat().st_size for path in home.archive.rglob("*.parquet"))
        with duckdb.connect(str(home.warehouse), read_only=True) as con:
            days, lists, account_days = con.execute(
                "SELECT count(DISTINCT snapshot_date), count(DISTINCT (relation, handle)), "
                "sum(listed) FROM snapshots"
            ).fetchall()[0]
    each = file / account_days
    print(f"{days} days of {lists} lists, {account_days:,} account-days:\n")
    print(
        table(
            ["", "MB", "bytes an account-day", "target", ""],
            [
                [
                    "warehouse",
                    f"{file / 1e6:.1f}",
                    f"{each:.2f}",
                    f"<= {TARGET_BYTES}",
                    verdict(each, TARGET_BYTES),
                ],
                [
                    "warehouse, compacted",
                    f"{compact / 1e6:.1f}",
                    f"{compact / account_days:.2f}",
                    "",
                    "",
                ],
                ["archive", f"{archive / 1e6:.1f}", f"{archive / account_days:.2f}", "", ""],
            ],
        )
    )
    largest = sorted(tables.items(), key=lambda item: -item[1][1])
    print(
        "\n"
        + table(
            ["table, in a file of its own", "rows", "MB", "bytes a row", "bytes an account-day"],
            [
                [
                    f"`{name}`",
                    f"{rows:,}",
                    f"{size / 1e6:.1f}",
                    f"{size / rows:.1f}" if rows else "",
                    f"{size / account_days:.2f}",
                ]
                for name, (rows, size) in largest
            ],
        )
    )
    print(
        "\n"
        + table(
            ["column", "MB", "bytes an account-day"],
            [
                [f"`{name}`", f"{size / 1e6:.1f}", f"{size / account_days:.2f}"]
                for name, size in sorted(columns.items(), key=lambda item: -item[1])[:COLUMNS_SHOWN]
            ],
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
