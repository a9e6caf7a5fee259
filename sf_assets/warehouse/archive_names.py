"""The names of the archive's files.

The lists of a day are first written in full to `day=…/NAME.parquet`. Packing writes the same
content to `day=…/NAME.packed.parquet` and then removes the full file. The warehouse uses the name
of the full file for both.
"""

from __future__ import annotations

from pathlib import Path

_PACKED = ".packed.parquet"


def is_packed(path: Path) -> bool:
    """Whether a file is packed, so that it has the changes instead of every row."""
    return path.name.endswith(_PACKED)


def name_of(path: Path) -> str:
    """The name of a file in the warehouse: the folder of its day and the name of the full file."""
    name = path.name
    return f"{path.parent.name}/{name.removesuffix(_PACKED)}.parquet" if is_packed(path) else (
        f"{path.parent.name}/{name}"
    )  # fmt: skip


def packed_path(archive: Path, name: str) -> Path:
    """The path of the packed file."""
    return archive / (name.removesuffix(".parquet") + _PACKED)


def all_files(archive: Path) -> list[Path]:
    """All files with lists, the oldest day first. A list may be in a full and a packed file."""
    return sorted(archive.glob("day=*/*.parquet"), key=str)


def archive_files(archive: Path) -> list[Path]:
    """The files with lists, the oldest day first. Each list is in one of them."""
    files = all_files(archive)
    full = {name_of(path) for path in files if not is_packed(path)}
    return [path for path in files if not is_packed(path) or name_of(path) not in full]
