"""Pages without the people on them: every name is another one, and what makes a bug stays.

A text becomes one of the same length and script, the same each time; numbers keep their order,
lists theirs, cursors their distances. Statuses, counts, flags and the names of fields stay. The key
that it is made with is kept nowhere.
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

# What every account has alike, and what a reader of the page must understand.
_PREFIXES = ("https://", "http://", "MS4wLjABAAAA")
_KEPT = frozenset({"lookupStatus", "version", "region", "language", "code"})
_CURSORS = frozenset({"nextCursor", "cursor"})
_DATE = re.compile(r"\d{4}-\d\d-\d\d[Tt ].*")
# Escapes, as JSON writes them, are no part of the word that follows.
_WORD = re.compile(r"(?:\\(?:[bfnrt]|u00[01][0-9a-f]))+|[\w.]+")
_PART = re.compile(r"_+|[^_.]+")
_MOST_PARTS = 20
# Larger whole numbers may be ids.
_LARGEST_COUNT = 10**11
# Text that is left is found by pieces of this length with so many letters or digits.
_PIECE, _SAID = 12, 6
_SHORTEST_NAME = 4


class Anonymiser:
    """Replaces people. `learn` everything first, then `page`, `name`, `cursor` and `text`."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._shift = secrets.randbelow(50_000_000) + 1_000_000
        self._texts: dict[str, str | None] = {}
        self._numbers: dict[str, str] = {}
        self._names: set[str] = set()
        self._ours: set[str] = set()

    def learn(self, document: Any) -> None:
        """Take in a page (or any JSON) whose people are to be replaced."""
        for key, value in _strings(document):
            if key not in _KEPT and key not in _CURSORS:
                self._learn(value)
                if key in ("handle", "platformUserId"):
                    self._names.add(value.lower())

    def learn_handle(self, handle: str) -> None:
        """Take in a tracked handle."""
        self._learn(handle)
        self._names.add(handle)

    def keep(self, words: Iterable[str]) -> None:
        """Words of every bundle, such as names of fields: who has one for a handle is not told."""
        for word in words:
            self._ours |= {word.lower(), *re.split(r"[_.]", word.lower())}

    def page(self, document: Any, key: str = "", *, inside: bool = False) -> Any:
        """The same document of other people. `inside`: names of fields are the vendor's, too."""
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
        """Another text of the same length and script; of a number, one in the same order."""
        prefix = next((one for one in _PREFIXES if text.startswith(one)), "")
        rest = text.removeprefix(prefix)
        if _DATE.fullmatch(rest):
            return f"{rest[:4]}-01-01T00:00:00Z"
        if len(rest) <= 3 and rest.removeprefix("-").isdigit():
            return text  # in the place of an id
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
        """A cursor that is a time moves with all others; any other one is replaced."""
        if text.isascii() and text.isdigit() and len(text) >= 9:
            return str(int(text) - self._shift)
        return text if len(text) <= 2 else self._invent(text)

    def text(self, text: str) -> str:
        """Words of ours, in which names may stand."""

        def other(match: re.Match[str]) -> str:
            made, word = "", match[0]
            while word:
                part = next(self._named_in(word), "")
                before, _, word = word.partition(part) if part else (word, "", "")
                made += before + (self.name(part) if part else "")
            return made

        return _WORD.sub(other, text)

    def left_in(self, text: str) -> str | None:
        """Some original text that is left in this one, None where there is none."""
        folded = text.lower()
        for match in _WORD.finditer(folded):
            for word in self._named_in(match[0]):
                if len(word) >= _SHORTEST_NAME:
                    return word
        pieces = self._pieces()
        at = (folded[n : n + _PIECE] for n in range(len(folded) - _PIECE + 1))
        return next((piece for piece in at if piece in pieces), None)

    def _named_in(self, word: str) -> Iterator[str]:
        """Known names that are whole parts of a word, as `zoe.faraday` of `zoe.faraday.jsonl`."""
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
            return  # of which the year stays
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
                one = str(draw.randrange(least, most))
                if crowded or one not in self._numbers:
                    fresh.add(one)
            made = sorted(fresh)
            self._numbers |= dict(zip(sorted(known), made, strict=True))

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
                if sum(map(str.isalnum, piece := text[n : n + _PIECE])) >= _SAID
            )
        return self._found


def _folded(text: str) -> str:
    """In small letters, a letter for a letter: `Bob` and `bob` are the same name."""
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
    """Characters of the same kind and script; the character itself where it names nobody."""
    kind = unicodedata.category(char)
    if kind[0] not in "LNS":
        return char
    block = ord(char) & ~0x7F
    near = [chr(code) for code in range(block, block + 128)]
    alike = [one for one in near if unicodedata.category(one) == kind]
    if kind == "Ll":  # each must have a capital of its own
        alike = [one for one in alike if _folded(one.upper()) == one != one.upper()]
    return "".join(alike) or char


def _strings(document: Any, key: str = "", inside: bool = False) -> Iterator[tuple[str, str]]:
    """(field, text) of all texts in a document, and whole numbers that may be ids."""
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
