"""A home whose tables are in a lake on Postgres and whose files are on S3, both on loopback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from sf_assets_tests.served_lists import KEY, ListServer

from ..components import Cluster, ObjectStore
from ..conftest import Pipeline

DAY1, DAY2 = date(2026, 11, 1), date(2026, 11, 2)


@dataclass(frozen=True)
class Far:
    """Where tables and files are: what the environment says of it."""

    dsn: str
    storage: str

    @property
    def environment(self) -> dict[str, str]:
        return {
            "SF_ASSETS_WAREHOUSE": f"ducklake:postgres:{self.dsn}",
            "SF_ASSETS_STORAGE": self.storage,
        }


@pytest.fixture
def far(cluster: Cluster, store: ObjectStore) -> Far:
    """A lake and a bucket of one's own; the environment names them."""
    made = Far(cluster.database(), store.bucket())
    os.environ.update(store.environment)
    os.environ.update(made.environment)
    return made


@pytest.fixture
def server() -> Iterator[ListServer]:
    with ListServer() as running:
        yield running


@pytest.fixture
def pipeline(far: Far, server: ListServer, tmp_path: Path) -> Pipeline:
    return Pipeline(tmp_path / "home", server.url, KEY, DAY1)
