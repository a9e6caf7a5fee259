"""Writes the tables `handles` and `annotations`."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from sf_assets.handles.annotations import read_annotations
from sf_assets.handles.settings import HandleSettings, Registry, RegistryError
from sf_assets.text import counted
from sf_assets.warehouse.statements import put_table, run_sql

_TRACKED = pa.schema(
    [
        ("handle", pa.string()),
        ("tags", pa.list_(pa.string())),
        ("relations", pa.list_(pa.string())),
        ("depth", pa.string()),
        ("continued", pa.list_(pa.date32())),
    ]
)


def record_handles(con: duckdb.DuckDBPyConnection, registry: Registry, day: date) -> None:
    """Update `handles` from the registry in force, in the caller's transaction."""
    rows = [
        {
            "handle": handle,
            "tags": list(own.tags),
            "relations": sorted(own.relations),
            "depth": _depth(own),
            "continued": sorted(day for day, what in own.breaks.items() if what == "continue"),
        }
        for handle, own in registry.handles.items()
    ]
    put_table(con, "tracked", pa.Table.from_pylist(rows, schema=_TRACKED))
    con.execute("SET VARIABLE run_day = ?", [day])
    run_sql(con, "handles")


def record_annotations(con: duckdb.DuckDBPyConnection, path: Path) -> str | None:
    """Update `annotations` from the file, in the caller's transaction.

    An invalid file is ignored and the recorded annotations stay; returns the problem.
    """
    try:
        annotations = read_annotations(path)
    except RegistryError as error:
        return f"{error}; the recorded annotations stay in force"
    rows = [
        (
            f"{note.day}/{note.handle or note.tag or 'all'}/{number}",
            *(note.handle, note.tag, note.day, note.until or note.day, note.text),
        )
        for number, note in enumerate(annotations, start=1)
    ]
    stored = con.execute("FROM main.annotations").fetchall()
    if sorted(rows, key=repr) != sorted(stored, key=repr):
        con.execute("DELETE FROM main.annotations")
        for row in rows:
            con.execute("INSERT INTO main.annotations VALUES (?, ?, ?, ?, ?, ?)", row)
    return None


def _depth(own: HandleSettings) -> str:
    """The depth, such as `full`, or per list if they differ: `followers recent, following full`."""
    depths = {
        relation: counted(own.of(relation).max_pages or 0, "page")
        if own.of(relation).max_pages
        else str(own.of(relation).depth)
        for relation in sorted(own.relations)
    }
    if len(set(depths.values())) == 1:
        return next(iter(depths.values()))
    return ", ".join(f"{relation} {depth}" for relation, depth in depths.items())
