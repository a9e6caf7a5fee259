"""Pages exactly as they came, landed before anything else is asked for.

A landing is a folder (`landing_disk`) or a place in an object store (`landing_objects`). A snapshot
is `landing/<day>/<relation>/<handle>.jsonl`, one JSON object a line, which only grows; once it is
archived it is compressed to `<handle>.jsonl.zst` (`packed`).
`start` opens an attempt, `adopt` names a later intent that goes on with it, each `page` carries the
request and the untouched body, `unread` notes an answer that was paid for and is in quarantine,
`end` says how the walk ended. Every line begins with a CRC of the
rest, because a page is paid for once and a day cannot be fetched again: a torn last line is cut off
and its page asked for again, a damaged line in the middle is an error that names file and line.
"""

from __future__ import annotations

import base64
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import date
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
    """Another process writes a list just now."""


class Landing(ABC):
    """Where pages land. `root` is its place, which messages name; in `counts` the credits of a day
    are counted."""

    # Is every record a question over the network? Then it is not asked in an event loop.
    far: bool

    def __init__(self, root: Path, counts: Path | Shared) -> None:
        self.root, self.counts = root, counts

    @abstractmethod
    def names(self, *folders: str) -> Iterable[str]:
        """The names in a folder below the root; none where it is not there."""

    @abstractmethod
    def read(self, key: SnapshotKey) -> Landed | None:
        """What is landed of a snapshot, None for nothing. Raises LandingDamaged."""

    @abstractmethod
    def read_each(
        self, keys: Iterable[SnapshotKey]
    ) -> Iterator[tuple[SnapshotKey, Landed | LandingDamaged | None]]:
        """What is landed of each list, in their order, or why that cannot be told."""

    @abstractmethod
    def unsettled(self, day: date, ended: Mapping[SnapshotKey, str]) -> list[SnapshotKey]:
        """Lists of a day of which more may be landed than is loaded. `ended` has the moments at
        which the readings that are loaded ended; no list is read whole for it."""

    @abstractmethod
    def open(self, key: SnapshotKey) -> SnapshotLog | None:
        """Hold a snapshot for writing; None while another process does.

        Two runs of one day so never read the same list twice. Raises LandingDamaged.
        """

    @abstractmethod
    def quarantine(self, key: SnapshotKey, page: int, reason: str, body: bytes) -> Path:
        """Keep a body that breaks the contract beside the landing, with the reason."""

    @abstractmethod
    def modified(self, key: SnapshotKey) -> float | None:
        """When a list was last written to, in seconds since 1970; None where nothing is landed."""

    @abstractmethod
    def not_packed(self, day: date) -> list[SnapshotKey]:
        """Lists of a day that `pack` may compress."""

    @abstractmethod
    def pack(self, key: SnapshotKey, archived: tuple[int, int]) -> bool:
        """Compress a list of which the archive has this version: its attempt and pages.

        False for one that is held, that goes on, or of which more is landed; it stays as it is.
        Raises LandingDamaged, OSError.
        """

    @abstractmethod
    def drop(self, key: SnapshotKey) -> None:
        """Delete what is landed of a list, what is in quarantine, and folders without files."""

    def drop_all(self, keys: Iterable[SnapshotKey]) -> None:
        """The same for many lists."""
        for key in keys:
            self.drop(key)

    def send_spooled(self, change: Callable[[SnapshotKey], Bytes] | None = None) -> int:
        """Land for good what processes of this machine left half landed; the number of lists.

        Bodies of each list go through `change`. What another process holds is left to it. Raises
        OSError, LandingDamaged.
        """
        return 0

    def tidy(self) -> None:
        """End what is done in the background, at the end of a run. Raises OSError."""
        return

    @abstractmethod
    def rewrite(self, key: SnapshotKey, page: Bytes, unusable: Bytes) -> bool:
        """Put what `page` makes of each landed body in its place, and what `unusable` makes of
        each in quarantine; says whether anything changed.

        Raises LandingBusy while another process holds the list, LandingDamaged, OSError.
        """

    def meter(self, day: date, handle: str | None = None) -> Path | Shared:
        """What counts the credits of a day, or those of one handle."""
        of = f".{checked(handle)}" if handle else ""
        name = f"{SPENT}{day.isoformat()}{of}"
        if isinstance(self.counts, Shared):
            return replace(self.counts, name=name)
        return self.counts / name

    def path(self, key: SnapshotKey) -> Path:
        return self.root / key.day.isoformat() / key.relation / f"{checked(key.handle)}.jsonl"

    def read_or_why(self, key: SnapshotKey) -> Landed | LandingDamaged | None:
        """What is landed of a snapshot, or why that cannot be told."""
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
        for name in filter(_DAY.fullmatch, self.names()):
            try:
                found.append(date.fromisoformat(name))
            except ValueError:
                continue
        return sorted(found)

    def keys(self, day: date) -> list[SnapshotKey]:
        """Snapshots of a day of which something is landed."""
        return self._keys(day, SUFFIX)

    def quarantined(self, day: date) -> list[SnapshotKey]:
        """Snapshots of a day with answers in quarantine."""
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
    """A snapshot held for writing. Use it as a context manager; leaving it lets go of it."""

    def __init__(self, key: SnapshotKey, path: Path, attempts: Iterable[Attempt]) -> None:
        self.key, self.path, self.attempts = key, path, list(attempts)

    @abstractmethod
    def write(self, line: bytes) -> None:
        """Add a line. Raises LandingTaken where another worker goes on with the list."""

    @abstractmethod
    def reading(self) -> IO[bytes]:
        """All lines, from the first."""

    @abstractmethod
    def make_durable(self) -> None:
        """Wait until it is all kept for good. Takes its time, so not in an event loop."""

    @abstractmethod
    def landed(self) -> Landed:
        """What is landed by now."""

    @abstractmethod
    def close(self) -> None:
        """Let go of it."""

    def __enter__(self) -> SnapshotLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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
        """Note answers to one question that broke the contract, and so did not say their price."""
        told = {"at": now(), "request_id": "", "credits": 0, "cached": False, "tries": tries}
        self._add({"kind": "unread", **self._of, "page": page, **told, "answers": answers})

    def add_refused(self, page: int) -> None:
        """Note that a page could not be had in this run, however often it was asked for."""
        self._append({"kind": "refused", **self._of, "page": page, "at": now()})
        count_refused(self.attempts[-1], page)

    @property
    def _of(self) -> dict[str, Any]:
        attempt = self.attempts[-1].number
        return {"relation": self.key.relation, "handle": self.key.handle, "attempt": attempt}

    def _add(self, head: dict[str, Any], body: bytes | None = None) -> None:
        """Add what came for the last attempt, and count it."""
        self._append(head, body)
        count_record(self.attempts[-1], head)

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

    def pages(self) -> Iterator[Page]:
        """The landed pages of the last attempt, in order, for going on with it."""
        number = self.attempts[-1].number if self.attempts else 0
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
    """The handle, which becomes part of a path. Raises ValueError for what is none."""
    if not is_handle(handle):
        raise ValueError(f"{handle[:60]!a} is no handle: nothing was read or written")
    return handle


def quarantine_record(page: int, reason: str, body: bytes) -> bytes:
    """A line that keeps a body which breaks the contract."""
    record = {
        "received_at": now(),
        "page": page,
        "reason": reason,
        "body_base64": base64.b64encode(body).decode("ascii"),
    }
    return json.dumps(record).encode() + b"\n"


def with_pages(lines: Iterable[bytes], change: Bytes) -> bytes:
    """Sound lines of a landing file with what `change` makes of each body."""
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
    """Lines of quarantine with what `change` makes of each body."""
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
    """Delete raw pages of days before `day`, except the snapshots in `keep`; returns files removed.

    Callers pass what is not archived yet as `keep`. Quarantined bodies go with their day.
    """
    removed = 0
    for old in (known for known in landing.days() if known < day):
        dropped = [key for key in landing.keys(old) if key not in keep]
        landing.drop_all(dropped)
        removed += len(dropped)
    meter = landing.meter(day)
    if isinstance(meter, Shared):
        meter.forget_older(SPENT)
        return removed
    for older in meter.parent.glob(f"{SPENT}????-??-??*"):
        if older.name[: len(meter.name)] < meter.name:
            older.unlink(missing_ok=True)
    return removed


def quarantined(path: Path) -> Path:
    """Where bodies that break the contract are kept, beside the landing of their list."""
    # No handle's own file ends so; `bob.quarantine` is a handle like any other.
    return path.with_name(f"{path.name}{QUARANTINE}")


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
