"""The API held against what this product assumes of it, with a few pages of one handle.

Pages are landed: a snapshot of the day goes on from them. What is asked for a second time is landed
as evidence and cost, and is no page of the list.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

import numpy as np

from sf_assets.ingest.reader import (
    AnswerUnusable,
    BudgetSpent,
    ListToRead,
    RunContext,
    first_page,
    new_fields,
)
from sf_assets.model import RELATIONS, Relation, SnapshotKey
from sf_assets.social_fetch import Answer, FollowersResponse, FollowingResponse, SocialFetchError
from sf_assets.social_fetch.pages import parse_page
from sf_assets.storage.files import write_atomically
from sf_assets.storage.home import Home
from sf_assets.storage.records import Page, stamp
from sf_assets.text import counted, first_line
from sf_assets.warehouse.alignment import MIN_ORDER_AGREEMENT, longest_chain

# One more may be charged for an answer that cannot be read.
FOLLOWER_PAGES, FOLLOWING_PAGES, AGAIN = 4, 1, 2
MOST_CREDITS = FOLLOWER_PAGES + FOLLOWING_PAGES + AGAIN + 1
# So long after its page a cursor is used again.
PAUSE_SECONDS = 60.0
FACTS_FORMAT = 1

_Response = FollowersResponse | FollowingResponse


@dataclass(frozen=True)
class Fact:
    """What is assumed of the API, what was found, and what follows from it."""

    fact: str
    assumed: str
    found: str
    follows: str
    as_assumed: bool = True


@dataclass
class Probed:
    """What was bought of a handle, and how long it took."""

    handle: str
    day: date
    pages: dict[Relation, list[_Response]] = field(default_factory=dict)
    landed: dict[Relation, list[Page]] = field(default_factory=dict)
    first_again: Answer | None = None
    second_again: Answer | None = None
    cursor_refused: str | None = None
    seconds: list[float] = field(default_factory=list)
    balance_before: int = 0
    balance_after: int = 0
    credits: int = 0
    stopped: str | None = None


async def probe(
    handle: str,
    day: date,
    run: RunContext,
    *,
    pause: float = PAUSE_SECONDS,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Probed:
    """Ask for at most MOST_CREDITS pages. Raises SocialFetchError where not even one comes."""
    made = Probed(handle, day)
    made.balance_before = (await run.client.balance()).balance
    try:
        await _read(made, run, "followers", FOLLOWER_PAGES)
        await _read(made, run, "following", FOLLOWING_PAGES)
        key = SnapshotKey(day, handle, "followers")
        pages = made.landed["followers"]
        if made.pages["followers"][0].data.lookup_status.value == "found":
            made.first_again = await _again(made, run, key, 1, None)
            if len(pages) > 1:
                await sleep(pause)
                made.second_again = await _again(made, run, key, 2, pages[1].cursor)
    except (SocialFetchError, BudgetSpent, AnswerUnusable) as error:
        if not made.pages:
            raise
        made.stopped = first_line(error)
    made.balance_after = (await run.client.balance()).balance
    made.credits = run.budget.credits_bought
    return made


async def _read(made: Probed, run: RunContext, relation: Relation, pages: int) -> None:
    key = SnapshotKey(made.day, made.handle, relation)
    begun, before = time.monotonic(), run.budget.pages_bought
    try:
        await first_page(ListToRead(key), run, pages)
    finally:
        bought = run.budget.pages_bought - before
        if bought:
            made.seconds += [(time.monotonic() - begun) / bought] * bought
        log = run.landing.open(key)
        if log is not None:
            with log:
                landed = list(log.pages())
            if landed:
                made.landed[relation] = landed
                made.pages[relation] = [parse_page(relation, page.body) for page in landed]


async def _again(
    made: Probed, run: RunContext, key: SnapshotKey, number: int, cursor: str | None
) -> Answer | None:
    """A page that is landed already; None where a cap leaves nothing, or the cursor is refused."""
    if not run.budget.take(key):
        return None
    spent = pages = 0
    begun = time.monotonic()
    try:
        answer = await run.client.list_page(key.relation, key.handle, cursor=cursor, page=number)
        spent, pages = answer.credits_charged + answer.unread, 1
    except SocialFetchError as error:
        spent = error.unread
        if cursor is None or error.status != 400:
            raise
        made.cursor_refused = first_line(error)
        return None
    finally:
        run.budget.settle(spent, key, pages)
    made.seconds.append(time.monotonic() - begun)
    log = run.landing.open(key)
    if log is not None:
        with log:
            page = Page(
                number, cursor, stamp(answer.received_at), answer.request_id,
                answer.credits_charged, answer.cached, answer.tries,
                run.door.page(key.relation, key.day, answer.body),
            )  # fmt: skip
            if log.last is not None and log.last.end is None:
                log.add_page(page, doubted=True)
    return answer


def facts_of(made: Probed) -> list[Fact]:
    """What the pages say, one assumption after the other."""
    everything = [page for relation in RELATIONS for page in made.pages.get(relation, ())]
    followers = made.pages.get("followers", [])
    accounts = [one for page in everything for one in page.data.accounts]
    facts = [_status(made)]
    if accounts:
        facts += [
            _page_size(made),
            _overlap(made),
            _ids("number", sum(1 for one in accounts if one.platform_user_id), len(accounts)),
            _ids("secUid", sum(1 for one in accounts if one.sec_uid), len(accounts)),
            _cursors(made.landed.get("followers", [])),
        ]
    if made.first_again is not None:
        facts += [_order(followers[0], made.first_again), _cache(made)]
    facts += _saved_cursor(made)
    totals = [page.data.total for page in followers]
    damaged = sum(page.damaged for pages in made.landed.values() for page in pages)
    facts += [_totals(totals), _charge(made), *_fields(everything, damaged)]
    if made.seconds:
        usual = sorted(made.seconds)[len(made.seconds) // 2]
        seen = f"{usual:.1f} s, at most {max(made.seconds):.1f} s"
        follows = "-" if usual < 5 else "A day takes longer."
        facts.append(Fact("seconds a page", "under 5", seen, follows, usual < 5))
    if made.stopped:
        facts.append(Fact("errors", "none", made.stopped, "Probe again later.", False))
    return facts


def _status(made: Probed) -> Fact:
    said = {name: pages[-1].data.lookup_status.value for name, pages in made.pages.items()}
    seen = ", ".join(f"{name} {status}" for name, status in said.items())
    fine = set(said.values()) == {"found"}
    follows = "-" if fine else "Probe an open profile: less could be measured."
    return Fact("profile", "open", seen, follows, fine)


def _page_size(made: Probed) -> Fact:
    sizes = [[len(p.data.accounts) for p in pages] for pages in made.pages.values()]
    seen = "; ".join(", ".join(map(str, some)) for some in sizes)
    size = page_size_of(made)
    follows = f"1,000 accounts cost {-(-1000 // size)} credits; forecasts use {size}."
    return Fact("accounts on a page", "20", seen, follows, size == 20)


def page_size_of(made: Probed) -> int:
    """How many accounts a page holds: the largest."""
    return max(len(p.data.accounts) for pages in made.pages.values() for p in pages)


def _overlap(made: Probed) -> Fact:
    keys = [[one.key for one in p.data.accounts] for p in made.pages.get("followers", [])]
    flat = [key for page in keys for key in page]
    within = sum(len(page) - len(set(page)) for page in keys)
    twice = len(flat) - len(set(flat)) - within
    seen = f"{twice} on two pages, {within} twice on one"
    follows = "Each is counted once; such pages cost credits for nothing."
    return Fact("pages overlap", "no", seen, follows, not twice and not within)


def _ids(name: str, having: int, of: int) -> Fact:
    follows = (
        "Renames are followed by it."
        if having == of
        else "Accounts without it are known by what is left; fewer changes can be proved."
    )
    return Fact(f"accounts with {name}", "all", f"{having} of {of}", follows, having == of)


def _cursors(pages: list[Page]) -> Fact:
    cursors = [page.cursor for page in pages if page.cursor]
    fall = all(one.isdigit() for one in cursors) and all(
        int(a) > int(b) for a, b in itertools.pairwise(cursors)
    )
    seen = "they fall, as times would" if fall and len(cursors) > 1 else "they tell nothing"
    follows = "Newest first is likely; each comparison measures it."
    return Fact("cursors", "fall page by page", seen, follows, fall and len(cursors) > 1)


def _order(first: _Response, again: Answer) -> Fact:
    places = {one.key: -at for at, one in enumerate(first.data.accounts)}
    now = [places[one.key] for one in again.response.data.accounts if one.key in places]
    share = float(longest_chain(np.array(now, dtype=np.float64)).mean()) if now else 0.0
    seen = f"{share:.0%} of page 1 at a second look"
    fine = share >= MIN_ORDER_AGREEMENT
    follows = (
        "Order may prove who came and left."
        if fine
        else "Order proves nothing: only lists that show everyone prove who came and left."
    )
    return Fact("order of a list", "stays", seen, follows, fine)


def _cache(made: Probed) -> Fact:
    again = [one for one in (made.first_again, made.second_again) if one is not None]
    cached = [one for one in again if one.cached]
    ages = ", ".join(f"Age {one.age} s" for one in again if one.age is not None)
    seen = f"{len(cached)} of {counted(len(again), 'page')} asked for twice" + (
        f", {ages}" if ages else ""
    )
    follows = "A refresh soon after a reading would pay for the same pages." if cached else "-"
    return Fact("from the vendor's cache", "no", seen, follows, not cached)


def _saved_cursor(made: Probed) -> list[Fact]:
    if made.cursor_refused is not None:
        follows = "A list that breaks off for long ends there, as a window, or is read anew."
        return [Fact("a cursor kept", "works", made.cursor_refused, follows, False)]
    if made.second_again is None:
        return []
    then = {one.key for one in made.pages["followers"][1].data.accounts}
    now = {one.key for one in made.second_again.response.data.accounts}
    share = len(then & now) / max(1, len(then))
    seen = f"works, {share:.0%} of the page as before"
    return [Fact("a cursor kept", "works", seen, "A list that broke off goes on.", share > 0.5)]


def _totals(totals: list[int | None]) -> Fact:
    seen = ", ".join("null" if total is None else f"{total:,}" for total in totals) or "none"
    fine = bool(totals) and None not in totals
    follows = (
        "A list that is not below its total shows everyone."
        if fine
        else "Without a total no list shows everyone: losses rest on the order alone."
    )
    return Fact("total on each page", "given", seen, follows, fine)


def _charge(made: Probed) -> Fact:
    gone = made.balance_before - made.balance_after
    seen = f"{made.credits} said, {gone} gone from the balance"
    follows = "The ledger is what is paid." if gone == made.credits else "See credit_balances."
    return Fact("credits", "as each answer says", seen, follows, gone == made.credits)


def _fields(pages: list[_Response], damaged: int) -> list[Fact]:
    strange = sorted({name for page in pages for name in new_fields(page)})
    absent = sorted(
        {
            str(of.alias)
            for page in pages
            for one in page.data.accounts
            for name, of in type(one).model_fields.items()
            if name not in one.model_fields_set
        }
    )
    return [
        Fact(
            "fields new to us", "none", _some(strange),
            "The archive keeps them." if strange else "-", not strange,
        ),
        Fact(
            "fields that some lack", "optional ones", _some(absent),
            "They are NULL where they are missing." if absent else "-", not damaged,
        ),
    ]  # fmt: skip


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more or "none"


def keep(home: Home, made: Probed, facts: list[Fact]) -> dict[str, Any]:
    """Store the facts in the home; returns what was stored."""
    accounts = any(page.data.accounts for pages in made.pages.values() for page in pages)
    told = {
        "format": FACTS_FORMAT,
        "day": made.day.isoformat(),
        "handle": made.handle,
        "credits": made.credits,
        "page_size": page_size_of(made) if accounts else None,
        "facts": [asdict(fact) for fact in facts],
    }
    write_atomically(home.vendor_facts, json.dumps(told, indent=2) + "\n")
    return told


def kept(home: Home) -> dict[str, Any] | None:
    """What the last probe found; None where none was made, or its file is damaged."""
    try:
        told = json.loads(home.vendor_facts.read_text(encoding="utf-8"))
        return told if told["format"] == FACTS_FORMAT and told["facts"] else None
    except (OSError, ValueError, LookupError, TypeError):
        return None
