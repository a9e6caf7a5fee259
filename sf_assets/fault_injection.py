"""Fault injection: a process kills itself at a given step, or shortens its pauses.

`SF_ASSETS_CRASH_AT=committed` (or `committed:2` for the second time) is a `kill -9` from inside, at
a step that nobody could hit from outside. `SF_ASSETS_HURRY=60` divides the pauses between two tries
of a day by 60. Both work only with an API on this machine, so that a forgotten variable cannot end
or repeat a run that costs money.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

from sf_assets.settings import is_loopback

#: Steps at which a process can kill itself: name -> moment.
STEPS = {
    "answered": "an answer is received and not landed",
    "landed": "a page is landed and the next one not requested",
    "ended": "the end of a list is written",
    "archived": "an archive file is written and no transaction begun",
    "landing_packing": "a landed list is compressed and not yet in its place",
    "landing_packed": "a landed list is compressed and exists in both forms",
    "landing_unpacked": "a compressed list is unpacked and exists in both forms",
    "packed": "a packed file is in its place and the full one still exists",
    "unpacked_removed": "one of the full files that are packed is removed",
    "staging": "one file of a rewritten archive is written",
    "staged": "all files of a rewritten archive are written and none is in its place",
    "rewritten": "one file of a rewritten archive is in its place",
    "forgot": "a step of `forget` is done and not recorded",
    "committing": "in a transaction, after all its statements",
    "committed": "a transaction is committed and the file not closed",
    "compacted": "a smaller warehouse file is written and does not yet replace the old one",
    "copied": "the new publication is copied and the link not moved",
    "backed_up": "a backup is copied and not yet in its place",
    "sent": "an alert is sent and not recorded",
}

_passed: Counter[str] = Counter()


def shortened(seconds: float) -> float:
    """A pause in seconds, divided by SF_ASSETS_HURRY if the API is on this machine."""
    hurry = os.environ.get("SF_ASSETS_HURRY", "")
    simulated = is_loopback(os.environ.get("SOCIALFETCH_BASE_URL", ""))
    return seconds / float(hurry) if simulated and hurry.isdigit() and int(hurry) else seconds


def crash_point(step: str) -> None:
    """Kill this process if SF_ASSETS_CRASH_AT names this step and the API is simulated."""
    wanted = os.environ.get("SF_ASSETS_CRASH_AT")
    if not wanted or not is_loopback(os.environ.get("SOCIALFETCH_BASE_URL", "")):
        return
    name, _, turn = wanted.partition(":")
    if name == step:
        _passed[step] += 1
        if _passed[step] == int(turn or 1):
            os.kill(os.getpid(), signal.SIGKILL)
