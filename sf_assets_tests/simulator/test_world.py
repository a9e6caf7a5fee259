"""The world is the same for the same seed, and what it shows agrees with its truth."""

from __future__ import annotations

import pickle
from collections import Counter
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from sf_assets.simulator import (
    QUIRK_KINDS,
    RELATIONS,
    ListSpec,
    PageAnswer,
    ProfileSpec,
    QuirkKind,
    Relation,
    World,
    preset_world,
    worst_month,
)
from sf_assets_tests.simulator.worlds import QUIRKY, TODAY, back, make_world

DAYS = [back(days) for days in range(25, -1, -1)]


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


def pages(
    world: World, handle: str, relation: Relation = "followers", day: Any = TODAY, size: int = 20
) -> list[PageAnswer]:
    found, cursor = [], None
    while True:
        answer = world.page(handle, relation, day, cursor=cursor, page_size=size)
        found.append(answer)
        if not answer.has_more or (cursor is not None and answer.next_cursor == cursor):
            return found
        cursor = answer.next_cursor


def listed(world: World, handle: str, day: Any = TODAY, size: int = 20) -> list[int]:
    return [number for page in pages(world, handle, day=day, size=size) for number in page.numbers]


def test_same_seed_same_answers_in_any_order(world: World) -> None:
    other = pickle.loads(pickle.dumps(world))
    wanted = [(handle, relation, day) for handle in world.handles for relation in RELATIONS
              for day in (back(9), TODAY)]  # fmt: skip

    def bodies(of: World, keys: list[Any]) -> dict[Any, str]:
        return {(h, r, d): of.page_json(of.page(h, r, d), r, d) for h, r, d in keys}

    assert bodies(world, wanted) == bodies(other, wanted[::-1])


def test_another_seed_is_another_world(world: World) -> None:
    assert listed(world, "sim.open") != listed(make_world(seed=8), "sim.open")


@pytest.mark.parametrize("day", [back(20), back(1), TODAY])
@pytest.mark.parametrize("size", [7, 20, 1_000])
def test_a_walk_shows_what_the_truth_says(world: World, day: Any, size: int) -> None:
    for handle in world.handles:
        truth = world.truth(handle, "followers", day, page_size=size)
        assert listed(world, handle, day, size) == truth.listed.tolist(), handle
        first = world.page(handle, "followers", day, page_size=size)
        if first.lookup_status == "found":
            assert first.total == truth.total == len(truth.following)


def test_an_open_list_shows_everyone_newest_first(world: World) -> None:
    truth = world.truth("sim.open", "followers", TODAY)
    assert truth.listed.tolist() == truth.following.tolist()
    assert len(set(listed(world, "sim.open"))) == truth.total


def test_cursors_look_like_falling_times_and_never_repeat(world: World) -> None:
    cursors = [int(page.next_cursor or 0) for page in pages(world, "sim.open")[:-1]]
    assert cursors == sorted(set(cursors), reverse=True)
    assert all(1_600_000_000 < cursor < 1_800_000_000 for cursor in cursors)


def test_a_saved_cursor_goes_on_at_the_same_place_the_next_day(world: World) -> None:
    first = world.page("sim.open", "followers", back(1))
    again = world.page("sim.open", "followers", TODAY, cursor=first.next_cursor)
    lost = world.changes("sim.open", "followers", back(1), TODAY).lost
    second = world.page("sim.open", "followers", back(1), cursor=first.next_cursor)
    stayed = [number for number in second.numbers if number not in lost]
    assert stayed == again.numbers[: len(stayed)]


@pytest.mark.parametrize("cursor", ["1000", "0", "-1", "-" + "9" * 30])
def test_a_cursor_past_the_end_gives_an_empty_last_page(world: World, cursor: str) -> None:
    answer = world.page("sim.open", "followers", TODAY, cursor=cursor)
    assert (answer.lookup_status, answer.numbers, answer.has_more) == ("found", [], False)


def test_changes_are_the_difference_of_two_days(world: World) -> None:
    seen: Counter[str] = Counter()
    for before, after in pairwise(DAYS):
        then = set(world.truth("sim.open", "followers", before).following.tolist())
        now = set(world.truth("sim.open", "followers", after).following.tolist())
        changes = world.changes("sim.open", "followers", before, after)
        assert changes.gained | changes.returned == now - then
        assert changes.lost == then - now
        assert not changes.gained & changes.returned
        assert changes.moved <= then & now
        seen.update(gained=len(changes.gained), lost=len(changes.lost))
        seen.update(returned=len(changes.returned))
    assert min(seen.values()) > 5


def test_new_and_returned_followers_stand_above_all_who_stayed(world: World) -> None:
    for before, after in pairwise(DAYS):
        changes = world.changes("sim.open", "followers", before, after)
        came = changes.gained | changes.returned | changes.moved
        now = world.truth("sim.open", "followers", after).listed.tolist()
        assert set(now[: len(came)]) == came


def test_a_capped_list_shows_the_newest(world: World) -> None:
    truth = world.truth("sim.capped", "followers", TODAY)
    assert truth.listed.tolist() == truth.following[:110].tolist()
    assert truth.total > 800


def test_deleted_accounts_count_and_are_never_listed(world: World) -> None:
    for day in (back(5), TODAY):
        truth = world.truth("sim.deleted", "followers", day)
        assert 20 < len(truth.deleted) < 60
        assert set(truth.listed.tolist()) == set(truth.following.tolist()) - set(
            truth.deleted.tolist()
        )


def test_a_flickering_account_is_back_at_its_old_place(world: World) -> None:
    truths = [world.truth("sim.flicker", "followers", day) for day in DAYS]
    everyone = truths[0].following.tolist()
    missing = [set(everyone) - set(truth.listed.tolist()) for truth in truths]
    assert sum(map(len, missing)) > 50
    assert not set.intersection(*missing[:3])
    for truth, gone in zip(truths, missing, strict=True):
        assert truth.listed.tolist() == [number for number in everyone if number not in gone]


def test_a_rename_keeps_the_ids(world: World) -> None:
    renamed = 0
    for number in listed(world, "sim.rename"):
        before = world.item(number, "followers", back(10))
        after = world.item(number, "followers", TODAY)
        renamed += before["handle"] != after["handle"]
        assert before["platformUserId"] == after["platformUserId"]
        assert before["secUid"] == after["secUid"]
    assert 50 < renamed < 150


def test_a_freed_handle_is_taken_by_somebody_else(world: World) -> None:
    owners: dict[str, set[str]] = {}
    for day in DAYS:
        items = [
            world.item(number, "followers", day) for number in listed(world, "sim.takeover", day)
        ]
        assert len({item["handle"] for item in items}) == len(items)
        for item in items:
            owners.setdefault(item["handle"], set()).add(item["platformUserId"])
    assert sum(len(ids) == 2 for ids in owners.values()) >= 5
    assert max(map(len, owners.values())) == 2


def test_ids_are_missing_for_good_or_for_a_day(world: World) -> None:
    numbers = listed(world, "sim.no.ids")
    shown = {
        number: sum("platformUserId" in world.item(number, "followers", day) for day in DAYS)
        for number in numbers
    }
    never = sum(count == 0 for count in shown.values())
    sometimes = sum(0 < count < len(DAYS) for count in shown.values())
    assert 30 < never < 90
    assert sometimes > 50


def test_an_account_is_found_again_from_what_a_page_shows(world: World) -> None:
    for handle in ("sim.no.ids", "sim.takeover", "sim.rename"):
        for number in listed(world, handle):
            item = world.item(number, "followers", TODAY)
            assert world.number_of(item, TODAY) == number
            item.pop("platformUserId", None)
            assert world.number_of(item, TODAY) == number
            item.pop("secUid", None)
            assert world.number_of(item, TODAY) == number


def test_ids_look_like_the_real_ones_and_are_unique(world: World) -> None:
    numbers = listed(world, "sim.open")
    ids = {world.platform_user_id(number) for number in numbers}
    sec_uids = {world.sec_uid(number) for number in numbers}
    assert len(ids) == len(sec_uids) == len(numbers)
    assert all(len(text) == 19 and text.isdigit() for text in ids)
    assert all(text.startswith("MS4wLjABAAAA") and len(text) == 76 for text in sec_uids)


def test_avatar_urls_are_signed_anew_every_day(world: World) -> None:
    for number in listed(world, "sim.open")[:20]:
        before = world.item(number, "followers", back(1))["avatarUrl"]
        after = world.item(number, "followers", TODAY)["avatarUrl"]
        assert (before is None and after is None) or before != after


def test_a_purge_takes_many_at_once_and_the_total_falls(world: World) -> None:
    before = world.truth("sim.purge", "followers", back(1))
    after = world.truth("sim.purge", "followers", TODAY)
    assert before.total - after.total == 60
    gone = world.changes("sim.purge", "followers", back(1), TODAY).lost
    places = [place for place, number in enumerate(before.following) if int(number) in gone]
    assert any(places[at + 29] - places[at] == 29 for at in range(len(places) - 29))


@pytest.mark.parametrize(
    ("handle", "cursor", "last_page"), [("sim.minus", "-1", 20), ("sim.extra", None, 0)]
)
def test_a_list_may_end_in_other_ways(
    world: World, handle: str, cursor: str | None, last_page: int
) -> None:
    last = pages(world, handle)[-1]
    assert (last.next_cursor, last.has_more, len(last.numbers)) == (cursor, False, last_page)


def test_the_total_may_move_while_a_list_is_read(world: World) -> None:
    totals = {page.total for page in pages(world, "sim.live")}
    assert totals <= {200, 201, 202}
    assert len(totals) > 1


@pytest.mark.parametrize("kind", QUIRK_KINDS)
def test_quirks_disturb_that_day_only(world: World, kind: QuirkKind) -> None:
    handle = QUIRKY[kind]
    assert world.truth(handle, "followers", TODAY).quirks == (kind,)
    calm = world.truth(handle, "followers", back(1))
    assert calm.listed.tolist() == calm.following.tolist()
    truth = world.truth(handle, "followers", TODAY)
    shown, everyone = truth.listed.tolist(), truth.following.tolist()
    assert shown != everyone
    if kind == "skip":
        assert len(everyone) - len(shown) == 30
        assert any(everyone[:at] + everyone[at + 30 :] == shown for at in range(len(everyone)))
    elif kind == "early_end":
        assert shown == everyone[: len(shown)]
    elif kind == "shuffle":
        assert sorted(shown) == sorted(everyone)
    elif kind in ("overlap", "repeat"):
        assert set(shown) == set(everyone)
        assert len(shown) > len(everyone)
    elif kind == "stale":
        assert set(shown) <= set(everyone) | set(calm.following.tolist())
    else:
        last = pages(world, handle)[-2:]
        assert last[0].next_cursor == last[1].next_cursor
        assert last[1].has_more


def test_some_people_are_in_several_lists(world: World) -> None:
    first, second = set(listed(world, "sim.open")), set(listed(world, "sim.flicker"))
    assert 0 < len(first & second) < len(first) / 10


def test_lists_before_the_epoch_and_after_the_horizon_answer(world: World) -> None:
    for day in (world.epoch - timedelta(days=20), world.epoch + timedelta(days=5_000)):
        assert world.page("sim.open", "followers", day).lookup_status == "found"


def test_a_profile_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        World([ProfileSpec("a"), ProfileSpec("A")], epoch=TODAY)


def test_a_list_too_long_to_number_is_refused() -> None:
    world = World([ProfileSpec("a", ListSpec(size=17_000_000))], epoch=TODAY)
    with pytest.raises(ValueError, match="too many"):
        world.page("a", "followers", TODAY)


def test_the_worst_month_has_everything() -> None:
    world = preset_world("worst", today=TODAY, handles=8, accounts=300)
    kinds: set[str] = set()
    statuses: set[str] = set()
    for handle in world.handles:
        for day in (back(days) for days in range(30)):
            truth = world.truth(handle, "followers", day)
            kinds.update(truth.quirks)
            statuses.add(truth.lookup_status)
            if handle == "sim.worst.giant" and truth.lookup_status == "found":
                assert truth.total > 90_000
                assert len(truth.listed) <= 7_000
    assert kinds == set(QUIRK_KINDS)
    assert statuses == {"found", "hidden", "private", "not_found"}


def test_flicker_can_be_switched_off() -> None:
    assert {profile.followers.flicker for profile in worst_month(TODAY, flicker=0.0)} == {0.0}
