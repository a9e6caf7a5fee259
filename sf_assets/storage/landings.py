"""Selects the landing of a home or an address."""

from __future__ import annotations

from pathlib import Path

from sf_assets.storage.home import Home
from sf_assets.storage.landing import Landing
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets.storage.landing_objects import ObjectLanding
from sf_assets.storage.object_store import is_remote


def landing_of(home: Home, *, batch: bool = False) -> Landing:
    """The landing of a home: files of a folder, or objects below `s3://…`.

    Pages are in the spool of the home until they are uploaded; with `batch`, many as one object.
    """
    if not is_remote(home.landing):
        return landing_at(home.landing)
    return ObjectLanding(home.landing, home.root, counts=home.counts, batch=batch)


def landing_at(root: Path) -> Landing:
    """The landing at a folder or at `s3://…`, the latter with a spool of its own."""
    return ObjectLanding(root) if is_remote(root) else DiskLanding(root)
