"""Running SQL: the files in `warehouse/sql`, and transactions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import duckdb

from sf_assets.fault_injection import crash_point

if TYPE_CHECKING:
    import pyarrow as pa  # not needed to read SQL, and slow to load

# By itself DuckDB 2 writes files that no DuckDB 1.5 reads; this is what both read and write.
STORAGE_VERSION = "v1.5.0"
# Below so many bytes of rows DuckDB's memory is left to itself.
SMALL_ROWS = 8_000_000


@cache
def sql(name: str) -> str:
    """The text of a file in `warehouse/sql`, by its name without `.sql`."""
    return (resources.files(__package__) / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def run_sql(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Run the statements of a file in `warehouse/sql`."""
    con.execute(sql(name))


def quoted(text: object, mark: str = "'") -> str:
    """The text as SQL has it: between quotes, those within it doubled."""
    return f"{mark}{str(text).replace(mark, mark * 2)}{mark}"


def put_table(con: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> None:
    """A temp table from Arrow; a mere registration would not survive in a transaction."""
    con.register(f"{name}_arrow", table)
    con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM {name}_arrow")
    con.unregister(f"{name}_arrow")


def settle(con: duckdb.DuckDBPyConnection) -> None:
    """Have DuckDB give back memory that it does not use, which it would keep for a second."""
    # It looks at that where it makes room for more, if the setting says so.
    flush = "SET allocator_bulk_deallocation_flush_threshold = "
    con.execute(f"{flush}'0B'")
    con.execute("SELECT count(DISTINCT range) FROM range(10)").fetchall()
    con.execute(f"{flush}'512MiB'")


class Rows:
    """Tables of Arrow's that SQL reads by their names, each exchanged as often as wanted.

    Unlike temp tables: DuckDB keeps what is dropped or replaced until the transaction ends.
    """

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self._con = con
        self._slots: dict[str, _Slot] = {}

    def put(self, name: str, table: pa.Table) -> None:
        """Show these rows from now on; always the same columns under the same name."""
        if name in self._slots:
            self._slots[name].table = table
        else:
            self._slots[name] = _Slot(table)
            self._con.register(name, self._slots[name])

    def query(self, name: str, query: str) -> None:
        """The same with what a query of `warehouse/sql` finds."""
        self.put(name, self._con.sql(sql(query)).to_arrow_table())
        if sum(slot.table.nbytes for slot in self._slots.values()) > SMALL_ROWS:
            settle(self._con)

    def narrow(self, name: str, source: str, columns: list[str]) -> None:
        """Show some columns of what another name shows, and there nothing any more."""
        self.put(name, self._slots[source].table.select(columns))
        self.empty(source)

    def empty(self, *names: str) -> None:
        """Hold no rows any more, of these names or of all."""
        for name in names or self._slots:
            self._slots[name].table = self._slots[name].table.schema.empty_table()


class _Slot:
    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


@contextmanager
def transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """BEGIN … COMMIT; ROLLBACK where anything is raised inside."""
    con.execute("BEGIN TRANSACTION")
    try:
        yield
    except BaseException:
        con.execute("ROLLBACK")
        raise
    crash_point("committing")
    con.execute("COMMIT")
    crash_point("committed")
