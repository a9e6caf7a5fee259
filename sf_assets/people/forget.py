"""Forgets people: in stored data, and in everything fetched later.

First it records whom to keep out, then it changes landing, archive, warehouse, publications, notes
and logs, and at the end it searches every file. A journal in the home records the finished steps,
so that a killed run continues. It has the ids in plain text, and is deleted last.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from sf_assets.errors import SfAssetsError
from sf_assets.fault_injection import crash_point, shortened
from sf_assets.handles.parse import registry_in_force
from sf_assets.handles.settings import RegistryError, normalise_handle
from sf_assets.people.errors import ForgetRefused
from sf_assets.people.forget_files import JOURNAL, LONG, Hit, drop_names, scrub, search
from sf_assets.people.forget_rows import Person, change_of, change_of_all, gather
from sf_assets.storage.door import ALWAYS, LOOK_SECONDS, Door, note_everybody, note_forgotten
from sf_assets.storage.files import Locked, open_locked, read_text, write_atomically
from sf_assets.storage.home import Home
from sf_assets.storage.landing import LandingBusy
from sf_assets.storage.landing_objects import BATCH_SECONDS
from sf_assets.storage.landings import landing_of
from sf_assets.storage.shared import Shared
from sf_assets.storage.tombstone import PREFIX, is_pseudonym, pseudonyms_of, valid_id
from sf_assets.text import counted
from sf_assets.warehouse.compact import remove
from sf_assets.warehouse.connection import DEFAULT_WAIT_SECONDS, locked, reading, writing
from sf_assets.warehouse.lake import drop_versions
from sf_assets.warehouse.publish import publish
from sf_assets.warehouse.rebuild import rebuild
from sf_assets.warehouse.rewrite import rewrite
from sf_assets.warehouse.statements import sql

# Another round catches a run that landed or archived in the meantime.
ROUNDS = 3

Tell = Callable[[str], None]

# For an id that was never seen; a name or a video URL would keep nobody out.
_SEC_UID = re.compile(r"[A-Za-z0-9_\-=]+")


@dataclass
class Forgotten:
    """The result: what was changed, and what is still found of these people."""

    landed: int = 0
    files: int = 0
    rows: int = 0
    others: list[str] = field(default_factory=list)
    left: list[Hit] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether nothing is left but mentions by others."""
        return not any(not hit.mention for hit in self.left)


def find_person(home: Home, word: str) -> Person:
    """The person behind a handle, profile URL, number or secUid, with all published ids.

    Raises ForgetRefused if the word is none of these, is already forgotten, or was the handle of
    several accounts.
    """
    word = word.strip()
    try:
        handle = normalise_handle(word)
    except RegistryError:
        handle = ""
    number = valid_id("number", word)
    if (number and is_pseudonym("number", number)) or word.lstrip("@").startswith(PREFIX):
        raise ForgetRefused(f"{word} is the pseudonym of somebody who is already forgotten")
    person = Person()
    with suppress(FileNotFoundError), reading(home.readable) as con:
        account_ids = [
            account_id
            for account_id, _ in con.execute(
                sql("account_ids"), {"word": word, "handle": handle}
            ).fetchall()
        ]
        exact = [known for known in account_ids if known in (word, f"sec:{word}", number)]
        strong = exact or [known for known in account_ids if not known.startswith("@")]
        if len(strong) > 1:
            raise ForgetRefused(
                f"{word} is or was the handle of {len(strong)} accounts; give the number or secUid "
                f"of one: {', '.join(strong)} (sf-assets account {word} shows them)"
            )
        for account_id in strong or account_ids:
            _add(person, account_id, con.execute(sql("forget_ids"), {"id": account_id}).fetchall())
    if not person.terms:
        if number and not word.startswith("@"):
            person.numbers.add(number)
        elif handle and not word.startswith("MS4w"):
            person.handles[handle] = ALWAYS
        elif _SEC_UID.fullmatch(word):
            person.sec_uids.add(word)
        else:
            raise ForgetRefused(f"{word!r} is not a handle, profile URL, number or secUid")
    elif handle and handle not in person.handles and not exact:
        person.handles[handle] = ALWAYS
    return person


def _add(person: Person, account_id: str, rows: Sequence[tuple[str | None, ...]]) -> None:
    """Add the ids and names of an account."""
    kind, _, rest = account_id.partition(":")
    if kind == "sec":
        person.sec_uids.add(rest)
    elif account_id.startswith("@"):
        person.handles[account_id[1:]] = ALWAYS
    else:
        person.numbers.add(account_id)
    for handle, sec_uid, name in rows:
        if handle and not handle.startswith(PREFIX):
            person.handles[handle.lower()] = ALWAYS
        if sec_uid and not sec_uid.startswith(PREFIX):
            person.sec_uids.add(sec_uid)
        if name and len(name.strip()) > 2:
            person.names.add(name.strip())


def refuse_tracked(home: Home, people: Sequence[Person]) -> None:
    """Record which handles have own lists. Raises ForgetRefused if one is tracked now."""
    registry, _ = registry_in_force(home.registry, keep=False)
    with suppress(FileNotFoundError), reading(home.readable) as con:
        lists = con.execute("SELECT DISTINCT handle FROM internal.snapshots").fetchall()
        listed = {handle for (handle,) in lists}
        for person in people:
            person.tracked = listed & person.handles.keys()
    for handle in (handle for person in people for handle in person.handles):
        if handle in registry.handles:
            raise ForgetRefused(
                f"@{handle} is tracked, and its lists have its handle; untrack it first "
                f"(sf-assets untrack {handle})"
            )


@dataclass
class Journal:
    """The task and its finished steps. Stays in the home until everything is done."""

    path: Path
    people: list[Person]
    reason: str
    everybody: bool = False
    done: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, home: Home) -> Journal | None:
        """The journal of an interrupted run, or None. Raises ForgetRefused if it is damaged."""
        path = home.document(JOURNAL)
        try:
            raw: dict[str, Any] = json.loads(read_text(path))
            people = [Person.of_json(person) for person in raw["people"]]
            return cls(path, people, raw["reason"], raw["everybody"], raw["done"])
        except FileNotFoundError:
            return None
        except (ValueError, LookupError, TypeError):
            raise ForgetRefused(
                f"{path} is damaged: delete it, and run forget again with the accounts"
            ) from None

    def write(self) -> None:
        """Write the journal. Raises OSError."""
        text = {
            "people": [person.to_json() for person in self.people],
            "reason": self.reason,
            "everybody": self.everybody,
            "done": self.done,
        }
        write_atomically(self.path, json.dumps(text) + "\n")

    def step(self, name: str, work: Callable[[], None]) -> None:
        """Run a step, unless it is already done."""
        if name not in self.done:
            work()
            crash_point("forgot")
            self.done.append(name)
            self.write()


@contextmanager
def alone(home: Home) -> Iterator[None]:
    """Hold the lock of `forget`. Raises ForgetRefused while another process holds it."""
    try:
        lock = home.log(".forgetting.lock")
        with lock.locked(0) if isinstance(lock, Shared) else open_locked(lock, wait=False):
            yield
    except Locked:
        raise ForgetRefused("another sf-assets forget is running in this home") from None


def forget(
    home: Home, journal: Journal, tell: Tell, wait_seconds: float = DEFAULT_WAIT_SECONDS
) -> Forgotten:
    """Run the remaining steps of a journal. Every step can be repeated.

    Reports progress to `tell`. Waits up to `wait_seconds` for other writers. Raises WarehouseBusy,
    LandingBusy, ArchiveDamaged, LandingDamaged, PublishFailed, ForgetRefused, OSError; another call
    continues.
    """
    return _Steps(home, journal, tell, wait_seconds).run()


class _Steps:
    def __init__(self, home: Home, journal: Journal, tell: Tell, wait_seconds: float) -> None:
        self.home, self.journal, self.tell, self.wait = home, journal, tell, wait_seconds
        self.people, self.result = journal.people, Forgotten()
        self.ids = pseudonyms_of(home)

    def run(self) -> Forgotten:
        self.journal.write()
        self.journal.step("door", self._door)
        if self.home.far:
            self.tell("waiting until all workers know, and have written what they were reading")
            time.sleep(shortened(LOOK_SECONDS + BATCH_SECONDS))
        for turn in range(1, ROUNDS + 1):
            for name, work in (
                ("landing", self._landing), ("archive", self._archive), ("tables", self._tables),
                ("others", self._others),
            ):  # fmt: skip
                self.journal.step(f"{name} {turn}", work)
            self.result.left = [] if self.journal.everybody else self._search()
            places = {hit.place.split(" ")[0].split("/")[0] for hit in self.result.left
                      if not hit.mention}  # fmt: skip
            if not places & {"landing", "archive", "warehouse", "quarantine", "the", "published"}:
                break
            self.tell("another run wrote in the meantime; repeating")
        self.journal.path.unlink()
        return self.result

    def _door(self) -> None:
        if self.journal.everybody:
            note_everybody(self.home, self.journal.reason)
        for person in self.people:
            note_forgotten(
                self.home, person.numbers, person.sec_uids, person.handles, self.journal.reason
            )

    def _landing(self) -> None:
        self.tell("landed pages")
        landing = landing_of(self.home)
        door = Door(self.home)
        landing.send_spooled(door.pages)  # of this machine
        deadline = time.monotonic() + self.wait
        # Their own lists that no table has, as `probe` leaves them.
        own = {handle for person in self.people for handle in person.handles.keys() & person.terms}
        for day in landing.days():
            for key in sorted({*landing.keys(day), *landing.quarantined(day)}):
                if key.handle in own:
                    landing.drop(key)
                    self.result.landed += 1
                    continue
                page = partial(door.page, key.relation, key.day)
                while True:
                    try:
                        self.result.landed += landing.rewrite(key, page, door.unusable)
                        break
                    except LandingBusy:
                        if time.monotonic() > deadline:
                            raise
                        time.sleep(0.2)

    def _archive(self) -> None:
        self.tell("archive")
        change = (
            change_of_all(self.ids) if self.journal.everybody else change_of(self.people, self.ids)
        )
        last = time.monotonic()

        def tell(done: int, files: int) -> None:
            nonlocal last
            if time.monotonic() - last > 5:
                self.tell(f"archive: {done} of {counted(files, 'file')}")
                last = time.monotonic()

        with locked(self.home.writer, self.wait) as still_held:
            rewritten = rewrite(self.home.archive, self.home.rewriting, change, tell, still_held)
            # From killed processes.
            for path in self.home.archive.glob("day=*/.*.partial"):
                path.unlink(missing_ok=True)
        self.result.files += rewritten.files
        self.result.rows += rewritten.rows

    def _tables(self) -> None:
        """Rebuild all tables from the archive: a changed file would keep the old content."""
        if self.home.lake is None and not self.home.warehouse.exists():
            return
        self.tell("rebuilding tables")
        rebuilt = rebuild(self.home, self.wait)
        if rebuilt.problems:
            raise SfAssetsError(
                f"forget: cannot read all lists ({rebuilt.problems[0]}). Repair this (see "
                "sf-assets verify), then run sf-assets forget again to continue"
            )
        if self.home.lake is not None:
            with writing(self.home.lake) as con:
                drop_versions(con)
            return
        # Otherwise the previous publication and files that were set aside would stay for a while.
        publish(self.home, self.wait)
        work = self.home.warehouse
        with locked(work, self.wait):
            for name in (f"{work.name}.", "rebuilding.duckdb"):
                for path in work.parent.glob(f"{name}*"):
                    if not path.name.startswith(f"{work.name}.wal"):
                        remove(path)

    def _others(self) -> None:
        self.tell("notes, logs and Dagster's storage")
        if self.journal.everybody:
            self.result.others = drop_names(self.home, self.ids)
        else:
            self.result.others = scrub(self.home, self.people, self.ids)

    def _search(self) -> list[Hit]:
        found: Counter[tuple[str, bool]] = Counter()
        for hit in search(self.home, self.people, self.tell):
            found[hit.place, hit.mention] += hit.times
        return [Hit(place, times, mention) for (place, mention), times in sorted(found.items())]


def out_of_reach(home: Home, people: Sequence[Person]) -> list[str]:
    """Sentences about what no command can reach."""
    lines = [
        "older backups of this home: delete them, or run forget again after restoring one",
        "exports, reports and query results outside of the home, and copies of them",
        "delivered alerts: mails, chats, webhooks",
        "disk blocks that are not overwritten yet, and snapshots of the file system",
    ]
    if home.lake is not None or home.storage is not None:
        lines.append("old versions of objects in a versioned bucket, and backups of Postgres")
        lines.append("Dagster's own tables in Postgres, and logs of pods")
    if home.lake is not None and not home.far:
        lines.append("other workers with their own home: copy forgotten.jsonl and "
                    "pseudonyms.key to each, and run sf-assets forget there too")  # fmt: skip
    if home.lake is not None:
        lines.append("dead rows of the lake's catalog, in Postgres until VACUUM FULL, and its WAL")
    if any(len(term) < LONG for person in people for term in person.terms):
        lines.append(
            f"ids and names of fewer than {LONG} letters inside of other text: they are searched "
            "only as values, in quotes and after an @"
        )
    shared = sorted({name for person in people for name in person.shared})
    if shared:
        lines.append(
            f"the names {', '.join(map(repr, shared))}: not searched, because others have them too"
        )
    own = sorted({handle for person in people for handle in person.tracked})
    if own:
        lines.append(f"the lists of {', '.join(own)}, which was tracked: they have its handle")
    taken = sorted(
        {h for person in people for h, (_, until) in person.handles.items() if until is not None}
    )
    if taken:
        lines.append(
            f"the handles {', '.join(taken)}: not searched, because somebody else has them now"
        )
    return lines


def look(home: Home, words: Sequence[str], tell: Tell) -> list[Person]:
    """The people behind words, with all their ids and rows in archive and landing.

    Reports progress to `tell`. Raises ForgetRefused, ArchiveDamaged, LandingDamaged.
    """
    people = [find_person(home, word) for word in words]
    refuse_tracked(home, people)
    if people:
        gather(home, people, tell)
    refuse_tracked(home, people)
    return people
