"""One account, follow-back, groups: each view against plain Python over the lists themselves."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import date
from statistics import median
from typing import Any

import pytest

from sf_assets.handles.parse import parse_registry
from sf_assets.warehouse.handles import record_handles

from ..lists import ID_BASE, Lists, Told, number_of, on, who

TAGS = {"nova": ("a", "b"), "twin": ("a",), "luna": ("b",), "mute": ("b",)}
DAYS = 6


def track(lists: Lists, handles: Sequence[str] = tuple(TAGS)) -> None:
    text = "".join(f"  {name}: {{tags: [{', '.join(TAGS[name])}]}}\n" for name in handles)
    record_handles(lists.con, parse_registry(f"handles:\n{text}"), on(DAYS))


def invented(seed: int) -> list[Told]:
    """Lists of three handles whose audiences overlap; days that are private, cut off, or have no
    total. Newest first; who leaves does not come back. `mute` never shows a list."""
    rng = random.Random(seed)
    told: list[Told] = []
    for handle in ("nova", "twin", "luna"):
        for relation in ("followers", "following"):
            crowd = rng.sample(range(60), 30)
            stays = crowd[:20]
            for day in range(1, DAYS + 1):
                stays = [crowd.pop(), *(n for n in stays if rng.random() > 0.03)]
                more: dict[str, Any] = {}
                kind = rng.choice(["open", "open", "open", "private", "cut", "no total"])
                if handle == "nova" and day == DAYS:
                    kind = "open"
                shown = stays
                if kind == "private":
                    shown, more = [], {"status": "private"}
                elif kind == "cut":
                    shown, more = stays[:15], {"total": len(stays), "end": "page_limit"}
                elif kind == "no total":
                    more = {"no_total": True}
                told.append(Told(day, handle, tuple(shown), relation=relation, **more))  # type: ignore[arg-type]
    return [*told, *(Told(day, "mute", status="hidden") for day in (1, DAYS))]


@pytest.fixture(params=range(3))
def world(request: pytest.FixtureRequest, lists: Lists) -> tuple[Lists, list[Told]]:
    told = invented(request.param)
    lists.tell(*told)
    track(lists)
    return lists, told


def usable(told: list[Told], handle: str, relation: str) -> list[Told]:
    return [
        one
        for one in told
        if (one.handle, one.relation) == (handle, relation) and one.status == "found"
    ]


def shows_everyone(one: Told) -> bool:
    return one.end == "exhausted" and not one.no_total


def test_who_does_not_follow_back_is_said_only_where_the_lists_prove_it(
    world: tuple[Lists, list[Told]],
) -> None:
    lists, told = world
    views = {"following": "not_following_back", "followers": "not_followed_back"}
    proved_at_all = 0
    for own, view in views.items():
        other = "followers" if own == "following" else "following"
        for handle in ("nova", "twin", "luna"):
            here, there = usable(told, handle, own), usable(told, handle, other)
            rows = dict(
                lists.rows(f"SELECT account_id, left_by FROM {view} WHERE handle = ?", handle)
            )
            said = {number_of(account): left for account, left in rows.items()}
            ever = {n for one in there for n in one.accounts}
            mine = set(here[-1].accounts) if shows_everyone(here[-1]) else None
            theirs = set(there[-1].accounts)
            for account, left_by in said.items():
                assert account not in theirs
                assert mine is None or account in mine
                # Seen there before: it must have left for sure. Never seen: the list shows all.
                assert (left_by is not None) == (account in ever)
                assert left_by is not None or any(map(shows_everyone, there))
            if mine is not None and shows_everyone(there[-1]):
                assert {n for n in mine if n not in ever} <= said.keys()
                proved_at_all += len(said)
            listed, coverage, mutual, one_sided, unknown, rate, low, high = lists.one(
                "SELECT listed, coverage, mutual, one_sided, unknown, rate, rate_low, rate_high "
                "FROM follow_back WHERE handle = ? AND relation = ?",
                *(handle, own),
            )
            assert mutual + one_sided + unknown == listed
            assert one_sided == len(said)
            assert (rate is None) == (unknown > 0)
            assert low <= high
            if mine is not None:
                assert listed == len(mine)
                assert coverage == 1
                # What the truth is lies in between.
                truth = len(mine & theirs) / listed
                assert low <= truth if shows_everyone(there[-1]) else True
                assert high >= truth
    assert proved_at_all
    assert lists.rows("FROM follow_back WHERE handle = 'mute'") == []


@pytest.mark.parametrize("seed", range(4))
def test_the_own_list_of_a_tracked_account_tells_whether_it_follows_back(
    lists: Lists, seed: int
) -> None:
    """Four handles that follow each other, each list whole or cut off, and read until some day."""
    rng = random.Random(seed)
    names = {900 + n: name for n, name in enumerate(TAGS)}
    told: list[Told] = []
    for number, name in names.items():
        for relation in ("followers", "following"):
            others = [n for n in names if n != number and rng.random() < 0.6]
            crowd = [*others, *rng.sample(range(40), 12)]
            for day in range(1, rng.choice([2, 3, 3]) + 1):
                rng.shuffle(crowd)
                shown = crowd if rng.random() < 0.8 else crowd[: rng.randrange(4, 10)]
                some = tuple(who(n, names.get(n, "")) for n in shown)
                told.append(Told(day, name, some, total=len(crowd), relation=relation))  # type: ignore[arg-type]
    lists.tell(*told)

    def newest(name: str, relation: str) -> tuple[int, set[str], bool]:
        last = usable(told, name, relation)[-1]
        shown = {one.handle or str(one.n) for one in last.accounts if not isinstance(one, int)}
        return last.day, shown, last.total == len(last.accounts)

    decided = 0
    for own, view in {"following": "not_following_back", "followers": "not_followed_back"}.items():
        other = "followers" if own == "following" else "following"
        for name in names.values():
            said = {one for (one,) in lists.rows(
                f"SELECT account_handle FROM {view} WHERE handle = ?", name)}  # fmt: skip
            day, shown, _ = newest(name, other)
            for account in newest(name, own)[1] & set(names.values()):
                their_day, they_show, whole = newest(account, own)
                if their_day < day or not (whole or name in they_show):
                    continue  # Its list proves nothing.
                decided += 1
                same_day = their_day == day and account in shown
                assert (account in said) == (name not in they_show and not same_day)
    assert decided > 2


def test_accounts_without_ids_on_one_side_are_not_said_to_follow_on_one_side(lists: Lists) -> None:
    """Who is known by a handle alone in one list is nobody else in the other."""
    lists.tell(
        Told(1, "nova", (who(1, user_id=None, sec_uid=None), 2)),
        Told(1, "nova", (1, 2, 3), relation="following"),
    )
    assert lists.rows("SELECT account_handle FROM not_following_back") == [("fan3",)]
    assert lists.rows("SELECT account_handle FROM not_followed_back") == []
    assert lists.one(
        "SELECT mutual, one_sided, unknown, rate FROM follow_back WHERE relation = 'following'"
    ) == (1, 1, 1, None)


def test_a_total_above_what_is_listed_leaves_open_who_follows_back(lists: Lists) -> None:
    for day, total in ((1, 2), (2, 5)):
        lists.tell(
            Told(day, "nova", (2, 1), total=total), Told(day, "nova", (3,), relation="following")
        )
        expected = [("fan3",)] if total == 2 else []
        assert lists.rows("SELECT account_handle FROM not_following_back") == expected
    assert (
        lists.one("SELECT rate, rate_low FROM follow_back WHERE relation = 'following'")[0] is None
    )


def test_a_provisional_loss_is_not_one_who_does_not_follow_back(lists: Lists) -> None:
    for day, followers in enumerate(([3, 2, 1], [3, 2], [3, 2], [3, 2]), start=1):
        lists.tell(
            Told(day, "nova", tuple(followers)), Told(day, "nova", (1,), relation="following")
        )
        provisional = lists.rows("FROM follower_churn WHERE state = 'provisional'")
        said = lists.rows("SELECT account_handle, left_by FROM not_following_back")
        assert said == ([("fan1", on(2))] if day == 4 else [])
        assert bool(provisional) == (day in (2, 3))


def test_the_growth_of_a_group_is_the_sum_of_those_that_have_a_figure(
    world: tuple[Lists, list[Told]],
) -> None:
    lists, told = world
    since = {handle: min(one.day for one in told if one.handle == handle) for handle in TAGS}
    totals: dict[tuple[str, int], int] = {}
    for one in told:
        if one.relation == "followers" and one.status == "found":
            if one.total is not None:
                totals[one.handle, one.day] = one.total
            elif not one.no_total or one.end == "exhausted":
                totals[one.handle, one.day] = len(one.accounts)
    for tag in ("a", "b"):
        group = [handle for handle, tags in TAGS.items() if tag in tags]
        for day in range(1, DAYS + 1):
            there = [handle for handle in group if since[handle] <= day]
            known = [totals[handle, day] for handle in there if (handle, day) in totals]
            nets = []
            for handle in there:
                before = [totals[handle, d] for d in range(1, day) if (handle, d) in totals]
                if (handle, day) in totals and before:
                    nets.append(totals[handle, day] - before[-1])
            assert lists.one(
                "SELECT handles, handles_with_total, coverage, followers_total, handles_with_net, "
                "followers_net FROM group_growth WHERE tag = ? AND snapshot_date = ?",
                *(tag, on(day)),
            ) == (
                *(len(there), len(known), len(known) / len(there)),
                *(sum(known) if known else None, len(nets), sum(nets) if nets else None),
            )
            rates = {
                handle: net
                for handle, net in lists.rows(
                    "SELECT handle, growth_rate FROM follower_growth WHERE snapshot_date = ?",
                    on(day),
                )
                if handle in group and net is not None
            }
            for handle, rate, middle, count in lists.rows(
                "SELECT handle, growth_rate, median_growth_rate, handles_with_rate "
                "FROM group_comparison WHERE tag = ? AND snapshot_date = ?",
                *(tag, on(day)),
            ):
                assert rate == rates.get(handle)
                assert count == len(rates)
                assert middle == (median(rates.values()) if rates else None)


def test_the_reach_of_a_group_counts_each_account_once_and_says_how_much_was_shown(
    lists: Lists,
) -> None:
    shown = {"nova": [5, 4, 3, 2, 1], "twin": [9, 5, 4], "luna": [5]}
    totals = {"nova": 5, "twin": 8, "luna": None}
    for handle, accounts in shown.items():
        total = totals[handle]
        lists.tell(Told(1, handle, tuple(accounts), total=total, no_total=total is None))
    lists.day(1, "mute", status="private")
    track(lists)
    for tag in ("a", "b"):
        group = [handle for handle in shown if tag in TAGS[handle]]
        places = Counter(n for handle in group for n in shown[handle])
        shared = sum(times > 1 for times in places.values())
        of_all = tag == "a"  # of tag b, mute and its total are not known
        assert lists.one(
            "SELECT handles, handles_listed, accounts, shared_accounts, overlap_share, listed, "
            "followers_total, coverage FROM group_reach WHERE tag = ?",
            tag,
        ) == (
            *(len(group) + (tag == "b"), len(group), len(places), shared, shared / len(places)),
            *(places.total(), 13 if of_all else None, 8 / 13 if of_all else None),
        )


def test_a_group_without_any_list_has_no_reach_and_no_sum(lists: Lists) -> None:
    lists.day(1, "mute", status="private")
    track(lists, ["mute"])
    columns = "accounts, shared_accounts, overlap_share, listed, followers_total, coverage"
    assert lists.one(f"SELECT {columns} FROM group_reach") == (None,) * 6
    assert lists.one("SELECT handles, coverage, followers_total, followers_gained FROM group_growth"
    ) == (1, 0, None, None)  # fmt: skip


def test_the_history_of_an_account_has_each_of_its_stays_with_what_is_known_of_its_ends(
    world: tuple[Lists, list[Told]],
) -> None:
    """Of every account: the stays lie where the lists show it, and the brackets hold."""
    lists, told = world
    seen: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for one in told:
        for account in one.accounts:
            assert isinstance(account, int)
            seen[one.handle, one.relation, account].append(one.day)
    stays: dict[tuple[str, str, Any], list[dict[str, Any]]] = defaultdict(list)
    cursor = lists.con.execute("FROM account_history ORDER BY first_seen")
    names = [column[0] for column in cursor.description]
    for row in cursor.fetchall():
        stay = dict(zip(names, row, strict=True))
        stays[stay["handle"], stay["relation"], number_of(stay["account_id"])].append(stay)
    assert stays.keys() == seen.keys()
    for key, days in seen.items():
        first, last = stays[key][0], stays[key][-1]
        assert first["first_seen"] == on(days[0])
        assert first["began_before"] <= on(days[0])
        assert first["began_after"] is None or first["began_after"] < first["began_before"]
        lists_before = [one for one in usable(told, key[0], key[1]) if one.day < days[0]]
        assert (first["start_kind"] == "baseline") == (not lists_before)
        assert first["start_kind"] != "baseline" or first["began_after"] is None
        assert last["still_listed"] is (last["last_seen"] is None)
        if last["end_state"] is not None:
            assert last["ended_after"] == last["last_seen"] == on(days[-1]) < last["ended_before"]
            assert last["end_evidence"]
            assert all(one.day <= days[-1] or key[2] not in one.accounts for one in told
                       if (one.handle, one.relation) == key[:2])  # fmt: skip
        else:
            assert (last["ended_after"], last["ended_before"]) == (None, None)
    some = {stay["end_state"] for found in stays.values() for stay in found}
    assert "confirmed" in some


def test_a_list_of_a_day_is_read_through_attach_too(lists: Lists) -> None:
    """As any tool does that attaches the published file."""
    lists.day(1, "nova", [3, 2, 1])
    lists.day(2, "nova", [4, 3, 1])
    where = lists.con.execute("SELECT current_database()").fetchall()[0][0]
    lists.con.execute("ATTACH ':memory:' AS elsewhere")
    lists.con.execute("USE elsewhere")
    rows = lists.rows(
        f"SELECT account_id FROM {where}.list_days WHERE handle = 'nova' "
        "AND relation = 'followers' AND snapshot_date = ? ORDER BY position",
        date(2026, 11, 1),
    )
    lists.con.execute(f"USE {where}")
    assert [int(account) - ID_BASE for (account,) in rows] == [3, 2, 1]
