"""Pages in an object store, exactly as they came; on this machine's disk before anything else.

An object is whole or absent. Records become objects `<handle>.jsonl.open/00000001`, each named by
the number of its first record and put only where that number is not taken. When the walk has ended
they become one object `<handle>.jsonl.zst`, line by line what the file on disk would be, and are
then removed. (Older versions put `<handle>.jsonl`, which is read as well.)

Each record is first written to the spool, a landing in a folder of this machine. `page` puts it
before the next page is asked for; `batch` puts so many records together. What a killed process, or
an S3 that was away, left in the spool is put by the next one on this machine.

There are no locks in the store. Who finds a list that another wrote to within the lease waits for
him; who finds one left alone longer goes on with it, by taking the next number first. Was the other
one only slow, his next object finds its number taken: he stops and waits in turn. At most the pages
he had not put by then are bought twice.
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
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timezone
from functools import partial
from pathlib import Path
from typing import IO

from sf_assets.model import RELATIONS, SnapshotKey
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

# A page, its retries and their pauses take less; a worker that was killed is not waited for longer.
LEASE_SECONDS = 60.0
# `batch` puts records when there are so many, or when the first of them is so old.
BATCH_RECORDS = 50
BATCH_SECONDS = 20.0
# Objects that are removed with one question.
REMOVED_TOGETHER = 500
# Records that were listed may be one object by the time they are read.
LOOKS = 5
# Lists that are looked up together.
AT_ONCE = 16

_log = logging.getLogger("sf_assets.reading")


@dataclass(frozen=True)
class LandedObjects(Landed):
    """What is landed of a snapshot in an object store; `fetch` gives what a file would have."""

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
    """What there is of one list: the whole object, or None, and the records beyond it.

    `plain` is the object that an older version put.
    """

    whole: str | None
    opened: dict[int, str]
    touched: float
    plain: str | None


class ObjectLanding(Landing):
    """The landing below an address."""

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
        # What another store has not got is not put into this one.
        name = hashlib.sha256(str(root).encode()).hexdigest()[:12]
        self.spool = DiskLanding(shared / "spool" / name)
        self._sending: dict[SnapshotKey, Future[None]] = {}
        self._parked: dict[SnapshotKey, ObjectLog] = {}
        self._sender = ThreadPoolExecutor(AT_ONCE, "putting pages")
        self._to_remove: list[str] = []

    def names(self, *folders: str) -> Iterable[str]:
        names = self._names("/".join([self.base, *folders]), depth=1)
        return {name.rsplit("/", 1)[-1].removesuffix(".open") for name in names}

    def read(self, key: SnapshotKey) -> Landed | None:
        found, landed, _ = self._look(key)
        return landed if found.whole is not None or found.opened else None

    def read_each(
        self, keys: Iterable[SnapshotKey]
    ) -> Iterator[tuple[SnapshotKey, Landed | LandingDamaged | None]]:
        # A day's names are a question or two, and of most lists there is nothing in the morning.
        asked = list(keys)
        there = {key for day in {key.day for key in asked} for key in self.keys(day)}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            yield from zip(
                asked,
                pool.map(lambda key: self.read_or_why(key) if key in there else None, asked),
                strict=True,
            )

    def unsettled(self, day: date, ended: Mapping[SnapshotKey, str]) -> list[SnapshotKey]:
        # A walk that has ended is one object, without records beside it.
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
        # Whoever wrote last was a process of this machine, and holds the list no more.
        died = bool(spooled) and spooled.startswith(lines)
        if died:
            landed = self._landed_of(key, spooled, found)
        elif spooled != lines:
            if not lines.startswith(spooled):
                _log.warning("%s: another machine went on; what was not put is dropped", key)
            near.start_over(lines)
        begun = bool(landed.attempts) and landed.attempts[-1].end is None
        fresh = datetime.now(timezone.utc).timestamp() - found.touched < self.lease_seconds
        # Left here a moment ago, and nobody came by since: who wrote last is not waited for.
        ours = self._left.pop(key, None) == lines.count(b"\n")
        if begun and fresh and not (ours or died):
            self.spool.drop(key)
            return None
        log = ObjectLog(self, near, landed, spooled if died else lines, found, sent=len(lines))
        try:
            if begun and not ours:
                # Before anything is asked for: who was slow and not dead must notice.
                log.adopt(landed.attempts[-1].token)
            log.send()
        except LandingTaken:
            return None
        return log

    def send_spooled(self, change: Callable[[SnapshotKey], Bytes] | None = None) -> int:
        sent = 0
        for day in self.spool.days():
            for key in self.spool.keys(day):
                if change is not None:
                    with suppress(LandingBusy):
                        self.spool.rewrite(key, change(key), bytes)
                log = self.open(key)
                if log is not None:
                    log.close()
                    sent += 1
        self.tidy()
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
        """The same for some, now or, in batches, with others."""
        self._to_remove += names
        if not self.batch or len(self._to_remove) >= REMOVED_TOGETHER:
            self._remove_all()

    def let_go(self, log: ObjectLog, unsent: bool) -> None:
        """Take back a list; what is not put yet waits for more, or is put while others are read."""
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
        path.write_bytes(quarantine_record(page, reason, body))
        return path

    def rewrite(self, key: SnapshotKey, page: Bytes, unusable: Bytes) -> bool:
        if key in self.spool.keys(key.day):
            # What is landed nowhere else must be put before it can be made anew.
            log = self.open(key)
            if log is None:
                raise LandingBusy(f"{self.path(key)} is being written; try again after the run")
            log.close()
        found = self._find(key)
        names = {name: True for name in (found.whole, found.plain, *found.opened.values()) if name}
        names |= dict.fromkeys(self._names(f"{self._path(key)}{QUARANTINE}"), False)
        changed = False
        for name, body in self._bytes(list(names)).items() if names else ():
            lines = self._lines(name, {name: body}).splitlines(keepends=True)
            made = with_pages(lines, page) if names[name] else with_quarantine(lines, unusable)
            if made != b"".join(lines):
                packed = name.endswith(SUFFIX)
                parts = pack(io.BytesIO(made), len(made)) if packed else [made]
                self.fs.pipe_file(name, b"".join(parts))
                changed = True
        return changed

    def modified(self, key: SnapshotKey) -> float | None:
        return self._find(key).touched or None

    def not_packed(self, day: date) -> list[SnapshotKey]:
        return []  # what has ended was put compressed

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
        """Delete lists, all whose objects are among these names."""
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
        plain, packed, opened, touched = None, None, {}, 0.0
        folder, _, begins = path.rpartition("/")
        # One question for both: what begins with the name.
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
        return _Found(packed or plain, opened, touched, plain)

    def _look(self, key: SnapshotKey) -> tuple[_Found, LandedObjects, bytes]:
        """What there is, and what it says."""
        for _ in range(LOOKS):
            found = self._find(key)
            try:
                return found, *self._landed(key, found)
            except FileNotFoundError:
                continue  # another worker has just put the records together
        raise OSError(f"{self.path(key)}: what is listed there cannot be read")

    def _landed(self, key: SnapshotKey, found: _Found) -> tuple[LandedObjects, bytes]:
        names = [found.whole] if found.whole else []
        names += [found.opened[number] for number in sorted(found.opened)]
        held = self._bytes(names) if names else {}
        try:
            lines = self._lines(found.whole, held) if found.whole else b""
        except OSError as error:
            raise LandingDamaged(
                f"s3://{found.whole}: it is damaged ({error}); nothing of it was used. Restore it, "
                "or move the list away and snapshot again"
            ) from None
        known = lines.count(b"\n")
        for number in sorted(found.opened):
            # What is in the whole object already was to be removed when somebody was killed.
            if number > known:
                if number != known + 1:
                    raise LandingDamaged(
                        f"{self.path(key)}: record {known + 1} is missing; what is there of the "
                        "list is kept. Restore it, or move it away and snapshot again"
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
                f"{path}: its last record is damaged; nothing of it was used. Restore it, or move "
                "the list away and snapshot again"
            )
        only = found.whole if not found.opened else None
        whole = self._whole(only) if only else lambda: lines
        return LandedObjects(key, path, landed.attempts, len(lines), whole, found.touched)

    def _whole(self, name: str) -> Callable[[], bytes]:
        """Asks for it when it is wanted: a run holds hundreds of finished lists."""
        return lambda: self._lines(name, self._bytes([name]))

    @staticmethod
    def _lines(name: str, held: Mapping[str, bytes]) -> bytes:
        """The lines of a whole object. Raises OSError where it cannot be decompressed."""
        body = held[name]
        return b"".join(unpack(io.BytesIO(body))) if name.endswith(SUFFIX) else body

    def _bytes(self, names: list[str]) -> dict[str, bytes]:
        """What is in the objects, a request each: in parts it would ask for every size first."""
        held = self.fs.cat(names, max_concurrency=1)
        return dict(held)


class ObjectLog(SnapshotLog):
    """A list being written, in the spool and in the store. `sent` bytes of `lines` are put.

    Raises LandingTaken where another goes on with it.
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
        self._body: bytes | None = None
        self._closed = False
        self._unsent, self._since = len(lines) > sent, time.monotonic()
        self._put = float("-inf")

    def begin(self, token: str, run_id: str) -> Attempt:
        attempt = super().begin(token, run_id)
        self.send()  # of two who begin at once one is told, before a page is asked for
        return attempt

    def adopt(self, token: str) -> None:
        super().adopt(token)
        self.send()

    def write(self, line: bytes) -> None:
        self._near.write(line)
        self._lines += line
        if not self._unsent:
            self._unsent, self._since = True, time.monotonic()
        records = self._lines.count(b"\n", self._sent)
        late = time.monotonic() - self._since >= BATCH_SECONDS
        if not self._landing.batch or late or records >= BATCH_RECORDS:
            self.send()

    def send(self) -> None:
        """Put what is not put yet, as one object. Raises LandingTaken, OSError."""
        fs = self._landing.fs
        while self._sent < len(self._lines):
            part = bytes(self._lines[self._sent :])
            name = f"{self._folder}/{self._number + 1:08d}"
            try:
                fs.pipe_file(name, part, mode="create")
                put = part
            except FileExistsError:
                # Ours, or its beginning, where the answer to an earlier try was lost on the way.
                put = self._landing._bytes([name])[name]
                if not part.startswith(put):
                    self._taken()
            self._put = time.monotonic()
            self._opened.add(self._number + 1)
            self._number += put.count(b"\n")
            self._sent += len(put)
        self._unsent = False

    def _taken(self) -> None:
        self._sent, self._unsent = len(self._lines), False
        self.close()
        raise LandingTaken(f"{self.key}: another worker goes on with this list") from None

    def close(self) -> None:
        """Nothing is held; who goes on with it in this process need not wait for himself."""
        if not self._closed:
            self._closed = True
            self._landing.let_go(self, self._unsent)

    def is_fresh(self) -> bool:
        """Whether what is not put may wait, and nobody else may go on with the list yet."""
        now, lease = time.monotonic(), self._landing.lease_seconds
        return now - self._since < BATCH_SECONDS and now - self._put < lease / 2

    def taken_up(self) -> ObjectLog:
        """The same, which was let go of."""
        self._closed = False
        return self

    def send_and_close(self) -> None:
        """Put the rest, leave it in the spool where that cannot be, and let go of the list."""
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
        """Put the ended walk together as one object, and remove the records it was landed as."""
        fs = self._landing.fs
        body = b"".join(pack(io.BytesIO(self._lines), len(self._lines)))
        try:
            # Who was slow does not put his over that of another one.
            fs.pipe_file(self._packed, body, mode="overwrite" if self._whole else "create")
        except FileExistsError:
            if self._landing._bytes([self._packed])[self._packed] != body:
                self._taken()
        self._body, self._whole = body, self._packed
        self._sent, self._unsent = len(self._lines), False
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
            # Kept compressed until it is loaded: no need to ask for it again.
            whole = partial(self._landing._lines, name, {name: self._body})
        else:
            whole = self._landing._whole(name)
        attempts = tuple(self.attempts)
        return LandedObjects(self.key, self.path, attempts, len(self._lines), whole, touched)

    def reading(self) -> IO[bytes]:
        return io.BytesIO(self._lines)
