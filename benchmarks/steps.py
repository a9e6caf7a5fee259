"""Which steps of a command take how much of its processor time: a sampled run.

    python benchmarks/steps.py steps.json snapshot

Runs `sf-assets` with these arguments in this process. A thread looks 500 times a second at what the
others do, and counts a thread that is not waiting for the step of its innermost function that is
known by name. At the end each step gets its share of the processor time that the process took.
The sampling itself takes some percents of it, in proportion from all. `page_cost.py` uses it.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

# Function, and a part of its file's path; the first that fits the innermost frame wins.
STEPS = {
    "imports": [("_find_and_load", "importlib"), ("exec_module", "importlib")],
    "events": [("store_event", ""), ("handle_run_event", ""), ("create_run", "")],
    "opening the instance": [("dagster_instance", ""), ("create_instance_from_ref", "")],
    "definitions": [("__init__", "cli/runner"), ("resolve_job_def", "")],
    "validation": [("_page", "social_fetch/client"), ("read_page", ""), ("new_fields", "")],
    "request": [("_send", "social_fetch/client")],
    "landing": [("add_page", ""), ("_finish", "ingest/reader"), ("maintain_landing", "")],
    "load": [("load", "warehouse/load")],
    "pack": [("_pack", "defs/derived")],
    "publish": [("publish", "warehouse/publish"), ("_publish", "")],
    "derive": [("derive", "warehouse/derive"), ("derived", "defs/derived")],
    "planning": [("_plan", "defs/snapshot_run"), ("prepare", "ingest/run_budget")],
    "walk, credits, other reading": [("_read", "ingest/reader"), ("run", "ingest/batches")],
}
_WAITING = {
    "make_durable",
    "sync_folder",
    "_make_durable",
    "wait",
    "select",
    "get",
    "acquire",
    "join",
    "_worker",
    "_sample",
    "_recv",
    "poll",
}
OTHER = "Dagster's run, other"


def _step(frame: FrameType | None) -> str | None:
    if frame is None or frame.f_code.co_name in _WAITING:
        return None
    while frame is not None:
        name, file = frame.f_code.co_name, frame.f_code.co_filename.replace("\\", "/")
        for step, known in STEPS.items():
            if any(name == function and part in file for function, part in known):
                return step
        frame = frame.f_back
    return OTHER


def main() -> None:
    out = Path(sys.argv.pop(1))
    counts: Counter[str] = Counter()
    over = threading.Event()

    def _sample() -> None:
        me = threading.get_ident()
        while not over.is_set():
            time.sleep(0.002)
            for thread, frame in sys._current_frames().items():
                step = _step(frame) if thread != me else None
                if step is not None:
                    counts[step] += 1

    sys.setswitchinterval(0.0005)
    sampler = threading.Thread(target=_sample, daemon=True)
    sampler.start()
    try:
        from sf_assets.cli import main as command

        command()
    finally:
        over.set()
        sampler.join()
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu, all_counts = used.ru_utime + used.ru_stime, sum(counts.values()) or 1
        out.write_text(json.dumps({step: cpu * n / all_counts for step, n in counts.items()}))


if __name__ == "__main__":
    main()
