"""Text for people: what strangers wrote made harmless, numbers with their nouns, first lines."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

NAME_LENGTH = 60


def clean(text: str | None, length: int = NAME_LENGTH) -> str:
    """A stranger's text as one short line: no control characters, no overrides of direction."""
    kept: list[str] = []
    marks = 0
    for char in (text or "")[: 20 * length]:  # it may have megabytes
        kind = unicodedata.category(char)
        marks = marks + 1 if kind in ("Mn", "Me") else 0
        # A zero-width joiner holds emoji together; more than two marks on a letter are a prank.
        if kind[0] == "Z" or kind == "Cc":
            kept.append(" ")
        elif (kind[0] != "C" or char == "\u200d") and marks <= 2:
            kept.append(char)
    line = " ".join("".join(kept).split())
    return line if len(line) <= length else line[: length - 1] + "…"


def one_line(text: str, longest: int = 300) -> str:
    """A message of others as one line: U+FFFD stands for each character that cannot be seen."""
    line = " ".join(text[: 20 * longest].split())
    line = "".join(char if char.isprintable() else "\ufffd" for char in line)
    return line if len(line) <= longest else line[:longest] + " …"


def counted(number: int, noun: str, many: str | None = None) -> str:
    """`1 page`, `2,000 pages`."""
    return f"{number:,} {noun if number == 1 else many or f'{noun}s'}"


def named(names: Sequence[str], most: int = 20) -> str:
    """The first names with commas between, and `…` for those left out."""
    return ", ".join([*names[:most], "…"] if len(names) > most else names)


# DuckDB's errors about data quote them; paths are no data.
_ABOUT_DATA = re.compile(r"(Conversion|Invalid Input|Out of Range|Constraint) Error: ")
_QUOTED = re.compile(r"""(["'])(?!/|s3:).*\1""")


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without the values that DuckDB quotes, which may be names;
    its class where it has no text."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return _QUOTED.sub("…", lines[0]) if _ABOUT_DATA.match(lines[0]) else lines[0]
