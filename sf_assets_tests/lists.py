"""Lists for tests of the warehouse: landed without HTTP, then loaded and derived for real.

    lists = Lists(tmp_path)
    lists.day(1, "nova", [3, 2, 1])
    lists.day(2, "nova", [4, 3, 1])
    assert lists.churn("nova") == {(2, 4, "gained", "confirmed"), (2, 2, "lost", "provisional")}

Accounts are numbers, newest follow first; `who` gives one other ids or another handle.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb

from sf_assets.model import Relation, SnapshotKey
from sf_assets.storage.address import Lake
from sf_assets.storage.home import Home
from sf_assets.storage.landing import Landing
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets.storage.records import Landed, Page
from sf_assets.warehouse.derive import Derived, derive
from sf_assets.warehouse.lake import attach
from sf_assets.warehouse.load import load, record
from sf_assets.warehouse.schema import prepare
from sf_assets.warehouse.statements import in_memory

FIRST_DAY = date(2026, 11, 1)
ID_BASE = 7_000_000_000_000_000_000

# What differs between two warehouses that were told the same: names of files and runs.
INCIDENTAL = {"archive_file", "run_id", "started_at", "finished_at"}
DERIVED_TABLES = (
    "internal.comparisons",
    "internal.presences",
    "internal.churn",
    "internal.retractions",
    "internal.ids",
    "internal.renames",
    "internal.profiles",
    "internal.profile_counts",
    "internal.churn_profiles",
    "internal.snapshots",
    "main.follower_growth",
    "main.status_changes",
)


@dataclass(frozen=True)
class Who:
    """An account as a list shows it; a field that is None is left out."""

    n: int
    handle: str = ""
    user_id: str | None = ""
    sec_uid: str | None = ""
    more: tuple[tuple[str, Any], ...] = ()

    def item(self, relation: Relation) -> dict[str, Any]:
        item: dict[str, Any] = {
            "handle": self.handle or f"fan{self.n}",
            "displayName": f"Fan {self.n}",
            "avatarUrl": None,
            "bio": "",
            "verified": False,
            "platformUserId": str(ID_BASE + self.n) if self.user_id == "" else self.user_id,
            "secUid": f"MS4w{self.n}" if self.sec_uid == "" else self.sec_uid,
        }
        if relation == "followers":
            item |= {"privateAccount": False, "metrics": {"followers": 1, "following": 2}}
        else:
            item |= {
                "profileUrl": f"https://www.tiktok.com/@{item['handle']}",
                "metrics": {"followers": 1, "following": 2, "posts": 3},
            }
        item |= dict(self.more)
        optional = ("platformUserId", "secUid")
        return {k: v for k, v in item.items() if v is not None or k not in optional}


def who(
    n: int,
    handle: str = "",
    *,
    user_id: str | None = "",
    sec_uid: str | None = "",
    **more: Any,
) -> Who:
    """Account `n`; `user_id=None` or `sec_uid=None` leaves that id out that day."""
    return Who(n, handle, user_id, sec_uid, tuple(sorted(more.items())))


def nameless(n: int, handle: str = "") -> Who:
    """Account `n` on a day without any id: only its handle is shown."""
    return Who(n, handle, None, None)


Listed = int | Who


def on(day: int) -> date:
    """Day 1 is FIRST_DAY."""
    return FIRST_DAY + timedelta(days=day - 1)


@dataclass(frozen=True)
class Told:
    """One list of one day as a test writes it down. `total` None counts who is listed."""

    day: int
    handle: str
    accounts: tuple[Listed, ...] = ()
    status: str = "found"
    total: int | None = None
    no_total: bool = False
    end: str = "exhausted"
    relation: Relation = "followers"
    page_size: int = 20

    @property
    def key(self) -> SnapshotKey:
        return SnapshotKey(on(self.day), self.handle, self.relation)

    def bodies(self) -> Iterator[bytes]:
        items = [(Who(a) if isinstance(a, int) else a).item(self.relation) for a in self.accounts]
        distinct = len({(i.get("platformUserId"), i.get("secUid"), i["handle"]) for i in items})
        total = self.total if self.total is not None else distinct
        pages = [items[at : at + self.page_size] for at in range(0, len(items), self.page_size)]
        listed, count = (
            ("followers", "totalFollowers")
            if self.relation == "followers"
            else ("accounts", "totalAccounts")
        )
        for number, page in enumerate(pages or [[]]):
            last = number + 1 >= len(pages)
            found = self.status == "found" or not last
            data = {
                "lookupStatus": "found" if found else self.status,
                listed: page if found else [],
                "page": {"nextCursor": None if last else f"p{number}", "hasMore": not last},
                count: total if found and not self.no_total else None,
            }
            meta = {"requestId": "r", "creditsCharged": 1, "version": "v1"}
            yield json.dumps({"data": data, "meta": meta}).encode()

    def land(self, landing: Landing) -> Landed:
        log = landing.open(self.key)
        assert log is not None
        with log:
            log.begin("test", "test")
            for number, body in enumerate(self.bodies(), start=1):
                log.add_page(Page(number, None, "2026-11-01T06:00:00Z", "r", 1, False, 1, body))
            log.finish(self.status, self.end if self.status == "found" else None, "test")
        landed = landing.read(self.key)
        assert landed is not None
        return landed


class Lists:
    """A warehouse of its own, in memory or in a lake, with a landing and an archive on disk."""

    # Makes the lake of a folder; None: the warehouse is DuckDB's own, in memory.
    lake: Callable[[Path], Lake] | None = None

    def __init__(self, root: Path) -> None:
        self.home = Home(root)
        self.landing = DiskLanding(self.home.landing)
        lake = self.lake(root) if self.lake else None
        self.con = attach(lake, read_only=False) if lake else in_memory()
        # Small tables: a second thread costs more than it brings.
        self.con.execute("SET threads = 1")
        prepare(self.con, lake or Path("memory"))

    def close(self) -> None:
        self.con.close()

    @contextmanager
    def _open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        yield self.con

    def load(self, told: Iterable[Told]) -> None:
        """Land and load, without deriving."""
        self.load_again(*(each.land(self.landing) for each in told))

    def load_again(self, *landed: Landed) -> None:
        """Load what is landed already."""
        rows, failures = load(self._open, self.home.archive, landed)
        assert not failures, failures
        assert len(rows) == len(landed)

    def derive(self) -> Derived:
        return derive(self.con, self.home.archive)

    def tell(self, *told: Told) -> Derived:
        """Land, load and derive in one go."""
        self.load(told)
        return self.derive()

    def day(self, day: int, handle: str, accounts: Sequence[Listed] = (), **more: Any) -> Derived:
        return self.tell(Told(day, handle, tuple(accounts), **more))

    def record(self, rows: Iterable[Any]) -> None:
        """Put archived snapshots into the warehouse again."""
        record(self.con, list(rows))

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.con.execute(query, list(values)).fetchall()

    def churn(
        self, handle: str, relation: Relation = "followers"
    ) -> set[tuple[int, int | str, str, str]]:
        """(day, account, change, state)."""
        return {
            (number_of_day(day), number_of(account), change, state)
            for day, account, change, state in self.rows(
                "SELECT snapshot_date, account_id, change, state FROM internal.churn "
                "WHERE handle = ? AND relation = ?",
                handle,
                relation,
            )
        }

    def memberships(self, handle: str, account: int | str) -> list[tuple[Any, ...]]:
        """(first day, last day or None, start_kind, end_kind), oldest first."""
        return [
            (number_of_day(first), last and number_of_day(last), start, end)
            for found, first, last, start, end in self.rows(
                "SELECT account_id, first_seen, last_seen, start_kind, end_kind FROM memberships "
                "WHERE handle = ? ORDER BY first_seen",
                handle,
            )
            if number_of(found) == account
        ]

    def followers_on(self, handle: str, day: int) -> dict[int | str, bool]:
        """Account -> healed, in the order of the list."""
        return {
            number_of(account): healed
            for account, healed in self.rows(
                "SELECT account_id, healed FROM followers_on(?, ?)", handle, on(day)
            )
        }

    def one(self, query: str, *values: Any) -> Any:
        """The only row of a query; its value, where it has one column."""
        (row,) = self.rows(query, *values)
        return row[0] if len(row) == 1 else row

    def tables(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything derived, sorted, without names of files and runs."""
        made = {}
        for name in DERIVED_TABLES:
            cursor = self.con.execute(f"SELECT * FROM {name}")
            kept = [
                at for at, column in enumerate(cursor.description) if column[0] not in INCIDENTAL
            ]
            rows = [tuple(row[at] for at in kept) for row in cursor.fetchall()]
            made[name] = sorted(rows, key=repr)
        return made


def number_of(account_id: str) -> int | str:
    """The account's number, where its id is one of ours; else the id itself."""
    if account_id.isdigit() and int(account_id) >= ID_BASE:
        return int(account_id) - ID_BASE
    return account_id


def number_of_day(day: date) -> int:
    return (day - FIRST_DAY).days + 1
