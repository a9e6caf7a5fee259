"""Days of history without HTTP, for benchmarks that need many.

A *real* day takes the pipeline's own way from the landed page on: the simulator's pages are landed,
loaded, derived. A *direct* day leaves out the pages: the very rows that loading them would have
archived are written as the archive's Parquet file and recorded, then derived as usual. That the two
are the same is not believed but checked, on every real day of a benchmark (`check_direct`).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from walks import land_whole

from sf_assets.model import SnapshotKey
from sf_assets.simulator import World
from sf_assets.simulator.world import SLOT_BITS
from sf_assets.storage.home import Home
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets.storage.records import Landed
from sf_assets.warehouse.alignment import completeness
from sf_assets.warehouse.archive import ROW_GROUP, SnapshotRow
from sf_assets.warehouse.packing import with_macros
from sf_assets.warehouse.statements import sql

PAGE_SIZE = 20

_AVATARS = pa.struct([("large", pa.string()), ("medium", pa.string()), ("thumb", pa.string())])
_COLUMNS = {
    "account_handle": ("handle", pa.string()),
    "platform_user_id": ("platformUserId", pa.string()),
    "sec_uid": ("secUid", pa.string()),
    "display_name": ("displayName", pa.string()),
    "bio": ("bio", pa.string()),
    "verified": ("verified", pa.bool_()),
    "private_account": ("privateAccount", pa.bool_()),
    "avatar_url": ("avatarUrl", pa.string()),
    "avatar_urls": ("avatarUrls", _AVATARS),
}

# As `archive.write_batch` has it: what a follower list does not have is null.
_COPY = """
COPY (
    SELECT *, {digest} AS profile_digest
    FROM (
        SELECT 'followers' AS relation, l.handle, l.snapshot_date, CAST(1 AS INTEGER) AS attempt,
            l.position, p.account_handle, p.platform_user_id, p.sec_uid, p.display_name, p.bio,
            p.verified, p.private_account, p.followers, p.following, CAST(NULL AS BIGINT) AS posts,
            p.avatar_url, internal.avatar_rests(p.avatar_urls, p.avatar_url) AS avatar_rests,
            CAST(NULL AS VARCHAR) AS profile_url,
            CAST(NULL AS VARCHAR) AS region, CAST(NULL AS VARCHAR) AS "language",
            CAST(NULL AS TIMESTAMPTZ) AS account_created_at, CAST(NULL AS VARCHAR) AS details,
            CAST(NULL AS VARCHAR) AS extra
        FROM listed AS l POSITIONAL JOIN profiles AS p
        ORDER BY relation, l.handle, position
    )
) TO '{path}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {rows})
"""


class DirectLists:
    """The follower lists of a world's handles as rows of the archive, a day at a time.

    Keeps every account's fields as last shown, and asks the world again only for accounts that show
    something else on that day: most are the same as yesterday. Days must be asked for in order.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self._rows: dict[int, int] = {}
        self._numbers: list[int] = []
        self._fields: dict[str, list[Any]] = {name: [] for name in (*_COLUMNS, *_COUNTS)}
        self._chance: npt.NDArray[np.uint64] = np.empty((0, 2), dtype=np.uint64)
        self._shown: npt.NDArray[np.int64] = np.empty((0, 3), dtype=np.int64)

    def archive(self, home: Home, day: date) -> list[SnapshotRow]:
        """Write the day's file into the archive; returns what `record` takes."""
        lists = {
            handle: self.world.truth(handle, "followers", day).listed
            for handle in self.world.handles
        }
        numbers = np.concatenate(list(lists.values()))
        profiles = self._profiles(numbers, day)
        sizes = [len(one) for one in lists.values()]
        listed = pa.table(
            {
                "handle": np.repeat(np.array(list(lists), dtype=object), sizes),
                "snapshot_date": pa.array([day] * len(numbers), pa.date32()),
                "position": pa.array(
                    np.concatenate([np.arange(1, size + 1) for size in sizes]), pa.int32()
                ),
            }
        )
        folder = home.archive / f"day={day.isoformat()}"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{uuid.uuid4().hex[:12]}.parquet"
        write_archive_file(folder / name, listed, profiles)
        moment = f"{day.isoformat()}T06:00:00.000Z"
        return [
            SnapshotRow(
                relation="followers",
                handle=handle,
                snapshot_date=day,
                lookup_status="found",
                end_reason="exhausted",
                completeness=completeness("found", "exhausted", size, size),
                listed=size,
                reported_total=size,
                pages=-(-size // PAGE_SIZE),
                credits_charged=-(-size // PAGE_SIZE),
                started_at=moment,
                finished_at=moment,
                run_id="benchmark",
                attempt=1,
                archive_file=f"{folder.name}/{name}",
            )
            for handle, size in zip(lists, sizes, strict=True)
        ]

    def _profiles(self, numbers: npt.NDArray[np.int64], day: date) -> pa.Table:
        self._add(numbers)
        at = np.fromiter((self._rows[n] for n in numbers.tolist()), dtype=np.int64)
        # What makes an account show something new, as `World.item` has it: its followers, and the
        # turns of its name and bio. Should that change, `check_direct` will tell.
        index = self.world.day_index(day)
        a = self._chance[at, 0]
        scale = (a & np.uint64(0xFFFF)).astype(np.float64) / 65_536
        popularity = 2.0 ** (scale * scale * 17)
        pace = ((a >> np.uint64(16)) & np.uint64(0xF)).astype(np.float64)
        now = np.stack(
            [
                (popularity + (max(index, 0) * popularity * pace) / 20_000).astype(np.int64),
                (index + ((a >> np.uint64(20)) & np.uint64(0xFF)).astype(np.int64)) // 240,
                (index + ((a >> np.uint64(28)) & np.uint64(0x7F)).astype(np.int64)) // 90,
            ],
            axis=1,
        )
        # Accounts that are in many lists may take another name on any day.
        changed = (self._shown[at] != now).any(axis=1) | (numbers < 2**SLOT_BITS)
        self._shown[at] = now
        for row in np.unique(at[changed]).tolist():
            item = self.world.item(self._numbers[row], "followers", day)
            for name, (field, _) in _COLUMNS.items():
                self._fields[name][row] = _unsigned(item.get(field))
            for name in _COUNTS:
                self._fields[name][row] = item["metrics"][name]
        take = pa.array(at)
        columns = {
            name: pa.array(self._fields[name], kind).take(take)
            for name, (_, kind) in _COLUMNS.items()
        }
        for name in _COUNTS:
            columns[name] = pa.array(self._fields[name], pa.int64()).take(take)
        return pa.table(columns)

    def _add(self, numbers: npt.NDArray[np.int64]) -> None:
        new = [n for n in dict.fromkeys(numbers.tolist()) if n not in self._rows]
        if not new:
            return
        for number in new:
            self._rows[number] = len(self._numbers)
            self._numbers.append(number)
        for column in self._fields.values():
            column.extend([None] * len(new))
        drawn = np.array(
            [np.frombuffer(self.world._digest(n)[40:56], dtype="<u8") for n in new], dtype=np.uint64
        )
        self._chance = np.concatenate([self._chance, drawn])
        self._shown = np.concatenate([self._shown, np.full((len(new), 3), -1, dtype=np.int64)])


_COUNTS = ("followers", "following")


def _unsigned(value: Any) -> Any:
    """Picture addresses without their signature, as the archive keeps them."""
    if isinstance(value, dict):
        return {name: _unsigned(one) for name, one in value.items()}
    if isinstance(value, str) and value.startswith("https://"):
        return value.partition("?")[0]
    return value


def write_archive_file(path: Path, listed: pa.Table, profiles: pa.Table) -> None:
    with with_macros() as con:
        con.register("listed", listed)
        con.register("profiles", profiles)
        quoted = str(path).replace("'", "''")
        con.execute(_COPY.format(digest=sql("profile_digest"), path=quoted, rows=ROW_GROUP))


def land_day(home: Home, world: World, day: date) -> list[Landed]:
    """Land all pages of the day's follower lists, as the pipeline does after each answer."""
    landing = DiskLanding(home.landing)
    return [
        land_whole(landing, world, SnapshotKey(day, handle, "followers"))
        for handle in world.handles
    ]


def check_direct(archive: Path, real: Sequence[SnapshotRow], direct: Sequence[SnapshotRow]) -> None:
    """Raises RuntimeError where a direct day is not what loading its pages archived."""
    mine, theirs = (
        [str(archive / name) for name in sorted({row.archive_file for row in rows})]
        for rows in (direct, real)
    )
    with duckdb.connect(":memory:") as con:
        columns = [
            con.execute("SELECT * FROM read_parquet(?) LIMIT 0", [files]).description
            for files in (mine, theirs)
        ]
        if columns[0] != columns[1]:
            raise RuntimeError(
                f"a direct day has columns {[name for name, *_ in columns[0]]}, one loaded from "
                f"its pages {[name for name, *_ in columns[1]]}: benchmarks/direct.py is out of "
                "date"
            )
        different = con.execute(
            "SELECT (SELECT count(*) FROM (FROM read_parquet($mine) EXCEPT FROM "
            "read_parquet($theirs))) + (SELECT count(*) FROM (FROM read_parquet($theirs) "
            "EXCEPT FROM read_parquet($mine)))",
            {"mine": mine, "theirs": theirs},
        ).fetchall()[0][0]
    if different:
        raise RuntimeError(
            f"{different} rows of a direct day differ from what was loaded from its pages: "
            "benchmarks/direct.py is out of date"
        )
