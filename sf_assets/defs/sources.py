"""The external assets at the left edge of the lineage: handles.yaml and the API."""

from __future__ import annotations

import dagster as dg

from sf_assets.defs.audience import Audience
from sf_assets.defs.specs import OWNERS, code_references, table_metadata

HANDLE_REGISTRY, SOCIAL_FETCH_API = "handle_registry", "social_fetch_api"


def specs(audience: Audience) -> list[dg.AssetSpec]:
    """The specs of the external assets of a home."""
    return [
        dg.AssetSpec(
            audience.key(HANDLE_REGISTRY),
            description=(
                "The tracked handles, their lists and how deep to read them: the file "
                "`handles.yaml` in the home. The sensor `registry` turns it into partitions.\n\n"
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
                "The Social Fetch API returns the current lists of a TikTok handle, about 20 "
                "accounts per page and one credit per page. It cannot return yesterday's lists. "
                "See [Social Fetch](https://www.socialfetch.dev). `credit_ledger` has one row per "
                "attempt with its credits, and each run records the balance before and after it "
                "here.\n\n"
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
