"""Dagster's UI behind a check that admits only its own pages and tools on this machine.

Dagster's webserver has no log-in, runs mutations by GET, and checks neither Host nor Origin: any
web page in the user's browser could start runs, which buy pages.
"""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Sequence
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sf_assets.settings import load_settings

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class OwnPagesOnly:
    """ASGI middleware that refuses HTTP and WebSocket requests from pages of other sites.

    `hosts`: the names, with the port unless it is the scheme's default, under which the UI is
    reached in addition to loopback.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str] = ()) -> None:
        self.app = app
        self.hosts = frozenset(hosts)
        self.names = frozenset(_name(host) for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope, Headers(scope=scope))
        if refusal is None:
            await self.app(scope, receive, _unframed(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refusal[1]})
        else:
            status, why = refusal
            await PlainTextResponse(f"{why}\n", status)(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        hosts = headers.getlist("host")
        # DNS rebinding: a foreign name that points to this machine.
        if len(hosts) != 1 or not (_is_loopback(hosts[0]) or _name(hosts[0]) in self.names):
            return 403, (
                "Unknown host name. Open the UI at 127.0.0.1, or add this name to "
                "SF_ASSETS_UI_HOSTS."
            )
        if not self._is_own_page(headers, hosts[0]) and not _is_link(scope, headers):
            return (
                403,
                "A page of another site made this request. The UI answers its own pages only.",
            )
        method = scope.get("method")
        # Stripped, because a route also matches its path followed by a newline.
        if method == "GET" and scope["path"].strip() == "/graphql" and scope["query_string"]:
            return 405, "GraphQL needs POST."
        # A form on another site can send other types, and Dagster then reads the URL's parameters.
        if method == "POST" and _media_type(headers) != "application/json":
            return 415, "POST needs the content type application/json."
        return None

    def _is_own_page(self, headers: Headers, host: str) -> bool:
        # Tools other than browsers send neither header.
        own = {host.lower(), *self.hosts}
        return set(headers.getlist("sec-fetch-site")) <= {"same-origin", "none"} and all(
            _authority(origin) in own for origin in headers.getlist("origin")
        )


def _is_link(scope: Scope, headers: Headers) -> bool:
    """True for a followed link to the UI: it fills the window, and no other page can read it."""
    return (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and headers.getlist("sec-fetch-mode") == ["navigate"]
        and headers.getlist("sec-fetch-dest") == ["document"]
        and "origin" not in headers
    )


def _unframed(send: Send) -> Send:
    """`send` with a header that forbids other sites to show the answer in a frame."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["x-frame-options"] = "SAMEORIGIN"
        await send(message)

    return sending


def _media_type(headers: Headers) -> str:
    return headers.get("content-type", "").split(";")[0].strip().lower()


def _authority(origin: str) -> str:
    """`https://ui.example.org:443` -> `ui.example.org`; empty if it is not the origin of a page."""
    scheme, _, authority = origin.lower().partition("://")
    return authority.removesuffix(_DEFAULT_PORTS[scheme]) if scheme in _DEFAULT_PORTS else ""


def _name(host: str) -> str:
    """The host without its port."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isdigit() else host.lower()


def _is_loopback(host: str) -> bool:
    name = _name(host).removeprefix("[").removesuffix("]")
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def main(workspace: str, listening: int, alive: int, others: Sequence[int]) -> None:
    """Serve the UI of this workspace on a socket that already listens.

    `alive` is a pipe that closes when `sf-assets up` ends, however it ends. This process then ends
    itself and the process groups `others` of Dagster, which do not notice.
    """
    threading.Thread(target=_end_with, args=(alive, others), daemon=True).start()
    warnings.simplefilter("ignore")  # Dagster's notes on its own betas
    import uvicorn
    from dagster import DagsterInstance
    from dagster._core.workspace.context import WorkspaceProcessContext  # noqa: PLC2701
    from dagster._core.workspace.load_target import WorkspaceFileTarget  # noqa: PLC2701
    from dagster_webserver.app import create_app_from_workspace_process_context
    from dagster_webserver.cli import (
        DEFAULT_DB_STATEMENT_TIMEOUT,
        DEFAULT_POOL_MAX_OVERFLOW,
        DEFAULT_POOL_RECYCLE,
    )
    from dagster_webserver.version import __version__

    hosts = load_settings().ui_hosts
    with DagsterInstance.get() as instance:
        instance.optimize_for_webserver(
            DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_RECYCLE, DEFAULT_POOL_MAX_OVERFLOW
        )
        target = WorkspaceFileTarget([workspace])
        with WorkspaceProcessContext(instance, target, version=__version__) as context:
            app = create_app_from_workspace_process_context(context, live_data_poll_rate=2000)
            config = uvicorn.Config(
                OwnPagesOnly(app, hosts), log_level="warning", timeout_graceful_shutdown=5
            )
            uvicorn.Server(config).run(sockets=[socket.socket(fileno=listening)])


def _end_with(alive: int, others: Sequence[int]) -> None:
    os.read(alive, 1)
    for group in (*others, 0):
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGTERM)


if __name__ == "__main__":
    _workspace, *_numbers = sys.argv[1:]
    _listening, _alive, *_others = map(int, _numbers)
    with suppress(KeyboardInterrupt):  # uvicorn raises the signal again after its shutdown
        main(_workspace, _listening, _alive, _others)
