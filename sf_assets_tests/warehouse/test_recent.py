"""Readings that stop at what is known: what comes is exact, losses are claimed where it was read.

The walk and its judge are the real ones; only the vendor is a list of numbers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date
from itertools import groupby, pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from sf_assets.ingest.overlap import KnownList, KnownRun, known_lists
from sf_assets.model import SnapshotKey
from sf_assets.social_fetch import ListWalk, parse_page

from ..lists import Listed, Lists, Told, nameless, number_of, number_of_day, on
from ..model import QUIRKS, Story, invent
from .test_model import churn_of, no_false_gain, no_false_loss, number, warehouse

PAGE = 4


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Lists]:
    made = Lists(tmp_path / "other")
    yield made
    made.close()


def read_top(lists: Lists, told: Told) -> Told:
    """What a reading of `told` shows that stops where two pages are known."""
    known = known_lists(lists.con, [told.key]).get(told.key)
    if known is None or told.status != "found":
        return told
    walk = ListWalk(told.relation, told.handle, known=KnownRun(known()))
    for body in told.bodies():
        walk.update(parse_page(told.relation, body))
        if not walk.has_next_page:
            break
    if walk.end_reason is None or walk.end_reason.value != "known":
        return told
    shown = told.accounts[: walk.pages * told.page_size]
    return Told(
        told.day, told.handle, shown, told.status, told.total, told.no_total, "known",
        told.relation, told.page_size,
    )  # fmt: skip


def see(lists: Lists, day: int, accounts: list[Listed], *, whole: bool = False) -> Told:
    """One day's list, read to its end or from the top; as it was read."""
    told = Told(day, "nova", tuple(accounts), total=len(accounts), page_size=PAGE)
    told = told if whole else read_top(lists, told)
    lists.tell(told)
    return told


def without(numbers: list[int], *gone: int) -> list[Listed]:
    return [n for n in numbers if n not in gone]


BASE = list(range(40, 0, -1))


def lost(lists: Lists) -> list[tuple[int, int, int | str, str]]:
    """(previous day, day, account, state)."""
    return sorted(
        (number_of_day(before), number_of_day(day), number_of(account), state)
        for before, day, account, state in lists.rows(
            "SELECT previous_date, snapshot_date, account_id, state FROM follower_churn "
            "WHERE change = 'lost'"
        )
    )


def test_two_pages_in_a_row_that_are_known_end_a_reading(lists: Lists) -> None:
    see(lists, 1, list(BASE), whole=True)
    assert len(see(lists, 2, list(BASE)).accounts) == 2 * PAGE
    assert len(see(lists, 3, [43, 42, 41, *BASE]).accounts) == 3 * PAGE
    assert lists.churn("nova") == {(3, n, "gained", "confirmed") for n in (41, 42, 43)}


def test_a_page_in_another_order_is_not_known(lists: Lists) -> None:
    see(lists, 1, list(BASE), whole=True)
    swapped = [39, 40, *BASE[2:]]
    assert len(see(lists, 2, swapped).accounts) == 3 * PAGE


def test_who_stands_below_stays_and_who_left_above_is_lost(lists: Lists) -> None:
    see(lists, 1, list(BASE), whole=True)
    top = see(lists, 2, without(BASE, 38, 10))
    assert top.accounts[-1] == 32
    assert lists.churn("nova") == {(2, 38, "lost", "provisional")}
    assert lists.memberships("nova", 10) == [(1, None, "baseline", None)]
    see(lists, 3, without(BASE, 38, 10))
    assert lists.churn("nova") == {(2, 38, "lost", "provisional")}
    see(lists, 4, without(BASE, 38, 10))
    assert lists.churn("nova") == {(2, 38, "lost", "confirmed")}
    assert lists.one("SELECT completeness FROM follower_growth WHERE snapshot_date = ?", on(3)) == (
        "window"
    )


def test_who_returns_without_ids_before_a_whole_reading_looks_is_the_same_account(
    lists: Lists,
) -> None:
    see(lists, 1, list(BASE), whole=True)
    see(lists, 2, list(BASE))
    again: list[Listed] = [nameless(10, "fan10"), *without(BASE, 10)]
    see(lists, 3, again)
    see(lists, 4, again, whole=True)
    see(lists, 5, [10, *without(BASE, 10)], whole=True)
    assert (3, 10, "returned", "confirmed") in lists.churn("nova")
    assert {day for day, *_, change, _ in lists.churn("nova") if change == "returned"} == {3}
    assert lists.memberships("nova", "@fan10") == []


def test_a_loss_below_is_found_by_a_whole_reading_and_dated_by_the_last_look(lists: Lists) -> None:
    see(lists, 1, list(BASE), whole=True)
    see(lists, 2, [41, *BASE])
    # Deeper than the other readings: 30 is the last account it shows.
    see(lists, 3, [42, 41, 39, 40, *BASE[2:]])
    see(lists, 4, [43, 42, 41, 39, 40, *BASE[2:]])
    see(lists, 5, without([43, 42, 41, 39, 40, *BASE[2:]], 31, 10), whole=True)
    assert lost(lists) == [(1, 5, 10, "provisional"), (3, 5, 31, "provisional")]
    assert lists.memberships("nova", 10) == [(1, 1, "baseline", "lost")]
    assert lists.memberships("nova", 31) == [(1, 3, "baseline", "lost")]
    # A reading of the top says nothing of either; the next whole one does.
    now = without([43, 42, 41, 39, 40, *BASE[2:]], 31, 10)
    see(lists, 6, now)
    assert {state for *_, state in lost(lists)} == {"provisional"}
    for day in (7, 8, 9):
        see(lists, day, now, whole=True)
    assert {state for *_, state in lost(lists)} == {"confirmed"}


def test_a_provisional_loss_below_is_not_retracted_by_the_top_but_by_its_return(
    lists: Lists,
) -> None:
    see(lists, 1, list(BASE), whole=True)
    see(lists, 2, without(BASE, 10), whole=True)
    see(lists, 3, without(BASE, 10))
    assert lost(lists) == [(1, 2, 10, "provisional")]
    see(lists, 4, list(BASE), whole=True)
    assert lost(lists) == [(1, 2, 10, "retracted")]
    assert lists.memberships("nova", 10) == [(1, None, "baseline", None)]


def test_who_left_unseen_and_came_again_is_a_loss_and_a_return(lists: Lists) -> None:
    see(lists, 1, list(BASE), whole=True)
    see(lists, 2, without(BASE, 10))
    see(lists, 3, [10, *without(BASE, 10)])
    assert lists.churn("nova") == {
        (3, 10, "lost", "confirmed"),
        (3, 10, "returned", "confirmed"),
    }
    assert lost(lists) == [(1, 3, 10, "confirmed")]
    assert lists.memberships("nova", 10) == [
        (1, 1, "baseline", "lost"),
        (3, None, "returned", None),
    ]
    see(lists, 4, [10, *without(BASE, 10)], whole=True)
    assert len(lists.churn("nova")) == 2


def test_the_list_of_such_a_day_is_its_top_over_what_was_known(lists: Lists) -> None:
    see(lists, 1, list(BASE), whole=True)
    see(lists, 2, [42, 41, *without(BASE, 38, 10)])
    assert list(lists.followers_on("nova", 2)) == [42, 41, *without(BASE, 38)]
    assert list(lists.followers_on("nova", 1)) == BASE
    seen = {
        number_of(account): number_of_day(last)
        for account, last in lists.rows("SELECT account_id, last_seen FROM accounts")
    }
    assert (seen[42], seen[36], seen[10], seen[38]) == (2, 2, 1, 1)


def test_what_is_not_yet_seen_has_an_estimate(lists: Lists) -> None:
    see(lists, 1, list(BASE), whole=True)
    see(lists, 2, [42, 41, *without(BASE, 38, 10, 9)])
    assert lists.one(
        "SELECT followers_gained, followers_lost_provisional, net_unexplained, "
        "followers_lost_estimate FROM follower_growth WHERE snapshot_date = ?",
        on(2),
    ) == (2, 1, -2, 3)
    see(lists, 3, [42, 41, *without(BASE, 38, 10, 9)], whole=True)
    assert lists.one(
        "SELECT followers_gained, followers_lost_provisional, net_unexplained, "
        "followers_lost_estimate FROM follower_growth WHERE snapshot_date = ?",
        on(3),
    ) == (0, 2, 2, 0)


def test_a_reading_of_the_top_that_contradicts_the_order_ends_nobody_s_stay(lists: Lists) -> None:
    see(lists, 1, list(BASE), whole=True)
    shuffled = BASE[:16]
    Random(3).shuffle(shuffled)
    told = see(lists, 2, [*shuffled, *BASE[16:]])
    assert told.end == "known"
    assert lists.one("SELECT losses FROM comparisons WHERE snapshot_date = ?", on(2)) == "none"
    assert lists.churn("nova") == set()
    assert len(lists.followers_on("nova", 2)) == len(BASE)


def test_a_late_day_replays_to_the_same_tables(lists: Lists, other: Lists) -> None:
    told = [
        see(lists, 1, list(BASE), whole=True),
        see(lists, 2, [42, 41, *without(BASE, 38)]),
        see(lists, 3, [10, 42, 41, *without(BASE, 38, 10)]),
        see(lists, 4, [10, 42, 41, *without(BASE, 38, 10, 20)], whole=True),
    ]
    for one in (told[3], told[1], told[0], told[2]):
        other.tell(one)
    assert other.tables() == lists.tables()


@pytest.mark.parametrize(
    ("shown", "rank"),
    [
        ({"platform_user_id": "7", "handle": "new.name"}, 0),
        ({"platform_user_id": "9", "handle": "seven"}, None),  # another person has the handle now
        ({"platform_user_id": "9", "handle": "nameless"}, 2),
        ({"sec_uid": "MS4", "handle": "x"}, 1),
        ({"handle": "Seven"}, 0),
        ({"handle": "nobody"}, None),
    ],
)
def test_an_account_is_known_by_its_id_or_by_a_handle_that_did_not_move_on(
    shown: dict[str, str], rank: int | None
) -> None:
    from sf_assets.social_fetch import Follower, FollowerMetrics

    known = KnownList([("7", "seven"), ("sec:MS4", None), ("@nameless", "nameless")])
    account = Follower.model_construct(
        **{"platform_user_id": None, "sec_uid": None, **shown},
        metrics=FollowerMetrics.model_construct(followers=0, following=0),
    )
    assert known.rank(account) == rank


DEEP = int(os.environ.get("SF_ASSETS_DEEP", "0"))


@seed(3)
@given(
    st.integers(0, 10**6), st.lists(st.frozensets(st.sampled_from(QUIRKS)), min_size=5, max_size=5)
)
@settings(
    max_examples=DEEP or 2,
    deadline=None,
    derandomize=not DEEP,
    suppress_health_check=list(HealthCheck),
    # A world takes seconds; its seed and quirks are all there is to shrink.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
def test_nothing_claimed_of_a_list_read_from_the_top_is_false(
    start: int, quirks: list[frozenset[str]]
) -> None:
    stories = [invent(f"h{at}", start, some, days=10) for at, some in enumerate(quirks)]
    stories.append(invent("plain", start, frozenset({"renames", "ids"}), days=10))
    with warehouse() as lists:
        days = sorted((day for story in stories for day in story.days), key=lambda day: day.day)
        for _, today in groupby(days, key=lambda day: day.day):
            read = []
            for day in today:
                page = Told(**{**vars(day.told), "page_size": PAGE})
                told = page if day.day % 4 == 1 else read_top(lists, page)
                if told.end == "known":
                    shown = {number_of_who(one) for one in told.accounts}
                    day.listed = [n for n in day.listed if n in shown]
                day.told = told
                read.append(told)
            lists.tell(*read)
        for story in stories:
            churn = churn_of(lists, story)
            no_false_loss(story, churn)
            no_false_gain(story, churn)
            every_top_can_be_had_back(lists, story)
            if story.handle == "plain":
                every_gain_is_found(
                    story, {(day, n) for _, day, n, kind, _ in churn if kind != "lost"}
                )
                every_loss_is_dated_by_the_last_look(story, churn)


def number_of_who(who: Listed) -> int:
    return who if isinstance(who, int) else who.n


def every_top_can_be_had_back(lists: Lists, story: Story) -> None:
    for day in story.usable:
        stood = {
            number(account)
            for account, healed in lists.rows(
                "SELECT account_id, healed FROM followers_on(?, ?)", story.handle, day.told.key.day
            )
            if not healed
        }
        assert set(day.listed) <= stood, (story.handle, day.day)
        if day.told.end != "known":
            assert stood == set(day.listed), (story.handle, day.day)


def every_gain_is_found(story: Story, came: set[tuple[int, int]]) -> None:
    for before, day in pairwise(story.usable):
        # Without ids a new name may be that of somebody who was renamed, and of such who are gone
        # anybody who is new may be one.
        if any(not n % 7 and n not in day.following for n in before.following):
            continue
        shown = {who.n for who in day.told.accounts if isinstance(who, int) or who.user_id == ""}
        for account in set(day.following) & shown:
            if story.began(account, day.day) > before.day and account not in before.following:
                assert (day.day, account) in came, (story.handle, day.day, account)


def every_loss_is_dated_by_the_last_look(
    story: Story, churn: list[tuple[int, int, int, str, str]]
) -> None:
    listed: dict[int, list[int]] = {day.day: day.listed for day in story.days}
    for before, day, account, change, _ in churn:
        if change == "lost":
            assert account in listed[before]
            assert not any(account in listed[later] for later in listed if before < later < day)


def test_keys_without_a_known_list_are_left_out(lists: Lists) -> None:
    see(lists, 1, list(BASE), whole=True)
    found = known_lists(
        lists.con,
        [SnapshotKey(date(2026, 11, 2), handle, "followers") for handle in ("nova", "nobody")],
    )
    assert [key.handle for key in found] == ["nova"]
