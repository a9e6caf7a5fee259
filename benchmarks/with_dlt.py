r"""The same lists with dlt: its REST client, cursor paginator, DuckDB destination, scd2 merge.

    pip install -e '.[bench]'
    python benchmarks/with_dlt.py --base-url http://127.0.0.1:8899 --day 2026-10-31 \
        --file lists.duckdb --state state --handles bench.0000 bench.0001

What people would use instead of sf-assets, set up with care: the lists are read in parallel, a
row's version is its handle and account (dlt's own row hash would renew every row every day, because
picture addresses are signed anew), nothing is inferred into child tables, and no telemetry is sent.
With `--tuned` a list is handed over as one Arrow table, which dlt neither normalises row by row nor
infers, by 20 workers: its quickest form. `page_cost.py` measures both beside sf-assets.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

try:
    import dlt
    from dlt.sources.helpers.rest_client.client import RESTClient
    from dlt.sources.helpers.rest_client.paginators import JSONResponseCursorPaginator
except ImportError:
    sys.exit("dlt is not installed: pip install -c constraints.txt -e '.[bench]'")


_TEXTS = ("handle", "displayName", "avatarUrl", "platformUserId", "secUid", "bio", "tracked")
_STRUCTS = {
    "avatarUrls": [(size, pa.string()) for size in ("large", "medium", "thumb")],
    "metrics": [("followers", pa.int64()), ("following", pa.int64())],
}
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in (*_TEXTS, "account_id", "row_version")),
        *((name, pa.bool_()) for name in ("verified", "privateAccount")),
        *((name, pa.struct(fields)) for name, fields in _STRUCTS.items()),
    ]
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--day", required=True)
    parser.add_argument("--file", required=True)
    parser.add_argument("--state", type=Path, required=True, help="dlt's own folder")
    parser.add_argument("--handles", nargs="+", required=True)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--tuned", action="store_true", help="one Arrow table a list, 20 workers")
    wanted = parser.parse_args()
    if wanted.tuned:
        wanted.concurrency = 20
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"
    os.environ["EXTRACT__WORKERS"] = str(wanted.concurrency)
    os.environ["EXTRACT__MAX_PARALLEL_ITEMS"] = str(wanted.concurrency)

    client = RESTClient(
        wanted.base_url,
        headers={"x-api-key": "sfk_sim", "X-Sim-Day": wanted.day},
        paginator=JSONResponseCursorPaginator("data.page.nextCursor", cursor_param="cursor"),
        data_selector="data.followers",
    )

    def followers(tracked: str) -> Iterator[Any]:
        rows: list[dict[str, Any]] = []
        for page in client.paginate(f"/v1/tiktok/profiles/{tracked}/followers"):
            for account in page:
                account["tracked"] = tracked
                account_id = (
                    account.get("platformUserId") or account.get("secUid") or account["handle"]
                )
                account["account_id"] = account_id
                account["row_version"] = f"{tracked}/{account_id}"
            if wanted.tuned:
                rows += page
            else:
                yield list(page)
        if rows:
            yield pa.Table.from_pylist(rows, schema=SCHEMA)

    @dlt.source(max_table_nesting=0)
    def lists() -> Any:
        for tracked in wanted.handles:
            yield dlt.resource(
                followers,
                name=f"followers_of_{tracked}",
                table_name="memberships",
                parallelized=True,
                write_disposition={
                    "disposition": "merge",
                    "strategy": "scd2",
                    "row_version_column_name": "row_version",
                    "boundary_timestamp": f"{wanted.day}T06:00:00Z",
                },
            )(tracked)

    pipeline = dlt.pipeline(
        "lists",
        pipelines_dir=str(wanted.state),
        destination=dlt.destinations.duckdb(wanted.file),
        dataset_name="lists",
    )
    pipeline.run(lists()).raise_on_failed_jobs()


if __name__ == "__main__":
    main()
