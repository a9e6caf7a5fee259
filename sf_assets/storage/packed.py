"""Landed pages compressed: zstd, as `zstdcat` and DuckDB's `read_json` read it."""

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
# Signed addresses and secUids are random: higher levels take longer and save little.
_LEVEL = 1
_CHUNK = 4 << 20


@dataclass(frozen=True)
class PackedFile(Landed):
    """What a compressed landing file holds."""

    def on_disk(self, folder: Path) -> Path:
        copy = folder / f"{uuid.uuid4().hex}.jsonl"
        with self.path.open("rb") as packed, copy.open("wb") as file:
            for lines in unpack(packed):
                file.write(lines)
        return copy


def packed_path(path: Path) -> Path:
    """Where a landing file is kept once it is compressed."""
    return path.with_name(path.name + SUFFIX)


def pack(file: IO[bytes], size: int) -> Iterator[bytes]:
    """The first `size` bytes, compressed, in parts that belong one after the other."""
    # Here, because commands that read no landing begin quicker without it.
    import pyarrow as pa

    codec = pa.Codec("zstd", compression_level=_LEVEL)
    while size and (chunk := file.read(min(size, _CHUNK))):
        size -= len(chunk)
        yield codec.compress(chunk, asbytes=True)


def unpack(file: IO[bytes]) -> Iterator[bytes]:
    """The bytes that were compressed. Raises OSError for a file that is cut or damaged."""
    reader = _reader(file)
    while chunk := reader.read(_CHUNK):
        yield chunk


def read_packed(key: SnapshotKey, path: Path, file: IO[bytes]) -> PackedFile:
    """What a compressed file holds. Raises LandingDamaged.

    Only what has ended is compressed, so one without an end is not whole.
    """
    try:
        landed = read_records(key, path, _reader(file))
        why = "its end is missing"
    except OSError as error:
        landed, why = None, str(error)
    if landed is None or not landed.attempts or landed.attempts[-1].end is None:
        raise LandingDamaged(
            f"{path}: it is damaged ({why}); nothing of it was used. Restore it from a backup, or "
            "move it away"
        )
    return PackedFile(key, path, landed.attempts, landed.sound_bytes)


def _reader(file: IO[bytes]) -> IO[bytes]:
    import pyarrow as pa

    stream: io.RawIOBase = pa.CompressedInputStream(file, "zstd")
    return io.BufferedReader(stream, _CHUNK)
