"""Parses days as people write them; refuses an ambiguous one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import date, datetime

from sf_assets.people.errors import ImportRefused

# Year first, with or without separators; or day and month in either order, then the year.
_YEAR_FIRST = re.compile(r"(\d{4})([-/._]?)(\d{1,2})\2(\d{1,2})(?:[T ].*)?")
_YEAR_LAST = re.compile(r"(\d{1,2})([-/._])(\d{1,2})\2(\d{4})(?:[T ].*)?")
_WITH_WORDS = ("%d %B %Y", "%d %b %Y", "%B %d, %Y", "%b %d, %Y", "%B %d %Y", "%b %d %Y")

# Placeholder for the day in a file name.
PLACEHOLDER = "{date}"
_IN_A_NAME = r"(?P<date>\d{4}[-_.]?\d{2}[-_.]?\d{2}|\d{1,2}[-_.]\d{1,2}[-_.]\d{4})"


def parse_days(texts: Sequence[str | None], places: Iterable[str]) -> list[date]:
    """The days of a column. One unambiguous day decides the order of day and month in the others.

    `places` name file and line of each text for messages. Raises ImportRefused for the first text
    that is not a day, or is ambiguous.
    """
    split = [_numbers(text or "") for text in texts]
    clear = {
        first > 12 for first, second, _ in filter(None, split) if (first > 12) != (second > 12)
    }
    days = []
    for place, text, parts in zip(places, texts, split, strict=True):
        try:
            if parts is None:
                days.append(_plain(text or ""))
                continue
            first, second, year = parts
            if first == second or len(clear) == 1:
                day_first = True in clear or first == second
                days.append(date(year, second, first) if day_first else date(year, first, second))
                continue
        except ValueError:
            raise ImportRefused(f"{place}: {text!r} is not a day; write it as 2026-11-27") from None
        raise ImportRefused(
            f"{place}: {text!r} is ambiguous; write it as "
            f"{year}-{second:02}-{first:02} or {year}-{first:02}-{second:02}"
        )
    return days


def parse_day(text: str, where: str) -> date:
    """One day. Raises ImportRefused if the text is not a day, or is ambiguous."""
    return parse_days([text], [where])[0]


def _numbers(text: str) -> tuple[int, int, int] | None:
    match = _YEAR_LAST.fullmatch(text.strip())
    # With periods, the day always comes first.
    if match is None or match[2] == ".":
        return None
    return int(match[1]), int(match[3]), int(match[4])


def _plain(text: str) -> date:
    text = text.strip()
    if match := _YEAR_FIRST.fullmatch(text):
        return date(int(match[1]), int(match[3]), int(match[4]))
    if match := _YEAR_LAST.fullmatch(text):
        return date(int(match[4]), int(match[3]), int(match[1]))
    for form in _WITH_WORDS:
        try:
            return datetime.strptime(text, form).date()
        except ValueError:
            continue
    raise ValueError(text)


def day_in_name(name: str, pattern: str) -> date:
    """The day in a file name, by a pattern such as `followers_{date}.csv`; `*` matches any text.

    Raises ImportRefused if the name does not match, or its day is ambiguous.
    """
    parts = [re.escape(part).replace(r"\*", ".*") for part in pattern.split(PLACEHOLDER)]
    if len(parts) != 2:
        raise ImportRefused(f"{pattern}: a pattern must contain {PLACEHOLDER} exactly once")
    match = re.fullmatch(_IN_A_NAME.join(parts), name)
    if match is None:
        raise ImportRefused(f"{name}: no day in the position of {PLACEHOLDER} in {pattern}")
    return parse_day(match["date"], name)
