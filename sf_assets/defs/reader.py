"""A read-only Dagster resource for the published database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
from dagster_duckdb import DuckDBResource
from pydantic import Field

from sf_assets.storage.home import Home
from sf_assets.warehouse.connection import reading


class AudienceReader(DuckDBResource):
    """The published database of a home, read-only, for your own assets:

        with audience.get_connection() as con:
            con.sql("FROM follower_growth")

    A connection opens the newest publication and keeps reading that one. It blocks no run, and no
    run changes what it reads. If the home's tables are a lake, pass its `warehouse` (and
    `storage`), as in the settings of the home.
    """

    database: str = Field(default="", description="Not used: `home` gives the file.")
    home: str = Field(description="The folder of the home, as in SF_ASSETS_HOME.")
    warehouse: str | None = Field(default=None, description="The address of the lake, if any.")
    storage: str | None = Field(default=None, description="The folder or URL of the lake's files.")

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection, closed at the end. Raises FileNotFoundError if nothing is published."""
        home = Home(Path(self.home).expanduser().absolute(), self.warehouse, self.storage)
        with reading(home.readable) as con:
            yield con
