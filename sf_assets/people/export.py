"""Exports everything stored about one person, to answer an access request."""

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
from sf_assets.storage.landings import landing_at
from sf_assets.storage.records import Records, now
from sf_assets.storage.tombstone import valid_id
from sf_assets.warehouse.archive_names import archive_files, is_packed, name_of
from sf_assets.warehouse.archive_reader import ArchiveReader, one_file
from sf_assets.warehouse.statements import sql

FORMAT = 1
# Tables with rows about a listed account, and about a tracked handle.
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
    """The ids under which one person is stored; `add` learns the ids of a matching row.

    `only_a_word`: the only known id may be of any kind, and a handle matches whatever other ids the
    row has.
    """

    account_id: str
    numbers: set[str] = field(default_factory=set)
    sec_uids: set[str] = field(default_factory=set)
    handles: set[str] = field(default_factory=set)
    only_a_word: bool = False

    def matched_by(self, number: Any, sec_uid: Any, handle: Any) -> str | None:
        """The kind of id by which an account is this person, or None for somebody else.

        A handle counts only if the account has no other id.
        """
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
        """Learn the valid ids of a row."""
        self.sec_uids |= {valid for valid in [valid_id("sec_uid", sec_uid)] if valid}
        self.handles |= {valid for valid in [valid_id("handle", handle)] if valid}


def person_named(word: str, handle: str) -> Person:
    """A person whom no table has: a word, and the handle that it may be."""
    number = valid_id("number", word)
    return Person(word, {number} if number else set(), {word}, {handle} - {""}, only_a_word=True)


def person_of(con: duckdb.DuckDBPyConnection, account_id: str) -> Person:
    """The ids of an account in the tables."""
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


def everything_about(con: duckdb.DuckDBPyConnection, home: Home, person: Person) -> dict[str, Any]:
    """Everything in the home about a person, as JSON values and dates.

    `unreadable` names files that could not be read.
    """
    unreadable: list[str] = []
    archived = list(_archived(home, person, unreadable))
    if any(row["matched_by"] == "number" for row, _ in archived):
        # A secUid in a later row may match an earlier row.
        archived = list(_archived(home, person, unreadable))
    landing = landing_at(home.landing, home.root)
    landed = list(_landed(landing, person, unreadable))
    tables = {
        name.removeprefix("main."): _rows(
            con, f"FROM {name} WHERE account_id = ?", person.account_id
        )
        for name in _OF_ACCOUNT
    }
    # A former handle may belong to somebody else now.
    own_handles = {
        str(row["account_handle"]).lower() for row in tables["accounts"]
    } or person.handles
    for name in _OF_HANDLE:
        query = f"FROM {name} WHERE list_contains(?, handle) ORDER BY ALL"
        tables[name] = _rows(con, query, sorted(own_handles))
    alerts = [line for line in lines(home.deliveries) if "change_id" in line]
    lists = [f"{at['relation']}/{at['handle']}/{at['snapshot_date']}" for _, at in archived]
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
        "alerts": [
            alert for alert in alerts if _names(alert["change_id"], person.account_id, own_handles)
        ],
        "unreadable": sorted(set(unreadable)),
    }


def _rows(con: duckdb.DuckDBPyConnection, query: str, parameter: Any) -> list[dict[str, Any]]:
    rows = con.execute(query, [parameter])
    names = [column[0] for column in rows.description or ()]
    return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]


def _archived(
    home: Home, person: Person, unreadable: list[str]
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(profile, position) of each archived row about this person."""
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
            position = {name: row.pop(name, None) for name in _NOT_PROFILE}
            profile = {name: value for name, value in row.items() if value is not None}
            for name in ("path", "computed", "profile_digest"):
                profile.pop(name, None)
            file_name = path.relative_to(home.archive).as_posix()
            yield {**profile, "matched_by": by}, {**position, "file": file_name}


def _candidates(rows: pa.Table, person: Person) -> pa.ChunkedArray:
    """Rows with one of the ids, before a check of how the ids are spelt."""
    numbers = pc.utf8_ltrim(pc.utf8_trim_whitespace(rows["platform_user_id"]), characters="0")
    columns = {
        "numbers": numbers,
        "sec_uids": pc.utf8_trim_whitespace(rows["sec_uid"]),
        "handles": pc.utf8_lower(rows["account_handle"]),
    }
    matches = [
        pc.is_in(column, pa.array(sorted(getattr(person, name)), pa.string()))
        for name, column in columns.items()
    ]
    return pc.or_(pc.or_(matches[0], matches[1]), matches[2])


def _by_profile(archived: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[dict[str, Any]]:
    """Each profile once, the earliest first, with all lists that showed it."""
    profiles: dict[str, dict[str, Any]] = {}
    for profile, position in sorted(archived, key=lambda row: str(row[1]["snapshot_date"])):
        key = json.dumps(profile, sort_keys=True, default=str)
        profiles.setdefault(key, {"profile": profile, "shown": []})["shown"].append(position)
    return list(profiles.values())


def _landed(landing: Landing, person: Person, unreadable: list[str]) -> Iterator[dict[str, Any]]:
    """The records about this person on raw pages and in quarantined answers."""
    with tempfile.TemporaryDirectory() as folder:
        for day in landing.days():
            for key in landing.keys(day):
                about = {"relation": key.relation, "handle": key.handle, "snapshot_date": day}
                try:
                    landed = landing.read(key)
                    if landed is not None:
                        with landed.on_disk(Path(folder)).open("rb") as file:
                            for head, body in Records(landed.path, file):
                                page = {"page": head.get("page"), "received_at": head.get("at")}
                                for record in _records(body, person):
                                    yield {**about, **page, **record}
                except (SfAssetsError, OSError) as error:
                    unreadable.append(str(error))
        for path in sorted(landing.root.glob("*/*/*.quarantine"), key=str):
            for file_path in sorted(path.glob("*.json"), key=str) if path.is_dir() else [path]:
                for line in file_path.read_bytes().splitlines():
                    refused = json.loads(line)
                    body = base64.b64decode(refused["body_base64"])
                    about = {
                        "file": str(path.relative_to(landing.root)),
                        "received_at": refused["received_at"],
                        "refused": refused["reason"],
                    }
                    for record in _records(body, person):
                        yield {**about, **record}


def _records(body: bytes, person: Person) -> Iterator[dict[str, Any]]:
    """The objects in an answer about this person; if it is not JSON, only that it names them."""
    lower = body.lower()
    ids = person.numbers | person.sec_uids | person.handles
    if not any(known.lower().encode() in lower for known in ids):
        return
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        yield {"matched_by": "text", "record": None}
        return
    waiting = [document]
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
    """Whether an alert is about the account or about the person's own lists."""
    parts = change_id.split("/")
    return parts[-1] == account_id or not handles.isdisjoint(parts[1:2])
