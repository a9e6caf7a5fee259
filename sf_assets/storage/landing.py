"""The landing: pages as received, stored before the next one is requested.

A landing is a folder (`landing_disk`) or a prefix in an object store (`landing_objects`). A
snapshot is `landing/<day>/<relation>/<handle>.jsonl`, one JSON object per line, which only grows.
After archiving it is compressed to `<handle>.jsonl.zst` (`packed`).

`start` begins an attempt, `adopt` names a later refresh that continues it, each `page` has the
request and the unchanged body, `unread` records a response that was charged and is in quarantine,
and `end` is the end of the walk. Every line begins with a CRC of its rest, because pages are paid
for and a past day cannot be read again. An incomplete last line is removed and its page requested
again; a damaged line in the middle is an error that names file and line.
"""

from __future__ import annotations

import base64
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import IO, Any

from sf_assets.errors import SfAssetsError
from sf_assets.model import RELATIONS, SnapshotKey, is_handle
from sf_assets.storage.packed import SUFFIX
from sf_assets.storage.records import (
    CRC_HEAD,
    LANDING_FORMAT,
    Attempt,
    End,
    Landed,
    LandingDamaged,
    Page,
    Records,
    count_record,
    count_refused,
    now,
    record_line,
    with_checksum,
)
from sf_assets.storage.shared import Shared
from sf_assets.text import first_line

QUARANTINE = ".quarantine"
SPENT = ".spent-"
Bytes = Callable[[bytes], bytes]

_DAY = re.compile(r"\d{4}-\d\d-\d\d")


class LandingBusy(SfAssetsError):
    """Another process is writing the list."""


class Landing(ABC):
    """Where pages land. `root` is its place, which messages name; in `counts` the credits of a day
    are counted."""

    # Whether the landing is remote. Then it must not be used in an event loop.
    far: bool

    def __init__(self, root: Path, counts: Path | Shared) -> None:
        self.root, self.counts = root, counts

    @abstractmethod
    def names(self, *folders: str) -> Iterable[str]:
        """The names in a folder below the root; empty if the folder is missing."""

    @abstractmethod
    def read(self, key: SnapshotKey) -> Landed | None:
        """The landed records of a snapshot, or None. Raises LandingDamaged."""

    @abstractmethod
    def read_each(
        self, keys: Iterable[SnapshotKey]
    ) -> Iterator[tuple[SnapshotKey, Landed | LandingDamaged | None]]:
        """The landed records of each list, in order, or the error that prevents reading them."""

    @abstractmethod
    def unsettled(self, day: date, ended: Mapping[SnapshotKey, str]) -> list[SnapshotKey]:
        """Lists of a day that may have more landed than loaded pages.

        `ended` has the end times of the loaded walks. No list is read completely for this.
        """

    @abstractmethod
    def open(self, key: SnapshotKey) -> SnapshotLog | None:
        """Open and lock a snapshot for writing; None while another process holds it.

        So two runs never read the same list of a day. Raises LandingDamaged.
        """

    @abstractmethod
    def quarantine(self, key: SnapshotKey, page: int, reason: str, body: bytes) -> Path:
        """Keep a body that breaks the contract, with the reason; returns its path."""

    @abstractmethod
    def modified(self, key: SnapshotKey) -> float | None:
        """When a list was last written (Unix seconds); None if nothing is landed."""

    @abstractmethod
    def not_packed(self, day: date) -> list[SnapshotKey]:
        """Lists of a day that `pack` may compress."""

    @abstractmethod
    def pack(self, key: SnapshotKey, archived: tuple[int, int]) -> bool:
        """Compress a list if the archive has this version (attempt and pages) of it.

        False if the list is locked, continues, or has more pages; it is then unchanged. Raises
        LandingDamaged, OSError.
        """

    @abstractmethod
    def drop(self, key: SnapshotKey) -> None:
        """Delete the pages of a list, its quarantine, and empty folders."""

    def drop_all(self, keys: Iterable[SnapshotKey]) -> None:
        """Delete many lists, as `drop`."""
        for key in keys:
            self.drop(key)

    def send_spooled(self, change: Callable[[SnapshotKey], Bytes] | None = None) -> int:
        """Land for good what processes of this machine left half landed; the number of lists.

        Bodies of each list go through `change`. What another process holds is left to it. Raises
        OSError, and LandingDamaged after all other lists.
        """
        return 0

    def tidy(self) -> None:
        """Finish background work at the end of a run. Raises OSError."""
        return

    @abstractmethod
    def rewrite(self, key: SnapshotKey, page: Bytes, unusable: Bytes) -> bool:
        """Replace each landed body by `page(body)` and each one in quarantine by `unusable(body)`.

        Returns whether anything changed. Raises LandingBusy while another process holds the list,
        LandingDamaged, OSError.
        """

    def meter(self, day: date, handle: str | None = None) -> Path | Shared:
        """What counts the credits of a day, or those of one handle."""
        of = f".{checked(handle)}" if handle else ""
        name = f"{SPENT}{day.isoformat()}{of}"
        if isinstance(self.counts, Shared):
            return replace(self.counts, name=name)
        return self.counts / name

    def path(self, key: SnapshotKey) -> Path:
        """The path of a list before compression."""
        return self.root / key.day.isoformat() / key.relation / f"{checked(key.handle)}.jsonl"

    def read_or_why(self, key: SnapshotKey) -> Landed | LandingDamaged | None:
        """The landed records of a snapshot, or the error that prevents reading them."""
        try:
            return self.read(key)
        except LandingDamaged as error:
            return error
        except Exception as error:  # for example no permission, or an unexpected record
            return LandingDamaged(
                f"{self.path(key)} cannot be read ({first_line(error)}); repair it, or move it "
                "away and read the list again"
            )

    def days(self) -> list[date]:
        """Days with landed pages, oldest first."""
        found = []
        for name in filter(_DAY.fullmatch, self.names()):
            try:
                found.append(date.fromisoformat(name))
            except ValueError:
                continue
        return sorted(found)

    def keys(self, day: date) -> list[SnapshotKey]:
        """The snapshots of a day with landed pages."""
        return self._keys(day, SUFFIX)

    def quarantined(self, day: date) -> list[SnapshotKey]:
        """The snapshots of a day with responses in quarantine."""
        return [
            key
            for key in self._keys(day, QUARANTINE)
            if quarantined(self.path(key)).name in self.names(day.isoformat(), key.relation)
        ]

    def _keys(self, day: date, suffix: str) -> list[SnapshotKey]:
        return sorted(
            {
                SnapshotKey(day, handle, relation)
                for relation in RELATIONS
                for name in self.names(day.isoformat(), relation)
                if (file := name.removesuffix(suffix)).endswith(".jsonl")
                and is_handle(handle := file.removesuffix(".jsonl"))
            }
        )


class SnapshotLog(ABC):
    """A snapshot that is locked for writing. Use it as a context manager."""

    def __init__(self, key: SnapshotKey, path: Path, attempts: Iterable[Attempt]) -> None:
        self.key, self.path, self.attempts = key, path, list(attempts)

    @abstractmethod
    def write(self, line: bytes) -> None:
        """Add a line. Raises LandingTaken if another worker continues the list."""

    @property
    def waits(self) -> bool:
        """Whether the next record waits for a remote landing, so that a thread must add it."""
        return False

    @abstractmethod
    def reading(self) -> IO[bytes]:
        """All lines, from the first."""

    @abstractmethod
    def make_durable(self) -> None:
        """Wait until all lines are stored durably. Slow, so not for an event loop."""

    @abstractmethod
    def landed(self) -> Landed:
        """The records landed so far."""

    @abstractmethod
    def close(self) -> None:
        """Unlock the snapshot."""

    def __enter__(self) -> SnapshotLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def last(self) -> Attempt | None:
        """The newest attempt."""
        return self.attempts[-1] if self.attempts else None

    @property
    def finished(self) -> bool:
        """Whether the list is finished for its day."""
        return any(attempt.finished for attempt in self.attempts)

    def begin(self, token: str, run_id: str) -> Attempt:
        """Begin a new attempt. `token` is the name of a refresh, which retries of a run share."""
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
        """Continue the open attempt for the refresh `token`."""
        attempt = self.attempts[-1]
        self._append({"kind": "adopt", "attempt": attempt.number, "token": token, "at": now()})
        attempt.token = token

    def add_page(self, page: Page, *, doubted: bool = False) -> None:
        """Land a response. If `doubted`, it is evidence and cost, but not a page of the list."""
        self._add(
            {
                "kind": "doubted" if doubted else "page",
                **({"damaged": page.damaged} if page.damaged else {}),
                **({"new_fields": page.new_fields} if page.new_fields else {}),
                **self._of,
                "page": page.number,
                "cursor": page.cursor,
                "at": page.received_at,
                "request_id": page.request_id,
                "credits": page.credits,
                "cached": page.cached,
                "tries": page.tries,
                **({"measures": page.measures.to_json()} if page.measures else {}),
            },
            page.body,
        )

    def add_unread(self, page: int, answers: int, tries: int) -> None:
        """Record responses to a request that broke the contract, so that their cost is unknown."""
        cost = {"at": now(), "request_id": "", "credits": 0, "cached": False, "tries": tries}
        self._add({"kind": "unread", **self._of, "page": page, **cost, "answers": answers})

    def add_refused(self, page: int) -> None:
        """Record that the lookup of a page failed in this run, after all retries."""
        self._append({"kind": "refused", **self._of, "page": page, "at": now()})
        count_refused(self.attempts[-1], page)

    @property
    def _of(self) -> dict[str, Any]:
        attempt = self.attempts[-1].number
        return {"relation": self.key.relation, "handle": self.key.handle, "attempt": attempt}

    def _add(self, head: dict[str, Any], body: bytes | None = None) -> None:
        """Add a record to the last attempt and count it."""
        self._append(head, body)
        count_record(self.attempts[-1], head)

    def finish(self, lookup_status: str, end_reason: str | None, run_id: str) -> End:
        """Write the end of the last attempt. Call `make_durable` afterwards."""
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

    def pages(self, attempt: int | None = None) -> Iterator[Page]:
        """The landed pages of an attempt, by default of the last one, in order."""
        last = self.attempts[-1].number if self.attempts else 0
        number = last if attempt is None else attempt
        with self.reading() as file:
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

    def _append(self, head: dict[str, Any], body: bytes | None = None) -> None:
        self.write(record_line(head, body))


def checked(handle: str) -> str:
    """The handle, as part of a path. Raises ValueError if it is not a valid handle."""
    if not is_handle(handle):
        raise ValueError(f"{handle[:60]!a} is not a handle; nothing was read or written")
    return handle


def quarantine_record(page: int, reason: str, body: bytes) -> bytes:
    """A quarantine line for a body that breaks the contract."""
    record = {
        "received_at": now(),
        "page": page,
        "reason": reason,
        "body_base64": base64.b64encode(body).decode("ascii"),
    }
    return json.dumps(record).encode() + b"\n"


def with_pages(lines: Iterable[bytes], change: Bytes) -> bytes:
    """Sound lines of a landing file with `change(body)` for each body."""
    made = []
    for line in lines:
        rest = line[CRC_HEAD:-1]
        head, mark, body = rest.partition(b',"body":')
        if mark:
            changed = change(body[:-1])
            if changed != body[:-1]:
                line = with_checksum(head + mark + changed + b"}")
        made.append(line)
    return b"".join(made)


def with_quarantine(lines: Iterable[bytes], change: Bytes) -> bytes:
    """Quarantine lines with `change(body)` for each body."""
    made = []
    for line in lines:
        record = json.loads(line)
        body = base64.b64decode(record["body_base64"])
        changed = change(body)
        if changed != body:
            record["body_base64"] = base64.b64encode(changed).decode("ascii")
            line = json.dumps(record).encode() + b"\n"
        made.append(line)
    return b"".join(made)


def drop_days_before(landing: Landing, day: date, keep: set[SnapshotKey]) -> int:
    """Delete raw pages of days before `day`, with their quarantine; returns the number of lists.

    `keep` has the snapshots that are not archived yet.
    """
    removed = 0
    for old in (known for known in landing.days() if known < day):
        dropped = [key for key in landing.keys(old) if key not in keep]
        landing.drop_all(dropped)
        removed += len(dropped)
    meter = landing.meter(day)
    if isinstance(meter, Shared):
        # A run of the day before may go on after midnight, with its count.
        replace(meter, name=landing.meter(day - timedelta(days=1)).name).forget_older(SPENT)
        return removed
    for older in meter.parent.glob(f"{SPENT}????-??-??*"):
        if older.name[: len(meter.name)] < meter.name:
            older.unlink(missing_ok=True)
    return removed


def quarantined(path: Path) -> Path:
    """The path of bodies that break the contract, next to the landing of their list."""
    # The file of no handle has this name: `bob.quarantine` is a valid handle.
    return path.with_name(f"{path.name}{QUARANTINE}")


def with_body(line: bytes, repair: Callable[[bytes], bytes], *, every: bool) -> bytes:
    """A line with `repair(body)`; unless `every`, only if the page has damaged fields."""
    head, mark, body = line.partition(b',"body":')
    if not mark or not (every or b'"damaged":' in head[:80]):
        return line
    return head + mark + repair(body.removesuffix(b"\n").removesuffix(b"}")) + b"}\n"


def spent_on(landing: Landing, day: date, keys: Iterable[SnapshotKey] | None = None) -> int:
    """Credits charged on a day, for all or some lists, including responses in quarantine."""
    each = landing.read_each(landing.keys(day) if keys is None else keys)
    return sum(landed.spent for _, landed in each if isinstance(landed, Landed))
