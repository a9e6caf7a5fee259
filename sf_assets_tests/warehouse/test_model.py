"""Whatever happens to a list: no false loss, no missed one in the window, no false gain.

`SF_ASSETS_DEEP=500` runs so many worlds instead of a few.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from sf_assets.warehouse.archive import read_archive

from ..lists import Lists, number_of, number_of_day
from ..model import QUIRKS, Day, Story, invent

DEEP = int(os.environ.get("SF_ASSETS_DEEP", "0"))
FEW = settings(
    max_examples=DEEP or 4,
    deadline=None,
    derandomize=not DEEP,
    suppress_health_check=list(HealthCheck),
    # A world takes seconds; its seed and quirks are all there is to shrink.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
FEWER = settings(FEW, max_examples=DEEP // 10 or 1)

quirk_sets = st.frozensets(st.sampled_from(QUIRKS), max_size=len(QUIRKS))
# A seed, and what goes wrong with each of seven handles; with an eighth everything does.
worlds = st.tuples(st.integers(0, 10**6), st.lists(quirk_sets, min_size=7, max_size=7))
World = tuple[int, list[frozenset[str]]]


def stories_of(world: World) -> list[Story]:
    start, quirks = world
    return [
        invent(f"handle{at}", start, some) for at, some in enumerate([*quirks, frozenset(QUIRKS)])
    ]


@contextmanager
def warehouse() -> Iterator[Lists]:
    with tempfile.TemporaryDirectory() as folder:
        made = Lists(Path(folder))
        try:
            yield made
        finally:
            made.close()


def number(account_id: str) -> int:
    """The model's number of an account, by whatever id it is known."""
    found = number_of(account_id)
    if isinstance(found, int):
        return found
    return int(found.removeprefix("sec:MS4w").removeprefix("@fan"))


def tell(lists: Lists, stories: list[Story]) -> None:
    lists.load(told for story in stories for told in story.told())
    lists.derive()


Churn = list[tuple[int, int, int, str, str]]


def churn_of(lists: Lists, story: Story) -> Churn:
    """(previous day, day, account, change, state)."""
    return [
        (number_of_day(before), number_of_day(day), number(account), change, state)
        for before, day, account, change, state in lists.rows(
            "SELECT previous_date, snapshot_date, account_id, change, state FROM follower_churn "
            "WHERE handle = ? ORDER BY ALL",
            story.handle,
        )
    ]


@seed(1)
@given(worlds)
@FEW
def test_every_claim_is_true_and_every_list_can_be_had_back(world: World) -> None:
    stories = stories_of(world)
    with warehouse() as lists:
        tell(lists, stories)
        for story in stories:
            churn = churn_of(lists, story)
            every_list_can_be_had_back(lists, story)
            no_false_loss(story, churn)
            no_missed_loss(story, churn)
            no_false_gain(story, churn)


def every_list_can_be_had_back(lists: Lists, story: Story) -> None:
    for day in story.usable:
        stood = {
            number(account): healed
            for account, healed in lists.rows(
                "SELECT account_id, healed FROM followers_on(?, ?)",
                story.handle,
                day.told.key.day,
            )
        }
        assert {n for n, healed in stood.items() if not healed} == set(day.listed), (
            story.handle,
            day.day,
        )


def no_false_loss(story: Story, churn: Churn) -> None:
    """Confirmed: by the record it left before it was listed again."""
    for before, day, account, change, state in churn:
        if (change, state) != ("lost", "confirmed"):
            continue
        later = [each for each in story.days if each.day > before]
        until = next((each for each in later if account in each.listed), later[-1])
        assert account not in until.following or story.began(account, until.day) > before, (
            story.handle, before, day, account,
        )  # fmt: skip


def no_missed_loss(story: Story, churn: Churn) -> None:
    """Left between two ordered lists, above somebody all later show: confirmed by the third."""
    confirmed = {
        (day, account)
        for _, day, account, change, state in churn
        if (change, state) == ("lost", "confirmed")
    }
    strange = {"shuffle", "stale", "skip"}
    usable = story.usable
    for at in range(len(usable) - 4):
        p, c, *later = usable[at : at + 5]
        days = [p, c, *later]
        if any(day.quirks & strange or not day.listed for day in days):
            continue
        if all(ordered(one, other) for one, other in pairwise(days)):
            for account in surely_left(days):
                assert (c.day, account) in confirmed, (story.handle, p.day, c.day, account)


def surely_left(days: list[Day]) -> Iterator[int]:
    p, *later = days
    # Without ids it may be there under another name.
    nameless = {
        who.n
        for who in p.told.accounts
        if not (isinstance(who, int) or who.user_id == "" or who.sec_uid == "")
    }
    everywhere = set(p.listed).intersection(*(day.listed for day in later))
    for at, account in enumerate(p.listed):
        if account in nameless or any(account in day.following for day in later):
            continue
        # Neighbours that all lists show keep it apart from any hole.
        above, below = p.listed[max(0, at - 1) : at], p.listed[at + 1 : at + 2]
        if below and set(above + below) <= everywhere:
            yield account


def ordered(one: Day, other: Day) -> bool:
    """Whether their common accounts stand in one order: nobody came again in between."""
    common = set(one.listed) & set(other.listed)
    return [n for n in one.listed if n in common] == [n for n in other.listed if n in common]


def no_false_gain(story: Story, churn: Churn) -> None:
    """A gain is somebody's first sight since a follow that the record has."""
    seen: set[int] = set()
    gained = {(day, n): change for _, day, n, change, _ in churn if change != "lost"}
    for day in story.usable:
        for account in day.listed:
            change = gained.get((day.day, account))
            if change is None or "stale" in day.quirks:
                continue
            assert account in day.following
            began = story.began(account, day.day)
            earlier = [e.day for e in story.usable if began <= e.day < day.day]
            listed = [e for e in story.usable if e.day in earlier and account in e.listed]
            assert not listed, (story.handle, day.day, account, change)
            assert (change == "returned") <= (account in seen)
        seen.update(day.listed)


@seed(2)
@given(worlds, st.integers(0, 10**6))
@FEWER
def test_neither_order_nor_batches_nor_replay_matter(world: World, shuffled: int) -> None:
    stories = stories_of(world)
    chance = Random(shuffled)
    told = [each for story in stories for each in story.told()]
    with warehouse() as first, warehouse() as second, warehouse() as third:
        for day in sorted({each.day for each in told}):
            first.tell(*(each for each in told if each.day == day))
        chance.shuffle(told)
        while told:
            some = chance.randrange(1, 12)
            second.load(told[:some])
            del told[:some]
            if chance.random() < 0.3:
                second.derive()
        second.derive()
        expected = first.tables()
        for name, rows in second.tables().items():
            assert rows == expected[name], name
        third.home = first.home
        third.record(read_archive(first.home.archive))
        third.derive()
        for name, rows in third.tables().items():
            assert rows == expected[name], name
