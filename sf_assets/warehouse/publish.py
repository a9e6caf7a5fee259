"""People get a file they can keep open for ever, in any tool, without the pipeline noticing.

Each publication is a new folder; the link `sf_assets.duckdb` moves to it in one step. Who has an
older one open keeps reading it. Overwriting one path instead serves stale data to readers that
reconnect, and can merge a leftover WAL into the wrong file.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from sf_assets.home import Home
from sf_assets.settings import SfAssetsError
from sf_assets.warehouse.connection import DEFAULT_WAIT_SECONDS, locked

KEEP_GENERATIONS = 2


class PublishFailed(SfAssetsError):
    """The copy for people could not be made; the warehouse has everything, and the next run tries
    again."""


def publish(home: Home, wait_seconds: float = DEFAULT_WAIT_SECONDS) -> Path:
    """Copy the closed warehouse to a new generation and move the link; returns the new file.

    Raises PublishFailed, which callers log: a failed publication never fails a snapshot.
    """
    work = home.warehouse
    try:
        with locked(work, wait_seconds):
            if work.with_name(work.name + ".wal").exists():
                raise PublishFailed(f"{work} was not closed cleanly; the next run mends it")
            stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime()) + f"-{time.time_ns() % 10**9:09d}"
            folder = home.generations / stamp
            partial = home.generations / f".{stamp}"
            partial.mkdir(parents=True, mode=0o700)
            shutil.copyfile(work, partial / home.published.name)
            # Read-only, so that a tool that opens it for writing fails instead of forking it.
            (partial / home.published.name).chmod(0o400)
            partial.rename(folder)
            link = home.root / f".{home.published.name}.{os.getpid()}"
            link.unlink(missing_ok=True)
            link.symlink_to((folder / home.published.name).relative_to(home.root))
            os.replace(link, home.published)
            _drop_old(home)
    except OSError as error:
        raise PublishFailed(f"{home.published} could not be renewed ({error})") from error
    return folder / home.published.name


def _drop_old(home: Home) -> None:
    generations = sorted(path for path in home.generations.iterdir() if path.name[0] != ".")
    for old in generations[:-KEEP_GENERATIONS]:
        shutil.rmtree(old, ignore_errors=True)
    for partial in home.generations.glob(".*"):
        shutil.rmtree(partial, ignore_errors=True)  # of a publication that was killed
