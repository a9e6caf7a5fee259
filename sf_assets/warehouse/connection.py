"""Opens the warehouse: one writer at a time, waiting with jitter, always closed.

While one process has a DuckDB file open for writing, no other process can even read it. So our
writers wait for a lock file of their own, hold it for seconds, and people read published copies.
"""

from __future__ import annotations

import logging
import os
import random
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import duckdb

from sf_assets.storage.address import Lake, without_password
from sf_assets.storage.files import Locked, open_locked
from sf_assets.storage.shared import Shared
from sf_assets.text import first_line
from sf_assets.warehouse.errors import WarehouseBusy, WarehouseUnreadable, WarehouseUnwritable
from sf_assets.warehouse.schema import WAREHOUSE_FORMAT, format_of, prepare
from sf_assets.warehouse.statements import STORAGE_VERSION, transaction

DEFAULT_WAIT_SECONDS = 600.0
# Tries of a commit to a lake that conflicts with another one, with growing pauses.
CONFLICT_TRIES = 12

# Opens the warehouse for writing, inside a `with` block.
Connect = Callable[[], AbstractContextManager[duckdb.DuckDBPyConnection]]

_Result = TypeVar("_Result")
_log = logging.getLogger("sf_assets.warehouse")

# DuckDB's memory before it spills to the disk. By default it would use most of the memory.
MEMORY = "250MB"


@contextmanager
def writing(
    where: Path | Lake, wait_seconds: float = DEFAULT_WAIT_SECONDS
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the warehouse (a file or a lake) for writing; created on first use.

    The file is closed and checkpointed at the end. A lake has several writers at once, so nobody
    waits, and changes must go through `committed`. Raises as `writing_file`.
    """
    with (
        _writing_lake(where, wait_seconds)
        if isinstance(where, Lake)
        else writing_file(where, wait_seconds) as con
    ):
        yield con


@contextmanager
def writing_file(
    path: Path, wait_seconds: float = DEFAULT_WAIT_SECONDS
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the warehouse file for writing; created on first use, checkpointed at the end.

    Waits up to `wait_seconds` for other writers, then raises WarehouseBusy with the holder. Raises
    WarehouseUnreadable for a file that is damaged, of a newer format, or missing although it was
    published, and WarehouseUnwritable for a full disk.
    """
    deadline = time.monotonic() + wait_seconds
    with locked(path, wait_seconds):
        _refuse_to_start_over(path)
        con = _open(path, wait_seconds, deadline)
        try:
            older = format_of(con)
            if older is not None and older < WAREHOUSE_FORMAT:
                con.close()
                _keep_copy(path, older)
                con = _open(path, wait_seconds, deadline)
            # The statements are small: a second thread would double processor time and memory and
            # save no time.
            con.execute("SET threads = 1")
            prepare(con, path)
            yield con
            # Otherwise a copy would lack the data in the WAL, and rewritten days would bloat it.
            con.execute("CHECKPOINT")
        except duckdb.Error as error:
            if _NO_ROOM.search(str(error)):
                raise WarehouseUnwritable(
                    f"{path} cannot be written ({first_line(error)}). Landed pages are kept: free "
                    "some space, then run the day again, which buys nothing twice"
                ) from None
            if _tells_of_damage(error):
                raise _damaged(path, error) from None
            raise
        finally:
            con.close()


def _keep_copy(path: Path, made_as: int) -> None:
    """Copy a closed warehouse of an older format before it is upgraded."""
    kept = path.with_name(f"{path.name}.format-{made_as}.old")
    if kept.exists():
        return
    partial = kept.with_suffix(".partial")
    shutil.copy2(path, partial)
    os.replace(partial, kept)
    _log.info(
        "%s has format %d and is upgraded to %d. The old file is kept as %s; delete it after "
        "`sf-assets verify --full` finds no problem",
        path, made_as, WAREHOUSE_FORMAT, kept,
    )  # fmt: skip


StillHeld = Callable[[], None]


def always_held() -> None:
    """A lock of this machine is held until it is released."""


@contextmanager
def locked(path: Path | Shared, wait_seconds: float = DEFAULT_WAIT_SECONDS) -> Iterator[StillHeld]:
    """Hold the lock our writers and the publisher queue on.

    The lock of several machines ends with its connection; the yielded function raises OSError then.
    """
    if isinstance(path, Shared):
        with ExitStack() as stack:
            try:
                still_held = stack.enter_context(path.locked(wait_seconds))
            except Locked:
                raise WarehouseBusy(
                    f"{path} is held by another worker for more than {wait_seconds:.0f} s; landed "
                    "pages are kept, run the day again later"
                ) from None
            yield still_held
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock_path = path.with_suffix(".lock")
    deadline = time.monotonic() + wait_seconds
    with ExitStack() as held:
        while True:
            try:
                lock = held.enter_context(open_locked(lock_path, wait=False))
                break
            except Locked:
                if time.monotonic() > deadline:
                    holder = lock_path.read_text().strip() or "unknown"
                    raise WarehouseBusy(
                        f"process {holder} has been writing {path} for more than "
                        f"{wait_seconds:.0f} s; landed pages are kept, run the day again later"
                    ) from None
                time.sleep(random.uniform(0.02, 0.2))
        lock.truncate(0)
        lock.write(str(os.getpid()).encode())
        yield always_held


def committed(con: duckdb.DuckDBPyConnection, turn: str, work: Callable[[], _Result]) -> _Result:
    """Run `work` in one transaction, repeated after a conflict; returns its result.

    Two commits to a lake could add the same rows without a conflict, for example two loads of one
    list. So each updates a counter for its `turn`, `load` or `derive`: of two at once, the later
    one fails to commit, starts again and sees the changes of the first.
    """
    from sf_assets.warehouse.lake import is_lake

    if not is_lake(con):
        with transaction(con):
            return work()
    for attempt in range(CONFLICT_TRIES):
        if attempt:
            time.sleep(random.uniform(0, min(8.0, 0.1 * 2**attempt)))
        try:
            with transaction(con):
                con.execute(f"UPDATE internal.{turn}_turn SET taken = taken + 1")
                return work()
        except duckdb.Error as error:
            if not _CONFLICT.search(str(error)):
                raise
            _log.info("Another commit came first; repeating the %s", turn)
    raise WarehouseBusy(
        f"this {turn} conflicted with other commits to the warehouse {CONFLICT_TRIES} times; "
        "nothing is lost, run it again later"
    )


@contextmanager
def reading(where: Path | Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the published file, or the lake, read-only.

    Raises FileNotFoundError if nothing is published yet.
    """
    if isinstance(where, Lake):
        with _telling_no_password(where):
            con = _attach(where, read_only=True)
            try:
                yield con
            finally:
                con.close()
        return
    con = _open_published(where)
    try:
        con.execute("SET TimeZone = 'UTC'")
        yield con
    finally:
        con.close()


def why_unreadable(where: Path | Lake, error: duckdb.Error) -> str:
    """The problem of the published file or lake, and what to do, in a sentence."""
    made_as = None
    with suppress(FileNotFoundError, duckdb.Error), reading(where) as con:
        made_as = format_of(con)
    if made_as is None or made_as == WAREHOUSE_FORMAT:
        return (
            f"{where} cannot be read ({first_line(error)}): run sf-assets rebuild, or a snapshot, "
            "which publishes it again"
        )
    if made_as > WAREHOUSE_FORMAT:
        return (
            f"{where} has format {made_as}, made by a newer sf_assets; this one knows formats up "
            f"to {WAREHOUSE_FORMAT}. Upgrade sf_assets"
        )
    return (
        f"{where} has format {made_as}, made by an older sf_assets: run a snapshot to upgrade it, "
        "or sf-assets rebuild, which buys nothing"
    )


@contextmanager
def _writing_lake(lake: Lake, wait_seconds: float) -> Iterator[duckdb.DuckDBPyConnection]:
    with _telling_no_password(lake):
        con = _attach(lake, read_only=False, wait_seconds=wait_seconds)
        try:
            for attempt in range(CONFLICT_TRIES):
                try:
                    prepare(con, lake)
                    break
                except duckdb.Error as error:
                    # Two workers may create the lake at once.
                    if attempt == CONFLICT_TRIES - 1 or not _MADE_MEANWHILE.search(str(error)):
                        raise
                    time.sleep(random.uniform(0.1, 1.0))
            yield con
        finally:
            con.close()


def _attach(
    lake: Lake, *, read_only: bool, wait_seconds: float = 60.0
) -> duckdb.DuckDBPyConnection:
    """Attach a lake. If its catalog is a file, one process can hold it and the others wait."""
    from sf_assets.warehouse.lake import attach

    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            return attach(lake, read_only=read_only)
        except duckdb.Error as error:
            again = _HELD.search(str(error)) or _MADE_MEANWHILE.search(str(error))
            if again and time.monotonic() < deadline:
                time.sleep(random.uniform(0.05, 0.5))
                continue
            if again:
                raise WarehouseBusy(
                    f"other processes have held {lake} for more than {wait_seconds:.0f} s; landed "
                    "pages are kept, run the day again later"
                ) from None
            raise WarehouseUnreadable(
                f"{lake} cannot be opened ({without_password(first_line(error))}). Landed pages "
                "are kept: correct the address or start its database, then run the day again"
            ) from None


@contextmanager
def _telling_no_password(lake: Lake) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        text = without_password(str(error))
        if text == str(error):
            raise
        raise type(error)(text) from None


def _open_published(path: Path) -> duckdb.DuckDBPyConnection:
    while True:
        # The resolved file stays readable while the link moves on.
        generation = path.resolve()
        try:
            if not generation.exists():
                raise FileNotFoundError(path)
            return duckdb.connect(str(generation), read_only=True)
        except (FileNotFoundError, duckdb.IOException):
            if generation == path.resolve():
                raise
            # Two publications happened in between and removed the file.


def _refuse_to_start_over(path: Path) -> None:
    # A new empty file would be published over the whole history.
    published = path.parents[1] / path.name
    if not path.exists() and published.is_symlink():
        raise WarehouseUnreadable(
            f"{path} is missing, although {published} was published from it. Run "
            "`sf-assets rebuild`, which recreates it from archive and landing and buys nothing"
        )


def _open(path: Path, wait_seconds: float, deadline: float) -> duckdb.DuckDBPyConnection:
    new = not path.exists()
    while True:
        try:
            con = duckdb.connect(
                str(path), config={"storage_compatibility_version": STORAGE_VERSION}
            )
            if new:
                path.chmod(0o600)
            return con
        except duckdb.IOException as error:
            if not _HELD.search(str(error)):
                raise _damaged(path, error) from None
            if time.monotonic() > deadline:
                holder = re.search(r"PID (\d+)", str(error))
                raise WarehouseBusy(
                    f"process {holder.group(1) if holder else 'unknown'} has held {path} for more "
                    f"than {wait_seconds:.0f} s (a tool that opened it for writing?); landed pages "
                    "are kept, close that tool, then run the day again"
                ) from None
            time.sleep(random.uniform(0.05, 0.5))
        except duckdb.Error as error:
            raise _damaged(path, error) from None


# "Could not set lock on file …: Conflicting lock is held in … (PID 123)", "used by another process"
_HELD = re.compile(r"(could not set|conflicting) lock|used by another process", re.IGNORECASE)
_CONFLICT = re.compile(
    r"conflict|could not serialize|deadlock detected|ducklake_max_retry", re.IGNORECASE
)
_MADE_MEANWHILE = re.compile(
    r"conflict|already exists|duplicate key|deadlock detected", re.IGNORECASE
)
_NO_ROOM = re.compile(r"could not write|no space|too large|read-only file|quota", re.IGNORECASE)
_DAMAGE = re.compile(r"corrupt|checksum|not a valid|deserializ|invalidated", re.IGNORECASE)


def _tells_of_damage(error: duckdb.Error) -> bool:
    # DuckDB has no error class for a damaged file: a wrong checksum is an IOException like a full
    # disk, and invalid bytes end in an InternalException or FatalException.
    kinds = (duckdb.InternalException, duckdb.FatalException, duckdb.SerializationException)
    return isinstance(error, kinds) or _DAMAGE.search(str(error)) is not None


def _damaged(path: Path, error: duckdb.Error) -> WarehouseUnreadable:
    return WarehouseUnreadable(
        f"{path} cannot be read ({first_line(error)}). Nothing is lost: landing and archive have "
        "all data. Run `sf-assets rebuild`, which keeps the old file and buys nothing"
    )
