"""What people query: growth, status changes, lists as they stood, churn between two days."""

from __future__ import annotations

from typing import Any

from ..lists import Lists, Told, on

BASE = list(range(100, 0, -1))


def growth(lists: Lists, day: int, *columns: str) -> Any:
    wanted = ", ".join(columns)
    return lists.one(f"SELECT {wanted} FROM follower_growth WHERE snapshot_date = ?", on(day))


def test_a_list_as_it_stood_is_that_of_the_latest_usable_day(lists: Lists) -> None:
    lists.day(1, "nova", [3, 2, 1])
    lists.day(2, "nova", status="private")
    lists.day(3, "nova", [4, 3, 1])
    assert [list(lists.followers_on("nova", day)) for day in range(5)] == [
        [], [3, 2, 1], [3, 2, 1], [4, 3, 1], [4, 3, 1],
    ]  # fmt: skip
    assert list(lists.followers_on("@NOVA", 1)) == [3, 2, 1]


def test_churn_between_two_days_leaves_out_the_first_and_what_was_retracted(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", [101, *(n for n in BASE if n != 50)])
    lists.day(3, "nova", [102, 101, *(n for n in BASE if n != 60)])
    lists.day(4, "nova", [102, 101, *(n for n in BASE if n != 60)])
    between = "SELECT account_handle, change FROM churn_between('nova', ?, ?)"
    assert lists.rows(between, on(1), on(4)) == [
        ("fan101", "gained"),
        ("fan102", "gained"),
        ("fan60", "lost"),
    ]
    assert lists.rows(between, on(2), on(2)) == []


def test_growth_says_what_the_totals_did_and_what_explains_it(lists: Lists) -> None:
    lists.day(1, "nova", BASE, total=1_000)
    lists.day(2, "nova", [102, 101, *(n for n in BASE if n != 50)][:99], total=1_004)
    assert growth(lists, 1, "followers_total", "followers_net", "followers_gained") == (
        1_000, None, None,
    )  # fmt: skip
    assert growth(
        lists, 2, "followers_net", "followers_gained", "followers_lost_provisional",
        "followers_unknown",
        "net_unexplained", "growth_rate", "completeness",
    ) == (4, 2, 1, 2, 3, 0.004, "window")  # fmt: skip


def test_a_retracted_loss_leaves_the_growth_of_its_day_too(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", [n for n in BASE if n != 50])
    assert growth(lists, 2, "followers_lost", "followers_lost_provisional") == (0, 1)
    lists.day(3, "nova", BASE)
    assert growth(lists, 2, "followers_lost", "followers_lost_provisional") == (0, 0)


def test_an_unusable_day_has_no_growth_and_the_next_one_counts_the_gap(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", status="private")
    lists.day(5, "nova", [101, *BASE])
    assert growth(lists, 2, "followers_total", "followers_net", "followers_lost", "gap_days") == (
        None, None, None, None,
    )  # fmt: skip
    assert growth(lists, 5, "followers_net", "gap_days", "followers_gained") == (1, 3, 1)


def test_averages_are_per_day_and_look_back_by_days(lists: Lists) -> None:
    for day, total in ((1, 1_000), (4, 1_030), (8, 1_070), (36, 1_350)):
        lists.load([Told(day, "nova", tuple(BASE), total=total)])
    lists.derive()
    assert growth(lists, 1, "avg_7d", "avg_28d") == (None, None)
    assert growth(lists, 8, "avg_7d", "avg_28d") == (10, 10)
    assert growth(lists, 36, "avg_7d", "avg_28d") == (None, 10)


def test_growth_shows_the_following_total_beside_the_followers(lists: Lists) -> None:
    lists.tell(Told(1, "nova", tuple(BASE)), Told(1, "nova", (1, 2, 3), relation="following"))
    assert growth(lists, 1, "followers_total", "following_total") == (100, 3)


def test_a_list_without_a_total_counts_itself_where_it_is_complete(lists: Lists) -> None:
    lists.day(1, "nova", BASE, no_total=True)
    lists.day(2, "nova", BASE[:50], no_total=True, end="page_limit")
    assert growth(lists, 1, "followers_total") == 100
    assert growth(lists, 2, "followers_total") is None


def test_what_turned_out_to_be_a_hole_counts_as_unknown_on_its_day(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", BASE[:40] + BASE[50:], total=100)
    assert growth(lists, 2, "followers_unknown", "followers_lost") == (10, 0)


def test_a_change_of_status_is_shown_once_with_both_days(lists: Lists) -> None:
    for day, status in enumerate(("found", "private", "private", "found"), start=1):
        lists.day(day, "nova", BASE if status == "found" else [], status=status)
    got = lists.rows(
        "SELECT from_status, to_status, changed_on, previous_date FROM status_changes "
        "ORDER BY changed_on"
    )
    assert got == [("found", "private", on(2), on(1)), ("private", "found", on(4), on(3))]
    ids = lists.rows("SELECT DISTINCT change_id FROM status_changes")
    assert len(ids) == 2


def test_each_list_has_its_own_status(lists: Lists) -> None:
    lists.tell(Told(1, "nova", (1,)), Told(1, "nova", (2,), relation="following"))
    lists.tell(Told(2, "nova", status="hidden"), Told(2, "nova", (2,), relation="following"))
    assert lists.rows("SELECT relation, to_status FROM status_changes") == [("followers", "hidden")]
