"""Rehearsing what goes wrong: a process kills itself where it is told to, and waits less long.

`SF_ASSETS_CRASH_AT=committed` (or `committed:2`, the second time it comes by) is a `kill -9` from
inside, at a step no outsider could hit on purpose. `SF_ASSETS_HURRY=60` divides the pauses between
two tries of a day by 60. Both are heard only while the API is on this machine, so that no forgotten
variable can end a run that costs money, or repeat it.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

from sf_assets.settings import is_loopback

#: Where a process can be told to die: name -> the moment.
STEPS = {
    "answered": "an answer came and is not landed",
    "landed": "a page is landed and the next one not asked for",
    "ended": "the end of a list is written",
    "archived": "an archive file is written and no transaction begun",
    "landing_packing": "a landed list is compressed and not yet in its place",
    "landing_packed": "a landed list is compressed and there in both forms",
    "landing_unpacked": "a compressed list is plain again and there in both forms",
    "packed": "a packed file is in its place and the full one beside it",
    "unpacked_removed": "of the full files that are packed one is removed",
    "staging": "one file of an archive that is rewritten is made",
    "staged": "all files of an archive that is rewritten are made and none is in its place",
    "rewritten": "one file of an archive that is rewritten is in its place",
    "forgot": "a step of forgetting somebody is done and not noted",
    "committing": "in a transaction, all its statements done",
    "committed": "a transaction is committed and the file not closed",
    "compacted": "a smaller warehouse file is made and not yet in the place of the old one",
    "copied": "the new publication is copied and the link not moved",
    "backed_up": "a backup is copied and not yet in its place",
    "sent": "an alert is sent and not noted",
}

_passed: Counter[str] = Counter()


def shortened(seconds: float) -> float:
    """A pause, divided by SF_ASSETS_HURRY; as it is where the API is not on this machine."""
    hurry = os.environ.get("SF_ASSETS_HURRY", "")
    simulated = is_loopback(os.environ.get("SOCIALFETCH_BASE_URL", ""))
    return seconds / float(hurry) if simulated and hurry.isdigit() and int(hurry) else seconds


def crash_point(step: str) -> None:
    """Die here if SF_ASSETS_CRASH_AT says so and the API is simulated."""
    wanted = os.environ.get("SF_ASSETS_CRASH_AT")
    if not wanted or not is_loopback(os.environ.get("SOCIALFETCH_BASE_URL", "")):
        return
    name, _, turn = wanted.partition(":")
    if name == step:
        _passed[step] += 1
        if _passed[step] == int(turn or 1):
            os.kill(os.getpid(), signal.SIGKILL)
