"""Serves the pages of a bundle again."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from sf_assets.simulator.app import Options, SimulatedApi
from sf_assets.simulator.world import Relation, World

_Question = tuple[str, str, str, str]  # day, relation, handle, cursor


class BundledApi(SimulatedApi):
    """Answers with the pages in a bundle: those of the requested day, else of the newest day.

    A request that the bundle has several answers for gets them in order, then repeats the last one.
    Other requests get `not_found`. Raises ValueError if the file is not a bundle.
    """

    def __init__(self, path: Path, options: Options | None = None) -> None:
        self._answers: dict[_Question, list[bytes]] = {}
        try:
            with zipfile.ZipFile(path) as file:
                for name in file.namelist():
                    if name.startswith("landing/") and name.endswith(".jsonl"):
                        self._take(name, file.read(name))
        except (zipfile.BadZipFile, KeyError, LookupError) as error:
            raise ValueError(f"{path} is not a bundle ({error})") from None
        self.lists = sorted({question[:3] for question in self._answers})
        newest = max((day for day, _, _ in self.lists), default=None)
        if newest is None:
            raise ValueError(f"{path} contains no pages")
        self._newest = newest
        super().__init__(World((), epoch=date.fromisoformat(newest)), options)

    @property
    def serves(self) -> str:
        """A short description of what is served."""
        shown = ", ".join(f"@{handle} {relation} {day}" for day, relation, handle in self.lists[:4])
        return f"a bundle: {shown}{' …' if len(self.lists) > 4 else ''}"

    def _take(self, name: str, lines: bytes) -> None:
        _, day, relation, file = name.split("/")
        handle = file.removesuffix(".jsonl")
        for head, body in _pages(lines):
            question = (day, relation, handle, head.get("cursor") or "")
            self._answers.setdefault(question, []).append(body)

    def served(self, handle: str, relation: Relation, day: str, cursor: str | None) -> bytes | None:
        """The body for a request; None if the bundle has none."""
        day = day if (day, relation, handle) in self.lists else self._newest
        bodies = self._answers.get((day, relation, handle, cursor or ""))
        if not bodies:
            return None
        return bodies.pop(0) if len(bodies) > 1 else bodies[0]


def _pages(lines: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
    for line in lines.splitlines():
        head, mark, body = line.partition(b',"body":')
        if mark:
            record = json.loads(head + b"}")
            if record["kind"] in ("page", "doubted"):
                yield record, body[:-1]
