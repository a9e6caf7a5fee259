"""Reads the lists of a run: how many at once, in which order, and what cut lists still get."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from sf_assets.ingest.reader import Collected, ListToRead, Outcome, Reader, RunContext
from sf_assets.model import SnapshotKey


async def collect(
    lists: Sequence[ListToRead], run: RunContext, *, concurrency: int
) -> AsyncIterator[Collected]:
    """Read lists, `concurrency` at a time, high priority first; yields each list when it ends.

    Among lists of equal priority the longest begins first, because a day takes as long as its
    longest list. If lists must wait for each other, the first pages of lists of unknown length are
    read before any second page, because they show the total.

    A finished list is not read again, unless `refresh` names a new refresh: then it is read once
    more, however often the run is retried. A snapshot belongs to the day of its first request: if
    `today` has changed by then, the list is not begun. A list that is begun is read to its end.
    Lists that the budget cut continue at the end, with what the other lists did not need.
    """

    async def read(wanted: ListToRead, peek: bool) -> Collected:
        return await Reader(wanted, run, peek=peek).run()

    waiting = sorted(lists, key=lambda wanted: _rank(wanted, None))
    before: dict[SnapshotKey, Collected] = {}
    while waiting:
        cut: dict[SnapshotKey, Collected] = {}
        async with contextlib.aclosing(_in_turns(waiting, concurrency, read)) as ended:
            async for collected in ended:
                whole = _added(before.get(collected.key), collected)
                if whole.cut:
                    cut[whole.key] = whole
                else:
                    yield whole
        again = set(run.budget.share_again([wanted.key for wanted in waiting if wanted.key in cut]))
        for key, collected in cut.items():
            if key not in again:
                yield collected
        before = {key: cut[key] for key in again}
        waiting = [wanted for wanted in waiting if wanted.key in again]


def _rank(wanted: ListToRead, peeked: Collected | None) -> tuple[int, float, SnapshotKey]:
    """The rank of a list; the lowest is read first. `peeked` is the result of its first page."""
    pages = wanted.pages_before if peeked is None else peeked.pages_missing
    return -wanted.priority, -math.inf if pages is None else -pages, wanted.key


async def _in_turns(
    lists: Sequence[ListToRead],
    concurrency: int,
    read: Callable[[ListToRead, bool], Awaitable[Collected]],
) -> AsyncGenerator[Collected, None]:
    """Read lists, `concurrency` at a time, in turns; yields each list when it ends."""
    crowded = len(lists) > concurrency
    turns: asyncio.PriorityQueue[tuple[Any, ListToRead, Collected | None]] = asyncio.PriorityQueue()
    for wanted in lists:
        turns.put_nowait((_rank(wanted, None), wanted, None))
    ended: asyncio.Queue[Collected | Exception] = asyncio.Queue()

    async def work() -> None:
        # When a worker ends, no list waits and each other worker holds one.
        while not turns.empty():
            _, wanted, peeked = turns.get_nowait()
            peek = crowded and peeked is None and wanted.pages_before is None
            try:
                collected = _added(peeked, await read(wanted, peek))
            except Exception as error:
                ended.put_nowait(error)
                return
            if collected.outcome is Outcome.PEEKED:
                turns.put_nowait((_rank(wanted, collected), wanted, collected))
            else:
                ended.put_nowait(collected)

    workers = [asyncio.ensure_future(work()) for _ in range(min(concurrency, len(lists)))]
    try:
        for _ in lists:
            collected = await ended.get()
            if isinstance(collected, Exception):
                raise collected
            yield collected
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def _added(before: Collected | None, now: Collected) -> Collected:
    """The result of a list that was read in two turns."""
    if before is None:
        return now
    return replace(
        now,
        bought=before.bought + now.bought,
        credits=before.credits + now.credits,
        new_fields=Counter(before.new_fields) + Counter(now.new_fields),
    )
