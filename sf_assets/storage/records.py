"""The records of a landing file: lines with checksums, which are read into attempts."""

from __future__ import annotations

import io
import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

from sf_assets.errors import SfAssetsError
from sf_assets.model import SnapshotKey

LANDING_FORMAT = 1

CRC_HEAD = len(b'{"crc":"00000000",')

# A walk that our caps or missing credits ended continues later where it stopped.
RESUMABLE_ENDS = ("budget", "out_of_credits")


class LandingDamaged(SfAssetsError):
    """A line of a landing file is damaged. Nothing of the file was used."""


class LandingTaken(SfAssetsError):
    """Another worker continues this list. Nothing was written; wait for its pages."""


@dataclass(frozen=True)
class Measures:
    """Measures of pages: accounts on the largest page; accounts on all pages, of these without user
    id, without secUid and repeated; fields with a value; new fields; reasons of retries."""

    page_size: int = 0
    accounts: int = 0
    no_number: int = 0
    no_sec_uid: int = 0
    repeated: int = 0
    fields: int = 0
    new_fields: int = 0
    troubles: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Measures) -> Measures:
        # Spelled out, because this runs for every page three times a day.
        return Measures(
            max(self.page_size, other.page_size),
            self.accounts + other.accounts,
            self.no_number + other.no_number,
            self.no_sec_uid + other.no_sec_uid,
            self.repeated + other.repeated,
            self.fields + other.fields,
            self.new_fields + other.new_fields,
            dict(Counter(self.troubles) + Counter(other.troubles))
            if self.troubles or other.troubles
            else {},
        )

    def to_json(self) -> dict[str, Any]:
        """The fields that are not 0."""
        return {name: value for name, value in vars(self).items() if value}


@dataclass(frozen=True)
class Page:
    """A landed response. `body` is one JSON object as bytes, `damaged` and `new_fields` count its
    fields that break the contract or are not in it."""

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
    measures: Measures | None = None


@dataclass(frozen=True)
class End:
    """The end of a walk: its `lookup_status`, and for `found` the `end_reason`."""

    lookup_status: str
    end_reason: str | None
    finished_at: str
    run_id: str


@dataclass
class Attempt:
    """A walk through a list: its pages so far and, once it has ended, its end.

    `credits` is what the API reported as charged, `damaged` the number of damaged fields. `doubted`
    counts responses that were requested again before they counted, `doubted_at` is the page of the
    last one. `unread` counts responses that broke the contract, so that their cost is unknown; the
    last one of a request is in quarantine. `refused` is a page whose lookup failed, and in how many
    consecutive runs.
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
    measures: Measures | None = None
    refused: tuple[int, int] = (0, 0)
    end: End | None = None
    request_ids: list[str] = field(default_factory=list)

    @property
    def spent(self) -> int:
        """The credits that the API reported, plus one per unreadable response."""
        return self.credits + self.unread

    @property
    def finished(self) -> bool:
        """Whether the walk has ended and needs no more pages."""
        return self.end is not None and self.end.end_reason not in RESUMABLE_ENDS


@dataclass(frozen=True)
class Landed:
    """The content of a landing file. `sound_bytes` is the length of its sound lines."""

    key: SnapshotKey
    path: Path
    attempts: tuple[Attempt, ...]
    sound_bytes: int

    @property
    def finished(self) -> bool:
        """Whether the list is finished for its day."""
        return any(attempt.finished for attempt in self.attempts)

    @property
    def to_load(self) -> Attempt | None:
        """The attempt to load: the latest finished one, else the latest one that has ended.

        So a refresh that ran out of credits does not replace a complete list.
        """
        ended = [attempt for attempt in self.attempts if attempt.end is not None]
        finished = [attempt for attempt in ended if attempt.finished]
        return finished[-1] if finished else ended[-1] if ended else None

    @property
    def credits(self) -> int:
        """The credits that the API reported, over all attempts."""
        return sum(attempt.credits for attempt in self.attempts)

    @property
    def spent(self) -> int:
        """These credits plus one per response that broke the contract, which was likely charged."""
        return sum(attempt.spent for attempt in self.attempts)

    @property
    def modified(self) -> float:
        """When it was last written (Unix seconds)."""
        return self.path.stat().st_mtime

    def on_disk(self, folder: Path) -> Path:
        """A plain file on this machine with the records; created in `folder` if necessary."""
        return self.path


def now() -> str:
    """The current time as ISO 8601 in UTC, in milliseconds."""
    return stamp(datetime.now(timezone.utc))


def stamp(moment: datetime) -> str:
    """A UTC time as ISO 8601, in milliseconds."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def count_record(attempt: Attempt, head: dict[str, Any]) -> None:
    """Add a `page`, `unread` or `doubted` record to the counts of an attempt."""
    attempt.credits += head["credits"]
    attempt.cached += bool(head["cached"])
    attempt.retries += head["tries"] - 1
    if head["request_id"]:
        attempt.request_ids.append(head["request_id"])
    attempt.end = None  # a page after an end: the walk continued
    if head["kind"] == "page":
        attempt.pages += 1
        attempt.damaged += head.get("damaged", 0)
        if "measures" in head:
            page = Measures(**{**head["measures"], "new_fields": head.get("new_fields", 0)})
            attempt.measures = attempt.measures + page if attempt.measures else page
    elif head["kind"] == "unread":
        attempt.unread += head["answers"]
    else:
        attempt.doubted += 1
        attempt.doubted_at = head["page"]


def record_line(head: dict[str, Any], body: bytes | None = None) -> bytes:
    """A line of a landing file, with its checksum."""
    rest = json.dumps(head, separators=(",", ":")).encode()[1:]
    if body is not None:
        # In valid JSON, a raw line break is whitespace between tokens, never inside a string.
        flat = body.replace(b"\n", b" ").replace(b"\r", b" ").strip()
        rest = rest[:-1] + b',"body":' + flat + b"}"
    return with_checksum(rest)


def with_checksum(rest: bytes) -> bytes:
    """A line of a landing file from its content after the checksum."""
    return b'{"crc":"%08x",' % zlib.crc32(rest) + rest + b"\n"


def count_refused(attempt: Attempt, page: int) -> None:
    """Count another run in which the lookup of a page failed."""
    last, times = attempt.refused
    attempt.refused = (page, times + 1 if page == last else 1)


def read_records(key: SnapshotKey, path: Path, file: IO[bytes]) -> Landed:
    """Read the records up to the last sound one. Raises LandingDamaged."""
    attempts: list[Attempt] = []
    sound = 0
    records = Records(path, file)
    for head, _ in records:
        kind = head["kind"]
        if kind == "start":
            if head["format"] > LANDING_FORMAT:
                raise LandingDamaged(
                    f"{path}: landed by a newer sf_assets (format {head['format']}); upgrade"
                )
            attempts.append(Attempt(head["attempt"], head["token"], head["run_id"], head["at"]))
        elif kind == "adopt":
            attempts[-1].token = head["token"]
        elif kind == "end":
            attempts[-1].end = End(
                head["lookup_status"], head["end_reason"], head["at"], head["run_id"]
            )
        elif kind == "refused":
            count_refused(attempts[-1], head["page"])
        else:
            count_record(attempts[-1], head)
        sound = records.sound_bytes
    return Landed(key, path, tuple(attempts), sound)


class Records:
    """Iterates over (head, body) of a landing file. `sound_bytes` is the length of sound lines."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self._file, self.sound_bytes = path, file, 0

    def __iter__(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        reader = self._file
        if isinstance(reader, io.FileIO):
            # A buffered reader on a copy of the descriptor, because closing it closes its own.
            reader = os.fdopen(os.dup(reader.fileno()), "rb")
        with reader:
            if reader.seekable():  # a decompressing stream is not
                reader.seek(0)
            bad_line: int | None = None
            for number, line in enumerate(reader, start=1):
                if bad_line is not None:
                    raise LandingDamaged(
                        f"{self._path}:{bad_line}: damaged line; the pages before and after it are "
                        "kept. Restore the file, or move it away and read the list again"
                    )
                rest = line[CRC_HEAD:-1]
                if not line.endswith(b"\n") or line[:CRC_HEAD] != b'{"crc":"%08x",' % zlib.crc32(
                    rest
                ):
                    bad_line = number  # the last line may be incomplete after a crash
                    continue
                head, mark, body = rest.partition(b',"body":')
                self.sound_bytes += len(line)
                yield json.loads(b"{" + head + (b"}" if mark else b"")), body[:-1]
