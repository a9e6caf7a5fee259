"""Which landing a place has."""

from __future__ import annotations

from pathlib import Path

from sf_assets.storage.landing import Landing
from sf_assets.storage.landing_disk import DiskLanding
from sf_assets.storage.landing_objects import ObjectLanding
from sf_assets.storage.object_store import is_remote


def landing_at(root: Path, shared: Path | None = None, *, batch: bool = False) -> Landing:
    """The landing at a place: files of a folder, or objects below `s3://…`.

    `shared` is the home: credits are counted there, for a count cannot be kept in objects, and
    pages stand in its spool until they are objects; with `batch` many become one.
    """
    return ObjectLanding(root, shared, batch=batch) if is_remote(root) else DiskLanding(root)
