from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest
from pydantic import SecretStr

from sf_assets.social_fetch import (
    Answer,
    EndReason,
    FollowersResponse,
    FollowingResponse,
    ListWalk,
    LookupStatus,
    SocialFetchClient,
    parse_page,
)

from ..served_lists import KEY, OMIT, ListServer, account, followed

Response = FollowersResponse | FollowingResponse


def page(
    accounts: Iterable[int | dict[str, Any]] = (),
    cursor: str | None = None,
    *,
    more: bool | None = None,
    status: str = "found",
    total: int | None = None,
) -> Response:
    data = {
        "lookupStatus": status,
        "followers": [account(a) if isinstance(a, int) else a for a in accounts],
        "page": {"nextCursor": cursor, "hasMore": cursor is not None if more is None else more},
        "totalFollowers": total,
    }
    meta = {"requestId": "req_1", "creditsCharged": 1, "version": "v1"}
    return parse_page("followers", json.dumps({"data": data, "meta": meta}).encode())


def walk_of(*pages: Response, max_pages: int | None = None) -> ListWalk:
    walk = ListWalk("followers", "nasa", max_pages=max_pages)
    for each in pages:
        walk.update(each)
    return walk


def test_a_walk_starts_without_a_cursor() -> None:
    walk = ListWalk("followers", "nasa")
    assert walk.has_next_page
    assert walk.request_params() == {"cursor": None, "page": 1}
    assert (walk.lookup_status, walk.end_reason, walk.pages, walk.listed) == (None, None, 0, 0)


def test_it_goes_on_from_the_cursor_of_the_page_before() -> None:
    walk = walk_of(page([1, 2], "c1"))
    assert walk.has_next_page
    assert walk.request_params() == {"cursor": "c1", "page": 2}
    assert walk.lookup_status is LookupStatus.FOUND


def test_it_is_exhausted_when_there_is_no_more() -> None:
    walk = walk_of(page([1, 2], "c1"), page([3]))
    assert not walk.has_next_page
    assert walk.end_reason is EndReason.EXHAUSTED
    assert (walk.pages, walk.listed, walk.credits_charged) == (2, 3, 2)
    with pytest.raises(ValueError, match="ended"):
        walk.request_params()
    with pytest.raises(ValueError, match="ended"):
        walk.update(page([4]))


def test_no_more_with_a_cursor_is_exhausted() -> None:
    assert walk_of(page([1], "c1", more=False)).end_reason is EndReason.EXHAUSTED


@pytest.mark.parametrize("cursor", ["-1", "0"])
def test_a_cursor_of_the_caps_of_tiktok_is_exhausted(cursor: str) -> None:
    assert walk_of(page([1], cursor, more=True)).end_reason is EndReason.EXHAUSTED


@pytest.mark.parametrize("cursor", [None, ""])
def test_more_without_a_cursor_is_a_stall(cursor: str | None) -> None:
    assert walk_of(page([1], cursor, more=True)).end_reason is EndReason.STALLED


def test_a_cursor_seen_before_is_a_stall() -> None:
    walk = walk_of(page([1], "c1"), page([2], "c2"), page([3], "c1"))
    assert walk.end_reason is EndReason.STALLED
    assert (walk.pages, walk.listed) == (3, 3)


def test_an_empty_page_in_the_middle_is_legal() -> None:
    walk = walk_of(page([1], "c1"), page([], "c2"), page([2]))
    assert walk.end_reason is EndReason.EXHAUSTED
    assert walk.listed == 2


def test_a_page_that_comes_twice_is_legal_and_counted_once() -> None:
    walk = walk_of(page([1, 2], "c1"), page([1, 2], "c2"), page([2, 3]))
    assert walk.end_reason is EndReason.EXHAUSTED
    assert walk.listed == 3


def test_three_pages_in_a_row_without_anybody_new_are_a_stall() -> None:
    walk = walk_of(page([1], "c1"), page([1], "c2"), page([], "c3"))
    assert walk.has_next_page
    walk.update(page([1], "c4"))
    assert walk.end_reason is EndReason.STALLED


def test_somebody_new_starts_that_count_again() -> None:
    pages = [page([1], "c1"), page([], "c2"), page([], "c3"), page([2], "c4"), page([], "c5")]
    walk = walk_of(*pages, page([], "c6"))
    assert walk.has_next_page


def test_an_empty_list_is_exhausted() -> None:
    walk = walk_of(page(total=0))
    assert walk.end_reason is EndReason.EXHAUSTED
    assert (walk.listed, walk.reported_total) == (0, 0)


def test_a_page_limit_ends_it_when_there_is_more() -> None:
    walk = walk_of(page([1], "c1"), page([2], "c2"), max_pages=2)
    assert walk.end_reason is EndReason.PAGE_LIMIT
    assert walk.last_cursor == "c2"


def test_a_page_limit_that_meets_the_end_is_exhausted() -> None:
    assert walk_of(page([1], "c1"), page([2]), max_pages=2).end_reason is EndReason.EXHAUSTED


def test_a_page_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ListWalk("followers", "nasa", max_pages=0)


@pytest.mark.parametrize("status", ["hidden", "private", "not_found"])
def test_a_list_that_cannot_be_read_ends_without_an_end_reason(status: str) -> None:
    walk = walk_of(page(status=status))
    assert not walk.has_next_page
    assert walk.lookup_status is LookupStatus(status)
    assert walk.end_reason is None
    assert (walk.pages, walk.listed, walk.reported_total) == (1, 0, None)


@pytest.mark.parametrize("status", ["hidden", "private", "not_found"])
def test_a_list_that_closes_while_it_is_read_counts_as_closed(status: str) -> None:
    walk = walk_of(page([1, 2], "c1", total=9), page(status=status))
    assert not walk.has_next_page
    assert walk.lookup_status is LookupStatus(status)
    assert walk.end_reason is None


def test_the_total_is_the_last_one_given() -> None:
    pages = [page([1], "c1", total=100), page([2], "c2", total=101), page([3], "c3")]
    walk = walk_of(*pages)
    assert (walk.first_total, walk.reported_total) == (100, 101)


def test_accounts_are_told_apart_by_their_kind_of_key() -> None:
    same_text = [
        account(1, platformUserId="12345"),
        account(2, platformUserId=OMIT, secUid="12345"),
        account(3, platformUserId=OMIT, secUid=OMIT, handle="12345"),
        account(4, platformUserId="012345"),
        account(5, platformUserId="9" * 40),
    ]
    assert walk_of(page(same_text)).listed == 5


def test_a_renamed_account_is_the_same_account() -> None:
    assert walk_of(page([account(1), account(1, handle="new.name")])).listed == 1


@pytest.mark.parametrize("reason", [EndReason.BUDGET, EndReason.OUT_OF_CREDITS])
def test_a_stop_from_outside_can_be_lifted(reason: EndReason) -> None:
    walk = walk_of(page([1], "c1"))
    walk.stop(reason)
    assert not walk.has_next_page
    assert walk.end_reason is reason
    walk.reopen()
    assert walk.request_params() == {"cursor": "c1", "page": 2}


def test_a_stop_before_the_first_page_leaves_the_status_open() -> None:
    walk = ListWalk("followers", "nasa")
    walk.stop(EndReason.BUDGET)
    assert (walk.has_next_page, walk.lookup_status) == (False, None)


def test_a_stop_does_not_rewrite_an_end() -> None:
    walk = walk_of(page([1]))
    walk.stop(EndReason.BUDGET)
    assert walk.end_reason is EndReason.EXHAUSTED
    closed = walk_of(page(status="private"))
    closed.stop(EndReason.BUDGET)
    assert closed.end_reason is None


def test_only_what_is_outside_can_be_a_stop_from_outside() -> None:
    with pytest.raises(ValueError, match="exhausted"):
        ListWalk("followers", "nasa").stop(EndReason.EXHAUSTED)


def test_a_page_limit_is_lifted_by_a_larger_one() -> None:
    walk = walk_of(page([1], "c1"), max_pages=1)
    walk.reopen()
    assert walk.end_reason is EndReason.PAGE_LIMIT
    walk.max_pages = 2
    walk.reopen()
    assert walk.has_next_page


@pytest.mark.parametrize("last", [page([2]), page([2], "c1"), page(status="hidden")])
def test_a_real_end_cannot_be_reopened(last: Response) -> None:
    walk = walk_of(page([1], "c1"), last)
    walk.reopen()
    assert not walk.has_next_page


def test_a_replay_gives_the_state_that_was_left() -> None:
    pages = [page([1, 2], "c1", total=6), page([2, 3], "c2"), page([3], "c3"), page([4], "c4")]
    first = walk_of(*pages)
    first.stop(EndReason.BUDGET)
    again = walk_of(*pages)
    assert again.has_next_page
    first.reopen()
    assert vars(again) == vars(first)


def test_a_replay_may_hold_more_pages_than_a_new_limit() -> None:
    walk = walk_of(page([1], "c1"), page([2], "c2"), page([3], "c3"), max_pages=1)
    assert (walk.pages, walk.listed) == (3, 3)
    assert walk.end_reason is EndReason.PAGE_LIMIT


async def read_on(url: str, walk: ListWalk, *, pages: int = 1000) -> list[Answer]:
    answers: list[Answer] = []
    async with SocialFetchClient(api_key=SecretStr(KEY), base_url=url) as client:
        while walk.has_next_page and len(answers) < pages:
            params = walk.request_params()
            answers.append(await client.list_page(walk.relation, walk.handle, **params))
            walk.update(answers[-1].response)
    return answers


@pytest.mark.parametrize("relation", ["followers", "following"])
def test_a_list_read_in_two_sittings_costs_each_page_once(relation: Any) -> None:
    make = account if relation == "followers" else followed
    with ListServer(pages_of=20) as server:
        server.set("nasa", relation, [make(n) for n in range(95)])
        landed = asyncio.run(read_on(server.url, ListWalk(relation, "nasa"), pages=3))
        walk = ListWalk(relation, "nasa")
        for answer in landed:
            walk.update(parse_page(relation, answer.body))
        asyncio.run(read_on(server.url, walk))
    assert walk.end_reason is EndReason.EXHAUSTED
    assert (walk.pages, walk.listed, walk.reported_total) == (5, 95, 95)
    assert (server.credits, walk.credits_charged, len(server.requests)) == (5, 5, 5)


def endless(total: int | None, *, largest: int = 0) -> ListWalk:
    """A walk through a list that brings new accounts for ever."""
    walk = ListWalk("followers", "nasa", largest=largest)
    for number in range(10_000):
        if not walk.has_next_page:
            return walk
        walk.update(page(range(20 * number, 20 * number + 20), f"c{number}", total=total))
    raise AssertionError("it was read for ever")


@pytest.mark.parametrize(
    ("total", "largest", "most"),
    [
        (0, 0, 1_000),
        (100, 0, 1_200),
        (100, 50_000, 1_200),
        (None, 0, 10_000),
        (None, 500, 11_000),
        (2**60, 500, 11_000),
    ],
)
def test_a_list_without_end_is_read_to_its_bound(
    total: int | None, largest: int, most: int
) -> None:
    walk = endless(total, largest=largest)
    assert walk.end_reason is EndReason.STALLED
    assert most < walk.listed <= most + 20
    assert walk.most_accounts == most
    walk.reopen()
    assert not walk.has_next_page


def test_a_list_within_its_bound_is_read_to_its_end() -> None:
    walk = ListWalk("followers", "nasa")
    for number in range(60):
        last = number == 59
        cursor = None if last else f"c{number}"
        walk.update(page(range(20 * number, 20 * number + 20), cursor, total=100))
    assert (walk.listed, walk.end_reason) == (1_200, EndReason.EXHAUSTED)


def test_the_first_total_is_the_bound() -> None:
    """Else a list whose total grows with it would have none."""
    walk = ListWalk("followers", "nasa")
    for number in range(1_000):
        if walk.has_next_page:
            more = page(range(20 * number, 20 * number + 20), f"c{number}", total=20 * number)
            walk.update(more)
    assert (walk.listed, walk.end_reason) == (1_020, EndReason.STALLED)


def test_accounts_without_any_name_are_not_listed_and_end_no_walk_late() -> None:
    nobody = account(1, handle="", platformUserId=OMIT, secUid=OMIT)
    walk = walk_of(page([1, 2], "a"), page([nobody], "b"), page([nobody], "c"), page([nobody], "d"))
    assert (walk.listed, walk.end_reason) == (2, EndReason.STALLED)


@pytest.mark.parametrize(
    ("cursor", "more", "goes_on", "ended"),
    [
        ("next", "yes", True, None),
        (1779246345, True, True, None),
        (1779246345, None, True, None),
        (None, "yes", False, EndReason.STALLED),
        ([1], True, False, EndReason.STALLED),
        ("next", False, False, EndReason.EXHAUSTED),
    ],
)
def test_a_damaged_page_object_is_never_taken_for_the_end(
    cursor: Any, more: Any, goes_on: bool, ended: EndReason | None
) -> None:
    data = {
        "lookupStatus": "found",
        "followers": [account(1)],
        "page": {"nextCursor": cursor, "hasMore": more},
        "totalFollowers": 5,
    }
    meta = {"requestId": "req_1", "creditsCharged": 1, "version": "v1"}
    walk = walk_of(parse_page("followers", json.dumps({"data": data, "meta": meta}).encode()))
    assert (walk.has_next_page, walk.end_reason) == (goes_on, ended)
    if goes_on:
        assert walk.request_params()["cursor"] == str(cursor)
