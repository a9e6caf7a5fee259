"""What a snapshot says of itself: its materialization, its line in the log."""

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

# So many ids of requests an event shows, some 40 bytes each, twice: there is one a list and day.
REQUEST_IDS = 6


def log_line(row: SnapshotRow, bought: int) -> str:
    """One list in the log of its run; `bought` is how many pages this run paid for."""
    return (
        f"{row.key}: {row.lookup_status}, {row.listed:,} listed"
        + (f" of {row.reported_total:,}" if row.reported_total is not None else "")
        + f", {row.completeness}"
        + (f" ({row.end_reason})" if row.end_reason else "")
        + f", {counted(row.pages, 'page')}, {bought:,} bought now"
        + (f", {counted(row.damaged_fields, 'damaged field')}" if row.damaged_fields else "")
    )


def order_sentence(disordered: Mapping[SnapshotKey, float]) -> str:
    """Which lists are read whole in spite of `recent`, with their order agreement; or nothing."""
    if not disordered:
        return ""
    names = [f"{key.handle} {key.relation} {kept:.2f}" for key, kept in sorted(disordered.items())]
    return (
        f". Read whole although `recent`, because less than {MIN_ORDER_AGREEMENT:.0%} kept their "
        f"order: {named(names)}"
    )


def damage_sentence(rows: Iterable[SnapshotRow]) -> str | None:
    """Which lists came with damaged fields, and with how many."""
    damaged = [f"{row.key} {row.damaged_fields:,}" for row in rows if row.damaged_fields]
    if not damaged:
        return None
    return (
        "fields that are not what the contract says are stored as NULL, so many a list: "
        + ", ".join(damaged)
    )


def spending_metadata(spending: Spending, balances: Balances, not_begun: int) -> dict[str, int]:
    """What a run paid, held against what it was expected to pay and against the balance."""
    return {
        "balance_before": balances.balance_before,
        "balance_after": balances.balance_after,
        "expected_credits": spending.expected,
        "credits": balances.credits,
        "unexplained": balances.unexplained,
        "lists_without_a_page": not_begun,
    }


def _some(ids: Sequence[str]) -> list[str]:
    """All ids of a usual list, the first and the last of a long one: the landing has them all."""
    if len(ids) <= REQUEST_IDS:
        return list(ids)
    half = REQUEST_IDS // 2
    return [*ids[:half], f"({len(ids) - 2 * half} more)", *ids[-half:]]


def snapshot_event(
    key: dg.AssetKey, row: SnapshotRow, landed: Landed | None, order_agreement: float | None = None
) -> dg.AssetMaterialization:
    """The materialization of a partition; `order_agreement` where it switched `recent` off."""
    attempt = landed.to_load if landed else None
    # Each value takes some 130 bytes, twice: what is as usual is left out, and in the table.
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
        metadata["request_ids"] = dg.MetadataValue.json(_some(attempt.request_ids))
    metadata |= {name: dg.MetadataValue.int(count) for name, count in rare.items() if count}
    # A partition's rows are the accounts on its list.
    metadata["dagster/partition_row_count"] = dg.MetadataValue.int(row.listed)
    return dg.AssetMaterialization(
        key,
        partition=grid_key(row.snapshot_date, row.handle),
        metadata=metadata,
    )
