"""The landing in a folder of this machine: a file a snapshot, locked while it is written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import IO

from sf_assets.model import SnapshotKey
from sf_assets.storage.files import Locked, lock, unlock
from sf_assets.storage.landing import (
    Landing,
    SnapshotLog,
    quarantine_record,
    quarantined,
)
from sf_assets.storage.records import Landed, LandingDamaged, read_records

# An `end` is a few hundred bytes.
_LONGEST_END = 2048


class DiskLanding(Landing):
    """The `landing/` folder."""

    far = False

    def __init__(self, root: Path) -> None:
        super().__init__(root, root)

    def names(self, *folders: str) -> Iterable[str]:
        with suppress(FileNotFoundError, NotADirectoryError):
            return os.listdir(self.root.joinpath(*folders))
        return ()

    def read(self, key: SnapshotKey) -> Landed | None:
        path = self.path(key)
        try:
            with path.open("rb") as file:
                return read_records(key, path, file)
        except FileNotFoundError:
            return None

    def read_each(
        self, keys: Iterable[SnapshotKey]
    ) -> Iterator[tuple[SnapshotKey, Landed | LandingDamaged | None]]:
        return ((key, self.read_or_why(key)) for key in keys)

    def unsettled(self, day: date, ended: Mapping[SnapshotKey, str]) -> list[SnapshotKey]:
        return [
            key for key in self.keys(day) if key not in ended or self._last_end(key) != ended[key]
        ]

    def _last_end(self, key: SnapshotKey) -> str | None:
        """When the walk ended, where its end is the last line."""
        with self.path(key).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LONGEST_END))
            lines = file.read().split(b"\n")
        # The last one is whole, and so is followed by nothing and has a line break before it.
        if len(lines) < 3 or lines[-1]:
            return None
        try:
            head = json.loads(lines[-2])
            return str(head["at"]) if head["kind"] == "end" else None
        except (ValueError, LookupError, TypeError, RecursionError):
            return None

    def open(self, key: SnapshotKey) -> SnapshotLog | None:
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)
        try:
            lock(file, path, wait=False)
            return DiskLog(key, path, file)
        except Locked:
            file.close()
            return None
        except BaseException:
            file.close()
            raise

    def quarantine(self, key: SnapshotKey, page: int, reason: str, body: bytes) -> Path:
        path = quarantined(self.path(key))
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
            file.write(quarantine_record(page, reason, body))
        return path

    def modified(self, key: SnapshotKey) -> float | None:
        try:
            return self.path(key).stat().st_mtime
        except FileNotFoundError:
            return None

    def drop(self, key: SnapshotKey) -> None:
        path = self.path(key)
        path.unlink(missing_ok=True)
        quarantined(path).unlink(missing_ok=True)
        with suppress(OSError):  # not empty yet
            path.parent.rmdir()
            path.parent.parent.rmdir()


class DiskLog(SnapshotLog):
    """A locked file; leaving it unlocks."""

    def __init__(self, key: SnapshotKey, path: Path, file: IO[bytes]) -> None:
        landed = read_records(key, path, file)
        super().__init__(key, path, landed.attempts)
        self._file = file
        file.truncate(landed.sound_bytes)
        file.seek(landed.sound_bytes)

    def close(self) -> None:
        if not self._file.closed:
            unlock(self._file)
            self._file.close()

    def make_durable(self) -> None:
        os.fsync(self._file.fileno())

    def landed(self) -> Landed:
        return Landed(self.key, self.path, tuple(self.attempts), 0)

    def reading(self) -> IO[bytes]:
        return self.path.open("rb")

    def write(self, line: bytes) -> None:
        view = memoryview(line)
        while view:  # an unbuffered write may be short, on a full disk above all
            view = view[self._file.write(view) :]
