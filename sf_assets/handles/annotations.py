"""`annotations.yaml`: the user's notes about days of a handle, a tag, or all handles."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from sf_assets.handles.settings import RegistryError, normalise_handle
from sf_assets.settings import problem
from sf_assets.storage.files import read_text


class Annotation(BaseModel):
    """A note about `day`, or the days up to `until`; about all handles if it names none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    day: date
    until: date | None = None
    handle: str | None = None
    tag: str | None = None
    text: str = Field(min_length=1, max_length=500)

    @model_validator(mode="after")
    def _makes_sense(self) -> Annotation:
        if self.until is not None and self.until < self.day:
            raise ValueError("until is before day")
        if self.handle is not None and self.tag is not None:
            raise ValueError("use handle or tag, not both")
        return self


_LIST = TypeAdapter(list[Annotation])


def read_annotations(path: Path) -> Sequence[Annotation]:
    """The annotations in the file, or none without a file. Raises RegistryError with the line."""
    try:
        text = read_text(path)
        root = yaml.compose(text, Loader=yaml.BaseLoader)
        content = yaml.load(text, Loader=yaml.BaseLoader)
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise RegistryError(f"cannot read {path} ({' '.join(str(error).split())})") from None
    try:
        return [
            note.model_copy(update={"handle": _handle(note.handle, at)}) if note.handle else note
            for at, note in enumerate(_LIST.validate_python(content or []))
        ]
    except ValidationError as error:
        first = error.errors()[0]
        where, what = first["loc"], problem(first)
    except _NoHandle as error:
        where, what = (error.args[0], "handle"), str(error.args[1])
    field = ".".join(str(part + 1 if isinstance(part, int) else part) for part in where)
    raise RegistryError(f"{path}:{_line(root, where)}: annotation {field}: {what}")


class _NoHandle(Exception):
    """The number of an annotation, and the problem with its handle."""


def _handle(text: str, at: int) -> str:
    try:
        return normalise_handle(text)
    except RegistryError as error:
        raise _NoHandle(at, error) from None


def _line(node: yaml.Node | None, where: Sequence[int | str]) -> int:
    """The line of a pydantic location, or of the node that should have it."""
    for part in where:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
        elif isinstance(node, yaml.MappingNode):
            node = next((key for key, _ in node.value if key.value == part), node)
    return node.start_mark.line + 1 if node else 1
