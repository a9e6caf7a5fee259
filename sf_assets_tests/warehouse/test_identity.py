"""Who is who across days: ids that are missing, handles that are renamed or move on."""

from __future__ import annotations

import pytest

from ..lists import Listed, Lists, Told, Who, nameless, who

BASE = list(range(100, 0, -1))


def with_(*changed: Who, base: list[int] = BASE) -> list[Listed]:
    """The base list with some accounts shown in another way, each in its place."""
    other = {each.n: each for each in changed}
    return [other.get(n, n) for n in base]


def test_an_account_whose_ids_are_missing_for_a_day_is_the_same_account(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", with_(nameless(50), who(51, user_id=None), who(52, sec_uid=None)))
    lists.day(3, "nova", BASE)
    assert lists.churn("nova") == set()
    assert list(lists.followers_on("nova", 2)) == BASE


def test_an_id_that_is_missing_on_the_first_day_is_put_in_later(lists: Lists) -> None:
    lists.day(1, "nova", with_(nameless(50), who(51, user_id=None)))
    assert lists.memberships("nova", "@fan50") != []
    assert lists.memberships("nova", "sec:MS4w51") != []
    lists.day(2, "nova", BASE)
    assert lists.churn("nova") == set()
    assert list(lists.followers_on("nova", 1)) == BASE
    assert lists.one("SELECT count(*) FROM accounts") == 100


def test_a_better_id_is_put_into_churn_and_retractions_too(lists: Lists) -> None:
    missing = [n for n in BASE if n != 50]
    lists.day(1, "nova", with_(nameless(50)))
    lists.day(2, "nova", missing)
    lists.day(3, "nova", with_(nameless(50)))
    lists.day(4, "nova", BASE)
    assert lists.churn("nova") == {(2, 50, "lost", "retracted")}
    assert lists.followers_on("nova", 2)[50] is True


def test_a_renamed_handle_is_a_rename_and_no_churn(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", with_(who(50, "phoenix")))
    assert lists.churn("nova") == set()
    renames = "SELECT from_handle, to_handle, CAST(seen_on AS VARCHAR) FROM account_renames"
    assert lists.rows(renames) == [("fan50", "phoenix", "2026-11-02")]
    assert lists.one("SELECT account_handle FROM accounts WHERE account_handle = 'phoenix'")


def test_a_rename_on_a_day_without_the_numeric_id_is_seen_by_the_other(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", with_(who(50, "phoenix", user_id=None)))
    assert lists.churn("nova") == set()
    assert list(lists.followers_on("nova", 2)) == BASE


def test_handles_differ_in_case_and_are_the_same(lists: Lists) -> None:
    lists.day(1, "nova", with_(nameless(50, "Phoenix")))
    lists.day(2, "nova", with_(nameless(50, "phoenix")))
    assert lists.churn("nova") == set()


def test_a_handle_with_another_numeric_id_is_another_person(lists: Lists) -> None:
    rest = [n for n in BASE if n != 50]
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", [who(200, "fan50"), *rest])
    assert lists.churn("nova") == {(2, 50, "lost", "provisional"), (2, 200, "gained", "confirmed")}


def test_a_handle_taken_over_while_its_first_owner_stays_is_a_gain_alone(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", [who(200, "fan50"), *with_(who(50, "fan50.new"))])
    assert lists.churn("nova") == {(2, 200, "gained", "confirmed")}
    assert lists.memberships("nova", 50) == [(1, None, "baseline", None)]


def test_a_nameless_newcomer_with_a_freed_handle_is_not_the_one_who_left(lists: Lists) -> None:
    """50 left and 200 took its handle, on a day that does not show 200's ids."""
    rest = [n for n in BASE if n != 50]
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", [nameless(200, "fan50"), *rest])
    assert lists.churn("nova") == {(2, "@fan50", "gained", "confirmed")}
    # Whoever has the handle now shows a number, and is another one.
    for day in (3, 4, 5):
        lists.day(day, "nova", [who(200, "fan50"), *rest])
    assert lists.churn("nova") == {(3, 50, "lost", "confirmed"), (2, 200, "gained", "confirmed")}


def test_a_nameless_refollower_is_recognised_once_it_shows_its_id(lists: Lists) -> None:
    rest = [n for n in BASE if n != 50]
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", rest)
    lists.day(3, "nova", [nameless(50), *rest])
    lists.day(4, "nova", [50, *rest])
    assert lists.churn("nova") == {(2, 50, "lost", "confirmed"), (3, 50, "returned", "confirmed")}
    assert lists.one("SELECT count(*) FROM accounts") == 100


def test_an_account_without_ids_that_is_renamed_is_not_said_to_have_left(lists: Lists) -> None:
    lists.day(1, "nova", with_(nameless(50)))
    lists.day(2, "nova", with_(nameless(50, "phoenix")))
    lists.day(3, "nova", with_(nameless(50, "phoenix")))
    assert lists.churn("nova") == set()
    assert (
        lists.one(
            "SELECT followers_unknown FROM follower_growth WHERE snapshot_date = '2026-11-02'"
        )
        == 2
    )


def test_two_ids_that_turn_out_to_be_one_account_are_merged_without_losing_history(
    lists: Lists,
) -> None:
    """Day 1 shows only the secUid, day 2 a new handle and only the number, day 3 both."""
    lists.day(1, "nova", with_(who(50, user_id=None)))
    lists.day(2, "nova", with_(who(50, "phoenix", sec_uid=None)))
    assert len(lists.followers_on("nova", 2)) == 100
    lists.day(3, "nova", with_(who(50, "phoenix")))
    assert lists.churn("nova") == set()
    assert lists.memberships("nova", 50) == [(1, None, "baseline", None)]
    assert lists.memberships("nova", "sec:MS4w50") == []
    assert [list(lists.followers_on("nova", day)) for day in (1, 2, 3)] == [BASE] * 3
    assert lists.one("SELECT from_handle FROM account_renames") == "fan50"


def test_merged_accounts_stay_merged_on_further_days(lists: Lists) -> None:
    lists.day(1, "nova", with_(who(50, user_id=None)))
    lists.day(2, "nova", with_(who(50, "phoenix", sec_uid=None)))
    lists.day(3, "nova", with_(who(50, "phoenix")))
    lists.day(4, "nova", with_(who(50, "phoenix", user_id=None)))
    lists.day(5, "nova", with_(nameless(50, "phoenix")))
    lists.day(6, "nova", with_(who(50, "swan")))
    assert lists.churn("nova") == set()
    assert lists.memberships("nova", 50) == [(1, None, "baseline", None)]


def test_a_nameless_spell_under_a_new_handle_is_merged_once_the_id_is_back(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", with_(nameless(50, "phoenix")))
    lists.day(3, "nova", with_(nameless(50, "phoenix")))
    lists.day(4, "nova", with_(who(50, "phoenix")))
    assert lists.churn("nova") == set()
    assert lists.memberships("nova", 50) == [(1, None, "baseline", None)]


def test_a_handle_that_had_two_nameless_owners_does_not_mix_them_up(lists: Lists) -> None:
    """While 50 was away under another name, somebody nameless had the handle it comes back with."""
    rest = [n for n in BASE if n != 7]
    other = [nameless(7, "phoenix") if n == 7 else n for n in BASE]
    lists.day(1, "nova", other)
    lists.day(2, "nova", [n for n in other if n != 50])
    lists.day(3, "nova", [who(50, "phoenix"), *(n for n in rest if n != 50)])
    assert list(lists.followers_on("nova", 1))[:2] == [100, 99]
    assert len(lists.followers_on("nova", 1)) == 100


def test_two_accounts_with_the_same_handle_in_one_list_are_two(lists: Lists) -> None:
    twins = with_(who(50, "twin"), who(51, "twin"))
    for day in (1, 2, 3):
        lists.day(day, "nova", twins)
    assert lists.churn("nova") == set()
    assert len(lists.followers_on("nova", 3)) == 100


def test_one_account_under_two_ids_in_one_list_counts_once(lists: Lists) -> None:
    lists.day(1, "nova", with_(who(50, user_id=None)))
    lists.day(2, "nova", with_(who(50, "phoenix", sec_uid=None)))
    lists.day(3, "nova", with_(who(50, "phoenix")))
    lists.day(4, "nova", [*with_(who(50, "phoenix", sec_uid=None)), who(50, user_id=None)])
    assert lists.churn("nova") == set()
    assert list(lists.followers_on("nova", 4)) == BASE


@pytest.mark.parametrize(
    "shared", [{"user_id": "777", "sec_uid": None}, {"user_id": None, "sec_uid": "MS4wsame"}]
)
def test_an_id_that_two_accounts_of_one_list_share_identifies_neither(
    lists: Lists, shared: dict[str, str | None]
) -> None:
    twins = with_(who(50, **shared), who(20, **shared))
    for day, listed in enumerate((BASE, twins, twins, BASE), start=1):
        lists.day(day, "nova", listed)
        assert list(lists.followers_on("nova", day)) == BASE
    assert lists.churn("nova") == set()
    assert lists.one("SELECT count(*) FROM accounts") == 100


@pytest.mark.parametrize("other", [20, 999])
def test_a_sec_uid_that_was_shown_with_two_numbers_does_not_say_whose_it_is(
    lists: Lists, other: int
) -> None:
    lists.day(1, "nova", with_(who(50, user_id=None)))
    lists.day(2, "nova", BASE)
    # Another list gives the account the number of somebody else, smaller or larger.
    lists.day(3, "vega", [who(50, user_id=who(other).item("followers")["platformUserId"])])
    for day in (4, 5):
        lists.day(day, "nova", with_(who(50, user_id=None)))
        assert lists.churn("nova") == set()
        assert [len(lists.followers_on("nova", day)) for day in (1, 2, day)] == [100] * 3


@pytest.mark.parametrize("user_id", ["0", "-1", "abc", " ", "7.5", "00", "1e3"])
def test_an_id_that_is_no_positive_number_identifies_nobody(lists: Lists, user_id: str) -> None:
    odd = with_(*(who(n, user_id=user_id, sec_uid=" ") for n in (50, 51, 7)))
    for day, listed in enumerate((BASE, odd, odd, BASE), start=1):
        lists.day(day, "nova", listed)
    assert lists.churn("nova") == set()
    assert [len(lists.followers_on("nova", day)) for day in (1, 2, 3, 4)] == [100] * 4
    assert lists.one("SELECT count(*) FROM accounts") == 100


def test_a_profile_gathers_what_each_relation_shows(lists: Lists) -> None:
    pictures = {"large": "https://p.test/l?x=1", "medium": None, "thumb": None}
    lists.tell(
        Told(1, "nova", (who(1, avatarUrls=pictures, privateAccount=True),)),
        Told(1, "nova", (who(1, region="AT", language="de"),), relation="following"),
    )
    got = "SELECT region, \"language\", avatar_urls['large'], private_account, posts FROM accounts"
    assert lists.one(got) == ("AT", "de", "https://p.test/l", True, 3)
    lists.day(2, "nova", [who(1, displayName="Newer")])
    assert lists.one("SELECT display_name, region FROM accounts") == ("Newer", "AT")


def test_ids_that_a_list_leaves_out_stay_in_the_profile(lists: Lists) -> None:
    lists.day(1, "nova", BASE)
    lists.day(2, "nova", with_(nameless(50)))
    got = "SELECT platform_user_id, sec_uid FROM accounts WHERE account_handle = 'fan50'"
    assert lists.one(got) == ("7000000000000000050", "MS4w50")


def test_an_account_in_many_lists_of_a_day_shows_what_that_day_says(lists: Lists) -> None:
    # Many accounts in ever other lists: which of equal rows a database takes is chance.
    handles = [f"fan{n}" for n in range(10)]
    for day, name in ((1, "Old"), (2, "New"), (3, "Newest")):
        lists.tell(
            *(
                Told(
                    day,
                    handle,
                    tuple(
                        who(n, displayName=f"{name} {n}")
                        for n in range(1, 301)
                        if n * 7 % (place + 2) < 2
                    ),
                )
                for place, handle in enumerate(handles)
            )
        )
        names = lists.rows("SELECT DISTINCT split_part(display_name, ' ', 1) FROM accounts")
        assert names == [(name,)]
