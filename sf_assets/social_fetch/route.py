"""The way to the API: the proxy and the certificates that the environment names."""

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
    """`proxy_variable` and `certificates` name in messages where proxy and trust come from."""

    proxy: httpx.Proxy | None
    proxy_variable: str | None
    context: ssl.SSLContext
    certificates: str


def route_to(url: httpx.URL) -> Route:
    """The route to an origin. Raises SettingsError, which names the variable that is wrong.

    `https_proxy`, `all_proxy` (or in capitals), `no_proxy`, `SSL_CERT_FILE` and `SSL_CERT_DIR`
    count as they do for curl. No proxy stands between us and this machine.
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
    # What is quoted has no password in it.
    scheme, _, place = address.partition("://")
    shown = one_line(f"{scheme}://{place.rpartition('@')[2]}")
    if scheme.lower() not in ("http", "https"):
        raise SettingsError(
            f"{variable}: {shown} cannot be used: the proxy must be one for HTTP, such as "
            "http://127.0.0.1:3128"
        )
    try:
        url = httpx.URL(address)
        if not url.host or (url.port or 0) > 65535:
            raise ValueError("it names no host, or no port")
        return httpx.Proxy(url)
    except (httpx.InvalidURL, ValueError):
        raise SettingsError(
            f"{variable}: {shown} is no address of a proxy; it must look like http://127.0.0.1:3128"
        ) from None


def _goes_direct(url: httpx.URL) -> bool:
    """Whether NO_PROXY names the host: itself, its domain, or a network that it is in."""
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
            continue  # a name
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
                next(Path(path).iterdir(), None)  # OpenSSL would not mind a folder that is missing
                context = ssl.create_default_context(capath=path)
            else:
                context = ssl.create_default_context(cafile=path)
        except OSError as error:
            raise SettingsError(
                f"{variable}: {one_line(path)} cannot be used as certificates to trust "
                f"({error.strerror or first_line(error)}); mend it, or unset it"
            ) from None
        return context, f"{variable} ({one_line(path)})"
    return httpx.create_ssl_context(verify=encrypted, trust_env=False), "certifi"
