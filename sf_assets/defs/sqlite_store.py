"""Dagster's own SQLite storage with open files and smaller run files, to make events cheaper.

Dagster opens and closes a file for each event. Closing the last connection to a file empties its
log, and every new engine compiles its statements again: that is most of the cost of an event. An
empty run file takes 110 kB, because each table and index has a page of its own.

`dagster.yaml` of the home names this class. The file format is Dagster's own: Dagster reads and
writes the files without this class and with any version of it.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dagster._core.storage.event_log import SqliteEventLogStorage  # noqa: PLC2701
from dagster._core.storage.runs import SqliteRunStorage  # noqa: PLC2701
from dagster._core.storage.schedules import SqliteScheduleStorage  # noqa: PLC2701
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage  # noqa: PLC2701
from dagster._serdes import ConfigurableClassData

#: Files to keep open: the index and the newest runs.
OPEN_FILES = 4
#: SQLite's page size in a run file. Its 27 tables and indexes hold little or nothing.
PAGE_BYTES = 512
_BUSY_SECONDS = 30


class _Engines:
    """The engines of the files used last, each with one open connection."""

    def __init__(self) -> None:
        self._engines: OrderedDict[str, tuple[sa.Engine, tuple[int, int]]] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def transaction(self, address: str) -> Iterator[sa.Connection]:
        with self._of(address).connect() as con, con.begin():
            yield con

    def dispose(self) -> None:
        with self._lock:
            while self._engines:
                self._engines.popitem()[1][0].dispose()

    def _of(self, address: str) -> sa.Engine:
        path = address.removeprefix("sqlite:///")
        with self._lock:
            engine, file = self._engines.pop(address, (None, None))
            if engine is not None and file != _file_at(path):  # removed or replaced
                engine.dispose()
                engine = None
            if engine is None:
                engine = sa.create_engine(
                    address,
                    poolclass=sa.QueuePool,
                    pool_size=1,
                    max_overflow=-1,
                    connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
                )
                sa.event.listen(engine, "connect", _no_wait_for_the_disk)
                engine.connect().close()
            self._engines[address] = engine, _file_at(path)
            while len(self._engines) > OPEN_FILES:
                self._engines.popitem(last=False)[1][0].dispose()
            return engine


def _changes(con: sa.Connection) -> int:
    """The number of rows that a connection has changed so far."""
    driver: sqlite3.Connection = con.connection.driver_connection  # type: ignore[assignment]
    return driver.total_changes


def _file_at(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return 0, 0
    return status.st_dev, status.st_ino


def _no_wait_for_the_disk(connection: sqlite3.Connection, _: object) -> None:
    # A power cut may lose the last events and damages nothing: the landing and the warehouse hold
    # what was bought.
    connection.execute("PRAGMA synchronous = NORMAL")


class OpenEventLog(SqliteEventLogStorage):
    """The event log: a file per run, and an index with the events of all assets."""

    def __init__(self, base_dir: str) -> None:
        self._engines, self._one_at_a_time = _Engines(), threading.Lock()
        self._seen: set[str] = set()
        super().__init__(base_dir)

    @contextmanager
    def run_connection(self, run_id: str | None = None) -> Iterator[sa.Connection]:
        """A transaction on the file of a run, which is created if missing."""
        shard = run_id or ""
        # Dagster's own class also allows one thread at a time.
        with self._one_at_a_time:
            if shard not in self._seen:
                if Path(self.path_for_shard(shard)).exists() or not self._make(shard):
                    with super().run_connection(shard):
                        pass  # creates missing tables
                self._seen.add(shard)
            with self._engines.transaction(self.conn_string_for_shard(shard)) as con:
                before = _changes(con)
                yield con
                changed = _changes(con) > before
            if changed:
                # The UI watches the run file, but SQLite writes to the log beside it.
                with suppress(FileNotFoundError):
                    os.utime(self.path_for_shard(shard))

    def index_connection(self) -> AbstractContextManager[sa.Connection]:
        """A transaction on the index."""
        return self.run_connection("index")

    def _make(self, shard: str) -> bool:
        """Create a run file with the tables of the index, atomically; returns whether it did."""
        target = Path(self.path_for_shard(shard))
        with closing(sqlite3.connect(self.path_for_shard("index"))) as index:
            tables = [
                text
                for (text,) in index.execute(
                    "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL "
                    "AND name NOT LIKE 'sqlite_%' ORDER BY type DESC"
                )
            ]
            version = index.execute("SELECT version_num FROM alembic_version").fetchall()
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        partial.unlink(missing_ok=True)
        with closing(sqlite3.connect(partial, isolation_level=None)) as con:
            con.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            con.execute("PRAGMA journal_mode = WAL")
            con.execute("BEGIN")
            for text in tables:
                con.execute(text)
            con.executemany("INSERT INTO alembic_version VALUES (?)", version)
            con.execute("COMMIT")
        try:
            os.link(partial, target)
        except OSError:
            return False  # another process was faster, or this file system has no links
        finally:
            partial.unlink()
        return True

    def wipe(self) -> None:
        """Close all files and delete all events."""
        self._engines.dispose()
        self._seen.clear()
        super().wipe()

    def dispose(self) -> None:
        """Close all files."""
        self._engines.dispose()
        super().dispose()


class _OneFile:
    """Storage in one file with a connection that stays open."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._address, self._engines = conn_string, _Engines()
        super().__init__(conn_string, inst_data)  # type: ignore[call-arg]

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        with self._engines.transaction(self._address) as con:
            yield con

    def dispose(self) -> None:
        self._engines.dispose()


class OpenRuns(_OneFile, SqliteRunStorage):
    """The run storage."""


class OpenSchedules(_OneFile, SqliteScheduleStorage):
    """The storage of schedules, sensors and their ticks."""


class OpenSqliteStorage(DagsterSqliteStorage):
    """All of Dagster's storage below `base_dir`, in the same files as Dagster's own class."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self.base_dir = base_dir
        self._run_storage = OpenRuns.from_local(os.path.join(base_dir, "history", ""))
        self._event_log_storage = OpenEventLog(os.path.join(base_dir, "history", "runs", ""))
        self._schedule_storage = OpenSchedules.from_local(os.path.join(base_dir, "schedules"))
        self._inst_data = inst_data
        super(DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call]

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> OpenSqliteStorage:
        """Create the storage from `dagster.yaml`, as Dagster calls it."""
        return cls.from_local(inst_data=inst_data, **config_value)
