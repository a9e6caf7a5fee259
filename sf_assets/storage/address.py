"""The address of a lake, shown without its password."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

_PASSWORD = re.compile(
    r"(?P<key>password\s*=\s*)('(?:\\.|[^'\\])*'|[^\s'\"]+)|(?P<user>://[^\s:/@]*:)[^\s@]+(?=@)",
    re.IGNORECASE,
)


def without_password(text: str) -> str:
    """The text with `***` for a password after `password=` or before `@` in a URL."""

    def blot(found: re.Match[str]) -> str:
        return f"{found['key'] or found['user']}***"

    return _PASSWORD.sub(blot, text)


@dataclass(frozen=True)
class Lake:
    """Tables in a DuckLake: the address that DuckDB attaches, and the folder of its Parquet files.

    `str` and `repr` do not show the password of the address.
    """

    address: str = field(repr=False)
    data: str = ""

    def __str__(self) -> str:
        return without_password(self.address)

    @property
    def on_postgres(self) -> bool:
        """Whether the catalog is a Postgres database."""
        return self.address.startswith("ducklake:postgres:")

    @property
    def catalog_file(self) -> Path | None:
        """The DuckDB file that is the catalog; None if it is Postgres."""
        if self.on_postgres:
            return None
        return Path(self.address.removeprefix("ducklake:"))
