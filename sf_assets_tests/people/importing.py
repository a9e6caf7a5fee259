"""A home that lists are imported into, without Dagster: understood, landed, derived."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from sf_assets.model import Relation
from sf_assets.people import land as people
from sf_assets.people.land import FileContent, ImportOptions, ImportResult
from sf_assets.storage.home import Home
from sf_assets.warehouse.connection import writing
from sf_assets.warehouse.derive import derive

from ..lists import number_of, number_of_day, on

TODAY = date(2026, 12, 31)


def understood(path: Path, day: date | None = None, **said: Any) -> FileContent:
    """What a file is taken for; its tables are gone."""
    with people.in_memory() as con:
        return people.understand(con, path, _wanted(said), day or on(1), TODAY)


def _wanted(said: dict[str, Any]) -> ImportOptions:
    relation: Relation = said.pop("relation", "followers")
    return ImportOptions(said.pop("handle", "nova"), relation, said.pop("name", "old"), **said)


class Importer:
    """`add` imports a file; the tables are asked through `rows`."""

    def __init__(self, home: Home) -> None:
        self.home = home

    def add(self, path: Path, day: date | None = None, **said: Any) -> ImportResult:
        wanted = _wanted(said)
        with people.in_memory() as con:
            found = people.understand(con, path, wanted, day, TODAY)
            return people.land(self.home, found, wanted)

    def add_counts(self, path: Path, **said: Any) -> ImportResult:
        wanted = _wanted(said)
        with people.in_memory() as con:
            found = people.understand_counts(con, path, wanted, TODAY)
            return people.land(self.home, found, wanted)

    def derive(self) -> None:
        with writing(self.home.warehouse) as con:
            derive(con, self.home.archive)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with writing(self.home.warehouse) as con:
            derive(con, self.home.archive)
            return con.execute(query, list(values)).fetchall()

    def churn(self, relation: Relation = "followers") -> set[tuple[int, int | str, str, str]]:
        """(day, account, change, state)."""
        return {
            (number_of_day(day), number_of(account), change, state)
            for day, account, change, state in self.rows(
                "SELECT snapshot_date, account_id, change, state FROM internal.churn "
                "WHERE relation = ?",
                relation,
            )
        }


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def write_xlsx(path: Path, rows: Sequence[Sequence[object]]) -> Path:
    """A workbook of one sheet, as small as the format allows."""

    def cell(value: object) -> str:
        if isinstance(value, (int, float)):
            return f"<c><v>{value!r}</v></c>"
        return f'<c t="inlineStr"><is><t>{escape(str(value))}</t></is></c>'

    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    sheet = "".join(f"<row>{''.join(map(cell, row))}</row>" for row in rows)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{package}/content-types">'
            '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.'
            'relationships+xml"/></Types>',
        )
        packed.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}/relationships"><Relationship Id="rId1" '
            f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        )
        packed.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
            '<sheet name="List" sheetId="1" r:id="rId1"/></sheets></workbook>',
        )
        packed.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{package}/relationships"><Relationship Id="rId1" '
            f'Type="{office}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>',
        )
        packed.writestr(
            "xl/worksheets/sheet1.xml",
            f'<worksheet xmlns="{main}"><sheetData>{sheet}</sheetData></worksheet>',
        )
    return path
