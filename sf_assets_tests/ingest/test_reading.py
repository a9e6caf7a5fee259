"""Reading the lists of a day over real HTTP: no page is bought twice, and none is lost."""

from __future__ import annotations

import asyncio
import itertools
import json
import operator
import pkgutil
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextvars import ContextVar
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pydantic import SecretStr

from sf_assets.credits.budget import Budget
from sf_assets.ingest.batches import read_in_batches
from sf_assets.ingest.overlap import KnownList
from sf_assets.ingest.reader import Collected, ListToRead, Outcome, Reader, RunContext
from sf_assets.ingest.scheduler import collect
from sf_assets.model import Relation, SnapshotKey
from sf_assets.social_fetch import ListWalk, SocialFetchClient
from sf_assets.storage.door import Door
from sf_assets.storage.landing import Landing, spent_on
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets.storage.packed import PackedFile
from sf_assets.storage.records import Landed, LandingDamaged
from sf_assets.warehouse.archive import SnapshotRow, write_batch
from sf_assets.warehouse.connection import writing
from sf_assets.warehouse.load import load
from sf_assets_tests.loopback import RESET, Reply, Request, Wait
from sf_assets_tests.served_lists import KEY, ListServer, account, error_body, followed

DAY = date(2026, 3, 4)


@pytest.fixture
def server() -> Iterator[ListServer]:
    with ListServer() as server:
        yield server


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return DiskLanding(tmp_path / "landing")


def key_of(handle: str, relation: Relation = "followers") -> SnapshotKey:
    return SnapshotKey(DAY, handle, relation)


def to_read(handle: str, relation: Relation = "followers", **more: Any) -> ListToRead:
    return ListToRead(key_of(handle, relation), **more)


async def at_once(_: float) -> None:
    """Stands for asyncio.sleep between tries."""
    await asyncio.sleep(0)


async def collected(
    lists: Sequence[ListToRead],
    server: ListServer,
    landing: Landing,
    *,
    budget: Budget | None = None,
    concurrency: int = 8,
    max_tries: int = 2,
    run_id: str = "run-1",
    **more: Any,
) -> list[Collected]:
    async with SocialFetchClient(
        api_key=SecretStr(KEY),
        base_url=server.url,
        concurrency=concurrency,
        max_tries=max_tries,
        sleep=at_once,
    ) as client:
        return [
            ended
            async for ended in collect(
                lists,
                RunContext(
                    client, landing, budget or Budget(None), run_id, Door(landing.root), **more
                ),
                concurrency=concurrency,
            )
        ]


def read(
    lists: Sequence[ListToRead], server: ListServer, landing: Landing, **more: Any
) -> dict[SnapshotKey, Collected]:
    """What became of each list."""
    ended = asyncio.run(collected(lists, server, landing, **more))
    found = {one.key: one for one in ended}
    assert sorted(found) == sorted(one.key for one in ended) == sorted(one.key for one in lists)
    return found


def read_one(wanted: ListToRead, server: ListServer, landing: Landing, **more: Any) -> Collected:
    return read([wanted], server, landing, **more)[wanted.key]


def landed(landing: Landing, key: SnapshotKey) -> Landed:
    found = landing.read(key)
    assert found is not None
    return found


def end_of(landing: Landing, key: SnapshotKey) -> tuple[str, str | None] | None:
    """How the walk that stands for the day ended."""
    attempt = landed(landing, key).to_load
    if attempt is None or attempt.end is None:
        return None
    return attempt.end.lookup_status, attempt.end.end_reason


def listed(landing: Landing, key: SnapshotKey) -> list[str]:
    """Handles on the pages of the last attempt, in order."""
    log = landing.open(key)
    assert log is not None
    many = "followers" if key.relation == "followers" else "accounts"
    with log:
        return [a["handle"] for p in log.pages() for a in json.loads(p.body)["data"][many]]


def asked(server: ListServer) -> list[str]:
    """Each request as handle, relation and the place in the list it asked for."""
    found = []
    for request in server.requests:
        handle, relation = request.path.split("/")[4:]
        cursor = request.query.get("cursor")
        place = bytes.fromhex(cursor).decode().rsplit("/")[-1] if cursor else "0"
        found.append(f"{handle} {relation} {place}")
    return found


def fans(count: int) -> list[dict[str, Any]]:
    return [account(n) for n in range(count)]


def is_page_two(request: Request) -> bool:
    return "cursor" in request.query


# --- whole lists ----------------------------------------------------------------------------------


def test_whole_lists_land_at_a_credit_a_page(server: ListServer, landing: Landing) -> None:
    server.set("nasa", "followers", fans(45))
    server.set("nasa", "following", [followed(n) for n in range(20)])
    lists = [to_read("nasa"), to_read("nasa", "following")]
    ended = read(lists, server, landing)
    followers, following = ended[lists[0].key], ended[lists[1].key]
    assert (followers.finished, followers.bought, followers.credits) == (True, 3, 3)
    assert (following.finished, following.bought, following.credits) == (True, 1, 1)
    assert server.credits == 4 == len(server.requests)
    assert spent_on(landing, DAY) == 4
    assert listed(landing, followers.key) == [f"fan.{n}" for n in range(45)]
    assert listed(landing, following.key) == [f"creator.{n}" for n in range(20)]
    assert end_of(landing, followers.key) == ("found", "exhausted")


def test_what_is_handed_over_is_what_a_reader_of_the_file_finds(
    server: ListServer, landing: Landing
) -> None:
    server.set("nasa", "followers", fans(45))
    ended = read_one(to_read("nasa"), server, landing)
    assert ended.landed is not None
    assert ended.landed.attempts == landed(landing, ended.key).attempts
    assert ended.landed.path == landing.path(ended.key)


def test_the_bodies_land_as_they_came(server: ListServer, landing: Landing) -> None:
    odd = account(1, displayName='Tab\t, "quotes", \u2028 and 🎉', newField={"of": ["tomorrow"]})
    server.set("nasa", "followers", [odd])
    read_one(to_read("nasa"), server, landing)
    log = landing.open(key_of("nasa"))
    assert log is not None
    with log:
        (page,) = log.pages()
    assert json.loads(page.body)["data"]["followers"] == [odd]
    assert (page.number, page.cursor, page.credits, page.tries) == (1, None, 1, 1)
    assert page.request_id.startswith("req_")


def test_a_page_is_landed_before_the_next_one_is_asked_for(
    server: ListServer, landing: Landing
) -> None:
    server.set("nasa", "followers", fans(60))
    pages_landed = []

    def look(request: Request) -> None:
        found = landing.read(key_of("nasa"))
        pages_landed.append(found.attempts[0].pages if found else None)

    server.fault = look
    read_one(to_read("nasa"), server, landing)
    assert pages_landed == [0, 1, 2]


def test_an_empty_list_is_a_list(server: ListServer, landing: Landing) -> None:
    server.set("new", "followers", [])
    assert read_one(to_read("new"), server, landing).finished
    assert end_of(landing, key_of("new")) == ("found", "exhausted")


@pytest.mark.parametrize("status", ["private", "hidden", "not_found"])
def test_a_list_that_cannot_be_read_is_an_observation_of_one_credit(
    server: ListServer, landing: Landing, status: str
) -> None:
    server.set("shy", "followers", status=status)
    ended = read_one(to_read("shy"), server, landing)
    assert (ended.finished, ended.bought, ended.stopped) == (True, 1, None)
    assert end_of(landing, ended.key) == (status, None)


def test_a_list_is_read_no_further_than_its_depth(server: ListServer, landing: Landing) -> None:
    server.set("nasa", "followers", fans(100))
    ended = read_one(to_read("nasa", max_pages=2), server, landing)
    assert (ended.finished, server.credits) == (True, 2)
    assert end_of(landing, ended.key) == ("found", "page_limit")


def test_the_user_id_is_sent_for_followers_only(server: ListServer, landing: Landing) -> None:
    read([to_read("nasa", r, user_id="42") for r in ("followers", "following")], server, landing)
    sent = {
        request.path.rsplit("/")[-1]: request.query.get("userId") for request in server.requests
    }
    assert sent == {"followers": "42", "following": None}


def test_lists_of_high_priority_come_first(server: ListServer, landing: Landing) -> None:
    lists = [to_read("a"), to_read("b", priority=-1), to_read("c", priority=5), to_read("d")]
    read(lists, server, landing, concurrency=1)
    assert [line.split()[0] for line in asked(server)] == ["c", "a", "d", "b"]


def test_new_lists_that_take_turns_show_their_first_pages_then_the_longest_goes_on(
    server: ListServer, landing: Landing
) -> None:
    for handle, count in (("a", 45), ("b", 100), ("c", 10), ("d", 25)):
        server.set(handle, "followers", fans(count))
    lists = [to_read("d", pages_before=2), *map(to_read, "abc")]
    ended = read(lists, server, landing, concurrency=1)
    firsts = [f"{handle} followers 0" for handle in "abc"]
    rest = [f"b followers {place}" for place in (20, 40, 60, 80)]
    of_equal_length = [
        f"{line} followers {at}" for line, at in (("a", 20), ("a", 40), ("d", 0), ("d", 20))
    ]
    assert asked(server) == [*firsts, *rest, *of_equal_length]
    assert all(one.finished for one in ended.values())
    assert server.credits == sum(one.bought for one in ended.values()) == 11


def test_lists_that_need_not_wait_for_others_are_read_in_one_go(
    server: ListServer, landing: Landing
) -> None:
    server.set("a", "followers", fans(60))
    server.set("b", "followers", status="private")
    told: list[int] = []
    read(
        [to_read("a"), to_read("b")],
        server,
        landing,
        concurrency=2,
        progress=lambda _, walk: told.append(walk.pages),
    )
    starts = landing.path(key_of("a")).read_text().count('"kind":"start"')
    assert (sorted(told), starts) == ([1, 1, 2, 3], 1)


def _fail(where: str) -> Callable[..., Any]:
    def failing(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError(where)

    return failing


@pytest.mark.parametrize(
    "broken",
    [
        "sf_assets.social_fetch.client.SocialFetchClient.list_page",
        "sf_assets.social_fetch.client.quick_page",
        "sf_assets.social_fetch.pagination.ListWalk.update",
        "sf_assets.social_fetch.pagination.ListWalk.request_params",
        "sf_assets.storage.landing.SnapshotLog.add_page",
        "sf_assets.storage.landing.SnapshotLog.finish",
        "sf_assets.storage.landing_disk.DiskLog.make_durable",
        "sf_assets.storage.landing_disk.DiskLanding.open",
        "sf_assets.credits.budget.Budget.take",
        "sf_assets.ingest.reader.new_fields",
        "sf_assets.ingest.overlap.KnownList.rank",
    ],
)
def test_whatever_is_raised_while_a_list_is_read_is_its_own_trouble(
    server: ListServer, landing: Landing, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other lists are read meanwhile, and the next attempt goes on with this one."""
    known = [(str(7_000_000_000_000_000_000 + n), f"fan.{n}") for n in range(60)]
    odd = to_read("a", whole=False, known=lambda: KnownList(known))
    for handle in ("a", "b"):
        server.set(handle, "followers", fans(60))
    failing = _fail(broken)
    with monkeypatch.context() as patch:
        target, _, name = broken.rpartition(".")
        right = operator.attrgetter(name)(pkgutil.resolve_name(target))
        current: ContextVar[str] = ContextVar("current")
        run = Reader.run

        async def noting(self: Reader) -> Collected:
            current.set(self.key.handle)
            return await run(self)

        def sometimes(*values: Any, **more: Any) -> Any:
            return (failing if current.get("") == "a" else right)(*values, **more)

        patch.setattr(broken, sometimes)
        patch.setattr(Reader, "run", noting)
        ended = read([odd, to_read("b")], server, landing, concurrency=2)
    assert ended[key_of("b")].finished
    assert not ended[key_of("a")].finished
    assert f"ZeroDivisionError: {broken}" in (ended[key_of("a")].reason or "")
    assert read([odd], server, landing)[key_of("a")].finished


def test_a_cursor_that_no_request_can_carry_ends_its_own_list_only(
    server: ListServer, landing: Landing
) -> None:
    for handle in ("a", "b"):
        server.set(handle, "followers", fans(60))

    def fault(request: Request) -> Reply | None:
        if "/a/" not in request.path:
            return None
        right = json.loads(json.dumps(server._page("a", "followers", request.query).json))
        right["data"]["page"]["nextCursor"] = "x" * 3_000_000
        return Reply(json=right)

    server.fault = fault
    ended = read([to_read("a"), to_read("b")], server, landing)
    assert ended[key_of("b")].finished
    assert not ended[key_of("a")].finished
    assert "URL too long" in (ended[key_of("a")].reason or "")
    assert landed(landing, key_of("a")).attempts[0].pages == 1


def test_progress_is_told_page_by_page(server: ListServer, landing: Landing) -> None:
    server.set("nasa", "followers", fans(45))
    told: list[tuple[SnapshotKey, int, int]] = []

    def progress(key: SnapshotKey, walk: ListWalk) -> None:
        told.append((key, walk.pages, walk.listed))

    read_one(to_read("nasa"), server, landing, progress=progress)
    assert told == [(key_of("nasa"), 1, 20), (key_of("nasa"), 2, 40), (key_of("nasa"), 3, 45)]


# --- again, and going on --------------------------------------------------------------------------


def test_a_finished_list_is_not_asked_for_again_that_day(
    server: ListServer, landing: Landing
) -> None:
    server.set("nasa", "followers", fans(45))
    read_one(to_read("nasa"), server, landing)
    again = read_one(to_read("nasa"), server, landing, run_id="run-2")
    assert (again.finished, again.bought, again.credits) == (True, 0, 0)
    assert again.landed is not None
    assert again.landed.to_load is not None
    assert server.credits == 3


def test_after_a_failure_in_the_middle_only_the_missing_pages_are_bought(
    server: ListServer, landing: Landing
) -> None:
    server.set("nasa", "followers", fans(60))
    server.set("bob", "followers", fans(5))

    def fails(request: Request) -> Reply | None:
        broken = request.query.get("cursor") == b"followers/nasa/40".hex()
        return Reply(502, json=error_body("lookup_failed")) if broken else None

    server.fault = fails
    ended = read([to_read("nasa"), to_read("bob")], server, landing)
    broken = ended[key_of("nasa")]
    assert (broken.finished, broken.permanent, broken.bought) == (False, False, 2)
    assert "2 pages are landed; the next attempt continues from there" in str(broken.reason)
    assert ended[key_of("bob")].finished
    assert end_of(landing, key_of("nasa")) is None

    server.fault = None
    server.requests.clear()
    ended = read([to_read("nasa"), to_read("bob")], server, landing, run_id="run-2")
    assert ended[key_of("nasa")].finished
    assert asked(server) == ["nasa followers 40"]
    assert listed(landing, key_of("nasa")) == [f"fan.{n}" for n in range(60)]
    assert server.credits == 4


def test_a_connection_that_breaks_is_tried_again(server: ListServer, landing: Landing) -> None:
    server.set("nasa", "followers", fans(5))
    answers: list[Any] = [[RESET], None]
    server.fault = lambda request: answers.pop(0)
    assert read_one(to_read("nasa"), server, landing).finished
    (attempt,) = landed(landing, key_of("nasa")).attempts
    assert attempt.retries == 1


def test_a_walk_whose_end_was_not_noted_is_ended_without_a_request(
    server: ListServer, landing: Landing
) -> None:
    server.set("nasa", "followers", fans(45))
    read_one(to_read("nasa"), server, landing)
    path = landing.path(key_of("nasa"))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    ended = read_one(to_read("nasa"), server, landing, run_id="run-2")
    assert (ended.finished, ended.bought) == (True, 0)
    assert end_of(landing, key_of("nasa")) == ("found", "exhausted")
    assert server.credits == 3


def test_a_torn_page_is_bought_again_and_no_other(server: ListServer, landing: Landing) -> None:
    server.set("nasa", "followers", fans(45))
    read_one(to_read("nasa"), server, landing)
    path = landing.path(key_of("nasa"))
    start, first, second, *_ = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(start + first + second[:-5])
    server.requests.clear()
    assert read_one(to_read("nasa"), server, landing).finished
    assert asked(server) == ["nasa followers 20", "nasa followers 40"]


def test_a_damaged_landing_fails_its_own_list_only(server: ListServer, landing: Landing) -> None:
    for handle in ("nasa", "bob"):
        server.set(handle, "followers", fans(45))
    read_one(to_read("nasa"), server, landing)
    path = landing.path(key_of("nasa"))
    path.write_bytes(b"x" + path.read_bytes())
    ended = read([to_read("nasa"), to_read("bob")], server, landing)
    assert (ended[key_of("nasa")].finished, ended[key_of("nasa")].permanent) == (False, True)
    assert "nasa.jsonl:1: damaged line" in str(ended[key_of("nasa")].reason)
    assert ended[key_of("bob")].finished
    assert server.credits == 6


def test_a_landing_that_cannot_be_written_fails_its_own_list_and_buys_nothing(
    server: ListServer, landing: Landing
) -> None:
    landing.path(key_of("nasa")).mkdir(parents=True)
    ended = read([to_read("nasa"), to_read("bob")], server, landing)
    assert "cannot land pages" in str(ended[key_of("nasa")].reason)
    assert not ended[key_of("nasa")].finished
    assert ended[key_of("bob")].finished
    assert asked(server) == ["bob followers 0"]


def test_whoever_stops_listening_stops_the_reading_and_keeps_what_was_landed(
    server: ListServer, landing: Landing
) -> None:
    server.set("fast", "followers", fans(5))
    server.set("slow", "followers", fans(60))
    third = b"followers/slow/40".hex()
    server.fault = lambda r: [Wait(30)] if r.query.get("cursor") == third else None

    async def first_only() -> Collected:
        async with SocialFetchClient(api_key=SecretStr(KEY), base_url=server.url) as client:
            ended = collect(
                [to_read("fast"), to_read("slow")],
                RunContext(client, landing, Budget(None), "run-1", Door(landing.root)),
                concurrency=2,
            )
            first = await anext_(ended)
            while landed(landing, key_of("slow")).credits < 2:  # noqa: ASYNC110 - it is a file
                await asyncio.sleep(0.005)
            await ended.aclose()  # type: ignore[attr-defined]
            return first

    assert asyncio.run(first_only()).key == key_of("fast")
    server.fault = None
    server.requests.clear()
    assert read_one(to_read("slow"), server, landing).finished
    assert asked(server) == ["slow followers 40"]


async def anext_(ended: Any) -> Collected:
    found = await ended.__anext__()
    assert isinstance(found, Collected)
    return found


# --- money ----------------------------------------------------------------------------------------


def test_when_credits_run_out_the_reading_stops_and_later_goes_on(
    server: ListServer, landing: Landing
) -> None:
    handles = ["a", "b", "c"]
    for handle in handles:
        server.set(handle, "followers", fans(60))
    lists = [to_read(handle, pages_before=3) for handle in handles]
    server.credits_left = 5
    ended = read(lists, server, landing, concurrency=1)
    a, b, c = (ended[key_of(handle)] for handle in handles)
    assert (a.finished, a.stopped) == (True, None)
    assert (b.finished, b.stopped, b.bought) == (True, "credits", 2)
    assert (c.finished, c.stopped, c.permanent, c.bought) == (False, "credits", True, 0)
    assert "top up at https://checkout.test/credits" in str(b.reason)
    assert end_of(landing, b.key) == ("found", "out_of_credits")
    # The first refusal is the last request: every other list would be refused alike.
    assert asked(server)[-1] == "b followers 40"

    server.credits_left = 1000
    server.requests.clear()
    ended = read(lists, server, landing, concurrency=1, run_id="run-2")
    assert all(one.finished and one.stopped is None for one in ended.values())
    assert asked(server) == ["b followers 40", *(f"c followers {place}" for place in (0, 20, 40))]
    assert end_of(landing, b.key) == ("found", "exhausted")
    assert listed(landing, b.key) == [f"fan.{n}" for n in range(60)]
    assert server.credits == 9


def test_a_refused_key_stops_everything_after_one_request(
    server: ListServer, landing: Landing
) -> None:
    server.key = "sfk_another"
    ended = read([to_read(f"h{n}") for n in range(20)], server, landing, concurrency=1)
    assert len(server.requests) == 1
    for one in ended.values():
        assert (one.finished, one.stopped, one.permanent) == (False, "unauthorized", True)
        assert KEY not in str(one.reason)


def test_lists_that_were_finished_before_do_not_mind_a_refused_key(
    server: ListServer, landing: Landing
) -> None:
    read_one(to_read("nasa"), server, landing)
    server.key = "sfk_another"
    assert read_one(to_read("nasa"), server, landing).finished


def test_the_budget_ends_a_walk_and_a_larger_one_goes_on(
    server: ListServer, landing: Landing
) -> None:
    server.set("nasa", "followers", fans(100))
    ended = read_one(to_read("nasa"), server, landing, budget=Budget(3))
    assert (ended.finished, ended.bought, server.credits) == (True, 3, 3)
    assert end_of(landing, ended.key) == ("found", "budget")

    again = read_one(to_read("nasa"), server, landing, budget=Budget(3, spent_on(landing, DAY)))
    assert (again.finished, again.bought, server.credits) == (True, 0, 3)

    server.requests.clear()
    more = read_one(to_read("nasa"), server, landing, budget=Budget(9, spent_on(landing, DAY)))
    assert (more.finished, more.bought) == (True, 2)
    assert asked(server) == ["nasa followers 60", "nasa followers 80"]
    assert end_of(landing, ended.key) == ("found", "exhausted")


def test_the_budget_is_never_overrun_however_many_lists_are_read_at_once(
    server: ListServer, landing: Landing
) -> None:
    for n in range(20):
        server.set(f"h{n}", "followers", fans(60))
    budget = Budget(17)
    read([to_read(f"h{n}") for n in range(20)], server, landing, budget=budget, concurrency=20)
    assert server.credits == len(server.requests) == 17
    assert budget.spent == 17
    assert not budget.take(key_of("nasa"))


def test_a_list_the_budget_left_nothing_for_is_unfinished(
    server: ListServer, landing: Landing
) -> None:
    server.set("nasa", "followers", fans(100))
    ended = read_one(to_read("nasa"), server, landing, budget=Budget(0))
    assert (ended.finished, ended.permanent, server.credits) == (False, True, 0)
    assert "SF_ASSETS_DAILY_CREDITS" in str(ended.reason)
    assert end_of(landing, ended.key) is None


def test_what_was_not_answered_does_not_use_up_the_budget(
    server: ListServer, landing: Landing
) -> None:
    server.set("bob", "followers", fans(20))
    server.fault = lambda r: Reply(502) if "nasa" in r.path else None
    budget = Budget(1)
    lists = [to_read("nasa", priority=1), to_read("bob")]
    ended = read(lists, server, landing, budget=budget, concurrency=1)
    assert ended[key_of("bob")].finished
    assert budget.spent == 1


def test_an_answer_that_breaks_the_contract_uses_up_the_budget(
    server: ListServer, landing: Landing
) -> None:
    server.fault = lambda r: Reply(200, json={"data": {}})
    read([to_read(f"h{n}") for n in range(9)], server, landing, budget=Budget(4), concurrency=1)
    assert len(server.requests) == 4


# --- doubt ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "now", "credits"),
    [
        (None, "private", 1),
        ("private", "private", 1),
        ("found", "private", 2),
        ("found", "hidden", 2),
        ("found", "not_found", 2),
        ("private", "hidden", 2),
        ("private", "found", 1),
    ],
)
def test_a_changed_status_is_asked_for_once_more_before_it_is_believed(
    server: ListServer, landing: Landing, before: str | None, now: str, credits: int
) -> None:
    server.set("nasa", "followers", fans(5) if now == "found" else [], status=now)
    ended = read_one(to_read("nasa", status_before=before), server, landing)
    assert (ended.finished, ended.credits, server.credits) == (True, credits, credits)
    (attempt,) = landed(landing, ended.key).attempts
    assert (attempt.doubted, attempt.pages) == (credits - 1, 1)
    assert end_of(landing, ended.key) == (now, "exhausted" if now == "found" else None)


def test_a_status_that_flips_back_was_a_slip(server: ListServer, landing: Landing) -> None:
    server.set("nasa", "followers", status="private")

    def opens_again(request: Request) -> None:
        if len(server.requests) == 2:
            server.set("nasa", "followers", fans(45))

    server.fault = opens_again
    ended = read_one(to_read("nasa", status_before="found"), server, landing)
    assert end_of(landing, ended.key) == ("found", "exhausted")
    assert listed(landing, ended.key) == [f"fan.{n}" for n in range(45)]
    assert ended.credits == 4 == spent_on(landing, DAY)


def test_a_list_that_turns_private_while_it_is_read_counts_as_private(
    server: ListServer, landing: Landing
) -> None:
    server.set("nasa", "followers", fans(60))

    def turns_private(request: Request) -> None:
        if is_page_two(request):
            server.set("nasa", "followers", status="private")

    server.fault = turns_private
    ended = read_one(to_read("nasa", status_before="found"), server, landing)
    assert asked(server) == ["nasa followers 0", "nasa followers 20", "nasa followers 20"]
    assert end_of(landing, ended.key) == ("private", None)
    assert len(listed(landing, ended.key)) == 20  # kept as evidence


def test_a_list_that_only_blinks_while_it_is_read_is_read_to_its_end(
    server: ListServer, landing: Landing
) -> None:
    server.set("nasa", "followers", fans(60))

    def blinks(request: Request) -> None:
        blink = len(server.requests) == 2
        server.set("nasa", "followers", fans(60), status="hidden" if blink else "found")

    server.fault = blinks
    ended = read_one(to_read("nasa"), server, landing)
    assert end_of(landing, ended.key) == ("found", "exhausted")
    assert listed(landing, ended.key) == [f"fan.{n}" for n in range(60)]
    assert ended.credits == 4


def test_every_change_is_doubted_also_the_second_of_a_walk(
    server: ListServer, landing: Landing
) -> None:
    def blinks_twice(request: Request) -> None:
        blink = len(server.requests) in (1, 3)
        server.set("nasa", "followers", fans(60), status="private" if blink else "found")

    server.fault = blinks_twice
    ended = read_one(to_read("nasa", status_before="found"), server, landing)
    assert end_of(landing, ended.key) == ("found", "exhausted")
    assert listed(landing, ended.key) == [f"fan.{n}" for n in range(60)]
    assert ended.credits == 5


def test_a_doubt_is_remembered_when_the_second_answer_did_not_come(
    server: ListServer, landing: Landing
) -> None:
    server.set("nasa", "followers", status="private")
    server.fault = lambda r: Reply(500) if len(server.requests) > 1 else None
    wanted = to_read("nasa", status_before="found")
    assert not read_one(wanted, server, landing).finished
    server.fault = None
    ended = read_one(wanted, server, landing, run_id="run-2")
    assert (ended.finished, ended.bought) == (True, 1)
    assert end_of(landing, ended.key) == ("private", None)


# --- broken answers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        Reply(200, json={"data": {"lookupStatus": "banned"}, "meta": {}}),
        Reply(200, json=[]),
        Reply(200, body=b"<html>Welcome to the gateway</html>"),
        Reply(200, body=b'{"data": {"lookupSta'),
    ],
)
def test_an_answer_that_breaks_the_contract_is_kept_apart_and_others_go_on(
    server: ListServer, landing: Landing, broken: Reply
) -> None:
    for handle in ("nasa", "bob"):
        server.set(handle, "followers", fans(45))
    server.fault = lambda r: broken if "nasa" in r.path and is_page_two(r) else None
    ended = read([to_read("nasa"), to_read("bob")], server, landing)
    nasa = ended[key_of("nasa")]
    assert (nasa.finished, nasa.permanent, nasa.bought) == (False, True, 1)
    assert ended[key_of("bob")].finished
    (path,) = landing.path(key_of("nasa")).parent.glob("*quarantine*")
    assert str(path) in str(nasa.reason)
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert kept["page"] == 2
    assert kept["reason"]

    server.fault = None
    server.requests.clear()
    assert read_one(to_read("nasa"), server, landing).finished
    assert asked(server) == ["nasa followers 20", "nasa followers 40"]


def test_a_refused_request_fails_its_own_list_only(server: ListServer, landing: Landing) -> None:
    server.fault = lambda r: Reply(400, json=error_body("bad_request")) if "odd" in r.path else None
    ended = read([to_read("odd"), to_read("bob")], server, landing)
    assert not ended[key_of("odd")].finished
    assert "check the handle" in str(ended[key_of("odd")].reason)
    assert ended[key_of("bob")].finished


# --- refresh --------------------------------------------------------------------------------------


def test_a_cursor_that_is_refused_later_ends_the_list_as_a_window(
    server: ListServer, landing: Landing
) -> None:
    """The API may let cursors expire: what was landed of a list that broke off is kept."""
    server.set("nova", "followers", [account(n) for n in range(60)])
    server.fault = lambda request: Reply(502, json=error_body("lookup_failed")) if (
        "cursor" in request.query
    ) else None  # fmt: skip
    assert not read_one(to_read("nova"), server, landing).finished
    server.fault = lambda request: Reply(400, json=error_body("bad_request"))
    ended = read_one(to_read("nova"), server, landing, run_id="run-2")
    assert ended.finished
    assert end_of(landing, key_of("nova")) == ("found", "stalled")
    assert server.credits == 1
    # The first page of a list is no cursor's fault.
    assert not read_one(to_read("other"), server, landing).finished


@pytest.mark.parametrize(("accounts", "finished"), [(1_020, True), (40, False)])
def test_a_lookup_that_fails_in_run_after_run_is_the_cap_of_a_long_list(
    server: ListServer, landing: Landing, accounts: int, finished: bool
) -> None:
    server.set("nova", "followers", [account(n) for n in range(accounts)], total=9_000)
    last = f"followers/nova/{accounts - 20}".encode().hex()
    server.fault = lambda request: Reply(502, json=error_body("lookup_failed")) if (
        request.query.get("cursor") == last
    ) else None  # fmt: skip
    ended = [read_one(to_read("nova"), server, landing, run_id=f"run-{n}") for n in range(3)]
    assert [one.finished for one in ended] == [False, False, finished]
    if finished:
        assert end_of(landing, key_of("nova")) == ("found", "stalled")
    assert server.credits == accounts // 20 - 1


def test_a_refresh_walks_a_finished_list_once_however_often_it_is_retried(
    server: ListServer, landing: Landing
) -> None:
    server.set("nasa", "followers", fans(45))
    read_one(to_read("nasa"), server, landing)
    server.set("nasa", "followers", fans(25))
    for _ in range(3):
        ended = read_one(to_read("nasa"), server, landing, refresh="monday", run_id="run-2")
        assert ended.finished
    assert server.credits == 3 + 2
    assert len(listed(landing, key_of("nasa"))) == 25
    read_one(to_read("nasa"), server, landing, refresh="another")
    assert server.credits == 3 + 2 + 2


def test_a_refresh_that_broke_off_goes_on_and_the_reading_before_it_stands_meanwhile(
    server: ListServer, landing: Landing
) -> None:
    server.set("nasa", "followers", fans(45))
    read_one(to_read("nasa"), server, landing)
    server.fault = lambda r: Reply(500) if is_page_two(r) else None
    assert not read_one(to_read("nasa"), server, landing, refresh="monday").finished
    standing = landed(landing, key_of("nasa")).to_load
    assert standing is not None
    assert (standing.number, standing.pages) == (1, 3)

    # A run without a refresh has nothing to do for it.
    server.requests.clear()
    assert read_one(to_read("nasa"), server, landing).bought == 0

    server.fault = None
    assert read_one(to_read("nasa"), server, landing, refresh="monday").finished
    assert asked(server) == ["nasa followers 20", "nasa followers 40"]
    standing = landed(landing, key_of("nasa")).to_load
    assert standing is not None
    assert (standing.number, standing.pages) == (2, 3)


def test_a_refresh_goes_on_with_what_broke_off_before_it_and_is_then_done(
    server: ListServer, landing: Landing
) -> None:
    server.set("nasa", "followers", fans(45))
    server.fault = lambda r: Reply(500) if is_page_two(r) else None
    read_one(to_read("nasa"), server, landing)
    server.fault = None
    for _ in range(3):
        assert read_one(to_read("nasa"), server, landing, refresh="monday").finished
    assert server.credits == 3


# --- two at once ----------------------------------------------------------------------------------


def test_two_runs_of_one_day_never_buy_a_page_twice(server: ListServer, landing: Landing) -> None:
    lists = [to_read(f"h{n}") for n in range(12)]
    for wanted in lists:
        server.set(wanted.key.handle, "followers", fans(60))
    ended: list[dict[SnapshotKey, Collected]] = []

    def run(name: str, order: list[ListToRead]) -> None:
        ended.append(read(order, server, landing, concurrency=4, run_id=name))

    threads = [
        threading.Thread(target=run, args=("one", lists)),
        threading.Thread(target=run, args=("two", [*reversed(lists)])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert [all(one.finished for one in run.values()) for run in ended] == [True, True]
    assert server.credits == len(server.requests) == len(set(asked(server))) == 36
    assert sum(one.bought for run in ended for one in run.values()) == 36
    assert spent_on(landing, DAY) == 36


PROCESS = """
import asyncio, sys
from pathlib import Path
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets.storage.packed import PackedFile
from sf_assets_tests.ingest import test_reading as t
class Server: url = sys.argv[1]
lists = [t.to_read(f"h{n}") for n in range(6)]
ended = asyncio.run(t.collected(lists, Server, DiskLanding(Path(sys.argv[2])), concurrency=3))
print(sum(one.finished for one in ended), sum(one.bought for one in ended))
"""


def test_two_processes_never_buy_a_page_twice(server: ListServer, landing: Landing) -> None:
    for n in range(6):
        server.set(f"h{n}", "followers", fans(200))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, server.url, str(landing.root)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    told = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [finished for finished, _ in told] == ["6", "6"]
    assert sum(int(bought) for _, bought in told) == 60
    assert server.credits == len(set(asked(server))) == 60


def test_a_list_without_end_is_not_bought_for_ever(server: ListServer, landing: Landing) -> None:
    pages = itertools.count()

    def fault(request: Request) -> Reply:
        at = 20 * next(pages)
        data = {
            "lookupStatus": "found",
            "followers": [account(n) for n in range(at, at + 20)],
            "page": {"nextCursor": f"c{at}", "hasMore": True},
            "totalFollowers": 100,
        }
        meta = {"requestId": "req", "creditsCharged": 1, "version": "v1"}
        return Reply(json={"data": data, "meta": meta})

    server.fault = fault
    ended = read_one(to_read("nasa"), server, landing)
    assert (ended.finished, ended.bought) == (True, 61)
    assert end_of(landing, key_of("nasa")) == ("found", "stalled")
    assert read_one(to_read("nasa"), server, landing).bought == 0


# --- loading ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (duckdb.Error(""), "Error"),
        (duckdb.InternalException("\n"), "InternalException"),
        (duckdb.InvalidInputException("\n odd\nmore"), "odd"),
        (PermissionError(13, "denied", "a.jsonl"), "denied: 'a.jsonl'"),
        (OverflowError(""), "OverflowError"),
        (ValueError("\x1b[2J"), "\ufffd[2J"),
    ],
)
def test_what_is_raised_while_a_list_is_loaded_is_its_own_trouble(
    server: ListServer,
    landing: Landing,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    reason: str,
) -> None:
    for handle in ("a", "b", "c"):
        server.set(handle, "followers", fans(3))
    ended = read([to_read("a"), to_read("b"), to_read("c")], server, landing)

    def refusing(root: Path, batch: Sequence[Landed], **more: Any) -> list[SnapshotRow]:
        if any(one.key.handle == "b" for one in batch):
            raise error
        return write_batch(root, batch, **more)

    monkeypatch.setattr("sf_assets.warehouse.load.write_batch", refusing)
    rows, failures = load(
        partial(writing, tmp_path / "warehouse" / "w.duckdb"),
        tmp_path / "archive",
        [one.landed for one in ended.values() if one.landed],
    )
    assert {row.handle for row in rows} == {"a", "c"}
    assert [(one.key, one.reason) for one in failures] == [(key_of("b"), reason)]


@pytest.mark.parametrize("unpacked", [None, 0, 40, 90], ids=str)
def test_a_list_that_another_process_packs_before_it_is_loaded_is_loaded_whole(
    server: ListServer, landing: Landing, tmp_path: Path, unpacked: int | None
) -> None:
    """`unpacked`: a third process unpacks it again just now, and has come to so many percent."""
    for handle in ("a", "b"):
        server.set(handle, "followers", fans(45))
    ended = read([to_read("a"), to_read("b")], server, landing)
    path = landing.path(key_of("a"))
    whole = path.read_bytes()
    assert landing.pack(key_of("a"), (1, 3))
    if unpacked is not None:
        lines = whole.splitlines(keepends=True)
        path.write_bytes(b"".join(lines[: len(lines) * unpacked // 100]))
    rows, failures = load(
        partial(writing, tmp_path / "warehouse" / "w.duckdb"),
        tmp_path / "archive",
        [one.landed for one in ended.values() if one.landed],
        landing,
    )
    assert failures == []
    assert {row.handle: row.listed for row in rows} == {"a": 45, "b": 45}


def test_a_list_that_is_unpacked_while_it_is_archived_is_loaded_whole(
    server: ListServer, landing: Landing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.set("a", "followers", fans(45))
    ended = read([to_read("a")], server, landing)

    def half_there(landed: Landed, folder: Path) -> Path:
        """Another process has packed the list and unpacks it: half of it is there so far."""
        if not isinstance(landed, PackedFile) and landed.path.stat().st_size == landed.sound_bytes:
            lines = landed.path.read_bytes().splitlines(keepends=True)
            assert landing.pack(landed.key, (1, 3))
            landed.path.write_bytes(b"".join(lines[:3]))
        return landed.path

    monkeypatch.setattr(Landed, "on_disk", half_there)
    rows, failures = load(
        partial(writing, tmp_path / "warehouse" / "w.duckdb"),
        tmp_path / "archive",
        [one.landed for one in ended.values() if one.landed],
        landing,
    )
    assert failures == []
    assert [row.listed for row in rows] == [45]


def test_a_reading_that_ends_while_it_is_stopped_ends_quietly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def one() -> AsyncIterator[Any]:
        yield Collected(key_of("a"), Outcome.FAILED)

    class SlowlyClosed(asyncio.SelectorEventLoop):
        def close(self) -> None:
            super().close()
            time.sleep(0.3)  # the thread lives on for a moment

    monkeypatch.setattr(asyncio, "new_event_loop", SlowlyClosed)
    for batch in read_in_batches(one, print):
        assert len(batch) == 1
        time.sleep(0.1)


def test_a_landing_that_cannot_be_opened_is_told_for_its_list_only(
    server: ListServer, landing: Landing
) -> None:
    server.set("good", "followers", fans(3))
    read([to_read("good")], server, landing)
    landing.path(key_of("folder")).mkdir()
    records = {
        "no_start": b'"kind":"end","lookup_status":"found","end_reason":null,"at":"","run_id":""}',
        "no_kind": b'"a":1}',
        "a_list": b'"kind":[]}',
    }
    for handle, record in records.items():
        line = b'{"crc":"%08x",' % zlib.crc32(record) + record + b"\n"
        landing.path(key_of(handle)).write_bytes(line)
    names = ["folder", *records, "good"]
    found = dict(landing.read_each([key_of(name) for name in names]))
    assert isinstance(found[key_of("good")], Landed)
    for name in names[:-1]:
        assert str(landing.path(key_of(name))) in str(found[key_of(name)]), name
        assert isinstance(found[key_of(name)], LandingDamaged)
    for name in names:
        server.set(name, "followers", fans(3))
    ended = read([to_read(name) for name in names], server, landing)
    assert [name for name in names if ended[key_of(name)].finished] == ["good"]
