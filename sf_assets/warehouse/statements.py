"""Runs the SQL files in `warehouse/sql`, and transactions."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from sf_assets.fault_injection import crash_point

if TYPE_CHECKING:
    import pyarrow as pa  # not needed to read SQL, and slow to load

# By default DuckDB 2 writes files that DuckDB 1.5 cannot read. Both read and write this version.
STORAGE_VERSION = "v1.5.0"
# Below so many bytes of rows DuckDB's memory is left to itself.
SMALL_ROWS = 8_000_000


@cache
def sql(name: str) -> str:
    """The text of a file in `warehouse/sql`, by its name without `.sql`."""
    return (resources.files(__package__) / "sql" / f"{name}.sql").read_text(encoding="utf-8")


@cache
def all_sql() -> str:
    """The texts of all files in `warehouse/sql`, of which a warehouse holds some."""
    folder = resources.files(__package__) / "sql"
    return "\n".join(file.read_text(encoding="utf-8") for file in folder.iterdir())


def run_sql(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Run the statements of a file in `warehouse/sql`."""
    con.execute(sql(name))


def quoted(text: object, mark: str = "'") -> str:
    """The text as an SQL literal, or as an identifier with `mark='"'`."""
    return f"{mark}{str(text).replace(mark, mark * 2)}{mark}"


def in_memory() -> duckdb.DuckDBPyConnection:
    """An in-memory database. What does not fit goes to a folder of its own, which exists only then:
    by default all processes that were started in a folder share its `.tmp`, and damage it."""
    con = duckdb.connect(":memory:")
    spill = Path(tempfile.gettempdir(), f"sf_assets-{uuid.uuid4().hex}")
    con.execute("SET temp_directory = ?", [str(spill)])
    return con


def put_table(con: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    """Create a temp table from Arrow. A registered table would not survive in a transaction."""
    con.register(f"{name}_arrow", table)
    con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM {name}_arrow")
    con.unregister(f"{name}_arrow")


def release_memory(con: duckdb.DuckDBPyConnection) -> None:
    """Make DuckDB release unused memory, which it would keep for a second."""
    # With this setting it does so when it allocates more.
    flush = "SET allocator_bulk_deallocation_flush_threshold = "
    con.execute(f"{flush}'0B'")
    con.execute("SELECT count(DISTINCT range) FROM range(10)").fetchall()
    con.execute(f"{flush}'512MiB'")


class Rows:
    """Arrow tables that SQL reads by name and that can be replaced.

    Replaced temp tables would stay in DuckDB's memory until the transaction ends.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        self._slots: dict[str, _Slot] = {}

    def put(self, name: str, table: pa.Table) -> None:
        """Set the rows of a table. A name must always have the same columns."""
        if name in self._slots:
            self._slots[name].table = table
        else:
            self._slots[name] = _Slot(table)
            self._con.register(name, self._slots[name])

    def query(self, name: str, query: str) -> None:
        """Set the rows of a table to the result of a file in `warehouse/sql`."""
        self.put(name, self._con.sql(sql(query)).to_arrow_table())
        if sum(slot.table.nbytes for slot in self._slots.values()) > SMALL_ROWS:
            release_memory(self._con)

    def narrow(self, name: str, source: str, columns: list[str]) -> None:
        """Move some columns of the rows of `source` to `name`; `source` is empty then."""
        self.put(name, self._slots[source].table.select(columns))
        self.empty(source)

    def empty(self, *names: str) -> None:
        """Drop the rows of these names, or of all."""
        for name in names or self._slots:
            self._slots[name].table = self._slots[name].table.schema.empty_table()


class _Slot:
    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


@contextmanager
def transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Run the block in a transaction: COMMIT at the end, ROLLBACK on an exception."""
    con.execute("BEGIN TRANSACTION")
    try:
        yield
    except BaseException:
        con.execute("ROLLBACK")
        raise
    crash_point("committing")
    con.execute("COMMIT")
    crash_point("committed")
