"""Seats of users: how many connections each may hold, here and over all replicas."""

from collections.abc import Callable, Sequence
from typing import Protocol

from fleetpulse import config
from fleetpulse.errors import LimitedError
from fleetpulse.live.connection import Connection


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


class UserSeats:
    """The seats of this replica, the oldest first; also those of connections being opened.

    `give_way` closes a connection whose seat went to a newer one.
    """

    def __init__(self, settings: config.Chat, give_way: Callable[[Connection], None]) -> None:
        self._settings = settings
        self._give_way = give_way
        self._seats: dict[str, dict[str, Connection]] = {}

    def take(self, connection: Connection) -> None:
        """Takes a seat, at once. Where all are taken, raises LimitedError, or the oldest gives way."""
        taken = self._seats.setdefault(connection.user_id, {})
        limit = self._settings.max_connections_per_user
        while len(taken) >= limit:
            if self._settings.at_limit == "refuse":
                raise LimitedError(f"chat.max_connections_per_user: this user has {limit} open already")
            self.displace(next(iter(taken.values())))
        taken[connection.connection_id] = connection
        self._seats[connection.user_id] = taken

    def displace(self, connection: Connection) -> None:
        """Gives its seat to a newer one."""
        connection.displaced = True
        self.free(connection)
        self._give_way(connection)

    def free(self, connection: Connection) -> None:
        """Gives a seat back; again, it has no effect."""
        taken = self._seats.get(connection.user_id, {})
        if taken.get(connection.connection_id) is connection:
            del taken[connection.connection_id]
        if not taken:
            self._seats.pop(connection.user_id, None)
