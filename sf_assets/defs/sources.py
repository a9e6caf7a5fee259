"""Where the data comes from, at the left edge of the lineage: nothing here is made by us."""

from __future__ import annotations

import dagster as dg

from sf_assets.defs.audience import Audience
from sf_assets.defs.specs import OWNERS, code_references, table_metadata

HANDLE_REGISTRY, SOCIAL_FETCH_API = "handle_registry", "social_fetch_api"


def specs(audience: Audience) -> list[dg.AssetSpec]:
    """The external assets of a home."""
    return [
        dg.AssetSpec(
            audience.key(HANDLE_REGISTRY),
            description=(
                "Whom we track, which of their lists, how deep: the file `handles.yaml` in "
                "the home. The sensor `registry` turns it into partitions.\n\n"
                "```sh\nsf-assets track nasa esa --relation followers\n```"
            ),
            metadata={"dagster/code_references": code_references(["handles/parse.py"])},
            group_name="sources",
            kinds={"yaml"},
            owners=OWNERS,
        ),
        dg.AssetSpec(
            audience.key(SOCIAL_FETCH_API),
            description=(
                "The vendor answers who follows a TikTok handle now, some 20 accounts a page, a "
                "credit a page. Yesterday cannot be asked for. See "
                "[Social Fetch](https://www.socialfetch.dev). What it charged is in "
                "`credit_ledger`, one row an attempt; each run notes the balance before and "
                "after it here.\n\n"
                "```sh\nsf-assets forecast\n```"
            ),
            metadata={
                **table_metadata(audience, "credit_ledger"),
                "dagster/code_references": code_references(
                    ["social_fetch/client.py", "warehouse/ledger.py"]
                ),
            },
            group_name="sources",
            kinds={"tiktok", "api"},
            owners=OWNERS,
        ),
    ]
