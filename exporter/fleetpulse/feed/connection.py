"""One WebSocket connection to `/ws/live`: opening it, its signs of life, and what its end means.

Promises: what ends a connection is either `LostError` (come again) or an error that says why coming again is of no
use. Reads no faster than it is asked to: what is not taken stays in the kernel's buffers and in the server.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from fleetpulse.errors import (
    FleetpulseError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
    UpstreamError,
)

PATH = "/ws/live"
SUBPROTOCOL = "fleetpulse.live.v1"
OPEN_SECONDS = 20.0
CLOSE_SECONDS = 2.0
IDLE_SECONDS = 45.0  # past the server's pings; then one of ours, and as long again for its answer
MAX_MESSAGE_BYTES = 256 * 2**20  # a snapshot of very many agents; the server bounds what there can be
SERVER_ERROR = 500
TOO_MANY_REQUESTS = 429
SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_FOR_GOOD: dict[int, type[FleetpulseError]] = {
    1008: UnauthenticatedError,
    1009: InvalidInputError,
    4401: UnauthenticatedError,
    4403: ForbiddenError,
}


class LostError(Exception):
    """The connection ended in a way that may pass; `retry_after` seconds were asked for, if any."""

    def __init__(self, why: str, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.retry_after = retry_after


def address(url: str) -> str:
    """The feed's WebSocket address at an exporter's address, `http://…` or `ws://…`; its path may be left out.

    Raises InvalidInputError.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises on a port that is none
    except ValueError as error:
        raise InvalidInputError(f"{url!r} is not an address: {error}") from error
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise InvalidInputError(f"{url!r} is not an address; try http://127.0.0.1:8001")
    path = parts.path.rstrip("/").removesuffix(PATH) + PATH
    return parts._replace(scheme=SCHEMES[parts.scheme], path=path, fragment="").geturl()


class Socket:
    """An open connection; `open_socket` makes it."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse, idle_seconds: float) -> None:
        self._connection = connection
        self._idle = idle_seconds

    async def receive(self) -> str:
        """The next text message. Raises as the module says when the connection has ended."""
        while True:
            message = await self._next()
            if message.type is aiohttp.WSMsgType.TEXT:
                return str(message.data)
            if message.type is aiohttp.WSMsgType.PING:
                await self._connection.pong(message.data)
            elif message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED):
                raise _verdict(self._connection.close_code, str(message.extra or ""))
            elif message.type is aiohttp.WSMsgType.ERROR:
                raise LostError(f"the connection failed: {message.data}")

    async def send(self, message: Mapping[str, Any]) -> None:
        """Sends a message; raises LostError where the connection has ended."""
        try:
            await self._connection.send_str(json.dumps(message))
        except (aiohttp.ClientError, OSError) as error:
            raise LostError(f"the connection broke off: {error}") from error

    async def close(self) -> None:
        """Says goodbye, where that still works, and frees the connection."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._connection.close()
        except (aiohttp.ClientError, OSError):  # TimeoutError is an OSError
            pass

    async def _next(self) -> aiohttp.WSMessage:
        """The next frame. Silence is asked with a ping; silence after it is the end."""
        try:
            async with asyncio.timeout(self._idle):
                return await self._connection.receive()
        except TimeoutError:
            await self._ping()
        try:
            async with asyncio.timeout(self._idle):
                return await self._connection.receive()
        except TimeoutError:
            raise LostError("the server gives no sign of life") from None

    async def _ping(self) -> None:
        try:
            await self._connection.ping()
        except (aiohttp.ClientError, OSError) as error:
            raise LostError(f"the connection broke off: {error}") from error


async def open_socket(
    session: aiohttp.ClientSession,
    url: str,
    token: str | None,
    headers: Mapping[str, str],
    idle_seconds: float = IDLE_SECONDS,
) -> Socket:
    """Opens a connection. Raises LostError, or another error that says why it can never be."""
    sent = {**headers} | ({"Authorization": f"Bearer {token}"} if token else {})
    place = url.partition("?")[0]  # what follows may be a credential
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            connection = await session.ws_connect(
                url,
                headers=sent,
                protocols=(SUBPROTOCOL,),
                autoping=False,
                max_msg_size=MAX_MESSAGE_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_SECONDS),
            )
    except aiohttp.WSServerHandshakeError as error:
        raise _refusal(place, error) from error
    except aiohttp.ClientSSLError as error:
        raise UpstreamError("live feed", f"no trusted connection to {place}: {error}") from error
    except aiohttp.InvalidURL as error:
        raise InvalidInputError(f"{place!r} is not an address; try http://127.0.0.1:8001") from error
    except TimeoutError as error:
        raise LostError(f"no answer from {place} in time") from error
    except (aiohttp.ClientError, OSError) as error:
        raise LostError(f"cannot connect to {place}: {error}") from error
    return Socket(connection, idle_seconds)


def _refusal(place: str, error: aiohttp.WSServerHandshakeError) -> Exception:
    """The error that the answer to a handshake stands for."""
    status = error.status
    if status >= SERVER_ERROR or status == TOO_MANY_REQUESTS:
        return LostError(
            f"HTTP {status} from {place}", _seconds(error.headers.get("Retry-After") if error.headers else None)
        )
    if status == 401:  # noqa: PLR2004 - HTTP
        return UnauthenticatedError(f"{place} takes no such credential")
    if status == 403:  # noqa: PLR2004 - HTTP
        return ForbiddenError(f"{place} refuses: the credential lacks the role, or the page its Origin")
    return NotFoundError(f"there is no live feed at {place} (HTTP {status})")


def _verdict(code: int | None, reason: str) -> Exception:
    """The error that a close code stands for; docs/live.md has them."""
    said = f"closed with {code}{f': {reason}' if reason else ''}"
    return _FOR_GOOD[code](said) if code in _FOR_GOOD else LostError(said)


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None
