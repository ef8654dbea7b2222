"""The roster: which connections are open, here and at other replicas, by id, by user and by session."""

from collections.abc import Iterable, Mapping

from fleetpulse.live.connection import Connection

MAX_REMOTE = 100_000  # connections of other replicas that are remembered


class Roster:
    """Indexes, always in step. Of other replicas' connections, also when they were spoken of last."""

    def __init__(self) -> None:
        self._open: dict[str, Connection] = {}
        self._remote: dict[str, tuple[float, Connection]] = {}
        self._users: dict[str, set[str]] = {}  # connection ids, of every replica
        self._sessions: dict[str, set[str]] = {}

    def add(self, connection: Connection) -> bool:
        """A connection of this replica is open; whether it is its user's first."""
        self._open[connection.connection_id] = connection
        return self._index(connection)

    def discard(self, connection: Connection) -> bool:
        """A connection of this replica is over; False where it was not open."""
        return self._open.pop(connection.connection_id, None) is not None

    def hear(self, connection: Connection, at: float) -> bool:
        """Another replica speaks of a connection; whether it is its user's first."""
        known = self._remote.get(connection.connection_id)
        if known is None and len(self._remote) >= MAX_REMOTE:
            return False
        self._remote[connection.connection_id] = (at, connection)
        for session_id in (known[1].sessions if known else set()) - connection.sessions:
            _remove(self._sessions, session_id, connection.connection_id)
        return self._index(connection)

    def lose(self, connection_id: str) -> Connection | None:
        """A connection of another replica is over; what was known of it."""
        known = self._remote.pop(connection_id, None)
        return None if known is None else known[1]

    def silent(self, before: float) -> list[str]:
        """Connections of other replicas that were not spoken of since a time."""
        return [connection_id for connection_id, (heard, _) in self._remote.items() if heard < before]

    def forget(self, connection: Connection) -> bool:
        """Takes it out of the indexes, once it is discarded or lost; whether it was its user's last."""
        _remove(self._users, connection.user_id, connection.connection_id)
        for session_id in connection.sessions:
            _remove(self._sessions, session_id, connection.connection_id)
        return connection.user_id not in self._users

    def join(self, connection: Connection, session_id: str) -> None:
        """A connection has joined a session."""
        connection.sessions.add(session_id)
        self._sessions.setdefault(session_id, set()).add(connection.connection_id)

    def leave(self, connection: Connection, session_id: str) -> None:
        """A connection has left a session."""
        connection.sessions.discard(session_id)
        _remove(self._sessions, session_id, connection.connection_id)

    @property
    def here(self) -> Mapping[str, Connection]:
        """The open connections of this replica, by id."""
        return self._open

    @property
    def users(self) -> Mapping[str, set[str]]:
        """Connection ids by user, of every replica."""
        return self._users

    @property
    def sessions(self) -> Mapping[str, set[str]]:
        """Connection ids by the session they have joined, of every replica."""
        return self._sessions

    def remote(self) -> dict[str, Connection]:
        """What other replicas say, by id."""
        return {name: connection for name, (_, connection) in self._remote.items()}

    def count(self) -> int:
        """Open connections, of every replica."""
        return len(self._open) + len(self._remote)

    def get(self, connection_id: str) -> Connection | None:
        """An open connection."""
        known = self._remote.get(connection_id)
        return self._open.get(connection_id) or (known[1] if known else None)

    def all(self, ids: Iterable[str]) -> list[Connection]:
        """Those of some connections that are open, the oldest first."""
        found = (self.get(connection_id) for connection_id in ids)
        return sorted((each for each in found if each is not None), key=_age)

    def _index(self, connection: Connection) -> bool:
        own = self._users.setdefault(connection.user_id, set())
        came = not own
        own.add(connection.connection_id)
        for session_id in connection.sessions:
            self._sessions.setdefault(session_id, set()).add(connection.connection_id)
        return came


def _age(connection: Connection) -> tuple[float, str]:
    return connection.connected_at, connection.connection_id


def _remove(index: dict[str, set[str]], name: str, connection_id: str) -> None:
    members = index.get(name)
    if members is not None:
        members.discard(connection_id)
        if not members:
            del index[name]
