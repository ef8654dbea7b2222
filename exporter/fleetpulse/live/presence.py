"""Who is there: the identified connections of this replica, and what the other replicas say of theirs.

Promises: a user never holds more than `chat.max_connections_per_user` seats here, however many connections
open at one instant: a seat is claimed before anything is awaited. Where replicas share seats (`Claims`), the bound
holds over all of them. What other replicas say expires by itself when they fall silent.

Everything here runs on the event loop's thread.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from fleetpulse import config
from fleetpulse.live.bus import Bus
from fleetpulse.live.claims import Claims, LocalClaims, UserSeats
from fleetpulse.live.client import Client
from fleetpulse.live.closing import Cause
from fleetpulse.live.connection import Connection, packed, unpacked
from fleetpulse.live.roster import Roster

ANNOUNCE_SECONDS = 5.0
EXPIRE_SECONDS = 3.5 * ANNOUNCE_SECONDS
ANNOUNCED = 200  # connections in one message of the bus
HERE = "presence.here"
GONE = "presence.gone"
CLOSE = "presence.close"
log = logging.getLogger(__name__)


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
        self._seats = UserSeats(settings, self._give_way)
        self._roster = Roster()
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
        self._seats.take(connection)  # before anything is awaited
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
        self.counts.connections += 1
        if self._roster.add(connection):
            self._tell_user(connection, online=True)
        self._announce([connection])
        self._each(lambda listener: listener.connected(connection))
        return True

    def leave(self, connection: Connection) -> None:
        """Gives the seat back."""
        self._seats.free(connection)
        self._claims.release(connection.user_id, connection.connection_id)
        if not self._roster.discard(connection):
            return
        self.counts.disconnections += 1
        self._each(lambda listener: listener.disconnected(connection))
        self._bus.send(GONE, {"replica": self._bus.replica, "ids": [connection.connection_id]})
        self._forget(connection)

    def _give_way(self, connection: Connection) -> None:
        if connection.client is not None:
            self._close(connection.client, Cause.REPLACED)

    # Sessions ------------------------------------------------------------------------------------------------
    def is_in(self, user_id: str, session_id: str) -> bool:
        """Whether a user has a connection that has joined a session."""
        return not self._roster.users.get(user_id, set()).isdisjoint(self._roster.sessions.get(session_id, ()))

    def joined(self, connection: Connection, session_id: str) -> None:
        """An open connection has joined a session."""
        self._roster.join(connection, session_id)
        self._announce([connection])

    def left(self, connection: Connection, session_id: str) -> None:
        """An open connection has left a session."""
        self._roster.leave(connection, session_id)
        self._announce([connection])

    # Who is there --------------------------------------------------------------------------------------------
    @property
    def remote(self) -> Mapping[str, Connection]:
        """What other replicas say, by connection id."""
        return self._roster.remote()

    def connections(self) -> list[Connection]:
        """Every open connection, of all replicas."""
        return [*self._roster.here.values(), *self._roster.remote().values()]

    def local(self) -> list[Connection]:
        """The open connections of this replica."""
        return list(self._roster.here.values())

    def get(self, connection_id: str) -> Connection | None:
        """An open connection."""
        return self._roster.get(connection_id)

    def of_user(self, user_id: str) -> list[Connection]:
        """A user's open connections."""
        return self._roster.all(self._roster.users.get(user_id, ()))

    def of_session(self, session_id: str) -> list[Connection]:
        """The open connections that have joined a session."""
        return self._roster.all(self._roster.sessions.get(session_id, ()))

    def users(self) -> list[str]:
        """Users with an open connection."""
        return list(self._roster.users)

    def sessions(self) -> list[str]:
        """Sessions that someone has joined."""
        return list(self._roster.sessions)

    def totals(self) -> dict[str, int]:
        """The statistics with the document's names; the first group counts this replica since its start."""
        roster = self._roster
        return {
            "total_connections": self.counts.connections,
            "messages_sent": self.counts.sent,
            "messages_received": self.counts.received,
            "disconnections": self.counts.disconnections,
            "errors": self.counts.errors,
            "active_connections": roster.count(),
            "active_users": len(roster.users),
            "active_sessions": len(roster.sessions),
            "total_user_connections": sum(map(len, roster.users.values())),
            "total_session_connections": sum(map(len, roster.sessions.values())),
        }

    def close(self, connection_id: str, cause: Cause) -> bool:
        """Closes a connection, of whichever replica; False where there is no such connection."""
        connection = self.get(connection_id)
        if connection is None:
            self._bus.send(CLOSE, {"id": connection_id, "cause": cause.name})  # one that has not announced itself
            return False
        if connection.client is not None:
            if cause is Cause.REPLACED:
                self._seats.displace(connection)
            self._close(connection.client, cause)
        else:
            self._bus.send(CLOSE, {"id": connection_id, "cause": cause.name})
        return True

    # Other replicas ------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Tells the others who is here, and forgets those that fell silent; until cancelled."""
        while True:
            await asyncio.sleep(ANNOUNCE_SECONDS)
            here = self.local()
            for start in range(0, len(here), ANNOUNCED):
                self._announce(here[start : start + ANNOUNCED])
            self.expire()

    def expire(self) -> None:
        """Forgets other replicas' connections that were not spoken of lately."""
        before = self.clock() - EXPIRE_SECONDS
        for connection_id in self._roster.silent(before):
            self._lose(connection_id)

    def _announce(self, connections: Iterable[Connection]) -> None:
        told = [packed(connection) for connection in connections]
        self._bus.send(HERE, {"replica": self._bus.replica, "connections": told})

    def _heard(self, payload: Mapping[str, Any]) -> None:
        for told in payload["connections"]:
            connection = unpacked(told, str(payload["replica"]))
            if self._roster.hear(connection, self.clock()):
                self._tell_user(connection, online=True)

    def _heard_gone(self, payload: Mapping[str, Any]) -> None:
        for connection_id in payload["ids"]:
            self._lose(str(connection_id))

    def _lose(self, connection_id: str) -> None:
        connection = self._roster.lose(connection_id)
        if connection is not None:
            self._forget(connection)

    def _asked_to_close(self, payload: Mapping[str, Any]) -> None:
        connection = self._roster.here.get(str(payload["id"]))
        if connection is not None:
            self.close(connection.connection_id, Cause[str(payload["cause"])])

    # Who hears of it -----------------------------------------------------------------------------------------
    def _forget(self, connection: Connection) -> None:
        if self._roster.forget(connection):
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
