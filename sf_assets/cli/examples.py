"""Named example queries."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import NamedTuple

import duckdb

from sf_assets.errors import SettingsError
from sf_assets.handles.parse import registry_in_force
from sf_assets.storage.home import Home
from sf_assets.warehouse.connection import reading
from sf_assets.warehouse.statements import quoted, sql

_EXAMPLE = re.compile(r"^-- (\w+): ([^\n]+\?)\n(.+?);$", flags=re.MULTILINE | re.DOTALL)


class Example(NamedTuple):
    """A question and its SQL, with placeholders for handle, tag and days."""

    name: str
    question: str
    statement: str

    @property
    def of_tags(self) -> bool:
        """True if a row is about a group, not a handle."""
        return "{tag}" in self.statement

    def sql(
        self,
        handles: Sequence[str] | None = None,
        tags: Sequence[str] | None = None,
        days: int | None = None,
    ) -> str:
        """The SQL for these handles, tags and days. None means all, or the default number of days.

        Raises SettingsError if the question does not take one of them.
        """
        for option, value, placeholder in (
            ("--handle", handles, "handle}"),
            ("--days", days, "{days="),
        ):
            if value is not None and placeholder not in self.statement:
                raise SettingsError(f"query: the example {self.name} does not take {option}")
        text = re.sub(
            r"\{(?P<of>\w+\.)?(?P<column>handle|tag)\}",
            lambda match: _among(
                f"{match['of'] or ''}{match['column']}",
                handles if match["column"] == "handle" else tags,
            ),
            self.statement,
        )
        text = re.sub(r"\{days=(\d+)\}", lambda match: str(days or match[1]), text)
        # Remove conditions that are always true.
        return re.sub(r"\s+AND true\b|\s*WHERE true\b(?! AND)|(?<=WHERE )true AND ", "", text)


def _among(column: str, values: Sequence[str] | None) -> str:
    if values is None:
        return "true"
    return f"{column} IN ({', '.join(map(quoted, values))})"


def examples() -> list[Example]:
    """The examples in `warehouse/sql/examples.sql`."""
    return [Example(*parts) for parts in _EXAMPLE.findall(sql("examples"))]


def example(name: str) -> Example:
    """The example with this name. Raises SettingsError if there is none."""
    by_name = {each.name: each for each in examples()}
    if name not in by_name:
        close = get_close_matches(name, by_name, n=1)
        hint = f"did you mean {close[0]}?" if close else "list them with `query --example`"
        raise SettingsError(f"query: no example is called {name!r}; {hint}")
    return by_name[name]


def refuse_unknown(home: Home, handles: Sequence[str]) -> None:
    """Raises SettingsError for a handle that is not tracked and has no snapshots."""
    known = {*registry_in_force(home.registry, keep=False)[0].handles}
    with suppress(FileNotFoundError, duckdb.Error), reading(home.readable) as con:
        rows = con.execute("SELECT DISTINCT handle FROM internal.snapshots").fetchall()
        known |= {handle for (handle,) in rows}
    for handle in handles:
        if handle not in known:
            close = get_close_matches(handle, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise SettingsError(f"query: {handle} is not tracked and has no snapshots{hint}")


def examples_text() -> str:
    """All examples as SQL to paste."""
    return "\n\n".join(f"-- {each.name}: {each.question}\n{each.sql()};" for each in examples())
