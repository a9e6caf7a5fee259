"""Reading the lists of a day: how many at once, which first, what goes to those cut short."""

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
    """Read lists, `concurrency` at a time, high priority first; yields each as it ends.

    Of equal priority the longest begins first: a day lasts as long as its longest list, if that
    does not have to wait for others. Where lists have to take turns, of those whose length nobody
    knows all first pages are read before any second one: they tell the total.

    What is finished for the day is not read again, unless `refresh` names a new intent: then it is
    walked anew once, however often the run is retried. A snapshot belongs to the day its first page
    is asked for: where `today` has moved on by then, the list is not begun. One that is begun is
    read to its end. Lists that the budget cut go on when all others have ended, with what those
    did not need.
    """

    async def read(wanted: ListToRead, peek: bool) -> Collected:
        return await Reader(wanted, run, peek=peek).run()

    waiting = sorted(lists, key=lambda wanted: _rank(wanted, None))
    before: dict[SnapshotKey, Collected] = {}
    while waiting:
        cut: dict[SnapshotKey, Collected] = {}
        async with contextlib.aclosing(_in_turns(waiting, concurrency, read)) as ended:
            async for found in ended:
                one = _added(before.get(found.key), found)
                if one.cut:
                    cut[one.key] = one
                else:
                    yield one
        again = set(run.budget.share_again([wanted.key for wanted in waiting if wanted.key in cut]))
        for key, one in cut.items():
            if key not in again:
                yield one
        before = {key: cut[key] for key in again}
        waiting = [wanted for wanted in waiting if wanted.key in again]


def _rank(wanted: ListToRead, peeked: Collected | None) -> tuple[int, float, SnapshotKey]:
    """Who comes first: the least rank. `peeked` is what the list's first page told."""
    pages = wanted.pages_before if peeked is None else peeked.pages_missing
    return -wanted.priority, -math.inf if pages is None else -pages, wanted.key


async def _in_turns(
    lists: Sequence[ListToRead],
    concurrency: int,
    read: Callable[[ListToRead, bool], Awaitable[Collected]],
) -> AsyncGenerator[Collected, None]:
    """Read lists, `concurrency` at a time; yields each as it ends."""
    crowded = len(lists) > concurrency
    turns: asyncio.PriorityQueue[tuple[Any, ListToRead, Collected | None]] = asyncio.PriorityQueue()
    for wanted in lists:
        turns.put_nowait((_rank(wanted, None), wanted, None))
    ended: asyncio.Queue[Collected | Exception] = asyncio.Queue()

    async def work() -> None:
        # Who ends here leaves a list in the hands of each of the others, and none that waits.
        while not turns.empty():
            _, wanted, peeked = turns.get_nowait()
            peek = crowded and peeked is None and wanted.pages_before is None
            try:
                found = _added(peeked, await read(wanted, peek))
            except Exception as error:
                ended.put_nowait(error)
                return
            if found.outcome is Outcome.PEEKED:
                turns.put_nowait((_rank(wanted, found), wanted, found))
            else:
                ended.put_nowait(found)

    workers = [asyncio.ensure_future(work()) for _ in range(min(concurrency, len(lists)))]
    try:
        for _ in lists:
            found = await ended.get()
            if isinstance(found, Exception):
                raise found
            yield found
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def _added(before: Collected | None, now: Collected) -> Collected:
    """What was bought in two turns, as one."""
    if before is None:
        return now
    return replace(
        now,
        bought=before.bought + now.bought,
        credits=before.credits + now.credits,
        new_fields=Counter(before.new_fields) + Counter(now.new_fields),
    )
