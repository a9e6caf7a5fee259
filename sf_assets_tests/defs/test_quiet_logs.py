"""What a run prints: one failure, one message; the event log keeps the stack trace."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sf_assets_tests.cli.shell import environment
from sf_assets_tests.conftest import Pipeline
from sf_assets_tests.defs.conftest import DAY
from sf_assets_tests.loopback import Reply
from sf_assets_tests.served_lists import KEY, ListServer

ROOT = Path(__file__).resolve().parents[2]
DIRECTLY = """
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""

# A process of its own, as the daemon's runs are: what other tests do to loggers is not there.
RUNS = """
import sys
import dagster as dg
from sf_assets.cli.snapshot import dagster_instance
from sf_assets.defs.build import build_definitions
from sf_assets.storage.home import Home
from sf_assets.settings import SettingsError, load_settings

@dg.op
def raises():
    raise SettingsError("the sentence that says it")

@dg.job(executor_def=dg.in_process_executor)
def fails():
    raises()

settings = load_settings()
with dagster_instance(Home.of(settings), verbose=True) as instance:
    instance.add_dynamic_partitions("handles", ["nasa"])
    job = build_definitions(settings, name="").resolve_job_def("daily_snapshots")
    done = job.execute_in_process(
        instance=instance,
        partition_key=f"{settings.day()}|nasa",
        asset_selection=[dg.AssetKey("follower_snapshots")],
        raise_on_error=False,
        tags={"sf_assets/launched_by": "command line"},  # who waits gets no retries
    )
    (entry,) = instance.all_logs(done.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    print("kept" if entry.dagster_event.step_failure_data.error.stack else "lost")
    print("----", file=sys.stderr, flush=True)
    fails.execute_in_process(instance=instance, raise_on_error=False)
"""


def test_a_failure_is_printed_once_and_without_a_stack_trace(tmp_path: Path) -> None:
    with ListServer() as server:
        server.fault = lambda _: Reply(400, json={})
        pipeline = Pipeline(tmp_path / "home", server.url, KEY, DAY)
        pipeline.track("nasa", relations=["followers"])
        # Dagster copies what a step prints to the terminal by a process of its own, which it stops
        # at the end of the step: on a busy machine the last lines are lost. Here they go directly.
        pipeline.home.dagster.mkdir()
        (pipeline.home.dagster / "dagster.yaml").write_text(
            (ROOT / "dagster.yaml").read_text(encoding="utf-8") + DIRECTLY
        )
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", RUNS],
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout == "kept\n"
    printed, error_of_ours = done.stderr.split("----\n")
    assert printed.count("1 of 1 list did not finish") == 1
    assert error_of_ours.count("the sentence that says it") == 1
    for text in (printed, error_of_ours):
        assert "Stack Trace" not in text
        assert text.count("ERROR") == 1
        assert "Skipping" not in text
