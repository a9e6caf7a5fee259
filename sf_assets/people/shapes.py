"""Finds the columns of a list by their names, at any nesting.

Compares names by lower-case letters and digits only: `uniqueId`, `unique_id` and `Unique ID` are
equal. Paths are JSON pointers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sf_assets.people.errors import ImportRefused

# Our column -> names in other tools, the most certain first.
NAMES: dict[str, tuple[str, ...]] = {
    "handle": (
        "accounthandle", "uniqueid", "username", "userunique", "userhandle", "screenname", "handle",
        "usernames", "login",
    ),
    "platform_user_id": (
        "platformuserid", "userid", "uid", "tiktokid", "useridstr", "idstr", "accountid", "id",
    ),
    "sec_uid": ("secuid", "secuserid"),
    "display_name": ("displayname", "nickname", "fullname"),
    "bio": ("bio", "signature", "biography", "description"),
    "verified": ("verified", "isverified"),
    "private_account": ("privateaccount", "isprivate", "secret"),
    "followers": ("followers", "followercount", "followerscount", "fans", "fanscount"),
    "following": ("following", "followingcount", "followingscount"),
    "posts": ("posts", "videocount", "awemecount", "postcount"),
    "avatar_url": ("avatarurl", "avatar", "avatarthumb", "avatarmedium", "avatarlarger"),
    "profile_url": ("profileurl", "profilelink", "profile", "url", "link", "href"),
    "region": ("region", "country"),
    "language": ("language", "lang"),
    "followed_at": ("followedat", "followdate", "followtime", "followedon", "date"),
    "owner": (
        "inputusername", "inputhandle", "targetusername", "targethandle", "target", "input",
        "followerof", "followersof", "followingof", "trackedhandle", "ownerhandle",
    ),
    "relation": ("relation",),
    "snapshot_date": ("snapshotdate", "snapshotday"),
}  # fmt: skip
FIELDS = tuple(NAMES)
HANDLE_NAMES = frozenset(NAMES["handle"])
# Number of rows that are enough to recognise a list.
SAMPLE = 500
# Names of nested objects with the counts of an account, and the counts.
_COUNTS = ("stats", "statsv2", "metrics", "authorstats", "userstats")
_OF_COUNTS = ("followers", "following", "posts")
# TikTok's own export names a list by the objects around it.
_RELATION_WORDS = {"followers": ("follower", "fans"), "following": ("following",)}
_PAGES = {"followers": "totalfollowers", "accounts": "totalaccounts"}


def plain_name(text: str) -> str:
    """The name in lower-case letters and digits only."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


@dataclass(frozen=True)
class Shape:
    """Pointers to the data in the records of a file.

    `rows`: the list in each record, None if the records are the rows. `fields`: our column -> its
    pointer in a row. `total`, `more`: in a record, for saved pages.
    """

    layout: str
    rows: str | None
    fields: dict[str, str]
    total: str | None = None
    more: str | None = None
    newest_first: bool = False


@dataclass(frozen=True)
class ColumnMap:
    """A mapping.yaml: `list` points to the rows, `columns` maps our columns to theirs."""

    rows: str | None
    columns: dict[str, str]


def read_mapping(path: Path) -> ColumnMap:
    """Parse a mapping.yaml. Raises ImportRefused if it is invalid."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise ImportRefused(f"cannot read {path} ({' '.join(str(error).split())})") from None
    columns = content.get("columns") if isinstance(content, Mapping) else None
    if not isinstance(columns, dict) or not set(content) <= {"list", "columns"}:
        raise ImportRefused(f"{path}: must have `columns`, may have `list`, and nothing else")
    unknown = [name for name in columns if name not in NAMES]
    if unknown:
        raise ImportRefused(f"{path}: unknown column {unknown[0]!r}; use {', '.join(FIELDS)}")
    if "handle" not in columns and "profile_url" not in columns:
        raise ImportRefused(f"{path}: `columns` needs handle or profile_url")
    rows = content.get("list")
    return ColumnMap(
        None if rows is None else _pointer(str(rows)),
        {name: _pointer(str(theirs)) for name, theirs in columns.items()},
    )


def _pointer(path: str) -> str:
    """`data.items` -> `/data/items`; a path that starts with a slash is already a JSON pointer."""
    return path if path.startswith("/") else "".join(f"/{_escaped(key)}" for key in path.split("."))


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def find(sample: Sequence[Any], relation: str, mapping: ColumnMap | None, name: str) -> Shape:
    """The shape of a file, from a sample of its records.

    Raises ImportRefused if it has no rows, no column with usernames, or several lists.
    """
    if not sample:
        raise ImportRefused(f"{name}: contains no rows")
    if mapping is not None:
        columns = {
            own: theirs if theirs.count("/") > 1 else _flat(theirs, sample[0])
            for own, theirs in mapping.columns.items()
        }
        return Shape("mapped", mapping.rows, columns)
    if all(isinstance(record, str) for record in sample):
        return Shape("plain list", None, {"handle": "$"})
    lists = _lists(sample) if len(sample) == 1 or not _fields(sample, relation) else {}
    if not lists:
        fields = _fields(sample, relation)
        if not fields:
            keys = sorted({key for record in sample for key in _keys(record)})[:12]
            raise ImportRefused(
                f"{name}: no column with usernames or profile URLs; its columns are "
                f"{', '.join(keys) or 'none'}. Name one with --map mapping.yaml"
            )
        return Shape("rows", None, fields)
    path = _list_of(lists, relation, name)
    rows = lists[path][:SAMPLE]
    if not rows:
        raise ImportRefused(f"{name}: the list of {relation} is empty")
    fields = {"handle": "$"} if isinstance(rows[0], str) else _fields(rows, relation)
    last = path.rsplit("/", 1)[-1]
    around = dict(_leaves(sample[-1]))
    total = _named(around, (_PAGES.get(plain_name(last), ""),))
    more = _named(around, ("hasmore", "hasnextpage"))
    if total is not None:
        return Shape("saved pages", path, fields, total, more, newest_first=True)
    of_tiktok = {plain_name(key) for row in rows[:1] if isinstance(row, dict) for key in row}
    layout = "TikTok export" if of_tiktok == {"date", "username"} else "rows in a list"
    return Shape(layout, path, fields, None, more)


def _flat(pointer: str, record: Any) -> str:
    """The pointer to a column of a table, whose name may contain periods."""
    own = pointer[1:]
    return f"/{_escaped(own)}" if isinstance(record, dict) and own in record else pointer


def _keys(record: Any) -> list[str]:
    return list(map(str, record)) if isinstance(record, dict) else []


def _leaves(value: Any, path: str = "", depth: int = 4) -> Iterator[tuple[str, Any]]:
    """Pointer and value of everything but objects and lists."""
    if isinstance(value, dict) and depth:
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}/{_escaped(str(key))}", depth - 1)
    elif not isinstance(value, (dict, list)):
        yield path, value


def _lists(sample: Sequence[Any]) -> dict[str, list[Any]]:
    """Pointer -> rows, of each list in the records that is empty or has usernames."""
    lists: dict[str, list[Any]] = {}

    def walk(value: Any, path: str, depth: int) -> None:
        if isinstance(value, dict) and depth:
            for key, inner in value.items():
                walk(inner, f"{path}/{_escaped(str(key))}", depth - 1)
        elif isinstance(value, list) or (value is None and _names_a_relation(path)):
            lists.setdefault(path, []).extend(value or [])

    for record in sample:
        walk(record, "", 6)
    return {
        path: rows for path, rows in lists.items()
        if (not rows and _names_a_relation(path))
        or _fields(rows[:50], "").get("handle", _fields(rows[:50], "").get("profile_url"))
        or (rows and isinstance(rows[0], str) and _names_a_relation(path))
    }  # fmt: skip


def _names_a_relation(path: str) -> bool:
    return any(_speaks_of(path, relation) for relation in _RELATION_WORDS)


def _speaks_of(path: str, relation: str) -> bool:
    """Whether a pointer names this relation; its last part that names one decides."""
    for part in map(plain_name, reversed(path.split("/"))):
        named = {name for name, words in _RELATION_WORDS.items() if any(w in part for w in words)}
        if named:
            return named == {relation}
    return relation == "following" and plain_name(path.rsplit("/", 1)[-1]) == "accounts"


def _list_of(lists: Mapping[str, list[Any]], relation: str, name: str) -> str:
    own = [path for path in lists if _speaks_of(path, relation)]
    neutral = [path for path in lists if not _names_a_relation(path)]
    for some in (own, neutral if len(lists) == len(neutral) else []):
        if len(some) == 1:
            return some[0]
    raise ImportRefused(
        f"{name}: unclear which list has the {relation}: "
        f"{', '.join(path.replace('/', ' > ').strip(' >') for path in lists)}. Name it with "
        "`list:` in --map mapping.yaml"
    )


def _named(leaves: Mapping[str, Any], names: Sequence[str]) -> str | None:
    for name in names:
        for path in leaves:
            if name and plain_name(path.rsplit("/", 1)[-1]) == name:
                return path
    return None


def _fields(rows: Sequence[Any], relation: str) -> dict[str, str]:
    """Our column -> its pointer in the rows; empty if no column names an account."""
    leaves: dict[str, Any] = {}
    for row in rows:
        if isinstance(row, dict):
            for path, value in _leaves(row):
                if path not in leaves or leaves[path] in (None, ""):
                    leaves[path] = value
    parts = {path: _parts(path) for path in leaves}
    handle = _best(parts, NAMES["handle"], None)
    if handle is None:
        # `authorMeta.name` is a username; `name` elsewhere is a display name.
        handle = next((p for p, own in parts.items() if own[-2:] == ("authormeta", "name")), None)
    anchor = handle or next(
        (path for path, value in leaves.items()
         if parts[path][-1] in NAMES["profile_url"] and "tiktok.com/@" in str(value)), None,
    )  # fmt: skip
    if anchor is None:
        return {}
    parent = parts[anchor][:-1]
    fields = {} if handle is None else {"handle": handle}
    export = parts[anchor][-1] == "username" and {own[-1] for own in parts.values()} == {
        "date", "username",
    }  # fmt: skip
    for own, names in NAMES.items():
        if own in fields or own == "handle":
            continue
        if own == "followed_at" and not export:
            names = names[:-1]  # in other files a date may be anything
        parents = [parent] if own not in ("owner", "relation", "snapshot_date") else [(), parent]
        if own in _OF_COUNTS:
            parents += [(*at, name) for at in (parent, parent[:-1]) for name in _COUNTS]
        for where in parents:
            free = {at: part for at, part in parts.items() if at not in fields.values()}
            if best := _best(free, names, where):
                fields[own] = best
                break
    if own_export := (parts[anchor][-1] == "accounthandle" and _best(parts, ("handle",), parent)):
        fields["owner"] = own_export
    return fields


def _parts(path: str) -> tuple[str, ...]:
    """The parts of `/authorMeta/name`, or in a table `/authorMeta.name`, `/authorMeta~1name`."""
    return tuple(
        plain_name(part)
        for part in re.split(r"[/.]", path.strip("/").replace("~1", "/").replace("~0", "~"))
    )


def _best(
    parts: Mapping[str, tuple[str, ...]], names: Sequence[str], where: tuple[str, ...] | None
) -> str | None:
    """The least nested pointer with the most certain of these names, inside `where`."""
    matches = [
        (names.index(own[-1]), len(own), path)
        for path, own in parts.items()
        if own[-1] in names and (where is None or own[:-1] == where)
    ]
    return min(matches)[2] if matches else None
