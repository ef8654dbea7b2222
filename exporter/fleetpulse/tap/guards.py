"""What the tap may connect to.

Promises: unless private addresses are allowed, no connection is opened to an address that is not public. The check
is made on the very address that a socket is about to connect to, after the name was resolved, so neither a name
that changes its address (DNS rebinding) nor another spelling of one (`127.1`, `::ffff:127.0.0.1`, NAT64, 6to4,
Teredo) gets around it. Through a proxy the socket goes to the proxy, which the operator chose; then the target is
refused where its address or name is plainly local, and what a name means is up to the proxy.
Redirects are not followed: neither headers nor guards could be trusted any further.
"""

import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import NoReturn
from urllib.parse import urlsplit

import aiohttp

Address = IPv4Address | IPv6Address
AddressInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]
IPV4_BITS = 0xFFFFFFFF
NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052
LOCAL_NAMES = ("localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback")
LOCAL_ENDINGS = (".localhost", ".local", ".internal", ".home.arpa")
NOT_PUBLIC = "is not public, and allow_private is off"
REDIRECTS = range(300, 400)


class RedirectedError(Exception):
    """A server points elsewhere; `where` is the address without its query."""

    def __init__(self, where: str) -> None:
        super().__init__(f"redirected to {where}")
        self.where = where


def is_public(address: Address) -> bool:
    """Whether an address is one of the public Internet's, also where IPv6 wraps an IPv4 address."""
    if isinstance(address, IPv6Address):
        inner = _wrapped(address)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def literal(host: str) -> Address | None:
    """The address that a host's text is, in any spelling that resolvers take (`127.1`, `0x7f000001`); else None."""
    with suppress(ValueError):
        return ip_address(host.strip("[]"))
    with suppress(OSError):
        return IPv4Address(socket.inet_aton(host))
    return None


def is_local_name(host: str) -> bool:
    """Whether a host's name means this machine or its own network, wherever it is resolved (RFC 6761, 6762)."""
    name = host.rstrip(".").lower()
    return name in LOCAL_NAMES or name.endswith(LOCAL_ENDINGS)


class Guard:
    """Makes the sockets of one attempt to connect. `refused` is the address that was forbidden, if all were.

    `proxied`: the sockets go to a proxy, so it is the target's name that is looked at.
    """

    def __init__(self, *, allow_private: bool, proxied: bool = False) -> None:
        self._refused: str | None = None
        self._check_sockets = not (allow_private or proxied)
        self._check_names = proxied and not allow_private
        self._sockets: list[socket.socket] = []

    @property
    def refused(self) -> str | None:
        """A forbidden address, where there was no other to try."""
        return None if self._sockets else self._refused

    def __call__(self, info: AddressInfo) -> socket.socket:
        """A socket for an address, as aiohttp's `socket_factory`. Raises OSError for a forbidden one."""
        family, kind, protocol, _, where = info
        host = str(where[0])
        if self._check_sockets and not is_public(ip_address(host)):
            self._refuse(host)
        made = socket.socket(family, kind, protocol)
        self._sockets.append(made)
        return made

    def check(self, host: str) -> None:
        """Refuses a target behind a proxy that is plainly local. Raises PermissionError."""
        address = literal(host)
        if self._check_names and (is_local_name(host) if address is None else not is_public(address)):
            self._refuse(host)

    def shut(self) -> None:
        """Ends what is left of the connections at once: what waits to be sent to a stalled server is freed."""
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _refuse(self, host: str) -> NoReturn:
        self._refused = host
        raise PermissionError(f"{host} {NOT_PUBLIC}")


async def refuse_redirects(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """A client middleware of aiohttp. Raises RedirectedError instead of following."""
    response = await handler(request)
    if response.status in REDIRECTS:
        response.close()
        raise RedirectedError(shown(response.headers.get("Location", "nowhere")))
    return response


def shown(url: str) -> str:
    """An address as people may see it: without credentials, query and fragment."""
    try:
        parts = urlsplit(url)
        place = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=place, query="", fragment="").geturl()
    except ValueError:
        return "an address that is none"


def _wrapped(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that traffic to an IPv6 address ends at."""
    if address in NAT64:
        return IPv4Address(int(address) & IPV4_BITS)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None) or _compatible(address)


def _compatible(address: IPv6Address) -> IPv4Address | None:
    """`::127.0.0.1`, the old form without `ffff`; `::` and `::1` are what they are."""
    number = int(address)
    return IPv4Address(number) if 1 < number <= IPV4_BITS else None
