"""What is read quickly is read the same; whatever is not as described is not read quickly."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sf_assets.social_fetch import ListWalk, quick_page, read_page
from sf_assets.social_fetch.models import Relation
from sf_assets.social_fetch.quick import filled

META = {"requestId": "req_1", "creditsCharged": 1, "version": "v1"}
PAGING = {"nextCursor": "abc", "hasMore": True}
FOLLOWER = {
    "handle": "Ann", "displayName": None, "avatarUrl": "https://a.test/1", "bio": "x\ty",
    "verified": False, "privateAccount": True, "metrics": {"followers": 1, "following": 0},
    "avatarUrls": {"large": None, "medium": "m"}, "platformUserId": "7", "secUid": "MS4",
}  # fmt: skip
FOLLOWED = {
    "handle": "bob", "displayName": "B", "avatarUrl": None, "bio": None, "verified": True,
    "profileUrl": "https://t.test/@bob", "privateAccount": None, "region": "US",
    "language": None, "accountCreatedAt": "2021-02-03T04:05:06Z", "details": {"a": [1, {}]},
    "metrics": {"followers": 2**63 - 1, "following": 0, "posts": 3},
}  # fmt: skip
ACCOUNTS: dict[Relation, dict[str, Any]] = {"followers": FOLLOWER, "following": FOLLOWED}
NAMES = {"followers": ("followers", "totalFollowers"), "following": ("accounts", "totalAccounts")}


def page(relation: Relation, *accounts: Any, **data: Any) -> dict[str, Any]:
    listed, total = NAMES[relation]
    body = {"lookupStatus": "found", listed: list(accounts), "page": PAGING, total: 9}
    return {"data": {**body, **data}, "meta": dict(META)}


def seen(response: Any) -> Any:
    data = response.data
    walk = ListWalk("followers", "nasa")
    walk.update(response)
    return (
        data.lookup_status, data.total, data.page.next_cursor, data.page.has_more,
        response.meta.request_id, response.meta.credits_charged, bool(response.meta.cached),
        [
            (one.key, one.handle, one.display_name, one.avatar_url, one.bio, one.verified,
             one.private_account, one.metrics.followers, one.metrics.following)
            for one in data.accounts
        ],
        vars(walk),
    )  # fmt: skip


def check(relation: Relation, document: Any, *, quick: bool | None = None) -> None:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    found = quick_page(relation, body)
    if quick is not None:
        assert (found is not None) is quick
    if found is not None:
        read, damaged = read_page(relation, body)
        assert damaged == 0
        first, second = seen(found), seen(read)
        first[-1].pop("_cursors"), second[-1].pop("_cursors")
        assert first == second
        pairs = zip(found.data.accounts, read.data.accounts, strict=True)
        assert all(filled(one) == filled(other) for one, other in pairs)
        assert not any(
            model.model_extra
            for model in (read, read.data, read.data.page, read.meta, *read.data.accounts)
        )


@pytest.mark.parametrize("relation", ["followers", "following"])
def test_a_page_as_described_is_read_quickly_and_the_same(relation: Relation) -> None:
    account = ACCOUNTS[relation]
    needed = {"handle", "displayName", "avatarUrl", "bio", "verified", "metrics"}
    needed |= {"privateAccount"} if relation == "followers" else {"profileUrl"}
    check(relation, page(relation), quick=True)
    check(relation, page(relation, account, account), quick=True)
    check(relation, page(relation, {name: account[name] for name in needed}), quick=True)
    for status in ("private", "hidden", "not_found"):
        check(relation, page(relation, lookupStatus=status, **{NAMES[relation][1]: None}))
    check(relation, json.dumps(page(relation, {**account, "bio": "\U0001f600 é"})).encode())


@pytest.mark.parametrize(
    "wrong",
    [
        {"handle": ""}, {"handle": None}, {"verified": 1}, {"verified": "true"}, {"bio": 5},
        {"metrics": {"followers": True, "following": 1, "posts": 1}},
        {"metrics": {"followers": 1.0, "following": 1, "posts": 1}},
        {"metrics": {"followers": -1, "following": 1, "posts": 1}},
        {"metrics": {"followers": 2**63, "following": 1, "posts": 1}},
        {"metrics": {"followers": 1, "following": 1, "posts": 1, "likes": 2}},
        {"accountCreatedAt": "yesterday"}, {"accountCreatedAt": True},
        {"accountCreatedAt": "2021-13-03T04:05:06Z"}, {"accountCreatedAt": 10**15},
        {"details": {"deep": eval("[" * 80 + "]" * 80)}}, {"brandNew": 1}, {"platformUserId": 5},
        {"displayName": "cut \ud83d"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("relation", ["followers", "following"])
def test_what_is_not_as_described_is_left_to_the_careful_reader(
    relation: Relation, wrong: dict[str, Any]
) -> None:
    check(relation, page(relation, {**ACCOUNTS[relation], **wrong}), quick=False)


@pytest.mark.parametrize("created", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00"])
def test_a_day_beyond_the_calendar_in_utc_is_a_damaged_field(created: str) -> None:
    body = json.dumps(page("following", {**FOLLOWED, "accountCreatedAt": created})).encode()
    assert quick_page("following", body) is None
    read, damaged = read_page("following", body)
    assert (damaged, read.data.accounts[0].handle) == (1, "bob")


@pytest.mark.parametrize("text", [b"\xff", b"\xc0\x80", b"\xed\xa0\xbd"])
def test_details_that_are_no_utf_8_are_left_to_the_careful_reader(text: bytes) -> None:
    body = json.dumps(page("following", {**FOLLOWED, "details": {"a": "?"}})).encode()
    check("following", body, quick=True)
    check("following", body.replace(b"?", text), quick=False)


@pytest.mark.parametrize(
    "meta", [{"creditsCharged": 5000}, {"version": "v2"}, {"requestId": "a\nb"}, {"new": 1}]
)
def test_the_envelope_too(meta: dict[str, Any]) -> None:
    document = page("followers", FOLLOWER)
    document["meta"] |= meta
    check("followers", document, quick=False)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["followers", "following"]), st.data())
def test_whatever_stands_in_a_field_both_agree(relation: Relation, data: st.DataObject) -> None:
    account = dict(ACCOUNTS[relation])
    for name in data.draw(st.lists(st.sampled_from(sorted(account)), max_size=2)):
        account[name] = data.draw(_VALUES)
    check(relation, page(relation, account))
