"""Reading the lists of a day: every page landed before the next one is asked for.

Touches the vendor and the landing, no database and no Dagster. Each list ends as finished (its
landing has an end) or unfinished (its pages stay landed, and the next attempt goes on from there).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Literal, TypeVar

from sf_assets.landing import (
    Landed,
    Landing,
    LandingDamaged,
    LandingTaken,
    Page,
    SnapshotKey,
    SnapshotLog,
    wait_a_little,
)
from sf_assets.rehearsal import crash_point
from sf_assets.social_fetch import (
    Answer,
    ContractViolation,
    EndReason,
    FollowersResponse,
    FollowingResponse,
    InsufficientCredits,
    ListWalk,
    LookupStatus,
    SocialFetchClient,
    SocialFetchError,
    StopEverything,
    parse_page,
)

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class ListToRead:
    """One list of the day's plan.

    `status_before` is its lookup status when last seen, `pages_before` how many pages it had then.
    """

    key: SnapshotKey
    max_pages: int | None = None
    user_id: str | None = None
    priority: int = 0
    status_before: str | None = None
    pages_before: int | None = None


@dataclass(frozen=True)
class Collected:
    """What became of one list.

    `finished` means that `landed` can be loaded; otherwise `reason` says why not. `bought` and
    `credits` are the pages and credits of this attempt alone. `stopped` is set where the vendor
    refused us altogether, `permanent` where trying again would not help. `pages_missing` is how
    many pages the rest of a list that money cut short has by its reported total, None where no page
    of it is known. `new_fields` counts what the contract does not have.
    """

    key: SnapshotKey
    finished: bool
    landed: Landed | None = None
    bought: int = 0
    credits: int = 0
    reason: str | None = None
    permanent: bool = False
    stopped: Literal["unauthorized", "credits"] | None = None
    pages_missing: int | None = None
    new_fields: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Budget:
    """Credits left to spend today; None is no cap. Taken before a page, so it is never overrun."""

    limit: int | None
    spent: int = 0
    _promised: int = field(default=0, repr=False)

    def take(self) -> bool:
        """Reserve a credit for a page; False where the cap is reached."""
        if self.limit is not None and self.spent + self._promised >= self.limit:
            return False
        self._promised += 1
        return True

    def settle(self, credits: int) -> None:
        """The page came (or did not, with 0): the reservation becomes what was charged."""
        self._promised -= 1
        self.spent += credits


def spent_on(landing: Landing, day: date) -> int:
    """Credits charged for all landed answers of a day."""
    total = 0
    for key in landing.keys(day):
        with contextlib.suppress(LandingDamaged):
            landed = landing.read(key)
            total += landed.credits if landed else 0
    return total


async def collect(
    lists: Sequence[ListToRead],
    *,
    client: SocialFetchClient,
    landing: Landing,
    budget: Budget,
    concurrency: int,
    run_id: str,
    refresh: str | None = None,
    progress: Callable[[SnapshotKey, ListWalk], None] | None = None,
    today: Callable[[], date] | None = None,
) -> AsyncIterator[Collected]:
    """Read lists, `concurrency` at a time, high priority first; yields each as it ends.

    Of equal priority the longest begins first, and who knows how long a new one is: a day lasts as
    long as its longest list, if that does not have to wait for others.

    What is finished for the day is not read again, unless `refresh` names a new intent: then it is
    walked anew once, however often the run is retried. A snapshot belongs to the day its first page
    is asked for: where `today` has moved on by then, the list is not begun. One that is begun is
    read to its end.
    """
    turns = asyncio.Semaphore(concurrency)

    async def read(wanted: ListToRead) -> Collected:
        async with turns:
            return await _Reader(
                wanted, client, landing, budget, run_id, refresh, progress, today
            ).run()

    ordered = sorted(
        lists,
        key=lambda wanted: (
            -wanted.priority,
            -math.inf if wanted.pages_before is None else -wanted.pages_before,
            wanted.key,
        ),
    )
    tasks = [asyncio.ensure_future(read(wanted)) for wanted in ordered]
    try:
        for ended in asyncio.as_completed(tasks):
            yield await ended
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Reader:
    """Reads one list to its end, or to the error that stops it."""

    def __init__(
        self,
        wanted: ListToRead,
        client: SocialFetchClient,
        landing: Landing,
        budget: Budget,
        run_id: str,
        refresh: str | None,
        progress: Callable[[SnapshotKey, ListWalk], None] | None,
        today: Callable[[], date] | None,
    ) -> None:
        self.wanted, self.key = wanted, wanted.key
        self.client, self.landing, self.budget = client, landing, budget
        self.run_id, self.refresh, self.progress = run_id, refresh, progress
        self.today = today
        self.bought = 0
        self.credits = 0
        self.new_fields: Counter[str] = Counter()

    async def run(self) -> Collected:
        try:
            while True:
                try:
                    with await self._open() as log:
                        if not await self._landing_does(partial(self._needs_reading, log)):
                            return self._finished(log)
                        return await self._read(log)
                except LandingTaken:
                    continue  # its pages are waited for, like those of one who came first
        except LandingDamaged as error:
            return self._unfinished(str(error), permanent=True)
        except OSError as error:
            return self._unfinished(
                f"{self.key}: pages cannot be landed ({error}); free some space or mend the disk, "
                "then run the day again"
            )

    async def _open(self) -> SnapshotLog:
        attempt = 0
        # Another run reads this list just now: wait for its pages instead of buying them twice.
        while (log := await self._landing_does(lambda: self.landing.open(self.key))) is None:
            await asyncio.sleep(wait_a_little(attempt))
            attempt += 1
        return log

    async def _landing_does(self, work: Callable[[], _Result]) -> _Result:
        """Where the landing is far away, the other lists are read on meanwhile."""
        return await asyncio.to_thread(work) if self.landing.far else work()

    def _needs_reading(self, log: SnapshotLog) -> bool:
        last = log.last
        if last is None:
            log.begin(self.refresh or "", self.run_id)
            return True
        if self.refresh is not None:
            if last.settled and last.token != self.refresh:
                log.begin(self.refresh, self.run_id)
                return True
            if not last.settled and last.token != self.refresh:
                log.adopt(self.refresh)  # else a retry of this run would walk the list once more
            return not last.settled
        return not log.settled

    async def _read(self, log: SnapshotLog) -> Collected:
        relation, handle = self.key.relation, self.key.handle
        walk = ListWalk(relation, handle, max_pages=self.wanted.max_pages)
        for page in log.pages():
            walk.update(parse_page(relation, page.body))
        walk.reopen()
        if walk.pages == 0 and self.today is not None and self.today() != self.key.day:
            return self._unfinished(
                f"{self.key}: the day was over (UTC) before its first page was asked for; nothing "
                "was bought. The next snapshot is compared across the gap",
                permanent=True,
            )
        try:
            while walk.has_next_page:
                if not self.budget.take():
                    walk.stop(EndReason.BUDGET)
                    break
                answer = await self._ask(walk, log)
                if answer is not None:
                    walk.update(answer.response)
                    self.new_fields.update(new_fields(answer.response))
                    if self.progress is not None:
                        self.progress(self.key, walk)
        except InsufficientCredits as error:
            if not walk.pages:
                return self._unfinished(str(error), permanent=True, stopped="credits")
            walk.stop(EndReason.OUT_OF_CREDITS)
            return await self._finish(
                log,
                walk,
                reason=str(error),
                stopped="credits",
                pages_missing=pages_missing(walk),
            )
        except ContractViolation as error:
            reason = _new_status(error.body) or error.reason
            place = self.landing.quarantine(self.key, walk.pages + 1, reason, error.body)
            said = str(error).replace(error.reason, reason)
            return self._unfinished(f"{said} The answer is kept in {place}", permanent=True)
        except StopEverything as error:
            return self._unfinished(str(error), permanent=True, stopped="unauthorized")
        except SocialFetchError as error:
            return self._unfinished(
                f"{error} {walk.pages} pages are landed; the next attempt goes on from there"
            )
        if walk.lookup_status is None:
            return self._unfinished(
                f"{self.key}: the daily budget of {self.budget.limit} credits was spent before its "
                "first page; raise SF_ASSETS_DAILY_CREDITS or its priority",
                permanent=True,
            )
        return await self._finish(log, walk)

    async def _ask(self, walk: ListWalk, log: SnapshotLog) -> Answer | None:
        """Buy and land the next page; None where its status is doubted and is to be asked again."""
        params = walk.request_params()
        charged = 0
        try:
            answer = await self.client.list_page(
                self.key.relation,
                self.key.handle,
                user_id=self.wanted.user_id if self.key.relation == "followers" else None,
                **params,
            )
            charged = answer.credits_charged
        except ContractViolation:
            charged = 1  # a 200 is most likely charged, whatever is in it
            raise
        finally:
            self.budget.settle(charged)
        crash_point("answered")
        doubted = self._doubtful(walk, log, answer)
        page = Page(
            number=params["page"],
            cursor=params["cursor"],
            received_at=answer.received_at.isoformat(timespec="milliseconds").replace(
                "+00:00", "Z"
            ),
            request_id=answer.request_id,
            credits=charged,
            cached=answer.cached,
            tries=answer.tries,
            body=answer.body,
        )
        await self._landing_does(lambda: log.add_page(page, doubted=doubted))
        crash_point("landed")
        self.bought += 1
        self.credits += charged
        return None if doubted else answer

    def _doubtful(self, walk: ListWalk, log: SnapshotLog, answer: Answer) -> bool:
        """A list that turns private, hidden or missing is asked once more before it is believed.

        The way back needs no second question: a list that came is its own proof.
        """
        status = answer.response.data.lookup_status
        last = log.last
        if status is LookupStatus.FOUND or (last and last.doubted_at == walk.pages + 1):
            return False
        before = "found" if walk.pages else self.wanted.status_before
        return before is not None and before != status.value

    async def _finish(
        self,
        log: SnapshotLog,
        walk: ListWalk,
        *,
        reason: str | None = None,
        stopped: Literal["credits"] | None = None,
        pages_missing: int | None = None,
    ) -> Collected:
        if walk.lookup_status is None:
            raise ValueError("a walk without pages has no outcome")
        status = walk.lookup_status.value
        ended = walk.end_reason.value if walk.end_reason else None
        await self._landing_does(lambda: log.finish(status, ended, self.run_id))
        await asyncio.to_thread(log.make_durable)
        crash_point("ended")
        return self._finished(log, reason=reason, stopped=stopped, pages_missing=pages_missing)

    def _finished(
        self,
        log: SnapshotLog,
        *,
        reason: str | None = None,
        stopped: Literal["credits"] | None = None,
        pages_missing: int | None = None,
    ) -> Collected:
        return Collected(
            self.key,
            True,
            log.landed(),
            self.bought,
            self.credits,
            reason=reason,
            stopped=stopped,
            pages_missing=pages_missing,
            new_fields=self.new_fields,
        )

    def _unfinished(
        self,
        reason: str,
        *,
        permanent: bool = False,
        stopped: Literal["unauthorized", "credits"] | None = None,
    ) -> Collected:
        return Collected(
            self.key,
            False,
            None,
            self.bought,
            self.credits,
            reason=reason,
            permanent=permanent,
            stopped=stopped,
            new_fields=self.new_fields,
        )


def pages_missing(walk: ListWalk) -> int | None:
    """About how many more pages a walk would take, by its reported total and its pages so far."""
    if walk.reported_total is None or not walk.listed:
        return None
    rest = max(1.0, (walk.reported_total - walk.listed) * walk.pages / walk.listed)
    whole = math.ceil(rest)
    return whole if walk.max_pages is None else max(0, min(whole, walk.max_pages - walk.pages))


def new_fields(response: FollowersResponse | FollowingResponse) -> dict[str, int]:
    """Where an answer has fields that the contract does not have, and how often.

    The landing keeps the answer as it came. `avatarUrls` and `details` are the vendor's to fill.
    """
    data = response.data
    found: Counter[str] = Counter()
    for place, model in (("", response), ("data.", data), ("data.page.", data.page)):
        found.update(f"{place}{name}" for name in model.model_extra or ())
    found.update(f"meta.{name}" for name in response.meta.model_extra or ())
    for account in data.accounts:
        if account.model_extra:
            found.update(f"account.{name}" for name in account.model_extra)
        if account.metrics.model_extra:
            found.update(f"account.metrics.{name}" for name in account.metrics.model_extra)
    return found


def _new_status(body: bytes) -> str | None:
    """What is wrong with an answer of an unknown status; None where it has none."""
    try:
        status = json.loads(body)["data"]["lookupStatus"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    known = [one.value for one in LookupStatus]
    if not isinstance(status, str) or status in known:
        return None
    return (
        f"lookupStatus is {status[:40]!a}, which this version does not know (it knows "
        f"{', '.join(known)}); an update of sf_assets may, and the day can then be run again"
    )
