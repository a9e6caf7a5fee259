"""Runs Dagster jobs in this process, on the Dagster instance of the home."""

from __future__ import annotations

import contextlib
import glob
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from datetime import date
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from sf_assets.errors import SettingsError
from sf_assets.model import Relation
from sf_assets.settings import Settings
from sf_assets.storage.files import open_locked, write_atomically
from sf_assets.storage.home import Home

if TYPE_CHECKING:
    import dagster as dg

# Set here only: without DAGSTER_HOME, Dagster needs its own storage.
_STORAGE = """
storage:
  custom:
    module: sf_assets.defs.sqlite_store
    class: OpenSqliteStorage
    config:
      base_dir:
        env: DAGSTER_HOME
"""

LAUNCHED_HERE = {"sf_assets/launched_by": "command line"}


def prepare_dagster_home(home: Home) -> None:
    """Create Dagster's folder and settings in the home, and point this process at them.

    Raises SettingsError if Dagster would not find them there.
    """
    if glob.escape(str(home.dagster)) != str(home.dagster):
        raise SettingsError(
            f"SF_ASSETS_HOME: Dagster reads {home.dagster} as a pattern and would ignore our "
            "settings; use a path without * [ ?"
        )
    home.dagster.mkdir(parents=True, exist_ok=True, mode=0o700)
    target = home.dagster / "dagster.yaml"
    ours = _packaged("dagster.yaml").read_text(encoding="utf-8")
    # Keeps a file that the user edited.
    if not target.exists() or target.read_text(encoding="utf-8") == ours:
        write_atomically(target, ours + _STORAGE)
    workspace = {"module_name": "sf_assets.definitions", "location_name": "sf_assets"}
    write_atomically(
        home.dagster / "workspace.yaml",
        "load_from:\n  - python_module:\n"
        + "".join(f"      {name}: {value}\n" for name, value in workspace.items()),
    )
    key_file = os.environ.get("SOCIALFETCH_API_KEY_FILE")
    if key_file:  # Dagster starts its processes in another folder
        os.environ["SOCIALFETCH_API_KEY_FILE"] = str(Path(key_file).absolute())
    os.environ["DAGSTER_HOME"] = str(home.dagster)
    os.environ["SF_ASSETS_HOME"] = str(home.root)


def _packaged(name: str) -> Path:
    """A file at the top of a checkout, or inside the installed package."""
    inside = Path(str(resources.files("sf_assets"))) / name
    return inside if inside.exists() else inside.parents[1] / name


@contextlib.contextmanager
def dagster_instance(home: Home, *, verbose: bool = False) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of this home."""
    prepare_dagster_home(home)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import dagster as dg
    if not verbose:
        logging.getLogger("dagster").setLevel(logging.CRITICAL)
    try:
        with _alone(home):
            opened = dg.DagsterInstance.get()
            # Each creates its tables on first use.
            _ = opened.run_storage, opened.event_log_storage, opened.schedule_storage
    except dg.DagsterError as error:
        raise SettingsError(
            f"Dagster rejects {home.dagster / 'dagster.yaml'}: correct it, or delete it to get the "
            f"default back ({' '.join(str(error).split())})"
        ) from None
    with opened as instance:
        yield instance


@contextlib.contextmanager
def _alone(home: Home) -> Iterator[None]:
    """A lock: if two commands create Dagster's tables at the same time, one of them fails."""
    path = home.dagster / ".store.lock"
    with open_locked(path, wait=True):
        yield


class Runner:
    """Runs the jobs of the definitions in this process and records them in the instance."""

    def __init__(
        self, instance: dg.DagsterInstance, settings: Settings, *, verbose: bool = False
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Dagster's notes on its betas
            from sf_assets.defs.audience import Audience
            from sf_assets.defs.build import definitions_of

            self.audience = Audience(settings, automation="none", shows_columns=False)
            self.defs = definitions_of(self.audience)
        self.instance, self.verbose = instance, verbose

    def snapshot(
        self,
        day: date,
        handles: Sequence[str],
        relations: Sequence[Relation],
        *,
        refresh: bool,
        due_only: bool = False,
    ) -> list[dg.ExecuteInProcessResult]:
        """Runs the snapshot job for the handles of a day, in chunks of neighbouring partitions.

        `due_only` leaves out lists that are not due on that weekday. Returns one result per run.
        """
        from sf_assets.defs.audience import SNAPSHOTS_JOB, snapshot_keys
        from sf_assets.defs.jobs import chunk_tags
        from sf_assets.defs.partitions import handle_ranges
        from sf_assets.defs.schedules import CHUNK
        from sf_assets.handles.parse import registry_in_force

        registered = self.audience.handles.register(self.instance, handles)
        chunks = handle_ranges(registered, set(handles), CHUNK)
        keys = snapshot_keys(self.audience.keys)
        results = []
        registry = registry_in_force(self.audience.home.registry)[0]
        for tags in chunk_tags(day, chunks, registry):
            results.append(
                self._run(
                    SNAPSHOTS_JOB,
                    tags,
                    [keys[relation] for relation in relations],
                    {"ops": {"snapshots": {"config": {"refresh": refresh, "due_only": due_only}}}},
                )
            )
            if was_stopped(results[-1]):
                break  # Ctrl-C also stops the remaining chunks
        return results

    def bought(self, results: Sequence[dg.ExecuteInProcessResult]) -> tuple[int, int]:
        """Pages and credits of these runs, without those of other runs at the same time."""
        from sf_assets.defs.snapshot_run import CREDITS_TAG, PAGES_TAG

        runs = [self.instance.get_run_by_id(result.run_id) for result in results]
        tags = [run.tags for run in runs if run is not None]
        pages, credits = (
            sum(int(own.get(tag, 0)) for own in tags) for tag in (PAGES_TAG, CREDITS_TAG)
        )
        return pages, credits

    def derive(self, first: date, last: date) -> dg.ExecuteInProcessResult:
        """Runs the derivation and reports the days from `first` to `last`."""
        from sf_assets.defs.audience import DERIVE_JOB
        from sf_assets.defs.jobs import derive_tags

        marker = f"command line {os.getpid()}"
        return self._run(DERIVE_JOB, derive_tags(first, last, marker), None, {})

    def _run(
        self,
        job: str,
        tags: dict[str, str],
        assets: list[dg.AssetKey] | None,
        config: dict[str, Any],
    ) -> dg.ExecuteInProcessResult:
        level = "DEBUG" if self.verbose else "CRITICAL"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            definition = self.defs.resolve_job_def(job)
            if assets:
                # Without asset checks: they would have nothing to check yet.
                definition = definition.get_subset(
                    asset_selection=set(assets), asset_check_selection=set()
                )
            return definition.execute_in_process(
                run_config={**config, "loggers": {"console": {"config": {"log_level": level}}}},
                instance=self.instance,
                tags={**tags, **LAUNCHED_HERE, **self.audience.tags},
                raise_on_error=False,
            )


def was_stopped(result: dg.ExecuteInProcessResult) -> bool:
    """Whether a signal ended the run: Ctrl-C, or `kill`."""
    failures = (event.step_failure_data for event in result.all_events if event.is_step_failure)
    return any(
        failure.error is not None and failure.error.cls_name == "DagsterExecutionInterruptedError"
        for failure in failures
    )


class Failed(NamedTuple):
    """Why a run failed.

    `refused`: why the API rejected the request (`unauthorized`, `credits`), or empty. `reasons`:
    one per list that did not finish.
    """

    message: str
    refused: str = ""
    reasons: tuple[str, ...] = ()


def failure_of(result: dg.ExecuteInProcessResult) -> Failed:
    """Why a failed run failed."""
    from sf_assets.defs.runs import root_cause

    if was_stopped(result):
        return Failed(
            "stopped before all lists were read. Landed pages are kept; run the same command again "
            "to continue without paying for them again"
        )
    for event in result.all_events:
        data = event.step_failure_data if event.is_step_failure else None
        if data is not None and data.user_failure_data is not None:
            metadata = {name: m.value for name, m in data.user_failure_data.metadata.items()}
            reasons = metadata.get("reasons")
            return Failed(
                data.user_failure_data.description or "",
                str(metadata.get("refused_by_vendor") or ""),
                tuple(map(str, reasons)) if isinstance(reasons, list) else (),
            )
        if data is not None and data.error is not None:
            return Failed(root_cause(data.error))
    return Failed("the run failed; open it in the Dagster UI, or add --verbose")
