"""Where a lake is: an address without its password wherever it is shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

_PASSWORD = re.compile(
    r"(?P<key>password\s*=\s*)('(?:\\.|[^'\\])*'|[^\s'\"]+)|(?P<user>://[^\s:/@]*:)[^\s@]+(?=@)",
    re.IGNORECASE,
)


def without_password(text: str) -> str:
    """The text with what follows `password=`, or stands before `@` in a URL, blotted out."""

    def blot(found: re.Match[str]) -> str:
        return f"{found['key'] or found['user']}***"

    return _PASSWORD.sub(blot, text)


@dataclass(frozen=True)
class Lake:
    """Tables kept by DuckLake: an address DuckDB attaches, and its Parquet's folder.

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
    def catalog_file(self) -> Path | None:
        """The DuckDB file of a lake whose catalog is one; None where it is Postgres."""
        if self.on_postgres:
            return None
        return Path(self.address.removeprefix("ducklake:"))
