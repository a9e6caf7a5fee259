"""What stands in a landing file: checked line by line, read into attempts."""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from sf_assets.errors import SfAssetsError
from sf_assets.model import SnapshotKey

LANDING_FORMAT = 1

CRC_HEAD = len(b'{"crc":"00000000",')

# Our own caps and an empty purse end a walk early; with new credits it goes on where it stopped.
RESUMABLE_ENDS = ("budget", "out_of_credits")


class LandingDamaged(SfAssetsError):
    """A line of a landing file is not what was written. Nothing of the file was used."""


class LandingTaken(SfAssetsError):
    """Another worker goes on with this list: nothing was written, wait for what he lands."""


@dataclass(frozen=True)
class Page:
    """One landed answer; `body` is the response body, bytes of one JSON object. `damaged` of its
    fields are not what the contract says, and so many of them (`new_fields`) it does not have."""

    number: int
    cursor: str | None
    received_at: str
    request_id: str
    credits: int
    cached: bool
    tries: int
    body: bytes
    damaged: int = 0
    new_fields: int = 0


@dataclass(frozen=True)
class End:
    """How a walk ended: `lookup_status`, and for `found` the `end_reason`."""

    lookup_status: str
    end_reason: str | None
    finished_at: str
    run_id: str


@dataclass
class Attempt:
    """One walk of a list: its pages so far and, once it ended, its end.

    `credits` are what the API said it charged, `damaged` the fields of its pages that are not what
    the contract says. `doubted` answers were not believed; `doubted_at` is
    the page the last of them was for. `unread` answers broke the contract, the last one of a
    question is in quarantine: they are no pages, and did not say what they cost.
    """

    number: int
    token: str
    run_id: str
    started_at: str
    pages: int = 0
    credits: int = 0
    cached: int = 0
    retries: int = 0
    damaged: int = 0
    doubted: int = 0
    doubted_at: int = 0
    unread: int = 0
    end: End | None = None
    request_ids: list[str] = field(default_factory=list)

    @property
    def spent(self) -> int:
        """What the API said it charged, and a credit for each answer that could not say it."""
        return self.credits + self.unread

    @property
    def settled(self) -> bool:
        """Ended, and nothing more is to be bought for it."""
        return self.end is not None and self.end.end_reason not in RESUMABLE_ENDS


@dataclass(frozen=True)
class Landed:
    """What a landing file holds."""

    key: SnapshotKey
    path: Path
    attempts: tuple[Attempt, ...]
    sound_bytes: int

    @property
    def settled(self) -> bool:
        """True where the day is finished for this list."""
        return any(attempt.settled for attempt in self.attempts)

    @property
    def to_load(self) -> Attempt | None:
        """The attempt that stands for the day: the latest that ended.

        A refresh that was cut short by credits does not replace a fuller reading.
        """
        ended = [attempt for attempt in self.attempts if attempt.end is not None]
        settled = [attempt for attempt in ended if attempt.settled]
        return settled[-1] if settled else ended[-1] if ended else None

    @property
    def credits(self) -> int:
        """Credits the API said it charged, over all attempts."""
        return sum(attempt.credits for attempt in self.attempts)

    @property
    def spent(self) -> int:
        """The same with a credit for each answer that broke the contract: most likely charged."""
        return sum(attempt.spent for attempt in self.attempts)

    @property
    def modified(self) -> float:
        """When it was last written to, in seconds since 1970."""
        return self.path.stat().st_mtime

    def on_disk(self, folder: Path) -> Path:
        """A file of this machine that holds it; made in `folder` where it is kept elsewhere."""
        return self.path


def now() -> str:
    """This moment as ISO 8601 in UTC, to the millisecond."""
    return stamp(datetime.now(timezone.utc))


def stamp(moment: datetime) -> str:
    """A moment of UTC as ISO 8601, to the millisecond."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def count_record(attempt: Attempt, head: dict[str, Any]) -> None:
    attempt.credits += head["credits"]
    attempt.cached += bool(head["cached"])
    attempt.retries += head["tries"] - 1
    if head["request_id"]:
        attempt.request_ids.append(head["request_id"])
    attempt.end = None  # a page after an end: the walk went on
    if head["kind"] == "page":
        attempt.pages += 1
        attempt.damaged += head.get("damaged", 0)
    elif head["kind"] == "unread":
        attempt.unread += head["answers"]
    else:
        attempt.doubted += 1
        attempt.doubted_at = head["page"]


def read_records(key: SnapshotKey, path: Path, file: IO[bytes]) -> Landed:
    """What records say, from the first to the last sound one. Raises LandingDamaged."""
    attempts: list[Attempt] = []
    sound = 0
    records = Records(path, file)
    for head, _ in records:
        kind = head["kind"]
        if kind == "start":
            if head["format"] > LANDING_FORMAT:
                raise LandingDamaged(
                    f"{path}: landed by a newer sf_assets (format {head['format']}); upgrade it"
                )
            attempts.append(Attempt(head["attempt"], head["token"], head["run_id"], head["at"]))
        elif kind == "adopt":
            attempts[-1].token = head["token"]
        elif kind == "end":
            attempts[-1].end = End(
                head["lookup_status"], head["end_reason"], head["at"], head["run_id"]
            )
        else:
            count_record(attempts[-1], head)
        sound = records.sound_bytes
    return Landed(key, path, tuple(attempts), sound)


class Records:
    """Iterates over (head, body) of a landing file; `sound_bytes` ends with the last sound line."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self._file, self.sound_bytes = path, file, 0

    def __iter__(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        reader = self._file
        if isinstance(reader, io.FileIO):
            # Buffered on top of a raw descriptor; closing the reader must not close the descriptor.
            reader = os.fdopen(os.dup(reader.fileno()), "rb")
        with reader:
            if reader.seekable():  # what is decompressed is read once, from its beginning
                reader.seek(0)
            bad_line: int | None = None
            for number, line in enumerate(reader, start=1):
                if bad_line is not None:
                    raise LandingDamaged(
                        f"{self._path}:{bad_line}: damaged line; the pages before and after it are "
                        "kept. Restore the file from a backup, or move it away and snapshot again"
                    )
                rest = line[CRC_HEAD:-1]
                if not line.endswith(b"\n") or line[:CRC_HEAD] != b'{"crc":"%08x",' % zlib.crc32(
                    rest
                ):
                    bad_line = number  # torn while it was written, if nothing follows
                    continue
                head, mark, body = rest.partition(b',"body":')
                self.sound_bytes += len(line)
                yield json.loads(b"{" + head + (b"}" if mark else b"")), body[:-1]
