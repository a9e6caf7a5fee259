"""Which landing a place has."""

from __future__ import annotations

from pathlib import Path

from sf_assets.storage.home import Home
from sf_assets.storage.landing import Landing
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets.storage.landing_objects import ObjectLanding
from sf_assets.storage.object_store import is_remote


def landing_of(home: Home, *, batch: bool = False) -> Landing:
    """The landing of a home: files of a folder, or objects below `s3://…`.

    Pages stand in the spool of the home until they are objects; with `batch` many become one.
    """
    if not is_remote(home.landing):
        return landing_at(home.landing)
    return ObjectLanding(home.landing, home.root, counts=home.counts, batch=batch)


def landing_at(root: Path) -> Landing:
    """The landing at a place, with a spool of its own where it is an address."""
    return ObjectLanding(root) if is_remote(root) else DiskLanding(root)
