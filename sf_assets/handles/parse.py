"""Which handles are tracked: `handles.yaml`, read with line numbers, edited with comments kept."""

from __future__ import annotations

import contextlib
import difflib
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sf_assets.settings import RELATIONS, Relation, SettingsError, is_handle
from sf_assets.storage.home import write_atomically
from sf_assets.text import counted

# Where pydantic would explain each branch of a union instead.
_EXPECTED = {
    "depth": "must be full, recent, or {pages: N} with N of at least 1",
    "relations": "must be a list with followers, following or both",
    "weekdays": "must be a list of days such as [mon, thu]",
}

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

# What may be said of one of a handle's two lists.
_OF_A_LIST = ("depth", "full_every", "weekdays")

# What a browser's address line has of a profile.
_PROFILE = re.compile(r"(?:https?://)?(?:www\.|m\.)?tiktok\.com/@([^/?#@]+)/?(?:[?#].*)?", re.I)


# Of one handle's settings, or of the defaults.
MOST_VALUES = 10_000


class RegistryError(SettingsError):
    """`handles.yaml` or a handle is wrong; the list last read stays in force."""


def normalise_handle(text: str) -> str:
    """`@Bob `, or the address of its profile -> `bob`.

    Letters a-z, digits, `_` and `.`, 1 to 128 characters, no `.` at an end. Raises RegistryError
    for anything else, because a handle becomes a partition key and a path.
    """
    pasted = _PROFILE.fullmatch(text.strip())
    handle = (pasted.group(1) if pasted else text.strip().removeprefix("@")).lower()
    # Asked of the text as it came: the Kelvin sign's lower case is an ordinary k.
    if not text.strip().isascii() or not is_handle(handle):
        shown = text if len(text) <= 60 else text[:57] + "…"
        raise RegistryError(
            f"{shown!r} is not a TikTok handle: use 1 to 128 letters a-z, digits, underscores and "
            "periods, without a period at either end"
        )
    return handle


class PageDepth(BaseModel):
    """Read at most this many pages of a list a day."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    pages: int = Field(ge=1)


Depth = Literal["full", "recent"] | PageDepth


class ListSettings(BaseModel):
    """How deep one list is read, and on which days.

    `recent`: from the top until what comes is known; all of it every `full_every` days.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    depth: Depth = "full"
    full_every: int = Field(default=7, ge=1)
    weekdays: tuple[Weekday, ...] = Field(default=WEEKDAYS, min_length=1)

    @property
    def max_pages(self) -> int | None:
        """Pages to read of a list, None for all of them."""
        return self.depth.pages if isinstance(self.depth, PageDepth) else None

    def due(self, day: date) -> bool:
        """Whether the list is read on that day by itself."""
        return WEEKDAYS[day.weekday()] in self.weekdays

    def said(self) -> str:
        """In a few words: `full`, `recent (full every 7 days), mon thu`."""
        depth = f"{counted(self.max_pages, 'page')}" if self.max_pages else str(self.depth)
        if self.depth == "recent":
            depth += f" (full every {counted(self.full_every, 'day')})"
        days = "" if set(self.weekdays) == set(WEEKDAYS) else ", " + " ".join(self.weekdays)
        return depth + days


class HandleSettings(ListSettings):
    """What may be said of a handle, or of all of them under `defaults:`.

    `followers` and `following` say otherwise of one of its lists. `daily_credits` are the most that
    both together may cost a day.
    """

    relations: tuple[Relation, ...] = RELATIONS
    priority: int = 0
    daily_credits: int | None = Field(default=None, ge=1)
    user_id: str | None = Field(default=None, pattern=r"^[0-9]{1,20}$")
    tags: tuple[str, ...] = ()
    followers: ListSettings | None = None
    following: ListSettings | None = None

    def of(self, relation: Relation) -> ListSettings:
        """The settings of one of its lists."""
        own = self.followers if relation == "followers" else self.following
        return own or self

    def due(self, day: date) -> bool:
        """Whether any of its lists is read on that day by itself."""
        return any(ListSettings.due(self.of(relation), day) for relation in self.relations)


@dataclass(frozen=True)
class Registry:
    """The tracked handles, in the order of the file.

    `defaults` are the settings of a handle that is not tracked. `has_list`: the file has the key
    `handles`; without it, the file does not say who is tracked.
    """

    handles: dict[str, HandleSettings] = field(default_factory=dict)
    defaults: HandleSettings = field(default_factory=HandleSettings)
    has_list: bool = field(default=True, compare=False)

    def settings_of(self, handle: str) -> HandleSettings:
        return self.handles.get(handle, self.defaults)

    def due(self, handle: str, relation: Relation, day: date) -> bool:
        """Whether a list is tracked, and read on that day by itself."""
        own = self.handles.get(handle)
        return (
            own is not None
            and relation in own.relations
            and ListSettings.due(own.of(relation), day)
        )

    def lists_due(self, day: date) -> list[tuple[str, Relation]]:
        """The lists that are read on that day by themselves: handle and relation."""
        return [
            (handle, relation)
            for handle in self.handles
            for relation in RELATIONS
            if self.due(handle, relation, day)
        ]

    def closest(self, handle: str) -> str | None:
        """A tracked handle that looks like this one, for "did you mean"."""
        return next(iter(difflib.get_close_matches(handle, self.handles, n=1)), None)


def read_registry(path: Path) -> Registry:
    """Parse `handles.yaml` strictly. A missing file is a registry without a list.

    Raises RegistryError with file and line. Whoever buys or reports uses `registry_in_force`.
    """
    text = _text(path)
    return Registry(has_list=False) if text is None else parse_registry(text, path.name)


def registry_in_force(path: Path, *, keep: bool = True) -> tuple[Registry, str | None]:
    """The registry that counts, and what is wrong with the file.

    A file that is broken, missing or without the key `handles` changes nothing: the last good list
    stays in force with its limits. A copy of it is kept beside the file; `keep=False` writes none.
    `handles: {}` is a list.
    """
    registry, wrong = Registry(has_list=False), ""
    try:
        text = _text(path)
        registry = registry if text is None else parse_registry(text, path.name)
    except RegistryError as error:
        wrong = str(error)
    else:
        if registry.has_list:
            if keep:
                _keep(path, text or "")
            return registry, None
    try:
        last_good = read_registry(_kept(path))
    except RegistryError as error:
        last_good, wrong = Registry(), wrong or str(error)
    if last_good.handles:
        count = f"{len(last_good.handles)} handle{'s' * (len(last_good.handles) > 1)}"
        lost = f"{path} is missing, or has no key `handles`"
        return last_good, (
            f"{wrong or lost}; the last good list of {count} stays in force. Mend the file, copy "
            f"{_kept(path)} over it, or write `handles: {{}}` into it to track nobody"
        )
    # Every home begins without a list.
    return registry, f"{wrong}; nobody is tracked until it is mended" if wrong else None


def registry_to_edit(path: Path) -> Registry:
    """The registry as the file has it.

    Raises RegistryError where the file is broken, or where another list is in force: an edit would
    replace that list by what little the file has.
    """
    registry = read_registry(path)
    if not registry.has_list:
        _, wrong = registry_in_force(path)
        if wrong is not None:
            raise RegistryError(wrong)
    return registry


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise RegistryError(f"{path}: cannot be read ({error})") from None


def _kept(path: Path) -> Path:
    return path.with_name(f".{path.name}.last-good")


def _keep(path: Path, text: str) -> None:
    """Keep a good list, so that a broken file does not cost a day or a limit."""
    kept = _kept(path)
    with contextlib.suppress(OSError):
        if not kept.exists() or kept.read_bytes() != text.encode():
            write_atomically(kept, text)


def parse_registry(text: str, name: str = "handles.yaml") -> Registry:
    """The text of `handles.yaml` as a Registry. Raises RegistryError with file and line."""
    try:
        return _parsed(text, name)
    except RecursionError:
        raise RegistryError(f"{name}: an alias stands for itself, or too much is nested") from None


def _parsed(text: str, name: str) -> Registry:
    try:
        # Composed, not loaded: scalars stay text, so that 007 and `on` remain handles.
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line if mark else text.count("\n", 0, getattr(error, "position", 0))
        where = f"{name}:{line + 1}"
        problem = getattr(error, "problem", None) or "a character that YAML does not allow"
        raise RegistryError(f"{where}: {problem}") from None
    if root is None:
        return Registry(has_list=False)
    top = _mapping(root, name, "the file", {"defaults", "handles"})
    defaults = _plain(top["defaults"], name) if "defaults" in top else {}
    if defaults in ("", None):
        defaults = {}
    if not isinstance(defaults, dict):
        raise _at(top["defaults"], name, "defaults: must be a mapping")
    usual = _settings(_over({}, defaults), top.get("defaults", root), name, "defaults")
    handles: dict[str, HandleSettings] = {}
    for key, own in _entries(top.get("handles"), name):
        try:
            handle = normalise_handle(key.value)
        except RegistryError as error:
            raise _at(key, name, str(error)) from None
        if handle in handles:
            raise _at(key, name, f"{handle} is listed twice")
        value = _plain(own, name) if own is not None else {}
        if value in ("", None):
            value = {}
        if not isinstance(value, dict):
            raise _at(own, name, f"{handle}: settings must be a mapping")
        handles[handle] = _settings(_over(defaults, value), own or key, name, handle)
    return Registry(handles, usual, "handles" in top)


def _over(defaults: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A handle's settings over the defaults. What it says of itself holds for both its lists, what
    it says of one list for that one, whatever the defaults say of either."""
    merged = {**defaults, **own}
    for relation in RELATIONS:
        usual, special = defaults.get(relation) or {}, own.get(relation) or {}
        if not isinstance(usual, dict) or not isinstance(special, dict):
            continue  # told by the check of the whole
        if usual or special:
            merged[relation] = {
                **{key: merged[key] for key in _OF_A_LIST if key in merged},
                **{key: value for key, value in usual.items() if key not in own},
                **special,
            }
    return merged


def track(path: Path, handles: list[str], settings: dict[str, Any] | None = None) -> list[str]:
    """Add handles to the file, comments kept; returns those that were new.

    Raises RegistryError before anything is written.
    """
    wanted = list(dict.fromkeys(normalise_handle(handle) for handle in handles))
    known = registry_to_edit(path).handles
    new = [handle for handle in wanted if handle not in known]
    if settings:
        _settings(settings, None, path.name, "track")
    if new or settings:
        document, editor = _open_for_editing(path)
        entries = document.get("handles")
        if entries is None:
            entries = document["handles"] = {}
        if isinstance(entries, list) and settings:
            entries = document["handles"] = _as_map(entries)
        for handle in wanted if settings else new:
            if isinstance(entries, list):
                entries.append(handle)
            else:
                key = _spelling(entries, handle)
                if not settings:
                    entries[key] = None
                elif isinstance(entries.get(key), dict):
                    entries[key].update(_as_text(settings))
                else:
                    entries[key] = _as_text(settings)
        text = _written(document, editor)
        _check_others(text, {h: own for h, own in known.items() if h not in wanted}, path)
        _save(path, text)
    return new


def untrack(path: Path, handles: list[str]) -> list[str]:
    """Take handles out of the file, comments kept; returns those that were in it.

    What was stored of them stays. Raises RegistryError before anything is written.
    """
    wanted = {normalise_handle(handle) for handle in handles}
    before = registry_to_edit(path).handles
    known = [handle for handle in before if handle in wanted]
    if known:
        left = {handle: own for handle, own in before.items() if handle not in wanted}
        text = _without_lines(path.read_text(encoding="utf-8"), wanted, path.name)
        if text is None or not _reads_as(text, left):
            document, editor = _open_for_editing(path)
            entries = document["handles"]
            if isinstance(entries, list):
                entries[:] = [entry for entry in entries if normalise_handle(entry) not in wanted]
            else:
                for handle in known:
                    entries.pop(_spelling(entries, handle), None)
            text = _written(document, editor)
            _check_others(text, left, path, gone=known)
        _save(path, text)
    return known


def _check_others(
    text: str, others: dict[str, HandleSettings], path: Path, gone: Sequence[str] = ()
) -> None:
    """Raises RegistryError where an edit changed other handles: YAML aliases share settings."""
    after = parse_registry(text, path.name).handles
    if any(after.get(handle) != own for handle, own in others.items()) or after.keys() & set(gone):
        raise RegistryError(
            f"{path} shares these settings between handles (`*alias` or `<<:`): edit it by hand. "
            "Nothing was changed"
        )


def _reads_as(text: str, handles: dict[str, HandleSettings]) -> bool:
    try:
        return parse_registry(text).handles == handles
    except RegistryError:
        return False  # an anchor went with its lines, for example


def _without_lines(text: str, wanted: set[str], name: str) -> str | None:
    """The file without the lines of these handles, None where entries share lines.

    ruamel takes the comment above the next handle for a part of this one and would drop it.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    node = _mapping(root, name, "the file", {"defaults", "handles"})["handles"] if root else None
    if not isinstance(node, yaml.CollectionNode) or node.flow_style:
        return None
    lines = text.splitlines(keepends=True)
    entries = sorted(_entries(node, name), key=lambda entry: -entry[0].start_mark.line)
    for key, own in entries:
        if normalise_handle(key.value) in wanted:
            del lines[key.start_mark.line : _last_line(own or key) + 1]
    return "".join(lines)


def _last_line(node: yaml.Node) -> int:
    """A block ends where the next token begins, after all comments; what is in it knows better."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last_line(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.line)


def _spelling(entries: Any, handle: str) -> Any:
    spelt = (key for key in entries if key != "<<" and normalise_handle(key) == handle)
    return next(spelt, handle)


def _open_for_editing(path: Path) -> tuple[Any, Any]:
    from ruamel.yaml import YAML  # only edits pay for it
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.nodes import ScalarNode
    from ruamel.yaml.resolver import VersionedResolver
    from ruamel.yaml.tag import Tag

    none_is = [""]

    class AllText(VersionedResolver):  # type: ignore[misc, unused-ignore]
        """Reads 007, null and 1_0 as the text they are, as `parse_registry` does."""

        def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
            if kind is ScalarNode and implicit[0]:
                return Tag(suffix=f"tag:yaml.org,2002:{'null' if value in none_is else 'str'}")
            return super().resolve(kind, value, implicit)

    editor = YAML()
    editor.Resolver = AllText
    editor.preserve_quotes = True
    editor.indent(mapping=2, sequence=4, offset=2)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    document = editor.load(text)
    none_is.append("null")  # how an empty value is written between braces
    if document is None:
        document = CommentedMap()
        if text.strip():  # nothing but comments so far
            lines = [line.strip().removeprefix("#").removeprefix(" ") for line in text.splitlines()]
            document.yaml_set_start_comment("\n".join(lines))
    return document, editor


def _written(document: Any, editor: Any) -> str:
    buffer = io.StringIO()
    editor.dump(document, buffer)
    return buffer.getvalue()


def _save(path: Path, text: str) -> None:
    parse_registry(text, path.name)  # never write what could not be read again
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path.resolve(), text)  # a link to a file kept elsewhere stays a link
    _keep(path, text)


def _as_map(entries: Any) -> Any:
    """A list of handles as the map that can hold settings, each with its comment."""
    from ruamel.yaml.comments import CommentedMap

    found = CommentedMap()
    for index, entry in enumerate(entries):
        found[entry] = None
        comment = entries.ca.items.get(index)
        if comment and comment[0]:
            found.ca.items[entry] = [None, None, comment[0], None]
    return found


def _as_text(value: Any) -> Any:
    """Settings as they are written: all text, like what is read."""
    if isinstance(value, dict):
        return {key: _as_text(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_text(one) for one in value]
    return str(value)


def _at(node: yaml.Node | None, name: str, problem: str) -> RegistryError:
    return RegistryError(f"{name}:{node.start_mark.line + 1 if node else 1}: {problem}")


def _mapping(node: yaml.Node, name: str, what: str, allowed: set[str]) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        raise _at(node, name, f"{what} must be a mapping with {' and '.join(sorted(allowed))}")
    found: dict[str, yaml.Node] = {}
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value.startswith("x-"):
            continue  # the user's own, for anchors
        if not isinstance(key, yaml.ScalarNode) or key.value not in allowed:
            raise _at(key, name, f"unknown key {key.value!r}; known: {', '.join(sorted(allowed))}")
        if key.value in found:
            raise _at(key, name, f"{key.value}: is there twice; put both under one")
        found[key.value] = value
    return found


def _entries(node: yaml.Node | None, name: str) -> list[tuple[Any, yaml.Node | None]]:
    if node is None or (isinstance(node, yaml.ScalarNode) and node.value in ("", "null", "~")):
        return []
    if isinstance(node, yaml.SequenceNode):
        for entry in node.value:
            if not isinstance(entry, yaml.ScalarNode):
                raise _at(entry, name, "a list entry must be a handle; use a mapping for settings")
        return [(entry, None) for entry in node.value]
    if isinstance(node, yaml.MappingNode):
        entries = _merged(node, name, itertools.count())
        for key, _ in entries:
            if not isinstance(key, yaml.ScalarNode):
                raise _at(key, name, "a handle must be plain text")
        return [*entries]
    raise _at(node, name, "handles: must be a list or a mapping")


def _plain(node: yaml.Node, name: str) -> Any:
    """What a node stands for. Raises RegistryError for more than settings ever are: aliases of
    aliases make billions of values of a few lines."""
    return _values(node, name, itertools.count())


def _merged(
    node: yaml.MappingNode, name: str, seen: Iterator[int]
) -> list[tuple[yaml.Node, yaml.Node]]:
    """The entries of a mapping, those of `<<:` last and only where it has none of its own."""
    _count(node, name, seen)
    own: list[tuple[yaml.Node, yaml.Node]] = []
    merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
    for key, value in node.value:
        if key.tag != "tag:yaml.org,2002:merge":
            own.append((key, value))
            continue
        for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
            if not isinstance(source, yaml.MappingNode):
                raise _at(key, name, "<<: must name a mapping, such as *defaults")
            for entry in _merged(source, name, seen):
                merged.setdefault(str(entry[0].value), entry)
    names = {str(key.value) for key, _ in own}
    return own + [entry for key, entry in merged.items() if key not in names]


def _count(node: yaml.Node, name: str, seen: Iterator[int]) -> None:
    if next(seen) > MOST_VALUES:
        raise _at(node, name, f"more than {MOST_VALUES:,} values in one place")


def _values(node: yaml.Node, name: str, seen: Iterator[int]) -> Any:
    _count(node, name, seen)
    if isinstance(node, yaml.MappingNode):
        plain: dict[str, Any] = {}
        for key, value in _merged(node, name, seen):
            if str(key.value) in plain:
                raise _at(key, name, f"{key.value}: is set twice")
            plain[str(key.value)] = _values(value, name, seen)
        return plain
    if isinstance(node, yaml.SequenceNode):
        return [_values(value, name, seen) for value in node.value]
    if isinstance(node, yaml.ScalarNode):
        return None if node.value in ("", "null", "~") and not node.style else node.value
    raise _at(node, name, "not understood")


def _settings(
    value: dict[str, Any], node: yaml.Node | None, name: str, what: str
) -> HandleSettings:
    try:
        return HandleSettings.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["loc"] in (("followers",), ("following",)):
            first["msg"] = f"must be a mapping with any of {', '.join(_OF_A_LIST)}"
        for at, part in enumerate(first["loc"]):
            if part in _EXPECTED and first["type"] != "extra_forbidden":
                place = ".".join(str(one) for one in first["loc"][: at + 1])
                first["msg"] = _EXPECTED[str(part)]
                break
        raise _at(node, name, f"{what}: {place}: {first['msg']}") from None
