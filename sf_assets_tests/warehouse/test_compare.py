"""The rules of proof as functions of lists: no database, no files."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from sf_assets.warehouse.alignment import usable_total
from sf_assets.warehouse.compare import advance
from sf_assets.warehouse.matching import possible_renames
from sf_assets.warehouse.series import End, Listing, Proof, Series, Start, State, new_accounts

BASE = tuple(range(30, 0, -1))


class Lists:
    """A series, told one list after the other; accounts are numbers with all ids."""

    def __init__(self) -> None:
        self.series = Series("followers", "nova", new_accounts(0), [])
        self.told = 0

    def tell(
        self,
        accounts: Sequence[int],
        total: int | None = -1,
        *,
        facts: dict[int, bool] | None = None,
        nameless: Sequence[int] = (),
        recent: bool = False,
    ) -> Lists:
        """`total` -1: as many as are listed. Whoever is `nameless` shows a handle alone; a `recent`
        reading stopped at what is known."""
        self.told += 1
        count = len(accounts)
        known = usable_total(count, count if total == -1 else total)
        keys = [n + (10_000 if n in nameless else 0) for n in accounts]
        named = np.array([n not in nameless for n in accounts], dtype=bool)
        advance(
            self.series,
            Listing(
                number=self.told,
                day=self.told,
                exhaustive=known is not None and known <= count and not recent,
                complete=known is None or abs(known - count) <= 2,
                until_known=recent,
                total=known,
                entry=np.arange(count),
                key=np.array(keys, dtype=np.uint64),
                handle=np.array([100_000 + n for n in accounts], dtype=np.uint64),
                has_number=named,
                has_sec=named,
                shows_sec=named,
                bare=np.zeros(count, dtype=bool),
                shows_time=np.zeros(count, dtype=bool),
                facts={100_000 + n: fact for n, fact in (facts or {}).items()},
            ),
        )
        return self

    def of(self, account: int) -> Any:
        """What is known of an account: its row."""
        (index,) = np.flatnonzero(self.series.accounts["key"] == account)
        return self.series.accounts[index]

    def loss(self, account: int) -> tuple[str, Proof]:
        row = self.of(account)
        return State(int(row["loss_state"])).name, Proof(int(row["loss_proof"]))


def without(*gone: int) -> tuple[int, ...]:
    return tuple(n for n in BASE if n not in gone)


def test_who_stands_above_the_horizon_and_is_gone_is_lost_and_who_fell_below_it_is_beyond() -> None:
    lists = Lists().tell(BASE, 90).tell(without(1, 15), 90)
    assert lists.loss(15) == ("provisional", Proof.order)
    assert (lists.of(1)["end"], lists.loss(1)[0]) == (End.beyond, "none")


def test_both_proofs_are_noted_where_both_hold() -> None:
    lists = Lists().tell(BASE).tell(without(15))
    assert lists.loss(15) == ("provisional", Proof.order | Proof.exhaustive)


@pytest.mark.parametrize(
    ("totals", "confirmed_on"),
    [
        ([30, 29, 29, 29, 29], 4),
        ([30, 30, 29, 29, 29], 4),  # a day late
        ([30, 30, 30, 30, 30], 5),
        ([None] * 5, 5),
        ([90] * 5, 5),  # a window: its total falls for accounts that nobody can see, too
        ([90, 89, 89, 89, 89], 5),
    ],
)
def test_a_loss_is_confirmed_by_the_second_later_list_with_the_totals_else_by_the_third(
    totals: list[int | None], confirmed_on: int
) -> None:
    lists = Lists().tell(BASE, totals[0])
    for day, total in enumerate(totals[1:], start=2):
        lists.tell(without(15), total)
        expected = "confirmed" if day >= confirmed_on else "provisional"
        assert lists.loss(15)[0] == expected, day


def test_four_neighbours_are_a_hole_and_three_are_not() -> None:
    assert Lists().tell(BASE, 90).tell(without(12, 13, 14), 90).loss(13)[0] == "provisional"
    hole = Lists().tell(BASE, 90).tell(without(12, 13, 14, 15), 90)
    assert (hole.of(13)["end"], hole.loss(13)[0]) == (End.beyond, "none")


def test_a_list_that_shows_everyone_settles_a_hole() -> None:
    lists = Lists().tell(BASE).tell(without(12, 13, 14, 15), 30).tell(without(12, 13, 14, 15))
    state, proof = lists.loss(13)
    assert state == "provisional"
    assert Proof.exhaustive in proof
    row = lists.of(13)
    assert (row["loss_from"], row["loss_on"], row["missed"]) == (1, 3, 3)


def test_a_returner_among_newer_accounts_returned_and_one_in_its_place_never_left() -> None:
    newer = (33, 32, 31)
    lists = Lists().tell(BASE, 90).tell(without(15), 90).tell((*newer, *without(15)), 90)
    lists.tell((33, 32, 15, 31, *without(15)), 90)
    assert (lists.of(15)["start"], lists.of(15)["first"]) == (Start.returned, 4)
    healed = Lists().tell(BASE, 90).tell(without(15), 90).tell((*newer, *BASE), 90)
    assert (healed.of(15)["start"], healed.of(15)["present"]) == (Start.baseline, True)
    assert healed.series.changes.healed == [(15, 2, 2)] or healed.of(15)["end"] == End.none


def test_a_list_without_order_decides_nothing_about_who_is_back() -> None:
    shuffled = (*BASE[::2], *BASE[1::2])
    lists = Lists().tell(BASE, 30).tell(without(15), 30).tell(shuffled, 30)
    assert (lists.loss(15)[0], lists.of(15)["undecided"]) == ("provisional", 1)
    lists.tell(BASE, 30)
    assert (lists.loss(15)[0], lists.of(15)["start"]) == ("none", Start.baseline)
    assert [gain for gain in lists.series.changes.gains if gain[0] == 15] == []


@pytest.mark.parametrize("nameless", [(3,), (3, 1)])
def test_the_handle_of_another_does_not_show_how_far_a_list_goes(nameless: tuple[int, ...]) -> None:
    # 3, without ids, has the handle that 1 had, and the list ends with it.
    lists = Lists().tell(BASE, 90, nameless=nameless)
    lists.tell((*range(30, 3, -1), 1), 90, nameless=(1,))
    assert [lists.loss(n)[0] for n in (2, 10_003)] == ["none", "none"]
    # If 3 is still there, it is 1 who shows no ids on that day, and 2 above it is lost.
    lists = Lists().tell(BASE, 90, nameless=nameless)
    lists.tell((*range(30, 2, -1), 1), 90, nameless=(3, 1))
    assert lists.loss(2) == ("provisional", Proof.order)


@pytest.mark.parametrize(
    ("top", "start"),
    [
        ((15,), Start.returned),
        ((31, 15), Start.returned),
        # Above somebody who came since it is back: it left and returned after that.
        ((15, 31), Start.baseline),
        ((32, 15, 31), Start.baseline),
    ],
)
def test_who_moved_since_it_is_back_did_not_leave_before(
    top: tuple[int, ...], start: Start
) -> None:
    shuffled = (*BASE[::2], *BASE[1::2])
    lists = Lists().tell(BASE).tell(without(15)).tell(shuffled).tell((*top, *without(15)))
    returned = [gain[0] for gain in lists.series.changes.gains if gain[3] == Start.returned]
    assert lists.of(15)["start"] == start
    assert returned == ([15] if start is Start.returned else [])
    assert lists.loss(15)[0] == "none"


@pytest.mark.parametrize("seed", range(4))
def test_who_is_only_shown_on_days_without_order_has_no_place_to_be_missing_from(seed: int) -> None:
    """A window of the newest 30 of 60, and on shuffled days any 30 of them; nobody leaves."""
    chance = random.Random(seed)
    everybody = list(range(60, 0, -1))
    for shuffled_days in itertools.product([False, True], repeat=4):
        lists = Lists()
        for shuffled in (*shuffled_days, False, False, False, False, False):
            lists.tell(chance.sample(everybody, 30) if shuffled else everybody[:30], 60)
            lost = lists.series.accounts["loss_state"] != State.none
            assert not lost.any(), (shuffled_days, lists.told)


@pytest.mark.parametrize("total", [30, 90])
def test_who_left_before_the_order_was_lost_and_is_back_above_newer_accounts_returned(
    total: int,
) -> None:
    chance = random.Random(1)
    lists = Lists().tell(BASE, total).tell(without(15), total - 1)
    for _ in range(2):
        lists.tell(chance.sample(without(15), 29), total - 1)
    for _ in range(3):
        lists.tell(without(15), total - 1)
    lists.tell((31, *without(15)), total)
    lists.tell((15, 31, *without(15)), total + 1)
    assert (lists.of(15)["start"], lists.of(15)["first"]) == (Start.returned, 9)


def test_who_was_away_for_lists_that_show_everyone_left_whatever_its_place() -> None:
    lists = Lists().tell(BASE).tell(random.Random(1).sample(without(15), 29))
    lists.tell(without(15)).tell(without(15)).tell(without(15))
    assert lists.loss(15)[0] == "confirmed"
    lists.tell(BASE)
    assert lists.of(15)["start"] == Start.returned
    assert lists.series.changes.healed == []


def test_who_was_away_for_lists_that_show_everyone_is_back_after_an_empty_one() -> None:
    lists = Lists().tell([6, 3]).tell([6]).tell([6]).tell([6]).tell([]).tell([3])
    assert (lists.of(3)["start"], lists.of(3)["first"]) == (Start.returned, 6)
    # All of them, in the order in which they stood: they had never left.
    lists = Lists().tell(BASE).tell(without(15)).tell([]).tell([]).tell([]).tell(BASE)
    assert {lists.of(n)["start"] for n in BASE} == {Start.baseline}


def test_who_is_back_in_a_block_out_of_its_place_has_not_moved() -> None:
    block = (17, 16, 15, 14, 13)  # a page of the day before, shown again further up
    many = tuple(range(90, 0, -1))
    lists = Lists().tell(many, 200).tell([n for n in many if n != 15], 200)
    lists.tell((90, 89, *block, *(n for n in many if n < 89 and n not in block)), 200)
    assert (lists.of(15)["start"], lists.of(15)["present"]) == (Start.baseline, True)
    assert lists.series.changes.gains == []
    # Others that are on top left and came back, too.
    lists = Lists().tell(many, 200).tell([n for n in many if n != 15], 200)
    lists.tell((17, 16, 15, 14, 13, *(n for n in many if n not in block)), 200)
    assert lists.of(15)["start"] == Start.returned


def test_a_loss_of_whom_another_name_may_be_back_for_is_not_confirmed() -> None:
    renamed = tuple(50 if n == 15 else n for n in BASE)
    lists = Lists().tell(BASE, 90, nameless=[15])
    lists.tell(renamed, 90, nameless=[50]).tell(without(15), 90)
    for _ in range(5):
        lists.tell(renamed, 90, nameless=[50])
    assert lists.loss(10_015)[0] == "none"


def test_neighbours_without_ids_that_take_over_handles_are_renamed_and_not_gone() -> None:
    nameless = (50, *BASE)
    # 15 is called 14 from now on, and 14 is called 50.
    renamed = tuple({15: 14, 14: 50}.get(n, n) for n in BASE)
    lists = Lists().tell(BASE, nameless=nameless)
    for _ in range(4):
        lists.tell(renamed, nameless=nameless)
    assert {lists.loss(10_000 + n)[0] for n in BASE} == {"none"}


def test_who_is_on_top_of_a_recent_reading_without_order_came_back_before_the_next() -> None:
    back = (13, *without(13))
    lists = Lists().tell(BASE, 90).tell(BASE, 90).tell(back[:9], 90, recent=True)
    assert lists.series.readings[-1].shuffled
    lists.tell((31, *back), 90)
    assert (lists.of(13)["start"], lists.loss(13)[0]) == (Start.baseline, "none")


def test_who_never_left_keeps_its_place_though_it_showed_no_id_for_a_day() -> None:
    # 2 shows a handle alone and stands elsewhere while 3 is missing; then both are as they were.
    many = tuple(range(60, 0, -1))
    lists = Lists().tell(many, 200)
    lists.tell([2, *(n for n in many if n not in (2, 3))], 200, nameless=[2])
    lists.tell([n for n in many if n != 3], 200).tell(many, 200)
    assert lists.of(3)["start"] == Start.baseline


@pytest.mark.parametrize("total", [30, 90])
def test_no_loss_stays_provisional_when_the_order_that_proved_it_is_lost(total: int) -> None:
    chance = random.Random(1)
    lists = Lists().tell(BASE, total).tell(BASE, total).tell(without(15), total)
    assert lists.loss(15)[0] == "provisional"
    for _ in range(2):
        lists.tell(chance.sample(without(15), 29), total)
    for _ in range(5):
        lists.tell(without(15), total)
    assert (lists.of(15)["end"], lists.loss(15)[0]) == (End.beyond, "none")


def test_who_is_missing_from_a_shuffled_window_came_nobody_knows_when() -> None:
    lists = Lists().tell(BASE, 90).tell(BASE, 90).tell(without(15), 90)
    shuffled = random.Random(1).sample((*without(15), *range(60, 90)), 30)
    lists.tell(shuffled, 90).tell((15, 32, 31, *without(15)), 90)
    assert {lists.of(n)["start"] for n in (15, 31, 32)} == {Start.revealed}
    assert lists.loss(15)[0] == "none"
    assert lists.series.changes.gains == []
    lists.tell((33, 15, 32, 31, *without(15)), 90)
    assert lists.of(33)["start"] == Start.gained


def test_a_nameless_bearer_of_a_handle_on_a_day_without_order_may_be_who_was_away() -> None:
    lists = Lists().tell(BASE).tell(without(15))
    lists.tell(random.Random(1).sample(BASE, 30), nameless=[15]).tell(BASE)
    assert (lists.loss(15)[0], lists.of(15)["start"]) == ("none", Start.baseline)


def test_the_other_list_finds_a_loss_below_the_window_and_clears_a_flicker() -> None:
    lists = Lists().tell(BASE, 90).tell(without(1), 90, facts={1: False})
    assert lists.loss(1) == ("provisional", Proof.other_list)
    lists = Lists().tell(BASE, 90).tell(without(15), 90, facts={15: True})
    assert lists.loss(15)[0] == "none"
    lists = Lists().tell(BASE, 90).tell(without(15), 90).tell(without(15), 90, facts={15: True})
    assert lists.loss(15)[0] == "none"


def test_a_nameless_newcomer_in_the_place_of_one_that_is_gone_may_be_the_same() -> None:
    renamed = tuple(50 if n == 15 else n for n in BASE)
    lists = Lists().tell(BASE).tell(renamed, nameless=[50])
    assert lists.loss(15)[0] == "none"
    assert lists.of(10_050)["start"] == Start.revealed
    # Elsewhere in the list it is somebody else.
    lists = Lists().tell(BASE).tell((50, *without(15)), nameless=[50])
    assert lists.loss(15)[0] == "provisional"
    assert lists.of(10_050)["start"] == Start.gained


def test_who_can_be_told_apart_by_ids_is_no_rename() -> None:
    def made(gone: int, new: int) -> bool:
        gap, nobody = np.zeros(1, dtype=np.int64), np.zeros(0, dtype=bool)
        unclear, _ = possible_renames(gap, np.array([gone]), gap, np.array([new]), nobody)
        return bool(unclear[0])

    neither, sec, number, both = range(4)
    assert all(made(neither, kind) and made(kind, neither) for kind in range(4))
    assert not any(made(kind, both) for kind in (sec, number, both))
    assert made(sec, number)
    assert made(number, sec)


@pytest.mark.parametrize("also_gone", [(), (17,), (12,)], ids=str)
@pytest.mark.parametrize("beside", [16, 14])
@pytest.mark.parametrize("at", [30, 29, 15, 2])
def test_without_ids_a_name_may_pass_to_the_neighbour(
    at: int, beside: int, also_gone: tuple[int, ...]
) -> None:
    """Somebody takes a new name, and the neighbour the old one: the neighbour seems gone."""
    neighbour = at + (beside - 15)
    if neighbour > 30 or at in also_gone or neighbour in also_gone:
        return
    names = {at: 50, neighbour: at}
    shown = tuple(names.get(n, n) for n in BASE if n not in also_gone)
    everybody = (*BASE, 50)
    lists = Lists().tell(BASE, nameless=everybody)
    for _ in range(3):
        lists.tell(shown, nameless=everybody)
    assert lists.loss(10_000 + neighbour)[0] == "none"
    assert lists.of(10_050)["start"] == Start.revealed
    # Ids tell them apart.
    lists = Lists().tell(BASE).tell(tuple(n for n in BASE if n not in (neighbour, *also_gone)))
    assert lists.loss(neighbour)[0] == "provisional"


def test_without_ids_the_name_may_have_passed_on_at_the_end_of_what_is_read() -> None:
    """20 takes the name of 19, which the reading shows last, and 19 one that it does not reach."""
    everybody = (*BASE, 50)
    shown = (*range(30, 20, -1), 19, 50, *range(18, 0, -1))
    lists = (
        Lists().tell(BASE, nameless=everybody).tell(shown[:11], 30, nameless=everybody, recent=True)
    )
    for _ in range(3):
        lists.tell(shown, nameless=everybody)
    assert lists.loss(10_020)[0] == "none"


MOVED = (20, 5, 12, 9, 7, 3)


def test_a_rename_that_a_reading_without_order_showed_is_no_loss_later() -> None:
    everybody = (*BASE, 50)
    shown = (*MOVED, 50, *(n for n in BASE[1:] if n not in MOVED))
    lists = (
        Lists().tell(BASE, nameless=everybody).tell(shown[:20], 30, nameless=everybody, recent=True)
    )
    for _ in range(3):
        lists.tell(shown, nameless=everybody)
    assert lists.loss(10_030)[0] == "none"
    assert lists.of(10_050)["start"] == Start.revealed


def test_who_is_back_without_ids_has_not_the_place_that_its_namesake_had() -> None:
    lists = Lists().tell(BASE, nameless=[28])
    for _ in range(2):
        lists.tell(without(28), 90)
    shown = (*MOVED, 50, 28, *(n for n in BASE if n not in (28, *MOVED)))
    lists.tell(shown[:20], 90, nameless=[28], recent=True).tell(shown, 90, nameless=[28])
    assert [gain for gain in lists.series.changes.gains if gain[2] == 5] == []


def test_names_without_ids_may_have_passed_on_where_one_stands_elsewhere() -> None:
    lists = Lists().tell((2, 1), nameless=(1, 2)).tell((1, 2, 14), nameless=(1, 2, 14))
    assert lists.series.changes.gains == []
    ten = tuple(range(10, 0, -1))
    everybody = (*ten, 11)
    lists = Lists().tell(ten, nameless=everybody)
    lists.tell((9, 8, 11, 7, 6, 5, 4, 3, 1, 2), nameless=everybody)  # 10 goes, 2 and 1 swap
    assert (lists.of(10_010)["end"], lists.series.changes.gains) == (End.beyond, [])
    # Whoever shows ids is told apart all the same.
    lists = Lists().tell(ten).tell((9, 8, 11, 7, 6, 5, 4, 3, 1, 2))
    assert (lists.of(10)["end"], len(lists.series.changes.gains)) == (End.lost, 1)


def test_a_new_name_without_ids_in_a_short_list_may_be_anybody_s() -> None:
    few = (7, 6, 5, 4, 3, 2, 1)
    lists = Lists().tell(few, nameless=few).tell((7, 99, 6, 5, 4, 2, 1), nameless=(*few, 99))
    assert lists.of(10_003)["end"] == End.beyond
    many = (*BASE, 99)
    lists = Lists().tell(BASE, nameless=many).tell((99, *without(15)), nameless=many)
    assert lists.of(10_015)["end"] == End.lost


def test_who_moved_up_on_a_day_without_order_did_not_come_back_on_the_next() -> None:
    nine = tuple(range(9, 0, -1))
    up = [9, 2, *(n for n in nine if n not in (9, 2))]
    lists = Lists().tell(nine).tell(nine).tell(up)
    lists.tell([n for n in up if n != 2], None).tell((10, *up), None)
    assert (lists.of(2)["start"], lists.loss(2)[0]) == (Start.baseline, "none")
    assert [gain[3] for gain in lists.series.changes.gains] == [Start.gained]
    # Above somebody who came since, it did.
    lists = Lists().tell(nine).tell(nine).tell(up)
    lists.tell((10, *(n for n in up if n != 2))).tell((2, 10, *(n for n in up if n != 2)))
    assert lists.of(2)["start"] == Start.returned
