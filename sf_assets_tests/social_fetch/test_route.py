"""The proxy and the certificates that the environment names: used, or refused by name."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from sf_assets.errors import SettingsError
from sf_assets.social_fetch import SocialFetchClient, TransportFailed
from sf_assets.social_fetch.route import route_to

from ..served_lists import KEY

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ssl_cert_file", "ssl_cert_dir")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def proxy_of(url: str, **environment: str) -> str | None:
    os.environ.update(environment)
    route = route_to(httpx.URL(url))
    return str(route.proxy.url) if route.proxy else None


@pytest.mark.parametrize(
    ("address", "used"),
    [
        ("http://10.0.0.1:3128", "http://10.0.0.1:3128"),
        ("10.0.0.1:3128", "http://10.0.0.1:3128"),
        ("proxy.test:3128", "http://proxy.test:3128"),
        (" HTTPS://proxy.test:1 ", "https://proxy.test:1"),
        ("[fd00::1]:3128", "http://[fd00::1]:3128"),
        ("", None),
        (" ", None),
    ],
)
@pytest.mark.parametrize("variable", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_proxy_is_used_as_curl_would(variable: str, address: str, used: str | None) -> None:
    assert proxy_of("https://api.example.test", **{variable: address}) == used


def test_the_password_of_a_proxy_is_sent_and_not_in_its_address() -> None:
    os.environ["HTTPS_PROXY"] = "http://me:secret@proxy.test:1"
    route = route_to(httpx.URL("https://api.example.test"))
    assert route.proxy is not None
    assert (str(route.proxy.url), route.proxy.auth) == ("http://proxy.test:1", ("me", "secret"))


@pytest.mark.parametrize(
    "address",
    [
        *(
            "socks5://me:secret@proxy.test:1",
            "socks5h://me:secret@p.test",
            "ftp://me:secret@p.test",
        ),
        *("http://me:secret@", "http://me:secret@proxy.test:port", "me:secret@proxy.test:999999"),
    ],
)
def test_an_address_that_is_no_proxy_is_refused_by_the_name_of_its_variable(address: str) -> None:
    with pytest.raises(SettingsError, match=r"^HTTPS_PROXY: ") as caught:
        proxy_of("https://api.example.test", HTTPS_PROXY=address)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "entries", "direct"),
    [
        ("api.example.test", "api.example.test", True),
        ("api.example.test", "example.test", True),
        ("api.example.test", ".example.test", True),
        ("api.example.test", "*.example.test", True),
        ("api.example.test", "other.test, API.Example.Test", True),
        ("api.example.test", "api.example.test:443", True),
        ("api.example.test", "api.example.test:8443", False),
        ("api.example.test", "ple.test", False),
        ("api.example.test", "*", True),
        ("api.example.test", "[::1],fe80::/10,10.0.0.0/8,,[", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("11.1.2.3", "10.0.0.0/8,fe80::/10,[::1]", False),
        ("[fe80::7]", "fe80::/10", True),
        ("[fd00::7]", "fe80::/10,[fd00::7]", True),
        ("[fd00::7]", "[fd00::7]:443", True),
        ("[fd00::7]", "[fd00::7]:8443,[::1],name", False),
        ("127.0.0.1", "", True),
        ("localhost", "", True),
        ("[::1]", "", True),
    ],
)
def test_no_proxy_is_read_whatever_stands_in_it(host: str, entries: str, direct: bool) -> None:
    environment = {"HTTPS_PROXY": "http://proxy.test:1", "NO_PROXY": entries}
    used = proxy_of(f"https://{host}", **environment)
    assert used == (None if direct else "http://proxy.test:1")


def broken_certificates(folder: Path) -> Iterator[tuple[str, Path]]:
    (folder / "empty.pem").write_text("")
    (folder / "text.pem").write_text("no certificate")
    for name in ("missing.pem", "empty.pem", "text.pem"):
        yield "SSL_CERT_FILE", folder / name
    yield "SSL_CERT_FILE", folder
    yield "SSL_CERT_DIR", folder / "missing"
    yield "SSL_CERT_DIR", folder / "text.pem"


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("url", ["https://api.example.test", "http://127.0.0.1:9"])
def test_certificates_that_cannot_be_read_are_refused_by_name(
    tmp_path: Path, number: int, url: str
) -> None:
    variable, path = list(broken_certificates(tmp_path))[number]
    os.environ[variable] = str(path)

    async def ask() -> None:
        async with SocialFetchClient(api_key=SecretStr(KEY), base_url=url):
            raise AssertionError("it was opened")

    with pytest.raises(SettingsError, match=rf"^{variable}: ") as caught:
        asyncio.run(ask())
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_that_does_not_answer_is_named(variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    os.environ[variable] = f"me:secret@127.0.0.1:{port}"

    async def ask() -> None:
        async with SocialFetchClient(
            api_key=SecretStr(KEY), base_url="http://api.example.test", max_tries=1
        ) as client:
            await client.list_page("followers", "nasa")

    with pytest.raises(TransportFailed) as caught:
        asyncio.run(ask())
    assert f"through the proxy 127.0.0.1:{port} in {variable}" in str(caught.value)
    assert "secret" not in str(caught.value)
