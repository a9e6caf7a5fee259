"""Runs whose process was killed, which Dagster goes on taking for running.

It learns of the end of a run from the run's own process, or from the code server that started it.
Where both are gone (`kill -9`, a power cut) or where there never was a server (the command line),
the run stays "started" for ever and keeps its slot: with four such runs nothing would start any
more, and one that derived would keep everything from being derived.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime, timedelta, timezone

import dagster as dg

# A run that has not said which process it is in; that takes moments.
SILENT = timedelta(minutes=30)


def fail_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Report runs as failed whose process is gone; returns their ids.

    The daemon's retries then start those anew that it had started; for the others the next
    command goes on where they were.
    """
    if sys.platform == "win32":
        return []  # there is no way to ask for a process without touching it
    if not isinstance(instance.run_launcher, dg.DefaultRunLauncher):
        return []  # runs may be on other machines, where our process numbers mean nothing
    dead = []
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    for record in instance.get_run_records(started):
        run_id = record.dagster_run.run_id
        process = _process_of(instance, run_id)
        if process is None:
            silent = datetime.now(timezone.utc) - aware(record.update_timestamp) > SILENT
            gone = "it never said in which process it runs" if silent else None
        else:
            gone = None if _is_alive(process) else f"its process {process} is gone"
        if gone is not None:
            instance.report_run_failed(
                record.dagster_run,
                f"The run was killed: {gone}. What it landed is kept, and the next attempt goes on "
                "from there.",
            )
            dead.append(run_id)
    return dead


def _process_of(instance: dg.DagsterInstance, run_id: str) -> int | None:
    """The process id that the executor noted when it last began."""
    found = None
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        event = entry.dagster_event
        noted = event.engine_event_data.metadata.get("pid") if event else None
        if noted is not None and str(noted.value).isdigit():
            found = int(str(noted.value))
    return found


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's, and so a number used again: not ours to judge
    return True


def aware(moment: datetime) -> datetime:
    """Dagster's timestamps are UTC, with or without saying so."""
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
