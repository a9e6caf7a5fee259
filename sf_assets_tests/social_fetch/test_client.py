"""The client over real HTTP on loopback, against answers right and wrong."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gzip
import json
import logging
import pickle
import shutil
import socket
import threading
import time
import traceback
import tracemalloc
import zlib
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any, TypeVar

import certifi
import httpx
import pytest
from pydantic import SecretStr

from sf_assets import __version__
from sf_assets.social_fetch import (
    AccountError,
    Answer,
    BadRequest,
    ContractViolation,
    Forbidden,
    InsufficientCredits,
    InternalError,
    LookupFailed,
    PermanentError,
    SchemaViolation,
    ServerFault,
    SocialFetchClient,
    SocialFetchError,
    Target,
    TemporarilyUnavailable,
    TransientError,
    TransportFailed,
    Unauthorized,
    UnexpectedStatus,
    UnknownRoute,
    UnreadableBody,
    UntrustedCertificate,
)

from ..loopback import (
    HANG,
    RESET,
    Action,
    Endless,
    Reply,
    Request,
    ScriptedServer,
    certified,
    drip,
    head,
)
from ..served_lists import KEY, ListServer, account, error_body, followed

T = TypeVar("T")
Scripted = Reply | list[Action]

PAGE: dict[str, Any] = {
    "data": {
        "lookupStatus": "found",
        "followers": [account(1)],
        "page": {"nextCursor": None, "hasMore": False},
        "totalFollowers": 1,
    },
    "meta": {"requestId": "req_page", "creditsCharged": 1, "version": "v1"},
}
GOOD = Reply(json=PAGE)
BODY = json.dumps(PAGE).encode()


class Naps:
    """Stands for asyncio.sleep: notes how long, sleeps not at all."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await asyncio.sleep(0)


def client_of(url: str, **settings: Any) -> SocialFetchClient:
    settings.setdefault("api_key", SecretStr(KEY))
    settings.setdefault("sleep", Naps())
    return SocialFetchClient(base_url=url, **settings)


def ask(url: str, what: Callable[[SocialFetchClient], Any], **settings: Any) -> Any:
    async def asked() -> Any:
        async with client_of(url, **settings) as client:
            return await what(client)

    return asyncio.run(asked())


def followers(url: str, **settings: Any) -> Answer:
    answer = ask(url, lambda client: client.list_page("followers", "nasa", page=3), **settings)
    assert isinstance(answer, Answer)
    return answer


def scripted(*answers: Scripted | Iterable[Action]) -> ScriptedServer:
    """Gives these answers in turn, the last one for ever."""
    left = list(answers)
    return ScriptedServer(lambda request: left.pop(0) if len(left) > 1 else left[0])


def error(status: int, code: str, headers: dict[str, str] | None = None, **more: str) -> Reply:
    return Reply(status, json=error_body(code, **more), headers=headers or {})


async def first_request(server: ScriptedServer) -> None:
    while not server.requests:  # noqa: ASYNC110 - they arrive in another thread
        await asyncio.sleep(0.005)


# What is asked, and what is given back.


def test_an_answer_holds_the_page_and_the_body_as_it_came() -> None:
    with scripted(Reply(json=PAGE)) as server:
        before = datetime.now(timezone.utc)
        answer = followers(server.url)
    assert answer.response.data.accounts[0].handle == "fan.1"
    assert answer.body == BODY
    assert before <= answer.received_at <= datetime.now(timezone.utc)
    assert answer.received_at.tzinfo is timezone.utc
    assert answer.tries == 1
    assert (answer.request_id, answer.credits_charged, answer.cached) == ("req_page", 1, False)


def test_a_cached_answer_says_so() -> None:
    page = {**PAGE, "meta": {**PAGE["meta"], "cached": True}}
    with scripted(Reply(json=page)) as server:
        answer = followers(server.url)
    assert answer.cached


GZIP = gzip.compress(BODY)
RAW_DEFLATE = zlib.compress(BODY)[2:-4]
READ: dict[str, tuple[bytes, str]] = {
    "gzip": (GZIP, "gzip"),
    "x-gzip": (GZIP, "X-Gzip"),
    "two members": (gzip.compress(BODY[:70]) + gzip.compress(BODY[70:]), "gzip"),
    "members of nothing": (gzip.compress(b"") * 9 + GZIP, "gzip"),
    "padded": (GZIP + b"\0" * 30, "gzip"),
    "deflate": (zlib.compress(BODY), "deflate"),
    "deflate without a header": (RAW_DEFLATE, "deflate"),
    "identity": (BODY, "identity"),
    "gzip, identity": (GZIP, "gzip, identity"),
    "a byte order mark": (b"\xef\xbb\xbf" + BODY, "identity"),
    "a byte order mark in gzip": (gzip.compress(b"\xef\xbb\xbf" + BODY), "gzip"),
}


@pytest.mark.parametrize(("packed", "encoding"), READ.values(), ids=READ)
@pytest.mark.parametrize("piece", [1, 7, 10**6])
def test_a_body_is_read_as_it_is_packed(packed: bytes, encoding: str, piece: int) -> None:
    def answer(_: Request) -> Iterable[Action]:
        yield head(content_length=len(packed), headers={"content-encoding": encoding})
        for at in range(0, len(packed), piece):
            yield packed[at : at + piece]

    with ScriptedServer(answer) as server:
        assert followers(server.url, max_tries=1).body == BODY


BOMB = gzip.compress(b" " * 300_000_000, 1)
REFUSED: dict[str, tuple[bytes, dict[str, str], str]] = {
    "packed twice": (gzip.compress(BOMB), {"content-encoding": "gzip, gzip"}, "more than once"),
    "packed in two ways": (BOMB, {"content-encoding": "deflate, gzip"}, "more than once"),
    "no end to it": (BOMB, {"content-encoding": "gzip"}, "larger than 1,000,000 bytes"),
    "many members": (BOMB[:0] + GZIP * 9000, {"content-encoding": "gzip"}, "larger than"),
    "members of nothing": (gzip.compress(b"") * 60_000, {"content-encoding": "gzip"}, "larger"),
    "something after it": (GZIP + b"more", {"content-encoding": "gzip"}, "encoding is broken"),
    "in another code": (BODY.decode().encode("utf-16"), {}, "not JSON"),
}


@pytest.mark.parametrize(("packed", "headers", "reason"), REFUSED.values(), ids=REFUSED)
def test_no_body_takes_more_memory_than_it_may(
    packed: bytes, headers: dict[str, str], reason: str
) -> None:
    tracemalloc.start()
    try:
        with scripted(Reply(body=packed, headers=headers)) as server:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            with pytest.raises(UnreadableBody, match=reason):
                followers(server.url, max_body_bytes=1_000_000)
            assert tracemalloc.get_traced_memory()[1] - before < 30_000_000
            assert len(server.requests) == 2
    finally:
        tracemalloc.stop()


def test_an_error_that_is_packed_badly_leaves_the_decision_to_the_status() -> None:
    reply = Reply(502, body=BOMB, headers={"content-encoding": "gzip, gzip"})
    with scripted(reply) as server, pytest.raises(LookupFailed):
        followers(server.url, max_tries=1)


def test_a_compressed_body_is_kept_in_the_clear() -> None:
    packed = Reply(body=gzip.compress(BODY), headers={"content-encoding": "gzip"})
    with scripted(packed) as server:
        assert followers(server.url).body == BODY


def test_a_request_is_what_the_contract_asks_for() -> None:
    with scripted(GOOD) as server:
        ask(
            server.url,
            lambda client: client.list_page(
                "followers", "nasa", cursor="a+b/c=&%d é", user_id="7", trim=True
            ),
            headers={"x-simulated-day": "2026-11-22"},
        )
    (request,) = server.requests
    assert (request.method, request.path) == ("GET", "/v1/tiktok/profiles/nasa/followers")
    assert request.query == {"cursor": "a+b/c=&%d é", "userId": "7", "trim": "true"}
    assert request.headers["x-api-key"] == KEY
    assert request.headers["user-agent"] == f"sf_assets/{__version__}"
    assert request.headers["x-simulated-day"] == "2026-11-22"


def test_what_is_not_given_is_not_sent() -> None:
    with scripted(GOOD) as server:
        ask(server.url, lambda client: client.list_page("followers", "nasa"), api_key=None)
    assert server.requests[0].query == {}
    assert "x-api-key" not in server.requests[0].headers


@pytest.mark.parametrize("handle", ["a/b", "a?b#c", "../admin", "é", "100%", "a b", "%2F"])
def test_a_handle_cannot_leave_its_place_in_the_path(handle: str) -> None:
    with ListServer() as server:
        server.set(handle, "followers", [account(1)])
        answer = ask(server.url, lambda client: client.list_page("followers", handle))
    assert answer.response.data.total == 1


@pytest.mark.parametrize("handle", ["", ".", ".."])
def test_a_handle_without_a_name_is_refused(handle: str) -> None:
    with pytest.raises(ValueError, match="handle"):
        ask("http://127.0.0.1:9", lambda client: client.list_page("followers", handle))


def test_empty_parameters_are_refused() -> None:
    for params in ({"cursor": ""}, {"user_id": ""}):
        with pytest.raises(ValueError, match="empty"):
            ask(
                "http://127.0.0.1:9",
                lambda client, p=params: client.list_page("followers", "nasa", **p),
            )  # type: ignore[misc]


def test_a_following_list_takes_no_user_id() -> None:
    with pytest.raises(ValueError, match="userId"):
        ask("http://127.0.0.1:9", lambda c: c.list_page("following", "nasa", user_id="7"))


def test_an_unknown_relation_is_refused() -> None:
    with pytest.raises(ValueError, match="friends"):
        ask("http://127.0.0.1:9", lambda c: c.list_page("friends", "nasa"))  # type: ignore[arg-type]


def test_a_following_list_is_read_like_a_follower_list() -> None:
    with ListServer() as server:
        server.set("nasa", "following", [followed(1)], total=5)
        answer = ask(server.url, lambda client: client.list_page("following", "nasa"))
    assert answer.response.data.accounts[0].handle == "creator.1"
    assert answer.response.data.total == 5


def test_the_free_routes() -> None:
    async def both(client: SocialFetchClient) -> tuple[Any, ...]:
        return await client.balance(), await client.whoami()

    with ListServer(credits_left=41) as server:
        balance, user = ask(server.url, both)
    assert balance.balance == 41
    assert user.id == "user-1"
    assert server.credits == 0


def test_a_balance_needs_the_balance_only() -> None:
    meta = {"requestId": "r", "creditsCharged": 0, "version": "v1"}
    with scripted(Reply(json={"data": {"balance": 7}, "meta": meta})) as server:
        balance = ask(server.url, lambda client: client.balance())
    assert (balance.balance, balance.payg) == (7, None)


def test_no_more_than_so_many_at_once() -> None:
    async def many(client: SocialFetchClient) -> None:
        await asyncio.gather(*(client.list_page("followers", f"user{n}") for n in range(40)))

    under_way: list[int] = []

    class Counted(httpx.AsyncBaseTransport):
        now = 0

        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            self.now += 1
            under_way.append(self.now)
            await asyncio.sleep(0.001)
            self.now -= 1
            return httpx.Response(200, content=BODY)

    ask("http://127.0.0.1:9", many, transport=Counted(), concurrency=7)
    assert len(under_way) == 40
    assert max(under_way) == 7


def test_a_client_is_opened_before_it_is_used() -> None:
    with pytest.raises(RuntimeError, match="open the client first"):
        asyncio.run(client_of("http://127.0.0.1:9").list_page("followers", "nasa"))


def test_a_client_is_opened_once_at_a_time() -> None:
    async def twice(client: SocialFetchClient) -> None:
        async with client:
            pass

    with pytest.raises(RuntimeError, match="already open"):
        ask("http://127.0.0.1:9", twice)


@pytest.mark.parametrize(
    "url", ["", "api.socialfetch.dev", "ftp://x", "https://me:pw@x", "https://x?key=1"]
)
def test_a_base_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        client_of(url)


@pytest.mark.parametrize("settings", [{"max_tries": 0}, {"concurrency": 0}])
def test_limits_of_nothing_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        client_of("http://127.0.0.1:9", **settings)


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(GOOD) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        followers("http://api.example.test")
    assert proxy.requests[0].path == "http://api.example.test/v1/tiktok/profiles/nasa/followers"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl for a certificate")
def test_a_certificate_that_nobody_vouches_for_gets_no_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, _ = certified(tmp_path)
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                heard.append(context.wrap_socket(connection, server_side=True).recv(4096))

        server = threading.Thread(target=serve)
        server.start()
        url = f"https://localhost:{listener.getsockname()[1]}"
        monkeypatch.setenv("SSL_CERT_FILE", certifi.where())
        with pytest.raises(UntrustedCertificate, match="CERTIFICATE_VERIFY_FAILED") as caught:
            followers(url, max_tries=3)
        assert f"checked with SSL_CERT_FILE ({certifi.where()})" in str(caught.value)
        assert caught.value.tries == 1
        server.join(timeout=10)
    assert heard == []


def test_no_proxy_stands_between_us_and_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with scripted(GOOD) as server:
        followers(server.url)


# What can go wrong.

STATUSES: list[tuple[int, str | None, type[SocialFetchError]]] = [
    (204, None, UnexpectedStatus),
    (301, None, UnexpectedStatus),
    (307, None, UnexpectedStatus),
    (400, "bad_request", BadRequest),
    (401, "unauthorized", Unauthorized),
    (402, "insufficient_credits", InsufficientCredits),
    (402, "payment_required", InsufficientCredits),
    (402, "payment_settlement_failed", InsufficientCredits),
    (403, "forbidden", Forbidden),
    (403, "insufficient_credits", InsufficientCredits),
    (404, "not_found", UnknownRoute),
    (418, None, UnexpectedStatus),
    (429, "temporarily_unavailable", TemporarilyUnavailable),
    (500, "internal_error", InternalError),
    (502, "lookup_failed", LookupFailed),
    (503, "temporarily_unavailable", TemporarilyUnavailable),
    (504, None, ServerFault),
    (520, None, ServerFault),
]


@pytest.mark.parametrize(("status", "code", "kind"), STATUSES)
def test_status_and_code_decide_on_the_error(
    status: int, code: str | None, kind: type[SocialFetchError]
) -> None:
    elsewhere = {"location": "http://127.0.0.1:9/"} if status in (301, 307) else {}
    reply = error(status, code, elsewhere) if code else Reply(status, headers=elsewhere)
    with scripted(reply) as server, pytest.raises(SocialFetchError) as caught:
        followers(server.url, max_tries=2)
    found = caught.value
    assert type(found) is kind
    assert (found.status, found.code) == (status, code)
    assert found.target == Target("nasa", "followers", 3)
    assert found.request_id == ("req_error" if code else None)
    assert found.tries == len(server.requests) == (2 if isinstance(found, TransientError) else 1)
    assert isinstance(found, TransientError) is not isinstance(found, PermanentError)
    told = str(found)
    assert f"followers of @nasa, page 3 (HTTP {status}" in told
    assert told.endswith(".")


def test_the_message_decides_on_nothing() -> None:
    body = {"error": {"code": "odd", "message": "unauthorized, 401", "requestId": "r"}}
    with scripted(Reply(502, json=body), GOOD) as server:
        assert followers(server.url).tries == 2


def test_a_message_moves_no_cursor() -> None:
    body = {"error": {"code": "odd", "message": "a\x1b[2J\x9b \u202eb\n c", "requestId": "r"}}
    with scripted(Reply(400, json=body)) as server, pytest.raises(BadRequest) as caught:
        followers(server.url)
    assert ": a\ufffd[2J\ufffd \ufffdb c; " in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff", b'{"error": "no"}', b'{"error":{}}'])
def test_a_gateways_page_leaves_the_decision_to_the_status(body: bytes) -> None:
    with scripted(Reply(502, body=body)) as server, pytest.raises(LookupFailed) as caught:
        followers(server.url, max_tries=1)
    assert caught.value.code is None


def test_spent_credits_say_where_to_buy_more() -> None:
    reply = error(402, "insufficient_credits", checkoutUrl="https://checkout.test/1")
    with scripted(reply) as server, pytest.raises(InsufficientCredits) as caught:
        followers(server.url)
    assert caught.value.checkout_url == "https://checkout.test/1"
    assert "https://checkout.test/1" in str(caught.value)


def test_an_error_without_end_is_read_no_further() -> None:
    answer: list[Action] = [head(502), Endless(b"x" * 8192)]
    with scripted(answer) as server, pytest.raises(LookupFailed):
        followers(server.url, max_tries=1)


def test_an_error_can_be_copied_and_pickled() -> None:
    made = SchemaViolation("data: odd", target=Target("nasa", "followers", 2))
    made.keep(b"body")
    for again in (copy.copy(made), pickle.loads(pickle.dumps(made))):
        assert str(again) == str(made)
        assert vars(again) == vars(made)


BROKEN_OFF: dict[str, list[Action]] = {
    "reset before": [RESET],
    "closed before": [],
    "reset inside the head": [b"HTTP/1.1 200 OK\r\ncontent-", RESET],
    "reset inside the body": [head(content_length=len(BODY)), BODY[:50], RESET],
    "closed inside the body": [head(content_length=len(BODY)), BODY[:50]],
    "no HTTP": [b"SSH-2.0-OpenSSH_9.7\r\n"],
    "header without name": [b"HTTP/1.1 200 OK\r\n: odd\r\n\r\n"],
}


@pytest.mark.parametrize("broken", BROKEN_OFF.values(), ids=BROKEN_OFF)
def test_an_answer_that_breaks_off_is_asked_for_again(broken: list[Action]) -> None:
    with scripted(broken, GOOD) as server:
        answer = followers(server.url)
    assert answer.tries == 2
    with scripted(broken) as server, pytest.raises(TransportFailed) as caught:
        followers(server.url, max_tries=3)
    assert caught.value.tries == len(server.requests) == 3
    assert caught.value.status is None
    assert "after 3 tries" in str(caught.value)


def test_a_reset_after_the_whole_answer_is_no_failure() -> None:
    with scripted([Reply(json=PAGE).encoded(), RESET]) as server:
        assert followers(server.url).tries == 1


def test_a_closed_door_is_a_transport_failure() -> None:
    with scripted(GOOD) as server:
        pass
    naps = Naps()
    with pytest.raises(TransportFailed):
        followers(server.url, max_tries=2, sleep=naps)
    assert len(naps.seconds) == 1


def test_the_same_holds_on_the_transport_of_httpx() -> None:
    with scripted(BROKEN_OFF["reset inside the body"], [HANG], GOOD) as server:
        answer = followers(
            server.url,
            transport=httpx.AsyncHTTPTransport(),
            timeout=httpx.Timeout(5, read=0.1),
        )
    assert answer.tries == 3


def test_silence_ends_at_the_read_timeout() -> None:
    began = time.monotonic()
    with scripted([HANG]) as server, pytest.raises(TransportFailed, match="Timeout"):
        followers(server.url, timeout=httpx.Timeout(5, read=0.1), max_tries=1)
    assert time.monotonic() - began < 3


def test_silence_inside_the_body_ends_too() -> None:
    answer: list[Action] = [head(content_length=100), b"{", HANG]
    with scripted(answer) as server, pytest.raises(TransportFailed, match="Timeout"):
        followers(server.url, timeout=httpx.Timeout(5, read=0.1), max_tries=1)


def test_slow_bytes_end_at_the_deadline() -> None:
    slow = [head(content_length=len(BODY)), *drip(BODY, seconds_per_byte=0.02)]
    began = time.monotonic()
    with scripted(slow) as server, pytest.raises(TransportFailed, match=r"within 0\.2 seconds"):
        followers(server.url, deadline=0.2, max_tries=1)
    assert time.monotonic() - began < 3


def test_slow_bytes_within_the_deadline_are_an_answer() -> None:
    slow = [head(content_length=len(BODY)), *drip(BODY, seconds_per_byte=0)]
    with scripted(slow) as server:
        assert followers(server.url).body == BODY


def test_a_body_without_end_is_cut() -> None:
    answer: list[Action] = [head(), Endless(b" " * 65536)]
    with scripted(answer) as server, pytest.raises(UnreadableBody) as caught:
        followers(server.url, max_body_bytes=1_000_000)
    assert "1,000,000 bytes" in caught.value.reason
    assert len(caught.value.body) <= 64 * 1024
    assert caught.value.tries == 2


UNREADABLE = {
    "cut short": Reply(body=BODY[:-10]),
    "empty": Reply(body=b""),
    "a page of HTML": Reply(body=b"<html>Please wait</html>"),
    "no UTF-8": Reply(body=BODY.replace(b"Fan 1", b"Fan \xff")),
    "broken gzip": Reply(body=b"no gzip", headers={"content-encoding": "gzip"}),
}


@pytest.mark.parametrize("reply", UNREADABLE.values(), ids=UNREADABLE)
def test_a_200_that_is_no_json_is_asked_for_once_more(reply: Reply) -> None:
    with scripted(reply, GOOD) as server:
        assert followers(server.url).tries == 2
    with scripted(reply) as server, pytest.raises(UnreadableBody) as caught:
        followers(server.url)
    assert isinstance(caught.value, TransientError)
    assert len(server.requests) == caught.value.tries == 2
    assert caught.value.status == 200
    if "content-encoding" not in reply.headers:
        assert caught.value.body == reply.body


VIOLATIONS: dict[str, tuple[Any, str]] = {
    "a list": ([], "body: "),
    "null": (None, "body: "),
    "an error": (error_body("unauthorized"), "data: Field required"),
    "no meta": ({"data": PAGE["data"]}, "meta: Field required"),
    "another version": ({**PAGE, "meta": {**PAGE["meta"], "version": "v2"}}, "meta.version"),
    "no list": ({**PAGE, "data": {**PAGE["data"], "followers": None}}, "data.followers: "),
    "no page": ({**PAGE, "data": {**PAGE["data"], "page": 5}}, "data.page: "),
    "no status": ({**PAGE, "data": {**PAGE["data"], "lookupStatus": 5}}, "data.lookupStatus: "),
    "a list without end": (
        {**PAGE, "data": {**PAGE["data"], "followers": [None] * 10_001}},
        "data.followers: List should have at most 10000 items",
    ),
}


@pytest.mark.parametrize(("page", "reason"), VIOLATIONS.values(), ids=VIOLATIONS)
def test_json_that_breaks_the_contract_is_not_paid_for_twice(page: Any, reason: str) -> None:
    body = json.dumps(page).encode()
    with scripted(Reply(body=body)) as server, pytest.raises(SchemaViolation) as caught:
        followers(server.url)
    assert isinstance(caught.value, PermanentError)
    assert isinstance(caught.value, ContractViolation)
    assert len(server.requests) == 1
    assert caught.value.body == body
    assert reason in caught.value.reason
    assert reason in str(caught.value)


def test_many_faults_are_told_in_short() -> None:
    page = copy.deepcopy(PAGE)
    page["data"] = {"followers": [account(n, verified="yes") for n in range(50)], "page": 5}
    with scripted(Reply(json=page)) as server, pytest.raises(SchemaViolation) as caught:
        followers(server.url)
    assert "(and 50 more)" in str(caught.value)
    assert caught.value.request_id == "req_page"


# When to ask again, and when not to.


def test_pauses_grow_and_have_an_end() -> None:
    naps = Naps()
    with scripted(error(500, "internal_error")) as server, pytest.raises(InternalError) as caught:
        followers(server.url, sleep=naps, max_tries=9, max_wait=4)
    assert len(server.requests) == caught.value.tries == 9
    assert len(naps.seconds) == 8
    assert all(0 <= nap <= min(4, 2**n) for n, nap in enumerate(naps.seconds))
    assert len(set(naps.seconds)) > 1


def test_retry_after_in_seconds_is_waited_for() -> None:
    naps = Naps()
    busy = error(503, "temporarily_unavailable", {"retry-after": "7"})
    with scripted(busy, GOOD) as server:
        assert followers(server.url, sleep=naps).tries == 2
    assert 7 <= naps.seconds[0] <= 8


def test_retry_after_as_a_date_is_waited_for() -> None:
    naps = Naps()
    then = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=20), usegmt=True)
    busy = error(429, "temporarily_unavailable", {"retry-after": then})
    with scripted(busy, GOOD) as server:
        followers(server.url, sleep=naps)
    assert 15 <= naps.seconds[0] <= 21


@pytest.mark.parametrize("value", ["86400", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_retry_after_is_waited_for_within_reason(value: str) -> None:
    naps = Naps()
    busy = error(503, "temporarily_unavailable", {"retry-after": value})
    with scripted(busy, GOOD) as server:
        followers(server.url, sleep=naps, max_wait=30)
    assert naps.seconds == [30]


@pytest.mark.parametrize("value", ["-5", "0", "Mon, 01 Jan 2001 00:00:00 GMT"])
def test_a_retry_after_of_the_past_is_a_short_pause(value: str) -> None:
    naps = Naps()
    with scripted(error(503, "x", {"retry-after": value}), GOOD) as server:
        followers(server.url, sleep=naps)
    assert 0 <= naps.seconds[0] <= 1


@pytest.mark.parametrize("value", ["soon", "nan", "inf", "1e999", "Mon, 99 Foo 2001"])
def test_a_retry_after_that_says_nothing_is_not_heard(value: str) -> None:
    busy = error(503, "x", {"retry-after": value})
    with scripted(busy) as server, pytest.raises(TemporarilyUnavailable) as caught:
        followers(server.url, max_tries=2)
    assert caught.value.retry_after is None
    assert len(server.requests) == 2


@pytest.mark.parametrize(("status", "code"), [(401, "unauthorized"), (402, "insufficient_credits")])
def test_after_a_stop_nothing_more_is_sent(status: int, code: str) -> None:
    async def one_then_others(client: SocialFetchClient) -> list[Any]:
        with pytest.raises(AccountError):
            await client.list_page("followers", "first")
        others = [client.list_page("following", f"other{n}", page=2) for n in range(5)]
        return await asyncio.gather(*others, return_exceptions=True)

    with scripted(error(status, code)) as server:
        errors = ask(server.url, one_then_others)
    assert len(server.requests) == 1
    assert [(e.status, e.target.handle, e.target.page, e.tries) for e in errors] == [
        (status, f"other{n}", 2, 0) for n in range(5)
    ]


def test_a_stop_wakes_those_who_wait_for_another_try() -> None:
    def handler(request: Request) -> Reply:
        if "/slow/" in request.path:
            return error(503, "temporarily_unavailable", {"retry-after": "50"})
        return error(401, "unauthorized")

    async def both(client: SocialFetchClient) -> list[Any]:
        slow = asyncio.ensure_future(client.list_page("followers", "slow"))
        await first_request(server)
        await asyncio.sleep(0.05)
        with pytest.raises(Unauthorized):
            await client.list_page("followers", "other")
        return list(await asyncio.wait_for(asyncio.gather(slow, return_exceptions=True), 5))

    with ScriptedServer(handler) as server:
        (stopped,) = ask(server.url, both, sleep=asyncio.sleep)
    assert type(stopped) is Unauthorized
    assert (stopped.target.handle, stopped.tries) == ("slow", 1)
    assert len(server.requests) == 2


def test_a_stop_holds_for_those_who_wait_for_their_turn() -> None:
    async def many(client: SocialFetchClient) -> list[Any]:
        calls = (client.list_page("followers", f"user{n}") for n in range(30))
        return await asyncio.gather(*calls, return_exceptions=True)

    with ListServer(credits_left=0) as server:
        errors = ask(server.url, many, concurrency=2)
    assert all(type(each) is InsufficientCredits for each in errors)
    assert len(server.requests) <= 2


def test_the_balance_can_be_asked_for_when_the_credits_are_spent() -> None:
    async def spent(client: SocialFetchClient) -> Any:
        with pytest.raises(InsufficientCredits):
            await client.list_page("followers", "nasa")
        return await client.balance()

    with ListServer(credits_left=0) as server:
        assert ask(server.url, spent).balance == 0


def test_a_refused_key_stops_the_free_routes_too() -> None:
    async def refused(client: SocialFetchClient) -> None:
        for _ in range(2):
            with pytest.raises(Unauthorized):
                await client.whoami()

    with ListServer() as server:
        ask(server.url, refused, api_key=SecretStr("sfk_wrong"))
        assert len(server.requests) == 1


def test_a_cancelled_call_leaves_nothing_behind() -> None:
    async def cancelled(client: SocialFetchClient) -> None:
        call = asyncio.ensure_future(client.list_page("followers", "nasa"))
        await first_request(server)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    with scripted([HANG]) as server:
        ask(server.url, cancelled)


# The key.


def test_the_key_is_seen_by_the_server_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    echo = error(401, "unauthorized")
    echo = Reply(401, body=json.dumps(echo.json).replace("sentence", KEY).encode())
    violation = Reply(json={"error": f"your key is {KEY}"})
    told = [repr(client_of("http://127.0.0.1:9"))]
    for reply in (echo, violation, [RESET], BROKEN_OFF["no HTTP"], Reply(body=KEY.encode())):
        with scripted(reply) as server, pytest.raises(SocialFetchError) as caught:
            followers(server.url, max_tries=2)
        assert server.requests[0].headers["x-api-key"] == KEY
        assert KEY not in server.requests[0].path
        found: BaseException | None = caught.value
        told += traceback.format_exception(caught.value)
        while found is not None:
            told += [repr(found), str(found), repr(vars(found))]
            found = found.__cause__ or found.__context__
    told.append(caplog.text)
    assert not [text for text in told if KEY in text]


def test_no_line_is_logged_for_a_request(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with scripted(GOOD) as server:
        followers(server.url)
    assert not [record for record in caplog.records if record.name != "asyncio"]


@pytest.mark.parametrize("key", ["", "sfk_a b", "sfk_a\n", "sfk_ä", "sfk_\x00"])
def test_a_key_that_is_none_is_refused_without_being_quoted(key: str) -> None:
    with pytest.raises(ValueError, match="API key") as caught:
        client_of("http://127.0.0.1:9", api_key=SecretStr(key))
    assert "sfk_" not in str(caught.value)
