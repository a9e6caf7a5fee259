"""Dagster's files are kept open, small, and Dagster's own."""

import os
import queue
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage

from sf_assets.cli.runner import dagster_instance
from sf_assets.defs.sqlite_store import OPEN_FILES, OpenEventLog
from sf_assets.storage.home import Home

pytestmark = pytest.mark.filterwarnings("ignore:Handling yaml-defined logging")


@dg.asset
def number(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
    context.log.info("counted")
    return dg.MaterializeResult(metadata={"count": 7})


def materialize(instance: dg.DagsterInstance) -> str:
    return dg.materialize([number], instance=instance).run_id


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    for name in ("DAGSTER_HOME", "SF_ASSETS_HOME"):
        monkeypatch.setenv(name, "")  # put back at the end
    return Home(tmp_path / "home")


def plain(home: Home) -> dg.DagsterInstance:
    """The same files by Dagster's own class."""
    (home.dagster / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    return dg.DagsterInstance.from_config(str(home.dagster))


def test_what_is_written_is_read_by_dagsters_own_class_and_the_other_way_round(home: Home) -> None:
    with dagster_instance(home) as instance:
        assert isinstance(instance.event_log_storage, OpenEventLog)
        first = materialize(instance)
    with plain(home) as instance:
        assert type(instance.event_log_storage) is SqliteEventLogStorage
        second = materialize(instance)
        of_first = instance.all_logs(first)
    (home.dagster / "dagster.yaml").unlink()
    with dagster_instance(home) as instance:
        third = materialize(instance)
        assert [run.run_id for run in instance.get_runs()] == [third, second, first]
        assert len(of_first) == len(instance.all_logs(first)) == len(instance.all_logs(second)) > 9
        newest = instance.get_latest_materialization_event(number.key)
        assert newest is not None
        assert newest.run_id == third
        assert newest.asset_materialization is not None
        assert newest.asset_materialization.metadata["count"].value == 7
        assert len(instance.fetch_materializations(number.key, limit=9).records) == 3
        assert instance.event_log_storage.alembic_version()[0]


def test_the_file_of_a_run_has_no_empty_pages_and_nothing_stays_beside_it(home: Home) -> None:
    with dagster_instance(home) as instance:
        runs = [materialize(instance) for _ in range(OPEN_FILES + 2)]
    folder = home.dagster / "history" / "runs"
    assert {path.name for path in folder.iterdir()} == {"index.db", *(f"{run}.db" for run in runs)}
    assert max((folder / f"{run}.db").stat().st_size for run in runs) < 80_000


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="files are counted in /proc")
def test_files_of_old_runs_are_closed(home: Home) -> None:
    def open_files() -> int:
        """Files of this home that this process has open."""
        places = (os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd"))
        targets = [os.readlink(place) for place in places if os.path.exists(place)]
        return sum(target.startswith(str(home.root.resolve())) for target in targets)

    with dagster_instance(home) as instance:
        for _ in range(OPEN_FILES):
            materialize(instance)
        before = open_files()
        for _ in range(4):
            materialize(instance)
        assert 0 < open_files() <= before


@pytest.mark.parametrize("error", [PermissionError, FileExistsError, OSError])
def test_a_run_s_file_is_made_where_the_file_system_has_no_links(
    home: Home, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, "link", refuse)
    with dagster_instance(home) as instance:
        assert len(instance.all_logs(materialize(instance))) > 9
    folder = home.dagster / "history" / "runs"
    assert not list(folder.glob(".*"))


def test_who_watches_a_run_is_told_of_what_is_new_at_once(home: Home) -> None:
    with dagster_instance(home) as instance, dagster_instance(home) as watcher:
        run = instance.get_run_by_id(materialize(instance))
        assert run is not None
        told: queue.Queue[str] = queue.Queue()
        newest = instance.get_records_for_run(run.run_id).cursor
        events = watcher.event_log_storage
        events.watch(run.run_id, newest, lambda entry, _: told.put(entry.message))
        for number in range(3):
            instance.report_engine_event(f"number {number}", run)
            assert told.get(timeout=20) == f"number {number}"


def test_a_file_that_was_removed_or_replaced_is_opened_anew(home: Home) -> None:
    with dagster_instance(home) as instance:
        run = materialize(instance)
        events = instance.event_log_storage
        assert isinstance(events, OpenEventLog)
        path = Path(events.path_for_shard(run))
        content = path.with_name("kept")
        count = len(instance.all_logs(run))
        events.dispose()
        path.rename(content)
        for left in path.parent.glob(f"{run}.db-*"):
            left.unlink()
        with events.run_connection(run):
            pass
        content.replace(path)
        assert len(instance.all_logs(run)) == count


def test_threads_write_and_read_at_once(home: Home) -> None:
    with dagster_instance(home) as instance:
        run = instance.get_run_by_id(materialize(instance))
        assert run is not None
        before = len(instance.all_logs(run.run_id))

        def work(number: int) -> None:
            for _ in range(10):
                instance.report_engine_event(f"from thread {number}", run)
                instance.add_run_tags(run.run_id, {f"thread/{number}": "was here"})
                instance.all_logs(run.run_id)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        assert len(instance.all_logs(run.run_id)) == before + 40
        found = instance.get_run_by_id(run.run_id)
        assert found is not None
        assert {f"thread/{number}" for number in range(4)} <= found.tags.keys()


@pytest.mark.parametrize(
    ("before", "ours"),
    [
        (None, True),
        ("as it was shipped", True),
        ("telemetry: {enabled: false}\n", False),
    ],
)
def test_the_settings_of_a_home_are_renewed_unless_somebody_changed_them(
    home: Home, before: str | None, ours: bool
) -> None:
    target = home.dagster / "dagster.yaml"
    if before:
        home.dagster.mkdir(parents=True)
        shipped = (Path(__file__).parents[2] / "dagster.yaml").read_text(encoding="utf-8")
        before = shipped if before == "as it was shipped" else before
        target.write_text(before)
    with dagster_instance(home) as instance:
        assert isinstance(instance.event_log_storage, OpenEventLog) is ours
    assert ("OpenSqliteStorage" in target.read_text()) is ours
