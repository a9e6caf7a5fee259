"""Every answer is one that the vendor's description allows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from sf_assets.simulator import (
    RELATIONS,
    Options,
    Relation,
    SimulatorProcess,
    background,
    demo_profiles,
    in_thread,
)
from sf_assets_tests.simulator.client import items, open_client, path, walk
from sf_assets_tests.simulator.worlds import TODAY, back, make_world

OPENAPI = json.loads((Path(__file__).parents[1] / "contract" / "openapi.json").read_text("utf-8"))
SCHEMAS: dict[Relation, str] = {"followers": "FollowersResponse", "following": "FollowingResponse"}


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": OPENAPI["components"]})


def check(body: Any, component: str) -> None:
    validator({"$ref": f"#/components/schemas/{component}"}).validate(body)


def check_error(answer: httpx.Response, status: int, response: str, code: str) -> None:
    assert answer.status_code == status
    described = OPENAPI["components"]["responses"][response]
    validator(described["content"]["application/json"]["schema"]).validate(answer.json())
    assert answer.json()["error"]["code"] == code


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorProcess]:
    with background(make_world(), Options(day=TODAY)) as running:
        yield running


@pytest.fixture(scope="module")
def client(simulator: SimulatorProcess) -> Iterator[httpx.Client]:
    with open_client(simulator.base_url) as made:
        yield made


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("day", [back(30), back(3), TODAY])
@pytest.mark.parametrize(
    "handle", ["sim.open", "sim.empty", "sim.private", "sim.hidden", "sim.no.ids", "sim.capped"]
)
def test_every_page_of_a_walk_is_as_described(
    client: httpx.Client, handle: str, day: date, relation: Relation
) -> None:
    for body in walk(client, handle, relation, day):
        check(body, SCHEMAS[relation])
        assert body["meta"]["creditsCharged"] == 1
        assert body["meta"].get("cached") is None


def test_a_walk_of_the_demo_is_as_described() -> None:
    with (
        background(preset="demo", today=TODAY, seed=3) as simulator,
        open_client(simulator.base_url) as client,
    ):
        for profile in demo_profiles(TODAY):
            for relation in RELATIONS:
                pages = walk(client, profile.handle, relation, TODAY)
                for body in [next(pages), next(pages, None)]:
                    if body is not None:
                        check(body, SCHEMAS[relation])


@pytest.mark.parametrize(
    ("handle", "relation", "day", "status"),
    [
        ("sim.private", "followers", back(3), "private"),
        ("sim.private", "following", back(2), "private"),
        ("sim.hidden", "followers", back(3), "hidden"),
        ("sim.gone", "followers", TODAY, "not_found"),
        ("nobody.at.all", "following", TODAY, "not_found"),
    ],
)
def test_a_list_that_cannot_be_read_is_a_200_that_costs_a_credit(
    client: httpx.Client, handle: str, relation: Relation, day: date, status: str
) -> None:
    (body,) = walk(client, handle, relation, day)
    check(body, SCHEMAS[relation])
    assert body["data"]["lookupStatus"] == status
    assert items(body) == []
    assert body["data"]["page"] == {"nextCursor": None, "hasMore": False}
    total = "totalFollowers" if relation == "followers" else "totalAccounts"
    assert body["data"][total] is None
    assert body["meta"]["creditsCharged"] == 1


def test_an_empty_list_is_found_with_a_total_of_zero(client: httpx.Client) -> None:
    (body,) = walk(client, "sim.empty", "followers", TODAY)
    assert body["data"]["lookupStatus"] == "found"
    assert body["data"]["totalFollowers"] == 0


def test_a_list_can_turn_hidden_while_it_is_read(client: httpx.Client) -> None:
    *shown, last = walk(client, "sim.halfway", "followers", TODAY)
    assert len(shown) >= 2
    assert {body["data"]["lookupStatus"] for body in shown} == {"found"}
    assert last["data"]["lookupStatus"] == "hidden"


@pytest.mark.parametrize("relation", RELATIONS)
def test_trim_drops_the_ids(client: httpx.Client, relation: Relation) -> None:
    answer = client.get(path("sim.open", relation), params={"trim": "true"})
    check(answer.json(), SCHEMAS[relation])
    for item in items(answer.json()):
        assert not {"platformUserId", "secUid", "avatarUrls"} & set(item)


def test_followed_accounts_carry_the_optional_fields_sometimes(client: httpx.Client) -> None:
    accounts = [
        item for body in walk(client, "sim.open", "following", TODAY) for item in items(body)
    ]
    for name in ("region", "language", "accountCreatedAt", "details", "privateAccount"):
        assert 0 < sum(name in item for item in accounts) < len(accounts)


def test_the_free_routes_are_as_described(client: httpx.Client) -> None:
    check(client.get("/v1/balance").json(), "BalanceResponse")
    check(client.get("/v1/whoami").json(), "WhoamiResponse")
    assert httpx.get(f"{client.base_url}/health", trust_env=False).json() == {"status": "ok"}


@pytest.mark.parametrize("route", [path("sim.open"), "/v1/balance", "/v1/whoami"])
@pytest.mark.parametrize("key", ["", "wrong"])
def test_a_wrong_key_is_refused(simulator: SimulatorProcess, route: str, key: str) -> None:
    with open_client(simulator.base_url, key) as client:
        check_error(client.get(route), 401, "Unauthorized", "unauthorized")


@pytest.mark.parametrize(
    ("route", "params"),
    [
        (path("sim.open"), {"cursor": ""}),
        (path("sim.open"), {"cursor": "not-ours"}),
        (path("sim.open"), {"userId": ""}),
        (path("sim.open", "following"), {"userId": "1"}),
        (path("sim.open"), {"trim": "maybe"}),
        (path("x" * 129), {}),
        (path("@sim.open"), {}),
    ],
)
def test_bad_parameters_are_refused_without_charge(
    client: httpx.Client, route: str, params: dict[str, str]
) -> None:
    before = client.get("/v1/balance").json()["data"]["balance"]
    check_error(client.get(route, params=params), 400, "BadRequest", "bad_request")
    assert client.get("/v1/balance").json()["data"]["balance"] == before


def test_user_id_is_taken_on_followers(client: httpx.Client) -> None:
    assert client.get(path("sim.open"), params={"userId": "123"}).status_code == 200


@pytest.mark.parametrize("route", ["/", "/v1/nothing", "/v1/tiktok/profiles/a/b/followers"])
def test_an_unknown_route_is_404(client: httpx.Client, route: str) -> None:
    answer = client.get(route)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"
    assert answer.json()["error"]["requestId"]


def test_402_once_the_balance_is_used_up() -> None:
    options = Options(balance=2, day=TODAY)
    with in_thread(make_world(), options) as simulator, open_client(simulator.base_url) as client:
        assert client.get(path("sim.open")).status_code == 200
        assert client.get(path("sim.private")).status_code == 200
        refused = client.get(path("sim.open"))
        check_error(refused, 402, "InsufficientCredits", "insufficient_credits")
        assert client.get("/v1/balance").json()["data"]["balance"] == 0
        simulator.set_balance(1)
        assert client.get(path("sim.open")).status_code == 200


def test_a_cached_answer_says_so_and_costs_the_same() -> None:
    options = Options(cache_seconds=60, day=TODAY)
    with in_thread(make_world(), options) as simulator, open_client(simulator.base_url) as client:
        first, second = client.get(path("sim.open")), client.get(path("sim.open"))
        check(second.json(), "FollowersResponse")
        assert "cached" not in first.json()["meta"]
        assert second.json()["meta"]["cached"] is True
        assert second.headers["Age"] == "0"
        assert simulator.ledger()["charged"] == 2
