"""The pages of a bundle served again, as they came to whoever packed it."""

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
    """Answers with the pages that a bundle holds: of one day, or of the day that is asked for.

    A question that was asked more than once gets its answers one after the other, then the last
    again; what nobody asked is `not_found`. Raises ValueError for a file that is no bundle.
    """

    def __init__(self, path: Path, options: Options | None = None) -> None:
        self._answers: dict[_Question, list[bytes]] = {}
        try:
            with zipfile.ZipFile(path) as file:
                for name in file.namelist():
                    if name.startswith("landing/") and name.endswith(".jsonl"):
                        self._take(name, file.read(name))
        except (zipfile.BadZipFile, KeyError, LookupError) as error:
            raise ValueError(f"{path} is no bundle ({error})") from None
        self.lists = sorted({question[:3] for question in self._answers})
        newest = max((day for day, _, _ in self.lists), default=None)
        if newest is None:
            raise ValueError(f"{path} holds no pages")
        self._newest = newest
        super().__init__(World((), epoch=date.fromisoformat(newest)), options)

    @property
    def serves(self) -> str:
        shown = ", ".join(f"@{handle} {relation} {day}" for day, relation, handle in self.lists[:4])
        return f"a bundle: {shown}{' …' if len(self.lists) > 4 else ''}"

    def _take(self, name: str, lines: bytes) -> None:
        _, day, relation, file = name.split("/")
        handle = file.removesuffix(".jsonl")
        for head, body in _pages(lines):
            question = (day, relation, handle, head.get("cursor") or "")
            self._answers.setdefault(question, []).append(body)

    def served(self, handle: str, relation: Relation, day: str, cursor: str | None) -> bytes | None:
        """The body for a question; None for one that nobody asked."""
        day = day if (day, relation, handle) in self.lists else self._newest
        found = self._answers.get((day, relation, handle, cursor or ""))
        if not found:
            return None
        return found.pop(0) if len(found) > 1 else found[0]


def _pages(lines: bytes) -> Iterator[tuple[dict[str, Any], bytes]]:
    for line in lines.splitlines():
        head, mark, body = line.partition(b',"body":')
        if mark:
            told = json.loads(head + b"}")
            if told["kind"] in ("page", "doubted"):
                yield told, body[:-1]
