"""Anonymises pages: replaces every name, and keeps what can cause a bug.

A text becomes another one of the same length and script, always the same; numbers and lists keep
their order, cursors their distances. Statuses, counts, flags and field names stay. The random key
of the replacement is not stored.
"""

from __future__ import annotations

import hashlib
import random
import re
import secrets
import string
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

# Prefixes that all accounts share, and fields that stay readable.
_PREFIXES = ("https://", "http://", "MS4wLjABAAAA")
_KEPT = frozenset({"lookupStatus", "version", "region", "language", "code"})
_CURSORS = frozenset({"nextCursor", "cursor"})
_DATE = re.compile(r"\d{4}-\d\d-\d\d[Tt ].*")
# JSON escapes are not part of the word that follows.
_WORD = re.compile(r"(?:\\(?:[bfnrt]|u00[01][0-9a-f]))+|[\w.]+")
_PART = re.compile(r"_+|[^_.]+")
_MOST_PARTS = 20
# Larger whole numbers may be ids.
_LARGEST_COUNT = 10**11
# `left_in` searches for pieces of this length with at least this many letters or digits.
_PIECE, _LETTERS = 12, 6
_SHORTEST_NAME = 4


class Anonymiser:
    """Replaces people. Call `learn` for everything, then `page`, `name`, `cursor` and `text`."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._shift = secrets.randbelow(50_000_000) + 1_000_000
        self._texts: dict[str, str | None] = {}
        self._numbers: dict[str, str] = {}
        self._names: set[str] = set()
        self._ours: set[str] = set()

    def learn(self, document: Any) -> None:
        """Learn the people on a page, or in any JSON."""
        for key, value in _strings(document):
            if key not in _KEPT and key not in _CURSORS:
                self._learn(value)
                if key in ("handle", "platformUserId"):
                    self._names.add(value.lower())

    def learn_handle(self, handle: str) -> None:
        """Learn a tracked handle."""
        self._learn(handle)
        self._names.add(handle)

    def keep(self, words: Iterable[str]) -> None:
        """Never replace these words, such as field names, even if they are also handles."""
        for word in words:
            self._ours |= {word.lower(), *re.split(r"[_.]", word.lower())}

    def page(self, document: Any, key: str = "", *, inside: bool = False) -> Any:
        """The document with other people. `inside`: field names are data of the API too."""
        if isinstance(document, dict):
            inside = inside or key == "details"
            return {
                self.name(name) if inside else name: self.page(value, name, inside=inside)
                for name, value in document.items()
            }
        if isinstance(document, list):
            return [self.page(value, key, inside=inside) for value in document]
        if isinstance(document, str):
            if key in _KEPT:
                return document
            return self.cursor(document) if key in _CURSORS else self.name(document)
        if type(document) is int and abs(document) > _LARGEST_COUNT:
            return int(self.name(str(document)))
        return document

    def name(self, text: str) -> str:
        """Another text of the same length and script; numbers keep their order."""
        prefix = next((p for p in _PREFIXES if text.startswith(p)), "")
        rest = text.removeprefix(prefix)
        if _DATE.fullmatch(rest):
            return f"{rest[:4]}-01-01T00:00:00Z"
        if len(rest) <= 3 and rest.removeprefix("-").isdigit():
            return text  # a placeholder for an id
        if rest in self._numbers:
            if not self._numbers[rest]:
                self._number_all()
            return prefix + self._numbers[rest]
        folded = _folded(rest)
        made = self._texts.get(folded)
        if made is None:
            made = self._texts[folded] = self._invent(folded)
        pairs = zip(rest, made, strict=True)
        return prefix + "".join(new.upper() if old.isupper() else new for old, new in pairs)

    def cursor(self, text: str) -> str:
        """The cursor, shifted like all others if it is a time, else replaced."""
        if text.isascii() and text.isdigit() and len(text) >= 9:
            return str(int(text) - self._shift)
        return text if len(text) <= 2 else self._invent(text)

    def text(self, text: str) -> str:
        """A text of ours with the names in it replaced."""

        def other(match: re.Match[str]) -> str:
            made, word = "", match[0]
            while word:
                part = next(self._named_in(word), "")
                before, _, word = word.partition(part) if part else (word, "", "")
                made += before + (self.name(part) if part else "")
            return made

        return _WORD.sub(other, text)

    def left_in(self, text: str) -> str | None:
        """A piece of original text that is left in `text`, or None."""
        folded = text.lower()
        for match in _WORD.finditer(folded):
            for word in self._named_in(match[0]):
                if len(word) >= _SHORTEST_NAME:
                    return word
        pieces = self._pieces()
        at = (folded[n : n + _PIECE] for n in range(len(folded) - _PIECE + 1))
        return next((piece for piece in at if piece in pieces), None)

    def _named_in(self, word: str) -> Iterator[str]:
        """Known names that are full parts of a word, as `zoe.faraday` in `zoe.faraday.jsonl`."""
        parts = list(_PART.finditer(word))
        for n, begin in enumerate(parts):
            for end in reversed(parts[n : n + _MOST_PARTS]):
                part = word[begin.start() : end.end()]
                if part.lower() in self._names and part.lower() not in self._ours:
                    yield part

    def _learn(self, text: str) -> None:
        for prefix in _PREFIXES:
            text = text.removeprefix(prefix)
        if _DATE.fullmatch(text):
            return  # `name` keeps its year
        if text.isascii() and text.isdigit() and len(text) > 3:
            self._numbers[text] = ""
        else:
            self._texts.setdefault(_folded(text), None)

    def _number_all(self) -> None:
        by_length: dict[int, list[str]] = {}
        for digits in self._numbers:
            by_length.setdefault(len(digits), []).append(digits)
        draw = random.Random(self._key)
        for length, known in by_length.items():
            least, most = 10 ** (length - 1), 10**length
            crowded = most - least < 3 * len(known)
            fresh: set[str] = set()
            while len(fresh) < len(known):
                number = str(draw.randrange(least, most))
                if crowded or number not in self._numbers:
                    fresh.add(number)
            self._numbers |= dict(zip(sorted(known), sorted(fresh), strict=True))

    def _invent(self, text: str) -> str:
        draw = random.Random(hashlib.blake2b(text.encode(errors="replace"), key=self._key).digest())
        for _ in range(50):
            made = "".join(_like(char, draw) for char in text)
            if made not in self._texts:
                break
        return made

    def _pieces(self) -> frozenset[str]:
        if not hasattr(self, "_found"):
            texts = [*self._texts, *self._numbers]
            self._found = frozenset(
                piece
                for text in texts
                for n in range(len(text) - _PIECE + 1)
                if sum(map(str.isalnum, piece := text[n : n + _PIECE])) >= _LETTERS
            )
        return self._found


def _folded(text: str) -> str:
    """The text in lower case with the same length: `Bob` and `bob` are the same name."""
    return "".join(c.lower() if c.isupper() and len(c.lower()) == 1 else c for c in text)


def _like(char: str, draw: random.Random) -> str:
    if char.isascii():
        for alike in (string.ascii_lowercase, string.ascii_uppercase, string.digits):
            if char in alike:
                return draw.choice(alike)
        return char
    return draw.choice(_alike(char))


@cache
def _alike(char: str) -> str:
    """Characters of the same kind and script; only the character itself for punctuation."""
    kind = unicodedata.category(char)
    if kind[0] not in "LNS":
        return char
    block = ord(char) & ~0x7F
    near = [chr(code) for code in range(block, block + 128)]
    alike = [other for other in near if unicodedata.category(other) == kind]
    if kind == "Ll":  # each needs its own capital
        alike = [low for low in alike if _folded(low.upper()) == low != low.upper()]
    return "".join(alike) or char


def _strings(document: Any, key: str = "", inside: bool = False) -> Iterator[tuple[str, str]]:
    """(field, text) of all texts in a document, and of integers that may be ids."""
    if isinstance(document, dict):
        inside = inside or key == "details"
        for name, value in document.items():
            if inside:
                yield "", name
            yield from _strings(value, name, inside)
    elif isinstance(document, list):
        for value in document:
            yield from _strings(value, key, inside)
    elif isinstance(document, str):
        yield key, document
    elif type(document) is int and abs(document) > _LARGEST_COUNT:
        yield key, str(document)
