"""Which handles are tracked: `handles.yaml`, read with line numbers, edited with comments kept."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
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
from sf_assets.storage.files import read_text, write_atomically

# Where pydantic would explain each branch of a union instead.
_EXPECTED = {
    "depth": "must be full, recent, or {pages: N} with N of at least 1",
    "relations": "must be a list with followers, following or both",
    "weekdays": "must be a list of days such as [mon, thu]",
    "tags": "must be a list of words such as [acme, press]",
    "breaks": "must be days, each with continue or new, such as {2026-11-20: continue}",
}


# Of one handle's settings, or of the defaults.
MOST_VALUES = 10_000
TOP_KEYS = {"alerts", "defaults", "handles", "privacy", "retention"}

_Model = TypeVar("_Model", bound=BaseModel)


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
                keep_last_good(path, text or "")
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
        return read_text(path)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise RegistryError(f"{path}: cannot be read ({error})") from None


def _kept(path: Path) -> Path:
    return path.with_name(f".{path.name}.last-good")


def keep_last_good(path: Path, text: str) -> None:
    """Keep a good list, so that a broken file does not cost a day or a limit."""
    kept = _kept(path)
    with contextlib.suppress(OSError, RegistryError):
        if _text(kept) != text:
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
    said = None if node is None else _plain(node, name)
    if said not in (None, "names", "pseudonyms"):
        raise _at(node, name, "privacy: must be pseudonyms, or names, which is the default")
    return bool(said == "pseudonyms")


def _plain_mapping(node: yaml.Node | None, name: str, what: str) -> dict[str, Any]:
    value = _plain(node, name) if node is not None else {}
    if value in ("", None):
        return {}
    if not isinstance(value, dict):
        raise _at(node, name, f"{what} must be a mapping")
    return value


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
                **{key: merged[key] for key in OF_A_LIST if key in merged},
                **{key: value for key, value in usual.items() if key not in own},
                **special,
            }
    return merged


def _at(node: yaml.Node | None, name: str, problem: str) -> RegistryError:
    return RegistryError(f"{name}:{node.start_mark.line + 1 if node else 1}: {problem}")


def mapping(node: yaml.Node, name: str, what: str, allowed: set[str]) -> dict[str, yaml.Node]:
    if not isinstance(node, yaml.MappingNode):
        raise _at(node, name, f"{what} must be a mapping with {', '.join(sorted(allowed))}")
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


def entries_of(node: yaml.Node | None, name: str) -> list[tuple[Any, yaml.Node | None]]:
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


def checked_settings(
    value: dict[str, Any], node: yaml.Node | None, name: str, what: str
) -> HandleSettings:
    return _valid(HandleSettings, value, node, name, what)


def _valid(
    kind: type[_Model], value: dict[str, Any], node: yaml.Node | None, name: str, what: str
) -> _Model:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        if first["loc"] in (("followers",), ("following",)):
            first["msg"] = f"must be a mapping with any of {', '.join(OF_A_LIST)}"
        for at, part in enumerate(first["loc"]):
            if part in _EXPECTED and first["type"] != "extra_forbidden":
                place = ".".join(str(one) for one in first["loc"][: at + 1])
                first["msg"] = _EXPECTED[str(part)]
                break
        raise _at(node, name, f"{what}: {place}: {first['msg']}") from None
