"""The HTTP side of Social Fetch: one client, many lists at once."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import random
import ssl
import sys
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote, urlencode

import httpx
from httpx_aiohttp import AiohttpTransport
from pydantic import BaseModel, SecretStr, ValidationError

from sf_assets import __version__
from sf_assets.text import first_line

from .errors import (
    NOWHERE,
    AccountError,
    ContractViolation,
    InsufficientCredits,
    Place,
    SchemaViolation,
    SocialFetchError,
    TemporarilyUnavailable,
    TransientError,
    TransportFailed,
    UnreadableBody,
    UntrustedCertificate,
    error_for,
)
from .models import (
    Balance,
    BalanceResponse,
    Relation,
    User,
    WhoamiResponse,
    parse,
)
from .pages import read_page
from .quick import AnyPage, quick_page
from .route import Route, route_to

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout

__all__ = ["DEFAULT_BASE_URL", "DEFAULT_TIMEOUT", "Answer", "SocialFetchClient"]

DEFAULT_BASE_URL = "https://api.socialfetch.dev"

# No pool timeout: a list that waits for its turn has not failed. Turns are the semaphore's matter.
DEFAULT_TIMEOUT = httpx.Timeout(connect=10, read=60, write=10, pool=None)

MAX_ERROR_BODY = 64 * 1024

_Model = TypeVar("_Model", bound=BaseModel)
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class _Raw:
    status: int
    headers: httpx.Headers
    body: bytes
    whole: bool


@dataclass
class _Question(Generic[_Value]):
    """What is asked, how an answer is read, and what it took so far.

    `unread` counts the tries whose answer was a 200 that broke the contract, and so most likely
    charged.
    """

    path: str
    read: Callable[[bytes], _Value]
    params: Mapping[str, str] = field(default_factory=dict)
    place: Place = NOWHERE
    tries: int = 0
    unread: int = 0
    troubles: list[str] = field(default_factory=list)

    @property
    def is_metered(self) -> bool:
        return self.place.handle is not None

    def is_worth_another_try(self, error: TransientError) -> bool:
        if isinstance(error, UnreadableBody):
            return self.unread <= 1  # it costs a credit: see once whether it heals
        return not isinstance(error, UntrustedCertificate)


@dataclass(frozen=True)
class _Got(Generic[_Value]):
    raw: _Raw
    value: _Value
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """One page as it came, and as it was read."""

    response: AnyPage
    body: bytes
    """Exactly what came, after content decoding and without a byte order mark."""
    received_at: datetime
    """UTC."""
    tries: int
    """Requests sent until this answer came; the failed ones may have been charged too."""
    unread: int
    """How many of them got a 200 that could not be read, and so most likely were charged."""
    damaged: int = 0
    """Fields of the page that were not what the contract says; they are None."""
    troubles: tuple[str, ...] = ()
    """Why each try before this answer failed: its status, `transport` or `unreadable`."""
    age: int | None = None
    """Seconds that the answer lay in the vendor's cache, where a header says so."""

    @property
    def request_id(self) -> str:
        return self.response.meta.request_id or ""

    @property
    def credits_charged(self) -> int:
        return self.response.meta.credits_charged

    @property
    def cached(self) -> bool:
        return bool(self.response.meta.cached)


class _OneRequestATry(AiohttpTransport):
    """aiohttp sends a GET once more by itself when a connection breaks off before the answer.

    Here a request may cost a credit, so every one is ours to count, and none follows a stop.
    """

    def get_client(self) -> Any:
        session = super().get_client()
        # There is no public switch. Should this one go, the tests that count requests will tell.
        session._retry_connection = False
        return session


class SocialFetchClient:
    """Asks Social Fetch, waits where it is busy, and stops where asking on is of no use.

    Use it as an async context manager. `concurrency` requests are under way at most; the vendor
    suggests to stay under 500. What is transient is tried `max_tries` times in all, with pauses of
    up to `max_wait` seconds. An answer must be whole within `deadline` seconds and
    `max_body_bytes`. After a refused key or spent credits no list is asked for again, by no task.

    The key travels in the header `x-api-key` only. A proxy named in the environment is used,
    except towards this machine itself. Opening the client raises SettingsError where a variable
    that names a proxy or certificates is wrong.
    """

    def __init__(
        self,
        *,
        api_key: SecretStr | None,
        base_url: str = DEFAULT_BASE_URL,
        timeout: httpx.Timeout = DEFAULT_TIMEOUT,
        deadline: float = 120,
        max_tries: int = 6,
        max_wait: float = 60,
        max_body_bytes: int = 16 * 1024 * 1024,
        concurrency: int = 32,
        headers: Mapping[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        url = httpx.URL(base_url)
        if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query:
            raise ValueError("base_url must look like https://api.socialfetch.dev")
        if max_tries < 1 or concurrency < 1:
            raise ValueError("max_tries and concurrency must be at least 1")
        self._base_url = str(url).rstrip("/")
        self._key = _checked(api_key)
        self._timeout = timeout
        self._deadline = deadline
        self._max_tries = max_tries
        self._max_wait = max_wait
        self._max_body_bytes = max_body_bytes
        self._concurrency = concurrency
        self._headers = httpx.Headers(
            {
                "user-agent": f"sf_assets/{__version__}",
                "accept": "application/json",
                "accept-encoding": "gzip, deflate",
            }
        )
        self._headers.update(headers or {})
        if self._key is not None:
            self._headers["x-api-key"] = self._key
        self._transport = transport
        self._sleep = sleep
        self._http: httpx.AsyncBaseTransport | None = None
        self._route: Route | None = None
        self._turns = asyncio.Semaphore(concurrency)
        self._stopped = asyncio.Event()
        self._stop_error: AccountError | None = None

    def __repr__(self) -> str:
        return f"SocialFetchClient(base_url={self._base_url!r})"

    async def __aenter__(self) -> SocialFetchClient:
        if self._http is not None:
            raise RuntimeError("this SocialFetchClient is already open")
        self._http = self._transport or self._default_transport()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._http is not None:
            http, self._http = self._http, None
            await http.aclose()

    async def list_page(
        self,
        relation: Relation,
        handle: str,
        *,
        cursor: str | None = None,
        user_id: str | None = None,
        trim: bool = False,
        page: int = 1,
    ) -> Answer:
        """Buy one page of a list: 1 credit, also when it is private, hidden, missing or empty.

        `cursor` is the page before's `next_cursor`, None for the first page. `page` only serves
        error messages. `trim` drops the stable ids of followers. Raises `SocialFetchError`.
        """
        if relation not in ("followers", "following"):
            raise ValueError(f"relation must be 'followers' or 'following', not {relation!r}")
        if handle.strip(".") == "":
            # "." and ".." would climb up the URL's path.
            raise ValueError("handle must not be empty or made of periods")
        if cursor == "" or user_id == "":
            raise ValueError("leave cursor and user_id out instead of passing an empty text")
        params = {"cursor": cursor, "userId": user_id, "trim": "true" if trim else None}
        if relation == "following" and user_id is not None:
            raise ValueError("the API takes no userId for a following list")
        question = _Question(
            f"/v1/tiktok/profiles/{quote(handle, safe='')}/{relation}",
            lambda body: _page(relation, body),
            {name: value for name, value in params.items() if value is not None},
            Place(handle, relation, page),
        )
        got = await self._get(question)
        response, damaged = got.value
        return Answer(
            response, got.raw.body, got.received_at, question.tries, question.unread, damaged,
            tuple(question.troubles), _age(got.raw.headers),
        )  # fmt: skip

    async def balance(self) -> Balance:
        """Credits left. Free, and still possible after the credits are spent."""
        return (await self._free("/v1/balance", BalanceResponse)).data

    async def whoami(self) -> User:
        """Whose key this is. Free."""
        return (await self._free("/v1/whoami", WhoamiResponse)).data.user

    async def clock(self) -> datetime | None:
        """The API's time, None where it does not say it. Free, and needs no key."""
        got = await self._get(_Question("/health", lambda body: None))
        return _date(got.raw.headers.get("date", ""))

    async def _free(self, path: str, model: type[_Model]) -> _Model:
        return (await self._get(_Question(path, lambda body: parse(model, body)))).value

    async def _get(self, question: _Question[_Value]) -> _Got[_Value]:
        """Ask until there is an answer, or an error that no further try mends."""
        while True:
            try:
                return await self._try(question)
            except TransientError as error:
                last = question.tries >= self._max_tries
                if last or not question.is_worth_another_try(error):
                    raise
                seconds = self._wait(error, question.tries)
            # A free question is not stopped by spent credits, and does not wake up for them.
            await (self._pause(seconds) if question.is_metered else self._sleep(seconds))
            self._refuse_if_stopped(question)

    async def _try(self, question: _Question[_Value]) -> _Got[_Value]:
        async with self._turns:
            self._refuse_if_stopped(question)
            question.tries += 1
            try:
                raw = await self._send(question)
                received_at = datetime.now(timezone.utc)
                value = self._value(raw, question)
            except SocialFetchError as error:
                unread = isinstance(error, ContractViolation)
                question.unread += unread
                question.troubles.append(
                    "unreadable" if unread else str(error.status or "transport")
                )
                error.tries, error.unread = question.tries, question.unread
                if isinstance(error, AccountError) and self._stop_error is None:
                    self._stop_error = error
                    self._stopped.set()
                raise
        return _Got(raw, value, received_at)

    async def _send(self, question: _Question[Any]) -> _Raw:
        if self._http is None:
            raise RuntimeError("open the client first: async with SocialFetchClient(...) as client")
        # Built outside the try: what is wrong with our own arguments is not the network's fault.
        # A request needs nothing of what an httpx.AsyncClient does around a transport (redirects,
        # cookies, auth, hooks), which takes a third of a page's processor time.
        query = f"?{urlencode(question.params)}" if question.params else ""
        place = question.place
        request = httpx.Request(
            "GET",
            self._base_url + question.path + query,
            headers=self._headers,
            extensions={"timeout": self._timeout.as_dict()},
        )
        try:
            async with timeout(self._deadline):
                return await self._receive(self._http, request)
        except _Undecodable as error:
            failure: SocialFetchError = UnreadableBody(str(error), status=200, place=place)
        except asyncio.TimeoutError:
            failure = self._no_answer(f"no whole answer within {self._deadline:g} seconds", place)
        except Exception as error:
            # Wide, because httpx_aiohttp lets some of aiohttp's own exceptions through.
            text = f"{type(error).__name__}: {error}".encode(errors="replace")
            untrusted = isinstance(error.__cause__ or error, ssl.SSLCertVerificationError)
            failure = self._no_answer(
                self._without_key(text).decode().rstrip(": "), place, untrusted=untrusted
            )
        # Raised outside the except blocks and so without a context: aiohttp's exceptions hold
        # the request with its headers, the key among them.
        raise failure

    def _no_answer(self, why: str, place: Place, *, untrusted: bool = False) -> TransportFailed:
        route = self._route
        if untrusted and route is not None:
            return UntrustedCertificate(f"{why}, by {route.certificates}", place=place)
        if route is not None and route.proxy is not None:
            host = route.proxy.url.netloc.decode("ascii", "replace")
            why = f"{why}, through the proxy {host} that {route.proxy_variable} names"
        return TransportFailed(why, place=place)

    async def _receive(self, http: httpx.AsyncBaseTransport, request: httpx.Request) -> _Raw:
        response = await http.handle_async_request(request)
        response.request = request
        try:
            limit = self._max_body_bytes if response.status_code == 200 else MAX_ERROR_BODY
            body, received = bytearray(), 0
            try:
                unpack = _unpacking(response.headers.get_list("content-encoding", True))
                stream = cast("httpx.AsyncByteStream", response.stream)
                chunks = cast("AsyncGenerator[bytes, None]", stream.__aiter__())
                async with contextlib.aclosing(chunks):
                    async for chunk in chunks:
                        received += len(chunk)
                        # One byte more than is allowed tells that it is too large.
                        body += unpack(chunk, limit + 1 - len(body))
                        if max(len(body), received) > limit:
                            break
            except _Undecodable:
                if response.status_code == 200:
                    raise
                body.clear()  # the status alone decides
        finally:
            await response.aclose()
        whole = max(len(body), received) <= limit
        # Blotted out here, an echo of the key reaches neither the landing nor an error.
        known = self._without_key(bytes(body[:limit]).removeprefix(_BYTE_ORDER_MARK))
        return _Raw(response.status_code, response.headers, known, whole)

    def _value(self, raw: _Raw, question: _Question[_Value]) -> _Value:
        if raw.status != 200:
            raise error_for(
                raw.status,
                self._without_key(raw.body),
                retry_after=_retry_after(raw.headers),
                place=question.place,
            )
        kind: type[ContractViolation] = UnreadableBody
        reason = f"the body is larger than {self._max_body_bytes:,} bytes"
        if raw.whole:
            try:
                return question.read(raw.body)
            except ValidationError as error:
                kind, reason = _explained(error)
        violation = kind(
            self._without_key(reason.encode()).decode(),
            status=raw.status,
            request_id=_request_id(raw.body) if kind is SchemaViolation else None,
            place=question.place,
        )
        violation.keep(self._without_key(raw.body))
        raise violation

    def _refuse_if_stopped(self, question: _Question[Any]) -> None:
        error = self._stop_error
        # The balance is free, and of interest exactly when the credits are spent.
        if error and (question.is_metered or not isinstance(error, InsufficientCredits)):
            raise error.at(question.place, tries=question.tries)

    async def _pause(self, seconds: float) -> None:
        """Sleep, but wake up when another task learns that asking on is of no use."""
        tasks = [
            asyncio.ensure_future(self._sleep(seconds)),
            asyncio.ensure_future(self._stopped.wait()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _wait(self, error: TransientError, tries: int) -> float:
        """Seconds until the next try: growing, and spread, for many lists fail alike."""
        if isinstance(error, TemporarilyUnavailable) and error.retry_after is not None:
            # The same second is told to every list: spread them over the one after it.
            return min(self._max_wait, error.retry_after + random.random())
        return random.uniform(0, min(self._max_wait, 2.0 ** min(tries - 1, 30)))

    def _without_key(self, text: bytes) -> bytes:
        return text.replace(self._key.encode(), b"***") if self._key else text

    def _default_transport(self) -> httpx.AsyncBaseTransport:
        """A third of the processor time a page that httpx's own transport takes."""
        self._route = route_to(httpx.URL(self._base_url))
        return _OneRequestATry(
            verify=self._route.context,
            limits=httpx.Limits(max_connections=self._concurrency, keepalive_expiry=15),
            proxy=self._route.proxy,
        )


def _page(relation: Relation, body: bytes) -> tuple[AnyPage, int]:
    page = quick_page(relation, body)
    return read_page(relation, body) if page is None else (page, 0)


def _checked(api_key: SecretStr | None) -> str | None:
    if api_key is None:
        return None
    key = api_key.get_secret_value()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        # Found here, because the libraries below would quote the key in their errors.
        raise ValueError("the API key is empty or has characters that no key has")
    return key


def _explained(error: ValidationError) -> tuple[type[ContractViolation], str]:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    if faults[0]["type"] == "json_invalid":
        return UnreadableBody, f"not JSON: {faults[0]['msg']}"
    told = [f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in faults[:3]]
    more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
    return SchemaViolation, "; ".join(told) + more


def _request_id(body: bytes) -> str | None:
    """The id of an answer that is JSON, though not the JSON it should be."""
    try:
        found = json.loads(body)["meta"]["requestId"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return found if isinstance(found, str) else None


def _age(headers: httpx.Headers) -> int | None:
    text = headers.get("age", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds to wait. The vendor does not say which of the two forms it uses."""
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        until = _date(text)
        if until is None:
            return None
        seconds = (until - datetime.now(timezone.utc)).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)


class _Undecodable(Exception):
    """The content encoding is broken, or one that is not read."""


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def _unpacking(encodings: list[str]) -> Callable[[bytes, int], bytes]:
    """Decodes a body chunk by chunk; gives at most so many bytes a chunk and drops the rest."""
    layers = [name for one in encodings if (name := one.strip().lower()) not in ("", "identity")]
    if len(layers) > 1:
        # A few kilobytes packed twice can be gigabytes, and no one asked for that.
        raise _Undecodable("the body is packed more than once")
    if layers and layers[0] in ("gzip", "x-gzip", "deflate"):
        return _Unpacker(zlib.MAX_WBITS if layers[0] == "deflate" else zlib.MAX_WBITS | 16)
    # Anything else was not asked for; a body that is packed all the same turns out to be no JSON.
    return lambda chunk, most: chunk[:most]


class _Unpacker:
    """gzip, in one part or several, or deflate, with or without its header."""

    def __init__(self, window: int) -> None:
        self._window, self._begun = window, False
        self._stream = zlib.decompressobj(window)

    def __call__(self, chunk: bytes, most: int) -> bytes:
        unpacked = bytearray()
        while chunk and len(unpacked) < most:
            if self._stream.eof:
                chunk = chunk.lstrip(b"\0")  # padding between parts
                if not chunk:
                    break
                self._stream = zlib.decompressobj(self._window)
            try:
                unpacked += self._stream.decompress(chunk, most - len(unpacked))
            except zlib.error as error:
                if self._window != zlib.MAX_WBITS or self._begun:
                    raise _Undecodable(
                        f"the content encoding is broken ({first_line(error)})"
                    ) from None
                self._window = -zlib.MAX_WBITS
                self._stream = zlib.decompressobj(self._window)
                self._begun = True
                continue
            self._begun = True
            chunk = self._stream.unused_data if self._stream.eof else b""
        return bytes(unpacked)
