"""WebSocket endpoints, what is common: admission, the upgrade, and one reader per connection.

Promises: a seat is taken before anything is awaited, and refusals are HTTP answers before the upgrade, as far as
they can be known by then. After it, every frame goes out through the hub, in order; nothing here sends. A reader
ends with its connection. A client may replace its credential at any time by `{"type": "auth", "token": ...}`.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Protocol

from aiohttp import WSCloseCode, WSMessage, WSMsgType, hdrs, web
from aiohttp.web_request import BaseRequest
from multidict import CIMultiDict

from fleetpulse.auth import Principal, Role
from fleetpulse.config import Live
from fleetpulse.errors import (
    FleetpulseError,
    ForbiddenError,
    InvalidInputError,
    LimitedError,
    MalformedError,
    OverloadedError,
    UnauthenticatedError,
)
from fleetpulse.live import Cause, Hub, frames
from fleetpulse.live.client import Client
from fleetpulse.live.sessions import Renewal, Session, renewal_of, token_of
from fleetpulse.live.wires import DEFLATED, WEBSOCKET
from fleetpulse.web.guard import Admission

AUTH_SECONDS = 10.0
CLOSE_SECONDS = 2.0
SUBPROTOCOL = "fleetpulse.live.v1"
DEFLATE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
WINDOW_BITS = 15
_OVER = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)
log = logging.getLogger(__name__)

MakeSession = Callable[[Client], Session]
Gate = Callable[[Principal], AbstractAsyncContextManager[object]]


class Doorkeeper(Protocol):
    """What the endpoints need of `web.guard.Guard`."""

    async def admit_websocket(
        self, request: web.Request, role: Role, *, protocols: tuple[str, ...] = ()
    ) -> Admission:
        """Judges a handshake; no principal means that the first message must bring a credential."""

    async def admit_token(self, token: str, role: Role) -> Principal:
        """Judges a token from a message."""


class Sockets:
    """Serves WebSockets for any endpoint; hold one per application.

    `auth_seconds` is how long a connection may take to bring its credential as first message.
    """

    def __init__(self, hub: Hub, settings: Live, guard: Doorkeeper, *, auth_seconds: float = AUTH_SECONDS) -> None:
        self._hub = hub
        self._settings = settings
        self._guard = guard
        self._auth_seconds = auth_seconds

    async def serve(
        self,
        request: web.Request,
        endpoint: str,
        make: MakeSession,
        *,
        role: Role = Role.VIEWER,
        gate: Gate | None = None,
    ) -> web.StreamResponse:
        """Serves one connection until its end; `endpoint` names it in metrics.

        `make` makes the session once the client is admitted (`client.principal`). `gate` is entered once it is
        known who the client is, and left when the connection is over: for seats per user, say. What it raises is an
        HTTP answer where the handshake brought the credential, a close code where the first message does. The same
        goes for what `make` and `Session.opened` raise, but they are called after the upgrade.
        """
        async with AsyncExitStack() as stack:
            stack.enter_context(self._hub.reserve(request.remote or ""))
            admission = await self._guard.admit_websocket(request, role, protocols=(SUBPROTOCOL,))
            if admission.principal is not None and gate is not None:
                await stack.enter_async_context(gate(admission.principal))
                gate = None
            socket = await self._upgrade(request, admission.subprotocol)
            if request.transport is None:
                return socket
            connection = _Connection(self._hub, self._guard, role, socket)
            client = self._hub.connect(request.transport, endpoint, DEFLATED if socket.compress else WEBSOCKET)
            try:
                await connection.talk(client, admission.principal, self._auth_seconds, make, gate, stack)
            except Exception:
                log.exception("a connection of %s failed", endpoint)
                self._hub.close(client, Cause.FAILED)
            finally:
                self._hub.disconnect(client)
            return socket

    async def _upgrade(self, request: web.Request, subprotocol: str | None) -> web.WebSocketResponse:
        asked = request.query.get("compress") in ("1", "true")
        compression = self._settings.compression
        socket = _WebSocket(
            autoping=False,
            autoclose=False,
            compress=compression == "offered" or (compression == "asked" and asked),
            timeout=CLOSE_SECONDS,
            max_msg_size=self._settings.max_message_bytes,
            protocols=() if subprotocol is None else (subprotocol,),
        )
        if not socket.can_prepare(request).ok:
            raise MalformedError("this address speaks WebSocket: send an upgrade request (version 13)")
        await socket.prepare(request)
        return socket


class _WebSocket(web.WebSocketResponse):
    """Where deflate is negotiated, neither side keeps a window from one message to the next (RFC 7692, 7.1.1)."""

    def _handshake(self, request: BaseRequest) -> tuple[CIMultiDict[str], str | None, int, bool]:
        headers, protocol, compress, _ = super()._handshake(request)
        headers.popall(hdrs.SEC_WEBSOCKET_EXTENSIONS, None)
        if compress == WINDOW_BITS:  # a client that wants a smaller window goes without: the bytes are for all
            headers[hdrs.SEC_WEBSOCKET_EXTENSIONS] = DEFLATE
            return headers, protocol, compress, True
        return headers, protocol, 0, False


class _Connection:
    """The reading side of one connection."""

    def __init__(self, hub: Hub, guard: Doorkeeper, role: Role, socket: web.WebSocketResponse) -> None:
        self._hub = hub
        self._guard = guard
        self._role = role
        self._socket = socket

    async def talk(  # noqa: PLR0913 - what a connection begins with
        self,
        client: Client,
        principal: Principal | None,
        auth_seconds: float,
        make: MakeSession,
        gate: Gate | None,
        stack: AsyncExitStack,
    ) -> None:
        """Admits the client, then reads until the end."""
        try:
            principal = principal or await self._first_message(client, auth_seconds)
            if gate is not None:
                await stack.enter_async_context(gate(principal))
            client.admitted(principal)
            session = make(client)
            stack.callback(session.closed)
            session.opened()
            session.watch_expiry()
        except FleetpulseError as error:
            self._hub.close(client, cause_of(error))
            await self._until_closed()
            return
        while (text := await self._next_text(client, session)) is not None:
            renewal = renewal_of(text)
            if renewal is None:
                session.received(text)
            else:
                await self._renew(client, session, renewal)

    async def _first_message(self, client: Client, seconds: float) -> Principal:
        """The principal of the credential that the first message brings. Raises FleetpulseError."""
        try:
            async with asyncio.timeout(seconds):
                text = await self._next_text(client, None)
                token = token_of(text) if text is not None else None
                if token is None:
                    raise UnauthenticatedError("the first message must be an auth message")
                return await self._guard.admit_token(token, self._role)
        except TimeoutError as error:
            raise UnauthenticatedError("no auth message came in time") from error

    async def _renew(self, client: Client, session: Session, renewal: Renewal) -> None:
        """Takes a newer credential of the same subject; one that does not hold changes nothing."""
        try:
            principal = await self._guard.admit_token(renewal.token, self._role)
            if client.principal is None or principal.subject != client.principal.subject:
                raise ForbiddenError("the credential is of another subject than the connection's")
        except FleetpulseError as error:
            session.refused(error, renewal.tag)
            return
        client.admitted(principal)
        session.renewed(self._hub.readmit(client), renewal.tag)

    async def _next_text(self, client: Client, session: Session | None) -> str | None:
        """The next text message; None when the connection is over. Control frames are dealt with on the way."""
        while True:
            message: WSMessage = await self._socket.receive()
            if message.type in _OVER:
                if getattr(message.data, "code", None) == WSCloseCode.MESSAGE_TOO_BIG:
                    self._hub.close(client, Cause.TOO_BIG)  # to count it: aiohttp has told the client
                return None
            if not self._hub.heard(client):
                await self._until_closed()
                return None
            if message.type is WSMsgType.TEXT:
                self._hub.received(client)
                return str(message.data)
            if message.type is WSMsgType.PING:
                client.write(frames.pong(bytes(message.data)))
            elif message.type is WSMsgType.PONG and client.ponged(bytes(message.data)):
                pass
            elif session is not None:
                _other(message, session)

    async def _until_closed(self) -> None:
        """Reads on, for the answer to a close frame; the hub aborts the transport of who gives none."""
        while (await self._socket.receive()).type not in _OVER:
            pass


def _other(message: WSMessage, session: Session) -> None:
    if message.type is WSMsgType.PONG:
        session.ponged(bytes(message.data))
    elif message.type is WSMsgType.BINARY:
        session.refused(InvalidInputError("binary messages are not part of the protocol"))


def cause_of(error: FleetpulseError) -> Cause:
    """Why a connection is closed that an error keeps from being opened."""
    if isinstance(error, UnauthenticatedError):
        return Cause.UNAUTHENTICATED
    if isinstance(error, ForbiddenError):
        return Cause.FORBIDDEN
    if isinstance(error, OverloadedError):
        return Cause.BUSY
    return Cause.LIMITED if isinstance(error, LimitedError) else Cause.REFUSED
