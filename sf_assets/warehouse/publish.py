"""People get a file they can keep open for ever, in any tool, without the pipeline noticing.

Each publication is a new folder; the link `sf_assets.duckdb` moves to it in one step. Who has an
older one open keeps reading it. Overwriting one path instead serves stale data to readers that
reconnect, and can merge a leftover WAL into the wrong file. Where the file system can, a
publication takes room only for what is new in it.
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
from sf_assets.warehouse.connection import DEFAULT_WAIT_SECONDS, locked
from sf_assets.warehouse.errors import WarehouseBusy

# Of Linux: btrfs, XFS, bcachefs and overlays of them have it.
_FICLONE = 0x40049409


class PublishFailed(SfAssetsError):
    """The copy for people could not be made; the warehouse has everything, and the next run tries
    again."""


def publish(home: Home, wait_seconds: float = DEFAULT_WAIT_SECONDS) -> Path | Lake:
    """Copy the closed warehouse to a new generation and move the link; returns the new file.

    From a lake people read as it is, so there is nothing to do, and the lake is returned.
    Raises PublishFailed, which callers log: a failed publication never fails a snapshot.
    """
    if home.lake is not None:
        return home.lake
    work = home.warehouse
    try:
        with locked(work, wait_seconds), unshared(work) as source:
            if any(work.parent.glob(f"{work.name}.wal*")):
                raise PublishFailed(f"{work} was not closed cleanly; the next run mends it")
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
                # What a full disk broke off would keep the disk full.
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
        raise PublishFailed(f"{home.published} could not be renewed: {error}") from None
    except OSError as error:
        raise PublishFailed(
            f"{home.published} could not be renewed ({error}); it stays as it was, the warehouse "
            "has everything, and the next run tries again"
        ) from error
    return folder / home.published.name


@contextmanager
def unshared(work: Path) -> Iterator[IO[bytes]]:
    """The warehouse that none of ours has open, for copying; a tool of somebody else's may have.

    Raises WarehouseBusy where a copy would not be whole.
    """
    with work.open("rb") as source:
        try:
            if fcntl is not None:
                # The kind of lock DuckDB takes: while a tool has the file open for writing we get
                # none, and while we have ours no tool can open it so.
                fcntl.lockf(source, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise WarehouseBusy(
                f"{work} is open for writing in another tool; close it, then try again"
            ) from None
        yield source


def _copy(source: IO[bytes], target: Path, before: Path) -> None:
    """The same file where nothing is new, blocks that both use where there are such, or a copy."""
    if _is_same(source, before):
        with suppress(OSError):  # a file system without links
            os.link(before.resolve(), target)
            return
    source.seek(0)
    # Read-only, so that a tool that opens it for writing fails instead of forking it.
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb") as copy:
        if not _shares_blocks(source, copy):
            shutil.copyfileobj(source, copy, 1 << 20)


def _is_same(source: IO[bytes], before: Path) -> bool:
    # The source by its open file: to open it once more and close it would end our lock on it.
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
    """Make one file of the other without copying its blocks; False where that cannot be done."""
    if fcntl is None or sys.platform != "linux":
        return False
    try:
        fcntl.ioctl(copy.fileno(), _FICLONE, source.fileno())
    except OSError:
        return False
    return True


def _drop_others(home: Home, kept: set[str]) -> None:
    """All generations but these, whatever their stamps say: a clock can go back."""
    for folder in home.generations.iterdir():
        if folder.name not in kept:  # older, or of a publication that was killed
            shutil.rmtree(folder, ignore_errors=True)
