"""Pages in an object store, exactly as they came, before anything else is asked for.

An object is whole or absent, so a record is an object: `<handle>.jsonl.open/00000001`, the next
number for each, put only where that number is not taken. When the walk has ended they become one
object `<handle>.jsonl.zst`, line by line what the file on disk would be, and are then removed.
(Older versions put `<handle>.jsonl`, which is read as well.)

There are no locks. Who finds a list that another wrote to within LEASE_SECONDS waits for him; who
finds one left alone longer goes on with it, by taking the next number first. Was the other one only
slow, his next record finds its number taken: he stops and waits in turn. At most the page he had
asked for by then is bought and not landed.
"""

from __future__ import annotations

import io
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timezone
from pathlib import Path
from typing import IO

from sf_assets.model import RELATIONS, SnapshotKey
from sf_assets.storage.landing import (
    QUARANTINE,
    Bytes,
    Landing,
    SnapshotLog,
    checked,
    quarantine_record,
    quarantined,
    with_pages,
    with_quarantine,
)
from sf_assets.storage.object_store import Store
from sf_assets.storage.packed import SUFFIX, pack, unpack
from sf_assets.storage.records import (
    Landed,
    LandingDamaged,
    LandingTaken,
    read_records,
)

# A page, its retries and their pauses take less; a worker that was killed is not waited for longer.
LEASE_SECONDS = 60.0
# Records that were listed may be one object by the time they are read.
LOOKS = 5
# Lists that are looked up together.
AT_ONCE = 16


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
        self, root: Path, shared: Path | None = None, lease_seconds: float | None = None
    ) -> None:
        super().__init__(root, shared or Path(tempfile.gettempdir()))
        self.lease_seconds = LEASE_SECONDS if lease_seconds is None else lease_seconds
        self._left: dict[SnapshotKey, int] = {}
        self.fs = Store(root)
        self.base = str(root.path).rstrip("/")  # type: ignore[attr-defined]

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
        found, landed, lines = self._look(key)
        fresh = datetime.now(timezone.utc).timestamp() - found.touched < self.lease_seconds
        begun = bool(landed.attempts) and landed.attempts[-1].end is None
        # Left here a moment ago, and nobody came by since: who wrote last is not waited for.
        ours = self._left.pop(key, None) == lines.count(b"\n")
        if begun and fresh and not ours:
            return None
        log = ObjectLog(self, landed, lines, found)
        if begun and not ours:
            try:
                # Before anything is asked for: who was slow and not dead must notice.
                log.adopt(landed.attempts[-1].token)
            except LandingTaken:
                return None
        return log

    def quarantine(self, key: SnapshotKey, page: int, reason: str, body: bytes) -> Path:
        path = quarantined(self.path(key)) / f"{uuid.uuid4().hex}.json"
        path.write_bytes(quarantine_record(page, reason, body))
        return path

    def rewrite(self, key: SnapshotKey, page: Bytes, unusable: Bytes) -> bool:
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
        path = self._path(key)
        names = [*self._names(f"{path}.open"), *self._names(f"{path}.quarantine")]
        names += [form for form in (path, path + SUFFIX) if self.fs.exists(form)]
        if names:
            self.fs.rm(names)

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
                known += 1
        path = self.path(key)
        landed = read_records(key, path, io.BytesIO(lines))
        if landed.sound_bytes != len(lines):
            raise LandingDamaged(
                f"{path}: its last record is damaged; nothing of it was used. Restore it, or move "
                "the list away and snapshot again"
            )
        only = found.whole if not found.opened else None
        whole = self._whole(only) if only else lambda: lines
        return (
            LandedObjects(key, path, landed.attempts, landed.sound_bytes, whole, found.touched),
            lines,
        )

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
    """A list being written, record by record. Raises LandingTaken where another goes on with it."""

    def __init__(
        self, landing: ObjectLanding, landed: LandedObjects, lines: bytes, found: _Found
    ) -> None:
        super().__init__(landed.key, landed.path, landed.attempts)
        self._landing, self._lines = landing, bytearray(lines)
        self._number = lines.count(b"\n")
        path = landing._path(landed.key)
        self._folder, self._packed = f"{path}.open", path + SUFFIX
        self._opened, self._plain = set(found.opened), found.plain

    def close(self) -> None:
        """Nothing is held; who goes on with it in this process need not wait for himself."""
        self._landing._left[self.key] = self._number

    def make_durable(self) -> None:
        """Put the ended walk together as one object, and remove the records it was landed as."""
        fs = self._landing.fs
        lines = io.BytesIO(self._lines)
        fs.pipe_file(self._packed, b"".join(pack(lines, len(self._lines))))
        names = [f"{self._folder}/{number:08d}" for number in sorted(self._opened)]
        names += [self._plain] if self._plain else []
        if names:
            fs.rm(names)
        self._opened, self._plain = set(), None

    def landed(self) -> Landed:
        touched = datetime.now(timezone.utc).timestamp()
        size = len(self._lines)
        lines = bytes(self._lines) if self._opened else b""
        whole = (lambda: lines) if self._opened else self._landing._whole(self._packed)
        return LandedObjects(self.key, self.path, tuple(self.attempts), size, whole, touched)

    def reading(self) -> IO[bytes]:
        return io.BytesIO(self._lines)

    def write(self, line: bytes) -> None:
        name = f"{self._folder}/{self._number + 1:08d}"
        try:
            self._landing.fs.pipe_file(name, line, mode="create")
        except FileExistsError:
            # Ours, where the answer to a first try was lost on the way.
            if self._landing._bytes([name])[name] != line:
                raise LandingTaken(f"{self.key}: another worker goes on with this list") from None
        self._number += 1
        self._opened.add(self._number)
        self._lines += line
