"""Reading one list: every page landed before the next one is asked for.

Touches the vendor and the landing, no database and no Dagster. A list ends as finished (its landing
has an end) or unfinished (its pages stay landed, and the next attempt goes on from there).
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial
from typing import Literal, TypeVar

from sf_assets.credits.budget import Budget
from sf_assets.errors import SfAssetsError
from sf_assets.fault_injection import crash_point
from sf_assets.ingest.overlap import KnownList, KnownRun
from sf_assets.model import SnapshotKey
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
from sf_assets.storage.landing import Landing, SnapshotLog
from sf_assets.storage.records import (
    Attempt,
    Landed,
    LandingDamaged,
    LandingTaken,
    Page,
)
from sf_assets.text import counted, first_line, one_line

_Result = TypeVar("_Result")
_log = logging.getLogger("sf_assets.reading")


class AnswerUnusable(SfAssetsError):
    """A page that was most likely paid for and breaks the contract; it is in quarantine."""


class BudgetSpent(SfAssetsError):
    """Our own caps leave nothing for a page."""


Stopped = Literal["unauthorized", "credits", "budget"]


@dataclass(frozen=True)
class ListToRead:
    """One list of the day's plan.

    `status_before` is its lookup status when last seen, `pages_before` how many pages it had then.
    `paid` is what the day's walk that goes on has cost already, `largest` how many accounts the
    list has shown at most so far. Where it is not `whole`, `known`
    gives the list as it was, and what is as it was there is read no further.
    """

    key: SnapshotKey
    max_pages: int | None = None
    user_id: str | None = None
    priority: int = 0
    status_before: str | None = None
    pages_before: int | None = None
    paid: int = 0
    largest: int = 0
    whole: bool = True
    known: Callable[[], KnownList] | None = None


@dataclass(frozen=True)
class Collected:
    """What became of one list.

    `finished` means that `landed` can be loaded; otherwise `reason` says why not. `bought` and
    `credits` are what this run alone bought and spent. `attempts` are all that are landed of the
    list. `stopped` is set where the vendor refused us altogether, or `budget` where our own caps
    left nothing for its first page; `permanent` where trying again would not help. `pages_missing`
    is how many pages the rest of a list that was cut short has by its reported total, None where no
    page of it is known. `peeked`: only its first page was wanted so far. `new_fields` counts
    what the contract does not have.
    """

    key: SnapshotKey
    finished: bool
    landed: Landed | None = None
    bought: int = 0
    credits: int = 0
    reason: str | None = None
    permanent: bool = False
    stopped: Stopped | None = None
    pages_missing: int | None = None
    peeked: bool = False
    new_fields: Mapping[str, int] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()

    @property
    def cut(self) -> bool:
        """Whether a larger budget would have bought more of it."""
        if self.landed is not None and self.landed.attempts:
            end = self.landed.attempts[-1].end
            return end is not None and end.end_reason == EndReason.BUDGET.value
        return self.stopped == "budget"


async def first_page(
    wanted: ListToRead,
    *,
    client: SocialFetchClient,
    landing: Landing,
    budget: Budget,
    run_id: str,
) -> ListWalk:
    """Buy and land the first page of a list, unless it is landed already; the walk so far.

    A snapshot of the same day goes on from there. Raises SocialFetchError, LandingDamaged,
    BudgetSpent where a cap leaves nothing for it, and AnswerUnusable.
    """
    reader = Reader(wanted, client, landing, budget, run_id, None, None, None)
    with await reader._open() as log:
        if log.last is None:
            log.begin("", run_id)
        walk = ListWalk(wanted.key.relation, wanted.key.handle)
        for page in log.pages():
            walk.update(parse_page(wanted.key.relation, page.body))
        if walk.pages == 0:
            if not budget.take(wanted.key):
                raise BudgetSpent(f"{wanted.key}: the credits of this day are spent")
            try:
                answer = await reader._ask(walk, log)
            except ContractViolation as error:
                raise AnswerUnusable(reader._kept(error, 1)) from None
            if answer is not None:
                walk.update(answer.response)
    return walk


class Reader:
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
        *,
        peek: bool = False,
    ) -> None:
        self.wanted, self.key = wanted, wanted.key
        self.client, self.landing, self.budget = client, landing, budget
        self.run_id, self.refresh, self.progress = run_id, refresh, progress
        self.today = today
        self.peek = peek
        self.bought = 0
        self.credits = 0
        self.new_fields: Counter[str] = Counter()

    async def run(self) -> Collected:
        try:
            while True:
                try:
                    with await self._open() as log:
                        ended = (
                            await self._read(log)
                            if await self._landing_does(partial(self._needs_reading, log))
                            else self._finished(log)
                        )
                        return replace(ended, attempts=tuple(log.attempts))
                except LandingTaken:
                    continue  # its pages are waited for, like those of one who came first
        except LandingDamaged as error:
            return self._unfinished(str(error), permanent=True)
        except OSError as error:
            return self._unfinished(
                f"{self.key}: pages cannot be landed ({first_line(error)}); free some space or "
                "mend the disk, then run the day again"
            )
        except Exception as error:  # whatever it is, it is this list's trouble and no other's
            _log.debug("%s cannot be read", self.key, exc_info=True)
            return self._unfinished(
                f"{self.key} cannot be read ({type(error).__name__}: "
                f"{one_line(first_line(error))}). What was landed is kept; the next attempt goes "
                "on from there"
            )

    async def _open(self) -> SnapshotLog:
        attempt = 0
        # Another run reads this list just now: wait for its pages instead of buying them twice.
        while (log := await self._landing_does(lambda: self.landing.open(self.key))) is None:
            await asyncio.sleep(min(2.0, 0.05 * 2 ** min(attempt, 6)) * random.uniform(0.5, 1.0))
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
        known = self.wanted.known() if self.wanted.known and not self.wanted.whole else None
        walk = ListWalk(
            relation,
            handle,
            max_pages=self.wanted.max_pages,
            known=KnownRun(known) if known else None,
            largest=self.wanted.largest,
        )
        for page in log.pages():
            if walk.end_reason is EndReason.STALLED:
                break  # an older version read on
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
                if self.peek and walk.pages:
                    return self._unfinished(
                        f"{self.key}: its other pages were not asked for yet; the next attempt "
                        "goes on from there",
                        peeked=True,
                        pages_missing=pages_missing(walk),
                    )
                if not self.budget.take(self.key):
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
            return self._unfinished(self._kept(error, walk.pages + 1), permanent=True)
        except StopEverything as error:
            return self._unfinished(str(error), permanent=True, stopped="unauthorized")
        except SocialFetchError as error:
            return self._unfinished(
                f"{error} {counted(walk.pages, 'page is', 'pages are')} landed; the next "
                "attempt goes on from there"
            )
        if walk.lookup_status is None:
            return self._unfinished(
                f"{self.key}: the day's credits were spent before its first page; raise "
                "SF_ASSETS_DAILY_CREDITS, or the handle's daily_credits or priority",
                permanent=True,
                stopped="budget",
            )
        return await self._finish(log, walk)

    async def _ask(self, walk: ListWalk, log: SnapshotLog) -> Answer | None:
        """Buy and land the next page; None where its status is doubted and is to be asked again."""
        params = walk.request_params()
        spent = pages = 0
        try:
            answer = await self.client.list_page(
                self.key.relation,
                self.key.handle,
                user_id=self.wanted.user_id if self.key.relation == "followers" else None,
                **params,
            )
            # A 200 is most likely charged, whatever is in it.
            spent, pages = answer.credits_charged + answer.unread, 1
            await self._note_unread(log, params["page"], answer.unread, 1)
        except SocialFetchError as error:
            spent = error.unread
            await self._note_unread(log, params["page"], error.unread, error.tries)
            raise
        finally:
            self.budget.settle(spent, self.key, pages)
        crash_point("answered")
        doubted = self._doubtful(walk, log, answer)
        page = Page(
            number=params["page"],
            cursor=params["cursor"],
            received_at=answer.received_at.isoformat(timespec="milliseconds").replace(
                "+00:00", "Z"
            ),
            request_id=answer.request_id,
            credits=answer.credits_charged,
            cached=answer.cached,
            tries=answer.tries,
            body=answer.body,
            damaged=answer.damaged,
        )
        await self._landing_does(lambda: log.add_page(page, doubted=doubted))
        crash_point("landed")
        self.bought += 1
        self.credits += answer.credits_charged
        return None if doubted else answer

    def _kept(self, error: ContractViolation, page: int) -> str:
        """Put the answer to a page beside the landing; says why, and where it is."""
        reason = _new_status(error.body) or error.reason
        place = self.landing.quarantine(self.key, page, reason, error.body)
        return f"{str(error).replace(error.reason, reason)} The answer is kept in {place}"

    async def _note_unread(self, log: SnapshotLog, page: int, answers: int, tries: int) -> None:
        if answers:
            await self._landing_does(lambda: log.add_unread(page, answers, tries))
            self.credits += answers

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
        stopped: Stopped | None = None,
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
        stopped: Stopped | None = None,
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
        stopped: Stopped | None = None,
        peeked: bool = False,
        pages_missing: int | None = None,
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
            peeked=peeked,
            pages_missing=pages_missing,
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
        if account.metrics is not None and account.metrics.model_extra:
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
