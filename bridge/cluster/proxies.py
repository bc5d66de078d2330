"""Which HTTP proxy is between the laptop and the API server, by the environment. Pure.

The rules are those that kubectl has from Go (``golang.org/x/net/http/httpproxy``), so that both take the same way:

    https_proxy, HTTPS_PROXY    for https:// servers;  http_proxy, HTTP_PROXY for http:// ones
    no_proxy, NO_PROXY          comma-separated: ``*``, an address, a network (10.0.0.0/8), a domain (itself and what is
                                below it; only what is below it when written with a leading dot), each with ``:PORT``
    localhost, 127.0.0.0/8, ::1 never through a proxy
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEFAULT_PORT = {"https": 443, "http": 80}


def proxy_for(server: str, environ: Mapping[str, str]) -> str | None:
    """Return the url of the proxy on the way to ``server``, None where there is none."""
    url = urlsplit(server)
    host = (url.hostname or "").rstrip(".")
    proxy = _variable(f"{url.scheme}_proxy", environ)
    if not proxy or not host or _bypassed(host, url.port or _DEFAULT_PORT[url.scheme], _variable("no_proxy", environ)):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _variable(name: str, environ: Mapping[str, str]) -> str:
    return environ.get(name.upper()) or environ.get(name) or ""


def _bypassed(host: str, port: int, no_proxy: str) -> bool:
    address = _address(host)
    if host == "localhost" or (address is not None and address.is_loopback):
        return True
    return any(_matches(entry, host, address, port) for entry in no_proxy.lower().replace(" ", "").split(",") if entry)


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _matches(entry: str, host: str, address: _Address | None, port: int) -> bool:
    if entry == "*":
        return True
    name, only_port = _split_port(entry)
    if only_port not in (None, port):
        return False
    if address is not None:
        return _holds(name, address)
    if name.startswith("*."):
        name = name[1:]
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith(f".{name}")


def _holds(network: str, address: _Address) -> bool:
    try:
        return address in ipaddress.ip_network(network.strip("[]"), strict=False)
    except ValueError:
        return False


def _split_port(entry: str) -> tuple[str, int | None]:
    name, colon, port = entry.rpartition(":")
    if colon and port.isdigit() and (":" not in name or name.endswith("]")):
        return name, int(port)
    return entry, None
