"""What every asset of ours says of itself: its table, the columns, who looks after it, its code."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb

from sf_assets.defs.audience import MADE_BY_TAG, Audience
from sf_assets.warehouse.schema import column_comments, make_empty

# A placeholder: put your own team here, Dagster shows it beside each asset.
OWNERS = ["team:audience"]

Metadata = Mapping[str, dg.MetadataValue]
# What an asset says of each of some days, all days asked at once: a day at a time is a query each.
Describe = Callable[[duckdb.DuckDBPyConnection, Sequence[date]], dict[date, Metadata]]

_PACKAGE = Path(__file__).parents[1]


def table_spec(
    audience: Audience,
    name: str,
    *,
    made_by: str,
    group: str,
    kinds: set[str],
    description: str,
    example: str,
    code: Sequence[str],
    deps: Sequence[str],
    partition_expr: Any,
    **more: Any,
) -> dg.AssetSpec:
    """The spec of an asset that is the table `name` of the published file.

    `example` is a query on it, `code` are the files of this package that make it, `made_by` is
    the operation. `partition_expr` is the column of the partition, or one for each dimension.
    """
    return dg.AssetSpec(
        audience.key(name),
        deps=[audience.key(dep) for dep in deps],
        tags={MADE_BY_TAG: audience.named(made_by)},
        description=f"{description}\n\n```sql\n{example}\n```",
        group_name=group,
        kinds=kinds,
        owners=OWNERS,
        skippable=True,
        metadata={
            **table_metadata(audience, name),
            # What DuckDB's IO managers ask for, to load the rows of a partition downstream.
            "partition_expr": partition_expr,
            "schema": "main",
            "dagster/code_references": code_references(code),
        },
        **more,
    )


def table_metadata(audience: Audience, name: str) -> dict[str, Any]:
    """The name and the columns of a table of the published file, as Dagster shows them.

    The name begins with the home's: Dagster takes assets with the same table for the same thing.
    """
    said: dict[str, Any] = {"dagster/table_name": f"{audience.name or 'sf_assets'}.main.{name}"}
    if audience.shows_columns:
        said["dagster/column_schema"] = dg.TableSchema(columns=list(_columns()[name]))
    return said


def code_references(paths: Sequence[str]) -> dg.CodeReferencesMetadataValue:
    """Links to files of this package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # beta; it only draws a link
        return dg.CodeReferencesMetadataValue(
            code_references=[
                dg.LocalFileCodeReference(file_path=str(_PACKAGE / path), label=path)
                for path in paths
            ]
        )


def table(columns: Mapping[str, str], rows: Sequence[Sequence[Any]]) -> dg.MetadataValue:
    """A table in an event; `columns` are name -> `string` or `int`. Shown as plain text."""
    return dg.MetadataValue.table(
        records=[dg.TableRecord(dict(zip(columns, row, strict=True))) for row in rows],
        schema=dg.TableSchema([dg.TableColumn(name, kind) for name, kind in columns.items()]),
    )


def row_counts(day_rows: int, all_rows: int) -> dict[str, dg.MetadataValue]:
    """Rows of one partition, and of the whole table, under the names Dagster plots by itself."""
    return {
        "dagster/partition_row_count": dg.MetadataValue.int(day_rows),
        "dagster/row_count": dg.MetadataValue.int(all_rows),
    }


@cache
def _columns() -> dict[str, tuple[dg.TableColumn, ...]]:
    """Table -> its columns. The types are DuckDB's own, asked of an empty warehouse."""
    with duckdb.connect() as con:
        make_empty(con)
        types = con.execute(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() "
            "WHERE schema_name = 'main' AND NOT internal ORDER BY table_name, column_index"
        ).fetchall()
    meanings = column_comments()
    found: dict[str, tuple[dg.TableColumn, ...]] = {}
    for table, column, kind in types:
        meaning = meanings.get(table, {}).get(column)
        found[table] = (
            *found.get(table, ()),
            dg.TableColumn(column, type=kind.lower(), description=meaning),
        )
    return found


def materialized(
    context: dg.AssetExecutionContext, key: dg.AssetKey, said: Mapping[str, Metadata]
) -> dg.MaterializeResult[None]:
    """The output of an asset: its partitions of this run, each with its own metadata.

    An output, not events alone: assets downstream in the same run would be skipped.
    """
    if len(said) == 1:
        return dg.MaterializeResult(asset_key=key, metadata=next(iter(said.values())))
    for partition, metadata in said.items():
        context.add_asset_metadata(dict(metadata), asset_key=key, partition_key=partition)
    return dg.MaterializeResult(asset_key=key)
