"""The models against the OpenAPI description beside these tests, field by field."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from pydantic import BaseModel, ValidationError

import sf_assets.social_fetch as social_fetch
from sf_assets.social_fetch import (
    FollowedAccount,
    Follower,
    FollowersResponse,
    FollowingResponse,
    LookupStatus,
    Relation,
    parse_page,
)
from sf_assets.social_fetch.models import parse

from ..served_lists import OMIT, ListServer, account, error_body, followed

OPENAPI = json.loads((Path(__file__).parents[1] / "contract" / "openapi.json").read_text())
SCHEMAS: dict[str, Any] = OPENAPI["components"]["schemas"]

META = {"requestId": "req_1", "creditsCharged": 1, "version": "v1", "cached": False}
PAGE = {"nextCursor": "1700000000", "hasMore": True}
FOLLOWERS = {"lookupStatus": "found", "followers": [account(1)], "page": PAGE, "totalFollowers": 9}
FOLLOWING = {"lookupStatus": "found", "accounts": [followed(1)], "page": PAGE, "totalAccounts": 9}
BALANCE = {
    **ListServer()._balance(),
    "subscription": {"tier": "pro", "status": "active", "periodEnd": "2026-12-01T00:00:00Z"},
}
USER = {"id": "user-1", "name": "Ada", "email": "ada@example.test"}

# One full specimen of each schema; every test below takes it apart.
FULL: dict[str, dict[str, Any]] = {
    "Meta": META,
    "Page": PAGE,
    "AvatarUrls": account(1)["avatarUrls"],
    "FollowerMetrics": account(1)["metrics"],
    "Follower": account(1),
    "FollowedAccountMetrics": followed(1)["metrics"],
    "FollowedAccount": followed(1),
    "FollowersData": FOLLOWERS,
    "FollowersResponse": {"data": FOLLOWERS, "meta": META},
    "FollowingData": FOLLOWING,
    "FollowingResponse": {"data": FOLLOWING, "meta": META},
    "Balance": BALANCE,
    "BalanceResponse": {"data": BALANCE, "meta": META},
    "User": USER,
    "WhoamiData": {"user": USER},
    "WhoamiResponse": {"data": {"user": USER}, "meta": META},
    "ErrorDetail": error_body("bad_request", checkoutUrl="https://checkout.test")["error"],
    "ErrorBody": error_body("bad_request"),
    "Health": {"status": "ok"},
}

FIELDS = [(name, field) for name in FULL for field in SCHEMAS[name]["properties"]]

# Older pages of the vendor have `balance` alone.
RELAXED = {("Balance", field) for field in SCHEMAS["Balance"]["properties"] if field != "balance"}


def model_of(name: str) -> type[BaseModel]:
    model: type[BaseModel] = getattr(social_fetch, name)
    assert issubclass(model, BaseModel)
    return model


def read(name: str, value: Any) -> BaseModel:
    return parse(model_of(name), json.dumps(value).encode())


def allows_null(schema: dict[str, Any]) -> bool:
    kind = schema.get("type")
    return (isinstance(kind, list) and "null" in kind) or None in schema.get("enum", [])


def by_jsonschema(name: str, value: Any) -> None:
    jsonschema.validate(
        value, {"$ref": f"#/components/schemas/{name}", "components": OPENAPI["components"]}
    )


def test_there_is_a_model_and_a_specimen_of_every_schema() -> None:
    assert set(FULL) | {"LookupStatus"} == set(SCHEMAS)


@pytest.mark.parametrize("name", FULL)
def test_a_model_has_exactly_the_fields_of_its_schema(name: str) -> None:
    aliases = {field.alias for field in model_of(name).model_fields.values()}
    assert aliases == set(SCHEMAS[name]["properties"])
    assert set(FULL[name]) >= set(SCHEMAS[name].get("required", []))


@pytest.mark.parametrize("name", FULL)
def test_a_full_specimen_is_accepted_and_written_back_unchanged(name: str) -> None:
    by_jsonschema(name, FULL[name])
    model = read(name, FULL[name])
    written = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert json.dumps(written, sort_keys=True).replace("06Z", "06.000Z") == json.dumps(
        FULL[name], sort_keys=True
    )


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_field_may_be_absent_only_where_it_is_optional(name: str, field: str) -> None:
    value = {key: kept for key, kept in FULL[name].items() if key != field}
    if field in SCHEMAS[name].get("required", []) and (name, field) not in RELAXED:
        with pytest.raises(ValidationError, match="Field required"):
            read(name, value)
    else:
        read(name, value)


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_required_field_may_be_null_only_where_the_contract_says_so(
    name: str, field: str
) -> None:
    schema = SCHEMAS[name]
    value = {**FULL[name], field: None}
    required = field in schema.get("required", []) and (name, field) not in RELAXED
    if required and not allows_null(schema["properties"][field]):
        with pytest.raises(ValidationError):
            read(name, value)
    else:
        assert field in {f.alias for f in model_of(name).model_fields.values()}
        assert read(name, value).model_dump(by_alias=True)[field] is None


def wrong_values(schema: dict[str, Any]) -> Iterator[Any]:
    kinds = schema.get("type", "object")
    kind = next(k for k in ([kinds] if isinstance(kinds, str) else kinds) if k != "null")
    yield from {
        "string": [5, True, ["text"], {}],
        "integer": ["5", True, 5.5, -1, 2**63, 10**400, [5]],
        "boolean": ["true", 1, 0, "yes"],
        "array": [{}, "text", 5, [5]],
        "object": [[], "text", 5],
    }[kind]
    if schema.get("minLength"):
        yield ""


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_a_value_of_a_wrong_type_is_refused(name: str, field: str) -> None:
    schema = SCHEMAS[name]["properties"][field]
    for wrong in wrong_values(schema):
        if field == "accountCreatedAt" and wrong == 5:
            continue  # Unix seconds
        with pytest.raises(ValidationError):
            read(name, {**FULL[name], field: wrong})


@pytest.mark.parametrize("name", FULL)
def test_an_unknown_field_is_kept_aside(name: str) -> None:
    model = read(name, {**FULL[name], "brandNew": {"a": [1]}})
    assert model.model_extra == {"brandNew": {"a": [1]}}


def examples() -> Iterator[Any]:
    for path, methods in OPENAPI["paths"].items():
        for status, response in methods["get"]["responses"].items():
            if "$ref" in response:
                response = OPENAPI["components"]["responses"][response["$ref"].rsplit("/")[-1]]
            content = response["content"]["application/json"]
            yield pytest.param(content, id=f"{path} {status}")


@pytest.mark.parametrize("content", list(examples()))
def test_the_examples_are_accepted(content: dict[str, Any]) -> None:
    jsonschema.validate(
        content["example"], {**content["schema"], "components": OPENAPI["components"]}
    )
    reference = content["schema"].get("$ref", "/ErrorBody").rsplit("/")[-1]
    read(reference, content["example"])


@pytest.mark.parametrize("status", ["hidden", "private", "not_found"])
def test_a_list_that_cannot_be_read_has_no_accounts_and_no_total(status: str) -> None:
    data: dict[str, Any] = {
        "lookupStatus": status,
        "followers": [],
        "page": {"nextCursor": None, "hasMore": False},
        "totalFollowers": None,
    }
    response = read("FollowersResponse", {"data": data, "meta": META})
    assert isinstance(response, FollowersResponse)
    assert response.data.lookup_status is LookupStatus(status)
    assert response.data.total is None


def test_an_unknown_lookup_status_is_refused() -> None:
    with pytest.raises(ValidationError):
        read("FollowersData", {**FOLLOWERS, "lookupStatus": "banned"})


def test_both_lists_have_the_same_face() -> None:
    followers = parse_page("followers", json.dumps({"data": FOLLOWERS, "meta": META}).encode())
    following = parse_page("following", json.dumps({"data": FOLLOWING, "meta": META}).encode())
    assert isinstance(followers, FollowersResponse)
    assert isinstance(following, FollowingResponse)
    for response in (followers, following):
        assert len(response.data.accounts) == 1
        assert response.data.total == 9
        assert response.data.page.next_cursor == "1700000000"
        assert response.data.page.has_more is True
        assert response.meta.request_id == "req_1"


@pytest.mark.parametrize(("relation", "data"), [("followers", FOLLOWING), ("following", FOLLOWERS)])
def test_an_answer_for_the_other_list_is_refused(relation: Relation, data: dict[str, Any]) -> None:
    body = json.dumps({"data": {**data, "total": 1, "lookup_status": "found"}, "meta": META})
    with pytest.raises(ValidationError):
        parse_page(relation, body.encode())


def test_python_names_work_in_python_only() -> None:
    follower = Follower(
        handle="ada",
        display_name=None,
        avatar_url=None,
        bio=None,
        verified=False,
        private_account=False,
        metrics={"followers": 1, "following": 2},
    )
    assert follower.display_name is None
    with pytest.raises(ValidationError, match="displayName"):
        parse(Follower, follower.model_dump_json().encode())


@pytest.mark.parametrize(
    "given", ["2021-02-03T04:05:06.000Z", "2021-02-03T05:05:06+01:00", 1612325106]
)
def test_an_account_age_comes_as_text_or_as_seconds(given: object) -> None:
    created = parse(FollowedAccount, json.dumps(followed(1, accountCreatedAt=given)).encode())
    assert created.account_created_at == datetime(2021, 2, 3, 4, 5, 6, tzinfo=timezone.utc)
    assert created.account_created_at.tzinfo is timezone.utc


@pytest.mark.parametrize(
    "given", ["yesterday", "1612325106", "2021-02-03", 1612325106.5, True, -1, 10**30, "9" * 20]
)
def test_any_other_account_age_is_refused(given: object) -> None:
    with pytest.raises(ValidationError):
        parse(FollowedAccount, json.dumps(followed(1, accountCreatedAt=given)).encode())


@pytest.mark.parametrize(
    ("over", "key"),
    [
        ({}, ("id", "7000000000000000001")),
        ({"platformUserId": OMIT}, ("sec_uid", "MS4wLjABAAAA00000001")),
        ({"platformUserId": ""}, ("sec_uid", "MS4wLjABAAAA00000001")),
        ({"platformUserId": None, "secUid": OMIT}, ("handle", "fan.1")),
        ({"platformUserId": OMIT, "secUid": "", "handle": "Fan.One"}, ("handle", "fan.one")),
    ],
)
def test_the_key_is_the_steadiest_name_there_is(over: dict[str, Any], key: tuple[str, str]) -> None:
    assert parse(Follower, json.dumps(account(1, **over)).encode()).key == key


def test_half_an_emoji_in_a_name_does_not_cost_the_list() -> None:
    data: dict[str, Any] = copy.deepcopy(FOLLOWERS)
    data["followers"] = [account(1, displayName="@@", bio="\U0001f600 \\ud83d \\\\")]
    body = json.dumps({"data": data, "meta": META}).replace("@@", r"A\ud83d")
    one = parse_page("followers", body.encode()).data.accounts[0]
    assert one.display_name == "A\N{REPLACEMENT CHARACTER}"
    assert one.bio == "\U0001f600 \\ud83d \\\\"
