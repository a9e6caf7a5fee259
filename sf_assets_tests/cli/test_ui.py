"""The check before Dagster's UI: which requests of browsers and tools get through."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from sf_assets.cli.ui import OwnPagesOnly

HOSTS = ("ui.example.org", "ui.example.org:8443", "10.1.2.3:3000")
JSON = {"content-type": "application/json"}
LINK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
UPGRADE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "MDEyMzQ1Njc4OWFiY2RlZg==",
}
MUTATION = "/graphql?query=mutation%7Bx%7D"


async def answer(request: Request) -> PlainTextResponse:
    return PlainTextResponse("served")


async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.receive()


# Of which everything can be asked.
SERVED = Starlette(
    routes=[
        Route("/graphql", answer, methods=["GET", "POST"]),
        WebSocketRoute("/graphql", talk),
        Route("/{path:path}", answer, methods=["GET", "POST"]),
    ]
)


@contextmanager
def serving(app: ASGIApp) -> Iterator[int]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with serving(OwnPagesOnly(SERVED, HOSTS)) as listening:
        yield listening


def ask(
    port: int, method: str, path: str, host: str | None, headers: dict[str, str]
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest(method, path, skip_host=True)
    for name, value in {**({"host": host} if host else {}), **headers}.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


@pytest.mark.parametrize(
    ("status", "host"),
    [
        *((200, host) for host in ("127.0.0.1:{}", "localhost:{}", "LOCALHOST", "127.8.9.1")),
        *((200, host) for host in ("[::1]:{}", "[::1]", "localhost:9999", *HOSTS)),
        # A proxy may leave the port out.
        (200, "10.1.2.3"),
        *((403, host) for host in ("evil.test", "evil.test:{}", "127.0.0.1.evil.test", "")),
        *((403, host) for host in ("localhost.evil.test", "0.0.0.0:{}", "[::]:{}", "10.1.2.4")),
        *((403, host) for host in ("ui.example.org.evil.test", "example.org", "xui.example.org")),
    ],
)
def test_a_host_name_that_is_not_ours_is_refused(port: int, status: int, host: str) -> None:
    """DNS rebinding: a foreign name that points to this machine."""
    for method, headers in (("GET", {}), ("POST", JSON), ("GET", LINK)):
        assert ask(port, method, "/runs", host.format(port), headers).status == status


def test_a_request_without_a_host_or_with_two_is_refused(port: int) -> None:
    assert ask(port, "GET", "/", None, {}).status in (400, 403)
    assert ask(port, "GET", "/", "localhost", {"Host": "evil.test"}).status in (400, 403)


@pytest.mark.parametrize("site", [None, "same-origin", "none", "same-site", "cross-site", "new"])
@pytest.mark.parametrize("mode", [None, "cors", "no-cors", "navigate", "websocket"])
@pytest.mark.parametrize("dest", [None, "empty", "document", "iframe", "image", "script"])
def test_what_pages_of_other_sites_ask_for_is_refused_but_a_link_may_be_followed(
    port: int, site: str | None, mode: str | None, dest: str | None
) -> None:
    said = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest}
    headers = {name: value for name, value in said.items() if value is not None}
    own = site in (None, "same-origin", "none")
    link = (mode, dest) == ("navigate", "document")
    host = f"localhost:{port}"
    assert ask(port, "GET", "/runs", host, headers).status == (200 if own or link else 403)
    posted = ask(port, "POST", "/graphql", host, {**headers, **JSON})
    assert posted.status == (200 if own else 403)


@pytest.mark.parametrize(
    ("is_own", "host", "origin"),
    [
        (True, "127.0.0.1:{}", "http://127.0.0.1:{}"),
        (True, "LocalHost:{}", "http://localhost:{}"),
        (True, "localhost", "http://localhost:80"),
        (True, "127.0.0.1:{}", "https://ui.example.org"),
        (True, "ui.example.org", "https://ui.example.org:443"),
        (True, "ui.example.org", "https://ui.example.org:8443"),
        (False, "127.0.0.1:{}", "http://localhost:{}"),
        (False, "127.0.0.1:{}", "http://127.0.0.1:8000"),
        (False, "127.0.0.1:{}", "http://127.0.0.1"),
        (False, "127.0.0.1:{}", "https://evil.test"),
        (False, "ui.example.org", "https://ui.example.org:9000"),
        (False, "ui.example.org", "https://ui.example.org.evil.test"),
        *((False, "127.0.0.1:{}", one) for one in ("null", "", "file://", "127.0.0.1:{}")),
        (False, "127.0.0.1:{}", "chrome-extension://127.0.0.1:{}"),
    ],
)
def test_an_origin_that_is_not_ours_is_refused_by_http_and_by_websocket(
    port: int, is_own: bool, host: str, origin: str
) -> None:
    host, origin = host.format(port), origin.format(port)
    for method in ("GET", "POST"):
        answer = ask(port, method, "/graphql", host, {"origin": origin, **JSON})
        assert answer.status == (200 if is_own else 403)
    assert talks(port, host, origin=origin) == is_own


@pytest.mark.parametrize(
    ("is_own", "host", "headers"),
    [
        (True, "127.0.0.1:{}", {}),
        (True, "localhost:{}", {"sec-fetch-site": "same-origin", "sec-fetch-mode": "websocket"}),
        (False, "evil.test", {}),
        (False, "127.0.0.1:{}", {"sec-fetch-site": "cross-site"}),
        (False, "127.0.0.1:{}", LINK),
    ],
)
def test_a_websocket_is_checked_like_any_other_request(
    port: int, is_own: bool, host: str, headers: dict[str, str]
) -> None:
    assert talks(port, host.format(port), **headers) == is_own


def talks(port: int, host: str, **headers: str) -> bool:
    """Whether a WebSocket with these headers is opened; else it must be refused at the door."""
    status = ask(port, "GET", "/graphql", host, {**UPGRADE, **headers}).status
    assert status in (101, 403)
    return status == 101


@pytest.mark.parametrize("path", [MUTATION, "/graphql?variables=1", f"/graphql%0A{MUTATION[8:]}"])
def test_graphql_is_not_answered_by_get(port: int, path: str) -> None:
    for headers in ({}, LINK, {"accept": "text/html"}, JSON):
        assert ask(port, "GET", path, f"127.0.0.1:{port}", headers).status == 405
    assert ask(port, "GET", "/graphql", f"127.0.0.1:{port}", {"accept": "text/html"}).status == 200
    assert ask(port, "GET", "/assets?query=x", f"127.0.0.1:{port}", {}).status == 200


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, "application/json"),
        (200, "Application/JSON; charset=utf-8"),
        (415, "text/plain"),
        (415, "text/plain; x=application/json"),
        (415, "application/x-www-form-urlencoded"),
        (415, "multipart/form-data; boundary=application/json"),
        (415, None),
    ],
)
def test_a_post_that_a_form_could_send_is_refused(port: int, status: int, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    for path in (MUTATION, "/report_asset_materialization/follower_snapshots"):
        assert ask(port, "POST", path, f"127.0.0.1:{port}", headers).status == status


def test_no_other_site_can_show_it_in_a_frame(port: int) -> None:
    answer = ask(port, "GET", "/", f"127.0.0.1:{port}", {})
    assert answer.headers.get_all("x-frame-options") == ["SAMEORIGIN"]
