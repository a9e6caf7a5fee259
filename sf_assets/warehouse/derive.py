"""From snapshots to memberships, churn, growth and status changes.

What is derived of a series (one relation of one handle) is a function of its usable snapshots in
order of their days, and of the ids that the lists of the home show, whatever the order in which
they arrived: a snapshot that follows the last one derived is compared with it; anything else (a day
loaded late or again) replays the series from the archive. Lists are read and results are written
set-based, for many series and days at a time; in between `compare` takes one list after the other.
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

# So many accounts are compared at a time; bounds the memory.
ACCOUNTS_AT_A_TIME = 500_000
# Lists of many days are compared so many accounts at a time, or a day's where that is more.
ACCOUNTS_OF_MANY_DAYS = 50_000

_log = logging.getLogger("sf_assets.warehouse")


class ArchiveIncomplete(SfAssetsError):
    """A file of the archive that `snapshots` names is not there."""


class _Name(NamedTuple):
    relation: str
    handle: str


@dataclass
class Derived:
    """What a derivation did: days whose churn, growth or status may have changed, by relation."""

    days: dict[str, set[date]] = field(default_factory=dict)
    handles: set[str] = field(default_factory=set)
    snapshots: int = 0
    replayed: int = 0

    def all_days(self) -> list[date]:
        return sorted(set().union(*self.days.values()) if self.days else set())


def derive(con: duckdb.DuckDBPyConnection, archive: Path) -> Derived:
    """Bring everything derived up to what is loaded, in one transaction.

    `con` is the warehouse, open for writing. Raises ArchiveIncomplete; nothing is changed then.
    """
    enough = _memory(con)
    for limit in (f"{enough}MB", f"{4 * enough}MB"):
        con.execute("SET memory_limit = ?", [limit])
        try:
            return committed(con, "derive", lambda: derive_within(con, archive))
        except duckdb.OutOfMemoryException:
            continue  # not everything can be spilled
    # RESET would show the default again and not lift the limit.
    con.execute("SET memory_limit = '80%'")
    return committed(con, "derive", lambda: derive_within(con, archive))


def _memory(con: duckdb.DuckDBPyConnection) -> int:
    """Megabytes that DuckDB may hold before it spills to the disk; by itself it takes all it gets.

    A day's lists need about 400 bytes an account, those of many days that are compared at a time
    600 (measured on lists of 5,000 and of 200,000, and on 365 days of 2,000), and are hardly
    quicker with more.
    """
    size = con.execute(sql("waiting_size"), [ACCOUNTS_AT_A_TIME]).fetchall()[0][0]
    return 48 + max(int(size) * 400, ACCOUNTS_OF_MANY_DAYS * 600) // 1_000_000


def derive_within(con: duckdb.DuckDBPyConnection, archive: Path) -> Derived:
    """The same within a transaction that is the caller's."""
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
            # An id told that two accounts of these are one.
            done.handles |= {name.handle for name in restart}
            todo = restart
        put_table(con, "touched", pa.table({"handle": pa.array(sorted(done.handles))}))
        run_sql(con, "growth")
        count_profiles(con, self.rows, self.archive)
        run_sql(con, "status_changes")
        run_sql(con, "drop_unseen_profiles")
        # What is committed is for people at once: from a lake directly, of a file in the same run.
        con.execute("UPDATE internal.warehouse_format SET published_at = now()")
        return done

    def _read_decisions(self) -> None:
        """Which breaks were none, as handles.yaml says; series of which it said otherwise begin
        again."""
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
        """Series that were derived before a list on the other side which decides about them."""
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
        """Derive everything anew where it was made by rules of an older version."""
        con = self.con
        made_by = con.execute("SELECT max(rules) FROM internal.warehouse_format").fetchall()[0][0]
        if made_by == RULES:
            return
        names = con.execute("SELECT DISTINCT relation, handle FROM internal.comparisons").fetchall()
        if names:
            _log.info("new rules of proof: %d lists are derived anew from the archive", len(names))
            self._forget({_Name(*name) for name in names})
            self.done.replayed = 0
            con.execute("DELETE FROM internal.stored_profiles")
        con.execute("UPDATE internal.warehouse_format SET rules = ?", [RULES])

    def _chunks(self, names: set[_Name]) -> Iterator[list[Snapshot]]:
        """Snapshots without a comparison: some series at a time, of these some days at a time."""
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
                        _log.info("%d of %d lists compared", done, total)
                    chunk, accounts = [], 0
                chunk += by_day[day]
                accounts += own
            if chunk:
                yield chunk
                done += len(chunk)

    def _waiting(self, names: set[_Name]) -> list[Snapshot]:
        rows = self.con.execute(sql("waiting")).fetchall()
        there: dict[str, bool] = {}
        waiting = []
        for *values, archive_file in rows:
            path = self.archive.archive / archive_file
            snapshot = Snapshot._make([*values, str(path), archive_file])
            if _Name(snapshot.relation, snapshot.handle) not in names:
                continue
            # A file holds the lists of a batch: each is asked for once.
            if archive_file not in there:
                there[archive_file] = self.archive.has(archive_file)
            if not there[archive_file]:
                raise ArchiveIncomplete(
                    f"{path} is missing, which holds {snapshot.handle} {snapshot.relation} of "
                    f"{snapshot.snapshot_date}; restore it from a backup, or run "
                    "`sf-assets rebuild` to go on without it"
                )
            waiting.append(snapshot)
        return waiting

    def _advance(self, snapshots: list[Snapshot]) -> set[_Name]:
        """Compare each snapshot with the one before it; returns series to be started anew."""
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
    """Series that are compared together: about ACCOUNTS_AT_A_TIME accounts on a day."""
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
