"""A web server on loopback that does what a script says, right or wrong.

    with ScriptedServer(lambda request: Reply(json={"ok": True})) as server:
        httpx.get(server.url + "/anything")
    assert server.requests[0].path == "/anything"

A handler answers with a `Reply`, or with raw actions that are carried out in turn, after which
the connection is closed: bytes to send, `Wait`, `Endless`, `HANG`, `RESET`. So

    [head(content_length=100), b'{"data":', RESET]

is an answer that breaks off inside its body.
"""

from __future__ import annotations

import asyncio
import json as jsonlib
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl


@dataclass(frozen=True)
class Request:
    """What was asked. `path` is as it was sent, `query` decoded, header names are lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """A whole, well-formed answer; `json` or else `body` is what it holds."""

    status: int = 200
    json: Any = None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        body = self.body if self.json is None else jsonlib.dumps(self.json).encode()
        return head(self.status, content_length=len(body), headers=self.headers) + body


@dataclass(frozen=True)
class Wait:
    """Do nothing for so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Endless:
    """Send this again and again until the other side has enough; `pause` seconds in between."""

    chunk: bytes
    pause: float = 0.0


class _Signal:
    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


HANG = _Signal("HANG")
RESET = _Signal("RESET")

Action = bytes | Wait | Endless | _Signal
Handler = Callable[[Request], Reply | Iterable[Action]]


def head(
    status: int = 200,
    *,
    content_length: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Status line and headers; without a length the body lasts until the connection closes."""
    lines = [f"HTTP/1.1 {status} {_phrase(status)}"]
    fields = {"content-type": "application/json", **(headers or {})}
    if content_length is None:
        fields["connection"] = "close"
    else:
        fields["content-length"] = str(content_length)
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def drip(data: bytes, *, seconds_per_byte: float) -> Iterable[Action]:
    """`data`, byte by byte."""
    for position in range(len(data)):
        yield data[position : position + 1]
        yield Wait(seconds_per_byte)


def certified(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """What serves TLS as localhost, and the certificate that a client has to trust for it."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


class ScriptedServer:
    """HTTP/1.1 on 127.0.0.1, on a port of its own, in a thread of its own.

    `requests` holds every request in the order of arrival. An exception in the handler answers
    500 and is raised again when the server is closed.
    """

    def __init__(self, handler: Handler, tls: ssl.SSLContext | None = None) -> None:
        self.handler = handler
        self.tls = tls
        self.requests: list[Request] = []
        self.port = 0
        self._failures: list[Exception] = []
        self._connections: set[asyncio.Task[Any]] = set()
        self._started: Future[None] = Future()

    @property
    def url(self) -> str:
        if self.tls is not None:
            return f"https://localhost:{self.port}"
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> ScriptedServer:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        self._started.result(timeout=10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=10)
        if self._failures and error is None:
            raise self._failures[0]

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, ssl=self.tls)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set_result(None)
        await self._stop.wait()
        server.close()
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the other side went away
        except asyncio.CancelledError:
            writer.transport.abort()  # the server is being closed, whoever still reads
        finally:
            self._connections.discard(task)
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False when the connection has done its service."""
        request = await _read(reader)
        self.requests.append(request)
        try:
            answer = self.handler(request)
        except Exception as error:
            self._failures.append(error)
            answer = Reply(500, json={"error": "the test's handler failed"})
        if isinstance(answer, Reply):
            writer.write(answer.encoded())
            await writer.drain()
            return request.headers.get("connection", "").lower() != "close"
        for action in answer:
            await self._act(action, writer)
            if action is RESET:
                break
        return False

    async def _act(self, action: Action, writer: asyncio.StreamWriter) -> None:
        if isinstance(action, bytes):
            writer.write(action)
            await writer.drain()
        elif isinstance(action, Wait):
            await asyncio.sleep(action.seconds)
        elif isinstance(action, Endless):
            while not writer.is_closing():
                writer.write(action.chunk)
                await writer.drain()
                await asyncio.sleep(action.pause)
        elif action is HANG:
            await self._stop.wait()
        elif action is RESET:
            # Linger 0 makes the close an RST, also after bytes were sent.
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unnamed"


async def _read(reader: asyncio.StreamReader) -> Request:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    path, _, query = target.partition("?")
    pairs = (line.split(": ", 1) for line in lines if line)
    headers = {name.lower(): value for name, value in pairs}
    return Request(
        method=method,
        path=path,
        query=dict(parse_qsl(query, keep_blank_values=True)),
        headers=headers,
        body=await reader.readexactly(int(headers.get("content-length", 0))),
    )
