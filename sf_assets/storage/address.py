"""Where a lake is: an address without its password wherever it is shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

_PASSWORD = re.compile(
    r"(?P<key>password\s*=\s*)('(?:\\.|[^'\\])*'|[^\s'\"]+)|(?P<user>://[^\s:/@]*:)[^\s@]+(?=@)"
    r"|(?P<token>motherduck_token=)[^\s&'\"]+",
    re.IGNORECASE,
)


def without_password(text: str) -> str:
    """The text with what follows `password=`, or stands before `@` in a URL, blotted out."""

    def blot(found: re.Match[str]) -> str:
        return f"{found['key'] or found['user'] or found['token']}***"

    return _PASSWORD.sub(blot, text)


@dataclass(frozen=True)
class Lake:
    """Tables kept by DuckLake or MotherDuck: an address DuckDB attaches, and its Parquet's folder.

    `str` and `repr` leave out the password of the address.
    """

    address: str = field(repr=False)
    data: str = ""

    def __str__(self) -> str:
        return without_password(self.address)

    @property
    def on_postgres(self) -> bool:
        return self.address.startswith("ducklake:postgres:")

    @property
    def on_motherduck(self) -> bool:
        return self.address.startswith("md:")

    @property
    def catalog_file(self) -> Path | None:
        """The DuckDB file of a lake whose catalog is one; None for the others."""
        if self.on_postgres or self.on_motherduck:
            return None
        return Path(self.address.removeprefix("ducklake:"))
