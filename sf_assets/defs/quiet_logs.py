"""What a run prints: each failure once, without a stack of Dagster's own frames."""

from __future__ import annotations

import logging
import re

_STACK = re.compile(r"\n+Stack Trace:\n(?:[ ]{2}.*\n?)*")
_CLASS = re.compile(r"^(?:dagster\.|sf_assets\.)[\w.]+: ", re.MULTILINE)


class OneMessage(logging.Handler):
    """Changes records on their way to the terminal; prints nothing itself.

    `dagster.yaml` names it. Dagster hands a record to the event log first, then to handlers such as
    this one, then to what prints it: the event log so keeps everything, stack traces included.
    """

    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "dagster_event", None)
        kind = event.event_type_value if event is not None else ""
        text = str(record.msg)
        if kind == "STEP_FAILURE":
            record.msg = _CLASS.sub("", _STACK.sub("\n", text)).rstrip()
        # Dagster says it again of the run, with the same trace.
        again = kind == "PIPELINE_FAILURE" and "Steps failed:" in text
        follows = " - Skipping step " in text or " - Dependencies for step " in text
        if again or follows:
            record.levelno, record.levelname = logging.DEBUG, "DEBUG"
