"""Ten questions with their SQL, to read, to paste and to change."""

from __future__ import annotations

import re

from sf_assets.warehouse.statements import sql


def examples() -> list[tuple[str, str]]:
    """(question, SQL) of each example in `warehouse/sql/examples.sql`."""
    found = re.findall(r"^-- ([^\n]+\?)\n(.+?);$", sql("examples"), flags=re.MULTILINE | re.DOTALL)
    return [(question, statement) for question, statement in found]


def examples_text() -> str:
    """The examples as one can paste them."""
    return "\n\n".join(f"-- {question}\n{statement};" for question, statement in examples())
