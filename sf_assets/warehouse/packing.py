"""Turns the rows of lists into changes against other lists, and back. Reads and writes no files.

Both directions work on Arrow and numpy columns of all lists of a file. docs/archive.md documents
the packed rows; `packed_rows.sql` and `unpacked_rows.sql` shorten and lengthen addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sf_assets.warehouse.statements import in_memory, run_sql, sql

_AVATARS = pa.struct([("large", pa.string()), ("medium", pa.string()), ("thumb", pa.string())])
#: The columns of a list's rows, without the list and the position.
COLUMNS: dict[str, pa.DataType] = {
    "account_handle": pa.string(),
    "profile_url": pa.string(),
    "platform_user_id": pa.string(),
    "sec_uid": pa.string(),
    "display_name": pa.string(),
    "bio": pa.string(),
    "avatar_url": pa.string(),
    "avatar_rests": _AVATARS,
    "verified": pa.bool_(),
    "private_account": pa.bool_(),
    "followers": pa.int64(),
    "following": pa.int64(),
    "posts": pa.int64(),
    "region": pa.string(),
    "language": pa.string(),
    "account_created_at": pa.timestamp("us", "UTC"),
    "details": pa.string(),
    "extra": pa.string(),
    "profile_digest": pa.uint32(),
}


# The first of these that is not null identifies an account.
KEYS = ("platform_user_id", "sec_uid", "account_handle")


class Group(NamedTuple):
    """Columns that are stored together; a copy of a list leaves out the `heavy` ones."""

    columns: tuple[str, ...]
    heavy: bool = False
    counted: bool = False


#: The n-th group has bit n of `changed`.
GROUPS = (
    Group(("account_handle", "profile_url")),
    Group(("platform_user_id",)),
    Group(("sec_uid",), heavy=True),
    Group(("display_name",), heavy=True),
    Group(("bio",), heavy=True),
    Group(("avatar_url", "avatar_rests"), heavy=True),
    Group(("verified", "private_account")),
    Group(("followers",), counted=True),
    Group(("following",), counted=True),
    Group(("posts",), counted=True),
    Group(("region", "language", "account_created_at", "details"), heavy=True),
    Group(("extra",), heavy=True),
    Group(("profile_digest",)),
)
_SEC_UID = 2
# The bits of the groups that hold addresses.
_ADDRESSED = 1 << 0 | 1 << 5
_LIGHT = sum(1 << bit for bit, group in enumerate(GROUPS) if not group.heavy)

#: The columns of packed rows, in their order.
PACKED = {
    "list": pa.int32(),
    "row": pa.int32(),
    "base": pa.int32(),
    "length": pa.int32(),
    "changed": pa.int32(),
    **{name: pa.string() if name == "avatar_rests" else kind for name, kind in COLUMNS.items()},
}

Whole = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ListPlan:
    """One list of a file: its number of rows, and where its base begins in the base table.

    With `copied`, every row has its light columns, and its counts are not differences.
    """

    rows: int
    base_begins: int | None = None
    base_rows: int = 0
    copied: bool = False


class Unfit(Exception):
    """Rows cannot be packed, or packed rows cannot be unpacked."""


def begins_of(sizes: Sequence[int]) -> Whole:
    """The offset of each list when they are concatenated, and the total."""
    return np.concatenate([[0], np.cumsum(np.array(sizes, dtype=np.int64))]).astype(np.int64)


def keys_of(con: duckdb.DuckDBPyConnection, rows: pa.Table) -> Whole:
    """A hash for each row, equal for the same account."""
    columns = [rows[name] for name in KEYS if name in rows.column_names]
    con.register("rows_in", pa.table({"key": pc.coalesce(*columns)}))
    try:
        found = con.sql("SELECT hash(key) AS key FROM rows_in").to_arrow_table()["key"]
    finally:
        con.unregister("rows_in")
    keys: Whole = found.to_numpy().view(np.int64)
    return keys


def matches(keys: Whole, plans: Sequence[ListPlan], base_keys: Whole) -> Whole:
    """For each row, the row of the base with the same account; -1 if there is none.

    Two accounts with equal keys make the packed rows larger, not wrong.
    """
    if not len(base_keys) or not len(keys):
        return np.full(len(keys), -1, dtype=np.int64)
    mark = np.arange(len(plans), dtype=np.int64) * 0x5851F42D4C957F2D
    bases = [plan.base_rows if plan.base_begins is not None else 0 for plan in plans]
    there = base_keys ^ np.repeat(mark, bases)
    wanted = keys ^ np.repeat(mark, [plan.rows for plan in plans])
    order = np.argsort(there, kind="stable")
    at = np.minimum(np.searchsorted(there, wanted, sorter=order), len(there) - 1)
    found = order[at]
    return np.where(there[found] == wanted, found, -1)


def pack_rows(
    con: duckdb.DuckDBPyConnection,
    rows: pa.Table,
    plans: Sequence[ListPlan],
    base: pa.Table,
    found: Whole,
) -> pa.Table:
    """The packed rows of lists. `rows` holds the lists one after the other, each top first.

    `found` is the result of `matches`, -1 for rows of lists without a base.
    """
    sizes = [plan.rows for plan in plans]
    of_row = np.repeat(np.arange(len(plans)), sizes)
    row = np.arange(len(rows)) - begins_of(sizes)[of_row] + 1
    has_base = found >= 0
    kept = np.flatnonzero(has_base)
    begins = np.array([plan.base_begins or 0 for plan in plans], dtype=np.int64)
    # A run continues while its rows are consecutive in both lists.
    breaks = np.ones(len(kept), dtype=bool)
    breaks[1:] = (
        (np.diff(kept) != 1) | (np.diff(found[kept]) != 1) | (np.diff(of_row[kept]) != 0)
    )  # fmt: skip
    runs = kept[breaks]
    lengths = np.diff(np.append(np.flatnonzero(breaks), len(kept)))

    changed = np.zeros(len(rows), dtype=np.int64)
    before = pa.array(found, mask=~has_base)
    copied = np.array([plan.copied for plan in plans], dtype=bool)
    changed[has_base & copied[of_row]] = _LIGHT
    # An account without a number is identified by its secUid.
    nameless = np.asarray(pc.is_null(rows["platform_user_id"]))
    changed[has_base & copied[of_row] & nameless] |= 1 << _SEC_UID
    for bit, group in enumerate(GROUPS):
        for name in group.columns:
            changed[differ(rows[name], base[name].take(before)) & has_base] |= 1 << bit
    new = np.flatnonzero(~has_base)
    changes = np.flatnonzero(changed)
    stored = np.concatenate([changes, new])
    bits = np.concatenate([changed[changes], np.full(len(new), -1)])
    values: dict[str, pa.Array] = {}
    for bit, group in enumerate(GROUPS):
        shown = (bits & (1 << bit)) != 0
        for name in group.columns:
            column = _taken(rows[name], pa.array(stored, mask=~shown))
            if group.counted:
                lone = ~shown | (found[stored] < 0) | copied[of_row[stored]]
                own = pa.array(found[stored], mask=lone)
                column = pc.subtract(column, pc.fill_null(_taken(base[name], own), 0))
            values[name] = column
    addressed = np.flatnonzero((bits & _ADDRESSED) != 0)
    values |= _addresses(con, "packed_rows", pa.table(values), addressed)
    runs_first = np.concatenate([runs, stored])
    no = np.zeros(len(runs), dtype=bool)
    made = {
        "list": pa.array(of_row[runs_first], pa.int32()),
        "row": pa.array(row[runs_first], pa.int32()),
        "base": pa.array(
            np.append(found[runs] - begins[of_row[runs]] + 1, np.zeros(len(stored))),
            pa.int32(), mask=np.append(no, np.ones(len(stored), dtype=bool)), safe=False,
        ),
        "length": pa.array(
            np.append(lengths, np.zeros(len(stored))),
            pa.int32(), mask=np.append(no, np.ones(len(stored), dtype=bool)), safe=False,
        ),
        "changed": pa.array(np.append(no, bits), pa.int32(), mask=np.append(~no, bits < 0)),
        **{
            name: pa.concat_arrays([pa.nulls(len(runs), PACKED[name]), _one(values[name])])
            for name in COLUMNS
        },
    }  # fmt: skip
    return pa.table(made, pa.schema(list(PACKED.items())))


def unpack_rows(
    con: duckdb.DuckDBPyConnection, packed: pa.Table, plans: Sequence[ListPlan], base: pa.Table
) -> pa.Table:
    """The rows of lists, one after the other, from packed rows and the rows of their bases.

    A `copied` list without `base_begins` lacks its heavy columns. Raises Unfit if they do not fit.
    """
    sizes = [plan.rows for plan in plans]
    begins = begins_of(sizes)
    total = int(begins[-1])
    listed, row = _numbers(packed["list"]), _numbers(packed["row"])
    at = begins[listed] + row - 1
    if len(at) and (row.min() < 1 or (at >= begins[listed + 1]).any()):
        raise Unfit("it has rows outside of their list")
    length = _numbers(packed["length"])
    runs = length >= 0
    found = np.full(total, -1, dtype=np.int64)
    filled = np.zeros(total, dtype=bool)
    steps = length[runs]
    step = np.arange(int(steps.sum())) - np.repeat(np.cumsum(steps) - steps, steps)
    to = np.repeat(at[runs], steps) + step
    base_begins = np.array(
        [-1 if plan.base_begins is None else plan.base_begins for plan in plans], dtype=np.int64
    )[listed[runs]]
    first = base_begins + _numbers(packed["base"])[runs] - 1
    if len(to) and to.max() >= total:
        raise Unfit("a run ends outside of its list")
    found[to] = np.where(np.repeat(base_begins < 0, steps), -1, np.repeat(first, steps) + step)
    if len(found) and found.max() >= len(base):
        raise Unfit("a run is longer than what it builds on")
    filled[to] = True
    stored = np.flatnonzero(~runs)
    order = np.argsort(at[stored], kind="stable")
    stored, to = stored[order], at[stored][order]
    bits = _numbers(packed["changed"])[stored]  # -1 where it is null: a new account has all
    filled[to[bits < 0]] = True
    if not filled.all():
        raise Unfit("it does not have all rows of its lists")
    whole = np.array([plan.copied for plan in plans], dtype=bool)[listed[stored]] | (bits < 0)
    own = packed.take(pa.array(stored)).select(list(COLUMNS))
    addressed = np.flatnonzero((bits & _ADDRESSED) != 0)
    values = dict(zip(COLUMNS, own.columns, strict=True))
    values |= _addresses(con, "unpacked_rows", own, addressed)
    made = {}
    before = pa.array(found, mask=found < 0)
    steady = len(found) == len(base) and bool((found == np.arange(len(found))).all())
    for bit, group in enumerate(GROUPS):
        shown = np.flatnonzero((bits & (1 << bit)) != 0)
        for name in group.columns:
            column = _one(base[name])
            value = _taken(values[name], pa.array(shown))
            if group.counted and len(shown):
                onto = found[to[shown]]
                sums = pa.array(onto, mask=whole[shown] | (onto < 0))
                value = pc.add(value, pc.fill_null(_taken(column, sums), 0))
            if len(shown):
                at = found.copy()
                at[to[shown]] = len(column) + np.arange(len(shown))
                column = pa.concat_arrays([column, value]).take(pa.array(at, mask=at < 0))
            elif not steady:
                column = column.take(before)
            made[name] = column
    return pa.table(made, pa.schema(list(COLUMNS.items())))


def with_macros() -> duckdb.DuckDBPyConnection:
    """An in-memory database with the macros that shorten and restore profiles."""
    con = in_memory()
    con.execute("SET threads = 1")
    con.execute("SET TimeZone = 'UTC'")
    con.execute("CREATE SCHEMA internal")
    run_sql(con, "schema_macros")
    return con


def _addresses(
    con: duckdb.DuckDBPyConnection, statement: str, rows: pa.Table, at: Whole
) -> dict[str, pa.Array]:
    """The address columns of these rows, shortened or restored by a statement."""
    columns = ["account_handle", "profile_url", "avatar_rests"]
    some = (
        rows.select(columns).take(pa.array(at)).append_column("nth", pa.array(np.arange(len(at))))
    )
    con.register("rows_in", some)
    try:
        found = con.sql(sql(statement)).to_arrow_table()
    finally:
        con.unregister("rows_in")
    of_row = np.full(len(rows), -1, dtype=np.int64)
    of_row[at] = np.arange(len(at))
    back = pa.array(of_row, mask=of_row < 0)
    return {name: _taken(found[name], back) for name in ("profile_url", "avatar_rests")}


def differ(one: pa.ChunkedArray, other: pa.ChunkedArray) -> Mask:
    """Where two columns differ; null equals only null."""
    if pa.types.is_struct(one.type):
        apart: Mask = np.asarray(pc.is_null(one)) != np.asarray(pc.is_null(other))
        for field in one.type:
            a, b = (pc.struct_field(column, field.name) for column in (one, other))
            apart |= differ(a, b)
        return apart
    apart = np.asarray(pc.fill_null(pc.not_equal(one, other), False))
    if one.null_count or other.null_count:
        apart = apart | (np.asarray(pc.is_null(one)) != np.asarray(pc.is_null(other)))
    return apart


def _taken(column: Any, at: pa.Array) -> pa.Array:
    return _one(column.take(at))


def _one(column: Any) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        return (
            column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
        ) if column.num_chunks else pa.nulls(0, column.type)  # fmt: skip
    return column


def _numbers(column: pa.ChunkedArray) -> Whole:
    """Integers, with -1 for null."""
    return np.asarray(pc.fill_null(column, -1)).astype(np.int64)
