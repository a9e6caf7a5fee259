"""Removes forgotten accounts from a response before it is landed.

`forgotten.jsonl` has the forgotten people, as HMACs of all ids that were ever seen together, with
the date and the operator's reason. Later lines of a person add to earlier ones: new ids of the
person, and the day from which a handle belongs to another account. A line with `everybody` means
that the home stores no names at all.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, get_args

from sf_assets.model import Relation, SnapshotKey
from sf_assets.social_fetch import with_accounts
from sf_assets.storage.home import Home
from sf_assets.storage.jsonl import append, lines
from sf_assets.storage.shared import Shared
from sf_assets.storage.tombstone import (
    IdKind,
    Ids,
    Pseudonyms,
    is_pseudonym,
    is_same,
    pseudonyms_of,
    valid_id,
)

FILE_NAME = "forgotten.jsonl"
# So old may what a worker of a far home knows of them be.
LOOK_SECONDS = 5.0
_KINDS: tuple[IdKind, ...] = get_args(IdKind)
# The names of these ids in the API.
_FIELDS: dict[IdKind, str] = {
    "number": "platformUserId", "sec_uid": "secUid", "handle": "handle",
}  # fmt: skip

# The first day on which a handle belongs to a person, and the day it ends; None without a bound.
Span = tuple[str | None, str | None]
ALWAYS: Span = (None, None)


@dataclass
class _Person:
    """The HMACs of a person's ids; those of handles with their days."""

    numbers: set[str] = field(default_factory=set)
    sec_uids: set[str] = field(default_factory=set)
    handles: dict[str, Span] = field(default_factory=dict)

    @property
    def has(self) -> frozenset[IdKind]:
        """The kinds of ids that are known, except handles."""
        kinds: list[tuple[IdKind, bool]] = [
            ("number", bool(self.numbers)), ("sec_uid", bool(self.sec_uids)),
        ]  # fmt: skip
        return frozenset(kind for kind, some in kinds if some)


class Door:
    """Who is forgotten in the home of this folder; what others note there counts at once.

    Safe for one event loop or thread.
    """

    def __init__(self, home: Home | Path) -> None:
        self._home = home if isinstance(home, Home) else Home(home)
        self.file = self._home.log(FILE_NAME)
        self._read: tuple[int, int] | None = None
        self._looked = float("-inf")
        self._trouble = ""
        self._unwritten: list[dict[str, Any]] = []
        self._pseudonyms: Pseudonyms | None = None
        self._forget_all()

    @property
    def pseudonyms(self) -> Pseudonyms:
        """The pseudonyms of the home. Raises OSError."""
        if self._pseudonyms is None:
            self._pseudonyms = pseudonyms_of(self._home)
        return self._pseudonyms

    @property
    def everybody(self) -> bool:
        """Whether the home stores no names at all."""
        self._look()
        return self._everybody

    @property
    def closed(self) -> bool:
        """Whether anybody is forgotten."""
        self._look()
        return self._everybody or bool(self._people)

    def page(self, relation: Relation, day: date, body: bytes) -> bytes:
        """A response to land; the same bytes if it shows no forgotten account."""
        if not self.closed:
            return body
        try:
            return with_accounts(relation, body, lambda accounts: self._accounts(accounts, day))
        except ValueError:
            return body  # a status without a list

    def pages(self, key: SnapshotKey) -> Callable[[bytes], bytes]:
        """`page` for the responses of a list."""
        return partial(self.page, key.relation, key.day)

    def unusable(self, body: bytes) -> bytes:
        """A response that breaks the contract, to keep in quarantine.

        Its structure is unknown. If any word is an id of a forgotten account, only the structure is
        kept, without its values.
        """
        if not self.closed or not (self._everybody or self._names(body)):
            return body
        try:
            content: object = _form(json.loads(body))
        except (ValueError, RecursionError):
            content = f"{len(body)} bytes that are not JSON"
        return json.dumps({"withheld": content}).encode()

    def forgets(self, day: date, shown: Sequence[Ids]) -> list[bool]:
        """Which accounts of a list, or of a part of it, are forgotten.

        Records new ids of them. An id that two of them share identifies neither.
        """
        self._look()
        if self._everybody:
            return [True] * len(shown)
        counts = Counter((kind, value) for one in shown for kind, value in _strong(one))
        found = []
        for one in shown:
            alone = {kind: value for kind, value in _strong(one) if counts[kind, value] == 1}
            own = Ids(alone.get("number"), alone.get("sec_uid"), one.handle)
            person = self._whose(own, day)
            if person is not None:
                self._learn(person, own, day)
            found.append(person is not None)
        return found

    def is_known(self, kind: IdKind, value: str) -> bool:
        """Whether a number or secUid belongs to a forgotten account."""
        return self._everybody or self.pseudonyms.mark(kind, value) in self._by_mark

    def known_as(
        self, numbers: Sequence[str], sec_uids: Sequence[str], handles: Sequence[str]
    ) -> tuple[str, Mapping[str, Span]] | None:
        """The forgotten person with one of these HMACs, and the HMACs of their handles; or None.

        A handle counts if the person may still have it, and one of the two has no other id.
        """
        self._look()
        strong = {*numbers, *sec_uids}
        for name, person in self._people.items():
            if strong & (person.numbers | person.sec_uids):
                return name, person.handles
        for name, person in self._people.items():
            open_ended = any(person.handles.get(one, ("", ""))[1] is None for one in handles)
            if open_ended and not (strong and person.has):
                return name, person.handles
        return None

    def _accounts(self, accounts: list[Any], day: date) -> bool:
        """Replace forgotten accounts in a page by tombstones; returns whether there are any."""
        shown = [
            Ids(*(valid_id(kind, one.get(_FIELDS[kind])) for kind in _KINDS))
            if isinstance(one, dict)
            else Ids(None, None, None)
            for one in accounts
        ]
        changed = False
        for at, (one, forgotten) in enumerate(zip(shown, self.forgets(day, shown), strict=True)):
            account = accounts[at]
            if not isinstance(account, dict):
                continue
            ids, shared = {}, {}
            for (kind, name), value in zip(_FIELDS.items(), one, strict=True):
                if value is None:
                    continue
                if forgotten if kind == "handle" else self.is_known(kind, value):
                    ids[name] = type(account[name])(self.pseudonyms.of(kind, value))
                else:
                    shared[name] = account[name]
            if forgotten:
                # An id that several accounts share identifies nobody and stays.
                nothing = {"displayName": None, "avatarUrl": None, "bio": None}
                accounts[at] = {**ids, **shared, **nothing}
            elif ids:
                accounts[at] = {**account, **ids}
            changed = changed or forgotten or bool(ids)
        return changed

    def _whose(self, shown: Ids, day: date) -> str | None:
        marks = {
            kind: self.pseudonyms.mark(kind, value)
            for kind, value in zip(_KINDS, shown, strict=True)
            if value is not None
        }
        for name in dict.fromkeys(
            person for kind in _KINDS for person in self._by_mark.get(marks.get(kind, ""), ())
        ):
            person = self._people[name]
            span = person.handles.get(marks.get("handle", ""))
            known = Ids(
                marks["number"] if marks.get("number") in person.numbers else None,
                marks["sec_uid"] if marks.get("sec_uid") in person.sec_uids else None,
                marks["handle"] if span is not None and within(span, day) else None,
            )
            same = is_same(shown, known, person.has)
            if same:
                return name
            if same is False and known.handle is not None:
                # It has a new owner.
                span = (person.handles[known.handle][0], day.isoformat())
                self._note(name, {"handle": [[known.handle, *span]]})
        return None

    def _learn(self, name: str, shown: Ids, day: date) -> None:
        person = self._people[name]
        new: dict[str, Any] = {}
        for kind, value in _strong(shown):
            mark = self.pseudonyms.mark(kind, value)
            own = person.numbers if kind == "number" else person.sec_uids
            if mark not in own and not is_pseudonym(kind, value):
                new[kind] = [mark]
        if shown.handle is not None and not is_pseudonym("handle", shown.handle):
            mark = self.pseudonyms.mark("handle", shown.handle)
            span = person.handles.get(mark)
            if span is None:
                new["handle"] = [[mark, None, None]]
            elif not within(span, day) and any(_strong(shown)):
                new["handle"] = [[mark, day.isoformat(), None]]
        if new:
            self._note(name, new)

    def _note(self, name: str, what: Mapping[str, Any]) -> None:
        line = {"person": name, "on": date.today().isoformat(), **what}
        self._add(line)
        self._unwritten.append(line)
        with suppress(OSError):  # the page is paid for; `look` tries again
            self._write()

    def _write(self) -> None:
        append(self.file, self._unwritten)
        self._unwritten = []

    def _names(self, body: bytes) -> bool:
        """Whether a word of the text is an id of a forgotten account."""
        text = body.decode("utf-8", "replace")
        with suppress(ValueError, RecursionError):
            text = "\n".join(_texts(json.loads(text)))
        return any(
            self.pseudonyms.mark(kind, value) in self._by_mark
            for word in set(_words(text))
            for kind in _KINDS
            if (value := valid_id(kind, word)) is not None
        )

    def look(self) -> None:
        """Read what others noted. Raises OSError; then no more pages should be requested.

        A page that was requested before is landed without those who were known until then.
        """
        if isinstance(self.file, Shared):
            # Not with every page, because it is a request over the network.
            is_due = time.monotonic() - self._looked >= LOOK_SECONDS
            if is_due or (self._unwritten and not self._trouble):
                self._trouble = ""
                try:
                    self._read_again((self._written_size(self.file), 0))
                except OSError as error:
                    self._trouble = str(error)
                self._looked = time.monotonic()
            if self._trouble:
                raise OSError(self._trouble)
            return
        self._write()
        try:
            stat = self.file.stat()
        except FileNotFoundError:
            if self._read is not None:
                self._forget_all()
        else:
            self._read_again((stat.st_size, stat.st_mtime_ns))

    def _written_size(self, log: Shared) -> int:
        self._write()
        return log.size()

    def _read_again(self, version: tuple[int, int]) -> None:
        if version != self._read:
            noted = list(lines(self.file))  # before anything is dropped, because this may fail
            self._forget_all()
            self._read = version
            for line in noted:
                self._add(line)

    def _look(self) -> None:
        try:
            self.look()
        except OSError:
            if self._read is None:
                raise

    def _forget_all(self) -> None:
        self._read, self._everybody = None, False
        self._people: dict[str, _Person] = {}
        self._by_mark: dict[str, list[str]] = {}

    def _add(self, line: Mapping[str, Any]) -> None:
        self._everybody = self._everybody or bool(line.get("everybody"))
        if "person" not in line:
            return
        name = str(line["person"])
        person = self._people.setdefault(name, _Person())
        person.numbers.update(line.get("number", ()))
        person.sec_uids.update(line.get("sec_uid", ()))
        for mark, begin, until in line.get("handle", ()):
            person.handles[mark] = (begin, until)
        for mark in (*person.numbers, *person.sec_uids, *person.handles):
            names = self._by_mark.setdefault(mark, [])
            if name not in names:
                names.append(name)


def note_forgotten(
    home: Home | Path,
    numbers: Iterable[str],
    sec_uids: Iterable[str],
    handles: Mapping[str, Span],
    reason: str,
) -> None:
    """Record that the person with all these ids is forgotten from now on. Raises OSError.

    Adds to a person who is already forgotten under one of the ids.
    """
    ids = pseudonyms_of(home)
    marks: dict[str, list[Any]] = {
        "number": sorted(ids.mark("number", one) for one in numbers),
        "sec_uid": sorted(ids.mark("sec_uid", one) for one in sec_uids),
        "handle": [[ids.mark("handle", one), *span] for one, span in sorted(handles.items())],
    }
    (first, *_), *_ = (some for some in marks.values() if some)
    name = (first if isinstance(first, str) else first[0])[:16]
    door = Door(home)
    known = door.known_as(marks["number"], marks["sec_uid"], [mark for mark, *_ in marks["handle"]])
    if known is not None:
        name, spans = known
        # Keep the recorded days: the rows of the person no longer show the handle.
        marks["handle"] = [one for one in marks["handle"] if one[0] not in spans]
    line = {"person": name, "on": date.today().isoformat(), "reason": reason, **marks}
    append(door.file, [line])


def note_everybody(home: Home | Path, reason: str) -> None:
    """Record that no names are stored from now on. Raises OSError."""
    pseudonyms_of(home)
    line = {"everybody": True, "on": date.today().isoformat(), "reason": reason}
    append(Door(home).file, [line])


def _strong(ids: Ids) -> list[tuple[IdKind, str]]:
    kinds: list[tuple[IdKind, str | None]] = [("number", ids.number), ("sec_uid", ids.sec_uid)]
    return [(kind, value) for kind, value in kinds if value is not None]


def within(span: Span, day: date) -> bool:
    """Whether a handle belongs to the person on that day."""
    begin, until = span
    return (begin is None or begin <= day.isoformat()) and (
        until is None or day.isoformat() < until
    )


def _form(value: object) -> object:
    """The structure of a JSON value, without its values."""
    if isinstance(value, dict):
        return {f"{len(value)} fields": [_form(part) for part in value.values()][:20]}
    if isinstance(value, list):
        return [_form(part) for part in value[:20]]
    return type(value).__name__


def _texts(value: object) -> Iterable[str]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield name
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
    else:
        yield str(value)


def _words(text: str) -> Iterable[str]:
    """The lines of a text, and their parts between characters that no id has."""
    yield from text.splitlines()
    for word in re.findall(r"[\w.\-]+", text):
        yield word
        yield word.strip(".-")
