"""Reading a page of a list, also one with damaged fields.

One damaged field must not lose a list that can never be fetched again. A field of a wrong type or
range, one that is missing although it is required, and one that is nested too deep are damaged:
they are None in Python and absent from the JSON that is loaded, and they are counted. Only a page
without its envelope, status, list or page object breaks the contract.

An account without a handle and without an id cannot be identified. It counts as a damaged field
and is not listed, because whoever is missing may be that account: such a list is a window and
proves no loss. The archive's positions leave its number out, so its place stays empty.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError, create_model

from .models import (
    FollowersResponse,
    FollowingResponse,
    Relation,
    mend_surrogates,
    parse,
)

__all__ = ["mended_page", "parse_page", "read_page", "with_accounts"]

_MODELS: dict[Relation, type[FollowersResponse] | type[FollowingResponse]] = {
    "followers": FollowersResponse,
    "following": FollowingResponse,
}
_LISTS: dict[Relation, str] = {"followers": "followers", "following": "accounts"}

# Pydantic's JSON parser stops at about 200. The values of an account's fields are at depth 5.
MAX_DEPTH = 190
FIELD_DEPTH = 5
# Damaged in a field of any type.
_NOTHING_VALID = b"-1"
# An answer that does not say its price is counted as the usual one.
_PAGE_PRICE = 1

_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]+|[\]}]+', re.DOTALL)


def parse_page(relation: Relation, body: bytes) -> FollowersResponse | FollowingResponse:
    """Read the body of one list answer, fresh or stored.

    Fields that are damaged are None, whatever their type says. Raises `pydantic.ValidationError`
    where the envelope, the status, the list or the page object is not what the contract says.
    """
    return read_page(relation, body)[0]


def read_page(relation: Relation, body: bytes) -> tuple[FollowersResponse | FollowingResponse, int]:
    """The same, with the number of damaged fields."""
    model = _MODELS[relation]
    try:
        return parse(model, body), 0
    except ValidationError as error:
        document, damaged = _without_damage(relation, body, error)
    return parse(_tolerant(model), json.dumps(document).encode()), damaged


def mended_page(relation: Relation, body: bytes) -> bytes:
    """The JSON of a page without its damaged fields; `body` itself where it cannot be read."""
    try:
        document, _ = _without_damage(relation, body, None)
    except (ValidationError, ValueError, RecursionError):
        return body
    return json.dumps(document, ensure_ascii=False).encode(errors="replace")


def with_accounts(relation: Relation, body: bytes, change: Callable[[list[Any]], bool]) -> bytes:
    """The JSON of a page whose list of accounts `change` has changed; `body` where it says no.

    What else is damaged stays so. Raises ValueError where the body has no such list.
    """
    try:
        document = _read(body)
        accounts = document["data"][_LISTS[relation]]
    except (RecursionError, LookupError, TypeError):
        raise ValueError("there is no list of accounts in it") from None
    if not isinstance(accounts, list):
        raise ValueError("there is no list of accounts in it")
    return json.dumps(document).encode() if change(accounts) else body


def _read(body: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        _cut_at_depth(mend_surrogates(body)).decode("utf-8-sig"), strict=False, parse_int=_whole
    )
    return document


def _without_damage(
    relation: Relation, body: bytes, error: ValidationError | None
) -> tuple[dict[str, Any], int]:
    """What the body says without its damaged fields, and how many those are.

    Raises `error`, or what it finds, where the body breaks the contract.
    """
    try:
        document = _read(body)
    except (ValueError, RecursionError):
        if error is not None:
            raise error from None
        raise
    try:
        parse(_MODELS[relation], json.dumps(document).encode())
    except ValidationError as found:
        faults = found.errors(include_url=False, include_context=False, include_input=False)
        if any(_breaks_contract(relation, fault["loc"], document) for fault in faults):
            raise
    else:
        return document, 0
    for fault in faults:
        _take_out(document, fault["loc"])
    return document, len(faults)


def _breaks_contract(
    relation: Relation, place: tuple[int | str, ...], document: dict[str, Any]
) -> bool:
    if place == ("meta", "version"):
        # With another version every field may mean something else.
        return isinstance(document["meta"].get("version"), str)
    return len(place) < 2 or place in (
        ("data", _LISTS[relation]),
        ("data", "page"),
        ("data", "lookupStatus"),
    )


def _take_out(document: dict[str, Any], place: tuple[int | str, ...]) -> None:
    holder: Any = document
    for name in place[:-1]:
        holder = holder[name]
    name = place[-1]
    if isinstance(holder, list):
        holder[int(name)] = {}  # no object: an account of which nothing is known
        return
    value = holder.pop(name, None)
    if place == ("data", "page", "nextCursor") and type(value) is int:
        holder[name] = str(value)  # in the next question it is text anyway
    elif place == ("meta", "creditsCharged"):
        holder[name] = _PAGE_PRICE


def _whole(digits: str) -> int | float:
    # Python refuses thousands of digits, which no field may have.
    return int(digits) if len(digits) <= 20 else float("inf")


def _cut_at_depth(body: bytes) -> bytes:
    """Damage, visibly, each field whose value is nested deeper than MAX_DEPTH."""
    depth = deepest = begin = copied = 0
    kept = bytearray()
    for found in _BRACKETS.finditer(body):
        kind = body[found.start()]
        if kind == ord('"'):
            continue
        count = found.end() - found.start()
        if kind in b"[{":
            if depth < FIELD_DEPTH <= depth + count:
                begin, deepest = found.start() + FIELD_DEPTH - depth - 1, 0
            depth += count
            deepest = max(deepest, depth)
        else:
            if depth >= FIELD_DEPTH > depth - count and deepest > MAX_DEPTH:
                kept += body[copied:begin] + _NOTHING_VALID
                copied = found.start() + depth - FIELD_DEPTH + 1
            depth -= count
    return bytes(kept + body[copied:]) if copied else body


@cache
def _tolerant(model: type[Any]) -> Any:
    """The same model with every field optional."""
    fields: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        kind: Any = field.annotation
        if get_origin(kind) is list:
            (item,) = get_args(kind)
            kind = list[_tolerant(item)]  # type: ignore[misc]
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = _tolerant(kind)
        elif field.metadata:
            checked = (kind, *field.metadata)
            kind = Annotated[checked]
        fields[name] = (kind | None, Field(default=None, alias=field.alias))
    return create_model(model.__name__, __base__=model, **fields)
