"""Reading lists in a thread of its own, and handing over what is finished in batches.

Dagster writes its events in the thread that runs the asset, tens of milliseconds each; the pages of
other lists must not wait for that, nor for a load.
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

# Finished lists are handed over when they have so many pages, or when so many seconds have passed.
BATCH_PAGES = 2_000
BATCH_SECONDS = 15.0
# What is said in a run's log is a row in Dagster's event log, tens of milliseconds dear: the news
# of so many seconds are one message.
SAY_SECONDS = 5.0


def read_in_batches(
    collecting: Callable[[], AsyncIterator[Collected]],
    say: Callable[[str], None],
) -> Iterator[list[Collected]]:
    """Yields what `collecting` yields, in batches, as soon as a batch is due.

    `say` is told how far long lists are, in the thread that iterates, not oftener than every
    SAY_SECONDS. Raises what `collecting` raises. Closing this generator cancels the reading.
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
                    item = ended.get(timeout=min(SAY_SECONDS, max(0.1, due - time.monotonic())))
                    if isinstance(item, BaseException):
                        raise item
                    if item is None:
                        reading = False
                    else:
                        batch.append(item)
                long_lists.tell(say)
                pages = sum(one.bought for one in batch)
                if not reading or pages >= BATCH_PAGES or time.monotonic() >= due:
                    if batch:
                        yield batch
                    batch = []
                    due = time.monotonic() + BATCH_SECONDS
    finally:
        reader.stop()


class LongLists:
    """How far the long lists are, gathered in the thread that reads them, told in another one."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._due = time.monotonic()

    def note(self, key: SnapshotKey, walk: ListWalk) -> None:
        """Take in a page that has landed, in the thread that reads."""
        left = self._pace.seconds_left(key, walk)
        if is_long_way(walk):
            self._lines.put(line(key, walk, left))

    def tell(self, say: Callable[[str], None]) -> None:
        """Say in one message what was noted since the last one, where that is long enough ago."""
        if self._lines.empty() or time.monotonic() < self._due:
            return
        said = []
        while not self._lines.empty():
            said.append(self._lines.get())
        say("\n".join(said))
        self._due = time.monotonic() + SAY_SECONDS


class _Reader(threading.Thread):
    """An event loop that drains an async iterator into a queue; None, or an error, is its end."""

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
        """Cancel what still runs, because the run was terminated, and wait for it."""
        if self.is_alive() and self._task is not None:
            with contextlib.suppress(RuntimeError):  # it ended, and its loop is closed, just now
                self._loop.call_soon_threadsafe(self._task.cancel)
        self.join(timeout=30)
