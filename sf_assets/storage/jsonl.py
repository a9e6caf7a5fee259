"""Small files of JSON lines that several processes append to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sf_assets.storage.shared import Shared


def lines(path: Path | Shared) -> Iterator[dict[str, Any]]:
    """The objects of a file, oldest first; none if it is missing. Incomplete lines are skipped."""
    try:
        texts = (
            path.lines()
            if isinstance(path, Shared)
            else path.read_text(encoding="utf-8", errors="replace").splitlines()
        )
    except FileNotFoundError:
        return
    for text in texts:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            yield line


def append(path: Path | Shared, entries: Sequence[dict[str, Any]]) -> None:
    """Add objects at the end, and wait until the disk has them."""
    if not entries:
        return
    if isinstance(path, Shared):
        path.append([json.dumps(entry) for entry in entries])
        return
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "a+b") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")  # the line before is torn: it must not tear this one too
        file.write("".join(f"{json.dumps(entry)}\n" for entry in entries).encode())
        file.flush()
        os.fsync(file.fileno())
