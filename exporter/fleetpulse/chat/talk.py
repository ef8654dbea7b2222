"""What all chat endpoints have in common: who it is, pings, the rate of what is said; and the monitor's endpoint.

Promises: no message whatever raises or ends the connection, but too many of them.
"""

import secrets
from collections.abc import Sequence
from typing import Any

from fleetpulse import __version__
from fleetpulse.auth import Principal
from fleetpulse.chat import messages, requests
from fleetpulse.chat.service import Chat
from fleetpulse.chat.topics import MONITOR, is_anyone
from fleetpulse.errors import FleetpulseError, ForbiddenError, InvalidInputError, LimitedError
from fleetpulse.journal import rfc3339
from fleetpulse.live import Cause
from fleetpulse.live.client import Client
from fleetpulse.live.connection import Connection
from fleetpulse.live.limits import TokenBucket
from fleetpulse.live.sessions import Session, Tag

FRAMES_PER_SECOND = 500.0  # of any kind: a client answers a ping for each write it is sent
RATE_LIMITED = "rate_limited"


class TalkSession(Session):
    """What all chat endpoints have in common: who it is, pings, the rate of what is said."""

    warns = True

    def __init__(self, chat: Chat, client: Client, connection: Connection) -> None:
        super().__init__(chat.hub, client)
        self._chat = chat
        self._connection = connection
        rate = chat.settings.chat.messages_per_second
        self._bucket = TokenBucket(rate, client.last_seen)
        client.bucket = TokenBucket(max(FRAMES_PER_SECOND, rate * 4), client.last_seen)
        self._strikes = 0

    @property
    def _principal(self) -> Principal:
        principal = self._client.principal
        if principal is None:
            raise ForbiddenError("the connection is not admitted")
        return principal

    def opened(self) -> None:
        """Tells the client who it is here, and what it needs to know of the server."""
        if self._chat.presence.open(self._connection, self._client):
            self._send(self._established())
            self._begin()

    def closed(self) -> None:
        """Nothing is left of it: the seat is given back by whoever gave it."""

    def received(self, text: str) -> None:
        """A text message came in."""
        self._chat.presence.counts.received += 1
        self._connection.last_pong = self._chat.clock()
        if not self._in_time():
            return
        try:
            request = requests.read(text)
        except InvalidInputError as error:
            more = {"errors": error.errors} if error.errors else {}
            self._fail(error, **more, **requests.tag_of(text))
            return
        try:
            self._do(request)
        except FleetpulseError as error:
            self._fail(error, **tagged(request.id))

    def refused(self, error: FleetpulseError, tag: Tag = None) -> None:
        """Tells the client of an error that a message of its caused, which `received` did not see."""
        self._chat.presence.counts.received += 1
        self._fail(error, **tagged(tag))

    def renewed(self, dropped: Sequence[str], tag: Tag) -> None:
        """The client has shown a newer credential."""
        self._chat.presence.counts.received += 1
        super().renewed(dropped, tag)

    def ponged(self, payload: bytes) -> None:
        """A sign of life."""
        del payload
        self._connection.last_pong = self._chat.clock()

    def _begin(self) -> None:
        """Subscribes to what the endpoint shows."""

    def _do(self, request: requests.Request) -> None:
        if isinstance(request, requests.Ping):
            self._answer({"type": "pong", "timestamp": rfc3339(self._chat.clock())}, request.id)
        elif not isinstance(request, requests.Pong | requests.Auth):
            raise InvalidInputError("this address takes ping, pong and auth only")

    def _established(self) -> dict[str, Any]:
        settings = self._chat.settings
        return {
            "type": "connection_established",
            "connection_id": self._connection.connection_id,
            "user_id": self._connection.user_id,
            "session_id": self._connection.session_id,
            "timestamp": rfc3339(self._chat.clock()),
            "expires_at": self._expires_at(),
            "server": {"name": "fleetpulse", "version": __version__, "replica": self._connection.replica},
            "ping_interval": settings.live.ping_seconds,
            "ping_timeout": settings.live.dead_seconds,
            "limits": {
                "message_bytes": settings.live.max_message_bytes,
                "messages_per_second": settings.chat.messages_per_second,
                "sessions": settings.chat.max_sessions,
                "connections": settings.chat.max_connections_per_user,
            },
        }

    def _in_time(self) -> bool:
        """Whether the client may say something now; else it is told, and in the end closed."""
        if self._bucket.take(self._client.last_seen):
            self._strikes = 0
            return True
        self._strikes += 1
        self._chat.limited.inc()
        if self._strikes > self._chat.settings.chat.flood_strikes:
            self._chat.presence.counts.errors += 1
            self._hub.refused(self._client, Cause.FLOOD.name.lower())
            self._hub.close(self._client, Cause.FLOOD)
        else:
            most = self._chat.settings.chat.messages_per_second
            error = LimitedError(f"more than {most:g} messages a second: this one was dropped")
            self._fail(error, code=RATE_LIMITED)
        return False

    def _fail(self, error: FleetpulseError, **more: Any) -> None:
        self._chat.presence.counts.errors += 1
        self._hub.refused(self._client, str(more.get("code", error.code)))
        self._send(messages.error(error) | more)

    def _answer(self, message: dict[str, Any], tag: Tag) -> None:
        self._send(message | tagged(tag))

    def _send(self, message: dict[str, Any]) -> None:
        self._chat.presence.counts.sent += not self._client.closed
        super()._send(message)


class MonitorSession(TalkSession):
    """`/ws/admin/monitor`: statistics at once and regularly, who comes and goes, connection events."""

    def _begin(self) -> None:
        self._hub.subscribe(self._client, MONITOR, self._chat.encoders.plain)
        self._subscribe_fixed("events/connection", self._chat.encoders.events)


def new_connection(
    endpoint: str,
    principal: Principal,
    now: float,
    *,
    user_id: str | None = None,
    session_id: str | None = None,
) -> Connection:
    """A connection of who this is; where nobody is asked, `user_id` says it, or a name is made up.

    Raises ForbiddenError where the session is not for them.
    """
    if session_id is not None and not principal.may_enter(session_id):
        raise ForbiddenError("this session is not among those of the credential")
    named = principal.subject
    if is_anyone(principal):
        named = user_id or f"guest-{secrets.token_hex(4)}"
    elif user_id not in (None, named):
        raise ForbiddenError("user_id is another than the credential's")
    roles = sorted(role.value for role in principal.roles)
    metadata = {"username": principal.name or named, "roles": roles}
    connection_id = f"conn_{secrets.token_hex(8)}"
    return Connection(connection_id, named, endpoint, now, session_id=session_id, metadata=metadata)


def tagged(tag: Tag) -> dict[str, Any]:
    """The `id` of a request in the answer to it."""
    return {} if tag is None else {"id": tag}
