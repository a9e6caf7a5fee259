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
from enum import Enum
from functools import partial
from typing import TypeVar

from sf_assets.credits.budget import Budget
from sf_assets.errors import SfAssetsError
from sf_assets.fault_injection import crash_point
from sf_assets.ingest.measures import measures_of
from sf_assets.ingest.overlap import KnownList, KnownRun
from sf_assets.model import SnapshotKey
from sf_assets.social_fetch import (
    AccountError,
    Answer,
    AnyPage,
    BadRequest,
    ContractViolation,
    EndReason,
    InsufficientCredits,
    ListWalk,
    LookupFailed,
    LookupStatus,
    SocialFetchClient,
    SocialFetchError,
    parse_page,
)
from sf_assets.storage.door import Door
from sf_assets.storage.landing import Landing, SnapshotLog
from sf_assets.storage.records import (
    Attempt,
    Landed,
    LandingDamaged,
    LandingTaken,
    Page,
    stamp,
)
from sf_assets.text import counted, first_line, one_line

_Result = TypeVar("_Result")
_log = logging.getLogger("sf_assets.reading")


# A lookup that fails so many times, a run each, after so many accounts, is the end of what TikTok
# shows: no smaller cap was ever seen.
REFUSALS, LEAST_CAP = 3, 1_000


class AnswerUnusable(SfAssetsError):
    """A page that was most likely paid for and breaks the contract; it is in quarantine."""


class BudgetSpent(SfAssetsError):
    """Our own caps leave nothing for a page."""


class Outcome(Enum):
    """What became of a list. The names of the last three are those of run metadata."""

    FINISHED = "finished"
    PEEKED = "peeked"
    """Only its first page was wanted so far."""
    BROKEN_OFF = "broken off"
    """Another attempt may finish it."""
    FAILED = "failed"
    """Another attempt would not help."""
    BUDGET = "budget"
    """Our own caps left nothing for its first page."""
    CREDITS = "credits"
    """The vendor asks for credits; where pages came before, they are landed as a window."""
    UNAUTHORIZED = "unauthorized"
    """The vendor refused the key."""


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
class RunContext:
    """What the lists of a run share.

    `door` is that of the home; `refresh` names a new intent, see `collect`; `progress` is called
    after each landed page; `today` tells the day, where a list must not be begun on a later one.
    """

    client: SocialFetchClient
    landing: Landing
    budget: Budget
    run_id: str
    door: Door
    refresh: str | None = None
    progress: Callable[[SnapshotKey, ListWalk], None] | None = None
    today: Callable[[], date] | None = None


@dataclass(frozen=True)
class Collected:
    """What became of one list.

    `landed` is what can be loaded, None where nothing can; `reason` says why it is not all.
    `bought` and `credits` are what this run alone bought and spent. `attempts` are all that are
    landed of the list. `pages_missing` is how many pages the rest of a list that was cut short has
    by its reported total, None where no page of it is known. `new_fields` counts what the contract
    does not have.
    """

    key: SnapshotKey
    outcome: Outcome
    landed: Landed | None = None
    bought: int = 0
    credits: int = 0
    reason: str | None = None
    pages_missing: int | None = None
    new_fields: Mapping[str, int] = field(default_factory=dict)
    attempts: tuple[Attempt, ...] = ()

    @property
    def finished(self) -> bool:
        return self.landed is not None

    @property
    def permanent(self) -> bool:
        """Whether it is unfinished, and another attempt would not help."""
        return not self.finished and self.outcome not in (Outcome.BROKEN_OFF, Outcome.PEEKED)

    @property
    def stopped(self) -> str | None:
        """What stopped it: `unauthorized` and `credits` stop all lists, `budget` this one."""
        stops = (Outcome.UNAUTHORIZED, Outcome.CREDITS, Outcome.BUDGET)
        return self.outcome.value if self.outcome in stops else None

    @property
    def cut(self) -> bool:
        """Whether a larger budget would have bought more of it."""
        if self.landed is not None and self.landed.attempts:
            end = self.landed.attempts[-1].end
            return end is not None and end.end_reason == EndReason.BUDGET.value
        return self.outcome is Outcome.BUDGET


async def first_page(wanted: ListToRead, run: RunContext, pages: int = 1) -> ListWalk:
    """Buy and land the first page of a list, or so many, unless landed already; the walk so far.

    A snapshot of the same day goes on from there. Raises SocialFetchError, LandingDamaged,
    BudgetSpent where a cap leaves nothing for it, and AnswerUnusable.
    """
    reader = Reader(wanted, run)
    with await reader._open() as log:
        if log.last is None:
            log.begin("", run.run_id)
        walk = ListWalk(wanted.key.relation, wanted.key.handle)
        for page in log.pages():
            walk.update(parse_page(wanted.key.relation, page.body))
        while walk.pages < pages and walk.has_next_page and not log.settled:
            if not run.budget.take(wanted.key):
                raise BudgetSpent(f"{wanted.key}: the credits of this day are spent")
            try:
                answer = await reader._ask(walk, log)
            except ContractViolation as error:
                raise AnswerUnusable(reader._kept(error, walk.pages + 1)) from None
            if answer is not None:
                walk.update(answer.response)
    return walk


class Reader:
    """Reads one list to its end, to the error that stops it, or (`peek`) to its first page."""

    def __init__(self, wanted: ListToRead, run: RunContext, *, peek: bool = False) -> None:
        self.wanted, self.key, self.context, self.peek = wanted, wanted.key, run, peek
        self.bought = 0
        self.credits = 0
        self.new_fields: Counter[str] = Counter()

    async def run(self) -> Collected:
        try:
            while True:
                try:
                    with await self._open() as log:
                        if await self._landing_does(partial(self._needs_reading, log)):
                            ended = await self._read(log)
                        else:
                            ended = self._ended(Outcome.FINISHED, landed=log.landed())
                        return replace(ended, attempts=tuple(log.attempts))
                except LandingTaken:
                    continue  # its pages are waited for, like those of one who came first
        except LandingDamaged as error:
            return self._ended(Outcome.FAILED, str(error))
        except OSError as error:
            return self._ended(
                Outcome.BROKEN_OFF,
                f"{self.key}: pages cannot be landed ({first_line(error)}); free some space or "
                "mend the disk, then run the day again",
            )
        except Exception as error:  # whatever it is, it is this list's trouble and no other's
            _log.debug("%s cannot be read", self.key, exc_info=True)
            return self._ended(
                Outcome.BROKEN_OFF,
                f"{self.key} cannot be read ({type(error).__name__}: "
                f"{one_line(first_line(error))}). What was landed is kept; the next attempt goes "
                "on from there",
            )

    async def _open(self) -> SnapshotLog:
        attempt = 0
        landing = self.context.landing
        # Another run reads this list just now: wait for its pages instead of buying them twice.
        while (log := await self._landing_does(lambda: landing.open(self.key))) is None:
            await asyncio.sleep(min(2.0, 0.05 * 2 ** min(attempt, 6)) * random.uniform(0.5, 1.0))
            attempt += 1
        return log

    async def _landing_does(self, work: Callable[[], _Result]) -> _Result:
        """Where the landing is far away, the other lists are read on meanwhile."""
        return await asyncio.to_thread(work) if self.context.landing.far else work()

    def _needs_reading(self, log: SnapshotLog) -> bool:
        last, refresh, run_id = log.last, self.context.refresh, self.context.run_id
        if last is None or (refresh is not None and last.settled and last.token != refresh):
            log.begin(refresh or "", run_id)
            return True
        if refresh is None:
            return not log.settled
        if not last.settled and last.token != refresh:
            log.adopt(refresh)  # else a retry of this run would walk the list once more
        return not last.settled

    async def _read(self, log: SnapshotLog) -> Collected:
        walk = self._walk_so_far(log)
        today = self.context.today
        if walk.pages == 0 and today is not None and today() != self.key.day:
            return self._ended(
                Outcome.FAILED,
                f"{self.key}: the day was over (UTC) before its first page was asked for; nothing "
                "was bought. The next snapshot is compared across the gap",
            )
        try:
            await self._buy_pages(walk, log)
        except SocialFetchError as error:
            return await self._refused(error, walk, log)
        if walk.has_next_page:
            return self._ended(
                Outcome.PEEKED,
                f"{self.key}: its other pages were not asked for yet; the next attempt goes on "
                "from there",
                pages_missing=pages_missing(walk),
            )
        if walk.lookup_status is None:
            return self._ended(
                Outcome.BUDGET,
                f"{self.key}: the day's credits were spent before its first page; raise "
                "SF_ASSETS_DAILY_CREDITS, or the handle's daily_credits or priority",
            )
        return self._ended(Outcome.FINISHED, landed=await self._finish(walk, log))

    def _walk_so_far(self, log: SnapshotLog) -> ListWalk:
        """The walk after the pages that are landed."""
        wanted, relation = self.wanted, self.key.relation
        known = wanted.known() if wanted.known and not wanted.whole else None
        walk = ListWalk(
            relation,
            self.key.handle,
            max_pages=wanted.max_pages,
            known=KnownRun(known) if known else None,
            largest=wanted.largest,
        )
        for page in log.pages():
            if walk.end_reason is EndReason.STALLED:
                break  # an older version read on
            walk.update(parse_page(relation, page.body))
        walk.reopen()
        return walk

    async def _buy_pages(self, walk: ListWalk, log: SnapshotLog) -> None:
        """Buy and land pages until the list ends, the budget stops it, or there is one to peek."""
        while walk.has_next_page and not (self.peek and walk.pages):
            if not self.context.budget.take(self.key):
                walk.stop(EndReason.BUDGET)
                return
            answer = await self._ask(walk, log)
            if answer is not None:
                walk.update(answer.response)
                if self.context.progress is not None:
                    self.context.progress(self.key, walk)

    async def _refused(
        self, error: SocialFetchError, walk: ListWalk, log: SnapshotLog
    ) -> Collected:
        """What becomes of the list after an error of the vendor's."""
        if isinstance(error, InsufficientCredits):
            if not walk.pages:
                return self._ended(Outcome.CREDITS, str(error))
            walk.stop(EndReason.OUT_OF_CREDITS)
            missing, landed = pages_missing(walk), await self._finish(walk, log)
            return self._ended(Outcome.CREDITS, str(error), landed=landed, pages_missing=missing)
        if isinstance(error, ContractViolation):
            return self._ended(Outcome.FAILED, self._kept(error, walk.pages + 1))
        if await self._goes_no_further(error, walk, log):
            walk.stop(EndReason.STALLED)
            return self._ended(Outcome.FINISHED, landed=await self._finish(walk, log))
        if isinstance(error, AccountError):
            return self._ended(Outcome.UNAUTHORIZED, str(error))
        return self._ended(
            Outcome.BROKEN_OFF,
            f"{error} {counted(walk.pages, 'page is', 'pages are')} landed; the next attempt goes "
            "on from there",
        )

    async def _goes_no_further(
        self, error: SocialFetchError, walk: ListWalk, log: SnapshotLog
    ) -> bool:
        """Whether no later attempt would get the next page either: its cursor is refused, or, where
        caps of lists are, its lookup fails in one run after the other."""
        if not walk.pages:
            return False
        if isinstance(error, BadRequest):
            return self.bought == 0  # the cursor is from an earlier run
        if not isinstance(error, LookupFailed) or walk.listed < LEAST_CAP:
            return False
        page = walk.pages + 1
        await self._landing_does(lambda: log.add_refused(page))
        return bool(log.last and log.last.refused[1] >= REFUSALS)

    async def _ask(self, walk: ListWalk, log: SnapshotLog) -> Answer | None:
        """Buy and land the next page; None where its status is doubted and is to be asked again."""
        params = walk.request_params()
        spent = pages = 0
        try:
            answer = await self.context.client.list_page(
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
            self.context.budget.settle(spent, self.key, pages)
        crash_point("answered")
        # What is landed, and what the walk knows, is what the door lets in.
        body = self.context.door.page(self.key.relation, self.key.day, answer.body)
        if body != answer.body:
            answer = replace(answer, body=body, response=parse_page(self.key.relation, body))
        doubted = self._doubtful(walk, log, answer)
        strange = new_fields(answer.response)
        if not doubted:
            self.new_fields.update(strange)
        page = Page(
            number=params["page"],
            cursor=params["cursor"],
            received_at=stamp(answer.received_at),
            request_id=answer.request_id,
            credits=answer.credits_charged,
            cached=answer.cached,
            tries=answer.tries,
            body=answer.body,
            damaged=answer.damaged,
            new_fields=sum(strange.values()),
            measures=measures_of(answer, walk),
        )
        await self._landing_does(lambda: log.add_page(page, doubted=doubted))
        crash_point("landed")
        self.bought += 1
        self.credits += answer.credits_charged
        return None if doubted else answer

    def _kept(self, error: ContractViolation, page: int) -> str:
        """Put the answer to a page beside the landing; says why, and where it is."""
        reason = _new_status(error.body) or error.reason
        body = self.context.door.unusable(error.body)
        place = self.context.landing.quarantine(self.key, page, reason, body)
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

    async def _finish(self, walk: ListWalk, log: SnapshotLog) -> Landed:
        if walk.lookup_status is None:
            raise ValueError("a walk without pages has no outcome")
        status = walk.lookup_status.value
        ended = walk.end_reason.value if walk.end_reason else None
        await self._landing_does(lambda: log.finish(status, ended, self.context.run_id))
        await asyncio.to_thread(log.make_durable)
        crash_point("ended")
        return log.landed()

    def _ended(
        self,
        outcome: Outcome,
        reason: str | None = None,
        *,
        landed: Landed | None = None,
        pages_missing: int | None = None,
    ) -> Collected:
        return Collected(
            self.key,
            outcome,
            landed,
            self.bought,
            self.credits,
            reason,
            pages_missing,
            self.new_fields,
        )


def pages_missing(walk: ListWalk) -> int | None:
    """About how many more pages a walk would take, by its reported total and its pages so far."""
    if walk.reported_total is None or not walk.listed:
        return None
    rest = max(1.0, (walk.reported_total - walk.listed) * walk.pages / walk.listed)
    whole = math.ceil(rest)
    return whole if walk.max_pages is None else max(0, min(whole, walk.max_pages - walk.pages))


def new_fields(response: AnyPage) -> dict[str, int]:
    """Where an answer has fields that the contract does not have, and how often.

    The landing keeps the answer as it came. `avatarUrls` and `details` are the vendor's to fill.
    """
    data = response.data
    found: Counter[str] = Counter()
    if response.model_extra is None:
        return found
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
