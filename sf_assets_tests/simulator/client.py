"""Asking a simulator the way its tests need it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import httpx

from sf_assets.simulator import API_KEY, Relation


def open_client(base_url: str, key: str = API_KEY) -> httpx.Client:
    # Loopback has no TLS; reading the certificates would be the slowest part of most tests.
    return httpx.Client(
        base_url=base_url,
        headers={"x-api-key": key},
        trust_env=False,
        verify=False,
        timeout=10,
    )


def path(handle: str, relation: Relation = "followers") -> str:
    return f"/v1/tiktok/profiles/{handle}/{relation}"


def walk(
    client: httpx.Client,
    handle: str,
    relation: Relation,
    day: date,
    *,
    max_pages: int = 200,
) -> Iterator[dict[str, Any]]:
    """The bodies of all pages of one list on one day, until the API says there is no more."""
    params: dict[str, str] = {}
    for _ in range(max_pages):
        answer = client.get(
            path(handle, relation), params=params, headers={"X-Sim-Day": day.isoformat()}
        )
        assert answer.status_code == 200, answer.text
        body = answer.json()
        yield body
        if not body["data"]["page"]["hasMore"]:
            return
        params = {"cursor": body["data"]["page"]["nextCursor"]}
    raise AssertionError(f"{handle} {relation} has more than {max_pages} pages")


def items(body: dict[str, Any]) -> list[dict[str, Any]]:
    data = body["data"]
    found: list[dict[str, Any]] = data["followers" if "followers" in data else "accounts"]
    return found
