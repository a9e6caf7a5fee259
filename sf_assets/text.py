"""Helpers for text: cleaning foreign text, numbers with nouns, short lists, error messages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

NAME_LENGTH = 60


def clean(text: str | None, length: int = NAME_LENGTH) -> str:
    """Text from a profile as one line of at most `length` characters, without control characters
    and direction overrides."""
    chars: list[str] = []
    marks = 0
    for char in (text or "")[: 20 * length]:  # it may be megabytes long
        kind = unicodedata.category(char)
        marks = marks + 1 if kind in ("Mn", "Me") else 0
        # A zero-width joiner joins emoji; more than two marks on a letter are abuse.
        if kind[0] == "Z" or kind == "Cc":
            chars.append(" ")
        elif (kind[0] != "C" or char == "\u200d") and marks <= 2:
            chars.append(char)
    line = " ".join("".join(chars).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def one_line(text: str, longest: int = 300) -> str:
    """A foreign message as one line; U+FFFD replaces characters that are not printable."""
    line = " ".join(text[: 20 * longest].split())
    line = "".join(char if char.isprintable() else "\ufffd" for char in line)
    return line if len(line) <= longest else line[:longest] + " …"


def counted(number: int, noun: str, many: str | None = None) -> str:
    """`1 page`, `2,000 pages`."""
    return f"{number:,} {noun if number == 1 else many or f'{noun}s'}"


def named(names: Sequence[str], most: int = 20) -> str:
    """The first names, separated by commas, and `…` for the rest."""
    return ", ".join([*names[:most], "…"] if len(names) > most else names)


# DuckDB quotes values in errors about data; quoted paths stay.
_ABOUT_DATA = re.compile(r"(Conversion|Invalid Input|Out of Range|Constraint) Error: ")
_ERRNO = re.compile(r"^\[Errno \d+\] ")
_QUOTED = re.compile(r"""(["'])(?!/|s3:).*\1""")


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class if it has none.

    Leaves out the number of a system error, and values that DuckDB quotes: they may be names of
    people.
    """
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    line = _ERRNO.sub("", lines[0])
    return _QUOTED.sub("…", line) if _ABOUT_DATA.match(line) else line
