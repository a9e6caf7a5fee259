"""Compressed landing files: zstd, which `zstdcat` and DuckDB's `read_json` can read."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sf_assets.model import SnapshotKey
from sf_assets.storage.records import Landed, LandingDamaged, read_records

SUFFIX = ".zst"
# Signed URLs and secUids are random, so higher levels take longer and save little.
_LEVEL = 1
_CHUNK = 4 << 20


@dataclass(frozen=True)
class PackedFile(Landed):
    """The content of a compressed landing file."""

    def on_disk(self, folder: Path) -> Path:
        copy = folder / f"{uuid.uuid4().hex}.jsonl"
        with self.path.open("rb") as packed, copy.open("wb") as file:
            for lines in unpack(packed):
                file.write(lines)
        return copy


def packed_path(path: Path) -> Path:
    """The path of a landing file after compression."""
    return path.with_name(path.name + SUFFIX)


def pack(file: IO[bytes], size: int) -> Iterator[bytes]:
    """Compress the first `size` bytes of a file; yields the parts in order."""
    # Imported here, so that commands without it start faster.
    import pyarrow as pa

    codec = pa.Codec("zstd", compression_level=_LEVEL)
    while size and (chunk := file.read(min(size, _CHUNK))):
        size -= len(chunk)
        yield codec.compress(chunk, asbytes=True)


def unpack(file: IO[bytes]) -> Iterator[bytes]:
    """Decompress a file in chunks. Raises OSError for a file that is cut or damaged."""
    reader = _reader(file)
    while chunk := reader.read(_CHUNK):
        yield chunk


def read_packed(key: SnapshotKey, path: Path, file: IO[bytes]) -> PackedFile:
    """Read a compressed landing file. Raises LandingDamaged.

    Only finished lists are compressed, so a file without an end is incomplete.
    """
    try:
        landed = read_records(key, path, _reader(file))
        why = "its end is missing"
    except OSError as error:
        landed, why = None, str(error)
    if landed is None or not landed.attempts or landed.attempts[-1].end is None:
        raise LandingDamaged(
            f"{path}: the file is damaged ({why}) and was not used. Restore it from a backup, or "
            "move it away"
        )
    return PackedFile(key, path, landed.attempts, landed.sound_bytes)


def _reader(file: IO[bytes]) -> IO[bytes]:
    import pyarrow as pa

    stream: io.RawIOBase = pa.CompressedInputStream(file, "zstd")
    return io.BufferedReader(stream, _CHUNK)
