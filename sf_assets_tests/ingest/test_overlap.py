"""When a reading may stop: a page that is all known, and one more, each as it was in the list."""

from __future__ import annotations

import json

from sf_assets.ingest.overlap import KnownList, KnownRun
from sf_assets.social_fetch import EndReason, ListWalk, parse_page
from sf_assets_tests.served_lists import account

KNOWN = KnownList((str(account(n)["platformUserId"]), f"fan.{n}") for n in range(100, 0, -1))


def walk(*pages: list[int], known: KnownList | None = KNOWN, more: bool = True) -> ListWalk:
    """A walk through pages of account numbers."""
    made = ListWalk("followers", "nasa", known=KnownRun(known) if known else None)
    for number, numbers in enumerate(pages):
        last = not more and number == len(pages) - 1
        data = {
            "lookupStatus": "found",
            "followers": [account(n) for n in numbers],
            "page": {"nextCursor": None if last else f"c{number}", "hasMore": not last},
            "totalFollowers": 100,
        }
        meta = {"requestId": "r", "creditsCharged": 1, "version": "v1"}
        made.update(parse_page("followers", json.dumps({"data": data, "meta": meta}).encode()))
    return made


def test_two_known_pages_in_a_row_end_the_walk() -> None:
    assert walk([100, 99]).has_next_page
    assert walk([100, 99], [98, 97]).end_reason is EndReason.KNOWN
    assert walk([102, 101], [100, 99], [98, 97]).end_reason is EndReason.KNOWN


def test_a_newcomer_anywhere_on_a_page_makes_it_new() -> None:
    assert walk([100, 99], [98, 101]).has_next_page
    assert walk([100, 101], [99, 98]).has_next_page


def test_who_left_from_between_does_not_make_a_page_new() -> None:
    assert walk([100, 97], [96, 90]).end_reason is EndReason.KNOWN


def test_known_accounts_in_another_order_are_not_as_they_were() -> None:
    assert walk([99, 100], [98, 97]).has_next_page
    assert walk([50, 49], [98, 97]).has_next_page


def test_what_a_page_repeats_says_nothing_and_takes_nothing_back() -> None:
    assert walk([100, 99], [100, 99]).has_next_page
    assert walk([100, 99], [100, 99], [99, 98]).end_reason is EndReason.KNOWN
    assert walk([100, 99], [], [98, 97]).end_reason is EndReason.KNOWN


def test_the_end_of_the_list_is_an_end_of_its_own() -> None:
    assert walk([100, 99], [98, 97], more=False).end_reason is EndReason.EXHAUSTED


def test_a_walk_that_is_to_be_whole_goes_on_past_what_is_known() -> None:
    stopped = walk([100, 99], [98, 97])
    stopped.reopen()
    assert stopped.end_reason is EndReason.KNOWN
    whole = walk([100, 99], [98, 97], known=None)
    assert whole.has_next_page


def test_landed_pages_beyond_the_stop_are_taken_in_a_replay() -> None:
    further = walk([100, 99], [98, 97], [101, 96])
    assert (further.pages, further.listed) == (3, 6)
    assert further.has_next_page
