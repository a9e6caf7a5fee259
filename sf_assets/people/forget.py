"""Forgetting somebody: in all that is there, and in all that comes.

First the door is closed, then landing, archive, warehouse, publications, notes and logs are gone
through, and at the end every file is searched. The steps that are done stand in a journal of the
home, so that one that was killed goes on. It has the ids in plain text, and goes last.
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

# A run that lands or archives meanwhile is caught by the next round.
ROUNDS = 3

Tell = Callable[[str], None]

# Of one that was never seen; a name or the address of a video would keep nobody out.
_SEC_UID = re.compile(r"[A-Za-z0-9_\-=]+")


@dataclass
class Forgotten:
    """What came of it: what was changed, and what of these people is still found."""

    landed: int = 0
    files: int = 0
    rows: int = 0
    others: list[str] = field(default_factory=list)
    left: list[Hit] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether nothing is left but what others say."""
        return not any(not hit.mention for hit in self.left)


def whom(home: Home, word: str) -> Person:
    """The person that a handle, an address of a profile, a number or a secUid means.

    With all ids that the published tables have of the account. Raises ForgetRefused where a handle
    was that of several accounts.
    """
    word = word.strip()
    try:
        handle = normalise_handle(word)
    except RegistryError:
        handle = ""
    number = valid_id("number", word)
    if (number and is_pseudonym("number", number)) or word.lstrip("@").startswith(PREFIX):
        raise ForgetRefused(f"{word} stands for somebody who is forgotten already")
    person = Person()
    with suppress(FileNotFoundError), reading(home.readable) as con:
        found = [
            account_id
            for account_id, _ in con.execute(
                sql("account_ids"), {"word": word, "handle": handle}
            ).fetchall()
        ]
        exact = [one for one in found if one in (word, f"sec:{word}", number)]
        strong = exact or [one for one in found if not one.startswith("@")]
        if len(strong) > 1:
            raise ForgetRefused(
                f"{word} is, or was, the handle of {len(strong)} accounts: give the number or "
                f"secUid of the one that is meant: {', '.join(strong)} (sf-assets account {word} "
                "shows each)"
            )
        for account_id in strong or found:
            _add(person, account_id, con.execute(sql("forget_ids"), {"id": account_id}).fetchall())
    if not person.terms:
        if number and not word.startswith("@"):
            person.numbers.add(number)
        elif handle and not word.startswith("MS4w"):
            person.handles[handle] = ALWAYS
        elif _SEC_UID.fullmatch(word):
            person.sec_uids.add(word)
        else:
            raise ForgetRefused(
                f"name an account: {word!r} is no handle, profile's address, number or secUid"
            )
    elif handle and handle not in person.handles and not exact:
        person.handles[handle] = ALWAYS
    return person


def _add(person: Person, account_id: str, rows: Sequence[tuple[str | None, ...]]) -> None:
    """What is known of an account."""
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
    """Raises ForgetRefused for an account whose lists are tracked; notes which ones once were."""
    registry, _ = registry_in_force(home.registry, keep=False)
    with suppress(FileNotFoundError), reading(home.readable) as con:
        lists = con.execute("SELECT DISTINCT handle FROM internal.snapshots").fetchall()
        once = {handle for (handle,) in lists}
        for person in people:
            person.tracked = once & person.handles.keys()
    for handle in (handle for person in people for handle in person.handles):
        if handle in registry.handles:
            raise ForgetRefused(
                f"@{handle} is tracked, and its lists bear its handle: stop that first "
                f"(sf-assets untrack {handle})"
            )


@dataclass
class Journal:
    """What is to be done, and how far it is. Kept in the home until all is done."""

    path: Path
    people: list[Person]
    reason: str
    everybody: bool = False
    done: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, home: Home) -> Journal | None:
        """That of one that was broken off; None where there is none. Raises ForgetRefused."""
        path = home.document(JOURNAL)
        try:
            raw: dict[str, Any] = json.loads(read_text(path))
            people = [Person.of_json(one) for one in raw["people"]]
            return cls(path, people, raw["reason"], raw["everybody"], raw["done"])
        except FileNotFoundError:
            return None
        except (ValueError, LookupError, TypeError):
            raise ForgetRefused(f"{path} is damaged: remove it, and forget them anew") from None

    def write(self) -> None:
        """Keep it. Raises OSError."""
        text = {
            "people": [one.to_json() for one in self.people],
            "reason": self.reason,
            "everybody": self.everybody,
            "done": self.done,
        }
        write_atomically(self.path, json.dumps(text) + "\n")

    def step(self, name: str, work: Callable[[], None]) -> None:
        """Do a step that is not done yet."""
        if name not in self.done:
            work()
            crash_point("forgot")
            self.done.append(name)
            self.write()


@contextmanager
def alone(home: Home) -> Iterator[None]:
    """One at a time. Raises ForgetRefused while another goes on."""
    try:
        lock = home.log(".forgetting.lock")
        with lock.locked(0) if isinstance(lock, Shared) else open_locked(lock, wait=False):
            yield
    except Locked:
        raise ForgetRefused("another sf-assets forget is at work in this home") from None


def forget(
    home: Home, journal: Journal, tell: Tell, wait_seconds: float = DEFAULT_WAIT_SECONDS
) -> Forgotten:
    """Do what is left of a journal. Done or not, each step may be done again.

    Waits for other writers up to `wait_seconds`. Raises WarehouseBusy, LandingBusy, ArchiveDamaged,
    LandingDamaged, PublishFailed, ForgetRefused, OSError; run again, it goes on.
    """
    return _Steps(home, journal, tell, wait_seconds).run()


class _Steps:
    def __init__(self, home: Home, journal: Journal, tell: Tell, wait_seconds: float) -> None:
        self.home, self.journal, self.tell, self.wait = home, journal, tell, wait_seconds
        self.people, self.made = journal.people, Forgotten()
        self.ids = pseudonyms_of(home)

    def run(self) -> Forgotten:
        self.journal.write()
        self.journal.step("door", self._door)
        if self.home.far:
            self.tell("waiting until all workers know, and have put what they were reading")
            time.sleep(shortened(LOOK_SECONDS + BATCH_SECONDS))
        for turn in range(1, ROUNDS + 1):
            for name, work in (
                ("landing", self._landing), ("archive", self._archive), ("tables", self._tables),
                ("others", self._others),
            ):  # fmt: skip
                self.journal.step(f"{name} {turn}", work)
            self.made.left = [] if self.journal.everybody else self._search()
            places = {hit.place.split(" ")[0].split("/")[0] for hit in self.made.left
                      if not hit.mention}  # fmt: skip
            if not places & {"landing", "archive", "warehouse", "quarantine", "the", "published"}:
                break
            self.tell("another run wrote meanwhile: once more")
        self.journal.path.unlink()
        return self.made

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
        deadline = time.monotonic() + self.wait
        # Lists of their own that no table has, as `probe` leaves them.
        own = {handle for person in self.people for handle in person.handles.keys() & person.terms}
        for day in landing.days():
            for key in sorted({*landing.keys(day), *landing.quarantined(day)}):
                if key.handle in own:
                    landing.drop(key)
                    self.made.landed += 1
                    continue
                page = partial(door.page, key.relation, key.day)
                while True:
                    try:
                        self.made.landed += landing.rewrite(key, page, door.unusable)
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

        with locked(self.home.writer, self.wait):
            made = rewrite(self.home.archive, self.home.rewriting, change, tell)
            # Of processes that were killed.
            for path in self.home.archive.glob("day=*/.*.partial"):
                path.unlink(missing_ok=True)
        self.made.files += made.files
        self.made.rows += made.rows

    def _tables(self) -> None:
        """All tables anew from the archive: a file that is only changed keeps what it held."""
        if self.home.lake is None and not self.home.warehouse.exists():
            return
        self.tell("tables, derived anew")
        made = rebuild(self.home, self.wait)
        if made.problems:
            raise SfAssetsError(
                f"forget: not all lists could be read ({made.problems[0]}). Mend that (sf-assets "
                "verify), then run sf-assets forget again, which goes on"
            )
        if self.home.lake is not None:
            with writing(self.home.lake) as con:
                drop_versions(con)
            return
        # The generation before stays for a while otherwise, and so do files that were put aside.
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
            self.made.others = drop_names(self.home, self.ids)
        else:
            self.made.others = scrub(self.home, self.people, self.ids)

    def _search(self) -> list[Hit]:
        found: Counter[tuple[str, bool]] = Counter()
        for hit in search(self.home, self.people, self.tell):
            found[hit.place, hit.mention] += hit.times
        return [Hit(place, times, mention) for (place, mention), times in sorted(found.items())]


def out_of_reach(home: Home, people: Sequence[Person]) -> list[str]:
    """What no command can reach, in sentences."""
    said = [
        "backups of this home, made before: delete them, or restore none without forgetting anew",
        "exports, reports and query results that were written elsewhere, and who has them",
        "alerts that were sent: mails, chats, webhooks",
        "what the disk has not overwritten yet, and snapshots of the file system",
    ]
    if home.lake is not None or home.storage is not None:
        said.append("old versions of objects in a bucket that keeps them, and backups of Postgres")
        said.append("Dagster's own tables in Postgres, and logs of pods")
    if home.lake is not None and not home.far:
        said.append("other workers with a home of their own: copy forgotten.jsonl and "
                    "pseudonyms.key to each, and run sf-assets forget there, too")  # fmt: skip
    if home.lake is not None:
        said.append("dead rows of the lake's catalog, in Postgres until VACUUM FULL, and its WAL")
    if any(len(term) < LONG for person in people for term in person.terms):
        said.append(
            f"ids and names of fewer than {LONG} letters are searched where they stand alone: as "
            "values, in quotes, after an @; in the middle of other text they are not"
        )
    shared = sorted({name for person in people for name in person.shared})
    if shared:
        said.append(
            f"the names {', '.join(map(repr, shared))}, which others bear too: not searched"
        )
    own = sorted({handle for person in people for handle in person.tracked})
    if own:
        said.append(f"the lists of {', '.join(own)}, which was tracked: they bear its handle")
    taken = sorted(
        {h for person in people for h, (_, until) in person.handles.items() if until is not None}
    )
    if taken:
        said.append(f"the handles {', '.join(taken)}, which somebody else has now: not searched")
    return said


def look(home: Home, words: Sequence[str], tell: Tell) -> list[Person]:
    """The people that words mean, with all that archive and landing have of them.

    Raises ForgetRefused, ArchiveDamaged, LandingDamaged.
    """
    people = [whom(home, word) for word in words]
    refuse_tracked(home, people)
    if people:
        gather(home, people, tell)
    refuse_tracked(home, people)
    return people
