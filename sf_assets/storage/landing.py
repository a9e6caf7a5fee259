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
import json
import os
import random
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import IO, Any

import portalocker

from sf_assets.model import RELATIONS, SnapshotKey, is_handle
from sf_assets.storage.records import (
    LANDING_FORMAT,
    Attempt,
    End,
    Landed,
    LandingDamaged,
    Page,
    Records,
    count_record,
    now,
    read_records,
)
from sf_assets.text import first_line

# An `end` is a few hundred bytes.
_LONGEST_END = 2048


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
        count_record(attempt, head)

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
        count_record(attempt, head)

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
            for head, body in Records(self.path, file):
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


def with_body(line: bytes, mended: Callable[[bytes], bytes], *, every: bool) -> bytes:
    """A line with what `mended` makes of its page; unless `every`, only of one with damage."""
    head, mark, body = line.partition(b',"body":')
    if not mark or not (every or b'"damaged":' in head[:80]):
        return line
    return head + mark + mended(body.removesuffix(b"\n").removesuffix(b"}")) + b"}\n"


def spent_on(landing: Landing, day: date, keys: Iterable[SnapshotKey] | None = None) -> int:
    """Credits charged for all answers of a day, or of some of its lists; quarantine is counted."""
    each = landing.read_each(landing.keys(day) if keys is None else keys)
    return sum(landed.spent for _, landed in each if isinstance(landed, Landed))
