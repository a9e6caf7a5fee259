"""Makes a consistent copy of a home while its pipeline runs. The copy is a home itself.

The order makes it consistent: first Dagster's storage, which may be older than the rest; then
archive and landing; then, with the warehouse locked, the warehouse and all files that are new or
larger since. So whatever is loaded in the copy is also in its archive, and a page that is landed in
the copy is not bought again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb

from sf_assets.errors import SettingsError, SfAssetsError
from sf_assets.fault_injection import crash_point
from sf_assets.storage.files import Locked, open_locked, sha256_of
from sf_assets.storage.home import Home
from sf_assets.text import first_line
from sf_assets.warehouse.connection import DEFAULT_WAIT_SECONDS, locked
from sf_assets.warehouse.publish import PublishFailed, publish, unshared
from sf_assets.warehouse.verify import Finding, verify

# In the format of `sha256sum`, which can check it.
CHECKSUMS = "backup.sha256"
_LOCK = ".backup.lock"
# Not needed in the copy: locks, files that are being written, and SQLite's own files, which its
# backup includes.
_NOT_COPIED = (".lock", ".partial", ".moving", "-wal", "-shm", "-journal")


class BackupFailed(SfAssetsError):
    """The copy differs from the home or could not be made. It was removed."""


@dataclass
class BackedUp:
    """The number and bytes of the copied files, and what `verify` finds in the copy."""

    files: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)


def backup(
    home: Home,
    target: Path,
    tell: Callable[[Finding], None] = lambda _: None,
    wait_seconds: float = DEFAULT_WAIT_SECONDS,
) -> BackedUp:
    """Copy a home to a new folder, completely or not at all, and verify the copy.

    Calls `tell` with each finding. Raises SettingsError if there is nothing to copy or the target
    exists, BackupFailed for a copy that differs or a full disk, and WarehouseBusy.
    """
    _refuse(home, target)
    partial = target.with_name(f".{target.name}.partial")
    try:
        files, size = _made(home, target, partial, wait_seconds)
    except (OSError, PublishFailed) as error:
        raise BackupFailed(
            f"backup: cannot write {target} ({first_line(error)}); the partial copy was removed, "
            f"and {home.root} is unchanged"
        ) from None
    return BackedUp(files, size, verify(replace(home, root=target), tell))


def _made(home: Home, target: Path, partial: Path, wait_seconds: float) -> tuple[int, int]:
    """Make the copy; returns its files and their bytes."""
    with _held(partial):
        try:
            made = _Copy(home, partial)
            made.dagster()
            made.files()
            if home.warehouse.exists():
                with locked(home.warehouse, wait_seconds):
                    made.warehouse()
                    made.files()
            else:
                made.files()
            made.mend_and_publish(replace(home, root=partial))
            crash_point("backed_up")
            files, size = made.check()
            (partial / _LOCK).unlink()
            partial.rename(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return files, size


def _refuse(home: Home, target: Path) -> None:
    if home.lake is not None:
        raise SettingsError(
            f"backup: the tables are in {home.lake}; back up its database and files with their own "
            "tools, or copy everything into one home: "
            f"sf-assets migrate --to duckdb --home {target}"
        )
    if not home.marker.exists():
        raise SettingsError(f"backup: {home.root} is not a home, so there is nothing to copy")
    if target.exists() or target.is_symlink():
        raise SettingsError(f"backup: {target} already exists; choose a new folder")
    if home.root.resolve() in (target.resolve(), *target.resolve().parents):
        raise SettingsError(f"backup: {target} is inside the home; choose a folder elsewhere")


@contextmanager
def _held(partial: Path) -> Iterator[None]:
    """Create and lock the folder of the copy; removes what a killed backup left there."""
    try:
        if partial.exists():
            with suppress(OSError), open_locked(partial / _LOCK, wait=False):
                pass
            shutil.rmtree(partial)
        partial.mkdir(parents=True, mode=0o700)
        with open_locked(partial / _LOCK, wait=False):
            yield
    except Locked:
        raise SettingsError(f"backup: another backup to {partial.name[1:-8]} is running") from None


class _Copy:
    """The copy of a home into a folder."""

    def __init__(self, home: Home, root: Path) -> None:
        self.home, self.root = home, root
        # Path in the home -> its size and time when it was copied, and its checksum.
        self.copied: dict[Path, tuple[tuple[int, int], str]] = {}

    def dagster(self) -> None:
        """Copy Dagster's storage, each database with SQLite's own backup."""
        for name in self._names("dagster"):
            if name.suffix != ".db":
                self._copy(name)
                continue
            target = self._target(name)
            source = f"{(self.home.root / name).absolute().as_uri()}?mode=ro"
            with (
                closing(sqlite3.connect(source, uri=True, timeout=60)) as old,
                closing(sqlite3.connect(target)) as new,
            ):
                try:
                    old.backup(new)
                except sqlite3.OperationalError as error:  # disk full, or locked for a minute
                    raise OSError(f"{name}: {error}") from None
                except sqlite3.DatabaseError:
                    self._copy(name)  # damaged, so copy it unchanged

    def files(self) -> None:
        """Copy all other files except the warehouse and its publications, if they changed."""
        for name in self._names(""):
            if name.parts[0] not in ("dagster", "warehouse", "published", "lake"):
                self._copy(name)

    def warehouse(self) -> None:
        """Copy the warehouse with its log. The caller holds its lock."""
        work = self.home.warehouse
        with unshared(work):
            for file in (work, *work.parent.glob(f"{work.name}.wal*")):
                self._copy(file.relative_to(self.home.root))

    def mend_and_publish(self, copy: Home) -> None:
        """Close the copied warehouse cleanly if necessary, and publish it."""
        if not copy.warehouse.exists():
            return
        if any(copy.warehouse.parent.glob(f"{copy.warehouse.name}.wal*")):
            with suppress(duckdb.Error), duckdb.connect(str(copy.warehouse)) as con:
                con.execute("CHECKPOINT")
            self.copied.pop(copy.warehouse.relative_to(copy.root))
        publish(copy)

    def check(self) -> tuple[int, int]:
        """Read the copy again and write its checksums; returns the number of files and bytes."""
        lines, size = [], 0
        for path in sorted(self.root.rglob("*")):
            name = path.relative_to(self.root)
            if path.is_symlink() or not path.is_file() or name.name.endswith(".lock"):
                continue
            digest = sha256_of(path)
            if name in self.copied and self.copied[name][1] != digest:
                raise BackupFailed(f"{path} differs from {self.home.root / name}; try again")
            size += path.stat().st_size
            lines.append(f"{digest}  {name.as_posix()}\n")
        (self.root / CHECKSUMS).write_text("".join(lines), encoding="utf-8")
        return len(lines), size

    def _names(self, folder: str) -> Iterator[Path]:
        # Folders of days may be removed meanwhile.
        for parent, _, names in os.walk(self.home.root / folder):
            for name in sorted(names):
                path = Path(parent, name)
                if not name.endswith(_NOT_COPIED) and path not in (
                    self.home.published,
                    self.home.root / CHECKSUMS,
                ):
                    yield path.relative_to(self.home.root)

    def _target(self, name: Path) -> Path:
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return target

    def _copy(self, name: Path) -> None:
        with suppress(FileNotFoundError), (self.home.root / name).open("rb") as source:
            stat = os.fstat(source.fileno())
            state = (stat.st_size, stat.st_mtime_ns)
            if self.copied.get(name, (None,))[0] == state:
                return
            digest = hashlib.sha256()
            target = self._target(name)
            with os.fdopen(
                os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb"
            ) as copy:
                while chunk := source.read(1 << 20):
                    digest.update(chunk)
                    copy.write(chunk)
                copy.flush()
                os.fsync(copy.fileno())
            self.copied[name] = state, digest.hexdigest()
