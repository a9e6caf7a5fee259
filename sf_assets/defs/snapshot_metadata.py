"""The materialization event of a snapshot, and its line in the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

from sf_assets.defs.partitions import grid_key
from sf_assets.ingest.run_budget import Spending
from sf_assets.model import SnapshotKey
from sf_assets.storage.records import Landed
from sf_assets.text import counted, named
from sf_assets.warehouse.alignment import MIN_ORDER_AGREEMENT
from sf_assets.warehouse.archive import SnapshotRow
from sf_assets.warehouse.ledger import Balances

# Request ids per event. Each takes about 40 bytes, twice, and there is an event per list and day.
REQUEST_IDS = 6


def log_line(row: SnapshotRow, bought: int) -> str:
    """The line of a list in the log of its run; `bought` is the number of pages this run bought."""
    return (
        f"{row.key}: {row.lookup_status}, {row.listed:,} listed"
        + (f" of {row.reported_total:,}" if row.reported_total is not None else "")
        + f", {row.completeness}"
        + (f" ({row.end_reason})" if row.end_reason else "")
        + f", {counted(row.pages, 'page')} ({bought:,} bought in this run)"
        + (f", {counted(row.damaged_fields, 'damaged field')}" if row.damaged_fields else "")
    )


def order_sentence(disordered: Mapping[SnapshotKey, float]) -> str:
    """The lists that are read completely in spite of `recent`, with their order agreement."""
    if not disordered:
        return ""
    names = [f"{key.handle} {key.relation} {kept:.2f}" for key, kept in sorted(disordered.items())]
    return (
        f" Read completely instead of `recent`, because less than {MIN_ORDER_AGREEMENT:.0%} of the "
        f"accounts kept their order: {named(names)}."
    )


def damage_sentence(rows: Iterable[SnapshotRow]) -> str | None:
    """The lists with damaged fields and the number of those fields; None without any."""
    damaged = [f"{row.key} {row.damaged_fields:,}" for row in rows if row.damaged_fields]
    if not damaged:
        return None
    return (
        "Damaged fields do not match the API's contract and are stored as NULL. Number per list: "
        + ", ".join(damaged)
        + "."
    )


def spending_metadata(spending: Spending, balances: Balances, not_begun: int) -> dict[str, int]:
    """The credits of a run: paid, expected, and the balance before and after."""
    return {
        "balance_before": balances.balance_before,
        "balance_after": balances.balance_after,
        "expected_credits": spending.expected,
        "credits": balances.credits,
        "unexplained": balances.unexplained,
        "lists_without_a_page": not_begun,
    }


def _first_and_last(ids: Sequence[str]) -> list[str]:
    """All ids of a normal list, the first and last ids of a long one. The landing has all."""
    if len(ids) <= REQUEST_IDS:
        return list(ids)
    half = REQUEST_IDS // 2
    return [*ids[:half], f"({len(ids) - 2 * half} more)", *ids[-half:]]


def snapshot_event(
    key: dg.AssetKey, row: SnapshotRow, landed: Landed | None, order_agreement: float | None = None
) -> dg.AssetMaterialization:
    """The materialization of a partition; `order_agreement` if it was too low for `recent`."""
    attempt = landed.to_load if landed else None
    # A value takes about 130 bytes, twice, so usual values are left out. The table has them.
    metadata: dict[str, dg.MetadataValue] = {
        "status": dg.MetadataValue.text(row.lookup_status),
        "completeness": dg.MetadataValue.text(row.completeness),
        "source": dg.MetadataValue.text(row.source),
    }
    if row.imported_file is not None:
        metadata["imported_file"] = dg.MetadataValue.text(row.imported_file)
    if row.end_reason not in (None, "exhausted"):
        metadata["end_reason"] = dg.MetadataValue.text(str(row.end_reason))
    metadata["listed"] = dg.MetadataValue.int(row.listed)
    if row.reported_total is not None:
        metadata["total"] = dg.MetadataValue.int(row.reported_total)
    metadata |= {
        "credits": dg.MetadataValue.int(row.credits_charged),
        "seconds": dg.MetadataValue.float(row.seconds),
        "profile": dg.MetadataValue.url(f"https://www.tiktok.com/@{row.handle}"),
    }
    if order_agreement is not None:
        metadata["recent_off_order_agreement"] = dg.MetadataValue.float(order_agreement)
    rare = {
        "pages": row.pages if row.pages != row.credits_charged else 0,
        "damaged_fields": row.damaged_fields,
    }
    if attempt is not None:
        rare |= {"retries": attempt.retries, "cached_pages": attempt.cached}
        metadata["request_ids"] = dg.MetadataValue.json(_first_and_last(attempt.request_ids))
    metadata |= {name: dg.MetadataValue.int(count) for name, count in rare.items() if count}
    # The rows of a partition are the accounts on its list.
    metadata["dagster/partition_row_count"] = dg.MetadataValue.int(row.listed)
    return dg.AssetMaterialization(
        key,
        partition=grid_key(row.snapshot_date, row.handle),
        metadata=metadata,
    )
