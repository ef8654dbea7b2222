"""Which web pages may talk to the exporter: the `Origin` and `Host` checks, free of aiohttp.

A browser lets any page open WebSockets and send simple POSTs to any address, loopback included. Where no
credentials are asked for, the page's origin and the name it used for this server are all there is to judge by.
"""

import ipaddress
from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

from fleetpulse.config import is_loopback

_DEFAULT_PORTS = {"http": 80, "https": 443}
_PRIVATE_SUFFIXES = (".internal", ".local")  # names no stranger can register


def origin_allowed(origin: str, host: str, allowed: tuple[str, ...], *, open_loopback: bool) -> bool:
    """Whether a page of `origin` may call this server, which it addressed as `host` (the Host header).

    It may from the same host and port, or when listed exactly (`*` lists all, `null` must be listed to pass: any
    sandboxed frame sends it). With `open_loopback` (no credentials asked for) a page served from this machine may
    also call a server addressed on this machine.
    """
    if "*" in allowed or origin in allowed or origin in {entry.rstrip("/").lower() for entry in allowed}:
        return True
    page = _split(origin)
    if page is None or page.scheme not in _DEFAULT_PORTS:
        return False
    server = _split(f"{page.scheme}://{host}")  # a proxy in front may speak TLS: the page's scheme is the server's
    if server is None:
        return False
    if _address(page) == _address(server):
        return True
    return open_loopback and _is_here(page.hostname or "") and _is_here(server.hostname or "")


@lru_cache(maxsize=256)  # every request asks, nearly always of the same name
def host_allowed(host: str, allowed: tuple[str, ...], *, bound: str) -> bool:
    """Whether a server without credentials may answer to this name: the guard against DNS rebinding.

    A hostile page can point a name of its own at 127.0.0.1 and so become "same origin", but it cannot do that
    with an address or with `localhost`. A server `bound` to other addresses also answers to names without a dot
    (containers) and to private ones; other names must be listed as origins.
    """
    server = _split(f"http://{host}")
    name = (server.hostname if server else None) or ""
    listed = {parts.hostname for entry in allowed if (parts := _split(entry)) is not None}
    if "*" in allowed or name in listed or name == bound or _is_here(name) or _is_address(name):
        return True
    return not is_loopback(bound) and name != "" and ("." not in name or name.endswith(_PRIVATE_SUFFIXES))


def _split(origin: str) -> SplitResult | None:
    """The parts of a well-formed origin (scheme, host, port and nothing else)."""
    try:
        parts = urlsplit(origin.lower())
        parts.port  # noqa: B018 - raises on a port that is none
    except ValueError:
        return None
    rest = parts.path.rstrip("/") or parts.query or parts.fragment or parts.username
    return parts if parts.hostname and not rest else None


def _address(parts: SplitResult) -> tuple[str, int]:
    return parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]


def _is_here(name: str) -> bool:
    return is_loopback(name) or name.endswith(".localhost")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
