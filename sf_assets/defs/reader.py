"""The published database as a Dagster resource, for reading."""

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
    """What a home has published, read-only, for assets of your own:

        with audience.get_connection() as con:
            con.sql("FROM follower_growth")

    Each connection is to the newest publication, and stays with it: no run of ours waits for it or
    changes what it sees. Nothing can be written, whoever you are. Where the home's tables are a
    lake, name it as `warehouse` (and `storage`), as its settings do.
    """

    database: str = Field(default="", description="Not used: the home says which file it is.")
    home: str = Field(description="The home's folder, as SF_ASSETS_HOME names it.")
    warehouse: str | None = Field(default=None, description="The address of a lake, if it is one.")
    storage: str | None = Field(default=None, description="Where the lake's files are.")

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection; closed at the end. Raises FileNotFoundError before the first day."""
        home = Home(Path(self.home).expanduser().absolute(), self.warehouse, self.storage)
        with reading(home.readable) as con:
            yield con
