"""Derives memberships, churn, growth and status changes from snapshots.

The result for a series (one relation of one handle) depends only on its usable snapshots in the
order of their days, and on the ids that the lists of the home show, not on the order of loading. A
snapshot that follows the last derived one is compared with it. Anything else (a day that is loaded
late or again) replays the series from the archive. Lists are read and results are written
set-based, for many series and days at once; in between, `compare` handles one list after the other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import NamedTuple

import duckdb
import pyarrow as pa

from sf_assets.errors import SfAssetsError
from sf_assets.warehouse.archive_reader import ArchiveReader
from sf_assets.warehouse.audience import count_profiles
from sf_assets.warehouse.chunk import Chunk, Snapshot, shown_on_other_side
from sf_assets.warehouse.connection import committed
from sf_assets.warehouse.schema import RULES
from sf_assets.warehouse.statements import Rows, put_table, run_sql, sql

# Accounts to compare at once. Limits the memory.
ACCOUNTS_AT_A_TIME = 500_000
# Accounts to compare at once in lists of several days; at least those of one day.
ACCOUNTS_OF_MANY_DAYS = 50_000

_log = logging.getLogger("sf_assets.warehouse")


class ArchiveIncomplete(SfAssetsError):
    """An archive file that `snapshots` refers to is missing."""


class _Name(NamedTuple):
    relation: str
    handle: str


@dataclass
class Derived:
    """The result of a derivation. `days` has the days that may have changed, by relation."""

    days: dict[str, set[date]] = field(default_factory=dict)
    handles: set[str] = field(default_factory=set)
    snapshots: int = 0
    replayed: int = 0

    def all_days(self) -> list[date]:
        """The days that may have changed, oldest first."""
        return sorted(set().union(*self.days.values()) if self.days else set())


def derive(con: duckdb.DuckDBPyConnection, archive: Path) -> Derived:
    """Derive everything from the loaded snapshots, in one transaction.

    `con` is the warehouse, open for writing. Raises ArchiveIncomplete; then nothing is changed.
    """
    enough = _memory(con)
    for limit in (f"{enough}MB", f"{4 * enough}MB"):
        con.execute("SET memory_limit = ?", [limit])
        try:
            return committed(con, "derive", lambda: derive_within(con, archive))
        except duckdb.OutOfMemoryException:
            continue  # not all operators can spill to the disk
    # RESET would show the default and not lift the limit (DuckDB 1.5.5).
    con.execute("SET memory_limit = '80%'")
    return committed(con, "derive", lambda: derive_within(con, archive))


def _memory(con: duckdb.DuckDBPyConnection) -> int:
    """Megabytes that DuckDB may use before it spills to the disk. By default it uses all memory.

    A comparison of one day needs about 400 bytes per account, one of many days at once about 600
    (measured on lists of 5,000 and 200,000 accounts, and on 365 days of 2,000), and is hardly
    faster with more.
    """
    size = con.execute(sql("waiting_size"), [ACCOUNTS_AT_A_TIME]).fetchall()[0][0]
    return 48 + max(int(size) * 400, ACCOUNTS_OF_MANY_DAYS * 600) // 1_000_000


def derive_within(con: duckdb.DuckDBPyConnection, archive: Path) -> Derived:
    """Derive everything, as `derive`, in the caller's transaction."""
    return _Derivation(con, archive).run()


class _Derivation:
    def __init__(self, con: duckdb.DuckDBPyConnection, archive: Path) -> None:
        self.con, self.done, self.rows = con, Derived(), Rows(con)
        self.archive = ArchiveReader(archive)

    def run(self) -> Derived:
        con, done = self.con, self.done
        self._forget_old_rules()
        self._read_decisions()
        run_sql(con, "pending")
        pending = [
            (_Name(relation, handle), replay)
            for relation, handle, replay in con.execute(
                "SELECT relation, handle, replay FROM pending_series ORDER BY ALL"
            ).fetchall()
        ]
        if not pending:
            return done
        run_sql(con, "valid_ids")
        pending += [(name, True) for name in sorted(self._decided_late())]
        replays = {name for name, replay in pending if replay}
        self._forget(replays)
        done.handles = {name.handle for name, _ in pending}
        todo = {name for name, _ in pending}
        while todo:
            restart: set[_Name] = set()
            for snapshots in self._chunks(todo):
                snapshots = [s for s in snapshots if _Name(s.relation, s.handle) not in restart]
                restart |= self._advance(snapshots)
            # An id showed that two accounts of these series are the same.
            done.handles |= {name.handle for name in restart}
            todo = restart
        put_table(con, "touched", pa.table({"handle": pa.array(sorted(done.handles))}))
        run_sql(con, "growth")
        count_profiles(con, self.rows, self.archive)
        run_sql(con, "status_changes")
        run_sql(con, "drop_unseen_profiles")
        # People see committed data at once in a lake, and after this run in a file.
        con.execute("UPDATE internal.warehouse_format SET published_at = now()")
        return done

    def _read_decisions(self) -> None:
        """Read the breaks that handles.yaml marks with `continue`, and restart series for which
        that changed."""
        con = self.con
        rows = con.execute("SELECT handle, unnest(continued) FROM main.handles").fetchall()
        self.continued = {(handle, day) for handle, day in rows}
        decided = con.execute(sql("breaks")).fetchall()
        self._forget(
            {
                _Name(relation, handle)
                for relation, handle, day, continued in decided
                if ((handle, day) in self.continued) != continued
            }
        )

    def _decided_late(self) -> set[_Name]:
        """Series that were derived before a list of the other side that decides about them."""
        late: set[_Name] = set()
        asked = []
        rows = self.con.execute(sql("late_other_side")).fetchall()
        for number, (relation, *row, decides) in enumerate(rows):
            *_, exhaustive, archive_file = row
            if decides:
                late.add(_Name(relation, row[0]))
            elif exhaustive and self.archive.has(archive_file):
                asked.append((number, *row))
        shown = shown_on_other_side(self.con, self.archive, self.rows, asked) if asked else set()
        return late | {_Name(*rows[a[0]][:2]) for a in asked if (a[0], a[2]) not in shown}

    def _forget_old_rules(self) -> None:
        """Restart all series if an older version of the rules derived them."""
        con = self.con
        made_by = con.execute("SELECT max(rules) FROM internal.warehouse_format").fetchall()[0][0]
        if made_by == RULES:
            return
        names = con.execute("SELECT DISTINCT relation, handle FROM internal.comparisons").fetchall()
        if names:
            _log.info("The rules of proof are new: deriving %d lists again", len(names))
            self._forget({_Name(*name) for name in names})
            self.done.replayed = 0
            con.execute("DELETE FROM internal.stored_profiles")
        con.execute("UPDATE internal.warehouse_format SET rules = ?", [RULES])

    def _chunks(self, names: set[_Name]) -> Iterator[list[Snapshot]]:
        """Snapshots without a comparison, in chunks of some series and some days."""
        waiting = self._waiting(names)
        total, done = len(waiting), 0
        for group in _groups(waiting):
            chunk: list[Snapshot] = []
            accounts = 0
            by_day: dict[date, list[Snapshot]] = {}
            for snapshot in group:
                by_day.setdefault(snapshot.snapshot_date, []).append(snapshot)
            for day in sorted(by_day):
                own = sum(snapshot.listed for snapshot in by_day[day])
                if chunk and accounts + own > ACCOUNTS_OF_MANY_DAYS:
                    yield chunk
                    done += len(chunk)
                    if total > 200:
                        _log.info("Compared %d of %d lists", done, total)
                    chunk, accounts = [], 0
                chunk += by_day[day]
                accounts += own
            if chunk:
                yield chunk
                done += len(chunk)

    def _waiting(self, names: set[_Name]) -> list[Snapshot]:
        rows = self.con.execute(sql("waiting")).fetchall()
        has_file: dict[str, bool] = {}
        waiting = []
        for *values, archive_file in rows:
            path = self.archive.archive / archive_file
            snapshot = Snapshot._make([*values, str(path), archive_file])
            if _Name(snapshot.relation, snapshot.handle) not in names:
                continue
            # A file holds the lists of a batch, so check each file once.
            if archive_file not in has_file:
                has_file[archive_file] = self.archive.has(archive_file)
            if not has_file[archive_file]:
                raise ArchiveIncomplete(
                    f"{path} with {snapshot.handle} {snapshot.relation} of "
                    f"{snapshot.snapshot_date} is missing; restore it from a backup, or run "
                    "`sf-assets rebuild` to continue without it"
                )
            waiting.append(snapshot)
        return waiting

    def _advance(self, snapshots: list[Snapshot]) -> set[_Name]:
        """Compare each snapshot with the one before it; returns the series to restart."""
        if not snapshots:
            return set()
        chunk = Chunk(self.con, self.archive, snapshots, self.rows, self.continued)
        restart = {_Name(*name) for name in chunk.read()}
        self._forget(restart)
        chunk.drop(restart)
        chunk.compare()
        chunk.write()
        for snapshot in snapshots:
            self.done.snapshots += 1
            self.done.days.setdefault(snapshot.relation, set()).add(snapshot.snapshot_date)
        return restart

    def _forget(self, names: set[_Name]) -> None:
        if not names:
            return
        self.done.replayed += len(names)
        relations, handles = zip(*sorted(names), strict=True)
        put_table(self.con, "forgotten", pa.table({"relation": relations, "handle": handles}))
        run_sql(self.con, "derive_forget")


def _groups(snapshots: Sequence[Snapshot]) -> list[list[Snapshot]]:
    """Groups of series to compare together: about ACCOUNTS_AT_A_TIME accounts per day."""
    size: dict[_Name, int] = {}
    for snapshot in snapshots:
        name = _Name(snapshot.relation, snapshot.handle)
        size[name] = max(size.get(name, 0), snapshot.listed)
    group_of: dict[_Name, int] = {}
    number = accounts = 0
    for name in sorted(size):
        if accounts and accounts + size[name] > ACCOUNTS_AT_A_TIME:
            number, accounts = number + 1, 0
        accounts += size[name]
        group_of[name] = number
    groups: list[list[Snapshot]] = [[] for _ in range(number + 1)]
    for snapshot in snapshots:
        groups[group_of[_Name(snapshot.relation, snapshot.handle)]].append(snapshot)
    return groups
