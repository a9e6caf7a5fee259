"""A Social Fetch on loopback whose answers are prepared bytes: cheap, and equal for everybody.

    with serving(world, days=[day], page_size=20) as api:
        ...  # api.base_url, header X-Sim-Day says which day is answered for

The bodies are the simulator's own (the same invented world, the same contract); only the server is
another one: a child process that made every body before it listens, looks it up by path, cursor and
day, and writes it. Where `days` is empty nothing is prepared, and a body is made when it is first
asked for. `latency` is the time between a request and its answer.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs

from sf_assets.simulator import RELATIONS, PageAnswer, Relation, World

API_KEY = "sfk_sim"
_PROFILES = "/v1/tiktok/profiles/"
_LENGTH_BYTES = 8
_REFUSED = b'{"error":{"code":"not_found","message":"No such route.","requestId":"req_none"}}'


class PreparedApi:
    """The answers, by (handle, relation, day, cursor)."""

    def __init__(self, world: World, page_size: int) -> None:
        self.world, self.page_size = world, page_size
        self._made: dict[tuple[str, str, str, str | None], bytes] = {}
        self._number = 0

    def prepare(self, days: Sequence[date]) -> None:
        """Make all bodies of these days."""
        for day in days:
            for handle in self.world.handles:
                for relation in RELATIONS:
                    cursor: str | None = None
                    more = True
                    while more:
                        answer = self._ask(handle, relation, day, cursor)
                        key = (handle, relation, day.isoformat(), cursor)
                        self._made[key] = self._whole(answer, relation, day)
                        cursor, more = answer.next_cursor, answer.has_more

    def answer(self, handle: str, relation: str, day: str, cursor: str | None) -> bytes:
        """Status line, headers and body of one page."""
        key = (handle, relation, day, cursor)
        found = self._made.get(key)
        if found is not None:
            return found
        if relation not in RELATIONS:
            return _whole_answer(404, _REFUSED)
        asked = date.fromisoformat(day)
        return self._whole(self._ask(handle, relation, asked, cursor), relation, asked)

    def _ask(self, handle: str, relation: Relation, day: date, cursor: str | None) -> PageAnswer:
        return self.world.page(handle, relation, day, cursor=cursor, page_size=self.page_size)

    def _whole(self, answer: PageAnswer, relation: Relation, day: date) -> bytes:
        self._number += 1
        data = self.world.page_json(answer, relation, day)
        meta = f'{{"requestId":"req_{self._number:08d}","creditsCharged":1,"version":"v1"}}'
        return _whole_answer(200, f'{{"data":{data},"meta":{meta}}}'.encode())


def _whole_answer(status: int, body: bytes) -> bytes:
    phrase = {200: "OK", 404: "Not Found"}[status]
    return (
        f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body


class _Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, GET only: all that a list of pages takes."""

    def __init__(self, api: PreparedApi, latency: float) -> None:
        self._api, self._latency, self._buffer = api, latency, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
            answer = self._answer(head)
            if self._latency:
                asyncio.get_running_loop().call_later(self._latency, self._write, answer)
            else:
                self._write(answer)

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)

    def _answer(self, head: bytes) -> bytes:
        request, *lines = head.decode("latin-1").split("\r\n")
        target = request.split(" ")[1]
        path, _, query = target.partition("?")
        day = ""
        for line in lines:
            name, _, value = line.partition(":")
            if name.lower() == "x-sim-day":
                day = value.strip()
        if not path.startswith(_PROFILES) or not day:
            return _whole_answer(404, _REFUSED)
        handle, _, relation = path[len(_PROFILES) :].rpartition("/")
        cursor = parse_qs(query).get("cursor", [None])[0] if query else None
        return self._api.answer(handle, relation, day, cursor)


@dataclass(frozen=True)
class Serving:
    """Where it listens, and the child it runs in."""

    base_url: str
    process: subprocess.Popen[bytes]
    api_key: str = API_KEY


@contextmanager
def serving(
    world: World, *, days: Sequence[date] = (), page_size: int = 20, latency: float = 0.0
) -> Iterator[Serving]:
    """The API in a child process, for the length of a `with` block; `latency` is in seconds."""
    what = pickle.dumps((world, list(days), page_size, latency))
    process = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(len(what).to_bytes(_LENGTH_BYTES, "little") + what)
        process.stdin.flush()
        base_url = process.stdout.readline().decode().strip()
        if not base_url.startswith("http://"):
            raise RuntimeError("the prepared API ended before it listened; see its stderr")
        yield Serving(base_url, process)
    finally:
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _serve(api: PreparedApi, latency: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(api, latency), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    # The end of stdin is the end of this process.
    await loop.run_in_executor(None, sys.stdin.buffer.read)
    os._exit(0)  # connections may still be kept alive


def _run_as_child() -> None:
    stdin = sys.stdin.buffer
    what: Any = stdin.read(int.from_bytes(stdin.read(_LENGTH_BYTES), "little"))
    world, days, page_size, latency = pickle.loads(what)
    api = PreparedApi(world, page_size)
    api.prepare(days)
    run: Any = asyncio.run
    with suppress(ImportError):
        import uvloop

        run = uvloop.run
    run(_serve(api, latency))


if __name__ == "__main__":
    _run_as_child()
