"""What a run prints: one failure, one message; the event log keeps the stack trace."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from sf_assets.cli.runs import dagster_instance
from sf_assets.definitions import build_definitions
from sf_assets.partitions import grid_key
from sf_assets.settings import SettingsError
from sf_assets_tests.automation.conftest import DAY
from sf_assets_tests.conftest import Pipeline
from sf_assets_tests.loopback import Reply
from sf_assets_tests.served_lists import KEY, ListServer, account

# Dagster's notes on its own betas; `sf-assets up` and the commands leave them out, too.
pytestmark = pytest.mark.filterwarnings("ignore")


@dg.op
def raises() -> None:
    raise SettingsError("the sentence that says it")


@dg.job(executor_def=dg.in_process_executor)
def fails() -> None:
    raises()


def test_a_failed_list_is_printed_once_and_without_a_stack_trace(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with ListServer() as server:
        server.set("nasa", "followers", [account(1)])
        server.fault = lambda _: Reply(400, json={})
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY)
        pipeline.track("nasa", relations=["followers"])
        with dagster_instance(pipeline.home, verbose=True) as instance:
            instance.add_dynamic_partitions("handles", ["nasa"])
            job = build_definitions(pipeline.settings).resolve_job_def("daily_snapshots")
            done = job.execute_in_process(
                instance=instance,
                partition_key=grid_key(DAY, "nasa"),
                asset_selection=[dg.AssetKey("follower_snapshots")],
                raise_on_error=False,
                tags={"sf_assets/launched_by": "command line"},  # who waits gets no retries
            )
            assert not done.success
            printed = capfd.readouterr().err
            kept = instance.all_logs(done.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    assert "Stack Trace" not in printed
    assert printed.count("1 of 1 lists did not finish") == 1
    assert printed.count("ERROR") == 1
    assert "Skipping" not in printed
    assert kept[0].dagster_event is not None
    assert kept[0].dagster_event.step_failure_data.error.stack  # type: ignore[union-attr]


def test_an_error_of_ours_is_its_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with ListServer() as server:
        home = Pipeline(tmp_path / "home", server.url, KEY, DAY).home
        with dagster_instance(home, verbose=True) as instance:
            fails.execute_in_process(instance=instance, raise_on_error=False)
    printed = capfd.readouterr().err
    assert printed.count("the sentence that says it") == 1
    assert "Stack Trace" not in printed
    assert printed.count("ERROR") == 1
