"""What the files of the archive are called, and which of them holds a list.

A file of the day's lists is written in full, as `day=…/NAME.parquet`, and packed later into
`day=…/NAME.packed.parquet` beside it, which says the same. The full one then goes. The warehouse
knows both by the name of the first.
"""

from __future__ import annotations

from pathlib import Path

_PACKED = ".packed.parquet"


def is_packed(path: Path) -> bool:
    """Whether a file holds what changed, not every row."""
    return path.name.endswith(_PACKED)


def name_of(path: Path) -> str:
    """The name that the warehouse knows a file by: its day's folder, and the name it began with."""
    name = path.name
    return f"{path.parent.name}/{name.removesuffix(_PACKED)}.parquet" if is_packed(path) else (
        f"{path.parent.name}/{name}"
    )  # fmt: skip


def packed_path(archive: Path, name: str) -> Path:
    """Where the packed file is, or will be."""
    return archive / (name.removesuffix(".parquet") + _PACKED)


def all_files(archive: Path) -> list[Path]:
    """Every file that holds lists, the oldest day first; a list may be in two of them."""
    return sorted(archive.glob("day=*/*.parquet"), key=str)


def archive_files(archive: Path) -> list[Path]:
    """The files that hold lists, each list in one of them, the oldest day first."""
    files = all_files(archive)
    full = {name_of(path) for path in files if not is_packed(path)}
    return [path for path in files if not is_packed(path) or name_of(path) not in full]
