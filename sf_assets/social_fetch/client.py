"""The HTTP client for the Social Fetch API."""

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
    NO_TARGET,
    AccountError,
    ContractViolation,
    InsufficientCredits,
    SchemaViolation,
    SocialFetchError,
    Target,
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

# No pool timeout: a semaphore limits concurrency, and a list that waits has not failed.
DEFAULT_TIMEOUT = httpx.Timeout(connect=10, read=60, write=10, pool=None)

MAX_ERROR_BODY = 64 * 1024

_Model = TypeVar("_Model", bound=BaseModel)
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class _Raw:
    """A response: `whole` is False if the body was cut at the size limit."""

    status: int
    headers: httpx.Headers
    body: bytes
    whole: bool


@dataclass
class _Request(Generic[_Value]):
    """A request, the function that parses its response, and the attempts so far.

    `unread` counts responses with status 200 that broke the contract, which were most likely
    charged. `troubles` has the reason of each failed attempt.
    """

    path: str
    read: Callable[[bytes], _Value]
    params: Mapping[str, str] = field(default_factory=dict)
    target: Target = NO_TARGET
    tries: int = 0
    unread: int = 0
    troubles: list[str] = field(default_factory=list)

    @property
    def is_metered(self) -> bool:
        return self.target.handle is not None

    def is_worth_another_try(self, error: TransientError) -> bool:
        if isinstance(error, UnreadableBody):
            return self.unread <= 1  # each try costs a credit, so only one retry
        return not isinstance(error, UntrustedCertificate)


@dataclass(frozen=True)
class _Got(Generic[_Value]):
    raw: _Raw
    value: _Value
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """The response to one page request: its body and the parsed page."""

    response: AnyPage
    body: bytes
    """The body after content decoding, without a byte order mark, otherwise unchanged."""
    received_at: datetime
    """When the response was received, in UTC."""
    tries: int
    """Requests sent, including failed ones, which may have been charged too."""
    unread: int
    """Unreadable responses with status 200 among them, which were most likely charged."""
    damaged: int = 0
    """Number of fields that break the contract; they are None."""
    troubles: tuple[str, ...] = ()
    """The reason of each failed request: its status, `transport` or `unreadable`."""
    age: int | None = None
    """Seconds in the API's cache, from the header `Age`; None without it."""

    @property
    def request_id(self) -> str:
        """The id of the request in the API's logs."""
        return self.response.meta.request_id or ""

    @property
    def credits_charged(self) -> int:
        """Credits that the API charged for this response."""
        return self.response.meta.credits_charged

    @property
    def cached(self) -> bool:
        """Whether the API's cache answered."""
        return bool(self.response.meta.cached)


class _OneRequestATry(AiohttpTransport):
    """A transport that sends each request once.

    aiohttp repeats a GET by itself when the connection breaks before the response. A request may
    cost a credit, so the client must count every one and send none after a stop.
    """

    def get_client(self) -> Any:
        """The aiohttp session, without its own retries."""
        session = super().get_client()
        # There is no public switch. The tests that count requests notice if this one disappears.
        session._retry_connection = False
        return session


class SocialFetchClient:
    """A client for the Social Fetch API. Use it as an async context manager.

    At most `concurrency` requests run at once (Social Fetch suggests under 500). Transient errors
    are retried, with `max_tries` requests in all and pauses of up to `max_wait` seconds. A response
    must be complete within `deadline` seconds and `max_body_bytes`. After the API rejected the key
    or ran out of credits, no task requests another list.

    The key is sent in the header `x-api-key` only. A proxy in the environment is used, except for
    this machine. Opening the client raises SettingsError if a variable for a proxy or certificates
    is invalid.
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
        self._url, self._base_url = url, str(url).rstrip("/")
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
        """Buy one page of a list for 1 credit, also if it is private, hidden, missing or empty.

        `cursor` is the `next_cursor` of the page before, None for the first page. `page` is used in
        error messages only. `trim` drops the stable ids of followers (OpenAPI, 2026-09-16). Raises
        `SocialFetchError`.
        """
        if relation not in ("followers", "following"):
            raise ValueError(f"relation must be 'followers' or 'following', not {relation!r}")
        if handle.strip(".") == "":
            # "." and ".." would change the path of the URL.
            raise ValueError("handle must not be empty or consist of periods")
        if cursor == "" or user_id == "":
            raise ValueError("cursor and user_id must not be empty; pass None instead")
        params = {"cursor": cursor, "userId": user_id, "trim": "true" if trim else None}
        if relation == "following" and user_id is not None:
            raise ValueError("the API has no parameter userId for a following list")
        request = _Request(
            f"/v1/tiktok/profiles/{quote(handle, safe='')}/{relation}",
            lambda body: _page(relation, body),
            {name: value for name, value in params.items() if value is not None},
            Target(handle, relation, page),
        )
        got = await self._get(request)
        response, damaged = got.value
        return Answer(
            response, got.raw.body, got.received_at, request.tries, request.unread, damaged,
            tuple(request.troubles), _age(got.raw.headers),
        )  # fmt: skip

    async def balance(self) -> Balance:
        """The balance of the account. Free, also without credits. Raises `SocialFetchError`."""
        return (await self._free("/v1/balance", BalanceResponse)).data

    async def whoami(self) -> User:
        """The user of the key. Free. Raises `SocialFetchError`."""
        return (await self._free("/v1/whoami", WhoamiResponse)).data.user

    async def clock(self) -> datetime | None:
        """The API's clock, or None. Free, needs no key. Raises `SocialFetchError`."""
        got = await self._get(_Request("/health", lambda body: None))
        return _date(got.raw.headers.get("date", ""))

    async def _free(self, path: str, model: type[_Model]) -> _Model:
        return (await self._get(_Request(path, lambda body: parse(model, body)))).value

    async def _get(self, request: _Request[_Value]) -> _Got[_Value]:
        """Send the request until it succeeds or a retry cannot help."""
        while True:
            try:
                return await self._try(request)
            except TransientError as error:
                last = request.tries >= self._max_tries
                if last or not request.is_worth_another_try(error):
                    raise
                seconds = self._wait(error, request.tries)
            # Free requests continue without credits, so they need not wake up early.
            await (self._pause(seconds) if request.is_metered else self._sleep(seconds))
            self._refuse_if_stopped(request)

    async def _try(self, request: _Request[_Value]) -> _Got[_Value]:
        async with self._turns:
            self._refuse_if_stopped(request)
            request.tries += 1
            try:
                raw = await self._send(request)
                received_at = datetime.now(timezone.utc)
                value = self._value(raw, request)
            except SocialFetchError as error:
                unread = isinstance(error, ContractViolation)
                request.unread += unread
                request.troubles.append(
                    "unreadable" if unread else str(error.status or "transport")
                )
                error.tries, error.unread = request.tries, request.unread
                if isinstance(error, AccountError) and self._stop_error is None:
                    self._stop_error = error
                    self._stopped.set()
                raise
        return _Got(raw, value, received_at)

    async def _send(self, request: _Request[Any]) -> _Raw:
        if self._http is None:
            raise RuntimeError("open the client first: async with SocialFetchClient(...) as client")
        # Built outside the try block, because a wrong argument is not a network error.
        # Uses the transport directly: an httpx.AsyncClient adds redirects, cookies, auth and hooks,
        # which nobody needs here and which take a third of the processor time per page.
        query = f"?{urlencode(request.params)}" if request.params else ""
        target = request.target
        http_request = httpx.Request(
            "GET",
            self._url,
            headers=self._headers,
            extensions={"timeout": self._timeout.as_dict()},
        )
        address = self._base_url + request.path + query
        # aiohttp parses the string again, and parsing it here takes a fifth of the request's time.
        # For a long cursor it is parsed, which raises InvalidURL if no request can carry it.
        as_text = isinstance(self._http, AiohttpTransport) and len(address) < 4_000
        http_request.url = cast(httpx.URL, address) if as_text else httpx.URL(address)
        try:
            async with timeout(self._deadline):
                return await self._receive(self._http, http_request)
        except _Undecodable as error:
            failure: SocialFetchError = UnreadableBody(str(error), status=200, target=target)
        except asyncio.TimeoutError:
            failure = self._no_response(f"not complete within {self._deadline:g} seconds", target)
        except Exception as error:
            # Broad, because httpx_aiohttp lets some of aiohttp's own exceptions through.
            text = f"{type(error).__name__}: {error}".encode(errors="replace")
            untrusted = isinstance(error.__cause__ or error, ssl.SSLCertVerificationError)
            failure = self._no_response(
                self._without_key(text).decode().rstrip(": "), target, untrusted=untrusted
            )
        # Raised outside the except blocks, so without a context: aiohttp's exceptions hold the
        # request headers with the key.
        raise failure

    def _no_response(self, why: str, target: Target, *, untrusted: bool = False) -> TransportFailed:
        route = self._route
        if untrusted and route is not None:
            return UntrustedCertificate(f"{why}, checked with {route.certificates}", target=target)
        if route is not None and route.proxy is not None:
            host = route.proxy.url.netloc.decode("ascii", "replace")
            why = f"{why}, through the proxy {host} in {route.proxy_variable}"
        return TransportFailed(why, target=target)

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
                        # One byte more than the limit shows that the body is too large.
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
        # Removed here, an echo of the key reaches neither the landing nor an error.
        clean = self._without_key(bytes(body[:limit]).removeprefix(_BYTE_ORDER_MARK))
        return _Raw(response.status_code, response.headers, clean, whole)

    def _value(self, raw: _Raw, request: _Request[_Value]) -> _Value:
        if raw.status != 200:
            raise error_for(
                raw.status,
                self._without_key(raw.body),
                retry_after=_retry_after(raw.headers),
                target=request.target,
            )
        kind: type[ContractViolation] = UnreadableBody
        reason = f"the body is larger than {self._max_body_bytes:,} bytes"
        if raw.whole:
            try:
                return request.read(raw.body)
            except ValidationError as error:
                kind, reason = _explained(error)
        violation = kind(
            self._without_key(reason.encode()).decode(),
            status=raw.status,
            request_id=_request_id(raw.body) if kind is SchemaViolation else None,
            target=request.target,
        )
        violation.keep(self._without_key(raw.body))
        raise violation

    def _refuse_if_stopped(self, request: _Request[Any]) -> None:
        error = self._stop_error
        # The balance is free and most useful when the credits are used up.
        if error and (request.is_metered or not isinstance(error, InsufficientCredits)):
            raise error.at(request.target, tries=request.tries)

    async def _pause(self, seconds: float) -> None:
        """Sleep, but wake up when another task finds that no request can succeed."""
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
        """Seconds until the next try: growing and random, because many lists fail at once."""
        if isinstance(error, TemporarilyUnavailable) and error.retry_after is not None:
            # All lists get the same value, so spread them over one second.
            return min(self._max_wait, error.retry_after + random.random())
        return random.uniform(0, min(self._max_wait, 2.0 ** min(tries - 1, 30)))

    def _without_key(self, text: bytes) -> bytes:
        return text.replace(self._key.encode(), b"***") if self._key else text

    def _default_transport(self) -> httpx.AsyncBaseTransport:
        """aiohttp as transport: a third of the processor time per page of httpx's own."""
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
        # Checked here, because the libraries below would quote the key in their errors.
        raise ValueError("the API key is empty or contains invalid characters")
    return key


def _explained(error: ValidationError) -> tuple[type[ContractViolation], str]:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    if faults[0]["type"] == "json_invalid":
        return UnreadableBody, f"not JSON: {faults[0]['msg']}"
    lines = [
        f"{'.'.join(map(str, fault['loc'])) or 'body'}: {fault['msg']}" for fault in faults[:3]
    ]
    more = f" (and {len(faults) - 3} more)" if len(faults) > 3 else ""
    return SchemaViolation, "; ".join(lines) + more


def _request_id(body: bytes) -> str | None:
    """The request id in a JSON body that breaks the contract, or None."""
    try:
        request_id = json.loads(body)["meta"]["requestId"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return request_id if isinstance(request_id, str) else None


def _age(headers: httpx.Headers) -> int | None:
    text = headers.get("age", "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _retry_after(headers: httpx.Headers) -> float | None:
    """Seconds to wait. The header may hold seconds or a date; the API does not document which."""
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
    """The content encoding is broken or not supported."""


_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def _unpacking(encodings: list[str]) -> Callable[[bytes, int], bytes]:
    """A function that decodes a chunk of the body to at most the given number of bytes."""
    layers = [name for raw in encodings if (name := raw.strip().lower()) not in ("", "identity")]
    if len(layers) > 1:
        # A few kilobytes compressed twice can be gigabytes, and we do not request that.
        raise _Undecodable("the body is compressed more than once")
    if layers and layers[0] in ("gzip", "x-gzip", "deflate"):
        return _Unpacker(zlib.MAX_WBITS if layers[0] == "deflate" else zlib.MAX_WBITS | 16)
    # We do not request other encodings. A body with one of them is not JSON.
    return lambda chunk, most: chunk[:most]


class _Unpacker:
    """Decodes gzip in one or more parts, or deflate with or without its header."""

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
