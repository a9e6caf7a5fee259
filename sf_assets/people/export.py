"""Everything that is stored of one person, for an answer to whoever asks what that is."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sf_assets.errors import SfAssetsError
from sf_assets.storage.home import Home
from sf_assets.storage.jsonl import lines
from sf_assets.storage.landing import Landing
from sf_assets.storage.landings import landing_of
from sf_assets.storage.records import Records, now
from sf_assets.storage.tombstone import valid_id
from sf_assets.warehouse.archive_names import archive_files, is_packed, name_of
from sf_assets.warehouse.archive_reader import ArchiveReader, one_file
from sf_assets.warehouse.statements import sql

FORMAT = 1
# What has rows of a listed account, and of a tracked handle.
_OF_ACCOUNT = (
    *("main.accounts", "main.account_renames", "main.account_history", "main.memberships"),
    *(
        "main.follower_churn",
        "main.following_churn",
        "internal.retractions",
        "internal.churn_profiles",
    ),
)
_OF_HANDLE = (
    *("main.handles", "main.snapshots", "main.follower_growth", "main.status_changes"),
    "main.annotations",
)
_NOT_PROFILE = ("relation", "handle", "snapshot_date", "attempt", "position", "followed_at")


@dataclass
class Person:
    """The ids under which one person is stored; `add` learns those of a row that is theirs.

    Where only a word is known of them, it may be any id, a handle whatever else the row has.
    """

    account_id: str
    numbers: set[str] = field(default_factory=set)
    sec_uids: set[str] = field(default_factory=set)
    handles: set[str] = field(default_factory=set)
    only_a_word: bool = False

    def matched_by(self, number: Any, sec_uid: Any, handle: Any) -> str | None:
        """By which of its ids an account is this person: by its handle only where it has no other;
        None for somebody else."""
        number, sec_uid = valid_id("number", number), valid_id("sec_uid", sec_uid)
        for kind, value, ours in (
            ("number", number, self.numbers),
            ("sec_uid", sec_uid, self.sec_uids),
            ("handle", valid_id("handle", handle), self.handles),
        ):
            if value in ours:
                return kind
            if value and not self.only_a_word:
                return None
        return None

    def add(self, sec_uid: Any, handle: Any) -> None:
        self.sec_uids |= {found for found in [valid_id("sec_uid", sec_uid)] if found}
        self.handles |= {found for found in [valid_id("handle", handle)] if found}


def somebody(word: str, handle: str) -> Person:
    """Whom no table knows: a word, and the handle that it may be."""
    number = valid_id("number", word)
    return Person(word, {number} if number else set(), {word}, {handle} - {""}, only_a_word=True)


def person_of(con: duckdb.DuckDBPyConnection, account_id: str) -> Person:
    """The ids that the tables know of an account."""
    person = Person(account_id)
    if account_id.startswith("@"):
        person.handles.add(account_id[1:].lower())
    elif account_id.startswith("sec:"):
        person.sec_uids.add(account_id[4:])
    else:
        person.numbers.add(account_id.removeprefix("id:"))
    for sec_uid, handle in con.execute(sql("person_ids"), [account_id]).fetchall():
        person.add(sec_uid, handle)
    return person


def everything(con: duckdb.DuckDBPyConnection, home: Home, person: Person) -> dict[str, Any]:
    """All that the home has of a person, in values that JSON takes, and dates.

    `unreadable` names the files that could not be searched.
    """
    unreadable: list[str] = []
    archived = list(_archived(home, person, unreadable))
    if any(row["matched_by"] == "number" for row, _ in archived):
        # By a secUid that a later row told, an earlier one may be found.
        archived = list(_archived(home, person, unreadable))
    landing = landing_of(home)
    landed = list(_landed(landing, person, unreadable))
    tables = {
        name.removeprefix("main."): _rows(
            con, f"FROM {name} WHERE account_id = ?", person.account_id
        )
        for name in _OF_ACCOUNT
    }
    # A handle of before may be somebody else's now.
    bears = {str(row["account_handle"]).lower() for row in tables["accounts"]} or person.handles
    for name in _OF_HANDLE:
        query = f"FROM {name} WHERE list_contains(?, handle) ORDER BY ALL"
        tables[name] = _rows(con, query, sorted(bears))
    alerts = [line for line in lines(home.deliveries) if "change_id" in line]
    lists = [f"{one['relation']}/{one['handle']}/{one['snapshot_date']}" for _, one in archived]
    return {
        "format": FORMAT,
        "made_at": now(),
        "account_id": person.account_id,
        "ids": {
            "numbers": sorted(person.numbers),
            "sec_uids": sorted(person.sec_uids),
            "handles": sorted(person.handles),
        },
        "tables": tables,
        "archive": _by_profile(archived),
        "landing": landed,
        "imports": _rows(con, sql("imports_of"), lists),
        "alerts": [one for one in alerts if _names(one["change_id"], person.account_id, bears)],
        "unreadable": sorted(set(unreadable)),
    }


def _rows(con: duckdb.DuckDBPyConnection, query: str, parameter: Any) -> list[dict[str, Any]]:
    rows = con.execute(query, [parameter])
    names = [column[0] for column in rows.description or ()]
    return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]


def _archived(
    home: Home, person: Person, unreadable: list[str]
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The rows of the archive that are this person: what it says of them, and where."""
    reader = ArchiveReader(home.archive)
    for path in archive_files(home.archive):
        try:
            if is_packed(path):
                rows = one_file(reader, name_of(path))
            else:
                with path.open("rb") as file:
                    rows = pq.read_table(file)
        except (SfAssetsError, OSError, pa.ArrowException) as error:
            unreadable.append(f"{path}: {error}")
            continue
        for row in rows.filter(_candidates(rows, person)).to_pylist():
            by = person.matched_by(row["platform_user_id"], row["sec_uid"], row["account_handle"])
            if by is None:
                continue
            person.add(row["sec_uid"], row["account_handle"] if by != "handle" else None)
            place = {name: row.pop(name, None) for name in _NOT_PROFILE}
            said = {name: value for name, value in row.items() if value is not None}
            for name in ("path", "computed", "profile_digest"):
                said.pop(name, None)
            file_name = path.relative_to(home.archive).as_posix()
            yield {**said, "matched_by": by}, {**place, "file": file_name}


def _candidates(rows: pa.Table, person: Person) -> pa.ChunkedArray:
    """Which rows bear one of the ids; the spelling of ids is judged later."""
    numbers = pc.utf8_ltrim(pc.utf8_trim_whitespace(rows["platform_user_id"]), characters="0")
    columns = {
        "numbers": numbers,
        "sec_uids": pc.utf8_trim_whitespace(rows["sec_uid"]),
        "handles": pc.utf8_lower(rows["account_handle"]),
    }
    found = [
        pc.is_in(column, pa.array(sorted(getattr(person, name)), pa.string()))
        for name, column in columns.items()
    ]
    return pc.or_(pc.or_(found[0], found[1]), found[2])


def _by_profile(archived: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[dict[str, Any]]:
    """Each profile once, the earliest first, with all lists that showed it."""
    found: dict[str, dict[str, Any]] = {}
    for said, place in sorted(archived, key=lambda row: str(row[1]["snapshot_date"])):
        key = json.dumps(said, sort_keys=True, default=str)
        found.setdefault(key, {"profile": said, "shown": []})["shown"].append(place)
    return list(found.values())


def _landed(landing: Landing, person: Person, unreadable: list[str]) -> Iterator[dict[str, Any]]:
    """The records of raw pages and of refused answers that are this person."""
    with tempfile.TemporaryDirectory() as folder:
        for day in landing.days():
            for key in landing.keys(day):
                place = {"relation": key.relation, "handle": key.handle, "snapshot_date": day}
                try:
                    landed = landing.read(key)
                    if landed is not None:
                        with landed.on_disk(Path(folder)).open("rb") as file:
                            for head, body in Records(landed.path, file):
                                told = {"page": head.get("page"), "received_at": head.get("at")}
                                yield from ({**place, **told, **one} for one in _said(body, person))
                except (SfAssetsError, OSError) as error:
                    unreadable.append(str(error))
        for path in sorted(landing.root.glob("*/*/*.quarantine"), key=str):
            for file_path in sorted(path.glob("*.json"), key=str) if path.is_dir() else [path]:
                for line in file_path.read_bytes().splitlines():
                    refused = json.loads(line)
                    body = base64.b64decode(refused["body_base64"])
                    told = {"received_at": refused["received_at"], "refused": refused["reason"]}
                    for one in _said(body, person):
                        yield {"file": str(path.relative_to(landing.root)), **told, **one}


def _said(body: bytes, person: Person) -> Iterator[dict[str, Any]]:
    """The objects of an answer that are this person; where it is no JSON, that it names them."""
    small = body.lower()
    ids = person.numbers | person.sec_uids | person.handles
    if not any(one.lower().encode() in small for one in ids):
        return
    try:
        whole = json.loads(body)
    except (ValueError, RecursionError):
        yield {"matched_by": "text", "record": None}
        return
    waiting = [whole]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            by = person.matched_by(*map(value.get, ("platformUserId", "secUid", "handle")))
            if by is not None:
                yield {"matched_by": by, "record": value}


def _names(change_id: str, account_id: str, handles: set[str]) -> bool:
    """Whether an alert is about the account, or about the person's own lists."""
    parts = change_id.split("/")
    return parts[-1] == account_id or not handles.isdisjoint(parts[1:2])
