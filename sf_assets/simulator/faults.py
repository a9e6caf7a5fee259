"""Faults: disturbed answers.

A fault is queued for a certain page (`Faults.queue`) or drawn at random (`rate`). The draw depends
on the seed, the page and how often the page was requested, not on the order of calls, so a run with
faults is repeatable and a retry can succeed.

`reset` and `reset_body` close the socket with a TCP reset through uvicorn's transport. On another
server, or under a test client, they raise instead. There are no faults below HTTP (lost packets,
TLS, DNS).
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from sf_assets.simulator.world import chance, mix, text_key

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

FaultKind = Literal[
    "http_500",
    "http_502",
    "http_503",
    "http_503_retry_after",
    "http_503_retry_date",
    "http_429",
    "http_401",
    "http_402",
    "http_403",
    "bad_utf8",
    "endless",
    "hang",
    "html",
    "missing_field",
    "reset",
    "reset_body",
    "slow",
    "truncated_json",
    "wrong_type",
]

#: Every kind and what the client sees.
KINDS: dict[FaultKind, str] = {
    "http_500": "500 internal_error",
    "http_502": "502 lookup_failed",
    "http_503": "503 temporarily_unavailable without Retry-After",
    "http_503_retry_after": "503 temporarily_unavailable with Retry-After: 1",
    "http_503_retry_date": "503 temporarily_unavailable with Retry-After as a date",
    "http_429": "429 temporarily_unavailable",
    "http_401": "401 unauthorized",
    "http_402": "402 insufficient_credits",
    "http_403": "403 forbidden",
    "bad_utf8": "200 with a body that is not UTF-8",
    "endless": "200 with a body that never ends",
    "hang": "no answer until the client gives up",
    "html": "200 with a web page instead of JSON",
    "missing_field": "200 without `page` in the data",
    "reset": "connection reset before any byte",
    "reset_body": "connection reset in the middle of the body",
    "slow": "the correct body, over some seconds",
    "truncated_json": "200 with half of the JSON and a Content-Length to match",
    "wrong_type": "200 with a text as total",
}

#: Kinds drawn at random: those that a retry can fix without long waits.
RANDOM_KINDS: tuple[FaultKind, ...] = (
    "http_500",
    "http_502",
    "http_503",
    "http_503_retry_after",
    "http_429",
    "reset",
    "reset_body",
    "truncated_json",
    "html",
    "bad_utf8",
    "wrong_type",
    "missing_field",
)

#: Status, error code and extra headers of the faults that are plain error answers.
ERRORS: dict[FaultKind, tuple[int, str, list[tuple[bytes, bytes]]]] = {
    "http_500": (500, "internal_error", []),
    "http_502": (502, "lookup_failed", []),
    "http_503": (503, "temporarily_unavailable", []),
    "http_503_retry_after": (503, "temporarily_unavailable", [(b"retry-after", b"1")]),
    "http_503_retry_date": (503, "temporarily_unavailable", []),  # the app adds the date
    "http_429": (429, "temporarily_unavailable", []),
    "http_401": (401, "unauthorized", []),
    "http_402": (402, "insufficient_credits", []),
    "http_403": (403, "forbidden", []),
}

_HTML = b"<!doctype html><html><body><h1>Just a moment...</h1></body></html>"
_SLOW_PIECES = 20


@dataclass
class QueuedFault:
    """A fault for the next `times` matching calls; None matches everything.

    `relation` may also be `balance`, `whoami` or `health`, to disturb the free routes.
    """

    kind: FaultKind
    handle: str | None = None
    relation: str | None = None
    page: int | None = None
    times: int = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"fault kind {self.kind!r} is not one of {', '.join(KINDS)}")
        if self.handle is not None:
            self.handle = self.handle.lower()

    def matches(self, handle: str | None, relation: str, page: int) -> bool:
        """Whether the fault applies to this call."""
        metered = relation in ("followers", "following")
        return (
            self.times > 0
            and self.handle in (None, handle)
            and (self.relation == relation or (self.relation is None and metered))
            and self.page in (None, page)
        )


class Faults:
    """Decides which calls are disturbed, and counts the faults."""

    def __init__(
        self,
        *,
        seed: int = 1,
        rate: float = 0.0,
        kinds: tuple[FaultKind, ...] = RANDOM_KINDS,
        slow_seconds: float = 2.0,
    ) -> None:
        self.seed = seed
        self.rate = rate
        self.kinds = kinds
        self.slow_seconds = slow_seconds
        self.queued: list[QueuedFault] = []
        self.done: dict[str, int] = {}
        self._asked: dict[int, int] = {}

    def queue(self, fault: QueuedFault) -> None:
        """Add a fault for later calls."""
        self.queued.append(fault)

    def clear(self) -> None:
        """Remove queued faults, and stop random ones."""
        self.queued.clear()
        self.rate = 0.0

    def pick(
        self, handle: str | None, relation: str, page: int, *, day: str = "", cursor: str = ""
    ) -> FaultKind | None:
        """The fault for this call, or None. Queued faults come before random ones."""
        if self.queued:
            for fault in self.queued:
                if fault.matches(handle, relation, page):
                    fault.times -= 1
                    if fault.times == 0:
                        self.queued.remove(fault)
                    return self._count(fault.kind)
        if self.rate <= 0 or handle is None:
            return None
        key = text_key(handle, relation, day, cursor)
        asked = self._asked.get(key, 0)
        self._asked[key] = asked + 1
        draw = mix(self.seed, key, asked)
        if chance(draw) >= self.rate:
            return None
        return self._count(self.kinds[mix(draw, 1) % len(self.kinds)])

    def _count(self, kind: FaultKind) -> FaultKind:
        self.done[kind] = self.done.get(kind, 0) + 1
        return kind

    async def play(self, kind: FaultKind, body: bytes, receive: Receive, send: Send) -> None:
        """Answer with a disturbed form of `body`, for all kinds that are not in ERRORS."""
        if kind == "hang":
            await _client_gone(receive)
        elif kind == "reset":
            await _reset(send)
        elif kind == "reset_body":
            await _start(send, len(body))
            await send({"type": "http.response.body", "body": body[: len(body) // 2], **_MORE})
            # Wait until the first half has left, or the reset would overtake it.
            await asyncio.sleep(0.02)
            await _reset(send)
        elif kind == "endless":
            await self._endless(body, receive, send)
        elif kind == "slow":
            await self._slowly(body, receive, send)
        else:
            body, content_type = _spoil(kind, body)
            await _start(send, len(body), content_type)
            await send({"type": "http.response.body", "body": body})

    async def _slowly(self, body: bytes, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_client_gone(receive))
        await _start(send, len(body))
        step = max(1, -(-len(body) // _SLOW_PIECES))
        for at in range(0, len(body), step):
            if gone.done():
                return
            await send({"type": "http.response.body", "body": body[at : at + step], **_MORE})
            await asyncio.sleep(self.slow_seconds / _SLOW_PIECES)
        await send({"type": "http.response.body", "body": b""})
        gone.cancel()

    async def _endless(self, body: bytes, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_client_gone(receive))
        await _start(send, None)
        await send({"type": "http.response.body", "body": body[:-1], **_MORE})
        while not gone.done():
            await send({"type": "http.response.body", "body": b" " * 65_536, **_MORE})
            await asyncio.sleep(0.001)


_MORE = {"more_body": True}


async def _start(send: Send, length: int | None, content_type: bytes = b"application/json") -> None:
    headers = [(b"content-type", content_type)]
    if length is not None:
        headers.append((b"content-length", b"%d" % length))
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _client_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _reset(send: Send) -> None:
    # ASGI has no word for this, but uvicorn's `send` is a method of an object that holds the
    # transport. A linger time of zero makes the kernel send RST instead of FIN.
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionResetError("simulated connection reset")
    transport = cast("asyncio.Transport", transport)
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
    # The server notices the lost connection in its next turns and then expects nothing more.
    for _ in range(3):
        await asyncio.sleep(0)


def _spoil(kind: FaultKind, body: bytes) -> tuple[bytes, bytes]:
    if kind == "html":
        return _HTML, b"text/html; charset=utf-8"
    if kind == "truncated_json":
        return body[: len(body) // 2], b"application/json"
    if kind == "bad_utf8":
        return body.replace(b'"requestId":"', b'"requestId":"\xff\xfe', 1), b"application/json"
    parsed = json.loads(body)
    inner = parsed.get("data", parsed)
    if kind == "missing_field":
        inner.pop("page" if "page" in inner else next(iter(inner)))
    else:
        total = next((name for name in inner if name.startswith("total")), next(iter(inner)))
        inner[total] = f"about {inner[total]}"
    return json.dumps(parsed, ensure_ascii=False).encode(), b"application/json"
