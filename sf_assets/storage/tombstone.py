"""Pseudonyms: the only ids that remain of a forgotten account.

A pseudonym is an HMAC with a key of the home, so an id has the same pseudonym in every list and on
every day, and rows with a common id keep a common pseudonym. It has the form of the id it replaces:
a number of 20 digits, which TikTok does not use, or text that begins with `anon-`, which no handle
and no secUid does.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from sf_assets.storage.files import read_text
from sf_assets.storage.home import Home
from sf_assets.storage.object_store import is_remote, put_bytes

IdKind = Literal["number", "sec_uid", "handle"]

PREFIX = "anon-"
KEY_NAME = "pseudonyms.key"
_FIRST_NUMBER = 10**19
# Pseudonyms to cache; each takes two microseconds to compute.
_REMEMBERED = 1 << 20


class Ids(NamedTuple):
    """The ids of an account, each in its normal form, None if it identifies nobody."""

    number: str | None
    sec_uid: str | None
    handle: str | None


class Pseudonyms:
    """The pseudonyms of a home."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._made: dict[tuple[str, str], str] = {}

    def mark(self, kind: IdKind, value: str) -> str:
        """The HMAC of an id, as hex. `forgotten.jsonl` stores it instead of the id."""
        return self._hmac(f"mark {kind}:{value}").hex()

    def of(self, kind: IdKind, value: str) -> str:
        """The pseudonym of an id from `valid_id`; a pseudonym is returned unchanged."""
        if is_pseudonym(kind, value):
            return value
        made = self._made.get((kind, value))
        if made is None:
            digest = self._hmac(f"{kind}:{value}")
            if kind == "number":
                span = 2**64 - _FIRST_NUMBER
                made = str(_FIRST_NUMBER + int.from_bytes(digest[:8], "big") % span)
            else:
                made = PREFIX + digest.hex()[: 16 if kind == "handle" else 32]
            if len(self._made) >= _REMEMBERED:
                self._made.clear()
            self._made[kind, value] = made
        return made

    def _hmac(self, text: str) -> bytes:
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), hashlib.sha256)


def is_pseudonym(kind: IdKind, value: str) -> bool:
    """Whether an id is a pseudonym."""
    return len(value) == 20 if kind == "number" else value.startswith(PREFIX)


def valid_id(kind: IdKind, value: object) -> str | None:
    """The normal form of an id, as in `valid_ids.sql`; None if it identifies nobody."""
    text = str(value) if type(value) is int else value
    if not isinstance(text, str):
        return None
    if kind == "handle":
        return text.lower() or None
    text = text.strip(" ")
    if kind == "number":
        number = text.lstrip("0")
        fits = number.isascii() and number.isdigit() and int(number[:21]) < 2**64
        return number if fits else None
    return text or None


def is_same(shown: Ids, known: Ids, has: frozenset[IdKind]) -> bool | None:
    """Whether an account with these ids is a given person; None if unknown.

    `known` has those of the ids that belong to the person, `has` the kinds of ids known for the
    person. A number is stronger than a secUid. A handle may have a new owner: it counts unless an
    id of a known kind shows that this is another account.
    """
    for kind, value, same in (
        ("number", shown.number, known.number), ("sec_uid", shown.sec_uid, known.sec_uid),
    ):  # fmt: skip
        if same is not None:
            return True
        if value is not None and kind in has:
            return False if known != (None, None, None) else None
    return True if known.handle is not None else None


def pseudonyms_of(home: Home | Path) -> Pseudonyms:
    """Those of the home, or of the one in this folder; its key is made on first use.

    Raises OSError.
    """
    path = (home if isinstance(home, Home) else Home(home)).document(KEY_NAME)
    new = os.urandom(32).hex().encode() + b"\n"
    with suppress(FileExistsError):
        if is_remote(path):
            put_bytes(new, path, "create")
        else:
            made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(made, "wb") as file:
                file.write(new)
                file.flush()
                os.fsync(file.fileno())
    key = read_text(path).strip().encode()
    if len(key) < 64:
        raise OSError(f"{path} is not whole; restore it from a backup")
    return Pseudonyms(key)
