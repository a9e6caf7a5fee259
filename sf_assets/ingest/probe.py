"""The API held against what this product assumes of it, with a few pages of one handle.

Pages are landed: a snapshot of the day goes on from them. What is asked for a second time is landed
as evidence and cost, and is no page of the list.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Collection
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
from sf_assets.storage.files import read_text, write_atomically
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
    not_landed: int = 0
    stopped: str | None = None


async def probe(handle: str, day: date, run: RunContext, pause: float) -> Probed:
    """Ask for at most MOST_CREDITS pages, and after `pause` seconds for one of them again.

    Raises SocialFetchError where not even one comes.
    """
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
                await asyncio.sleep(pause)
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
                spent = 0
    made.not_landed += spent  # a list that is finished takes no more
    return answer


def facts_of(made: Probed) -> list[Fact]:
    """What the pages say, one assumption after the other."""
    everything = [page for relation in RELATIONS for page in made.pages.get(relation, ())]
    followers = made.pages.get("followers", [])
    accounts = [one for page in everything for one in page.data.accounts]
    facts: list[Fact] = []

    def note(
        fact: str, assumed: str, found: str, fine: bool, so: str = "-", otherwise: str = ""
    ) -> None:
        facts.append(Fact(fact, assumed, found, so if fine else otherwise or so, fine))

    statuses = {name: pages[-1].data.lookup_status.value for name, pages in made.pages.items()}
    said = ", ".join(f"{name} {status}" for name, status in statuses.items())
    is_open = set(statuses.values()) == {"found"}
    note("profile", "open", said, is_open, otherwise="Probe an open one: less could be measured.")
    if accounts:
        size = page_size_of(made)
        if size is not None:
            by_list = [[str(len(p.data.accounts)) for p in pages] for pages in made.pages.values()]
            cost = f"1,000 accounts cost {-(-1000 // size)} credits; forecasts use {size}."
            said = "; ".join(map(", ".join, by_list))
            note("accounts on a page", "20", said, size == 20, cost)
        keys = [[one.key for one in page.data.accounts] for page in followers]
        within = sum(len(page) - len(set(page)) for page in keys)
        flat = [key for page in keys for key in page]
        twice = len(flat) - len(set(flat)) - within
        said = f"{twice} on two pages, {within} twice on one"
        counted_once = "Each is counted once; such pages cost credits for nothing."
        note("pages overlap", "no", said, not twice and not within, counted_once)
        for name, ids in (
            ("number", [one.platform_user_id for one in accounts]),
            ("secUid", [one.sec_uid for one in accounts]),
        ):
            having = sum(map(bool, ids))
            less = "Accounts without it are known by what is left; fewer changes can be proved."
            followed = "Renames are followed by it."
            said = f"{having} of {len(ids)}"
            note(f"accounts with {name}", "all", said, having == len(ids), followed, less)
        cursors = [page.cursor for page in made.landed.get("followers", []) if page.cursor]
        if len(cursors) > 1:
            fall = all(one.isascii() and one.isdigit() and len(one) < 100 for one in cursors)
            fall = fall and all(int(a) > int(b) for a, b in itertools.pairwise(cursors))
            said = "they fall, as times would" if fall else "they tell nothing"
            likely = "Newest first is likely; each comparison measures it."
            measured = "Each comparison measures order."
            note("cursors", "fall page by page", said, fall, likely, measured)
    _note_second_look(made, note)
    # By the contract a list that cannot be seen has none.
    totals = [p.data.total for p in followers if p.data.lookup_status.value == "found"]
    if totals:
        note(
            "total on each page", "given",
            ", ".join("null" if total is None else f"{total:,}" for total in totals),
            None not in totals,
            "A list that is not below its total shows everyone.",
            "Without a total no list shows everyone: losses rest on the order alone.",
        )  # fmt: skip
    gone = made.balance_before - made.balance_after
    said = f"{made.credits} said, {gone} gone from the balance"
    as_said = gone == made.credits
    paid = "The ledger is what is paid."
    note("credits", "as each answer says", said, as_said, paid, "See credit_balances.")
    strange = {name for page in everything for name in new_fields(page)}
    note(
        "fields new to us", "none", _some(strange), not strange, otherwise="The archive keeps them."
    )
    absent = {
        str(field.alias)
        for one in accounts
        for name, field in type(one).model_fields.items()
        if name not in one.model_fields_set
    }
    damaged = any(page.damaged for pages in made.landed.values() for page in pages)
    null = "They are NULL where they are missing." if absent else "-"
    note("fields that some lack", "optional ones", _some(absent), not damaged, null)
    if made.seconds:
        usual, most = sorted(made.seconds)[len(made.seconds) // 2], max(made.seconds)
        said = f"{usual:.1f} s, at most {most:.1f} s"
        note("seconds a page", "under 5", said, usual < 5, otherwise="A day takes longer.")
    if made.stopped:
        note("errors", "none", made.stopped, False, otherwise="Probe again later.")
    return facts


def page_size_of(made: Probed) -> int | None:
    """How many accounts a page holds: the largest that is not a list's last, which may be short."""
    everything = [page.data for pages in made.pages.values() for page in pages]
    return max((len(one.accounts) for one in everything if one.page.has_more), default=0) or None


def _note_second_look(made: Probed, note: Callable[..., None]) -> None:
    """What the pages that were asked for twice say of order, cache and cursors."""
    first, second = made.first_again, made.second_again
    if first is not None:
        known = {one.key: -n for n, one in enumerate(made.pages["followers"][0].data.accounts)}
        now = [known[one.key] for one in first.response.data.accounts if one.key in known]
        kept_order = float(longest_chain(np.array(now, dtype=np.float64)).mean()) if now else 0.0
        note(
            "order of a list", "stays", f"{kept_order:.0%} of page 1 at a second look",
            kept_order >= MIN_ORDER_AGREEMENT, "Order may prove who came and left.",
            "Order proves nothing: only lists that show everyone prove who came and left.",
        )  # fmt: skip
        again = [one for one in (first, second) if one is not None]
        cached = sum(one.cached for one in again)
        ages = "".join(f", Age {one.age} s" for one in again if one.age is not None)
        said = f"{cached} of {counted(len(again), 'page')} asked for twice{ages}"
        twice = "A refresh soon after a reading would pay for the same pages."
        note("from the vendor's cache", "no", said, not cached, otherwise=twice)
    if made.cursor_refused is not None:
        lost = "A list that breaks off for long ends there, as a window."
        note("a cursor kept", "works", made.cursor_refused, False, otherwise=lost)
    elif second is not None:
        then = {one.key for one in made.pages["followers"][1].data.accounts}
        now_shown = {one.key for one in second.response.data.accounts}
        share = len(then & now_shown) / max(1, len(then))
        said = f"works, {share:.0%} of the page as before"
        note("a cursor kept", "works", said, share > 0.5, "A list that broke off goes on.")


def _some(names: Collection[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(sorted(names)[:3]) + more or "none"


def keep(home: Home, made: Probed, facts: list[Fact]) -> dict[str, Any]:
    """Store the facts in the home; returns what was stored."""
    told = {
        "format": FACTS_FORMAT,
        "day": made.day.isoformat(),
        "handle": made.handle,
        "credits": made.credits,
        "page_size": page_size_of(made),
        "facts": [asdict(fact) for fact in facts],
    }
    write_atomically(home.vendor_facts, json.dumps(told, indent=2) + "\n")
    return told


def kept(home: Home) -> dict[str, Any] | None:
    """What the last probe found; None where none was made, or its file is damaged."""
    try:
        told = json.loads(read_text(home.vendor_facts))
        return told if told["format"] == FACTS_FORMAT and told["facts"] else None
    except (OSError, ValueError, LookupError, TypeError):
        return None
