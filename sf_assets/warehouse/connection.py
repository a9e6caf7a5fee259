"""Opening the warehouse: one writer at a time, waiting with jitter, always closed.

DuckDB lets one process write and then shuts out even readers of that file. So our writers queue on
a lock file of their own, hold it for seconds, and people read published copies instead.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from pathlib import Path

import duckdb
import portalocker

from sf_assets.settings import SfAssetsError

WAREHOUSE_FORMAT = 1
DEFAULT_WAIT_SECONDS = 600.0


class WarehouseBusy(SfAssetsError):
    """Another process holds the warehouse for writing longer than we wait."""


class WarehouseUnreadable(SfAssetsError):
    """The warehouse file is damaged, or of a format this version does not know."""


@cache
def sql(name: str) -> str:
    """The text of a file in `warehouse/sql`, by its name without `.sql`."""
    return (resources.files(__package__) / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def run_sql(con: duckdb.DuckDBPyConnection, name: str) -> None:
    """Run the statements of a file in `warehouse/sql`."""
    con.execute(sql(name))


@contextmanager
def writing(
    path: Path, wait_seconds: float = DEFAULT_WAIT_SECONDS
) -> Iterator[duckdb.DuckDBPyConnection]:
    """The warehouse open for writing, made on first use; closed and checkpointed at the end.

    Other writers of ours wait, up to `wait_seconds`, then WarehouseBusy names the holder.
    Raises WarehouseUnreadable for a damaged file or one of a newer format.
    """
    with locked(path, wait_seconds):
        con = _open(path, wait_seconds)
        try:
            _prepare(con, path)
            yield con
            # Without it a copy of the file lacks what is in the WAL, and rewritten days bloat it.
            con.execute("CHECKPOINT")
        finally:
            con.close()


@contextmanager
def locked(path: Path, wait_seconds: float = DEFAULT_WAIT_SECONDS) -> Iterator[None]:
    """Hold the lock our writers and the publisher queue on."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock_path = path.with_suffix(".lock")
    deadline = time.monotonic() + wait_seconds
    with open(lock_path, "a+", encoding="ascii") as lock:
        while True:
            try:
                portalocker.lock(lock, portalocker.LOCK_EX | portalocker.LOCK_NB)
                break
            except (portalocker.LockException, portalocker.AlreadyLocked):
                if time.monotonic() > deadline:
                    lock.seek(0)
                    holder = lock.read().strip() or "unknown"
                    raise WarehouseBusy(
                        f"{path} is being written by process {holder} for more than "
                        f"{wait_seconds:.0f} s; landed pages are kept, run the day again later"
                    ) from None
                time.sleep(random.uniform(0.02, 0.2))
        try:
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield
        finally:
            portalocker.unlock(lock)


@contextmanager
def transaction(con: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """BEGIN … COMMIT; ROLLBACK where anything is raised inside."""
    con.execute("BEGIN TRANSACTION")
    try:
        yield
    except BaseException:
        con.execute("ROLLBACK")
        raise
    con.execute("COMMIT")


@contextmanager
def reading(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A published file, read-only. Raises FileNotFoundError where nothing is published yet."""
    if not path.exists():
        raise FileNotFoundError(path)
    # Resolved: the generation we open stays ours while the link moves on.
    con = duckdb.connect(str(path.resolve()), read_only=True)
    try:
        con.execute("SET TimeZone = 'UTC'")
        yield con
    finally:
        con.close()


def _open(path: Path, wait_seconds: float) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            return duckdb.connect(str(path))
        except duckdb.IOException as error:
            if "lock" not in str(error).lower():
                raise WarehouseUnreadable(
                    f"{path} cannot be opened ({_first_line(error)}). Landing and archive are "
                    "whole: move the file away and run `sf-assets rebuild`"
                ) from None
            if time.monotonic() > deadline:
                holder = re.search(r"PID (\d+)", str(error))
                raise WarehouseBusy(
                    f"{path} is held by process {holder.group(1) if holder else 'unknown'} for "
                    f"more than {wait_seconds:.0f} s (a tool that opened it for writing?); landed "
                    "pages are kept: close that tool, then run the day again"
                ) from None
            time.sleep(random.uniform(0.05, 0.5))
        except duckdb.Error as error:
            raise WarehouseUnreadable(
                f"{path} cannot be opened ({_first_line(error)}). Landing and archive are whole: "
                "move the file away and run `sf-assets rebuild`"
            ) from None


def _prepare(con: duckdb.DuckDBPyConnection, path: Path) -> None:
    con.execute("SET TimeZone = 'UTC'")
    # All order that matters is written down; keeping insertion order costs memory.
    con.execute("SET preserve_insertion_order = true")
    known = con.execute(
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'internal' "
        "AND table_name = 'warehouse_format'"
    ).fetchall()[0][0]
    found = (
        con.execute("SELECT max(format) FROM internal.warehouse_format").fetchall() if known else []
    )
    if found and found[0][0] is not None:
        made_as = int(found[0][0])
        if made_as > WAREHOUSE_FORMAT:
            raise WarehouseUnreadable(
                f"{path} has format {made_as}, made by a newer sf_assets; this one knows formats "
                f"up to {WAREHOUSE_FORMAT}. Upgrade sf_assets; nothing was changed"
            )
        return
    with transaction(con):
        run_sql(con, "schema")
        run_sql(con, "views")
        _comment_columns(con)
        con.execute("INSERT INTO internal.warehouse_format VALUES (?)", [WAREHOUSE_FORMAT])


def column_comments() -> dict[str, dict[str, str]]:
    """Table or view -> column -> what it means."""
    import yaml

    text = (resources.files(__package__) / "sql" / "columns.yaml").read_text(encoding="utf-8")
    comments = yaml.safe_load(text)
    return {
        name: columns
        if not name.startswith("follow") or "relation" not in columns
        else {key: value for key, value in columns.items() if key != "relation"}
        for name, columns in comments.items()
        if name != "churn"
    }


def _comment_columns(con: duckdb.DuckDBPyConnection) -> None:
    for name, columns in column_comments().items():
        for column, meaning in columns.items():
            quoted = meaning.replace("'", "''")
            con.execute(f"COMMENT ON COLUMN main.{name}.{column} IS '{quoted}'")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
