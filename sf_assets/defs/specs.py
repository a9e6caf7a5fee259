"""Builds asset specs and metadata: table, columns, owners and code references."""

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

# A placeholder: put your own team here. Dagster shows it beside each asset.
OWNERS = ["team:audience"]

Metadata = Mapping[str, dg.MetadataValue]
# Returns the metadata of some days. One call for all days saves a query per day.
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
    """The spec of the asset for the table `name` of the published file.

    `example` is a query on it, `code` lists the files of this package that make it, `made_by` is
    the operation. `partition_expr` is the partition column, or a column per dimension.
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
            # DuckDB's IO managers use it to load the rows of a partition downstream.
            "partition_expr": partition_expr,
            "schema": "main",
            "dagster/code_references": code_references(code),
        },
        **more,
    )


def table_metadata(audience: Audience, name: str) -> dict[str, Any]:
    """The metadata with the name and columns of a table of the published file.

    The name starts with the name of the home, because Dagster links assets of the same table.
    """
    metadata: dict[str, Any] = {"dagster/table_name": f"{audience.name or 'sf_assets'}.main.{name}"}
    if audience.shows_columns:
        metadata["dagster/column_schema"] = dg.TableSchema(columns=list(_columns()[name]))
    return metadata


def code_references(paths: Sequence[str]) -> dg.CodeReferencesMetadataValue:
    """Links to files of this package, for the UI."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the class is beta
        return dg.CodeReferencesMetadataValue(
            code_references=[
                dg.LocalFileCodeReference(file_path=str(_PACKAGE / path), label=path)
                for path in paths
            ]
        )


def table(columns: Mapping[str, str], rows: Sequence[Sequence[Any]]) -> dg.MetadataValue:
    """A table in an event; `columns` maps a name to `string` or `int`. Shown as plain text."""
    return dg.MetadataValue.table(
        records=[dg.TableRecord(dict(zip(columns, row, strict=True))) for row in rows],
        schema=dg.TableSchema([dg.TableColumn(name, kind) for name, kind in columns.items()]),
    )


def row_counts(day_rows: int, all_rows: int) -> dict[str, dg.MetadataValue]:
    """The rows of a partition and of the table, under the names that Dagster plots."""
    return {
        "dagster/partition_row_count": dg.MetadataValue.int(day_rows),
        "dagster/row_count": dg.MetadataValue.int(all_rows),
    }


@cache
def _columns() -> dict[str, tuple[dg.TableColumn, ...]]:
    """Table -> its columns, with the types from an empty warehouse."""
    with duckdb.connect() as con:
        make_empty(con)
        types = con.execute(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() "
            "WHERE schema_name = 'main' AND NOT internal ORDER BY table_name, column_index"
        ).fetchall()
    meanings = column_comments()
    columns: dict[str, tuple[dg.TableColumn, ...]] = {}
    for table, column, kind in types:
        meaning = meanings.get(table, {}).get(column)
        columns[table] = (
            *columns.get(table, ()),
            dg.TableColumn(column, type=kind.lower(), description=meaning),
        )
    return columns


def materialized(
    context: dg.AssetExecutionContext, key: dg.AssetKey, by_partition: Mapping[str, Metadata]
) -> dg.MaterializeResult[None]:
    """The output of an asset: its partitions of this run, each with its own metadata.

    It is an output because events alone would skip downstream assets of the same run.
    """
    if len(by_partition) == 1:
        return dg.MaterializeResult(asset_key=key, metadata=next(iter(by_partition.values())))
    for partition, metadata in by_partition.items():
        context.add_asset_metadata(dict(metadata), asset_key=key, partition_key=partition)
    return dg.MaterializeResult(asset_key=key)
