"""Parses a page of a list and tolerates damaged fields.

A damaged field must not lose a list that can never be read again. A field is damaged if its type or
range is wrong, if it is required and missing, or if it is nested too deep. Damaged fields are None
in Python, absent from the JSON that is loaded, and counted. Only a page without its envelope,
status, list or page object breaks the contract.

An account without a handle and without an id cannot be identified. It counts as a damaged field and
is not listed. Any missing account may be that one, so the list is a window and proves no loss. Its
position in the archive stays empty.
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
# A value that is invalid in a field of any type.
_INVALID_VALUE = b"-1"
# The price of a response without a price.
_PAGE_PRICE = 1

_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]+|[\]}]+', re.DOTALL)


def parse_page(relation: Relation, body: bytes) -> FollowersResponse | FollowingResponse:
    """Parse the body of a list response, fresh or stored.

    Damaged fields are None, whatever their type. Raises `pydantic.ValidationError` if the envelope,
    the status, the list or the page object breaks the contract.
    """
    return read_page(relation, body)[0]


def read_page(relation: Relation, body: bytes) -> tuple[FollowersResponse | FollowingResponse, int]:
    """Parse the body of a list response; returns it with the number of damaged fields."""
    model = _MODELS[relation]
    try:
        return parse(model, body), 0
    except ValidationError as error:
        document, damaged = _without_damage(relation, body, error)
    return parse(_tolerant(model), json.dumps(document).encode()), damaged


def mended_page(relation: Relation, body: bytes) -> bytes:
    """The JSON of a page without its damaged fields; `body` itself if it cannot be parsed."""
    try:
        document, _ = _without_damage(relation, body, None)
    except (ValidationError, ValueError, RecursionError):
        return body
    return json.dumps(document, ensure_ascii=False).encode(errors="replace")


def with_accounts(relation: Relation, body: bytes, change: Callable[[list[Any]], bool]) -> bytes:
    """The JSON of a page after `change` edited its list of accounts in place.

    `change` returns whether it changed anything; if not, `body` is returned. Damaged fields stay.
    Raises ValueError if the body has no list of accounts.
    """
    try:
        document = _read(body)
        accounts = document["data"][_LISTS[relation]]
    except (RecursionError, LookupError, TypeError):
        raise ValueError("the body has no list of accounts") from None
    if not isinstance(accounts, list):
        raise ValueError("the body has no list of accounts")
    return json.dumps(document).encode() if change(accounts) else body


def _read(body: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        _cut_at_depth(mend_surrogates(body)).decode("utf-8-sig"), strict=False, parse_int=_whole
    )
    return document


def _without_damage(
    relation: Relation, body: bytes, error: ValidationError | None
) -> tuple[dict[str, Any], int]:
    """The document without its damaged fields, and their number.

    Raises `error`, or the ValidationError found, if the body breaks the contract.
    """
    try:
        document = _read(body)
    except (ValueError, RecursionError):
        if error is not None:
            raise error from None
        raise
    try:
        parse(_MODELS[relation], json.dumps(document).encode())
    except ValidationError as invalid:
        faults = invalid.errors(include_url=False, include_context=False, include_input=False)
        if any(_breaks_contract(relation, fault["loc"], document) for fault in faults):
            raise
    else:
        return document, 0
    for fault in faults:
        _remove(document, fault["loc"])
    return document, len(faults)


def _breaks_contract(
    relation: Relation, path: tuple[int | str, ...], document: dict[str, Any]
) -> bool:
    if path == ("meta", "version"):
        # In another version any field may have another meaning.
        return isinstance(document["meta"].get("version"), str)
    return len(path) < 2 or path in (
        ("data", _LISTS[relation]),
        ("data", "page"),
        ("data", "lookupStatus"),
    )


def _remove(document: dict[str, Any], path: tuple[int | str, ...]) -> None:
    holder: Any = document
    for name in path[:-1]:
        holder = holder[name]
    name = path[-1]
    if isinstance(holder, list):
        holder[int(name)] = {}  # not an object: an account without any known field
        return
    value = holder.pop(name, None)
    if path == ("data", "page", "nextCursor") and type(value) is int:
        holder[name] = str(value)  # the next request sends it as text anyway
    elif path == ("meta", "creditsCharged"):
        holder[name] = _PAGE_PRICE


def _whole(digits: str) -> int | float:
    # Python raises for thousands of digits, which no field may have.
    return int(digits) if len(digits) <= 20 else float("inf")


def _cut_at_depth(body: bytes) -> bytes:
    """Replace each field value that is nested deeper than MAX_DEPTH with an invalid value."""
    depth = deepest = begin = copied = 0
    cut = bytearray()
    for match in _BRACKETS.finditer(body):
        kind = body[match.start()]
        if kind == ord('"'):
            continue
        count = match.end() - match.start()
        if kind in b"[{":
            if depth < FIELD_DEPTH <= depth + count:
                begin, deepest = match.start() + FIELD_DEPTH - depth - 1, 0
            depth += count
            deepest = max(deepest, depth)
        else:
            if depth >= FIELD_DEPTH > depth - count and deepest > MAX_DEPTH:
                cut += body[copied:begin] + _INVALID_VALUE
                copied = match.start() + depth - FIELD_DEPTH + 1
            depth -= count
    return bytes(cut + body[copied:]) if copied else body


@cache
def _tolerant(model: type[Any]) -> Any:
    """A copy of the model in which every field is optional."""
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
