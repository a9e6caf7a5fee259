"""The credit counter of a day, shared by all its runs."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sf_assets.storage.files import lock, unlock
from sf_assets.storage.shared import Shared

# Credits that a run with a shared counter reserves at once; fewer near a cap.
TOGETHER = 16


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

    def settle(self) -> None:
        """Return reserved credits, and write additions that are not written yet."""
        return

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


class SharedMeter(DayMeter):
    """A counter in Postgres, which reserves up to TOGETHER credits at once instead of one per page.

    A killed process loses its reserved credits.
    """

    def __init__(self, of: Shared, spent: Callable[[], int], *, stays_open: bool = True) -> None:
        self._of, self._most = of, TOGETHER if stays_open else 1
        self._taken = self._added = 0
        self._due, self._capped = self._most, False
        if of.count() is None:
            of.begin_count(spent())

    def take(self, limit: int) -> bool:
        self._capped = True
        if not self._taken:
            self.settle()
            self._taken = self._of.take(limit, self._most)
        if not self._taken:
            return False
        self._taken -= 1
        return True

    def add(self, credits: int) -> None:
        self._added += credits
        # Credits that were not reserved must be visible to others at once.
        if abs(self._added) >= self._due or (self._capped and self._added > 0):
            self._due = self._most
            try:
                self.settle()
            except OSError:
                # The page is paid and must be landed. Count later.
                self._due += abs(self._added)

    def at_least(self, credits: int) -> int:
        self._of.raise_to(credits)
        return self.count

    @property
    def count(self) -> int:
        self.settle()
        return self._of.count() or 0

    def settle(self) -> None:
        change = self._added - self._taken
        if change > 0:
            self._of.add(change)
        self._added = self._taken = 0
        # If this fails, too much stays counted, because it may have been written.
        if change < 0:
            self._of.add(change)


def meter_of(
    where: Path | Shared, spent: Callable[[], int], *, stays_open: bool = True
) -> DayMeter:
    """The counter of a day or a handle, in a file or shared."""
    if isinstance(where, Shared):
        return SharedMeter(where, spent, stays_open=stays_open)
    return DayMeter(where, spent, stays_open=stays_open)


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
