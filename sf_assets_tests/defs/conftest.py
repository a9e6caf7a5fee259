"""A home, a Dagster instance of its own, and the code location built on both."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from sf_assets.defs.audience import Audience
from sf_assets.defs.build import build_definitions
from sf_assets.settings import load_settings
from sf_assets.storage.home import Home

DAY = date(2026, 11, 1)


class Location:
    """The schedule and sensors of one home, each tick as the daemon does it."""

    def __init__(self, home: Home, instance: dg.DagsterInstance) -> None:
        self.home, self.instance = home, instance

    @property
    def definitions(self) -> dg.Definitions:
        """As the environment is now."""
        return build_definitions(load_settings(), name="", automation="running")

    @property
    def audience(self) -> Audience:
        return Audience(load_settings(), automation="running")

    @property
    def handles(self) -> list[str]:
        return list(self.instance.get_dynamic_partitions("handles"))

    def tick(self, sensor: str, cursor: str | None = None) -> dg.SensorResult:
        """One evaluation of a sensor; what it asks of partitions is done, its runs are not."""
        definitions = self.definitions
        definition = definitions.resolve_sensor_def(sensor)
        with dg.build_sensor_context(
            self.instance,
            cursor=cursor,
            repository_def=definitions.get_repository_def(),
            sensor_name=sensor,
        ) as context:
            done = definition.evaluate_tick(context)
        for request in done.dynamic_partitions_requests:
            if isinstance(request, dg.AddDynamicPartitionsRequest):
                self.instance.add_dynamic_partitions("handles", request.partition_keys)
            else:
                for key in request.partition_keys:
                    self.instance.delete_dynamic_partition("handles", key)
        return dg.SensorResult(
            run_requests=list(done.run_requests or []),
            skip_reason=dg.SkipReason(done.skip_message) if done.skip_message else None,
            cursor=done.cursor,
        )

    def schedule_tick(self) -> tuple[list[dg.RunRequest], str]:
        """What the daily schedule asks for, and why it does not."""
        definitions = self.definitions
        definition = definitions.resolve_schedule_def("daily")
        with dg.build_schedule_context(
            self.instance, repository_def=definitions.get_repository_def()
        ) as context:
            done = definition.evaluate_tick(context)
        return list(done.run_requests or []), done.skip_message or ""

    def note_run(
        self, request: dg.RunRequest, status: dg.DagsterRunStatus, job: str = "derive"
    ) -> dg.DagsterRun:
        """As if the daemon had launched what a sensor asked for."""
        return self.instance.add_run(
            dg.DagsterRun(job_name=job, status=status, tags=dict(request.tags))
        )


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    folder = tmp_path / "dagster"
    folder.mkdir()
    quiet = {"telemetry": {"enabled": False}}
    with dg.DagsterInstance.local_temp(str(folder), overrides=quiet) as instance:
        yield instance


@pytest.fixture
def location(
    tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> Location:
    monkeypatch.setenv("SF_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SOCIALFETCH_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("SF_ASSETS_START_DATE", DAY.isoformat())
    settings = load_settings()
    return Location(Home(settings.home).ensure(settings), instance)


def made_once(make: Callable[[Path], None], folder: Path) -> Path:
    """A home that several tests start from; `make` is given where. The environment stays as it is.

    Snapshots take seconds, so a module makes them once and each test gets a copy.
    """
    before = dict(os.environ)
    try:
        make(folder / "home")
    finally:
        os.environ.clear()
        os.environ.update(before)
    shutil.rmtree(folder / "home" / "dagster")
    return folder / "home"


def put(home: Path, location: Location) -> Location:
    """`location` with a copy of a home that was made before."""
    shutil.copytree(home, location.home.root, symlinks=True, dirs_exist_ok=True)
    return location
