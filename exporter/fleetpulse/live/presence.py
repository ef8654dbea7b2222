"""Who is there: the identified connections of this replica, and what the other replicas say of theirs.

Promises: a user never holds more than `chat.max_connections_per_user` seats here, however many connections
open at one instant: a seat is claimed before anything is awaited. Where replicas share seats (`Claims`), the bound
holds over all of them. What other replicas say expires by itself when they fall silent.

Everything here runs on the event loop's thread.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from fleetpulse import config
from fleetpulse.errors import LimitedError
from fleetpulse.journal import rfc3339
from fleetpulse.live.bus import Bus
from fleetpulse.live.client import Client
from fleetpulse.live.closing import Cause

ANNOUNCE_SECONDS = 5.0
EXPIRE_SECONDS = 3.5 * ANNOUNCE_SECONDS
ANNOUNCED = 200  # connections in one message of the bus
MAX_REMOTE = 100_000  # connections of other replicas that are remembered
HERE = "presence.here"
GONE = "presence.gone"
CLOSE = "presence.close"
log = logging.getLogger(__name__)


@dataclass(eq=False)
class Connection:
    """One identified connection; times are Unix seconds. `client` is the hub's, None for other replicas' ones.

    `session_id` is the chat session of an endpoint that has one; `sessions` are those it has joined. `expel` makes
    it leave one (`session_id, reason`) and tells its client; None where the endpoint has none to leave.
    """

    connection_id: str
    user_id: str
    endpoint: str
    connected_at: float
    session_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    replica: str = ""
    client: Client | None = None
    sessions: set[str] = field(default_factory=set)
    last_ping: float = 0.0
    last_pong: float = 0.0
    displaced: bool = False
    expel: Callable[[str, str], None] | None = None

    def __post_init__(self) -> None:
        self.last_ping = self.last_ping or self.connected_at
        self.last_pong = self.last_pong or self.connected_at

    @property
    def is_alive(self) -> bool:
        """Whether it is open; of another replica's, as far as that one says."""
        return self.client is None or not self.client.closed

    def as_json(self) -> dict[str, Any]:
        """The connection as the document shows it, and what we know besides."""
        return {
            "connection_id": self.connection_id,
            "user_id": self.user_id,
            "session_id": self.session_id or next(iter(sorted(self.sessions)), None),
            "connected_at": rfc3339(self.connected_at),
            "last_ping": rfc3339(self.last_ping),
            "last_pong": rfc3339(self.last_pong),
            "is_alive": self.is_alive,
            "metadata": dict(self.metadata),
            "endpoint": self.endpoint,
            "sessions": sorted(self.sessions),
            "replica": self.replica,
        }


class Claims(Protocol):
    """Seats of users over all replicas. Where there is one replica only, `LocalClaims`."""

    async def claim(self, user_id: str, connection_id: str, limit: int, *, displace: bool) -> Sequence[str]:
        """Takes one of a user's `limit` seats, in one atomic step over all replicas.

        With `displace` the oldest make room: their connection ids are returned, and have lost their seats. Without,
        raises LimitedError where none is free. Must not fail for want of the other replicas: the bound of this one
        holds all the same.
        """

    def release(self, user_id: str, connection_id: str) -> None:
        """Gives a seat back; never waits, and means nothing where there is no such seat."""


class LocalClaims:
    """One replica: `Presence` itself has counted already."""

    async def claim(self, user_id: str, connection_id: str, limit: int, *, displace: bool) -> Sequence[str]:  # noqa: ARG002 - an interface
        """Every seat that is left here is left everywhere."""
        return ()

    def release(self, user_id: str, connection_id: str) -> None:
        """Nobody else was told of it."""


class Listener(Protocol):
    """Hears what changes; called on the loop, must not wait. What it raises is logged."""

    def connected(self, connection: Connection) -> None:
        """A connection of this replica is open."""

    def disconnected(self, connection: Connection) -> None:
        """A connection of this replica is over; it still has its sessions."""

    def user_changed(self, user_id: str, sessions: Iterable[str], *, online: bool) -> None:
        """A user's first connection opened, or the last one closed, on any replica."""


@dataclass
class Counts:
    """What the endpoints count for the statistics, since this process started."""

    connections: int = 0
    disconnections: int = 0
    sent: int = 0
    received: int = 0
    errors: int = 0


class Presence:
    """The registry. `close` closes one of this replica's clients (the hub does); `clock` tells the time of day."""

    def __init__(
        self,
        settings: config.Chat,
        close: Callable[[Client, Cause], None],
        bus: Bus,
        claims: Claims | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.counts = Counts()
        self.clock = clock
        self._settings = settings
        self._close = close
        self._bus = bus
        self._claims: Claims = LocalClaims() if claims is None else claims
        self._seats: dict[str, dict[str, Connection]] = {}  # by user, the oldest first; also those being opened
        self._open: dict[str, Connection] = {}
        self._remote: dict[str, tuple[float, Connection]] = {}
        self._users: dict[str, set[str]] = {}  # connection ids, of every replica
        self._sessions: dict[str, set[str]] = {}
        self._listeners: list[Listener] = []
        bus.on(HERE, self._heard)
        bus.on(GONE, self._heard_gone)
        bus.on(CLOSE, self._asked_to_close)

    def listen(self, listener: Listener) -> None:
        """Adds one who hears what changes."""
        self._listeners.append(listener)

    # Seats ---------------------------------------------------------------------------------------------------
    @asynccontextmanager
    async def seated(self, connection: Connection) -> AsyncIterator[None]:
        """Holds a seat for as long as the block runs; see `admit`."""
        await self.admit(connection)
        try:
            yield
        finally:
            self.leave(connection)

    async def admit(self, connection: Connection) -> None:
        """Takes a seat for a connection about to be opened; pair with `leave`.

        Where the user has all of theirs already, raises LimitedError, or closes the oldest, as configured.
        """
        connection.replica = self._bus.replica
        self._take(connection)  # before anything is awaited
        try:
            displaced = await self._claims.claim(
                connection.user_id,
                connection.connection_id,
                self._settings.max_connections_per_user,
                displace=self._settings.at_limit == "close_oldest",
            )
        except BaseException:
            self.leave(connection)
            raise
        for connection_id in displaced:
            self.close(connection_id, Cause.REPLACED)

    def open(self, connection: Connection, client: Client) -> bool:
        """The connection stands; False when its seat went to a newer one meanwhile: then it is being closed."""
        connection.client = client
        if connection.displaced:
            self._close(client, Cause.REPLACED)
            return False
        self._open[connection.connection_id] = connection
        self.counts.connections += 1
        self._index(connection)
        self._announce([connection])
        self._each(lambda listener: listener.connected(connection))
        return True

    def leave(self, connection: Connection) -> None:
        """Gives the seat back."""
        self._free(connection)
        self._claims.release(connection.user_id, connection.connection_id)
        if self._open.pop(connection.connection_id, None) is None:
            return
        self.counts.disconnections += 1
        self._each(lambda listener: listener.disconnected(connection))
        self._bus.send(GONE, {"replica": self._bus.replica, "ids": [connection.connection_id]})
        self._unindex(connection)

    def _take(self, connection: Connection) -> None:
        taken = self._seats.setdefault(connection.user_id, {})
        limit = self._settings.max_connections_per_user
        while len(taken) >= limit:
            if self._settings.at_limit == "refuse":
                raise LimitedError(f"chat.max_connections_per_user: this user has {limit} open already")
            self._displace(next(iter(taken.values())))
        taken[connection.connection_id] = connection
        self._seats[connection.user_id] = taken

    def _displace(self, connection: Connection) -> None:
        connection.displaced = True
        self._free(connection)
        if connection.client is not None:
            self._close(connection.client, Cause.REPLACED)

    def _free(self, connection: Connection) -> None:
        taken = self._seats.get(connection.user_id, {})
        if taken.get(connection.connection_id) is connection:
            del taken[connection.connection_id]
        if not taken:
            self._seats.pop(connection.user_id, None)

    # Sessions ------------------------------------------------------------------------------------------------
    def is_in(self, user_id: str, session_id: str) -> bool:
        """Whether a user has a connection that has joined a session."""
        return not self._users.get(user_id, set()).isdisjoint(self._sessions.get(session_id, ()))

    def joined(self, connection: Connection, session_id: str) -> None:
        """An open connection has joined a session."""
        connection.sessions.add(session_id)
        self._sessions.setdefault(session_id, set()).add(connection.connection_id)
        self._announce([connection])

    def left(self, connection: Connection, session_id: str) -> None:
        """An open connection has left a session."""
        connection.sessions.discard(session_id)
        _remove(self._sessions, session_id, connection.connection_id)
        self._announce([connection])

    # Who is there --------------------------------------------------------------------------------------------
    @property
    def remote(self) -> Mapping[str, Connection]:
        """What other replicas say, by connection id."""
        return {name: connection for name, (_, connection) in self._remote.items()}

    def connections(self) -> list[Connection]:
        """Every open connection, of all replicas."""
        return [*self._open.values(), *(connection for _, connection in self._remote.values())]

    def local(self) -> list[Connection]:
        """The open connections of this replica."""
        return list(self._open.values())

    def get(self, connection_id: str) -> Connection | None:
        """An open connection."""
        known = self._remote.get(connection_id)
        return self._open.get(connection_id) or (known[1] if known else None)

    def of_user(self, user_id: str) -> list[Connection]:
        """A user's open connections."""
        return self._all(self._users.get(user_id, ()))

    def of_session(self, session_id: str) -> list[Connection]:
        """The open connections that have joined a session."""
        return self._all(self._sessions.get(session_id, ()))

    def users(self) -> list[str]:
        """Users with an open connection."""
        return list(self._users)

    def sessions(self) -> list[str]:
        """Sessions that someone has joined."""
        return list(self._sessions)

    def totals(self) -> dict[str, int]:
        """The statistics with the document's names; the first group counts this replica since its start."""
        return {
            "total_connections": self.counts.connections,
            "messages_sent": self.counts.sent,
            "messages_received": self.counts.received,
            "disconnections": self.counts.disconnections,
            "errors": self.counts.errors,
            "active_connections": len(self._open) + len(self._remote),
            "active_users": len(self._users),
            "active_sessions": len(self._sessions),
            "total_user_connections": sum(map(len, self._users.values())),
            "total_session_connections": sum(map(len, self._sessions.values())),
        }

    def close(self, connection_id: str, cause: Cause) -> bool:
        """Closes a connection, of whichever replica; False where there is no such connection."""
        connection = self.get(connection_id)
        if connection is None:
            self._bus.send(CLOSE, {"id": connection_id, "cause": cause.name})  # one that has not announced itself
            return False
        if connection.client is not None:
            if cause is Cause.REPLACED:
                self._displace(connection)
            self._close(connection.client, cause)
        else:
            self._bus.send(CLOSE, {"id": connection_id, "cause": cause.name})
        return True

    # Other replicas ------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Tells the others who is here, and forgets those that fell silent; until cancelled."""
        while True:
            await asyncio.sleep(ANNOUNCE_SECONDS)
            here = list(self._open.values())
            for start in range(0, len(here), ANNOUNCED):
                self._announce(here[start : start + ANNOUNCED])
            self.expire()

    def expire(self) -> None:
        """Forgets other replicas' connections that were not spoken of lately."""
        before = self.clock() - EXPIRE_SECONDS
        for connection_id, (heard, connection) in list(self._remote.items()):
            if heard < before:
                del self._remote[connection_id]
                self._unindex(connection)

    def _announce(self, connections: Iterable[Connection]) -> None:
        told = [_packed(connection) for connection in connections]
        self._bus.send(HERE, {"replica": self._bus.replica, "connections": told})

    def _heard(self, payload: Mapping[str, Any]) -> None:
        for packed in payload["connections"]:
            connection = _unpacked(packed, str(payload["replica"]))
            known = self._remote.get(connection.connection_id)
            if known is None and len(self._remote) >= MAX_REMOTE:
                continue
            self._remote[connection.connection_id] = (self.clock(), connection)
            for session_id in (known[1].sessions if known else set()) - connection.sessions:
                _remove(self._sessions, session_id, connection.connection_id)
            self._index(connection)

    def _heard_gone(self, payload: Mapping[str, Any]) -> None:
        for connection_id in payload["ids"]:
            known = self._remote.pop(str(connection_id), None)
            if known is not None:
                self._unindex(known[1])

    def _asked_to_close(self, payload: Mapping[str, Any]) -> None:
        connection = self._open.get(str(payload["id"]))
        if connection is not None:
            self.close(connection.connection_id, Cause[str(payload["cause"])])

    # Indexes -------------------------------------------------------------------------------------------------
    def _index(self, connection: Connection) -> None:
        own = self._users.setdefault(connection.user_id, set())
        came = not own
        own.add(connection.connection_id)
        for session_id in connection.sessions:
            self._sessions.setdefault(session_id, set()).add(connection.connection_id)
        if came:
            self._tell_user(connection, online=True)

    def _unindex(self, connection: Connection) -> None:
        _remove(self._users, connection.user_id, connection.connection_id)
        for session_id in connection.sessions:
            _remove(self._sessions, session_id, connection.connection_id)
        if connection.user_id not in self._users:
            self._tell_user(connection, online=False)

    def _tell_user(self, connection: Connection, *, online: bool) -> None:
        sessions = sorted(connection.sessions)
        self._each(lambda listener: listener.user_changed(connection.user_id, sessions, online=online))

    def _each(self, call: Callable[[Listener], None]) -> None:
        for listener in self._listeners:
            try:
                call(listener)
            except Exception:
                log.exception("one who listens for who is there failed")

    def _all(self, ids: Iterable[str]) -> list[Connection]:
        found = (self.get(connection_id) for connection_id in ids)
        return sorted((each for each in found if each is not None), key=_age)


def _age(connection: Connection) -> tuple[float, str]:
    return connection.connected_at, connection.connection_id


def _remove(index: dict[str, set[str]], name: str, connection_id: str) -> None:
    members = index.get(name)
    if members is not None:
        members.discard(connection_id)
        if not members:
            del index[name]


def _packed(connection: Connection) -> dict[str, Any]:
    return {
        "id": connection.connection_id,
        "user": connection.user_id,
        "endpoint": connection.endpoint,
        "at": connection.connected_at,
        "session": connection.session_id,
        "metadata": dict(connection.metadata),
        "sessions": sorted(connection.sessions),
        "ping": connection.last_ping,
        "pong": connection.last_pong,
    }


def _unpacked(packed: Mapping[str, Any], replica: str) -> Connection:
    return Connection(
        connection_id=str(packed["id"]),
        user_id=str(packed["user"]),
        endpoint=str(packed["endpoint"]),
        connected_at=float(packed["at"]),
        session_id=packed["session"],
        metadata=packed["metadata"],
        replica=replica,
        sessions=set(packed["sessions"]),
        last_ping=float(packed["ping"]),
        last_pong=float(packed["pong"]),
    )
