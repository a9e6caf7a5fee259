"""`annotations.yaml`: what the operator notes about days of a handle, a tag, or all handles."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from sf_assets.handles.settings import RegistryError, normalise_handle


class Annotation(BaseModel):
    """A text about `day`, or about the days up to `until`; of all handles where none is named."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    day: date
    until: date | None = None
    handle: str | None = None
    tag: str | None = None
    text: str = Field(min_length=1, max_length=500)

    @model_validator(mode="after")
    def _makes_sense(self) -> Annotation:
        if self.until is not None and self.until < self.day:
            raise ValueError("until lies before day")
        if self.handle is not None and self.tag is not None:
            raise ValueError("name a handle or a tag, not both")
        return self


_LIST = TypeAdapter(list[Annotation])


def read_annotations(path: Path) -> Sequence[Annotation]:
    """The annotations of the file, none where there is none. Raises RegistryError."""
    try:
        found = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RegistryError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    try:
        annotations = _LIST.validate_python(found or [])
        return [
            one.model_copy(update={"handle": normalise_handle(one.handle)}) if one.handle else one
            for one in annotations
        ]
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part + 1 if isinstance(part, int) else part) for part in first["loc"])
        raise RegistryError(f"{path}: annotation {place}: {first['msg']}") from None
