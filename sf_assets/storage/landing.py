"""Pages on disk, exactly as they came, before anything else is asked for.

One append-only file a snapshot: `landing/<day>/<relation>/<handle>.jsonl`, one JSON object a line.
`start` opens an attempt, `adopt` names a later intent that goes on with it, each `page` carries the
request and the untouched body, `unread` notes an answer that was paid for and is in quarantine,
`end` says how the walk ended. Every line begins with a CRC of the
rest, because a page is paid for once and a day cannot be fetched again: a torn last line is cut off
and its page asked for again, a damaged line in the middle is an error that names file and line.
"""

from __future__ import annotations

import base64
import io
import json
import os
import random
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from pathlib import Path
from typing import IO, Any

import portalocker

from sf_assets.settings import RELATIONS, Relation, SfAssetsError, is_handle
from sf_assets.text import first_line

LANDING_FORMAT = 1
_CRC_HEAD = len(b'{"crc":"00000000",')
# An `end` is a few hundred bytes.
_LONGEST_END = 2048

# Our own caps and an empty purse end a walk early; with new credits it goes on where it stopped.
RESUMABLE_ENDS = ("budget", "out_of_credits")


class LandingDamaged(SfAssetsError):
    """A line of a landing file is not what was written. Nothing of the file was used."""


class LandingTaken(SfAssetsError):
    """Another worker goes on with this list: nothing was written, wait for what he lands."""


@dataclass(frozen=True, order=True)
class SnapshotKey:
    """One relation of one handle on one UTC day."""

    day: date
    handle: str
    relation: Relation

    def __str__(self) -> str:
        return f"{self.handle} {self.relation} {self.day}"


@dataclass(frozen=True)
class Page:
    """One landed answer; `body` is the response body, bytes of one JSON object. `damaged` of its
    fields are not what the contract says."""

    number: int
    cursor: str | None
    received_at: str
    request_id: str
    credits: int
    cached: bool
    tries: int
    body: bytes
    damaged: int = 0


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


class Landing:
    """The `landing/` folder."""

    # Is every record a question over the network? Then it is not asked in an event loop.
    far = False

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: SnapshotKey) -> Path:
        return self.root / key.day.isoformat() / key.relation / f"{checked(key.handle)}.jsonl"

    def read(self, key: SnapshotKey) -> Landed | None:
        """What is landed of a snapshot, None for nothing. Raises LandingDamaged."""
        path = self.path(key)
        try:
            with path.open("rb") as file:
                return read_records(key, path, file)
        except FileNotFoundError:
            return None

    def read_each(
        self, keys: Iterable[SnapshotKey]
    ) -> Iterator[tuple[SnapshotKey, Landed | LandingDamaged | None]]:
        """What is landed of each list, in their order, or why that cannot be told."""
        return ((key, self._read_or_why(key)) for key in keys)

    def _read_or_why(self, key: SnapshotKey) -> Landed | LandingDamaged | None:
        try:
            return self.read(key)
        except LandingDamaged as error:
            return error
        except Exception as error:  # a file without permission, a record nobody wrote like that
            return LandingDamaged(
                f"{self.path(key)} cannot be read ({first_line(error)}); mend it, or move it away "
                "and snapshot again"
            )

    def days(self) -> list[date]:
        """Days with landed pages, oldest first."""
        found = []
        for folder in self.root.glob("????-??-??"):
            try:
                found.append(date.fromisoformat(folder.name))
            except ValueError:
                continue
        return sorted(found)

    def keys(self, day: date) -> list[SnapshotKey]:
        """Snapshots of a day that have a landing file."""
        return sorted(
            SnapshotKey(day, handle, relation)
            for relation in RELATIONS
            for path in (self.root / day.isoformat() / relation).glob("*.jsonl")
            if is_handle(handle := path.name.removesuffix(".jsonl"))
        )

    def unsettled(self, day: date, ended: Mapping[SnapshotKey, str]) -> list[SnapshotKey]:
        """Lists of a day of which more may be landed than is loaded. `ended` has the moments at
        which the readings that are loaded ended; only the last lines of files are looked at."""
        return [
            key for key in self.keys(day) if key not in ended or self._last_end(key) != ended[key]
        ]

    def _last_end(self, key: SnapshotKey) -> str | None:
        """When the walk ended, where its end is the last line."""
        with self.path(key).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LONGEST_END))
            lines = file.read().split(b"\n")
        # The last one is whole, and so is followed by nothing and has a line break before it.
        if len(lines) < 3 or lines[-1]:
            return None
        try:
            head = json.loads(lines[-2])
            return str(head["at"]) if head["kind"] == "end" else None
        except (ValueError, LookupError, TypeError, RecursionError):
            return None

    def meter(self, day: date, handle: str | None = None) -> Path:
        """The file that counts the credits of a day, or those of one handle."""
        return self.root / (f".spent-{day.isoformat()}" + (f".{checked(handle)}" if handle else ""))

    def open(self, key: SnapshotKey) -> SnapshotLog | None:
        """Lock a snapshot's file for writing; None while another process holds it.

        Two runs of one day so never read the same list twice. Raises LandingDamaged.
        """
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b", buffering=0)
        try:
            portalocker.lock(file, portalocker.LOCK_EX | portalocker.LOCK_NB)
        except portalocker.AlreadyLocked:
            file.close()
            return None
        except portalocker.LockException as error:
            file.close()
            # Waiting would never end: some network file systems have no locks.
            raise OSError(f"{path} cannot be locked: {error}") from None
        try:
            return SnapshotLog(key, path, file)
        except BaseException:
            file.close()
            raise

    def quarantine(self, key: SnapshotKey, page: int, reason: str, body: bytes) -> Path:
        """Keep a body that breaks the contract beside the landing, with the reason."""
        path = quarantined(self.path(key))
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
            file.write(self._quarantine_record(page, reason, body))
        return path

    def modified(self, key: SnapshotKey) -> float | None:
        """When a list was last written to, in seconds since 1970; None where nothing is landed."""
        try:
            return self.path(key).stat().st_mtime
        except FileNotFoundError:
            return None

    def drop(self, key: SnapshotKey) -> None:
        """Delete what is landed of a list, and what is in quarantine."""
        path = self.path(key)
        path.unlink(missing_ok=True)
        quarantined(path).unlink(missing_ok=True)

    def drop_folders(self, day: date) -> None:
        """Remove the folders of a day, as far as they are empty."""
        parent = self.root / day.isoformat()
        for folder in (parent / name for name in RELATIONS):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        if not any(parent.iterdir()):
            parent.rmdir()

    @staticmethod
    def _quarantine_record(page: int, reason: str, body: bytes) -> bytes:
        record = {
            "received_at": now(),
            "page": page,
            "reason": reason,
            "body_base64": base64.b64encode(body).decode("ascii"),
        }
        return json.dumps(record).encode() + b"\n"


class SnapshotLog:
    """A landing file held for writing. Use it as a context manager; leaving it unlocks."""

    def __init__(self, key: SnapshotKey, path: Path, file: IO[bytes]) -> None:
        self.key, self.path, self._file = key, path, file
        landed = read_records(key, path, file)
        self.attempts = list(landed.attempts)
        file.truncate(landed.sound_bytes)
        file.seek(landed.sound_bytes)

    def __enter__(self) -> SnapshotLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Unlock and close."""
        if not self._file.closed:
            portalocker.unlock(self._file)
            self._file.close()

    @property
    def last(self) -> Attempt | None:
        return self.attempts[-1] if self.attempts else None

    @property
    def settled(self) -> bool:
        return any(attempt.settled for attempt in self.attempts)

    def begin(self, token: str, run_id: str) -> Attempt:
        """Open a new attempt. `token` names the intent: retries of one run share it."""
        attempt = Attempt(len(self.attempts) + 1, token, run_id, now())
        self._append(
            {
                "kind": "start",
                "format": LANDING_FORMAT,
                "relation": self.key.relation,
                "handle": self.key.handle,
                "day": self.key.day.isoformat(),
                "attempt": attempt.number,
                "token": token,
                "run_id": run_id,
                "at": attempt.started_at,
            }
        )
        self.attempts.append(attempt)
        return attempt

    def adopt(self, token: str) -> None:
        """Make the open attempt this intent's: what it buys from here on is bought for it."""
        attempt = self.attempts[-1]
        self._append({"kind": "adopt", "attempt": attempt.number, "token": token, "at": now()})
        attempt.token = token

    def add_page(self, page: Page, *, doubted: bool = False) -> None:
        """Land one answer. A `doubted` one is evidence and cost, but not a page of the list."""
        attempt = self.attempts[-1]
        head = {
            "kind": "doubted" if doubted else "page",
            **({"damaged": page.damaged} if page.damaged else {}),
            "relation": self.key.relation,
            "handle": self.key.handle,
            "attempt": attempt.number,
            "page": page.number,
            "cursor": page.cursor,
            "at": page.received_at,
            "request_id": page.request_id,
            "credits": page.credits,
            "cached": page.cached,
            "tries": page.tries,
        }
        self._append(head, page.body)
        _count(attempt, head)

    def add_unread(self, page: int, answers: int, tries: int) -> None:
        """Note answers to one question that broke the contract, and so did not say their price."""
        attempt = self.attempts[-1]
        head = {
            "kind": "unread",
            "relation": self.key.relation,
            "handle": self.key.handle,
            "attempt": attempt.number,
            "page": page,
            "at": now(),
            "request_id": "",
            "credits": 0,
            "cached": False,
            "tries": tries,
            "answers": answers,
        }
        self._append(head)
        _count(attempt, head)

    def finish(self, lookup_status: str, end_reason: str | None, run_id: str) -> End:
        """Write the end of the last attempt. `make_durable` is to follow."""
        attempt = self.attempts[-1]
        end = End(lookup_status, end_reason, now(), run_id)
        self._append(
            {
                "kind": "end",
                "attempt": attempt.number,
                "lookup_status": lookup_status,
                "end_reason": end_reason,
                "run_id": run_id,
                "at": end.finished_at,
            }
        )
        attempt.end = end
        return end

    def make_durable(self) -> None:
        """Wait until the disk has it all. Takes its time, so not in an event loop."""
        os.fsync(self._file.fileno())

    def pages(self) -> Iterator[Page]:
        """The landed pages of the last attempt, in order, for going on with it."""
        number = self.attempts[-1].number if self.attempts else 0
        with self._reading() as file:
            for head, body in _Records(self.path, file):
                if head["kind"] == "page" and head["attempt"] == number:
                    yield Page(
                        number=head["page"],
                        cursor=head["cursor"],
                        received_at=head["at"],
                        request_id=head["request_id"],
                        credits=head["credits"],
                        cached=head["cached"],
                        tries=head["tries"],
                        body=body,
                        damaged=head.get("damaged", 0),
                    )

    def landed(self) -> Landed:
        """What is landed by now."""
        return Landed(self.key, self.path, tuple(self.attempts), 0)

    def _reading(self) -> IO[bytes]:
        return self.path.open("rb")

    def _append(self, head: dict[str, Any], body: bytes | None = None) -> None:
        rest = json.dumps(head, separators=(",", ":")).encode()[1:]
        if body is not None:
            # A raw line break in valid JSON is white space between tokens, never inside a string.
            flat = body.replace(b"\n", b" ").replace(b"\r", b" ").strip()
            rest = rest[:-1] + b',"body":' + flat + b"}"
        self._write(b'{"crc":"%08x",' % zlib.crc32(rest) + rest + b"\n")

    def _write(self, line: bytes) -> None:
        view = memoryview(line)
        while view:  # an unbuffered write may be short, on a full disk above all
            view = view[self._file.write(view) :]


def checked(handle: str) -> str:
    """The handle, which becomes part of a path. Raises ValueError for what is none."""
    if not is_handle(handle):
        raise ValueError(f"{handle[:60]!a} is no handle: nothing was read or written")
    return handle


def now() -> str:
    """This moment as ISO 8601 in UTC, to the millisecond."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def wait_a_little(attempt: int) -> float:
    """Seconds until a locked file is tried again, with jitter, at most about two."""
    return float(min(2.0, 0.05 * 2 ** min(attempt, 6)) * random.uniform(0.5, 1.0))


def drop_days_before(landing: Landing, day: date, keep: set[SnapshotKey]) -> int:
    """Delete raw pages of days before `day`, except the snapshots in `keep`; returns files removed.

    Callers pass what is not archived yet as `keep`. Quarantined bodies go with their day.
    """
    removed = 0
    for old in (known for known in landing.days() if known < day):
        for key in landing.keys(old):
            if key not in keep:
                landing.drop(key)
                removed += 1
        landing.drop_folders(old)
    meter = landing.meter(day)
    for older in meter.parent.glob(".spent-????-??-??*"):
        if older.name[: len(meter.name)] < meter.name:
            older.unlink(missing_ok=True)
    return removed


def quarantined(path: Path) -> Path:
    """Where bodies that break the contract are kept, beside the landing of their list."""
    # No handle's own file ends so; `bob.quarantine` is a handle like any other.
    return path.with_name(f"{path.name}.quarantine")


def _count(attempt: Attempt, head: dict[str, Any]) -> None:
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
    records = _Records(path, file)
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
            _count(attempts[-1], head)
        sound = records.sound_bytes
    return Landed(key, path, tuple(attempts), sound)


def with_body(line: bytes, mended: Callable[[bytes], bytes], *, every: bool) -> bytes:
    """A line with what `mended` makes of its page; unless `every`, only of one with damage."""
    head, mark, body = line.partition(b',"body":')
    if not mark or not (every or b'"damaged":' in head[:80]):
        return line
    return head + mark + mended(body.removesuffix(b"\n").removesuffix(b"}")) + b"}\n"


class _Records:
    """Iterates over (head, body) of a landing file; `sound_bytes` ends with the last sound line."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self._file, self.sound_bytes = path, file, 0

    def __iter__(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        self._file.seek(0)
        if isinstance(self._file, io.BytesIO):
            reader: IO[bytes] = self._file
        else:
            # Buffered on top of a raw descriptor; closing the reader must not close the descriptor.
            reader = os.fdopen(os.dup(self._file.fileno()), "rb")
        with reader:
            reader.seek(0)
            bad_line: int | None = None
            for number, line in enumerate(reader, start=1):
                if bad_line is not None:
                    raise LandingDamaged(
                        f"{self._path}:{bad_line}: damaged line; the pages before and after it are "
                        "kept. Restore the file from a backup, or move it away and snapshot again"
                    )
                rest = line[_CRC_HEAD:-1]
                if not line.endswith(b"\n") or line[:_CRC_HEAD] != b'{"crc":"%08x",' % zlib.crc32(
                    rest
                ):
                    bad_line = number  # torn while it was written, if nothing follows
                    continue
                head, mark, body = rest.partition(b',"body":')
                self.sound_bytes += len(line)
                yield json.loads(b"{" + head + (b"}" if mark else b"")), body[:-1]
