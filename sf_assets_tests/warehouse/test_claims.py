"""What a churn row may claim: who left, who came, who is back, and where nothing can be said."""

from __future__ import annotations

import pytest

from ..lists import Lists, Told, nameless, on

BASE = list(range(100, 0, -1))


def without(*gone: int) -> list[int]:
    return [account for account in BASE if account not in gone]


# --- rules 1 to 4: front, horizon, order -----------------------------------------------------


def test_the_first_list_is_a_baseline_and_no_churn(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    assert lists.churn("nova") == set()
    assert lists.memberships("nova", 7) == [(1, None, "baseline", None)]


def test_who_is_missing_from_a_complete_list_was_lost(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", without(50))
    assert lists.churn("nova") == {(2, 50, "lost", "provisional")}
    assert lists.memberships("nova", 50) == [(1, 1, "baseline", "lost")]


def test_who_is_new_at_the_top_was_gained(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", [102, 101, *BASE])
    assert lists.churn("nova") == {(2, n, "gained", "confirmed") for n in (101, 102)}
    assert lists.memberships("nova", 101) == [(2, None, "gained", None)]


def test_who_is_missing_above_the_horizon_of_a_window_was_lost(lists: Lists) -> None:
    lists.day(1, "nova", BASE, total=5_000)
    lists.day(2, "nova", without(50), total=5_000)
    assert lists.churn("nova") == {(2, 50, "lost", "provisional")}


def test_who_is_pushed_off_the_end_of_a_window_is_beyond_it_and_not_lost(lists: Lists) -> None:
    lists.day(1, "nova", BASE, total=5_000)
    lists.day(2, "nova", [103, 102, 101, *BASE[:-3]], total=5_003)
    assert {change for _, _, change, _ in lists.churn("nova")} == {"gained"}
    assert lists.memberships("nova", 2) == [(1, 1, "baseline", "beyond")]
    unknown = "SELECT followers_unknown FROM follower_growth WHERE snapshot_date = '2026-11-02'"
    assert lists.one(unknown) == 3


def test_a_list_that_ends_early_is_not_an_exodus(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", BASE[:30], total=100)
    lists.day(3, "nova", BASE)
    assert lists.churn("nova") == set()
    assert lists.memberships("nova", 5) == [
        (1, 1, "baseline", "beyond"),
        (3, None, "revealed", None),
    ]


@pytest.mark.parametrize("end", ["page_limit", "budget", "out_of_credits", "stalled"])
def test_a_list_cut_off_by_ourselves_is_a_window(lists: Lists, end: str) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", without(95)[:40], total=100, end=end)
    assert lists.churn("nova") == {(2, 95, "lost", "provisional")}


def test_who_comes_into_view_from_below_is_revealed_and_not_gained(lists: Lists) -> None:
    lists.day(1, "nova", BASE[:50], total=100)
    lists.day(2, "nova", BASE, total=100)
    assert lists.churn("nova") == set()
    assert lists.memberships("nova", 1) == [(2, None, "revealed", None)]


def test_who_appears_between_two_accounts_is_revealed_and_not_gained(lists: Lists) -> None:
    lists.day(1, "nova", without(50), total=5_000)
    lists.day(2, "nova", BASE, total=5_000)
    assert lists.churn("nova") == set()
    assert lists.memberships("nova", 50) == [(2, None, "revealed", None)]


def test_a_refollower_at_the_top_moves_neither_front_nor_horizon(lists: Lists) -> None:
    """40 left and came again between two lists: it is no churn, and 101 above it is a gain."""
    lists.day(1, "nova", BASE, total=5_000)
    lists.day(2, "nova", [101, 40, *without(40)], total=5_001)
    assert lists.churn("nova") == {(2, 101, "gained", "confirmed")}


def test_a_shuffled_window_proves_nothing(lists: Lists) -> None:
    lists.day(1, "nova", BASE, total=5_000)
    lists.day(2, "nova", [200, *BASE[::2], *BASE[3::2]], total=5_000)
    assert lists.churn("nova") == set()
    said = "SELECT losses, gains, reason FROM comparisons WHERE snapshot_date = '2026-11-02'"
    losses, gains, reason = lists.one(said)
    assert (losses, gains) == ("none", "none")
    assert "kept their order" in reason


def test_two_complete_lists_are_compared_as_sets_where_order_fails(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", [*BASE[50:], 200, *BASE[1:50]])
    assert lists.churn("nova") == {
        (2, 100, "lost", "provisional"),
        (2, 200, "gained", "confirmed"),
    }


def test_lists_without_a_common_account_prove_nothing(lists: Lists) -> None:
    lists.day(1, "nova", BASE, total=5_000)
    lists.day(2, "nova", list(range(900, 800, -1)), total=5_000)
    assert lists.churn("nova") == set()


def test_the_list_after_a_shuffled_one_is_laid_over_the_order_as_it_was(lists: Lists) -> None:
    lists.day(1, "nova", BASE, total=5_000)
    lists.day(2, "nova", BASE, total=5_000)
    lists.day(3, "nova", [*BASE[::2], *BASE[1::2]], total=5_000)
    lists.day(4, "nova", without(50), total=5_000)
    lists.day(5, "nova", without(50), total=5_000)
    assert lists.churn("nova") == {(4, 50, "lost", "provisional")}
    for day in (6, 7):
        lists.day(day, "nova", without(50), total=5_000)
    assert lists.churn("nova") == {(4, 50, "lost", "confirmed")}


def test_an_order_that_changed_for_good_is_trusted_again_after_two_lists(lists: Lists) -> None:
    other = [*BASE[::2], *BASE[1::2]]
    lists.day(1, "nova", BASE, total=5_000)
    lists.day(2, "nova", BASE, total=5_000)
    for day in (3, 4, 5):
        lists.day(day, "nova", other, total=5_000)
    lists.day(6, "nova", [n for n in other if n != 98], total=5_000)
    assert lists.churn("nova") == {(6, 98, "lost", "provisional")}


# --- rule 5: provisional, confirmed, retracted, returned -------------------------------------


def test_a_loss_is_confirmed_by_the_second_later_list_where_the_totals_agree(lists: Lists) -> None:
    for day, listed in enumerate((BASE, without(50), without(50)), start=1):
        lists.day(day, "nova", listed)
        assert "confirmed" not in {state for *_, state in lists.churn("nova")}
    lists.day(4, "nova", without(50))
    assert lists.churn("nova") == {(2, 50, "lost", "confirmed")}
    assert lists.one("SELECT evidence, totals_agree FROM follower_churn") == (
        "exhaustive,order",
        True,
    )


@pytest.mark.parametrize("total", [5_000, None])
def test_a_loss_is_confirmed_by_the_third_later_list_where_the_totals_do_not_agree(
    lists: Lists, total: int | None
) -> None:
    for day, listed in enumerate((BASE, *[without(50)] * 3), start=1):
        lists.day(day, "nova", listed, total=total, no_total=total is None)
        assert "confirmed" not in {state for *_, state in lists.churn("nova")}
    lists.day(5, "nova", without(50), total=total, no_total=total is None)
    assert lists.churn("nova") == {(2, 50, "lost", "confirmed")}
    assert lists.one("SELECT evidence, totals_agree FROM follower_churn") == ("order", None)


def test_a_ban_that_the_total_goes_on_counting_is_a_loss_all_the_same(lists: Lists) -> None:
    for day, listed in enumerate((BASE, *[without(50)] * 4), start=1):
        lists.day(day, "nova", listed, total=100)
    assert lists.churn("nova") == {(2, 50, "lost", "confirmed")}
    assert lists.one("SELECT totals_agree FROM follower_churn") is False


@pytest.mark.parametrize("total_follows", [True, False])
@pytest.mark.parametrize("days", [1, 2])
def test_who_is_missing_for_two_days_is_never_said_to_have_left(
    lists: Lists, days: int, total_follows: bool
) -> None:
    for day, listed in enumerate((BASE, *[without(50)] * days, BASE), start=1):
        lists.day(day, "nova", listed, total=len(listed) if total_follows else 100)
        assert "confirmed" not in {state for *_, state in lists.churn("nova")}
    assert lists.churn("nova") == {(2, 50, "lost", "retracted")}


def test_what_only_a_list_that_shows_everyone_proves_is_confirmed_by_such_lists_alone(
    lists: Lists,
) -> None:
    """1 stood last: nothing is known of whoever stands below the horizon."""
    for day in (1, 2):
        lists.day(day, "nova", without(1) if day == 2 else BASE)
    assert lists.one("SELECT evidence, state FROM follower_churn") == ("exhaustive", "provisional")
    lists.day(3, "nova", without(1), total=100)
    assert lists.churn("nova") == set()
    assert lists.memberships("nova", 1) == [(1, 1, "baseline", "beyond")]
    for day in (4, 5, 6):
        lists.day(day, "nova", without(1))
    assert lists.rows(
        "SELECT CAST(previous_date AS VARCHAR), CAST(snapshot_date AS VARCHAR), state "
        "FROM follower_churn"
    ) == [("2026-11-01", "2026-11-04", "confirmed")]


def test_whoever_fell_below_a_cap_is_not_lost_while_the_total_counts_on(lists: Lists) -> None:
    for day in range(1, 12):
        newest = 100 + day
        lists.day(day, "nova", list(range(newest, newest - 100, -1)), total=newest)
    assert {change for _, _, change, _ in lists.churn("nova")} == {"gained"}
    assert lists.memberships("nova", 2) == [(1, 1, "baseline", "beyond")]


def test_a_total_below_what_is_listed_is_stored_and_not_used(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", [101, *BASE], total=0)
    lists.day(3, "nova", [101, *BASE])
    assert lists.rows(
        "SELECT reported_total, completeness, exhaustive FROM snapshots ORDER BY snapshot_date"
    ) == [(100, "complete", True), (0, "complete", False), (101, "complete", True)]
    growth = "SELECT followers_total, followers_net FROM follower_growth ORDER BY snapshot_date"
    assert lists.rows(growth) == [(100, None), (101, 1), (101, 0)]
    assert lists.churn("nova") == {(2, 101, "gained", "confirmed")}


def test_a_revealed_account_began_to_follow_between_its_neighbours(lists: Lists) -> None:
    newer = [107, 106, 105, 104]
    lists.day(1, "nova", BASE, total=5_000)
    lists.day(2, "nova", [101, *BASE], total=5_000)
    lists.day(3, "nova", [*newer, 101, *BASE], total=5_000)
    lists.day(4, "nova", [*newer, 102, 101, *BASE], total=5_000)
    assert lists.one(
        "SELECT followed_after, followed_before, start_kind FROM memberships "
        "WHERE first_seen = '2026-11-04'"
    ) == (on(1), on(3), "revealed")


def test_who_was_missing_for_a_day_and_is_back_in_place_never_left(lists: Lists) -> None:
    for day, listed in enumerate((BASE, without(50), BASE), start=1):
        lists.day(day, "nova", listed)
    assert lists.churn("nova") == {(2, 50, "lost", "retracted")}
    assert lists.memberships("nova", 50) == [(1, None, "baseline", None)]
    assert lists.followers_on("nova", 2)[50] is True
    assert lists.followers_on("nova", 1)[50] is lists.followers_on("nova", 3)[50] is False


def test_a_confirmed_loss_is_retracted_too_where_the_account_is_back_in_place(
    lists: Lists,
) -> None:
    for day, listed in enumerate((BASE, *[without(50)] * 3), start=1):
        lists.day(day, "nova", listed)
    assert lists.churn("nova") == {(2, 50, "lost", "confirmed")}
    lists.day(5, "nova", BASE)
    assert lists.churn("nova") == {(2, 50, "lost", "retracted")}
    assert [lists.followers_on("nova", day)[50] for day in (2, 3, 4)] == [True, True, True]


def test_who_is_back_at_the_top_left_and_returned(lists: Lists) -> None:
    for day, listed in enumerate((BASE, without(50), [50, *without(50)]), start=1):
        lists.day(day, "nova", listed)
    assert lists.churn("nova") == {(2, 50, "lost", "confirmed"), (3, 50, "returned", "confirmed")}
    assert lists.memberships("nova", 50) == [
        (1, 1, "baseline", "lost"),
        (3, None, "returned", None),
    ]


def test_who_returned_can_leave_again(lists: Lists) -> None:
    days = (BASE, without(50), [50, *without(50)], *[without(50)] * 3)
    for day, listed in enumerate(days, start=1):
        lists.day(day, "nova", listed)
    assert lists.churn("nova") == {
        (2, 50, "lost", "confirmed"),
        (3, 50, "returned", "confirmed"),
        (4, 50, "lost", "confirmed"),
    }


def test_two_absences_of_one_account_are_healed_each_for_itself(lists: Lists) -> None:
    for day, listed in enumerate((BASE, without(50), BASE, without(50), BASE), start=1):
        lists.day(day, "nova", listed)
    assert lists.churn("nova") == {(2, 50, "lost", "retracted"), (4, 50, "lost", "retracted")}
    assert [lists.followers_on("nova", day)[50] for day in range(1, 6)] == [
        False, True, False, True, False,
    ]  # fmt: skip


def test_the_newest_follower_missing_for_a_day_never_left(lists: Lists) -> None:
    for day, listed in enumerate((BASE, without(100), BASE), start=1):
        lists.day(day, "nova", listed)
    assert lists.churn("nova") == {(2, 100, "lost", "retracted")}


def test_the_newest_follower_that_is_back_above_later_ones_returned(lists: Lists) -> None:
    days = (BASE, [101, *without(100)], [100, 101, *without(100)])
    for day, listed in enumerate(days, start=1):
        lists.day(day, "nova", listed)
    assert (3, 100, "returned", "confirmed") in lists.churn("nova")


def test_a_list_too_short_to_show_the_account_confirms_nothing(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", without(20))
    lists.day(3, "nova", without(20)[:40], total=99)
    assert lists.churn("nova") == {(2, 20, "lost", "provisional")}
    for day in (4, 5):
        lists.day(day, "nova", without(20))
    assert lists.churn("nova") == {(2, 20, "lost", "confirmed")}


def test_a_window_that_moved_on_never_confirms(lists: Lists) -> None:
    """2 was missing at the edge of the window; later windows do not reach it any more."""
    top = list(range(130, 100, -1))
    lists.day(1, "nova", BASE, total=5_000)
    lists.day(2, "nova", without(2), total=5_000)
    for day in range(3, 9):
        newer = top[-3 * (day - 2) :]
        lists.day(day, "nova", [*newer, *without(2)[: 100 - len(newer)]], total=5_000)
    assert {row for row in lists.churn("nova") if row[1] == 2} == {(2, 2, "lost", "provisional")}


def test_a_place_where_the_list_has_a_hole_confirms_nothing(lists: Lists) -> None:
    """50 is missing for one day, then a page around it is skipped for two."""
    hole = without(*range(40, 61))
    for day, listed in enumerate((BASE, without(50), hole, hole, BASE), start=1):
        lists.day(day, "nova", listed, total=100)
    assert {row for row in lists.churn("nova") if row[1] == 50} == {(2, 50, "lost", "retracted")}


def test_who_is_back_beside_others_that_a_hole_had_hidden_never_left(lists: Lists) -> None:
    """24 is hidden by one hole, then by another; who was revealed in between proves nothing."""
    first = without(*range(25, 31))
    second = without(*range(24, 28))
    for day, listed in enumerate((first, second, BASE), start=1):
        lists.day(day, "nova", listed, total=5_000)
    assert lists.churn("nova") == {(2, 24, "lost", "retracted")}


def test_a_hole_around_somebody_missing_since_yesterday_confirms_nothing(lists: Lists) -> None:
    for day, listed in enumerate((BASE, without(50), without(49, 50, 51, 52)), start=1):
        lists.day(day, "nova", listed, total=5_000)
    assert (2, 50, "lost", "provisional") in lists.churn("nova")


def test_who_is_back_after_an_early_end_is_recognised_in_its_old_place(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", without(20))
    lists.day(3, "nova", without(20)[:40], total=100)
    lists.day(4, "nova", BASE)
    assert lists.churn("nova") == {(2, 20, "lost", "retracted")}


# --- rule 6: holes and purges ----------------------------------------------------------------


def test_four_neighbours_that_vanish_together_are_a_hole(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", without(50, 51, 52, 53), total=100)
    assert lists.churn("nova") == set()
    assert lists.memberships("nova", 51) == [(1, 1, "baseline", "beyond")]
    lists.day(3, "nova", BASE)
    assert lists.churn("nova") == set()


def test_three_neighbours_are_not_a_hole(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", without(50, 51, 52), total=100)
    assert lists.churn("nova") == {(2, n, "lost", "provisional") for n in (50, 51, 52)}


def test_neighbours_that_vanish_while_the_total_falls_by_as_much_were_purged(
    lists: Lists,
) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", [101, *without(9, 50, 51, 52, 53)])
    assert lists.churn("nova") == {
        (2, 101, "gained", "confirmed"),
        *((2, n, "lost", "provisional") for n in (9, 50, 51, 52, 53)),
    }


def test_a_hole_at_the_very_top_is_a_hole_and_its_return_no_gain(lists: Lists) -> None:
    lists.day(1, "nova", BASE, total=5_000)
    lists.day(2, "nova", BASE[6:], total=5_000)
    lists.day(3, "nova", [101, *BASE], total=5_000)
    assert lists.churn("nova") == {(3, 101, "gained", "confirmed")}
    assert lists.memberships("nova", 97) == [
        (1, 1, "baseline", "beyond"),
        (3, None, "revealed", None),
    ]


def test_a_single_loss_beside_a_hole_is_still_a_loss(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", without(20, 50, 51, 52, 53), total=99)
    assert lists.churn("nova") == {(2, 20, "lost", "provisional")}


# --- rule 7: gaps ----------------------------------------------------------------------------


def test_a_private_week_is_no_churn_and_the_next_list_compares_across_it(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    for day in range(2, 9):
        lists.day(day, "nova", status="private")
    lists.day(9, "nova", [101, *without(50)])
    assert lists.churn("nova") == {(9, 101, "gained", "confirmed"), (9, 50, "lost", "provisional")}
    previous = lists.rows("SELECT DISTINCT CAST(previous_date AS VARCHAR) FROM follower_churn")
    assert previous == [("2026-11-01",)]
    assert lists.memberships("nova", 7) == [(1, None, "baseline", None)]


def test_a_list_hidden_while_it_was_read_counts_as_hidden(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", BASE, status="hidden")
    lists.day(3, "nova", BASE)
    assert lists.churn("nova") == set()
    got = "SELECT lookup_status, completeness, listed FROM snapshots ORDER BY snapshot_date"
    assert lists.rows(got)[1] == ("hidden", "none", 0)


def test_an_empty_list_under_a_total_above_zero_is_a_window_of_nothing(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", [], total=100)
    lists.day(3, "nova", without(50))
    assert lists.churn("nova") == {(3, 50, "lost", "provisional")}
    assert list(lists.followers_on("nova", 2)) == []


def test_everybody_left_where_the_total_says_zero(lists: Lists) -> None:
    lists.day(1, "nova", [3, 2, 1])
    for day in (2, 3, 4):
        lists.day(day, "nova", [])
    assert lists.churn("nova") == {(2, n, "lost", "confirmed") for n in (1, 2, 3)}


def test_a_list_emptied_for_a_day_and_full_again_heals(lists: Lists) -> None:
    for day, listed in enumerate((BASE, [], BASE), start=1):
        lists.day(day, "nova", listed)
    assert {state for *_, state in lists.churn("nova")} == {"retracted"}
    assert all(lists.followers_on("nova", 2).values())


def test_a_handle_untracked_and_tracked_again_compares_across_the_gap(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    lists.day(40, "nova", [101, *without(3)])
    assert lists.churn("nova") == {(40, 101, "gained", "confirmed"), (40, 3, "lost", "provisional")}
    growth = (
        "SELECT gap_days, followers_net FROM follower_growth ORDER BY snapshot_date DESC LIMIT 1"
    )
    assert lists.one(growth) == (38, 0)


# --- both relations, many handles ------------------------------------------------------------


def test_whom_a_profile_follows_is_compared_in_the_same_way(lists: Lists) -> None:
    lists.day(1, "nova", BASE, relation="following")
    lists.day(2, "nova", [101, *without(50)], relation="following")
    assert lists.churn("nova", "following") == {
        (2, 101, "gained", "confirmed"),
        (2, 50, "lost", "provisional"),
    }
    assert lists.churn("nova") == set()


def test_one_handles_losses_say_nothing_about_another(lists: Lists) -> None:
    lists.tell(Told(1, "nova", tuple(BASE)), Told(1, "atlas", tuple(BASE)))
    lists.tell(Told(2, "nova", tuple(without(50))), Told(2, "atlas", tuple(BASE)))
    assert lists.churn("nova") == {(2, 50, "lost", "provisional")}
    assert lists.churn("atlas") == set()


def test_an_account_listed_twice_counts_once_and_where_it_came_first(lists: Lists) -> None:
    lists.day(1, "nova", [*BASE[:20], *BASE[15:]])
    assert lists.one("SELECT listed FROM snapshots") == 100
    lists.day(2, "nova", [*BASE, *BASE[:20]])
    assert lists.churn("nova") == set()
    assert list(lists.followers_on("nova", 2)) == BASE


def test_a_nameless_entry_beside_the_same_account_with_its_id_counts_once(lists: Lists) -> None:
    lists.day(1, "nova", [*BASE, nameless(50)])
    assert list(lists.followers_on("nova", 1)) == BASE
