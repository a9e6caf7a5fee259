"""Reads one list. Every page is landed before the next one is requested.

Uses the API and the landing, not the database or Dagster. A list ends as finished (its landing has
an end) or unfinished (its pages stay landed, and the next attempt continues from there).
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


# If the lookup of a page fails in this many runs, after this many accounts, the list has reached
# TikTok's cap. No smaller cap was ever reported (docs/proof.md).
REFUSALS, LEAST_CAP = 3, 1_000


class AnswerUnusable(SfAssetsError):
    """A response breaks the contract. It was most likely charged and is kept in quarantine."""


class BudgetSpent(SfAssetsError):
    """Our own caps leave no credit for a page."""


class Outcome(Enum):
    """How the reading of a list ended. Run metadata uses the values of the last three."""

    FINISHED = "finished"
    PEEKED = "peeked"
    """Only its first page was requested so far."""
    BROKEN_OFF = "interrupted"
    """Another attempt may finish it."""
    FAILED = "failed"
    """Another attempt would not help."""
    BUDGET = "budget"
    """Our own caps left no credit for its first page."""
    CREDITS = "credits"
    """Credits ran out. Pages that were read before are landed as a window."""
    UNAUTHORIZED = "unauthorized"
    """The API rejected the key."""


@dataclass(frozen=True)
class ListToRead:
    """A list to read.

    `status_before` and `pages_before` are its lookup status and number of pages in the last
    snapshot. `paid` are the credits that the attempt to continue has cost already, `largest` is the
    largest number of accounts that the list ever showed. If the list is not read as a `whole`,
    reading stops at the part that `known` returns.
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

    `refresh` is the name of a refresh (see `collect`), `progress` is called after each landed page,
    and `today` returns the day, so that no list is begun after its day.
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
    """The result of reading one list.

    `landed` is what can be loaded, or None; `reason` says why the list is unfinished. `bought`
    (pages) and `credits` are what this run bought and spent. `attempts` are all landed attempts at
    the list. `pages_missing` estimates the remaining pages of a list that was cut, by its total;
    None if no page of it is known. `new_fields` counts fields that are not in the contract.
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
        """Whether the list can be loaded."""
        return self.landed is not None

    @property
    def permanent(self) -> bool:
        """Whether the list is unfinished and another attempt would not help."""
        return not self.finished and self.outcome not in (Outcome.BROKEN_OFF, Outcome.PEEKED)

    @property
    def stopped(self) -> str | None:
        """What stopped it: `unauthorized` and `credits` stop all lists, `budget` only this one."""
        stops = (Outcome.UNAUTHORIZED, Outcome.CREDITS, Outcome.BUDGET)
        return self.outcome.value if self.outcome in stops else None

    @property
    def cut(self) -> bool:
        """Whether a larger budget would have bought more pages."""
        if self.landed is not None and self.landed.attempts:
            end = self.landed.attempts[-1].end
            return end is not None and end.end_reason == EndReason.BUDGET.value
        return self.outcome is Outcome.BUDGET


async def first_page(wanted: ListToRead, run: RunContext, pages: int = 1) -> ListWalk:
    """Buy and land the first `pages` pages of a list, unless they are landed already.

    Returns the walk over the landed pages. A snapshot of the same day continues from there. Raises
    SocialFetchError, LandingDamaged, AnswerUnusable, and BudgetSpent if a cap leaves no credit.
    """
    reader = Reader(wanted, run)
    with await reader._open() as log:
        if log.last is None:
            log.begin("", run.run_id)
        walk = ListWalk(wanted.key.relation, wanted.key.handle)
        for page in log.pages():
            walk.update(parse_page(wanted.key.relation, page.body))
        while walk.pages < pages and walk.has_next_page and not log.finished:
            if not run.budget.take(wanted.key):
                raise BudgetSpent(f"{wanted.key}: the credits of this day are used up")
            try:
                answer = await reader._ask(walk, log)
            except ContractViolation as error:
                raise AnswerUnusable(await reader._quarantine(error, walk.pages + 1)) from None
            if answer is not None:
                walk.update(answer.response)
    return walk


class Reader:
    """Reads one list to its end or to an error; with `peek` only its first page."""

    def __init__(self, wanted: ListToRead, run: RunContext, *, peek: bool = False) -> None:
        self.wanted, self.key, self.context, self.peek = wanted, wanted.key, run, peek
        self.bought = 0
        self.credits = 0
        self.new_fields: Counter[str] = Counter()

    async def run(self) -> Collected:
        """Read the list. Every error becomes part of the result; nothing is raised."""
        try:
            while True:
                try:
                    with await self._open() as log:
                        if await self._in_landing(partial(self._needs_reading, log)):
                            ended = await self._read(log)
                        else:
                            ended = self._ended(Outcome.FINISHED, landed=log.landed())
                        return replace(ended, attempts=tuple(log.attempts))
                except LandingTaken:
                    continue  # another run reads this list; wait for its pages
        except LandingDamaged as error:
            return self._ended(Outcome.FAILED, str(error))
        except OSError as error:
            return self._ended(
                Outcome.BROKEN_OFF,
                f"{self.key}: cannot land pages ({first_line(error)}); free some space or repair "
                "the disk, then run the day again",
            )
        except Exception as error:  # an error in one list must not stop the others
            _log.debug("%s cannot be read", self.key, exc_info=True)
            return self._ended(
                Outcome.BROKEN_OFF,
                f"{self.key} cannot be read ({type(error).__name__}: "
                f"{one_line(first_line(error))}). Landed pages are kept, and the next attempt "
                "continues with the next page",
            )

    async def _open(self) -> SnapshotLog:
        attempt = 0
        landing = self.context.landing
        # Another run reads this list: wait for its pages instead of buying them twice.
        while (log := await self._in_landing(lambda: landing.open(self.key))) is None:
            await asyncio.sleep(min(2.0, 0.05 * 2 ** min(attempt, 6)) * random.uniform(0.5, 1.0))
            attempt += 1
        return log

    async def _in_landing(self, work: Callable[[], _Result]) -> _Result:
        """Run `work` on the landing; if it is remote, in a thread, so that other lists continue."""
        return await asyncio.to_thread(work) if self.context.landing.far else work()

    def _needs_reading(self, log: SnapshotLog) -> bool:
        last, refresh, run_id = log.last, self.context.refresh, self.context.run_id
        if last is None or (refresh is not None and last.finished and last.token != refresh):
            log.begin(refresh or "", run_id)
            return True
        if refresh is None:
            return not log.finished
        if not last.finished and last.token != refresh:
            log.adopt(refresh)  # otherwise a retry of this run would read the list once more
        return not last.finished

    async def _read(self, log: SnapshotLog) -> Collected:
        walk = self._walk_so_far(log)
        today = self.context.today
        if walk.pages == 0 and today is not None and today() != self.key.day:
            return self._ended(
                Outcome.FAILED,
                f"{self.key}: the day was over (UTC) before the first page was requested. Nothing "
                "was bought, and the next snapshot is compared across the gap",
            )
        try:
            await self._buy_pages(walk, log)
        except SocialFetchError as error:
            return await self._refused(error, walk, log)
        if walk.has_next_page:
            return self._ended(
                Outcome.PEEKED,
                f"{self.key}: only the first page is landed so far; the next attempt continues "
                "with the next page",
                pages_missing=pages_missing(walk),
            )
        if walk.lookup_status is None:
            return self._ended(
                Outcome.BUDGET,
                f"{self.key}: the credits of the day were used up before its first page; raise "
                "SF_ASSETS_DAILY_CREDITS, or daily_credits or priority of the handle",
            )
        return self._ended(Outcome.FINISHED, landed=await self._finish(walk, log))

    def _walk_so_far(self, log: SnapshotLog) -> ListWalk:
        """The walk over the landed pages."""
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
                break  # an older version continued here
            walk.update(parse_page(relation, page.body))
        walk.reopen()
        return walk

    async def _buy_pages(self, walk: ListWalk, log: SnapshotLog) -> None:
        """Buy and land pages until the list or the budget ends; with `peek` only the first page."""
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
        """The result of the list after an error of the API."""
        if isinstance(error, InsufficientCredits):
            if not walk.pages:
                return self._ended(Outcome.CREDITS, str(error))
            walk.stop(EndReason.OUT_OF_CREDITS)
            missing, landed = pages_missing(walk), await self._finish(walk, log)
            return self._ended(Outcome.CREDITS, str(error), landed=landed, pages_missing=missing)
        if isinstance(error, ContractViolation):
            return self._ended(Outcome.FAILED, await self._quarantine(error, walk.pages + 1))
        if await self._reached_cap(error, walk, log):
            walk.stop(EndReason.STALLED)
            return self._ended(Outcome.FINISHED, landed=await self._finish(walk, log))
        if isinstance(error, AccountError):
            return self._ended(Outcome.UNAUTHORIZED, str(error))
        return self._ended(
            Outcome.BROKEN_OFF,
            f"{error} {counted(walk.pages, 'page is', 'pages are')} landed; the next attempt "
            "continues from there",
        )

    async def _reached_cap(self, error: SocialFetchError, walk: ListWalk, log: SnapshotLog) -> bool:
        """Whether later attempts cannot get the next page: the API rejects a saved cursor, or the
        lookup fails in REFUSALS runs at a depth where caps of lists are."""
        if not walk.pages:
            return False
        if isinstance(error, BadRequest):
            return self.bought == 0  # then the cursor is from an earlier run
        if not isinstance(error, LookupFailed) or walk.listed < LEAST_CAP:
            return False
        page = walk.pages + 1
        await self._in_landing(lambda: log.add_refused(page))
        return bool(log.last and log.last.refused[1] >= REFUSALS)

    async def _ask(self, walk: ListWalk, log: SnapshotLog) -> Answer | None:
        """Buy and land the next page; None if its status must be requested again first."""
        params = walk.request_params()
        spent = pages = 0
        try:
            self.context.door.look()  # if this fails, nothing is paid
            answer = await self.context.client.list_page(
                self.key.relation,
                self.key.handle,
                user_id=self.wanted.user_id if self.key.relation == "followers" else None,
                **params,
            )
            # A response with status 200 is most likely charged, whatever it contains.
            spent, pages = answer.credits_charged + answer.unread, 1
            await self._note_unread(log, params["page"], answer.unread, 1)
        except SocialFetchError as error:
            spent = error.unread
            await self._note_unread(log, params["page"], error.unread, error.tries)
            raise
        finally:
            self.context.budget.settle(spent, self.key, pages)
        crash_point("answered")
        # The door removes forgotten people before anything is landed or used.
        body = self.context.door.page(self.key.relation, self.key.day, answer.body)
        if body != answer.body:
            answer = replace(answer, body=body, response=parse_page(self.key.relation, body))
        doubtful = self._doubtful(walk, log, answer)
        unknown_fields = new_fields(answer.response)
        if not doubtful:
            self.new_fields.update(unknown_fields)
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
            new_fields=sum(unknown_fields.values()),
            measures=measures_of(answer, walk),
        )
        if log.waits:
            await asyncio.to_thread(log.add_page, page, doubted=doubtful)
        else:
            log.add_page(page, doubted=doubtful)
        crash_point("landed")
        self.bought += 1
        self.credits += answer.credits_charged
        return None if doubtful else answer

    async def _quarantine(self, error: ContractViolation, page: int) -> str:
        """Keep an unusable response in quarantine; returns the reason and its path."""
        reason = _new_status(error.body) or error.reason
        body = self.context.door.unusable(error.body)
        landing = self.context.landing
        path = await self._in_landing(lambda: landing.quarantine(self.key, page, reason, body))
        return f"{str(error).replace(error.reason, reason)} The response is kept in {path}"

    async def _note_unread(self, log: SnapshotLog, page: int, answers: int, tries: int) -> None:
        if answers:
            await self._in_landing(lambda: log.add_unread(page, answers, tries))
            self.credits += answers

    def _doubtful(self, walk: ListWalk, log: SnapshotLog, answer: Answer) -> bool:
        """Whether to request a list again because it turned private, hidden or missing.

        A list that is open again needs no second request: its accounts are the proof.
        """
        status = answer.response.data.lookup_status
        last = log.last
        if status is LookupStatus.FOUND or (last and last.doubted_at == walk.pages + 1):
            return False
        before = "found" if walk.pages else self.wanted.status_before
        return before is not None and before != status.value

    async def _finish(self, walk: ListWalk, log: SnapshotLog) -> Landed:
        if walk.lookup_status is None:
            raise ValueError("a walk without pages has no lookup status")
        status = walk.lookup_status.value
        ended = walk.end_reason.value if walk.end_reason else None
        await self._in_landing(lambda: log.finish(status, ended, self.context.run_id))
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
    """An estimate of the remaining pages of a walk, by its reported total; None if unknown."""
    if walk.reported_total is None or not walk.listed:
        return None
    rest = max(1.0, (walk.reported_total - walk.listed) * walk.pages / walk.listed)
    whole = math.ceil(rest)
    return whole if walk.max_pages is None else max(0, min(whole, walk.max_pages - walk.pages))


def new_fields(response: AnyPage) -> dict[str, int]:
    """Path -> count of the fields that are not in the contract.

    The landing keeps the response unchanged. `avatarUrls` and `details` may have any field.
    """
    data = response.data
    counts: Counter[str] = Counter()
    if response.model_extra is None:
        return counts
    for path, model in (("", response), ("data.", data), ("data.page.", data.page)):
        counts.update(f"{path}{name}" for name in model.model_extra or ())
    counts.update(f"meta.{name}" for name in response.meta.model_extra or ())
    for account in data.accounts:
        if account.model_extra:
            counts.update(f"account.{name}" for name in account.model_extra)
        if account.metrics is not None and account.metrics.model_extra:
            counts.update(f"account.metrics.{name}" for name in account.metrics.model_extra)
    return counts


def _new_status(body: bytes) -> str | None:
    """The problem of a response with an unknown lookup status; None otherwise."""
    try:
        status = json.loads(body)["data"]["lookupStatus"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    known = [status.value for status in LookupStatus]
    if not isinstance(status, str) or status in known:
        return None
    return (
        f"lookupStatus is {status[:40]!a}, which this version does not know (it knows "
        f"{', '.join(known)}); look for a newer version of sf_assets, then run the day again"
    )
