"""The credit counter of a day, shared by all its runs."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sf_assets.storage.files import lock, unlock


class DayMeter:
    """Counts the credits of a day in a file that all its runs share.

    With a cap, a page counts before its request. A page that a killed process requested stays
    counted, because it was probably charged.
    """

    def __init__(self, path: Path, spent: Callable[[], int], *, stays_open: bool = True) -> None:
        """`spent` returns the credits of landed pages; it is called only if the file has no count.

        `stays_open=False` saves file descriptors if there are many counters.
        """
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file: int | None = None
        if stays_open:
            self._file = self._open()
            weakref.finalize(self, os.close, self._file)
        with self._locked() as file:
            if not _text(file).isdigit():  # new or damaged: never assume 0
                _write(file, spent())

    def take(self, limit: int) -> bool:
        """Count one credit. Returns False, without counting, if `limit` is reached."""
        with self._locked() as file:
            count = _read(file)
            if count < limit:
                _write(file, count + 1)
            return count < limit

    def add(self, credits: int) -> None:
        """Correct the count if a page cost less or more than was counted."""
        if credits:
            with self._locked() as file:
                _write(file, max(0, _read(file) + credits))

    def at_least(self, credits: int) -> int:
        """Raise the count to at least `credits`. Returns the count."""
        with self._locked() as file:
            count = max(_read(file), credits)
            _write(file, count)
            return count

    @property
    def count(self) -> int:
        """The credits counted so far."""
        with self._locked() as file:
            return _read(file)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        file = self._open() if self._file is None else self._file
        try:
            lock(file, self._path, wait=True)
            try:
                yield file
            finally:
                unlock(file)
        finally:
            if self._file is None:
                os.close(file)

    def _open(self) -> int:
        # Owner only: whoever can open it can lock it. A killed run leaves no lock.
        return os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)


def _text(file: int) -> bytes:
    os.lseek(file, 0, os.SEEK_SET)
    return os.read(file, 32).strip()


def _read(file: int) -> int:
    text = _text(file)
    return int(text) if text.isdigit() else 0


def _write(file: int, count: int) -> None:
    # Fixed width, so that no digits of a longer count remain.
    os.lseek(file, 0, os.SEEK_SET)
    os.write(file, b"%-20d\n" % count)
