r"""The floor: a day's lists with aiohttp, Arrow and DuckDB, and nothing else.

    python benchmarks/bare.py --base-url http://127.0.0.1:8899 --day 2026-10-31 \
        --file lists.duckdb --handles bench.0000 bench.0001

What a competent person writes in an hour: reads the follower lists of some handles at once, page by
page, checks that every answer is a found page with whole accounts, puts all fields of all accounts
into DuckDB as Arrow columns, a row an account and day, and notes who came and who left by comparing
with the day before. It keeps no raw answers, cannot go on after a crash, knows nothing of windows,
holes, renames and missing ids, and reports to nobody. `page_cost.py` measures it beside sf-assets.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

import aiohttp
import duckdb
import pyarrow as pa

_FIELDS = {
    "handle": pa.string(),
    "displayName": pa.string(),
    "avatarUrl": pa.string(),
    "avatarUrls": pa.struct(
        [("large", pa.string()), ("medium", pa.string()), ("thumb", pa.string())]
    ),
    "platformUserId": pa.string(),
    "secUid": pa.string(),
    "bio": pa.string(),
    "verified": pa.bool_(),
    "privateAccount": pa.bool_(),
    "metrics": pa.struct([("followers", pa.int64()), ("following", pa.int64())]),
}

_SCHEMA = """
CREATE TABLE IF NOT EXISTS lists (
    day DATE, tracked VARCHAR, place INTEGER, account_id VARCHAR, handle VARCHAR,
    display_name VARCHAR, avatar_url VARCHAR,
    avatar_urls STRUCT("large" VARCHAR, "medium" VARCHAR, thumb VARCHAR),
    platform_user_id VARCHAR, sec_uid VARCHAR, bio VARCHAR, verified BOOLEAN,
    private_account BOOLEAN, followers BIGINT, following BIGINT
);
CREATE TABLE IF NOT EXISTS churn (
    day DATE, tracked VARCHAR, account_id VARCHAR, handle VARCHAR, change VARCHAR
);
"""

_INSERT = """
INSERT INTO lists
SELECT CAST($day AS DATE), $tracked, row_number() OVER (),
    coalesce("platformUserId", "secUid", lower(handle)),
    handle, "displayName", "avatarUrl", "avatarUrls", "platformUserId", "secUid", bio, verified,
    "privateAccount", metrics.followers, metrics.following
FROM accounts
"""

_DIFF = """
INSERT INTO churn
WITH today AS (SELECT tracked, account_id, any_value(handle) AS handle
        FROM lists WHERE day = $day GROUP BY ALL),
    before AS (SELECT tracked, account_id, any_value(handle) AS handle FROM lists
        WHERE day = (SELECT max(day) FROM lists WHERE day < $day) GROUP BY ALL)
SELECT CAST($day AS DATE), tracked, account_id, handle, 'gained'
FROM today ANTI JOIN before USING (tracked, account_id)
WHERE EXISTS (FROM before)
UNION ALL
SELECT CAST($day AS DATE), tracked, account_id, handle, 'lost'
FROM before ANTI JOIN today USING (tracked, account_id)
"""


async def read_list(session: aiohttp.ClientSession, tracked: str) -> pa.Table:
    """All accounts of a handle's follower list, as Arrow columns."""
    columns: dict[str, list[Any]] = {name: [] for name in _FIELDS}
    cursor: str | None = None
    while True:
        params = {"cursor": cursor} if cursor else {}
        async with session.get(f"/v1/tiktok/profiles/{tracked}/followers", params=params) as answer:
            answer.raise_for_status()
            data = json.loads(await answer.read())["data"]
        if data["lookupStatus"] != "found":
            raise ValueError(f"{tracked} is {data['lookupStatus']}")
        for account in data["followers"]:
            if not isinstance(account["handle"], str) or "followers" not in account["metrics"]:
                raise ValueError(f"{tracked}: an account is not whole")
            for name, column in columns.items():
                column.append(account.get(name))
        cursor = data["page"]["nextCursor"]
        if not data["page"]["hasMore"] or not cursor:
            break
    return pa.table(columns, schema=pa.schema(list(_FIELDS.items())))


async def day_of(
    base_url: str, day: str, handles: list[str], concurrency: int, con: duckdb.DuckDBPyConnection
) -> None:
    """Read all lists, each inserted as it ends."""
    turns = asyncio.Semaphore(concurrency)
    headers = {"x-api-key": "sfk_sim", "X-Sim-Day": day}
    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(base_url, headers=headers, connector=connector) as session:

        async def one(tracked: str) -> None:
            async with turns:
                accounts = await read_list(session, tracked)
            con.register("accounts", accounts)
            con.execute(_INSERT, {"day": day, "tracked": tracked})
            con.unregister("accounts")

        await asyncio.gather(*(one(tracked) for tracked in handles))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--day", required=True)
    parser.add_argument("--file", required=True)
    parser.add_argument("--handles", nargs="+", required=True)
    parser.add_argument("--concurrency", type=int, default=32)
    wanted = parser.parse_args()
    with duckdb.connect(wanted.file) as con:
        con.execute(_SCHEMA)
        con.execute("BEGIN TRANSACTION")
        asyncio.run(day_of(wanted.base_url, wanted.day, wanted.handles, wanted.concurrency, con))
        con.execute(_DIFF, {"day": wanted.day})
        con.execute("COMMIT")


if __name__ == "__main__":
    main()
