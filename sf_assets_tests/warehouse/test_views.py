"""What people query: growth, status changes, lists as they stood, churn between two days."""

from __future__ import annotations

from typing import Any

from sf_assets import __version__
from sf_assets.handles.parse import parse_registry
from sf_assets.warehouse.handles import record_handles
from sf_assets.warehouse.schema import WAREHOUSE_FORMAT

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
    assert growth(lists, 1, "avg_daily_net_7d", "avg_daily_net_28d") == (None, None)
    assert growth(lists, 8, "avg_daily_net_7d", "avg_daily_net_28d") == (10, 10)
    assert growth(lists, 36, "avg_daily_net_7d", "avg_daily_net_28d") == (None, 10)


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


def test_the_lists_of_all_days_are_there_without_macros(lists: Lists) -> None:
    """`list_days` says of each usable day what `followers_on` says of it, top first."""
    lists.tell(Told(1, "nova", (3, 2, 1)), Told(1, "nova", (8, 9), relation="following"))
    lists.day(2, "nova", status="private")
    lists.day(3, "nova", [4, 3, 1])
    lists.tell(Told(4, "nova", (4, 3, 2, 1)), Told(4, "twin", ()))
    columns = "account_id, account_handle, display_name, first_seen, last_seen, start_kind, healed"
    days = lists.rows("SELECT DISTINCT relation, handle, snapshot_date FROM list_days ORDER BY ALL")
    assert days == [
        *(("followers", "nova", on(day)) for day in (1, 3, 4)),
        ("following", "nova", on(1)),
    ]
    for relation, handle, day in days:
        of_the_day = "WHERE relation = ? AND handle = ? AND snapshot_date = ? ORDER BY position"
        shown = lists.rows(f"SELECT {columns} FROM list_days {of_the_day}", relation, handle, day)
        assert shown == lists.rows(f"SELECT {columns} FROM {relation}_on(?, ?)", handle, day)
        places = lists.rows(f"SELECT position FROM list_days {of_the_day}", relation, handle, day)
        assert places == [(at + 1,) for at in range(len(shown))]
    assert lists.rows(
        "SELECT account_handle, healed FROM list_days "
        "WHERE relation = 'followers' AND snapshot_date = ? ORDER BY position",
        on(3),
    ) == [("fan4", False), ("fan3", False), ("fan2", True), ("fan1", False)]


def test_who_is_tracked_and_who_was_is_a_table(lists: Lists) -> None:
    """An untracked handle keeps its row; a handle without snapshots has one, too."""

    def track(text: str, day: int) -> None:
        record_handles(lists.con, parse_registry(text), on(day))

    lists.day(2, "nova", [1])
    lists.tell(Told(3, "nova", (1,)), Told(3, "twin", (1,), relation="following"))
    track(
        "handles: {nova: {tags: [vip, de], depth: {pages: 40}}, "
        "late: {relations: [followers], depth: recent}}",
        3,
    )
    both = ["followers", "following"]
    tracked = "FROM (SELECT * EXCLUDE (continued) FROM handles) ORDER BY ALL"
    assert lists.rows(tracked) == [
        ("late", [], ["followers"], "recent", on(3), None),
        ("nova", ["vip", "de"], both, "40 pages", on(2), None),
        ("twin", [], ["following"], None, on(3), on(3)),
    ]
    track("handles: {twin: {followers: {depth: recent}}}", 5)
    gone = [
        ("late", [], ["followers"], "recent", on(3), on(5)),
        ("nova", ["vip", "de"], both, "40 pages", on(2), on(3)),
    ]
    twin = ("twin", [], both, "followers recent, following full", on(3), None)
    assert lists.rows(tracked) == [
        *gone,
        twin,
    ]
    track("handles: {twin: {followers: {depth: recent}}}", 9)
    assert lists.rows(tracked) == [
        *gone,
        twin,
    ]


def test_about_says_which_version_and_how_fresh(lists: Lists) -> None:
    about = "SELECT version, format, published_at IS NULL, last_day FROM about"
    assert lists.rows(about) == [(__version__, WAREHOUSE_FORMAT, True, None)]
    lists.day(2, "nova", [1])
    lists.day(5, "nova", status="private")
    assert lists.rows(about) == [(__version__, WAREHOUSE_FORMAT, False, on(5))]
    published_at = lists.one("SELECT published_at FROM about")
    lists.derive()
    assert lists.one("SELECT published_at >= ? FROM about", published_at)


def test_each_snapshot_says_where_it_came_from(lists: Lists) -> None:
    lists.day(1, "nova", [1])
    assert lists.rows("SELECT source FROM follower_snapshots") == [("api",)]
