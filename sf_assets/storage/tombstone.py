"""What stands in the place of an account that is forgotten: pseudonyms, and nothing else.

A pseudonym is an HMAC with a key of the home, so an id has the same one in every list and on every
day, and what two rows have in common they still have. It is of the form of what it replaces: a
number of 20 digits, which TikTok's never have, or text that begins with `anon-`, which no handle
and no secUid does.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

IdKind = Literal["number", "sec_uid", "handle"]

PREFIX = "anon-"
_FIRST_NUMBER = 10**19
KEY_NAME = "pseudonyms.key"


class Pseudonyms:
    """The pseudonyms of a home."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def mark(self, kind: IdKind, value: str) -> str:
        """The HMAC of an id, as hex: by it `forgotten.jsonl` knows the id and does not say it."""
        return hmac.new(self._key, f"mark {kind}:{value}".encode(), hashlib.sha256).hexdigest()

    def of(self, kind: IdKind, value: str) -> str:
        """The pseudonym of an id that `valid_id` returned; a pseudonym is its own."""
        if is_pseudonym(kind, value):
            return value
        digest = hmac.new(self._key, f"{kind}:{value}".encode(), hashlib.sha256)
        if kind == "number":
            return str(
                _FIRST_NUMBER + int.from_bytes(digest.digest()[:8], "big") % (2**64 - 10**19)
            )
        return PREFIX + digest.hexdigest()[: 16 if kind == "handle" else 32]


def is_pseudonym(kind: IdKind, value: str) -> bool:
    """Whether an id stands for another one."""
    return len(value) == 20 if kind == "number" else value.startswith(PREFIX)


def valid_id(kind: IdKind, value: object) -> str | None:
    """The one spelling of an id, as `valid_ids.sql` has it; None for what identifies nobody."""
    if not isinstance(value, str):
        return None
    if kind == "handle":
        return value.lower() or None
    text = value.strip()
    if kind == "number":
        number = text.lstrip("0")
        fits = number.isascii() and number.isdigit() and int(number[:21]) < 2**64
        return number if fits else None
    return text or None


def pseudonyms_of(root: Path) -> Pseudonyms:
    """Those of the home in this folder; its key is made on first use. Raises OSError."""
    path = root / KEY_NAME
    with suppress(FileExistsError):
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(made, "wb") as file:
            file.write(os.urandom(32).hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    key = path.read_bytes().strip()
    if len(key) < 64:
        raise OSError(f"{path} is not whole; restore it from a backup")
    return Pseudonyms(key)
