"""Checks our assumptions about the API with a few pages of one handle.

The pages are landed, and a snapshot of the day continues from them. Pages that are requested a
second time are landed as evidence and cost only.
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

# An unreadable response may cost one more credit.
FOLLOWER_PAGES, FOLLOWING_PAGES, AGAIN = 4, 1, 2
MOST_CREDITS = FOLLOWER_PAGES + FOLLOWING_PAGES + AGAIN + 1
# The pause before a cursor is used again.
PAUSE_SECONDS = 60.0
FACTS_FORMAT = 1

_Response = FollowersResponse | FollowingResponse


@dataclass(frozen=True)
class Fact:
    """An assumption about the API, what was found, and what follows from it."""

    fact: str
    assumed: str
    found: str
    follows: str
    as_assumed: bool = True


@dataclass
class Probed:
    """The pages that were bought, and how long they took."""

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
    """Request at most MOST_CREDITS pages, one of them again after `pause` seconds.

    Raises SocialFetchError if no page can be read.
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
                # The last attempt may be a refresh that got no page.
                read = (one.number for one in reversed(log.attempts) if one.pages)
                landed = list(log.pages(next(read, None)))
            if landed:
                made.landed[relation] = landed
                made.pages[relation] = [parse_page(relation, page.body) for page in landed]


async def _again(
    made: Probed, run: RunContext, key: SnapshotKey, number: int, cursor: str | None
) -> Answer | None:
    """Request a landed page again; None if a cap leaves no credit or the cursor is rejected."""
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
    made.not_landed += spent  # a finished list takes no more pages
    return answer


def facts_of(made: Probed) -> list[Fact]:
    """The facts that the pages show, one per assumption."""
    everything = [page for relation in RELATIONS for page in made.pages.get(relation, ())]
    followers = made.pages.get("followers", [])
    accounts = [account for page in everything for account in page.data.accounts]
    facts: list[Fact] = []

    def note(
        fact: str, assumed: str, found: str, fine: bool, so: str = "-", otherwise: str = ""
    ) -> None:
        facts.append(Fact(fact, assumed, found, so if fine else otherwise or so, fine))

    statuses = {name: pages[-1].data.lookup_status.value for name, pages in made.pages.items()}
    result = ", ".join(f"{name} {status}" for name, status in statuses.items())
    is_open = set(statuses.values()) == {"found"}
    note("profile", "open", result, is_open, otherwise="Probe an open profile to measure more.")
    if accounts:
        size = page_size_of(made)
        if size is not None:
            by_list = [[str(len(p.data.accounts)) for p in pages] for pages in made.pages.values()]
            cost = f"1,000 accounts cost {-(-1000 // size)} credits; forecasts use {size}."
            result = "; ".join(map(", ".join, by_list))
            note("accounts on a page", "20", result, size == 20, cost)
        keys = [[account.key for account in page.data.accounts] for page in followers]
        within = sum(len(page) - len(set(page)) for page in keys)
        flat = [key for page in keys for key in page]
        twice = len(flat) - len(set(flat)) - within
        result = f"{twice} on two pages, {within} twice on one"
        counted_once = "Each account is counted once; repeated accounts waste credits."
        note("pages overlap", "no", result, not twice and not within, counted_once)
        for name, ids in (
            ("user id", [account.platform_user_id for account in accounts]),
            ("secUid", [account.sec_uid for account in accounts]),
        ):
            having = sum(map(bool, ids))
            less = "Without it, other ids are used, and fewer changes can be proved."
            followed = "It identifies accounts across renames."
            result = f"{having} of {len(ids)}"
            note(f"accounts with {name}", "all", result, having == len(ids), followed, less)
        cursors = [page.cursor for page in made.landed.get("followers", []) if page.cursor]
        if len(cursors) > 1:
            fall = all(c.isascii() and c.isdigit() and len(c) < 100 for c in cursors)
            fall = fall and all(int(a) > int(b) for a, b in itertools.pairwise(cursors))
            result = "falling like times" if fall else "in no order"
            likely = "Newest first is likely. Each comparison measures it."
            measured = "Each comparison measures the order."
            note("cursors", "falling", result, fall, likely, measured)
    _note_second_look(made, note)
    # By the contract, a list that is not open has no total.
    totals = [p.data.total for p in followers if p.data.lookup_status.value == "found"]
    if totals:
        note(
            "total on each page", "given",
            ", ".join("null" if total is None else f"{total:,}" for total in totals),
            None not in totals,
            "A list as long as its total shows everyone.",
            "Without a total no list shows everyone; only the order proves losses.",
        )  # fmt: skip
    gone = made.balance_before - made.balance_after
    result = f"{made.credits} reported, {gone} less in the balance"
    as_reported = gone == made.credits
    paid = "The ledger shows the true cost."
    note("credits", "as reported", result, as_reported, paid, "See credit_balances.")
    unknown_fields = {name for page in everything for name in new_fields(page)}
    note(
        "new fields",
        "none",
        _some(unknown_fields),
        not unknown_fields,
        otherwise="The archive keeps them.",
    )
    absent = {
        str(field.alias)
        for one in accounts
        for name, field in type(one).model_fields.items()
        if name not in one.model_fields_set
    }
    damaged = any(page.damaged for pages in made.landed.values() for page in pages)
    null = "Missing fields are NULL." if absent else "-"
    note("missing fields", "only optional", _some(absent), not damaged, null)
    if made.seconds:
        usual, most = sorted(made.seconds)[len(made.seconds) // 2], max(made.seconds)
        result = f"{usual:.1f} s, at most {most:.1f} s"
        note("seconds per page", "under 5", result, usual < 5, otherwise="A day takes longer.")
    if made.stopped:
        later = f"Probe again later. {made.stopped}"
        note("errors", "none", "the probe stopped", False, otherwise=later)
    return facts


def page_size_of(made: Probed) -> int | None:
    """The accounts on a full page: the largest page that is not the last one of its list."""
    everything = [page.data for pages in made.pages.values() for page in pages]
    return max((len(data.accounts) for data in everything if data.page.has_more), default=0) or None


def _note_second_look(made: Probed, note: Callable[..., None]) -> None:
    """Add the facts about order, cache and cursors, from the pages that were requested twice."""
    first, second = made.first_again, made.second_again
    if first is not None:
        before = {acc.key: -n for n, acc in enumerate(made.pages["followers"][0].data.accounts)}
        now = [before[acc.key] for acc in first.response.data.accounts if acc.key in before]
        kept_order = float(longest_chain(np.array(now, dtype=np.float64)).mean()) if now else 0.0
        note(
            "order of a list", "stable", f"{kept_order:.0%} of page 1 unchanged",
            kept_order >= MIN_ORDER_AGREEMENT, "The order can prove gains and losses.",
            "Only lists that show everyone prove gains and losses.",
        )  # fmt: skip
        again = [answer for answer in (first, second) if answer is not None]
        cached = sum(answer.cached for answer in again)
        ages = " and ".join(f"{answer.age} s" for answer in again if answer.age is not None)
        ages = f", {ages} old" if ages else ""
        result = f"{cached} of {counted(len(again), 'page')}{ages}"
        twice = "A refresh soon after a snapshot would buy the same pages."
        note("from the API's cache", "no", result, not cached, otherwise=twice)
    if made.cursor_refused is not None:
        lost = "A list that is interrupted for long ends there, as a window."
        lost += f" {made.cursor_refused}"
        note("saved cursor", "works", "rejected by the API", False, otherwise=lost)
    elif second is not None:
        then = {account.key for account in made.pages["followers"][1].data.accounts}
        now_shown = {account.key for account in second.response.data.accounts}
        share = len(then & now_shown) / max(1, len(then))
        result = f"works, {share:.0%} of page 2 unchanged"
        note("saved cursor", "works", result, share > 0.5, "An interrupted list continues.")


def _some(names: Collection[str]) -> str:
    more = [f"{len(names) - 2} more"] if len(names) > 2 else []
    return ", ".join(sorted(names)[:2] + more) or "none"


def keep(home: Home, made: Probed, facts: list[Fact]) -> dict[str, Any]:
    """Store the facts in the home; returns what was stored.

    A profile without full pages leaves the page size as it was measured before.
    """
    stored = {
        "format": FACTS_FORMAT,
        "day": made.day.isoformat(),
        "handle": made.handle,
        "credits": made.credits,
        "page_size": page_size_of(made) or (kept(home) or {}).get("page_size"),
        "facts": [asdict(fact) for fact in facts],
    }
    write_atomically(home.vendor_facts, json.dumps(stored, indent=2) + "\n")
    return stored


def kept(home: Home) -> dict[str, Any] | None:
    """The facts of the last probe; None if there is none or its file is damaged."""
    try:
        stored: dict[str, Any] = json.loads(read_text(home.vendor_facts))
        return stored if stored["format"] == FACTS_FORMAT and stored["facts"] else None
    except (OSError, ValueError, LookupError, TypeError):
        return None
