"""The proxy and the certificates for a URL, from the environment."""

from __future__ import annotations

import ipaddress
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import httpx

from sf_assets.errors import SettingsError
from sf_assets.settings import is_loopback
from sf_assets.text import first_line, one_line

__all__ = ["Route", "route_to"]


@dataclass(frozen=True)
class Route:
    """The proxy and TLS context of a URL. The text fields name their sources in messages."""

    proxy: httpx.Proxy | None
    proxy_variable: str | None
    context: ssl.SSLContext
    certificates: str


def route_to(url: httpx.URL) -> Route:
    """The route to a URL. Raises SettingsError with the name of an invalid variable.

    `https_proxy`, `all_proxy` (or in capitals), `no_proxy`, `SSL_CERT_FILE` and `SSL_CERT_DIR` have
    the same meaning as for curl. No proxy is used for this machine.
    """
    variable = None if is_loopback(str(url)) or _goes_direct(url) else _proxy_variable(url.scheme)
    proxy = _proxy(variable) if variable else None
    return Route(proxy, variable, *_context(url.scheme == "https"))


def _proxy_variable(scheme: str) -> str | None:
    names = (f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY")
    return next((name for name in names if os.environ.get(name, "").strip()), None)


def _proxy(variable: str) -> httpx.Proxy:
    address = os.environ[variable].strip()
    if "://" not in address:
        address = f"http://{address}"
    # Messages must not quote the password.
    scheme, _, location = address.partition("://")
    shown = one_line(f"{scheme}://{location.rpartition('@')[2]}")
    if scheme.lower() not in ("http", "https"):
        raise SettingsError(
            f"{variable}: {shown} is not an HTTP proxy; it must look like http://127.0.0.1:3128"
        )
    try:
        url = httpx.URL(address)
        if not url.host or (url.port or 0) > 65535:
            raise ValueError("no host or a wrong port")
        return httpx.Proxy(url)
    except (httpx.InvalidURL, ValueError):
        raise SettingsError(
            f"{variable}: {shown} is not a proxy URL; it must look like http://127.0.0.1:3128"
        ) from None


def _goes_direct(url: httpx.URL) -> bool:
    """Whether NO_PROXY has the host, its domain or its network."""
    text = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    host = url.host.lower().rstrip(".")
    address = _address(host)
    for entry in text.lower().replace(",", " ").split():
        name, _, port = entry.rpartition(":")
        if name and port.isdigit() and (":" not in name or name.endswith("]")):
            if int(port) != (url.port or (443 if url.scheme == "https" else 80)):
                continue
            entry = name
        entry = entry.strip("[]")
        if entry == "*":
            return True
        if address is None:
            domain = entry.lstrip("*").strip(".")
            if domain and (host == domain or host.endswith(f".{domain}")):
                return True
            continue
        try:
            if address in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue  # a host name
    return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _context(encrypted: bool) -> tuple[ssl.SSLContext, str]:
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        path = os.environ.get(variable)
        if not path:
            continue
        try:
            if variable == "SSL_CERT_DIR":
                next(Path(path).iterdir(), None)  # OpenSSL accepts a missing folder
                context = ssl.create_default_context(capath=path)
            else:
                context = ssl.create_default_context(cafile=path)
        except OSError as error:
            raise SettingsError(
                f"{variable}: cannot read trusted certificates from {one_line(path)} "
                f"({error.strerror or first_line(error)}); correct it or unset it"
            ) from None
        return context, f"{variable} ({one_line(path)})"
    return httpx.create_ssl_context(verify=encrypted, trust_env=False), "certifi"
