"""The landing in an object store. Pages are written to the disk of this machine first.

An object is complete or absent. Records become objects `<handle>.jsonl.open/00000001`, named by the
number of their first record and created only if that name is free. When the walk has ended, they
become one object `<handle>.jsonl.zst` with the lines of the file on disk, and are then removed.
(Older versions wrote `<handle>.jsonl`, which is read as well.)

Each record is first written to the spool, a landing in a folder of this machine. With `page` it is
uploaded before the next page is requested; with `batch` many records are uploaded together. The
next process on this machine uploads what a killed process or an unreachable S3 left in the spool.

The store has no locks. A worker that finds a list which another one wrote to within the lease waits
for it. After the lease it continues the list by taking the next number first. If the other worker
was only slow, its next upload finds the number taken, or the complete object of a finished list, so
it stops and waits in turn. At most the pages that it had not uploaded by then are bought twice.
"""

from __future__ import annotations

import hashlib
import io
import logging
import shutil
import tempfile
import time
import uuid
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timezone
from functools import partial
from pathlib import Path
from typing import IO

from sf_assets.model import RELATIONS, SnapshotKey
from sf_assets.storage.files import Changed
from sf_assets.storage.landing import (
    QUARANTINE,
    Bytes,
    Landing,
    LandingBusy,
    SnapshotLog,
    checked,
    quarantine_record,
    quarantined,
    with_pages,
    with_quarantine,
)
from sf_assets.storage.landing_disk import DiskLanding, DiskLog
from sf_assets.storage.object_store import Store
from sf_assets.storage.packed import SUFFIX, pack, unpack
from sf_assets.storage.records import (
    Attempt,
    Landed,
    LandingDamaged,
    LandingTaken,
    read_records,
)
from sf_assets.storage.shared import Shared

# Longer than a page with its retries and pauses. A killed worker is waited for no longer.
LEASE_SECONDS = 60.0
# The folder of a home for pages that are not uploaded yet.
SPOOL = "spool"
# `batch` uploads at this many records or this age of the first one.
BATCH_RECORDS = 50
BATCH_SECONDS = 20.0
# In this time no other worker reads a whole list. After it, a new list is looked up once more.
BEGIN_SECONDS = 0.25
# Objects to remove with one request.
REMOVED_TOGETHER = 500
# Attempts at reading a list, because its records may become one object meanwhile.
LOOKS = 5
# Lists to look up concurrently.
AT_ONCE = 16

_log = logging.getLogger("sf_assets.reading")


@dataclass(frozen=True)
class LandedObjects(Landed):
    """The landed records of a snapshot in an object store. `fetch` returns the file's bytes."""

    fetch: Callable[[], bytes] = bytes
    touched: float = 0.0

    @property
    def modified(self) -> float:
        return self.touched

    def on_disk(self, folder: Path) -> Path:
        copy = folder / f"{uuid.uuid4().hex}.jsonl"
        copy.write_bytes(self.fetch())
        return copy


@dataclass(frozen=True)
class _Found:
    """The objects of a list: the complete one, or None, and the records beyond it.

    `plain` is the object of an older version.
    """

    whole: str | None
    opened: dict[int, str]
    touched: float
    plain: str | None
    seen: float  # time.monotonic() before the request
    versions: Mapping[str, str]  # ETags


class ObjectLanding(Landing):
    """The landing below an `s3://` address."""

    far = True

    def __init__(
        self,
        root: Path,
        shared: Path | None = None,
        lease_seconds: float | None = None,
        *,
        counts: Path | Shared | None = None,
        batch: bool = False,
    ) -> None:
        if shared is None:  # of nobody else's
            shared = Path(tempfile.mkdtemp(prefix="sf_assets_landing_"))
            weakref.finalize(self, shutil.rmtree, shared, ignore_errors=True)
        super().__init__(root, counts or shared)
        lease = LEASE_SECONDS + (BATCH_SECONDS if batch else 0)
        self.lease_seconds = lease if lease_seconds is None else lease_seconds
        self.batch = batch
        self._left: dict[SnapshotKey, int] = {}
        self.fs = Store(root)
        self.base = str(root.path).rstrip("/")  # type: ignore[attr-defined]
        # Each store has a spool of its own.
        name = hashlib.sha256(str(root).encode()).hexdigest()[:12]
        self.spool = DiskLanding(shared / SPOOL / name)
        self._sending: dict[SnapshotKey, Future[None]] = {}
        self._parked: dict[SnapshotKey, ObjectLog] = {}
        self._sender = ThreadPoolExecutor(AT_ONCE, "putting pages")
        self._to_remove: list[str] = []
        # The store's time, when the monotonic clock was 0.
        self._clock: float | None = None

    def names(self, *folders: str) -> Iterable[str]:
        names = self._names("/".join([self.base, *folders]), depth=1)
        return {name.rsplit("/", 1)[-1].removesuffix(".open") for name in names}

    def read(self, key: SnapshotKey) -> Landed | None:
        found, landed, _ = self._look(key)
        return landed if found.whole is not None or found.opened else None

    def read_each(
        self, keys: Iterable[SnapshotKey]
    ) -> Iterator[tuple[SnapshotKey, Landed | LandingDamaged | None]]:
        # The names of a day take one or two requests, and in the morning most lists have none.
        asked = list(keys)
        there = {key for day in {key.day for key in asked} for key in self.keys(day)}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            yield from zip(
                asked,
                pool.map(lambda key: self.read_or_why(key) if key in there else None, asked),
                strict=True,
            )

    def unsettled(self, day: date, ended: Mapping[SnapshotKey, str]) -> list[SnapshotKey]:
        # A finished walk is one object without records beside it.
        opened = {
            SnapshotKey(day, name.rsplit("/", 1)[-1].removesuffix(".jsonl.open"), relation)
            for relation in RELATIONS
            for name in self._names(f"{self.base}/{day.isoformat()}/{relation}", depth=1)
            if name.endswith(".jsonl.open")
        }
        return [key for key in self.keys(day) if key not in ended or key in opened]

    def open(self, key: SnapshotKey) -> SnapshotLog | None:
        parked = self._parked.pop(key, None)
        if parked is not None:
            if parked.is_fresh():
                return parked.taken_up()
            parked.send_and_close()
        if (sending := self._sending.pop(key, None)) is not None:
            sending.result()
        near = self.spool.open(key)
        if near is None:
            return None
        try:
            log = self._open(key, near)
        except BaseException:
            near.close()
            raise
        if log is None:
            near.close()
        return log

    def _open(self, key: SnapshotKey, near: DiskLog) -> ObjectLog | None:
        found, landed, lines = self._look(key)
        with near.reading() as file:
            spooled = file.read()
        # The last writer was a process of this machine that no longer holds the list.
        died = bool(spooled) and spooled.startswith(lines)
        if died:
            landed = self._landed_of(key, spooled, found)
        elif spooled != lines:
            if not lines.startswith(spooled):
                _log.warning("%s: another machine continued; local pages are dropped", key)
            near.start_over(lines)
        begun = bool(landed.attempts) and landed.attempts[-1].end is None
        # This process closed the list and nobody wrote since, so there is nobody to wait for.
        ours = self._left.pop(key, None) == lines.count(b"\n")
        if begun and not (ours or died) and self._store_time() - found.touched < self.lease_seconds:
            self.spool.drop(key)
            return None
        log = ObjectLog(self, near, landed, spooled if died else lines, found, sent=len(lines))
        try:
            if begun and not ours:
                # Before any request, so that a slow worker notices.
                log.adopt(landed.attempts[-1].token)
            log.send()
        except LandingTaken:
            return None
        return log

    def _store_time(self) -> float:
        """The time by the clock that stamps the objects (Unix seconds). Ours may be wrong."""
        if self._clock is None:
            now = f"{self.base}/.clock-{uuid.uuid4().hex}"
            self.fs.pipe_file(now, b"")
            at = time.monotonic()
            self._clock = self.fs.info(now)["LastModified"].timestamp() - at
            self.fs.rm([now])
        return time.monotonic() + self._clock

    def send_spooled(self, change: Callable[[SnapshotKey], Bytes] | None = None) -> int:
        sent, damaged = 0, None
        for key in [key for day in self.spool.days() for key in self.spool.keys(day)]:
            try:
                if change is not None:
                    self.spool.rewrite(key, change(key), bytes)
                log = self.open(key)
            except LandingBusy:
                continue  # its process uploads it
            except LandingDamaged as error:
                damaged = damaged or error  # the other lists are paid for as well
                continue
            if log is not None:
                log.close()
                sent += 1
        self.tidy()
        if damaged is not None:
            raise damaged
        return sent

    def tidy(self) -> None:
        self._put_parked(all_of_them=True)
        while self._sending:
            self._sending.popitem()[1].result()
        self._remove_all()

    def _remove_all(self) -> None:
        names, self._to_remove = self._to_remove, []
        if names:
            self.fs.rm(names)

    def remove(self, names: list[str]) -> None:
        """Remove objects, now or, with `batch`, later with others."""
        self._to_remove += names
        if not self.batch or len(self._to_remove) >= REMOVED_TOGETHER:
            self._remove_all()

    def let_go(self, log: ObjectLog, unsent: bool) -> None:
        """Close a list. Unsent records wait for more, or are uploaded during other lists."""
        if unsent:
            self._parked[log.key] = log
            self._put_parked(all_of_them=not self.batch)
        else:
            log.send_and_close()

    def _put_parked(self, *, all_of_them: bool) -> None:
        for key, log in list(self._parked.items()):
            if all_of_them or not log.is_fresh():
                self._sending[key] = self._sender.submit(self._parked.pop(key).send_and_close)

    def quarantine(self, key: SnapshotKey, page: int, reason: str, body: bytes) -> Path:
        path = quarantined(self.path(key)) / f"{uuid.uuid4().hex}.json"
        name: str = path.path  # type: ignore[attr-defined]
        self.fs.pipe_file(name, quarantine_record(page, reason, body))
        return path

    def rewrite(self, key: SnapshotKey, page: Bytes, unusable: Bytes) -> bool:
        if key in self.spool.keys(key.day) or self._find(key).opened:
            # Upload local records first. A slow worker of another machine, which has the old
            # records in memory, finds its next number taken and reads the list anew.
            log = self.open(key)
            if log is None:
                raise LandingBusy(
                    f"another process is writing {self.path(key)}; try again after its run"
                )
            log.close()
        changed = False
        for _ in range(LOOKS):
            try:
                for name, body, version in self._rewritten(key, page, unusable):
                    self.put_again(name, body, version)
                    changed = True
                return changed
            except (FileNotFoundError, Changed):
                continue  # another worker has just written the list or joined its records
        raise LandingBusy(f"other processes are writing {self.path(key)}; try again later")

    def _rewritten(
        self, key: SnapshotKey, page: Bytes, unusable: Bytes
    ) -> Iterator[tuple[str, bytes, str | None]]:
        """Name, new content and old version of the objects that change."""
        found = self._find(key)
        names = {name: True for name in (found.whole, found.plain, *found.opened.values()) if name}
        names |= dict.fromkeys(self._names(f"{self._path(key)}{QUARANTINE}"), False)
        for name, body in self._bytes(list(names)).items() if names else ():
            lines = self._lines(name, {name: body}).splitlines(keepends=True)
            made = with_pages(lines, page) if names[name] else with_quarantine(lines, unusable)
            if made != b"".join(lines):
                packed = name.endswith(SUFFIX)
                parts = pack(io.BytesIO(made), len(made)) if packed else [made]
                yield name, b"".join(parts), found.versions.get(name)

    def put_again(self, name: str, body: bytes, version: str | None) -> None:
        """Replace an object. Raises Changed if it has another version than this (ETag)."""
        condition = {"IfMatch": version} if version else {}
        try:
            self.fs.pipe_file(name, body, mode="overwrite", **condition)
        except OSError as error:
            if "PreconditionFailed" not in str(error.__cause__):
                raise
            # It may be ours, if the response was lost.
            if self.content(name) != body:
                raise Changed from None

    def modified(self, key: SnapshotKey) -> float | None:
        return self._find(key).touched or None

    def not_packed(self, day: date) -> list[SnapshotKey]:
        return []  # finished lists are uploaded compressed

    def pack(self, key: SnapshotKey, archived: tuple[int, int]) -> bool:
        return False

    def drop(self, key: SnapshotKey) -> None:
        folder, _, begins = self._path(key).rpartition("/")
        self._drop([key], self.fs.find(folder, prefix=begins))

    def drop_all(self, keys: Iterable[SnapshotKey]) -> None:
        by_day: dict[date, list[SnapshotKey]] = {}
        for key in keys:
            by_day.setdefault(key.day, []).append(key)
        for day, some in by_day.items():
            self._drop(some, self._names(f"{self.base}/{day.isoformat()}"))

    def _drop(self, keys: list[SnapshotKey], names: Iterable[str]) -> None:
        """Delete lists; all their objects are among these names."""
        paths = [self._path(key) for key in keys]
        whole = {form for path in paths for form in (path, path + SUFFIX)}
        folders = {f"{path}{of}" for path in paths for of in (".open", QUARANTINE)}
        gone = [name for name in names if name in whole or name.rpartition("/")[0] in folders]
        if gone:
            self.fs.rm(gone)
        for key in keys:
            self.spool.drop(key)

    def _path(self, key: SnapshotKey) -> str:
        return f"{self.base}/{key.day.isoformat()}/{key.relation}/{checked(key.handle)}.jsonl"

    def _names(self, prefix: str, depth: int | None = None) -> list[str]:
        try:
            return sorted(self.fs.ls(prefix, detail=False) if depth else self.fs.find(prefix))
        except FileNotFoundError:
            return []

    def _find(self, key: SnapshotKey) -> _Found:
        path = self._path(key)
        seen = time.monotonic()
        plain, packed, opened, touched = None, None, {}, 0.0
        versions = {}
        folder, _, begins = path.rpartition("/")
        # One request for all forms, which share a prefix.
        for name, info in self.fs.find(folder, prefix=begins, detail=True).items():
            if name == path:
                plain = name
            elif name == path + SUFFIX:
                packed = name
            elif name.startswith(f"{path}.open/"):
                opened[int(name.rsplit("/", 1)[-1])] = name
            else:
                continue
            touched = max(touched, info["LastModified"].timestamp())
            versions[name] = info["ETag"]
        return _Found(packed or plain, opened, touched, plain, seen, versions)

    def _look(self, key: SnapshotKey) -> tuple[_Found, LandedObjects, bytes]:
        """The objects of a list, its records and its lines."""
        for _ in range(LOOKS):
            found = self._find(key)
            try:
                return found, *self._landed(key, found)
            except FileNotFoundError:
                continue  # another worker has just joined the records
        raise OSError(f"{self.path(key)}: listed objects cannot be read")

    def _landed(self, key: SnapshotKey, found: _Found) -> tuple[LandedObjects, bytes]:
        names = [found.whole] if found.whole else []
        names += [found.opened[number] for number in sorted(found.opened)]
        held = self._bytes(names) if names else {}
        try:
            lines = self._lines(found.whole, held) if found.whole else b""
        except OSError as error:
            raise LandingDamaged(
                f"s3://{found.whole}: the object is damaged ({error}) and not used. Restore it, "
                "or move the list away and read it again"
            ) from None
        known = lines.count(b"\n")
        for number in sorted(found.opened):
            # Records in the complete object remain if a process was killed before it removed them.
            if number > known:
                if number != known + 1:
                    raise LandingDamaged(
                        f"{self.path(key)}: record {known + 1} is missing; the other records are "
                        "kept. Restore it, or move the list away and read it again"
                    )
                lines += held[found.opened[number]]
                known = lines.count(b"\n")
        landed = self._landed_of(key, lines, found)
        return landed, lines

    def _landed_of(self, key: SnapshotKey, lines: bytes, found: _Found) -> LandedObjects:
        path = self.path(key)
        landed = read_records(key, path, io.BytesIO(lines))
        if landed.sound_bytes != len(lines):
            raise LandingDamaged(
                f"{path}: the last record is damaged and nothing was used. Restore it, or move the "
                "list away and read it again"
            )
        only = found.whole if not found.opened else None
        whole = self._whole(only) if only else lambda: lines
        return LandedObjects(key, path, landed.attempts, len(lines), whole, found.touched)

    def _whole(self, name: str) -> Callable[[], bytes]:
        """A function that downloads the lines on demand: a run holds hundreds of finished lists."""
        return lambda: self._lines(name, self._bytes([name]))

    @staticmethod
    def _lines(name: str, held: Mapping[str, bytes]) -> bytes:
        """The lines of a complete object. Raises OSError if it cannot be decompressed."""
        body = held[name]
        return b"".join(unpack(io.BytesIO(body))) if name.endswith(SUFFIX) else body

    def content(self, name: str) -> bytes:
        """The content of an object; empty if another worker has just removed it."""
        try:
            return self._bytes([name])[name]
        except FileNotFoundError:
            return b""

    def whole_lines(self, key: SnapshotKey) -> int:
        """The number of records in the complete object of a list; 0 without one."""
        name = self._path(key) + SUFFIX
        body = self.content(name)
        return self._lines(name, {name: body}).count(b"\n") if body else 0

    def _bytes(self, names: list[str]) -> dict[str, bytes]:
        """The content of the objects, with one request each. In parts, s3fs would ask for sizes."""
        held = self.fs.cat(names, max_concurrency=1)
        return dict(held)


class ObjectLog(SnapshotLog):
    """A list that is written to the spool and the store. `sent` bytes of `lines` are uploaded.

    Raises LandingTaken if another worker continues the list.
    """

    def __init__(
        self,
        landing: ObjectLanding,
        near: DiskLog,
        landed: LandedObjects,
        lines: bytes,
        found: _Found,
        *,
        sent: int,
    ) -> None:
        super().__init__(landed.key, landed.path, landed.attempts)
        self._landing, self._near, self._lines = landing, near, bytearray(lines)
        self._sent, self._number = sent, lines.count(b"\n", 0, sent)
        path = landing._path(landed.key)
        self._folder, self._packed = f"{path}.open", path + SUFFIX
        self._opened, self._plain, self._whole = set(found.opened), found.plain, found.whole
        self._version = found.versions.get(self._packed)
        self._body: bytes | None = None
        self._closed = False
        self._unsent, self._since = lines.count(b"\n", sent), time.monotonic()
        self._put = float("-inf")
        self._ours_at = found.seen  # time.monotonic() when nobody else had continued the list

    def begin(self, token: str, run_id: str) -> Attempt:
        attempt = super().begin(token, run_id)
        self.send()  # of two workers that begin at once, one fails here, before any request
        return attempt

    def adopt(self, token: str) -> None:
        super().adopt(token)
        self.send()

    def write(self, line: bytes) -> None:
        self._near.write(line)
        self._lines += line
        if not self._unsent:
            self._since = time.monotonic()
        is_due = self.waits
        self._unsent += 1
        if is_due:
            self.send()

    @property
    def waits(self) -> bool:
        late = self._unsent > 0 and time.monotonic() - self._since >= BATCH_SECONDS
        return not self._landing.batch or late or self._unsent + 1 >= BATCH_RECORDS

    def send(self) -> None:
        """Upload the unsent records as one object. Raises LandingTaken, OSError."""
        fs = self._landing.fs
        while self._sent < len(self._lines):
            part = bytes(self._lines[self._sent :])
            name = f"{self._folder}/{self._number + 1:08d}"
            asked = time.monotonic()
            try:
                fs.pipe_file(name, part, mode="create")
                put = part
            except FileExistsError:
                # Our own records, if the response to an earlier upload was lost.
                put = self._landing.content(name)
                if not put or not part.startswith(put):
                    self._taken()
            if not self._is_ours():
                fs.rm([name])
                self._taken()
            self._put, self._ours_at = time.monotonic(), asked
            self._opened.add(self._number + 1)
            self._number += put.count(b"\n")
            self._sent += len(put)
        self._unsent = 0

    def _is_ours(self) -> bool:
        """False if another worker finished the list and removed its records.

        Then the number of our next record was free again. The other worker needs some time for
        that, so nothing is requested if little time has passed.
        """
        begun = self._put > float("-inf")
        limit = self._landing.lease_seconds / 2 if begun else BEGIN_SECONDS
        if time.monotonic() - self._ours_at <= limit:
            return True
        return self._landing.whole_lines(self.key) <= self._number

    def _taken(self) -> None:
        self._sent, self._unsent = len(self._lines), 0
        self.close()
        raise LandingTaken(f"{self.key}: another worker continues this list") from None

    def close(self) -> None:
        """Close the list. This process may continue it without waiting for the lease."""
        if not self._closed:
            self._closed = True
            self._landing.let_go(self, self._unsent > 0)

    def is_fresh(self) -> bool:
        """True if unsent records may wait because no other worker may continue the list yet."""
        now, lease = time.monotonic(), self._landing.lease_seconds
        return now - self._since < BATCH_SECONDS and now - self._put < lease / 2

    def taken_up(self) -> ObjectLog:
        """The same, which was let go of."""
        self._closed = False
        # A record whose upload failed is in the lines, but was not counted.
        lines = io.BytesIO(self._lines)
        self.attempts = list(read_records(self.key, self.path, lines).attempts)
        return self

    def send_and_close(self) -> None:
        """Upload the rest, or leave it in the spool, and close the list."""
        try:
            self.send()
        except (OSError, LandingTaken) as error:
            _log.warning("%s: pages stay in the spool of this machine (%s)", self.key, error)
        else:
            self._landing.spool.drop(self.key)
            self._landing._left[self.key] = self._number
        finally:
            self._near.close()

    def make_durable(self) -> None:
        """Upload the finished walk as one object and remove its records."""
        fs = self._landing.fs
        if not self._is_ours():
            self._taken()
        if time.monotonic() - self._ours_at > self._landing.lease_seconds / 2:
            self.send()  # fails if another worker continues the list
        body = b"".join(pack(io.BytesIO(self._lines), len(self._lines)))
        try:
            # A slow worker must not overwrite the object of another one.
            if self._whole:
                self._landing.put_again(self._packed, body, self._version)
            else:
                fs.pipe_file(self._packed, body, mode="create")
        except FileExistsError:
            if self._landing.content(self._packed) != body:
                self._taken()
        except Changed:
            self.send()  # our pages are kept beside what others wrote
            self._taken()
        except FileNotFoundError:
            self._whole = None  # deleted meanwhile
            return self.make_durable()
        self._body, self._whole, self._version = body, self._packed, None
        self._sent, self._unsent = len(self._lines), 0
        self._number = self._lines.count(b"\n")
        names = [f"{self._folder}/{number:08d}" for number in sorted(self._opened)]
        names += [self._plain] if self._plain else []
        if names:
            self._landing.remove(names)
        self._opened, self._plain = set(), None

    def landed(self) -> Landed:
        touched = datetime.now(timezone.utc).timestamp()
        name = self._whole or self._packed
        if self._opened:
            whole: Callable[[], bytes] = partial(bytes, bytes(self._lines))
        elif self._body is not None:
            # Kept compressed until it is loaded, to avoid a download.
            whole = partial(self._landing._lines, name, {name: self._body})
        else:
            whole = self._landing._whole(name)
        attempts = tuple(self.attempts)
        return LandedObjects(self.key, self.path, attempts, len(self._lines), whole, touched)

    def reading(self) -> IO[bytes]:
        return io.BytesIO(self._lines)
