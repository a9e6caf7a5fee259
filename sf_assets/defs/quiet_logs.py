"""Shortens what a run prints: each failure once, without the stack of Dagster's frames."""

from __future__ import annotations

import logging
import re

_STACK = re.compile(r"\n+Stack Trace:\n(?:[ ]{2}.*\n?)*")
_CLASS = re.compile(r"^(?:dagster\.|sf_assets\.)[\w.]+: ", re.MULTILINE)


class OneMessage(logging.Handler):
    """Shortens log records before they are printed; prints nothing itself.

    `dagster.yaml` names this class. Dagster passes a record to the event log first, then to
    handlers such as this one, then to the terminal. So the event log keeps the stack traces.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Shorten a step failure, and lower repeated failures to DEBUG."""
        event = getattr(record, "dagster_event", None)
        kind = event.event_type_value if event is not None else ""
        text = str(record.msg)
        if kind == "STEP_FAILURE":
            record.msg = _CLASS.sub("", _STACK.sub("\n", text)).rstrip()
        # Dagster repeats the failure for the run, with the same trace.
        repeats = kind == "PIPELINE_FAILURE" and "Steps failed:" in text
        follows = " - Skipping step " in text or " - Dependencies for step " in text
        if repeats or follows:
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
