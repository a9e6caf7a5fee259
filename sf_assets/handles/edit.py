"""Edits `handles.yaml` and keeps its comments, order and spelling."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from sf_assets.handles.parse import (
    TOP_KEYS,
    checked_settings,
    entries_of,
    keep_last_good,
    mapping,
    parse_registry,
    registry_to_edit,
)
from sf_assets.handles.settings import HandleSettings, RegistryError, normalise_handle
from sf_assets.storage.files import Changed, read_text, version_of, write_atomically
from sf_assets.storage.object_store import is_remote
from sf_assets.text import first_line

TRIES = 10


def track(path: Path, handles: list[str], settings: dict[str, Any] | None = None) -> list[str]:
    """Add handles, or settings of handles, to the file. Returns the new handles.

    Raises RegistryError before anything is written.
    """
    return _until_alone(path, lambda version: _track(path, handles, settings, version))


def _track(
    path: Path, handles: list[str], settings: dict[str, Any] | None, version: str | None
) -> list[str]:
    wanted = list(dict.fromkeys(normalise_handle(handle) for handle in handles))
    known = registry_to_edit(path).handles
    new = [handle for handle in wanted if handle not in known]
    if settings:
        checked_settings(settings, None, path.name, "track")
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
        _save(path, text, version)
    return new


def _until_alone(path: Path, edit: Callable[[str | None], list[str]]) -> list[str]:
    """Run an edit, and repeat it if another edit of the same object came in between."""
    for _ in range(TRIES):
        with suppress(Changed):
            return edit(version_of(path))
    raise RegistryError(f"another process is editing {path}; nothing was changed, try again")


def untrack(path: Path, handles: list[str]) -> list[str]:
    """Remove handles from the file. Returns those that were in it.

    Stored data stays. Raises RegistryError before anything is written.
    """
    return _until_alone(path, lambda version: _untrack(path, handles, version))


def _untrack(path: Path, handles: list[str], version: str | None) -> list[str]:
    wanted = {normalise_handle(handle) for handle in handles}
    before = registry_to_edit(path).handles
    known = [handle for handle in before if handle in wanted]
    if known:
        left = {handle: own for handle, own in before.items() if handle not in wanted}
        text = _without_lines(read_text(path), wanted, path.name)
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
        _save(path, text, version)
    return known


def _check_others(
    text: str, others: dict[str, HandleSettings], path: Path, gone: Sequence[str] = ()
) -> None:
    """Raise RegistryError if an edit changes other handles: YAML aliases share settings."""
    after = parse_registry(text, path.name).handles
    if any(after.get(handle) != own for handle, own in others.items()) or after.keys() & set(gone):
        raise RegistryError(
            f"{path} shares these settings between handles (`*alias` or `<<:`). Nothing was "
            "changed; edit the file by hand"
        )


def _reads_as(text: str, handles: dict[str, HandleSettings]) -> bool:
    try:
        return parse_registry(text).handles == handles
    except RegistryError:
        return False  # for example, an anchor was in the removed lines


def _without_lines(text: str, wanted: set[str], name: str) -> str | None:
    """The file without the lines of these handles; None if entries share lines.

    ruamel would also remove the comment above the next handle.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    node = mapping(root, name, "the file", TOP_KEYS)["handles"] if root else None
    if not isinstance(node, yaml.CollectionNode) or node.flow_style:
        return None
    lines = text.splitlines(keepends=True)
    entries = sorted(entries_of(node, name), key=lambda entry: -entry[0].start_mark.line)
    for key, own in entries:
        if normalise_handle(key.value) in wanted:
            del lines[key.start_mark.line : _last_line(own or key) + 1]
    return "".join(lines)


def _last_line(node: yaml.Node) -> int:
    """The last line of a node. The end of a block includes comments, so use its last entry."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last_line(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.line)


def _spelling(entries: Any, handle: str) -> Any:
    spelt = (key for key in entries if key != "<<" and normalise_handle(key) == handle)
    return next(spelt, handle)


def _open_for_editing(path: Path) -> tuple[Any, Any]:
    from ruamel.yaml import YAML  # imported for edits only
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.nodes import ScalarNode
    from ruamel.yaml.resolver import VersionedResolver
    from ruamel.yaml.tag import Tag

    none_is = [""]

    class AllText(VersionedResolver):  # type: ignore[misc, unused-ignore]
        """Reads 007, null and 1_0 as text, as `parse_registry` does."""

        def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
            if kind is ScalarNode and implicit[0]:
                return Tag(suffix=f"tag:yaml.org,2002:{'null' if value in none_is else 'str'}")
            return super().resolve(kind, value, implicit)

    editor = YAML()
    editor.Resolver = AllText
    editor.preserve_quotes = True
    editor.indent(mapping=2, sequence=4, offset=2)
    try:
        text = read_text(path)
    except FileNotFoundError:
        text = ""
    document = editor.load(text)
    none_is.append("null")  # the form of an empty value between braces
    if document is None:
        document = CommentedMap()
        if text.strip():  # comments only
            lines = [line.strip().removeprefix("#").removeprefix(" ") for line in text.splitlines()]
            document.yaml_set_start_comment("\n".join(lines))
    return document, editor


def _written(document: Any, editor: Any) -> str:
    buffer = io.StringIO()
    editor.dump(document, buffer)
    return buffer.getvalue()


def _save(path: Path, text: str, version: str | None) -> None:
    parse_registry(text, path.name)  # never write an invalid file
    try:
        if is_remote(path):
            write_atomically(path, text, unless_changed=version)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path.resolve(), text)  # a symbolic link stays a link
    except OSError as error:
        raise RegistryError(
            f"cannot write {path} ({first_line(error)}); nothing was changed. If the file is part "
            "of an image, edit it in the source of the image, or set SF_ASSETS_HANDLES to an "
            "s3:// URL"
        ) from None
    keep_last_good(path, text)


def _as_map(entries: Any) -> Any:
    """A list of handles as a mapping that can have settings, with the comments."""
    from ruamel.yaml.comments import CommentedMap

    handles = CommentedMap()
    for index, entry in enumerate(entries):
        handles[entry] = None
        comment = entries.ca.items.get(index)
        if comment and comment[0]:
            handles.ca.items[entry] = [None, None, comment[0], None]
    return handles


def _as_text(value: Any) -> Any:
    """Settings with all values as text, as in the file."""
    if isinstance(value, dict):
        return {key: _as_text(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_text(inner) for inner in value]
    return str(value)
