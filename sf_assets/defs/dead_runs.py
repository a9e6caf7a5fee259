"""Runs whose process was killed, which Dagster goes on taking for running.

It learns of the end of a run from the run's own process, or from the code server that started it.
Where both are gone (`kill -9`, a power cut) or where there never was a server (the command line),
the run stays "started" for ever and keeps its slot: with four such runs nothing would start any
more, and one that derived would keep everything from being derived.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import dagster as dg
import psutil

from sf_assets.defs.audience import Audience
from sf_assets.defs.runs import aware, is_ours

# A run that has not said which process it is in; that takes moments.
SILENT = timedelta(minutes=30)
# A process that began so much later than the run noted its number is another one. Both moments are
# taken from one clock, which may be set right in between.
LATER_SECONDS = 5.0


def fail_dead_runs(
    instance: dg.DagsterInstance, audience: Audience, location: str | None
) -> list[str]:
    """Report our runs as failed whose process is gone; returns their ids.

    The daemon's retries then start those anew that it had started; for the others the next
    command goes on where they were.
    """
    if not isinstance(instance.run_launcher, dg.DefaultRunLauncher):
        return []  # runs may be on other machines, where our process numbers mean nothing
    dead = []
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    for record in instance.get_run_records(started):
        run = record.dagster_run
        if not is_ours(run, audience, location):
            continue
        process = _process_of(instance, run.run_id)
        if process is None:
            silent = datetime.now(timezone.utc) - aware(record.update_timestamp) > SILENT
            gone = "it never said in which process it runs" if silent else None
        else:
            gone = None if _is_alive(*process) else f"its process {process[0]} is gone"
        if gone is not None:
            instance.report_run_failed(
                run,
                f"The run was killed: {gone}. What it landed is kept, and the next attempt goes on "
                "from there.",
            )
            dead.append(run.run_id)
    return dead


def _process_of(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """The process id that the executor noted when it last began, and when (seconds since 1970)."""
    found = None
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        noted = event.engine_event_data.metadata.get("pid") if event else None
        if noted is not None and str(noted.value).isdigit():
            found = int(str(noted.value)), entry.timestamp
    return found


def _is_alive(number: int, noted_at: float) -> bool:
    """Whether the process that had this number at that moment still runs."""
    try:
        process = psutil.Process(number)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return bool(process.create_time() <= noted_at + LATER_SECONDS)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True  # somebody else's, and so not ours to judge
