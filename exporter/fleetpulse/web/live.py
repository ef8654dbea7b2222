"""The WebSocket endpoints: admission, the upgrade, and one reader per connection; the rest is the hub's.

Promises: a seat is taken before anything is awaited, and refusals are HTTP answers before the upgrade. After it,
every frame goes out through the hub, in order; nothing here sends. A reader ends with its connection.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from aiohttp import WSCloseCode, WSMessage, WSMsgType, web
from pydantic import Field

from fleetpulse.auth import Principal, Role
from fleetpulse.config import Settings
from fleetpulse.errors import (
    FleetpulseError,
    ForbiddenError,
    InvalidInputError,
    MalformedError,
    UnauthenticatedError,
)
from fleetpulse.live import AlertEncoder, Cause, Hub, LiveEncoder, PoolEncoder, frames
from fleetpulse.live.client import Client
from fleetpulse.live.sessions import AlertSession, LiveSession, PoolSession, Session, token_of
from fleetpulse.web.guard import Admission, admits_websocket
from fleetpulse.web.operations import Query, operation

AUTH_SECONDS = 10.0
CLOSE_SECONDS = 2.0
_OVER = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)
SUBPROTOCOL = "fleetpulse.live.v1"
log = logging.getLogger(__name__)


class Topics(Query):
    """The query of `/ws/live`."""

    topics: str = Field("", description="Topics to subscribe to at once, with commas between: `agents,requests`.")
    token: str | None = Field(None, description="A credential, where no header can be sent.")


class Token(Query):
    """The query of the other addresses."""

    token: str | None = Field(None, description="A credential, where no header can be sent.")


MakeSession = Callable[[Client], Session]


class Doorkeeper(Protocol):
    """What the endpoints need of `web.guard.Guard`."""

    async def admit_websocket(
        self, request: web.Request, role: Role, *, protocols: tuple[str, ...] = ()
    ) -> Admission:
        """Judges a handshake; no principal means that the first message must bring a credential."""

    async def admit_token(self, token: str, role: Role) -> Principal:
        """Judges a token from a first message."""


class LiveEndpoints:
    """Handlers of the three live endpoints; add `routes()` to the application.

    `auth_seconds` is how long a connection may take to bring its credential as first message.
    """

    def __init__(
        self, hub: Hub, settings: Settings, guard: Doorkeeper, *, auth_seconds: float = AUTH_SECONDS
    ) -> None:
        self._hub = hub
        self._settings = settings.live
        self._guard = guard
        self._auth_seconds = auth_seconds
        self._live = LiveEncoder()
        self._pool = PoolEncoder()
        self._alert = AlertEncoder(hub.clock)

    def routes(self) -> list[web.RouteDef]:
        """The routes to add."""
        return [
            web.get("/ws/live", self.live),
            web.get("/ws/agent-pools/{pool_id}/metrics", self.pool_metrics),
            web.get("/api/v1/group-ai/monitor/ws/alerts", self.alerts),
        ]

    @admits_websocket
    @operation("Live feed", status=101, query=Topics, problems=(400,), websocket=True)
    async def live(self, request: web.Request) -> web.StreamResponse:
        """Many topics on one connection.

        Subscribe by messages or by `topics`; resume by epoch and offset. See `docs/live.md`.
        """
        topics = [topic for topic in request.query.get("topics", "").split(",") if topic]

        def session(client: Client) -> Session:
            return LiveSession(self._hub, client, self._live, topics[: self._settings.max_subscriptions])

        return await self._serve(request, "live", session)

    @admits_websocket
    @operation("Live feed", status=101, query=Token, problems=(400,), websocket=True)
    async def pool_metrics(self, request: web.Request) -> web.StreamResponse:
        """One pool's agents as they change.

        `initial_metrics` first, then `metrics_update` and `agent_offline`.
        """
        pool_id = request.match_info["pool_id"]
        return await self._serve(
            request, "pool", lambda client: PoolSession(self._hub, client, self._pool, pool_id)
        )

    @admits_websocket
    @operation("Live feed", status=101, query=Token, problems=(400,), websocket=True)
    async def alerts(self, request: web.Request) -> web.StreamResponse:
        """Alerts: the last ten at once, then each new one."""
        return await self._serve(request, "alerts", lambda client: AlertSession(self._hub, client, self._alert))

    async def _serve(self, request: web.Request, endpoint: str, make: MakeSession) -> web.StreamResponse:
        with self._hub.reserve(request.remote or ""):
            admission = await self._guard.admit_websocket(request, Role.VIEWER, protocols=(SUBPROTOCOL,))
            socket = await self._upgrade(request, admission.subprotocol)
            if request.transport is None:
                return socket
            client = self._hub.connect(request.transport, endpoint)
            try:
                await self._talk(socket, client, make(client), admission.principal)
            except Exception:
                log.exception("a connection of %s failed", endpoint)
                self._hub.close(client, Cause.FAILED)
            finally:
                self._hub.disconnect(client)
            return socket

    async def _upgrade(self, request: web.Request, subprotocol: str | None) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(
            autoping=False,
            autoclose=False,
            compress=False,
            timeout=CLOSE_SECONDS,
            max_msg_size=self._settings.max_message_bytes,
            protocols=() if subprotocol is None else (subprotocol,),
        )
        if not socket.can_prepare(request).ok:
            raise MalformedError("this address speaks WebSocket: send an upgrade request (version 13)")
        await socket.prepare(request)
        return socket

    async def _talk(
        self, socket: web.WebSocketResponse, client: Client, session: Session, principal: Principal | None
    ) -> None:
        if principal is None:
            principal = await self._first_message(socket, client)
            if principal is None:
                return
        client.expires_at = principal.expires_at
        session.opened()
        while (text := await self._next_text(socket, client, session)) is not None:
            session.received(text)

    async def _first_message(self, socket: web.WebSocketResponse, client: Client) -> Principal | None:
        """The principal of the credential that the first message brings; else the connection is closed."""
        try:
            async with asyncio.timeout(self._auth_seconds):
                text = await self._next_text(socket, client, None)
                token = token_of(text) if text is not None else None
                if token is None:
                    raise UnauthenticatedError("the first message must be an auth message")  # noqa: TRY301
                return await self._guard.admit_token(token, Role.VIEWER)
        except (UnauthenticatedError, TimeoutError):
            self._hub.close(client, Cause.UNAUTHENTICATED)
        except ForbiddenError:
            self._hub.close(client, Cause.FORBIDDEN)
        except FleetpulseError:
            self._hub.close(client, Cause.REFUSED)
        await self._until_closed(socket)
        return None

    async def _next_text(
        self, socket: web.WebSocketResponse, client: Client, session: Session | None
    ) -> str | None:
        """The next text message; None when the connection is over. Control frames are dealt with on the way."""
        while True:
            message: WSMessage = await socket.receive()
            if message.type in _OVER:
                if getattr(message.data, "code", None) == WSCloseCode.MESSAGE_TOO_BIG:
                    self._hub.close(client, Cause.TOO_BIG)  # to count it: aiohttp has told the client
                return None
            if not self._hub.heard(client):
                await self._until_closed(socket)
                return None
            if message.type is WSMsgType.TEXT:
                return str(message.data)
            if message.type is WSMsgType.PING:
                client.write(frames.pong(bytes(message.data)))
            elif message.type is WSMsgType.BINARY and session is not None:
                session.refused(InvalidInputError("binary messages are not part of the protocol"))

    async def _until_closed(self, socket: web.WebSocketResponse) -> None:
        """Reads on, for the answer to a close frame; the hub aborts the transport of who gives none."""
        while (await socket.receive()).type not in _OVER:
            pass
