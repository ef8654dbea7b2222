"""Opening a stream's connection: headers, sub-protocols, TLS, proxy, compression, and the guards.

Promises: within `connect_seconds` there is a WebSocket, or an `AttemptError` that says why not, in words that hold
no secret. Every connection has a session of its own, so that certificates and headers are read anew for it, and
nothing of it is left when the context ends: a stalled server keeps no buffer of ours.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import aiohttp

from fleetpulse import __version__
from fleetpulse.config.tap import Source
from fleetpulse.tap.endings import AttemptError, Ending, failure
from fleetpulse.tap.guards import NOT_PUBLIC, Guard, refuse_redirects
from fleetpulse.tap.secrecy import Secrecy

Socket = aiohttp.ClientWebSocketResponse
CLOSE_SECONDS = 2.0
DEFLATE_BITS = 15


class _Prepared(NamedTuple):
    """What was read from files for one connection."""

    headers: dict[str, str]
    tls: ssl.SSLContext | bool


@asynccontextmanager
async def opened(source: Source, secrecy: Secrecy) -> AsyncIterator[Socket]:
    """A WebSocket while the context lasts. Raises AttemptError."""
    guard = Guard(allow_private=source.allow_private, proxied=source.proxy is not None)
    prepared = await _prepare(source, secrecy)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=1, force_close=True, use_dns_cache=False, socket_factory=guard),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=(refuse_redirects,),
        headers={"User-Agent": f"fleetpulse/{__version__}"},
    )
    try:
        socket = await _connect(source, session, guard, prepared, secrecy)
        try:
            yield socket
        finally:
            await _close(socket)
    finally:
        await session.close()
        guard.shut()


async def _prepare(source: Source, secrecy: Secrecy) -> _Prepared:
    """Reads the files. Those that cannot be read now may be there later, so that is not fatal."""
    try:
        return await asyncio.to_thread(lambda: _Prepared(secrecy.headers(), trust(source)))
    except (OSError, ValueError) as error:  # also ssl.SSLError, UnicodeDecodeError
        raise AttemptError(Ending("configuration", secrecy.hide(f"a file cannot be read: {error}"))) from None


async def _connect(
    source: Source, session: aiohttp.ClientSession, guard: Guard, prepared: _Prepared, secrecy: Secrecy
) -> Socket:
    try:
        guard.check(urlsplit(source.url).hostname or "")
        async with asyncio.timeout(source.connect_seconds):
            socket: Socket = await session.ws_connect(
                _target(source), headers=prepared.headers, **_options(source, prepared)
            )
            return socket
    except Exception as error:  # noqa: BLE001 - aiohttp's own errors, the system's, the parser's; see `failure`
        raise AttemptError(_ending(error, guard, secrecy)) from None


def _ending(error: Exception, guard: Guard, secrecy: Secrecy) -> Ending:
    """Why an attempt brought nothing, fit to be shown."""
    if guard.refused is not None:
        return Ending("forbidden", f"{guard.refused} {NOT_PUBLIC}", fatal=True)
    ending = failure(error, time.time())
    return ending._replace(why=secrecy.hide(ending.why))


async def _close(socket: Socket) -> None:
    """Closes what is open still; the server has had its time to answer."""
    with suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await socket.close(code=aiohttp.WSCloseCode.GOING_AWAY)


def _options(source: Source, prepared: _Prepared) -> dict[str, Any]:
    """What `ws_connect` is told."""
    return {
        "protocols": source.subprotocols,
        "timeout": aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
        "autoclose": False,
        "autoping": False,
        "compress": DEFLATE_BITS if source.compression else 0,
        "max_msg_size": source.max_message_bytes,
        "ssl": prepared.tls,
        "server_hostname": source.tls.server_name,
        **_proxy(source),
    }


def _target(source: Source) -> str:
    """The address as aiohttp is told it: proxies know no `ws:` in the line that asks them (RFC 9112, 3.2.2)."""
    parts = urlsplit(source.url)
    return parts._replace(scheme="http").geturl() if source.proxy and parts.scheme == "ws" else source.url


def _proxy(source: Source) -> dict[str, Any]:
    if not source.proxy:
        return {}
    parts = urlsplit(source.proxy)
    place = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    if parts.username is None:
        return {"proxy": place}
    login = aiohttp.encode_basic_auth(unquote(parts.username), unquote(parts.password or ""))
    return {"proxy": place, "proxy_headers": {"Proxy-Authorization": login}}


def trust(source: Source) -> ssl.SSLContext | bool:
    """How the server is trusted; True where it needs no certificate. Reads files; raises OSError, ssl.SSLError."""
    tls = source.tls
    if urlsplit(source.url).scheme != "wss":
        return True
    made = ssl.create_default_context(cafile=str(tls.ca_file) if tls.ca_file else None)
    if tls.cert_file:
        made.load_cert_chain(tls.cert_file, tls.key_file)
    if not tls.verify:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    return made
