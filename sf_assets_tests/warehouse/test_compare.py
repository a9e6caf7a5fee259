"""The rules of proof as functions of lists: no database, no files."""

from __future__ import annotations

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
    ) -> Lists:
        """`total` -1: as many as are listed. Whoever is `nameless` shows a handle alone."""
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
                exhaustive=known is not None and known <= count,
                complete=known is None or abs(known - count) <= 2,
                until_known=False,
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
        gap = np.zeros(1, dtype=np.int64)
        unclear, _ = possible_renames(gap, np.array([gone]), gap, np.array([new]))
        return bool(unclear[0])

    neither, sec, number, both = range(4)
    assert all(made(neither, kind) and made(kind, neither) for kind in range(4))
    assert not any(made(kind, both) for kind in (sec, number, both))
    assert made(sec, number)
    assert made(number, sec)
