"""Locks and whole replacements of files: how several processes share a folder."""

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
    """The file is not what it was when it was read."""


def lock(file: IO[Any] | int, path: Path, *, wait: bool) -> None:
    """Lock the open file of `path` for this process; `unlock` ends it.

    Raises Locked where another holds it and `wait` is false, OSError where the file system has no
    locks.
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
    """An unbuffered file, made where it is not there, that no other process holds; see `lock`."""
    # For its owner only: who can open it can hold it.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as file:
        lock(file, path, wait=wait)
        try:
            yield file
        finally:
            unlock(file)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder, where the system can tell."""
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_text(path: Path) -> str:
    """A small text file, of this machine or an object. Raises FileNotFoundError, OSError,
    UnicodeDecodeError."""
    if not is_remote(path):
        return path.read_text(encoding="utf-8")
    name: str = path.path  # type: ignore[attr-defined]
    # One request: in parts it would ask for the size first.
    body: bytes = Store(path).cat_file(name, max_concurrency=1)
    return body.decode("utf-8")


def version_of(path: Path) -> str | None:
    """What an object has to be still when it is replaced; None where there is none, "" on disk."""
    if not is_remote(path):
        return ""
    try:
        return str(Store(path).info(path.path)["ETag"])  # type: ignore[attr-defined]
    except FileNotFoundError:
        return None


def write_atomically(path: Path, text: str, *, unless_changed: str | None = "") -> None:
    """Replace a small text file so that a reader or a crash sees the old one or the new one.

    An object may be given its `version_of`. Raises Changed where it has another by now.
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
    """The checksum of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
