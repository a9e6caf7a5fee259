"""The landing in a folder of this machine: a file per snapshot, locked while it is written."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import IO

from sf_assets.fault_injection import crash_point
from sf_assets.model import SnapshotKey
from sf_assets.storage.files import Locked, lock, sync_folder, unlock
from sf_assets.storage.landing import (
    Bytes,
    Landing,
    LandingBusy,
    SnapshotLog,
    quarantine_record,
    quarantined,
    with_pages,
    with_quarantine,
)
from sf_assets.storage.packed import PackedFile, pack, packed_path, read_packed, unpack
from sf_assets.storage.records import Landed, LandingDamaged, read_records

# An `end` is a few hundred bytes.
_LONGEST_END = 2048


class DiskLanding(Landing):
    """The `landing/` folder.

    If a list has a compressed and a plain file, one is being made from the other, and the one with
    more records counts. So a process may be killed at any step.
    """

    far = False

    def __init__(self, root: Path) -> None:
        super().__init__(root, root)

    def names(self, *folders: str) -> Iterable[str]:
        with suppress(FileNotFoundError, NotADirectoryError):
            return os.listdir(self.root.joinpath(*folders))
        return ()

    def read(self, key: SnapshotKey) -> Landed | None:
        for _ in range(2):  # another process may compress it between the two reads
            packed = self._read_packed(key)
            try:
                plain = self._read_plain(key)
            except LandingDamaged:
                if packed is None:
                    raise
                plain = None  # incomplete after a power cut
            if packed is None or (plain and plain.sound_bytes > packed.sound_bytes):
                packed = plain
            if packed is not None:
                break
        return packed

    def _read_plain(self, key: SnapshotKey) -> Landed | None:
        path = self.path(key)
        with suppress(FileNotFoundError), path.open("rb") as file:
            return read_records(key, path, file)
        return None

    def _read_packed(self, key: SnapshotKey) -> Landed | None:
        path = packed_path(self.path(key))
        with suppress(FileNotFoundError), path.open("rb") as file:
            return read_packed(key, path, file)
        return None

    def read_each(
        self, keys: Iterable[SnapshotKey]
    ) -> Iterator[tuple[SnapshotKey, Landed | LandingDamaged | None]]:
        return ((key, self.read_or_why(key)) for key in keys)

    def unsettled(self, day: date, ended: Mapping[SnapshotKey, str]) -> list[SnapshotKey]:
        # A compressed list is loaded completely.
        plain = set(self.not_packed(day))
        return [
            key
            for key in self.keys(day)
            if key not in ended or (key in plain and self._last_end(key) != ended[key])
        ]

    def _last_end(self, key: SnapshotKey) -> str | None:
        """When the walk ended, if its end is the last line; else None."""
        with self.path(key).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LONGEST_END))
            lines = file.read().split(b"\n")
        # A complete last line ends with a line break.
        if len(lines) < 3 or lines[-1]:
            return None
        try:
            head = json.loads(lines[-2])
            return str(head["at"]) if head["kind"] == "end" else None
        except (ValueError, LookupError, TypeError, RecursionError):
            return None

    def open(self, key: SnapshotKey) -> DiskLog | None:
        path, packed = self.path(key), packed_path(self.path(key))
        file = self._held(path)
        if file is None:
            return None
        try:
            if packed.exists():
                if self._is_packed(key):
                    file.truncate(0)
                    with packed.open("rb") as source:
                        for lines in unpack(source):
                            _write(file, lines)
                os.fsync(file.fileno())
                crash_point("landing_unpacked")
                packed.unlink()
            return DiskLog(key, path, file)
        except BaseException:
            file.close()
            raise

    def _held(self, path: Path) -> IO[bytes] | None:
        """The plain file, created if missing and locked; None while another process holds it."""
        while True:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            except FileNotFoundError:
                continue  # another process has just removed the empty folder
            file = os.fdopen(descriptor, "r+b", buffering=0)
            try:
                lock(file, path, wait=False)
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                        return file
                file.close()  # another process compressed the list meanwhile
            except Locked:
                file.close()
                return None
            except BaseException:
                file.close()
                raise

    def _is_packed(self, key: SnapshotKey) -> bool:
        """Whether the compressed file counts."""
        return isinstance(self.read(key), PackedFile)

    def not_packed(self, day: date) -> list[SnapshotKey]:
        return [key for key in self.keys(day) if self.path(key).exists()]

    def pack(self, key: SnapshotKey, archived: tuple[int, int]) -> bool:
        path, packed = self.path(key), packed_path(self.path(key))
        file = self._held(path)
        if file is None:
            return False
        try:
            done = packed.exists() and self._is_packed(key)
            if not done and not self._pack(key, file, packed, archived):
                return False
            crash_point("landing_packed")
            path.unlink()
            return True
        finally:
            unlock(file)
            file.close()

    def _pack(
        self, key: SnapshotKey, file: IO[bytes], packed: Path, archived: tuple[int, int]
    ) -> bool:
        landed = read_records(key, self.path(key), file)
        best = landed.to_load
        goes_on = any(attempt.end is None for attempt in landed.attempts)
        if best is None or goes_on or (best.number, best.pages) != archived:
            return False
        partial = _partial(packed)
        stat = os.fstat(file.fileno())
        file.seek(0)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with os.fdopen(os.open(partial, flags, 0o600), "wb") as copy:
            for part in pack(file, landed.sound_bytes):
                copy.write(part)
            copy.flush()
            os.fsync(copy.fileno())
        with partial.open("rb") as copied:
            # Verified, because the plain file is removed next and the pages were paid for.
            if read_packed(key, partial, copied).attempts != landed.attempts:
                raise LandingDamaged(f"{partial} differs from {landed.path}, which is kept")
        os.utime(partial, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        crash_point("landing_packing")
        os.replace(partial, packed)
        sync_folder(packed.parent)
        return True

    def quarantine(self, key: SnapshotKey, page: int, reason: str, body: bytes) -> Path:
        path = quarantined(self.path(key))
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
            file.write(quarantine_record(page, reason, body))
        return path

    def rewrite(self, key: SnapshotKey, page: Bytes, unusable: Bytes) -> bool:
        changed = False
        quarantine = quarantined(self.path(key))
        _partial(quarantine).unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            body = quarantine.read_bytes()
            made = with_quarantine(body.splitlines(keepends=True), unusable)
            if made != body:
                _replace(quarantine, [made])
                changed = True
        if key not in self.keys(key.day):
            return changed
        path, packed = self.path(key), packed_path(self.path(key))
        file = self._held(path)
        if file is None:
            raise LandingBusy(f"another process is writing {path}; try again after its run")
        try:
            found = self.read(key)
            is_packed = isinstance(found, PackedFile)
            with (packed if is_packed else path).open("rb") as source:
                lines = b"".join(unpack(source)) if is_packed else source.read()
            lines = lines[: found.sound_bytes if found else 0]
            made = with_pages(lines.splitlines(keepends=True), page)
            if made != lines:
                parts = pack(io.BytesIO(made), len(made)) if is_packed else [made]
                _replace(packed if is_packed else path, parts)
                changed = True
            # The file that does not count holds the same records.
            other = path if is_packed else packed
            for left in (other, _partial(path), _partial(packed)):
                left.unlink(missing_ok=True)
            return changed
        finally:
            unlock(file)
            file.close()

    def modified(self, key: SnapshotKey) -> float | None:
        path, times = self.path(key), []
        for form in (path, packed_path(path)):
            with suppress(FileNotFoundError):
                times.append(form.stat().st_mtime)
        return max(times, default=None)

    def drop(self, key: SnapshotKey) -> None:
        path = self.path(key)
        packed = packed_path(path)
        files = (path, packed, quarantined(path))
        for file in (*files, *map(_partial, files)):
            file.unlink(missing_ok=True)
        with suppress(OSError):  # not empty yet
            path.parent.rmdir()
            path.parent.parent.rmdir()


class DiskLog(SnapshotLog):
    """A locked file; closing it unlocks it."""

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
        size = os.fstat(self._file.fileno()).st_size
        return Landed(self.key, self.path, tuple(self.attempts), size)

    def reading(self) -> IO[bytes]:
        return self.path.open("rb")

    def write(self, line: bytes) -> None:
        _write(self._file, line)

    def start_over(self, lines: bytes) -> None:
        """Replace the content with these lines."""
        self._file.seek(0)
        self._file.truncate(0)
        _write(self._file, lines)


def _partial(path: Path) -> Path:
    """The path of a file while it is written, before it replaces the old one."""
    return path.with_name(f".{path.name}.partial")


def _replace(path: Path, parts: Iterable[bytes]) -> None:
    """Replace the content of a file and keep its modification time."""
    stat, partial = path.stat(), _partial(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(os.open(partial, flags, 0o600), "wb") as copy:
        copy.writelines(parts)
        copy.flush()
        os.fsync(copy.fileno())
    os.utime(partial, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.replace(partial, path)


def _write(file: IO[bytes], lines: bytes) -> None:
    view = memoryview(lines)
    while view:  # an unbuffered write may be short, for example on a full disk
        view = view[file.write(view) :]
