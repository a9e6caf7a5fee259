"""Compares archive, landing, warehouse and published file with each other; changes nothing.

It reads a copy of the warehouse, so that a running pipeline is hardly disturbed.
"""

from __future__ import annotations

import filecmp
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from sf_assets.errors import SettingsError, SfAssetsError
from sf_assets.model import SnapshotKey
from sf_assets.storage.home import Home
from sf_assets.storage.landings import landing_of
from sf_assets.storage.records import Landed, LandingDamaged
from sf_assets.text import first_line
from sf_assets.warehouse.archive import SnapshotRow, accounts_in, snapshots_in, write_batch
from sf_assets.warehouse.archive_names import all_files, name_of
from sf_assets.warehouse.archive_reader import ArchiveReader
from sf_assets.warehouse.connection import DEFAULT_WAIT_SECONDS, locked, reading, writing
from sf_assets.warehouse.derive import derive
from sf_assets.warehouse.lake import use_s3
from sf_assets.warehouse.ledger import LedgerDamaged, archived_attempts, paid_for, without_evidence
from sf_assets.warehouse.load import loaded_rows, record
from sf_assets.warehouse.publish import unshared
from sf_assets.warehouse.schema import LOADED, TABLES, WAREHOUSE_FORMAT, fingerprint
from sf_assets.warehouse.statements import in_memory, sql

# Landed lists to archive again for a comparison, and lists of days to query.
LANDED_SAMPLE = 10
LISTS_SAMPLE = 50
# The share of accounts that may be merged, because two entries of a list were the same person.
SAME_PEOPLE = 0.005


@dataclass
class Finding:
    """The result of a check; it passed without `problems`."""

    check: str
    says: str
    problems: list[str] = field(default_factory=list)


def verify(
    home: Home,
    tell: Callable[[Finding], None] = lambda _: None,
    *,
    full: bool = False,
    wait_seconds: float = DEFAULT_WAIT_SECONDS,
) -> list[Finding]:
    """Check a home and call `tell` with each finding. Changes nothing.

    `full` derives everything again in a temporary folder and compares all tables, unless a check
    failed already; that takes as long as a rebuild. Raises SettingsError without a home, and
    WarehouseBusy.
    """
    if not home.marker.exists():
        raise SettingsError(f"{home} is not a home: there is nothing to verify")
    findings: list[Finding] = []

    def say(finding: Finding) -> None:
        findings.append(finding)
        tell(finding)

    with tempfile.TemporaryDirectory() as name:
        look = _Checks(home, Path(name), wait_seconds)
        say(look.archive())
        say(look.landing())
        if home.lake is None and not home.published.is_symlink() and not look.copy.exists():
            say(Finding("warehouse", "nothing is loaded yet"))
            return findings
        try:
            with look.warehouse_open() as con:
                say(look.tables(con))
                if not findings[-1].problems:
                    for check in (look.snapshots, look.published, look.lists):
                        say(check(con))
                    if full and not any(one.problems for one in findings):
                        say(look.derived(con))
        except (duckdb.Error, FileNotFoundError) as error:
            reason = first_line(error)
            problem = f"{home.writable} cannot be read ({reason}): run sf-assets rebuild"
            say(Finding("warehouse", "", [problem]))
    return findings


class _Checks:
    """The checks of a home, with the data they share."""

    def __init__(self, home: Home, scratch: Path, wait_seconds: float) -> None:
        self.home, self.scratch, self.wait_seconds = home, scratch, wait_seconds
        self.copy = scratch / "warehouse" / home.warehouse.name
        # The published file at the time of the copy; None if it is equal to the warehouse.
        self.published_copy: Path | None = scratch / "published.duckdb"
        # Copied first, so that the archive, which is read later, has all its files.
        if home.lake is None and home.warehouse.exists():
            self._copy_files()
        self.archived: dict[str, list[SnapshotRow]] = {}
        self.unreadable: set[str] = set()
        self.accounts: dict[tuple[SnapshotKey, int], tuple[int, int]] = {}
        self.landed: dict[SnapshotKey, Landed] = {}

    def _copy_files(self) -> None:
        work = self.home.warehouse
        self.copy.parent.mkdir()
        may_lock = _is_writable(work.parent)
        with locked(work, self.wait_seconds) if may_lock else nullcontext(), unshared(work) as file:
            with self.copy.open("wb") as copy:
                shutil.copyfileobj(file, copy, 1 << 20)
            for log in work.parent.glob(f"{work.name}.wal*"):  # left by a killed process
                shutil.copyfile(log, self.copy.with_name(log.name))
            published = self.home.published
            if published.exists():
                assert self.published_copy is not None
                if filecmp.cmp(published, self.copy, shallow=False):
                    self.published_copy = None
                else:
                    shutil.copyfile(published, self.published_copy)

    @contextmanager
    def warehouse_open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Open the copy of the warehouse, or the lake."""
        if self.home.lake is not None:
            with reading(self.home.lake) as con:
                yield con
            return
        if not self.copy.exists():
            raise FileNotFoundError("the file is missing")
        with duckdb.connect(str(self.copy)) as con:
            con.execute("SET TimeZone = 'UTC'")
            yield con

    def archive(self) -> Finding:
        """Every file is readable and has the number of accounts in its metadata."""
        found = Finding("archive", "")
        root = self.home.archive
        with in_memory() as con:
            use_s3(con, root)
            reader = ArchiveReader(root)
            for path in all_files(root):
                try:
                    rows, accounts = snapshots_in(path), accounts_in(con, path, reader)
                except SfAssetsError as error:
                    if not path.exists() and reader.has(name_of(path)):
                        continue  # packed meanwhile
                    if str(error) not in found.problems:  # files may share a base
                        found.problems.append(str(error))
                    self.unreadable.add(name_of(path))
                    continue
                if rows:
                    self.archived[name_of(path)] = rows
                for row in rows:
                    listed = accounts.get((row.key, row.attempt), (0, 0))[0]
                    if row.lookup_status == "found" and listed != row.listed:
                        found.problems.append(
                            f"{path}: {row.key} has {listed} accounts instead of {row.listed}; "
                            "restore the file from a backup"
                        )
                self.accounts |= accounts
        found.says = (
            f"{len(self.archived)} files, {sum(map(len, self.archived.values()))} snapshots, "
            f"{sum(count for count, _ in self.accounts.values())} accounts"
        )
        return found

    def landing(self) -> Finding:
        """Every line matches its checksum, and a sample of lists matches the archive."""
        found = Finding("landing", "")
        landing = landing_of(self.home)
        for day in landing.days():
            for key, landed in landing.read_each(landing.keys(day)):
                if isinstance(landed, LandingDamaged):
                    found.problems.append(str(landed))
                elif landed is not None:
                    self.landed[key] = landed
        versions = {
            (row.key, row.version) for rows in self.archived.values() for row in rows
        }  # lists that continued since are archived with their next load
        both = [
            one
            for key, one in self.landed.items()
            if (best := one.to_load) and (key, (best.number, best.pages)) in versions
        ]
        sample = random.sample(both, min(LANDED_SAMPLE, len(both)))
        with in_memory() as con:
            for landed in sample:
                best = landed.to_load
                assert best is not None
                (row,) = write_batch(self.scratch / "archive", [landed])
                name = (row.key, row.attempt)
                made = self.scratch / "archive"
                fresh = accounts_in(con, made / row.archive_file, ArchiveReader(made))
                if fresh.get(name) != self.accounts.get(name):
                    found.problems.append(
                        f"{row.key}: the archive differs from the landed pages in {landed.path}"
                    )
        found.says = f"{len(self.landed)} lists, {len(sample)} compared with the archive"
        return found

    def tables(self, con: duckdb.DuckDBPyConnection) -> Finding:
        """The warehouse has the current format, and every block of every table is readable."""
        found = Finding("warehouse", "")
        ((made_as,),) = con.execute("SELECT max(format) FROM internal.warehouse_format").fetchall()
        if made_as != WAREHOUSE_FORMAT:
            remedy = (
                "upgrade sf_assets" if made_as > WAREHOUSE_FORMAT else "the next run upgrades it"
            )
            found.problems.append(
                f"{self.home.writable} has format {made_as}, this sf_assets {WAREHOUSE_FORMAT}: "
                + remedy
            )
            return found
        rows = sum(fingerprint(con, table, table)[0] for table in TABLES)
        found.says = f"{len(TABLES)} tables, {rows} rows"
        return found

    def snapshots(self, con: duckdb.DuckDBPyConnection) -> Finding:
        """Loaded and archived snapshots are the same."""
        found = Finding("snapshots", "")
        loaded = {row.key: row for row in _all_rows(con)}
        known = {row for rows in self.archived.values() for row in rows}
        shows_everyone = {
            SnapshotKey(*key): exhaustive
            for *key, exhaustive in con.execute(
                "SELECT snapshot_date, handle, relation, exhaustive FROM internal.snapshots"
            ).fetchall()
        }
        found.problems += [
            f"{key}: the archive file {row.archive_file} differs from the warehouse"
            for key, row in loaded.items()
            if (row not in known or row.exhaustive is not shows_everyone[key])
            and row.archive_file not in self.unreadable
        ]
        waiting = set()
        for rows in self.archived.values():
            for row in rows:
                row_loaded = loaded.get(row.key)
                if row_loaded is not None and row_loaded.version >= row.version:
                    continue
                landed = self.landed.get(row.key)
                if landed is not None and landed.to_load is not None:
                    waiting.add(row.key)  # archived just now, or by a run that was killed then
                else:
                    found.problems.append(
                        f"{row.key} is in {row.archive_file} and not in the warehouse: run "
                        "sf-assets rebuild"
                    )
        found.says = f"{len(loaded)} loaded; the archive has all of them and their costs"
        if waiting:
            found.says += f"; {len(waiting)} landed and not loaded yet"
        paid = {
            tuple(name): credits
            for *name, credits in con.execute(
                "SELECT relation, handle, snapshot_date, attempt, credits FROM credit_ledger"
            ).fetchall()
        }
        evidence = [
            one for landed in self.landed.values() for one in paid_for(landed.key, landed.attempts)
        ]
        try:
            found.problems += [
                f"{name}: its cost differs from the archive: run sf-assets rebuild"
                for name in without_evidence(con, self.home.archive, evidence)
            ]
        except LedgerDamaged as error:
            found.problems += [] if self.unreadable else [str(error)]
        with suppress(LedgerDamaged):  # reported above
            for one in archived_attempts(self.home.archive):
                key = SnapshotKey(one.snapshot_date, one.handle, one.relation)
                if key not in waiting and paid.get(one.name, -1) < one.credits:
                    found.problems.append(f"{key}: its {one.credits} credits are not in the ledger")
        return found

    def published(self, con: duckdb.DuckDBPyConnection) -> Finding:
        """The published file equals the warehouse, now or before the last load."""
        found = Finding("published", "")
        if self.home.lake is not None:
            found.says = "a lake needs no publication"
        elif self.published_copy is None:
            found.says = "equal to the warehouse, byte for byte"
        elif not self.published_copy.exists():
            found.says = "not published yet; the next run publishes it"
        else:
            try:
                with duckdb.connect(str(self.published_copy), read_only=True) as other:
                    self._compare(found, con, other)
            except duckdb.Error as error:
                found.problems.append(
                    f"{self.home.published} cannot be read ({first_line(error)}): the next "
                    "snapshot publishes it again"
                )
        return found

    @staticmethod
    def _compare(
        found: Finding, con: duckdb.DuckDBPyConnection, other: duckdb.DuckDBPyConnection
    ) -> None:
        other.execute("SET TimeZone = 'UTC'")
        differ = [
            table for table in TABLES
            if fingerprint(other, table, table) != fingerprint(con, table, table)
        ]  # fmt: skip
        if not differ:
            found.says = "equal to the warehouse in all tables"
            return
        loaded = {row.key: row.version for row in _all_rows(con)}
        unknown = [row.key for row in _all_rows(other) if loaded.get(row.key, (0, 0)) < row.version]
        found.problems += [f"{key} is published and not in the warehouse" for key in unknown]
        found.says = f"older than the warehouse ({', '.join(differ)}); the next run updates it"

    def lists(self, con: duckdb.DuckDBPyConnection) -> Finding:
        """A sample of queried lists has as many accounts as in the archive."""
        found = Finding("lists", "")
        sample = con.execute(sql("lists_sample"), [LISTS_SAMPLE]).fetchall()
        for relation, handle, day, listed in sample:
            ((shown,),) = con.execute(
                f"SELECT count(*) FILTER (NOT healed) FROM {relation}_on(?, ?)", [handle, day]
            ).fetchall()
            if not listed - max(2, SAME_PEOPLE * listed) <= shown <= listed:
                found.problems.append(
                    f"{handle} {relation} {day}: {shown} accounts instead of {listed}: run "
                    "sf-assets rebuild"
                )
        found.says = f"{len(sample)} queried, with as many accounts as in the archive"
        return found

    def derived(self, con: duckdb.DuckDBPyConnection) -> Finding:
        """The derived tables equal those derived again from the loaded snapshots."""
        found = Finding("derived", "")
        ((waiting,),) = con.execute("SELECT count(*) FROM internal.waiting").fetchall()
        if waiting:
            found.says = f"not compared: {waiting} snapshots are not derived yet"
            return found
        tables = [table for table in TABLES if table not in LOADED]
        with writing(self.scratch / "anew" / "warehouse.duckdb") as anew:
            use_s3(anew, self.home.archive)
            record(anew, _all_rows(con))
            # The archive does not have the breaks in handles.yaml.
            anew.register("stored", con.sql("FROM main.handles").to_arrow_table())
            anew.execute("INSERT INTO main.handles BY NAME FROM stored")
            derive(anew, self.home.archive)
            found.problems = [
                f"{table} differs from the archive: run sf-assets rebuild"
                for table in tables
                if fingerprint(anew, table, table) != fingerprint(con, table, table)
            ]
        found.says = f"{len(tables)} tables, equal to those derived from the archive"
        return found


def _all_rows(con: duckdb.DuckDBPyConnection) -> list[SnapshotRow]:
    keys = con.execute("SELECT snapshot_date, handle, relation FROM internal.snapshots").fetchall()
    return loaded_rows(con, [SnapshotKey(*key) for key in keys])


def _is_writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False  # a backup on a read-only disk, which has no writers
