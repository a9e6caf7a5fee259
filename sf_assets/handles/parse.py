"""Parses `handles.yaml`, with line numbers in errors."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from sf_assets.handles.settings import (
    OF_A_LIST,
    AlertSettings,
    HandleSettings,
    Registry,
    RegistryError,
    Retention,
    normalise_handle,
)
from sf_assets.model import RELATIONS
from sf_assets.settings import problem
from sf_assets.storage.files import read_text, write_atomically
from sf_assets.text import first_line

# Replaces pydantic's message about each branch of a union.
_EXPECTED = {
    "depth": "must be full, recent, or {pages: N} with N of at least 1",
    "relations": "must be a list with followers, following or both",
    "weekdays": "must be a list of days such as [mon, thu]",
    "tags": "must be a list of words such as [acme, press]",
    "breaks": "must be days, each with continue or new, such as {2026-11-20: continue}",
}


# Limit on the values in the settings of a handle, or in the defaults.
MOST_VALUES = 10_000
TOP_KEYS = {"alerts", "defaults", "handles", "privacy", "retention"}

_Model = TypeVar("_Model", bound=BaseModel)


def read_registry(path: Path) -> Registry:
    """Parse `handles.yaml` strictly. A missing file gives a registry without a list.

    Raises RegistryError with file and line. Code that buys or reports uses `registry_in_force`.
    """
    text = _text(path)
    return Registry(has_list=False) if text is None else parse_registry(text, path.name)


def registry_in_force(path: Path, *, keep: bool = True) -> tuple[Registry, str | None]:
    """The registry in force, and the problem with the file or None.

    A file that is invalid, missing or without the key `handles` is ignored: the last valid version
    stays in force with its limits. A copy of each valid version is kept in the same folder;
    `keep=False` writes none. `handles: {}` is valid.
    """
    registry, problem = Registry(has_list=False), ""
    try:
        text = _text(path)
        registry = registry if text is None else parse_registry(text, path.name)
    except RegistryError as error:
        problem = str(error)
    else:
        if registry.has_list:
            if keep:
                keep_last_good(path, text or "")
            return registry, None
    try:
        last_good = read_registry(_kept(path))
    except RegistryError as error:
        last_good, problem = Registry(), problem or str(error)
    if last_good.handles:
        count = f"{len(last_good.handles)} handle{'s' * (len(last_good.handles) > 1)}"
        lost = f"{path} is missing, or has no key `handles`"
        return last_good, (
            f"{problem or lost}; the last valid version with {count} stays in force. Correct the "
            f"file, copy {_kept(path)} over it, or set `handles: {{}}` to track nobody"
        )
    # A new home has no list.
    return registry, f"{problem}; no handle is tracked until it is corrected" if problem else None


def registry_to_edit(path: Path) -> Registry:
    """The registry in the file.

    Raises RegistryError if the file is invalid, or if an earlier version is in force: an edit would
    replace that version.
    """
    registry = read_registry(path)
    if not registry.has_list:
        _, problem = registry_in_force(path)
        if problem is not None:
            raise RegistryError(problem)
    return registry


def _text(path: Path) -> str | None:
    try:
        return read_text(path)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise RegistryError(f"cannot read {path} ({first_line(error)})") from None


def _kept(path: Path) -> Path:
    return path.with_name(f".{path.name}.last-good")


def keep_last_good(path: Path, text: str) -> None:
    """Keep a copy of a valid file, so that an invalid one does not cost a day or a limit."""
    kept = _kept(path)
    with contextlib.suppress(OSError, RegistryError):
        if _text(kept) != text:
            write_atomically(kept, text)


def parse_registry(text: str, name: str = "handles.yaml") -> Registry:
    """Parse the text of `handles.yaml`. Raises RegistryError with file and line."""
    try:
        return _parsed(text, name)
    except RecursionError:
        raise RegistryError(
            f"{name}: an alias contains itself, or the nesting is too deep"
        ) from None


def _parsed(text: str, name: str) -> Registry:
    try:
        # Composed, not loaded: scalars stay text, so that 007 and `on` are handles.
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line if mark else text.count("\n", 0, getattr(error, "position", 0))
        where = f"{name}:{line + 1}"
        problem = getattr(error, "problem", None) or "a character that YAML does not allow"
        raise RegistryError(f"{where}: {problem}") from None
    if root is None:
        return Registry(has_list=False)
    top = mapping(root, name, "the file", TOP_KEYS)
    defaults, kept, alerts = (
        _plain_mapping(top.get(key), name, f"{key}:") for key in ("defaults", "retention", "alerts")
    )
    retention = _valid(Retention, kept, top.get("retention"), name, "retention")
    usual = checked_settings(_over({}, defaults), top.get("defaults", root), name, "defaults")
    handles: dict[str, HandleSettings] = {}
    for key, own in entries_of(top.get("handles"), name):
        try:
            handle = normalise_handle(key.value)
        except RegistryError as error:
            raise _at(key, name, str(error)) from None
        if handle in handles:
            raise _at(key, name, f"{handle} is listed twice")
        value = _plain_mapping(own, name, f"{handle}: settings")
        handles[handle] = checked_settings(_over(defaults, value), own or key, name, handle)
    return Registry(
        handles,
        usual,
        "handles" in top,
        retention,
        _valid(AlertSettings, alerts, top.get("alerts"), name, "alerts"),
        _is_pseudonyms(top.get("privacy"), name),
    )


def _is_pseudonyms(node: yaml.Node | None, name: str) -> bool:
    value = None if node is None else _plain(node, name)
    if value not in (None, "names", "pseudonyms"):
        raise _at(node, name, "privacy: must be names (the default) or pseudonyms")
    return bool(value == "pseudonyms")


def _plain_mapping(node: yaml.Node | None, name: str, what: str) -> dict[str, Any]:
    value = _plain(node, name) if node is not None else {}
    if value in ("", None):
        return {}
    if not isinstance(value, dict):
        raise _at(node, name, f"{what} must be a mapping")
    return value


def _over(defaults: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """A handle's settings over the defaults. Settings of the handle apply to both of its lists,
    settings of a list to that list; both override all defaults."""
    merged = {**defaults, **own}
    for relation in RELATIONS:
        usual, special = defaults.get(relation) or {}, own.get(relation) or {}
        if not isinstance(usual, dict) or not isinstance(special, dict):
            continue  # reported by the check of all settings
        if usual or special:
            merged[relation] = {
                **{key: merged[key] for key in OF_A_LIST if key in merged},
                **{key: value for key, value in usual.items() if key not in own},
                **special,
            }
    return merged


def _at(node: yaml.Node | None, name: str, problem: str) -> RegistryError:
    return RegistryError(f"{name}:{node.start_mark.line + 1 if node else 1}: {problem}")


def mapping(node: yaml.Node, name: str, what: str, allowed: set[str]) -> dict[str, yaml.Node]:
    """Key -> node of a mapping, without keys that start with `x-`.

    Raises RegistryError for another kind of node, an unknown key or a repeated one.
    """
    if not isinstance(node, yaml.MappingNode):
        raise _at(node, name, f"{what} must be a mapping with {', '.join(sorted(allowed))}")
    nodes: dict[str, yaml.Node] = {}
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.value.startswith("x-"):
            continue  # for the user's anchors
        if not isinstance(key, yaml.ScalarNode) or key.value not in allowed:
            raise _at(key, name, f"unknown key {key.value!r}; known: {', '.join(sorted(allowed))}")
        if key.value in nodes:
            raise _at(key, name, f"{key.value}: appears twice; merge the two")
        nodes[key.value] = value
    return nodes


def entries_of(node: yaml.Node | None, name: str) -> list[tuple[Any, yaml.Node | None]]:
    """(handle, settings or None) of each entry under `handles:`.

    Raises RegistryError if the node is neither a list nor a mapping of handles.
    """
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
    """The value of a node. Raises RegistryError for too many values: aliases of aliases expand a
    few lines to billions of values."""
    return _values(node, name, itertools.count())


def _merged(
    node: yaml.MappingNode, name: str, seen: Iterator[int]
) -> list[tuple[yaml.Node, yaml.Node]]:
    """The entries of a mapping. Those of `<<:` come last, and never override its own."""
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
        raise _at(node, name, f"more than {MOST_VALUES:,} values")


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
    raise _at(node, name, "must be a value, a list or a mapping")


def checked_settings(
    value: dict[str, Any], node: yaml.Node | None, name: str, what: str
) -> HandleSettings:
    """The validated settings of a handle. Raises RegistryError with the line of `node`."""
    return _valid(HandleSettings, value, node, name, what)


def _valid(
    kind: type[_Model], value: dict[str, Any], node: yaml.Node | None, name: str, what: str
) -> _Model:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first: Any = error.errors()[0]
        first["msg"] = problem(first)
        field = ".".join(str(part) for part in first["loc"])
        if first["loc"] in (("followers",), ("following",)):
            first["msg"] = f"must be a mapping with any of {', '.join(OF_A_LIST)}"
        for at, part in enumerate(first["loc"]):
            if part in _EXPECTED and first["type"] != "extra_forbidden":
                field = ".".join(str(part) for part in first["loc"][: at + 1])
                first["msg"] = _EXPECTED[str(part)]
                break
        if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
            first["msg"] += _hint(str(first["loc"][0]), kind.model_fields)
        raise _at(node, name, f"{what}: {field}: {first['msg']}") from None


def _hint(key: str, known: Collection[str]) -> str:
    close = get_close_matches(key, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(sorted(known))}"
