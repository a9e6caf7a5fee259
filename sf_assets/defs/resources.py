"""What Dagster hands to the assets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
from dagster_duckdb import DuckDBResource
from pydantic import Field

from sf_assets.settings import load_settings
from sf_assets.storage.home import Home
from sf_assets.warehouse.connection import DEFAULT_WAIT_SECONDS, writing


class Warehouse(DuckDBResource):
    """The warehouse for writing.

    The resource it builds on opens the file at once, leaves the connection open after an exception,
    and gives up after ten tries without jitter. Ours queues with the other writers, waits as long
    as it is told to, names who holds the file, checkpoints, and always closes. Where the settings
    name a lake, that is the warehouse instead.
    """

    wait_seconds: float = Field(
        default=DEFAULT_WAIT_SECONDS, description="Seconds to wait for other writers."
    )

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        # A lake's address holds a password: what Dagster shows of a resource must not have it.
        lake = Home.of(load_settings()).lake
        with writing(lake or Path(self.database), self.wait_seconds) as con:
            yield con
