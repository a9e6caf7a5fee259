"""A small Social Fetch for tests: it serves lists that a test writes down.

    with ListServer() as server:
        server.set("nasa", "followers", [account(n) for n in range(45)])
        server.set("ghost", "followers", status="private")

It follows the contract (credits, keys, paging, errors) and shares no code with the pipeline, so
that a mistake of ours cannot hide behind the same mistake here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Any
from urllib.parse import unquote

from .loopback import Action, Reply, Request, ScriptedServer

KEY = "sfk_test_key_of_the_list_server"

OMIT: Any = object()
"""`account(1, secUid=OMIT)` is an account without that field."""

COUNTED: Any = object()

Fault = Callable[[Request], Reply | Iterable[Action] | None]


def account(n: int, **over: Any) -> dict[str, Any]:
    """Follower number `n`, with every field of the contract."""
    return _changed(
        {
            "handle": f"fan.{n}",
            "displayName": f"Fan {n}",
            "avatarUrl": f"https://pictures.test/{n}.jpeg",
            "avatarUrls": {
                size: f"https://pictures.test/{n}-{size}.jpeg"
                for size in ("large", "medium", "thumb")
            },
            "platformUserId": str(7_000_000_000_000_000_000 + n),
            "secUid": f"MS4wLjABAAAA{n:08d}",
            "bio": "",
            "verified": False,
            "privateAccount": False,
            "metrics": {"followers": n % 1000, "following": n % 77},
        },
        over,
    )


def followed(n: int, **over: Any) -> dict[str, Any]:
    """Followed account number `n`, with every field of the contract."""
    return _changed(
        {
            "handle": f"creator.{n}",
            "displayName": f"Creator {n}",
            "bio": None,
            "avatarUrl": None,
            "profileUrl": f"https://www.tiktok.com/@creator.{n}",
            "platformUserId": str(6_000_000_000_000_000_000 + n),
            "secUid": f"MS4wLjABBBBB{n:08d}",
            "verified": True,
            "privateAccount": False,
            "region": "NO",
            "language": "nb",
            "accountCreatedAt": "2021-02-03T04:05:06.000Z",
            "details": {"seller": False},
            "metrics": {"followers": 100 + n, "following": 4, "posts": 7},
        },
        over,
    )


@dataclass(frozen=True)
class _List:
    accounts: Sequence[Mapping[str, Any]]
    status: str
    total: int | None


class ListServer:
    """Serves what `set` was told, `pages_of` accounts a page; any other handle is `not_found`.

    `credits` counts what was charged, `requests` holds every request. `credits_left` may be set to
    make the money run out. `fault(request)` may answer in the server's place, at no charge; where
    it returns None the server answers.
    """

    def __init__(
        self, *, pages_of: int = 20, key: str = KEY, credits_left: int = 1_000_000
    ) -> None:
        self.pages_of = pages_of
        self.key = key
        self.credits_left = credits_left
        self.credits = 0
        self.fault: Fault | None = None
        self._lists: dict[tuple[str, str], _List] = {}
        self._ids = count(1)
        self._server = ScriptedServer(self._answer)

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def requests(self) -> list[Request]:
        return self._server.requests

    @property
    def asked(self) -> list[Request]:
        """Requests for pages of lists: those that cost something."""
        return [request for request in self.requests if "/profiles/" in request.path]

    def set(
        self,
        handle: str,
        relation: str,
        accounts: Iterable[Mapping[str, Any]] = (),
        *,
        status: str = "found",
        total: int | None = COUNTED,
    ) -> None:
        """Say what a list is from now on; `total` is the number of accounts unless given."""
        accounts = list(accounts)
        if total is COUNTED:
            total = len(accounts) if status == "found" else None
        self._lists[handle, relation] = _List(accounts, status, total)

    def __enter__(self) -> ListServer:
        self._server.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.__exit__(kind, error, trace)

    def _answer(self, request: Request) -> Reply | Iterable[Action]:
        if self.fault is not None:
            answer = self.fault(request)
            if answer is not None:
                return answer
        parts = [unquote(part) for part in request.path.split("/")[1:]]
        if parts == ["health"]:
            return Reply(json={"status": "ok"})
        if request.headers.get("x-api-key") != self.key:
            return self._error(401, "unauthorized")
        if parts == ["v1", "balance"]:
            return self._success(self._balance(), charged=0)
        if parts == ["v1", "whoami"]:
            return self._success({"user": {"id": "user-1", "name": None, "email": None}}, charged=0)
        if len(parts) == 5 and parts[:3] == ["v1", "tiktok", "profiles"]:
            handle, relation = parts[3:]
            if relation in ("followers", "following"):
                return self._page(handle, relation, request.query)
        return self._error(404, "not_found")

    def _page(self, handle: str, relation: str, query: Mapping[str, str]) -> Reply:
        start = self._start(handle, relation, query.get("cursor"))
        if start is None or not 1 <= len(handle) <= 128 or query.get("userId") == "":
            return self._error(400, "bad_request")
        if self.credits_left < 1:
            return self._error(
                402, "insufficient_credits", checkoutUrl="https://checkout.test/credits"
            )
        served = self._lists.get((handle, relation), _List([], "not_found", None))
        end = start + self.pages_of
        more = served.status == "found" and end < len(served.accounts)
        accounts = served.accounts[start:end] if served.status == "found" else []
        if query.get("trim") == "true" and relation == "followers":
            dropped = ("avatarUrls", "platformUserId", "secUid")
            accounts = [{k: v for k, v in a.items() if k not in dropped} for a in accounts]
        many, total = ("followers", "totalFollowers")
        if relation == "following":
            many, total = ("accounts", "totalAccounts")
        return self._success(
            {
                "lookupStatus": served.status,
                many: accounts,
                "page": {
                    "nextCursor": self._cursor(handle, relation, end) if more else None,
                    "hasMore": more,
                },
                total: served.total,
            },
            charged=1,
        )

    def _cursor(self, handle: str, relation: str, start: int) -> str:
        return f"{relation}/{handle}/{start}".encode().hex()

    def _start(self, handle: str, relation: str, cursor: str | None) -> int | None:
        """Where a cursor points, None for one that this server did not give."""
        if cursor is None:
            return 0
        try:
            of_relation, of_handle, start = bytes.fromhex(cursor).decode().split("/")
        except ValueError:
            return None
        return int(start) if (of_handle, of_relation) == (handle, relation) else None

    def _success(self, data: Any, *, charged: int) -> Reply:
        self.credits += charged
        self.credits_left -= charged
        meta = {"requestId": f"req_{next(self._ids)}", "creditsCharged": charged, "version": "v1"}
        return Reply(json={"data": data, "meta": meta})

    def _error(self, status: int, code: str, **more: str) -> Reply:
        return Reply(status, json=error_body(code, request_id=f"req_{next(self._ids)}", **more))

    def _balance(self) -> dict[str, Any]:
        return {
            "balance": self.credits_left,
            "payg": self.credits_left,
            "paygSpendable": self.credits_left,
            "graceDebtCredits": 0,
            "refillState": None,
            "billingAlert": "none",
            "subscriptionIncludedRemaining": 0,
            "subscriptionIncludedTotal": 0,
            "subscription": None,
            "collectionStatus": "current",
        }


def error_body(code: str, *, request_id: str = "req_error", **more: str) -> dict[str, Any]:
    """The body of an error answer."""
    message = f"A sentence about {code} that may change."
    return {"error": {"code": code, "message": message, "requestId": request_id, **more}}


def _changed(fields: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**fields, **over}.items() if value is not OMIT}
