"""A home of one's own for every test, and the pipeline run on it as the command line does."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import dagster as dg
import hypothesis
import pytest

from sf_assets.cli.runner import Runner, dagster_instance
from sf_assets.handles.edit import track
from sf_assets.model import RELATIONS, Relation
from sf_assets.settings import load_settings
from sf_assets.storage.home import Home
from sf_assets.warehouse.connection import reading

from .components import Cluster, ObjectStore, missing, object_store, postgres

# Their tests wait for the clocks of Dagster.
WAITING = ("test_up.py", "test_up_processes.py", "test_example.py", "test_compose.py")

_OURS = ("AWS_", "SF_ASSETS_", "SOCIALFETCH_", "DAGSTER_HOME")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One more than there are cores: some tests only wait for Dagster's clocks, for minutes."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that wait for the clocks of Dagster begin first: nobody waits for them at the end."""
    items.sort(key=lambda item: item.path.name not in WAITING)


def pytest_collection_finish() -> None:
    """Dagster's modules stay: not to scan them again and again makes the suite a twelfth faster."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the developer has set, and what a test sets, must not reach the next test."""
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith(_OURS):
            del os.environ[name]
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Postgres, one a worker."""
    why_not = missing("lake", "postgres")
    if why_not is not None:
        pytest.skip(why_not)
    with postgres() as running:
        yield running


@pytest.fixture(scope="session")
def store() -> Iterator[ObjectStore]:
    """S3, one a worker: the quick one, which scale/test_quick_s3.py holds against moto's."""
    why_not = missing("lake", "s3")
    if why_not is not None:
        pytest.skip(why_not)
    with object_store(quick=True) as running:
        yield running


class Pipeline:
    """The real pipeline on a home, against a server on loopback, one pretended day at a time."""

    def __init__(self, root: Path, base_url: str, key: str, start: date) -> None:
        os.environ.update(
            SF_ASSETS_HOME=str(root),
            SF_ASSETS_START_DATE=start.isoformat(),
            SF_ASSETS_TODAY=start.isoformat(),
            SOCIALFETCH_BASE_URL=base_url,
            SOCIALFETCH_API_KEY=key,
        )
        self.settings = load_settings()
        self.home = Home.of(self.settings).ensure(self.settings)

    def track(self, *handles: str, **settings: object) -> None:
        track(self.home.registry, list(handles), settings)

    def snapshot(
        self,
        day: date,
        *handles: str,
        relations: Sequence[Relation] = RELATIONS,
        refresh: bool = False,
        derive: bool = True,
    ) -> list[dg.ExecuteInProcessResult]:
        """Snapshots of `handles` on a pretended day, then what is derived of them.

        Handles that are not tracked yet are tracked.
        """
        track(self.home.registry, list(handles))
        os.environ["SF_ASSETS_TODAY"] = day.isoformat()
        with dagster_instance(self.home) as instance:
            runner = Runner(instance, load_settings())
            results = runner.snapshot(day, handles, relations, refresh=refresh)
            if derive:
                assert runner.derive(day, day).success
            return results

    def ask(self, sql: str, *parameters: object) -> list[tuple[object, ...]]:
        """Rows from the published file, or the lake."""
        with reading(self.home.readable) as con:
            return con.execute(sql, list(parameters)).fetchall()


# A busy machine is no fault of a property.
hypothesis.settings.register_profile(
    "busy", suppress_health_check=[hypothesis.HealthCheck.too_slow], deadline=None
)
hypothesis.settings.load_profile("busy")
