"""The simulated API as an ASGI application: the routes of the real API, and admin routes `/_sim/*`.

The API routes bypass Starlette, because benchmarks request them thousands of times; the admin
routes use it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timezone
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sf_assets.simulator.faults import (
    ERRORS,
    RANDOM_KINDS,
    FaultKind,
    Faults,
    Message,
    QueuedFault,
    Receive,
    Send,
)
from sf_assets.simulator.world import RELATIONS, PageAnswer, Relation, World

_PROFILES = "/v1/tiktok/profiles/"
_MAX_HANDLE = 128
_MESSAGES = {
    "bad_request": "The request is not valid.",
    "unauthorized": "The API key is missing or not valid.",
    "insufficient_credits": "There are not enough credits left.",
    "forbidden": "This key may not do that.",
    "not_found": "There is no such route.",
    "temporarily_unavailable": "The service is busy; try again later.",
    "internal_error": "Something broke on our side.",
    "lookup_failed": "The source's answer could not be used.",
}
_CHECKOUT_URL = "https://checkout.sim.invalid/credits"


@dataclass(frozen=True)
class Options:
    """How the API behaves, apart from its world."""

    page_size: int = 20
    #: Credits at the start.
    balance: int = 1_000_000
    #: Accepted keys; None accepts every key that starts with `sfk_`.
    api_keys: tuple[str, ...] | None = None
    latency_ms: float = 0.0
    #: A page requested again within this many seconds is marked as cached, at full price.
    cache_seconds: float = 0.0
    fault_rate: float = 0.0
    fault_kinds: tuple[FaultKind, ...] = RANDOM_KINDS
    #: Seconds for which a cursor is accepted; None means no limit.
    cursor_seconds: float | None = None
    #: Whether `@handle` is accepted; the API's documentation says so for another route only.
    accepts_at: bool = False
    #: Whether a 502 is billed. Sources disagree; the API's documentation says no.
    bill_failed_lookups: bool = False
    #: The day for requests that do not name one; None means the current UTC day.
    day: date | None = None

    def __post_init__(self) -> None:
        if self.page_size < 1:
            raise ValueError(f"page_size must be at least 1, not {self.page_size}")


class _ApiError(Exception):
    def __init__(self, status: int, code: str, detail: str | None = None) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail


class SimulatedApi:
    """A simulated API: a world, a balance, a ledger and a list of faults.

    Admin routes, all without a key:

    GET /_sim/ledger, POST /_sim/ledger (`{}` empties it; the balance stays)
    GET /_sim/profiles
    POST /_sim/day `{"day": "2026-10-01" | null}`
    POST /_sim/balance `{"balance": 12}`
    GET, POST, DELETE /_sim/faults; POST takes `{"kind", "handle", "relation", "page", "times"}`
    POST /_sim/options with any of `latency_ms`, `page_size`, `fault_rate`, `cache_seconds`
    GET /_sim/truth?handle=&relation=&day=
    GET /_sim/changes?handle=&relation=&from=&to=
    """

    def __init__(self, world: World, options: Options | None = None) -> None:
        self.world = world
        self.options = options or Options()
        self.balance = self.options.balance
        self.day = self.options.day
        self.faults = Faults(
            seed=world.seed, rate=self.options.fault_rate, kinds=self.options.fault_kinds
        )
        self.charges: Counter[tuple[str, str, str]] = Counter()
        self.requests: Counter[str] = Counter()
        self.in_flight = 0
        self.most_in_flight = 0
        self._made = 0
        self._given: dict[str, float] = {}
        self._first_served: dict[tuple[str, ...], float] = {}
        self._admin = Starlette(
            routes=[
                Route("/_sim/ledger", self._get_ledger, methods=["GET"]),
                Route("/_sim/ledger", self._reset_ledger, methods=["POST"]),
                Route("/_sim/profiles", self._get_profiles, methods=["GET"]),
                Route("/_sim/day", self._set_day, methods=["POST"]),
                Route("/_sim/balance", self._set_balance, methods=["POST"]),
                Route("/_sim/faults", self._get_faults, methods=["GET"]),
                Route("/_sim/faults", self._add_fault, methods=["POST"]),
                Route("/_sim/faults", self._clear_faults, methods=["DELETE"]),
                Route("/_sim/options", self._set_options, methods=["POST"]),
                Route("/_sim/truth", self._get_truth, methods=["GET"]),
                Route("/_sim/changes", self._get_changes, methods=["GET"]),
            ],
            exception_handlers={ValueError: _admin_refusal, KeyError: _admin_refusal},
        )

    @property
    def serves(self) -> str:
        """A short description of what is served."""
        day = self.options.day or "the current UTC day"
        return f"{len(self.world.handles)} profiles, seed {self.world.seed}, day: {day}"

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        path: str = scope["path"]
        if path.startswith("/_sim/"):
            await self._admin(scope, receive, send)
            return
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self._made += 1
        request_id = f"req_sim_{self._made:08d}"
        try:
            await self._answer(path, scope, request_id, receive, send)
        except _ApiError as error:
            await self._send_error(send, error.status, error.code, request_id, error.detail)
        finally:
            self.in_flight -= 1

    # routes of the API

    async def _answer(
        self, path: str, scope: Message, request_id: str, receive: Receive, send: Send
    ) -> None:
        if scope["method"] == "GET":
            if path.startswith(_PROFILES):
                handle, _, relation = path[len(_PROFILES) :].rpartition("/")
                if relation in RELATIONS and handle and "/" not in handle:
                    await self._list_page(handle, relation, scope, request_id, receive, send)
                    return
            elif path in ("/v1/balance", "/v1/whoami", "/health"):
                await self._free_route(path.rpartition("/")[2], scope, request_id, receive, send)
                return
        self._count("unknown", 404)
        raise _ApiError(404, "not_found")

    async def _list_page(
        self,
        handle: str,
        relation: Relation,
        scope: Message,
        request_id: str,
        receive: Receive,
        send: Send,
    ) -> None:
        self.requests[relation] += 1
        headers = dict(scope["headers"])
        self._check_key(headers)
        if len(handle) > _MAX_HANDLE:
            raise _ApiError(400, "bad_request", "handle is longer than 128 characters")
        if handle.startswith("@") and not self.options.accepts_at:
            raise _ApiError(400, "bad_request", "handle begins with @")
        handle = handle.removeprefix("@")
        cursor, trim = _read_query(scope["query_string"], relation)
        day = self._day_of(headers)
        if self.balance < 1:
            raise _ApiError(402, "insufficient_credits")
        if self.options.latency_ms:
            await asyncio.sleep(self.options.latency_ms / 1_000)
        handle = handle.lower()
        ready = self.served(handle, relation, day.isoformat(), cursor)
        if ready is not None:
            self._charge(handle, relation, day.isoformat())
            await _send(send, 200, ready, [])
            return
        try:
            answer = self.world.page(
                handle, relation, day, cursor=cursor, page_size=self.options.page_size
            )
        except ValueError:
            raise _ApiError(400, "bad_request", "cursor is not one of ours") from None
        except LookupError:
            if self.options.bill_failed_lookups:
                self._charge(handle, relation, day.isoformat())
            raise _ApiError(502, "lookup_failed") from None
        self._check_age_of(cursor, answer.next_cursor)

        day_text = day.isoformat()
        fault = self.faults.pick(
            handle, relation, answer.page_index, day=day_text, cursor=cursor or ""
        )
        if fault is not None and fault in ERRORS:
            status, code, extra = ERRORS[fault]
            if fault == "http_503_retry_date":
                until = formatdate(time.time() + 1, usegmt=True)
                extra = [(b"retry-after", until.encode())]
            if fault == "http_502" and self.options.bill_failed_lookups:
                self._charge(handle, relation, day_text)
            await self._send_error(send, status, code, request_id, extra=extra)
            return
        # Whatever happens to the body on its way, the API has answered and bills.
        self._charge(handle, relation, day_text)
        age = self._age((handle, relation, day_text, cursor or "", str(trim)))
        body = self._body(answer, relation, day, request_id, trim, age is not None)
        if fault is not None:
            await self.faults.play(fault, body, receive, send)
            return
        await _send(send, 200, body, [(b"age", b"%d" % age)] if age is not None else [])

    def served(self, handle: str, relation: Relation, day: str, cursor: str | None) -> bytes | None:
        """A ready body for a request; None lets the world answer."""
        return None

    def _body(
        self,
        answer: PageAnswer,
        relation: Relation,
        day: date,
        request_id: str,
        trim: bool,
        cached: bool,
    ) -> bytes:
        data = self.world.page_json(answer, relation, day, trim=trim)
        flag = ',"cached":true' if cached else ""
        return (
            f'{{"data":{data},"meta":{{"requestId":"{request_id}","creditsCharged":1,'
            f'"version":"v1"{flag}}}}}'
        ).encode()

    async def _free_route(
        self, route: str, scope: Message, request_id: str, receive: Receive, send: Send
    ) -> None:
        self.requests[route] += 1
        meta = {"requestId": request_id, "creditsCharged": 0, "version": "v1"}
        made: dict[str, Any]
        if route == "health":
            made = {"status": "ok"}
        else:
            self._check_key(dict(scope["headers"]))
            if route == "balance":
                made = {"data": self._balance_data(), "meta": meta}
            else:
                user = {"id": "sim-user", "name": "Simulated User", "email": None}
                made = {"data": {"user": user}, "meta": meta}
        body = json.dumps(made).encode()
        fault = self.faults.pick(None, route, 0)
        if fault is None:
            await _send(send, 200, body, [])
        elif fault in ERRORS:
            status, code, extra = ERRORS[fault]
            await self._send_error(send, status, code, request_id, extra=extra)
        else:
            await self.faults.play(fault, body, receive, send)

    def _balance_data(self) -> dict[str, Any]:
        return {
            "balance": self.balance,
            "payg": self.balance,
            "paygSpendable": self.balance,
            "graceDebtCredits": 0,
            "refillState": None,
            "billingAlert": "none",
            "subscriptionIncludedRemaining": 0,
            "subscriptionIncludedTotal": 0,
            "subscription": None,
            "collectionStatus": "current",
        }

    def _check_key(self, headers: dict[bytes, bytes]) -> None:
        key = headers.get(b"x-api-key", b"").decode("latin-1")
        allowed = self.options.api_keys
        if not (key.startswith("sfk_") if allowed is None else key in allowed):
            raise _ApiError(401, "unauthorized")

    def _day_of(self, headers: dict[bytes, bytes]) -> date:
        wanted = headers.get(b"x-sim-day")
        if wanted is not None:
            try:
                return date.fromisoformat(wanted.decode("latin-1"))
            except ValueError:
                raise _ApiError(400, "bad_request", "X-Sim-Day is not a date") from None
        return self.day or datetime.now(timezone.utc).date()

    def _charge(self, handle: str, relation: str, day: str) -> None:
        self.balance -= 1
        self.charges[handle, relation, day] += 1

    def _age(self, key: tuple[str, ...]) -> int | None:
        """Seconds since the page was made, if it is still in the simulated cache."""
        if self.options.cache_seconds <= 0:
            return None
        now = time.monotonic()
        first = self._first_served.get(key)
        if first is not None and now - first < self.options.cache_seconds:
            return int(now - first)
        self._first_served[key] = now
        return None

    def _check_age_of(self, cursor: str | None, following: str | None) -> None:
        """Reject an expired cursor, and record the time of the next one."""
        limit, now = self.options.cursor_seconds, time.monotonic()
        if limit is None:
            return
        if cursor is not None and now - self._given.get(cursor, now) > limit:
            raise _ApiError(400, "bad_request", "cursor has expired")
        if following is not None:
            self._given[following] = now

    def _count(self, route: str, status: int) -> None:
        self.requests[route] += 1
        self.requests[f"status {status}"] += 1

    async def _send_error(
        self,
        send: Send,
        status: int,
        code: str,
        request_id: str,
        detail: str | None = None,
        extra: list[tuple[bytes, bytes]] | None = None,
    ) -> None:
        error = {"code": code, "message": detail or _MESSAGES[code], "requestId": request_id}
        if code == "insufficient_credits":
            error["checkoutUrl"] = _CHECKOUT_URL
        self.requests[f"status {status}"] += 1
        await _send(send, status, json.dumps({"error": error}).encode(), extra or [])

    # admin routes

    def ledger(self) -> dict[str, Any]:
        """Requests, charges and faults so far."""
        return {
            "balance": self.balance,
            "charged": sum(self.charges.values()),
            "requests": dict(self.requests),
            "faults": dict(self.faults.done),
            "most_in_flight": self.most_in_flight,
            "charges": [
                {"handle": handle, "relation": relation, "day": day, "credits": credits}
                for (handle, relation, day), credits in sorted(self.charges.items())
            ],
        }

    async def _get_ledger(self, request: Request) -> Response:
        return JSONResponse(self.ledger())

    async def _reset_ledger(self, request: Request) -> Response:
        self.charges.clear()
        self.requests.clear()
        self.faults.done.clear()
        self.most_in_flight = self.in_flight
        return JSONResponse(self.ledger())

    async def _get_profiles(self, request: Request) -> Response:
        return JSONResponse(
            [
                {
                    "handle": profile.handle,
                    "note": profile.note,
                    "followers": profile.followers.size,
                    "following": profile.following.size,
                    "cap": profile.followers.cap,
                }
                for profile in self.world.profiles.values()
            ]
        )

    async def _set_day(self, request: Request) -> Response:
        wanted = (await request.json())["day"]
        self.day = date.fromisoformat(wanted) if wanted is not None else None
        return JSONResponse({"day": wanted})

    async def _set_balance(self, request: Request) -> Response:
        self.balance = int((await request.json())["balance"])
        return JSONResponse({"balance": self.balance})

    async def _get_faults(self, request: Request) -> Response:
        return JSONResponse(
            {
                "rate": self.faults.rate,
                "queued": [asdict(fault) for fault in self.faults.queued],
                "done": dict(self.faults.done),
            }
        )

    async def _add_fault(self, request: Request) -> Response:
        wanted = await request.json()
        unknown = set(wanted) - {"kind", "handle", "relation", "page", "times"}
        if unknown:
            raise ValueError(f"unknown fields of a fault: {', '.join(sorted(unknown))}")
        self.faults.queue(QueuedFault(**wanted))
        return await self._get_faults(request)

    async def _clear_faults(self, request: Request) -> Response:
        self.faults.clear()
        return await self._get_faults(request)

    async def _set_options(self, request: Request) -> Response:
        wanted = await request.json()
        unknown = set(wanted) - {
            *("latency_ms", "page_size", "fault_rate", "cache_seconds", "cursor_seconds"),
        }
        if unknown:
            raise ValueError(f"{', '.join(sorted(unknown))} cannot be changed while running")
        self.options = replace(self.options, **wanted)
        self.faults.rate = self.options.fault_rate
        return JSONResponse(wanted)

    async def _get_truth(self, request: Request) -> Response:
        query = request.query_params
        truth = self.world.truth(
            query["handle"],
            _relation(query["relation"]),
            date.fromisoformat(query["day"]),
            page_size=self.options.page_size,
        )
        return JSONResponse(
            {
                "handle": truth.handle,
                "relation": truth.relation,
                "day": truth.day.isoformat(),
                "lookup_status": truth.lookup_status,
                "halfway": truth.halfway,
                "quirks": list(truth.quirks),
                "total": truth.total,
                "following": truth.following.tolist(),
                "deleted": truth.deleted.tolist(),
                "listed": truth.listed.tolist(),
            }
        )

    async def _get_changes(self, request: Request) -> Response:
        query = request.query_params
        first, last = date.fromisoformat(query["from"]), date.fromisoformat(query["to"])
        changes = self.world.changes(query["handle"], _relation(query["relation"]), first, last)

        def people(numbers: frozenset[int]) -> list[dict[str, Any]]:
            return [
                {
                    "account": number,
                    "platformUserId": self.world.platform_user_id(number),
                    "secUid": self.world.sec_uid(number),
                    "handle": self.world.handle_of(number, last),
                }
                for number in sorted(numbers)
            ]

        return JSONResponse(
            {
                "from": first.isoformat(),
                "to": last.isoformat(),
                "gained": people(changes.gained),
                "lost": people(changes.lost),
                "returned": people(changes.returned),
                "moved": people(changes.moved),
            }
        )


def _relation(text: str) -> Relation:
    if text not in RELATIONS:
        raise ValueError(f"relation {text!r} is not one of {', '.join(RELATIONS)}")
    return text


def _read_query(raw: bytes, relation: Relation) -> tuple[str | None, bool]:
    """Cursor and trim. Ignores parameters that the contract does not have, as most APIs do, but
    rejects `userId` on a following list: a client that sends it has mixed up the routes."""
    if not raw:
        return None, False
    cursor, trim = None, False
    for name, value in parse_qsl(raw.decode("latin-1"), keep_blank_values=True):
        if name in ("cursor", "userId") and not value:
            raise _ApiError(400, "bad_request", f"{name} is empty")
        if name == "cursor":
            cursor = value
        elif name == "userId" and relation == "following":
            raise _ApiError(400, "bad_request", "userId is not a parameter of following")
        elif name == "trim":
            if value not in ("true", "false"):
                raise _ApiError(400, "bad_request", "trim is neither true nor false")
            trim = value == "true"
    return cursor, trim


async def _send(send: Send, status: int, body: bytes, extra: list[tuple[bytes, bytes]]) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *extra,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _admin_refusal(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=400)
