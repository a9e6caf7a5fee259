"""Locks and atomic replacement of files, for processes that share a folder."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import portalocker

from sf_assets.storage.object_store import Store, is_remote, put_bytes


class Locked(Exception):
    """Another process holds the lock."""


class Changed(Exception):
    """The file has changed since it was read."""


def lock(file: IO[Any] | int, path: Path, *, wait: bool) -> None:
    """Lock the open file of `path` for this process; `unlock` ends it.

    Raises Locked if another process holds it and `wait` is false, OSError if the file system has
    no locks.
    """
    try:
        portalocker.lock(file, portalocker.LOCK_EX | (0 if wait else portalocker.LOCK_NB))
    except portalocker.AlreadyLocked:
        raise Locked from None
    except portalocker.LockException as error:
        # Waiting would never end: some network file systems have no locks.
        raise OSError(f"{path} cannot be locked: {error}") from None


def unlock(file: IO[Any] | int) -> None:
    """Release the lock of `lock`."""
    portalocker.unlock(file)


@contextmanager
def open_locked(path: Path, *, wait: bool) -> Iterator[IO[bytes]]:
    """An unbuffered file that this process has locked, created if missing; see `lock`."""
    # For its owner only: everyone who can open it can lock it.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        lock(file, path, wait=wait)
        try:
            yield file
        finally:
            unlock(file)


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder to disk, on systems that can."""
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_text(path: Path) -> str:
    """Read a small text file or object. Raises FileNotFoundError, OSError, UnicodeDecodeError."""
    if not is_remote(path):
        return path.read_text(encoding="utf-8")
    name: str = path.path  # type: ignore[attr-defined]
    # One request: in parts it would ask for the size first.
    body: bytes = Store(path).cat_file(name, max_concurrency=1)
    return body.decode("utf-8")


def version_of(path: Path) -> str | None:
    """The version (ETag) of an object for `write_atomically`; None if missing, "" on disk."""
    if not is_remote(path):
        return ""
    try:
        return str(Store(path).info(path.path)["ETag"])  # type: ignore[attr-defined]
    except FileNotFoundError:
        return None


def write_atomically(path: Path, text: str, *, unless_changed: str | None = "") -> None:
    """Replace a small text file so that readers see the old or the new one, even after a crash.

    `unless_changed`: the `version_of` an object. Raises Changed if it has another version now.
    """
    if is_remote(path):
        if unless_changed is None:
            mode, condition = "create", {}
        else:
            mode, condition = "overwrite", {"IfMatch": unless_changed} if unless_changed else {}
        try:
            put_bytes(text.encode(), path, mode, **condition)
        except OSError as error:
            if isinstance(error, FileExistsError) or "PreconditionFailed" in str(error.__cause__):
                raise Changed from None
            raise
        return
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, as hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
