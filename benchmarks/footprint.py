"""How many bytes of the home does an account take for a day, and in which part of it?

    python benchmarks/footprint.py                          365 days of 50 lists of 2,000: an hour
    python benchmarks/footprint.py --lists 5 --days 30 --rebuild     two minutes
    python benchmarks/footprint.py --archive-only           archive alone, at all days

Follower lists of which 1 % of the accounts go and come every day, 30 % of the follower and 10 % of
the following counts move, and picture addresses are signed anew. Ids are as random as TikTok's: 48
bytes of secUid, 16 of each picture, a number of 19 digits. Days are written as the full files that
loading them would leave, recorded, derived, packed, compacted and published by the product's own
functions; of the last day all pages are made, for what raw pages take. Dagster's files are not in
it: they grow with lists and runs, not with accounts (`grid.py`).

Beside it: the full files of every day as they are before they are packed; bare Parquet, all rows
and addresses of a day (zstd), which is what the first format kept; gzip of the raw pages of every
day; with `--dlt DAYS` the DuckDB file of dlt's scd2 over the first DAYS, which keeps no profile's
changes.
`--rebuild` times what `sf-assets rebuild` does, from full and from packed files, and packing all
days at once as an old home is converted, in processor time of this process.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import json
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from common import LAST_DAY, days_up_to, say, scratch, table, verdict

from sf_assets.storage.home import Home
from sf_assets.warehouse.archive import ROW_GROUP, SnapshotRow
from sf_assets.warehouse.archive_names import all_files, is_packed
from sf_assets.warehouse.archive_reader import ARCHIVE_FORMAT
from sf_assets.warehouse.compact import compact
from sf_assets.warehouse.connection import writing
from sf_assets.warehouse.derive import derive
from sf_assets.warehouse.ledger import METADATA_KEY
from sf_assets.warehouse.load import record
from sf_assets.warehouse.pack import pack
from sf_assets.warehouse.packing import with_macros
from sf_assets.warehouse.publish import publish
from sf_assets.warehouse.rebuild import newest_rows
from sf_assets.warehouse.statements import quoted, sql, transaction

MARKS = (1, 7, 30, 60, 365)
TARGETS = {60: 6.0, 365: 4.0}
PAGE_SIZE = 20
_WORDS = (
    "love music dance daily the official life art fan of vienna book code cat x travel food skate"
)
_COPY = """
COPY (
    SELECT *, {digest} AS profile_digest
    FROM (
        SELECT 'followers' AS relation, handle, CAST('{day}' AS DATE) AS snapshot_date,
            CAST(1 AS INTEGER) AS attempt, position, account_handle, platform_user_id, sec_uid,
            display_name, bio, verified, private_account, followers, following,
            CAST(NULL AS BIGINT) AS posts, stem || 'c5_720x720.webp' AS avatar_url,
            {{'large': '+c5_1080x1080.webp', 'medium': '+c5_720x720.webp',
                'thumb': '+c5_100x100.webp'}} AS avatar_rests,
            CAST(NULL AS VARCHAR) AS profile_url, CAST(NULL AS VARCHAR) AS region,
            CAST(NULL AS VARCHAR) AS "language", CAST(NULL AS TIMESTAMPTZ) AS account_created_at,
            CAST(NULL AS VARCHAR) AS details
        FROM rows
    )
) TO {path} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {rows}, KV_METADATA {{{said}}})
"""


class People:
    """The accounts of some lists, as columns; a day at a time they come, go and change."""

    def __init__(self, lists: int, accounts: int) -> None:
        self.lists, self.accounts = lists, accounts
        self._chance = np.random.default_rng(7)
        self._names = np.array([f"bench.{number:04d}" for number in range(lists)], dtype=object)
        self.columns = self._new(lists * accounts)

    def _new(self, count: int) -> dict[str, npt.NDArray[Any]]:
        chance = self._chance
        uids = chance.integers(0, 256, (count, 48), dtype=np.uint8)
        numbers = 6_500_000_000_000_000_000 + chance.integers(0, 9 * 10**17, count)
        pictures = chance.integers(0, 2**63, (count, 2), dtype=np.int64)
        known = np.array(_WORDS.split(), dtype=object)
        words = known[chance.integers(0, len(known), (count, 9))]
        both = list(zip(words, chance.integers(0, 99_999, count), strict=True))
        return {
            "account_handle": _texts(f"{w[0]}{w[1]}.{t}" for w, t in both),
            "platform_user_id": _texts(map(str, numbers.tolist())),
            "sec_uid": _texts(
                "MS4wLjABAAAA" + base64.urlsafe_b64encode(uid.tobytes()).decode() for uid in uids
            ),
            "display_name": _texts(f"{w[2]} {w[3]}".title() for w in words),
            "bio": _texts(" ".join(w[4:]) if t % 3 else "" for w, t in both),
            "stem": _texts(
                f"https://p16-sign-va.tiktokcdn.com/tos-maliva-avt-0068/{a:016x}{b:016x}~"
                for a, b in pictures.tolist()
            ),
            "verified": chance.random(count) < 0.01,
            "private_account": chance.random(count) < 0.2,
            "followers": np.exp(chance.normal(5.5, 2, count)).astype(np.int64),
            "following": np.exp(chance.normal(5.5, 1, count)).astype(np.int64),
        }  # fmt: skip

    def next_day(self) -> None:
        chance, size = self._chance, self.accounts
        gone = size // 100
        kept = np.concatenate(
            [
                one * size + np.sort(chance.choice(size, size - gone, replace=False))
                for one in range(self.lists)
            ]
        )
        new = self._new(gone * self.lists)
        for name, column in self.columns.items():
            both = (
                new[name].reshape(self.lists, gone),
                column[kept].reshape(self.lists, size - gone),
            )
            self.columns[name] = np.concatenate(both, axis=1).ravel()
        count = len(self.columns["followers"])
        for name, share, scale in (("followers", 0.3, 0.003), ("following", 0.1, 0.001)):
            moved = chance.random(count) < share
            column = self.columns[name]
            step = np.rint(chance.normal(0, 1, count) * np.maximum(1, column * scale))
            step[step == 0] = 1
            column[moved] = np.maximum(0, column + step.astype(np.int64))[moved]

    def rows(self) -> pa.Table:
        return pa.table(
            {
                "handle": np.repeat(self._names, self.accounts),
                "position": pa.array(
                    np.tile(np.arange(1, self.accounts + 1), self.lists), pa.int32()
                ),
                **self.columns,
            }
        )

    def snapshots(self, day: date, file: str) -> list[SnapshotRow]:
        size, pages = self.accounts, -(-self.accounts // PAGE_SIZE)
        moment = f"{day}T06:00:00.000Z"
        return [
            SnapshotRow(
                "followers", name, day, "found", "exhausted", "complete", size, size, pages,
                pages, moment, moment, "benchmark", 1, file,
            )
            for name in self._names
        ]  # fmt: skip

    def pages(self, day: date) -> Iterator[bytes]:
        """The raw pages of a day, as the API would send them."""
        columns = {name: column.tolist() for name, column in self.columns.items()}
        items = []
        for at in range(self.lists * self.accounts):
            row = {name: column[at] for name, column in columns.items()}
            signed = f"?x-expires={day:%Y%m%d}00&x-signature={self._chance.bytes(16).hex()}"
            urls = {
                size: f"{row['stem']}c5_{pixels}x{pixels}.webp{signed}"
                for size, pixels in (("large", 1080), ("medium", 720), ("thumb", 100))
            }
            items.append(
                {
                    "handle": row["account_handle"], "displayName": row["display_name"],
                    "avatarUrl": urls["medium"], "avatarUrls": urls,
                    "platformUserId": row["platform_user_id"], "secUid": row["sec_uid"],
                    "bio": row["bio"], "verified": row["verified"],
                    "privateAccount": row["private_account"],
                    "metrics": {"followers": row["followers"], "following": row["following"]},
                }
            )  # fmt: skip
            if len(items) == PAGE_SIZE:
                page = {"nextCursor": f"{1_790_000_000 - at}", "hasMore": True}
                data = {"lookupStatus": "found", "followers": items, "page": page,
                        "totalFollowers": self.accounts}  # fmt: skip
                meta = {"requestId": self._chance.bytes(12).hex(), "creditsCharged": 1,
                        "version": "v1"}  # fmt: skip
                yield json.dumps({"data": data, "meta": meta}).encode()
                items = []


def _texts(values: Any) -> npt.NDArray[Any]:
    return np.array(list(values), dtype=object)


def write_day(
    con: duckdb.DuckDBPyConnection, home: Home, people: People, day: date
) -> list[SnapshotRow]:
    """The full file of a day; returns what `record` takes."""
    folder = home.archive / f"day={day}"
    folder.mkdir(parents=True)
    name = f"{day:%m%d}{'0' * 8}.parquet"
    rows = people.snapshots(day, f"{folder.name}/{name}")
    said = {
        "format": ARCHIVE_FORMAT,
        "snapshots": [
            {**{k: v for k, v in asdict(row).items() if k != "archive_file"},
             "snapshot_date": day.isoformat()}
            for row in rows
        ],
        "attempts": [],
    }  # fmt: skip
    con.register("rows", people.rows())
    con.execute(
        _COPY.format(
            digest=sql("profile_digest"), day=day, path=quoted(folder / name), rows=ROW_GROUP,
            said=f"{METADATA_KEY}: {quoted(json.dumps(said))}",
        )
    )  # fmt: skip
    return rows


def parts(home: Home) -> dict[str, int]:
    """Bytes of the home by part."""
    found = {
        "archive, packed": sum(p.stat().st_size for p in all_files(home.archive) if is_packed(p)),
        "archive, newest day in full": sum(
            p.stat().st_size for p in all_files(home.archive) if not is_packed(p)
        ),
    }
    for name, folder in (("warehouse", home.warehouse.parent), ("published", home.generations)):
        found[name] = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    return found


def bare_parquet(full: Path, target: Path) -> int:
    """Bytes of the rows of a full file with all addresses, as the first format had them."""
    with with_macros() as con:
        con.execute(
            "COPY (SELECT * EXCLUDE (avatar_rests), "
            "internal.avatar_urls_of(avatar_rests, avatar_url) AS avatar_urls "
            f"FROM read_parquet({quoted(full)}, hive_partitioning = false)) "
            f"TO {quoted(target)} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP})"
        )
    return target.stat().st_size


def with_dlt(folder: Path, people: People, days: list[date]) -> dict[int, int]:
    """Day number -> bytes of dlt's scd2 file."""
    import dlt

    file, sizes = folder / "dlt.duckdb", {}
    pipeline = dlt.pipeline(
        "lists", pipelines_dir=str(folder / "dlt"), dataset_name="lists",
        destination=dlt.destinations.duckdb(str(file)),
    )  # fmt: skip
    for number, day in enumerate(days, start=1):
        if number > 1:
            people.next_day()
        rows = people.rows().to_pylist()
        for row in rows:
            row["row_version"] = f"{row['handle']}/{row['platform_user_id']}"
        made = dlt.resource(
            rows, name="memberships",
            write_disposition={
                "disposition": "merge", "strategy": "scd2",
                "row_version_column_name": "row_version",
                "boundary_timestamp": f"{day}T06:00:00Z",
            },
        )  # fmt: skip
        pipeline.run(made).raise_on_failed_jobs()
        sizes[number] = file.stat().st_size
    return sizes


def rebuilt(home: Home, root: Path) -> tuple[float, int]:
    """Processor seconds of deriving everything anew from an archive, and how many memberships."""
    begun = time.process_time()
    with writing(root / "warehouse" / "sf_assets.duckdb") as con:
        with transaction(con):
            record(con, list(newest_rows(home.archive).values()))
        derive(con, home.archive)
        rows = con.execute("SELECT count(*) FROM memberships").fetchall()[0][0]
    return time.process_time() - begun, rows


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--lists", type=int, default=50)
    parser.add_argument("--accounts", type=int, default=2_000)
    parser.add_argument("--archive-only", action="store_true", help="derive and publish nothing")
    parser.add_argument("--rebuild", action="store_true", help="time rebuild and conversion")
    parser.add_argument("--dlt", type=int, default=0, metavar="DAYS")
    wanted = parser.parse_args()
    people = People(wanted.lists, wanted.accounts)
    dates = days_up_to(LAST_DAY, wanted.days)
    a_day = wanted.lists * wanted.accounts
    bare, at_mark = 0, {}
    packing = deriving = 0.0
    with scratch() as folder, duckdb.connect() as writer:
        writer.execute("SET TimeZone = 'UTC'")
        writer.execute("SET threads = 1")
        home, full = Home(folder / "home"), Home(folder / "full")
        for number, day in enumerate(dates, start=1):
            if number > 1:
                people.next_day()
            rows = write_day(writer, home, people, day)
            (file,) = (home.archive / f"day={day}").iterdir()
            bare += file.stat().st_size
            if wanted.rebuild:
                (full.archive / file.parent.name).mkdir(parents=True)
                shutil.copyfile(file, full.archive / file.parent.name / file.name)
            begun = time.process_time()
            if not wanted.archive_only:
                with writing(home.warehouse) as con:
                    with transaction(con):
                        record(con, rows)
                    derive(con, home.archive)
                compact(home.warehouse)
                publish(home)
            deriving += time.process_time() - begun
            begun = time.process_time()
            left = pack(home.archive).left
            packing += time.process_time() - begun
            if left:
                raise RuntimeError(left[0])
            if number in MARKS or number == wanted.days:
                at_mark[number] = parts(home) | {"full files of every day": bare}
                say(f"day {number}: {at_mark[number]}")
        pages = list(people.pages(dates[-1]))
        raw = sum(map(len, pages)) / a_day
        plain = bare_parquet(file, folder / "bare.parquet") / a_day
        zipped = sum(len(gzip.compress(page)) for page in pages) / a_day
        dlt_sizes = (
            with_dlt(folder, People(wanted.lists, wanted.accounts), dates[: wanted.dlt])
            if wanted.dlt
            else {}
        )
        times = []
        if wanted.rebuild:
            before, rows_before = rebuilt(full, folder / "from-full")
            after, rows_after = rebuilt(home, folder / "from-packed")
            if rows_before != rows_after:
                raise RuntimeError(f"{rows_before} rows from full files, {rows_after} from packed")
            begun = time.process_time()
            pack(full.archive)
            times = [
                ["rebuild from full files", f"{before:.1f}"],
                ["rebuild from packed files", f"{after:.1f}"],
                ["conversion: packing all days", f"{time.process_time() - begun:.1f}"],
            ]
    marks = sorted(at_mark)
    names = list(at_mark[marks[0]])

    def each(name: str, mark: int) -> float:
        return float(at_mark[mark][name] / (a_day * mark))

    def archive(mark: int) -> float:
        return each(names[0], mark) + each(names[1], mark)

    lines = [[name, *(f"{each(name, mark):.2f}" for mark in marks)] for name in names[:-1]]
    lines.insert(2, ["**archive**", *(f"**{archive(mark):.2f}**" for mark in marks)])
    lines.append([names[-1], *(f"{each(names[-1], mark):.1f}" for mark in marks)])
    lines.append(["bare Parquet, all rows and addresses", *[f"{plain:.0f}"] * len(marks)])
    lines.append(["gzip of the raw pages", *[f"{zipped:.0f}"] * len(marks)])
    if dlt_sizes:
        shown = [
            f"{dlt_sizes[mark] / (a_day * mark):.1f}" if mark in dlt_sizes else "" for mark in marks
        ]
        lines.append(["dlt's scd2 file", *shown])
    print(
        f"Bytes an account-day, {wanted.lists} lists of {wanted.accounts:,} accounts, after days:\n"
    )
    print(table(["", *map(str, marks)], lines))
    for mark, target in TARGETS.items():
        if mark in at_mark:
            print(f"\narchive at day {mark}: {archive(mark):.2f}, target {target}: "
                  f"{verdict(archive(mark), target)}")  # fmt: skip
    print(f"\nraw pages {raw:.0f} bytes an account-day; packing {packing / wanted.days:.2f} s of "
          f"processor time a day, deriving {deriving / wanted.days:.2f} s")  # fmt: skip
    if times:
        print("\n" + table(["", "processor seconds"], times))
    return 0


if __name__ == "__main__":
    sys.exit(main())
