"""Reads lists in a separate thread and returns finished lists in batches.

Dagster writes events in the thread of the asset, tens of milliseconds each. The pages of other
lists must not wait for that, nor for a load.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator

from sf_assets.ingest.progress import Pace, is_long_way, line, watching
from sf_assets.ingest.reader import Collected
from sf_assets.model import SnapshotKey
from sf_assets.social_fetch import ListWalk

# A batch is returned when it has this many pages or after this many seconds.
BATCH_PAGES = 2_000
BATCH_SECONDS = 15.0
# The pause between progress messages: each takes tens of milliseconds in Dagster's event log.
LOG_SECONDS = 5.0


def read_in_batches(
    collecting: Callable[[], AsyncIterator[Collected]],
    log: Callable[[str], None],
) -> Iterator[list[Collected]]:
    """Yield the results of `collecting` in batches, as soon as a batch is due.

    Calls `log` with the progress of long lists, in the caller's thread, at most every LOG_SECONDS.
    Raises what `collecting` raises. Closing the generator cancels the reading.
    """
    ended: queue.Queue[Collected | BaseException | None] = queue.Queue()
    reader, long_lists = _Reader(collecting, ended), LongLists()
    batch: list[Collected] = []
    due = time.monotonic() + BATCH_SECONDS
    reading = True
    try:
        with watching(long_lists.note):
            reader.start()
            while reading:
                with contextlib.suppress(queue.Empty):
                    item = ended.get(timeout=min(LOG_SECONDS, max(0.1, due - time.monotonic())))
                    if isinstance(item, BaseException):
                        raise item
                    if item is None:
                        reading = False
                    else:
                        batch.append(item)
                long_lists.flush(log)
                pages = sum(collected.bought for collected in batch)
                if not reading or pages >= BATCH_PAGES or time.monotonic() >= due:
                    if batch:
                        yield batch
                    batch = []
                    due = time.monotonic() + BATCH_SECONDS
    finally:
        reader.stop()


class LongLists:
    """The progress of long lists, noted in the reading thread and logged in another one."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._due = time.monotonic()

    def note(self, key: SnapshotKey, walk: ListWalk) -> None:
        """Note a landed page. Called in the reading thread."""
        left = self._pace.seconds_left(key, walk)
        if is_long_way(walk):
            self._lines.put(line(key, walk, left))

    def flush(self, log: Callable[[str], None]) -> None:
        """Log what was noted since the last message, if LOG_SECONDS have passed."""
        if self._lines.empty() or time.monotonic() < self._due:
            return
        noted = []
        while not self._lines.empty():
            noted.append(self._lines.get())
        log("\n".join(noted))
        self._due = time.monotonic() + LOG_SECONDS


class _Reader(threading.Thread):
    """Runs an async iterator and puts its items into a queue; None or an error marks the end."""

    def __init__(
        self,
        collecting: Callable[[], AsyncIterator[Collected]],
        ended: queue.Queue[Collected | BaseException | None],
    ) -> None:
        super().__init__(name="reading lists", daemon=True)
        self._collecting, self._ended = collecting, ended
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None

    async def _drain(self) -> None:
        async for item in self._collecting():
            self._ended.put(item)

    def run(self) -> None:
        """Run the iterator to its end. Called by `start`."""
        try:
            self._task = self._loop.create_task(self._drain())
            self._loop.run_until_complete(self._task)
            self._ended.put(None)
        except BaseException as error:
            self._ended.put(error)
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    def stop(self) -> None:
        """Cancel the reading if it still runs, and wait for it."""
        if self.is_alive() and self._task is not None:
            with contextlib.suppress(RuntimeError):  # it has just ended and closed its loop
                self._loop.call_soon_threadsafe(self._task.cancel)
        self.join(timeout=30)
