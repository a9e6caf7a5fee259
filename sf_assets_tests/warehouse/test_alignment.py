"""What two lists can prove: completeness, claims, the chain, and places that fall along a list."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sf_assets.warehouse.alignment import (
    MIN_ORDER_AGREEMENT,
    Alignment,
    Floats,
    align,
    claims,
    completeness,
    exhaustive,
    longest_chain,
)

NAN = float("nan")


# --- completeness ----------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["hidden", "private", "not_found"])
def test_a_list_that_cannot_be_read_shows_nothing(status: str) -> None:
    assert completeness(status, None, 0, None) == "none"


@pytest.mark.parametrize("end", ["page_limit", "budget", "out_of_credits", "stalled"])
def test_a_list_that_was_not_read_to_its_end_is_a_window(end: str) -> None:
    assert completeness("found", end, 100, 100) == "window"


@pytest.mark.parametrize(
    ("listed", "total", "expected"),
    [
        (100, 100, "complete"),
        (98, 100, "complete"),
        (97, 100, "window"),
        (102, 100, "complete"),
        (103, 100, "complete"),  # a total that contradicts the list is no total
        (9_950, 10_000, "complete"),
        (9_949, 10_000, "window"),
        (1, 1, "complete"),
        (100, None, "complete"),
    ],
)
def test_a_list_is_complete_within_two_or_half_a_percent_of_its_total(
    listed: int, total: int | None, expected: str
) -> None:
    assert completeness("found", "exhausted", listed, total) == expected


@pytest.mark.parametrize(("total", "expected"), [(0, "complete"), (2, "window"), (None, "window")])
def test_an_empty_list_is_complete_only_where_its_total_says_0(
    total: int | None, expected: str
) -> None:
    assert completeness("found", "exhausted", 0, total) == expected


# --- claims ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shows_all", "showed_all", "chain", "losses", "gains"),
    [
        (True, True, 90, "all", "all"),
        (True, False, 90, "all", "front"),
        (False, True, 90, "window", "all"),
        (False, False, 90, "window", "front"),
        (False, False, 81, "window", "front"),  # nine in ten are order enough
        (False, False, 80, "none", "none"),
        (True, False, 80, "all", "none"),
        (False, True, 80, "none", "all"),
        (True, True, 12, "all", "all"),
    ],
)
def test_a_list_that_shows_everyone_and_the_order_each_prove_what_they_can(
    shows_all: bool, showed_all: bool, chain: int, losses: str, gains: str
) -> None:
    made = claims(
        shows_all=shows_all, showed_all=showed_all, listed=100, listed_before=100, common=90,
        chain=chain,
    )  # fmt: skip
    assert (made.losses, made.gains, made.order) == (losses, gains, chain >= 81)
    assert "everyone" in made.reason


@pytest.mark.parametrize("shows_all", [True, False])
def test_lists_with_nobody_in_common_prove_nothing(shows_all: bool) -> None:
    made = claims(
        shows_all=shows_all, showed_all=shows_all, listed=50, listed_before=50, common=0, chain=0
    )
    assert (made.losses, made.gains, made.order) == ("none", "none", False)


def test_everybody_left_where_the_total_says_so() -> None:
    made = claims(shows_all=True, showed_all=True, listed=0, listed_before=50, common=0, chain=0)
    assert (made.losses, made.gains) == ("all", "all")


@pytest.mark.parametrize(
    ("end", "listed", "total", "expected"),
    [
        ("exhausted", 100, 100, True),
        ("exhausted", 102, 100, True),  # two came while it was read
        ("exhausted", 103, 100, False),  # the total contradicts the list
        ("exhausted", 10_050, 10_000, True),
        ("exhausted", 5_000, 5_001, False),  # complete, and one may be cut off
        ("exhausted", 100, None, False),
        ("exhausted", 3, None, False),
        ("exhausted", 0, 0, True),
        ("known", 100, 100, False),
        ("page_limit", 100, 100, False),
    ],
)
def test_only_a_list_as_long_as_its_total_shows_everyone(
    end: str, listed: int, total: int | None, expected: bool
) -> None:
    assert exhaustive("found", end, listed, total) is expected
    assert not exhaustive("private", None, 0, 0)


# --- the chain -------------------------------------------------------------------------------


def longest_by_trying(places: list[int]) -> int:
    for length in range(len(places), 0, -1):
        for some in combinations(places, length):
            if all(a > b for a, b in pairwise(some)):
                return length
    return 0


@given(st.lists(st.integers(0, 30), max_size=9))
@settings(max_examples=300, deadline=None)
def test_the_chain_is_as_long_as_the_longest_falling_run_found_by_trying_all(
    places: list[int],
) -> None:
    mask = longest_chain(np.array(places, dtype=float))
    chain = [place for place, kept in zip(places, mask, strict=True) if kept]
    assert all(a > b for a, b in pairwise(chain))
    assert len(chain) == longest_by_trying(places)


def test_who_jumped_to_the_top_is_not_in_the_chain() -> None:
    assert longest_chain(np.array([2.0, 5.0, 4.0, 3.0, 1.0])).tolist() == [
        False, True, True, True, True,
    ]  # fmt: skip


def test_a_chain_of_a_list_in_order_is_the_whole_list() -> None:
    assert longest_chain(np.arange(100_000, 0, -1, dtype=float)).all()


# --- places ----------------------------------------------------------------------------------


def laid(
    previous: list[float],
    remembered: list[float] | None = None,
    known: list[float] | None = None,
    *,
    established: bool = False,
) -> Alignment:
    remembered = remembered or [NAN] * len(previous)
    known = known or [place for place in previous + remembered if place == place]
    return align(
        np.array(previous), np.array(remembered), np.sort(np.array(known)), established=established
    )


def test_a_first_list_gets_places_from_its_length_down() -> None:
    over = laid([NAN, NAN, NAN])
    assert over.places.tolist() == [3, 2, 1]
    assert (over.common, over.chain) == (0, 0)


def test_newcomers_stand_above_every_place_ever_given() -> None:
    over = laid([NAN, NAN, 5, 4], known=[4, 5, 9])
    assert over.places.tolist() == [11, 10, 5, 4]
    assert over.front == 2


def test_who_is_new_between_two_accounts_gets_a_place_between_theirs() -> None:
    over = laid([5, NAN, NAN, 2])
    assert over.places.tolist() == [5, 4, 3, 2]
    assert over.ceiling.tolist() == [5, 5, 5, 2]
    assert over.floor.tolist() == [5, 2, 2, 2]


def test_what_is_new_at_the_end_stands_above_whoever_stood_next_before() -> None:
    over = laid([5, 4, NAN], known=[1, 2, 4, 5])
    assert over.places.tolist() == [5, 4, 3]
    assert over.horizon == over.shown_to == 4


def test_who_is_back_where_it_stood_keeps_its_place_and_shows_how_deep_the_list_goes() -> None:
    over = laid([5, 4, NAN, NAN], [NAN, NAN, 2, NAN], known=[1, 2, 4, 5])
    assert over.places.tolist() == [5, 4, 2, 1.5]
    assert (over.horizon, over.shown_to) == (4, 2)


def test_who_is_back_at_the_top_gets_a_new_place() -> None:
    over = laid([NAN, 5, 4], [2, NAN, NAN], known=[2, 4, 5])
    assert over.places.tolist() == [6, 5, 4]


def test_a_shuffled_list_is_not_followed_where_the_one_before_was_in_order() -> None:
    over = laid([1, NAN, 4, 2, 5, 3], established=True)
    assert np.array_equal(over.places, [1, NAN, 4, 2, 5, 3], equal_nan=True)
    assert over.renumbered is None


def test_a_second_list_of_another_order_is_followed() -> None:
    over = laid([1, 4, 2, 5, 3], established=False)
    assert (np.diff(over.places) < 0).all()


def test_where_numbers_run_out_everybody_is_numbered_anew() -> None:
    above, below = 1.0, float(np.nextafter(1.0, 0.0))
    over = laid([9, above, NAN, below], known=[-7, below, above, 4, 9])
    assert over.places.tolist() == [6, 4, 3, 2]
    assert over.renumbered is not None
    old, new = over.renumbered
    assert old.tolist() == [-7, below, above, 4, 9]
    assert new.tolist() == [1, 2, 4, 5, 6]


@st.composite
def overlaid(draw: st.DrawFn) -> tuple[Floats, Floats, Floats]:
    """A current list: places of before, places remembered, and everybody's."""
    known = draw(
        st.lists(st.integers(-20, 20).map(lambda n: n / 4), unique=True, min_size=1, max_size=14)
    )
    if draw(st.booleans()):  # two neighbours without a number between them
        known = sorted({*known, float(np.nextafter(known[0], 99))})
    order = draw(st.permutations(known))
    if draw(st.booleans()):
        order = sorted(order, reverse=True)
    listed: list[tuple[float, float]] = []
    for place in order:
        kind = draw(st.sampled_from(["previous", "previous", "remembered", "absent", "new"]))
        if kind == "previous":
            listed.append((place, NAN))
        elif kind == "remembered":
            listed.append((NAN, place))
        elif kind == "new":
            listed.append((NAN, NAN))
    previous, remembered = (np.array([each[at] for each in listed], dtype=float) for at in (0, 1))
    return previous, remembered, np.sort(np.array(known))


@given(overlaid(), st.booleans())
@settings(max_examples=500, deadline=None)
def test_places_fall_along_the_list_and_the_chain_keeps_its_own(
    lists: tuple[Floats, Floats, Floats], established: bool
) -> None:
    previous, remembered, known = lists
    over = align(previous, remembered, known, established=established)
    assert over.common == int((~np.isnan(previous)).sum())
    if established and over.chain < MIN_ORDER_AGREEMENT * over.common:
        own = np.where(np.isnan(previous), remembered, previous)
        assert np.array_equal(over.places, own, equal_nan=True)
        return
    assert (np.diff(over.places) < 0).all()
    if over.renumbered is None:
        assert (over.places[over.in_chain] == previous[over.in_chain]).all()
    else:
        old, new = over.renumbered
        assert (np.diff(old) > 0).all()
        assert (np.diff(new) > 0).all()
        kept = over.in_chain
        assert np.array_equal(np.interp(previous[kept], old, new), over.places[kept])
        absent = np.setdiff1d(known, np.concatenate([previous, remembered]))
        assert not np.isin(np.interp(absent, old, new), over.places).any(), "taken"
    kept = over.in_chain
    assert (over.ceiling[kept] == previous[kept]).all()
    assert (over.floor[kept] == previous[kept]).all()
    assert (over.floor <= over.ceiling).all()
    assert over.shown_to <= over.horizon
