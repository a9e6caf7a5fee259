"""Reports runs as failed if their process was killed. Dagster would count them as running.

Dagster learns about the end of a run from the run's process or from the code server that started
it. If both are gone (`kill -9`, a power cut) or there was no server (the command line), the run
stays "started" and keeps its slot. Four such runs block all others, and a dead derivation blocks
every later one.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import dagster as dg
import psutil

from sf_assets.defs.audience import Audience
from sf_assets.defs.runs import aware, is_ours

# A run notes its process id within moments. After this time without one it counts as dead.
SILENT = timedelta(minutes=30)
# If a process began this much later than the run noted its id, the id was reused. The tolerance
# allows for small corrections of the clock.
LATER_SECONDS = 5.0


def fail_dead_runs(
    instance: dg.DagsterInstance, audience: Audience, location: str | None
) -> list[str]:
    """Report runs of this home as failed if their process is gone, and return their ids.

    The daemon then retries the runs that it had started. For the others, the next command
    continues where they stopped.
    """
    if not isinstance(instance.run_launcher, dg.DefaultRunLauncher):
        return []  # runs may be on other machines, which have their own process ids
    dead = []
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    for record in instance.get_run_records(started):
        run = record.dagster_run
        if not is_ours(run, audience, location):
            continue
        process = _process_of(instance, run.run_id)
        if process is None:
            silent = datetime.now(timezone.utc) - aware(record.update_timestamp) > SILENT
            gone = "it never noted its process id" if silent else None
        else:
            gone = None if _is_alive(*process) else f"its process {process[0]} is gone"
        if gone is not None:
            instance.report_run_failed(
                run,
                f"The run was killed: {gone}. Landed pages are kept, and the next attempt "
                "continues with the next page.",
            )
            dead.append(run.run_id)
    return dead


def _process_of(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """The process id that the executor noted at its last start, and the time (Unix seconds)."""
    newest = None
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        noted = event.engine_event_data.metadata.get("pid") if event else None
        if noted is not None and str(noted.value).isdigit():
            newest = int(str(noted.value)), entry.timestamp
    return newest


def _is_alive(number: int, noted_at: float) -> bool:
    """Whether the process with this id at that time (Unix seconds) still runs."""
    try:
        process = psutil.Process(number)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return bool(process.create_time() <= noted_at + LATER_SECONDS)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True  # it belongs to another user, so we cannot tell
