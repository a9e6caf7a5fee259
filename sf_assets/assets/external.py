"""Where the data comes from, at the left edge of the lineage: nothing here is made by us."""

from __future__ import annotations

import dagster as dg

from sf_assets.assets.specs import OWNERS, table_metadata

HANDLE_REGISTRY, SOCIAL_FETCH_API = "handle_registry", "social_fetch_api"

SPECS = [
    dg.AssetSpec(
        HANDLE_REGISTRY,
        description=(
            "`handles.yaml` in the home: whom we track, which of their lists, and how deep. The "
            "sensor `registry` turns it into partitions.\n\n"
            "```sh\nsf-assets track nasa esa --relation followers\n```"
        ),
        group_name="sources",
        kinds={"yaml"},
        owners=OWNERS,
    ),
    dg.AssetSpec(
        SOCIAL_FETCH_API,
        description=(
            "The vendor: [Social Fetch](https://www.socialfetch.dev) answers who follows a TikTok "
            "handle *now*, some 20 accounts a page, a credit a page. Yesterday cannot be asked "
            "for. What it charged is in `credit_ledger`, one row an attempt; each run notes the "
            "balance before and after it here.\n\n```sh\nsf-assets forecast\n```"
        ),
        metadata=table_metadata("credit_ledger"),
        group_name="sources",
        kinds={"tiktok", "api"},
        owners=OWNERS,
    ),
]
