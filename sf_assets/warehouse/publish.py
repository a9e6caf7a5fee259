"""Publishes the warehouse as a file that people can keep open without blocking the pipeline.

Each publication is a new folder, and the link `sf_assets.duckdb` moves to it in one step. Readers
of an older one continue to read it. Overwriting one path would serve stale data to readers that
reconnect, and could merge a leftover WAL into the wrong file. If the file system supports it, a
publication uses disk space only for new blocks.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows, where a file that is open for writing cannot be copied anyway
    fcntl = None  # type: ignore[assignment]

from sf_assets.errors import SfAssetsError
from sf_assets.fault_injection import crash_point
from sf_assets.storage.address import Lake
from sf_assets.storage.home import Home
from sf_assets.text import first_line
from sf_assets.warehouse.connection import DEFAULT_WAIT_SECONDS, locked
from sf_assets.warehouse.errors import WarehouseBusy

# Linux ioctl that btrfs, XFS, bcachefs and overlays of them support.
_FICLONE = 0x40049409


class PublishFailed(SfAssetsError):
    """The published copy could not be made. The warehouse has all data, and the next run tries
    again."""


def publish(home: Home, wait_seconds: float = DEFAULT_WAIT_SECONDS) -> Path | Lake:
    """Copy the closed warehouse to a new folder and move the link; returns the new file.

    A lake needs no publication and is returned. Raises PublishFailed, which callers log, because a
    failed publication must not fail a snapshot.
    """
    if home.lake is not None:
        return home.lake
    work = home.warehouse
    try:
        with locked(work, wait_seconds), unshared(work) as source:
            if any(work.parent.glob(f"{work.name}.wal*")):
                raise PublishFailed(f"{work} was not closed cleanly; the next run repairs it")
            second, nanosecond = divmod(time.time_ns(), 10**9)
            stamp = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(second))}-{nanosecond:09d}"
            folder = home.generations / stamp
            partial = home.generations / f".{stamp}"
            home.generations.mkdir(mode=0o700, exist_ok=True)
            partial.mkdir(mode=0o700)
            try:
                _copy(source, partial / home.published.name, home.published)
                if home.group_read:
                    (partial / home.published.name).chmod(0o440)
                    partial.chmod(0o750)
                home.generations.chmod(0o750 if home.group_read else 0o700)
            except BaseException:
                # A partial copy on a full disk would keep it full.
                shutil.rmtree(partial, ignore_errors=True)
                raise
            partial.rename(folder)
            crash_point("copied")
            before = home.published.resolve().parent
            link = home.root / f".{home.published.name}.{os.getpid()}"
            link.unlink(missing_ok=True)
            link.symlink_to((folder / home.published.name).relative_to(home.root))
            os.replace(link, home.published)
            _drop_others(home, {folder.name, before.name})
    except WarehouseBusy as error:
        raise PublishFailed(f"cannot publish {home.published}: {error}") from None
    except OSError as error:
        raise PublishFailed(
            f"cannot publish {home.published} ({first_line(error)}); the old file stays, the "
            "warehouse has all data, and the next run tries again"
        ) from error
    return folder / home.published.name


@contextmanager
def unshared(work: Path) -> Iterator[IO[bytes]]:
    """Open the warehouse for copying, while no process of ours has it open.

    Raises WarehouseBusy if another tool has it open for writing.
    """
    with work.open("rb") as source:
        try:
            if fcntl is not None:
                # DuckDB uses this kind of lock, so it fails while a tool has the file open for
                # writing, and no tool can open it for writing while we hold it.
                fcntl.lockf(source, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise WarehouseBusy(
                f"another tool has {work} open for writing; close it, then try again"
            ) from None
        yield source


def _copy(source: IO[bytes], target: Path, before: Path) -> None:
    """Link the old file if nothing changed, else share blocks if possible, else copy."""
    if _is_same(source, before):
        with suppress(OSError):  # the file system has no links
            os.link(before.resolve(), target)
            return
    source.seek(0)
    # Read-only, so that a tool cannot write into the published file.
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb") as copy:
        if not _shares_blocks(source, copy):
            shutil.copyfileobj(source, copy, 1 << 20)


def _is_same(source: IO[bytes], before: Path) -> bool:
    # Uses the open source: opening and closing it again would release our lock.
    try:
        with before.open("rb") as file:
            if os.fstat(file.fileno()).st_size != os.fstat(source.fileno()).st_size:
                return False
            while chunk := source.read(1 << 20):
                if chunk != file.read(1 << 20):
                    return False
    except OSError:
        return False  # the first publication, or one that is damaged
    return True


def _shares_blocks(source: IO[bytes], copy: IO[bytes]) -> bool:
    """Copy the file by sharing its blocks; False if that is not possible."""
    if fcntl is None or sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(copy.fileno(), _FICLONE, source.fileno())
    except OSError:
        return False
    return True


def _drop_others(home: Home, kept: set[str]) -> None:
    """Remove all generations but these, regardless of their times: a clock can go back."""
    for folder in home.generations.iterdir():
        if folder.name not in kept:  # older, or left by a killed process
            shutil.rmtree(folder, ignore_errors=True)
