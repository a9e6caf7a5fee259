"""A page with any one damaged field is a page; without its skeleton it is none."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from sf_assets.social_fetch import Relation, mended_page, parse_page, read_page

from ..served_lists import account, followed

META = {"requestId": "req_1", "creditsCharged": 1, "version": "v1", "cached": False}
PAGE = {"nextCursor": "c", "hasMore": True}
PAGES: dict[Relation, Any] = {
    "followers": {
        "data": {
            "lookupStatus": "found",
            "followers": [account(1), account(2)],
            "page": PAGE,
            "totalFollowers": 9,
        },
        "meta": META,
    },
    "following": {
        "data": {
            "lookupStatus": "found",
            "accounts": [followed(1), followed(2)],
            "page": PAGE,
            "totalAccounts": 9,
        },
        "meta": META,
    },
}
MISSING: Any = object()
WITHOUT_IT_NO_PAGE = [
    ("data",), ("meta",), ("data", "page"), ("data", "lookupStatus"),
    ("data", "followers"), ("data", "accounts"),
]  # fmt: skip
NOWHERE_RIGHT = 10.5
WRONG = [
    MISSING,
    None,
    True,
    "1.2M",
    "",
    10.5,
    -1,
    2**70,
    float("nan"),
    float("inf"),
    [],
    [[1]],
    {},
]


def paths(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every field stands; of lists, in the second account."""
    items = value.items() if isinstance(value, dict) else [(1, value[1])]
    for name, inner in items:
        yield (*place, name)
        if isinstance(inner, (dict, list)) and name != "details":
            yield from paths(inner, (*place, name))


def spoiled(relation: Relation, place: tuple[Any, ...], wrong: Any) -> Any:
    body = copy.deepcopy(PAGES[relation])
    *parents, name = place
    holder = body
    for parent in parents:
        holder = holder[parent]
    if wrong is not MISSING:
        holder[name] = wrong
    elif isinstance(name, str):
        del holder[name]
    return body


PLACES = [(relation, place) for relation in PAGES for place in paths(PAGES[relation])]


@pytest.mark.parametrize(("relation", "place"), PLACES)
def test_any_one_field_may_be_damaged_in_any_way(
    relation: Relation, place: tuple[Any, ...]
) -> None:
    for wrong in WRONG:
        body = json.dumps(spoiled(relation, place, wrong)).encode()
        try:
            response, damaged = read_page(relation, body)
        except ValidationError:
            # "" is no type of its own: another version of the contract.
            assert place in WITHOUT_IT_NO_PAGE or place == ("meta", "version")
            continue
        assert place not in WITHOUT_IT_NO_PAGE or wrong in ([], {}, [[1]])
        assert damaged == 1 or wrong is not NOWHERE_RIGHT
        assert response.meta.credits_charged == 1
        assert parse_page(relation, mended_page(relation, body)).data.total == response.data.total
        if _many(relation) not in place[-1:]:
            first = parse_page(relation, json.dumps(PAGES[relation]).encode()).data.accounts[0]
            assert response.data.accounts[0].key == first.key
            assert len(response.data.accounts) == 2


def _many(relation: Relation) -> str:
    return "followers" if relation == "followers" else "accounts"


def test_what_is_damaged_is_none_and_absent_and_the_rest_is_as_it_came() -> None:
    body = copy.deepcopy(PAGES["followers"])
    body["data"]["followers"][1] |= {
        "verified": "yes",
        "metrics": {"followers": -1, "following": 3},
    }
    response, damaged = read_page("followers", json.dumps(body).encode())
    one = response.data.accounts[1]
    assert (damaged, one.verified, one.metrics.followers, one.metrics.following) == (
        2,
        None,
        None,
        3,
    )
    right, wrong = response.data.accounts[0], parse_page("followers", json.dumps(body).encode())
    assert right.model_dump() == wrong.data.accounts[0].model_dump()
    mended = json.loads(mended_page("followers", json.dumps(body).encode()))
    del (
        body["data"]["followers"][1]["verified"],
        body["data"]["followers"][1]["metrics"]["followers"],
    )
    assert mended == body


@pytest.mark.parametrize("relation", PAGES)
def test_nesting_is_cut_where_it_is_too_deep_and_nowhere_else(relation: Relation) -> None:
    deep = '{"a]": [' * 500 + '"}"' + "]}" * 500
    right = json.dumps(PAGES[relation])
    for field in ("bio", "metrics", "secUid", "unheard_of"):
        body = copy.deepcopy(PAGES[relation])
        body["data"][_many(relation)][0][field] = "HERE"
        body["data"][_many(relation)][1]["displayName"] = '"[{\\'
        text = json.dumps(body).replace('"HERE"', deep).encode()
        response, damaged = read_page(relation, text)
        assert damaged == (field != "unheard_of")
        assert [one.key for one in response.data.accounts] == [
            one.key for one in parse_page(relation, right.encode()).data.accounts
        ] or field == "secUid"
        assert response.data.accounts[1].display_name == '"[{\\'


@pytest.mark.parametrize("body", [b"", b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b"nul"])
def test_what_is_no_json_is_no_page(body: bytes) -> None:
    with pytest.raises(ValidationError):
        parse_page("followers", body)
    assert mended_page("followers", body) == body
