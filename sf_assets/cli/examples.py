"""Named questions with their SQL, to run, to read, to paste and to change."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import NamedTuple

from sf_assets.errors import SettingsError
from sf_assets.warehouse.statements import quoted, sql

_EXAMPLE = re.compile(r"^-- (\w+): ([^\n]+\?)\n(.+?);$", flags=re.MULTILINE | re.DOTALL)


class Example(NamedTuple):
    """A question, and its SQL with places for handle, tag and days."""

    name: str
    question: str
    statement: str

    @property
    def of_tags(self) -> bool:
        """Whether a row is of a group, not of a handle."""
        return "{tag}" in self.statement

    def sql(
        self,
        handles: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        days: int | None = None,
    ) -> str:
        """The SQL about these handles, tags and days; about all, and the usual days, where None.

        Raises SettingsError where the question has no place for one of them.
        """
        for option, value, place in (
            ("--handle", handles, "handle}"),
            ("--days", days, "{days="),
        ):
            if value is not None and place not in self.statement:
                raise SettingsError(f"query: the example {self.name} takes no {option}")
        text = re.sub(
            r"\{(?P<of>\w+\.)?(?P<column>handle|tag)\}",
            lambda found: _among(
                f"{found['of'] or ''}{found['column']}",
                handles if found["column"] == "handle" else tags,
            ),
            self.statement,
        )
        text = re.sub(r"\{days=(\d+)\}", lambda found: str(days or found[1]), text)
        # Without a condition its place goes, too.
        return re.sub(r"\s+AND true\b|\s*WHERE true\b(?! AND)|(?<=WHERE )true AND ", "", text)


def _among(column: str, values: Sequence[str] | None) -> str:
    if values is None:
        return "true"
    return f"{column} IN ({', '.join(map(quoted, values))})"


def examples() -> list[Example]:
    """The examples in `warehouse/sql/examples.sql`."""
    return [Example(*found) for found in _EXAMPLE.findall(sql("examples"))]


def example(name: str) -> Example:
    """The example of that name. Raises SettingsError where there is none."""
    by_name = {one.name: one for one in examples()}
    if name not in by_name:
        close = get_close_matches(name, by_name, n=1)
        hint = f"did you mean {close[0]}?" if close else "list them with `query --example`"
        raise SettingsError(f"query: there is no example {name!r}; {hint}")
    return by_name[name]


def examples_text() -> str:
    """The examples as one can paste them."""
    return "\n\n".join(f"-- {one.name}: {one.question}\n{one.sql()};" for one in examples())
