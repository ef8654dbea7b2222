"""One identified connection of a chat or admin endpoint, and how replicas tell each other of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleetpulse.journal import rfc3339
from fleetpulse.live.client import Client


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


def packed(connection: Connection) -> dict[str, Any]:
    """As it goes over the bus."""
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


def unpacked(told: Mapping[str, Any], replica: str) -> Connection:
    """As it came over the bus from a replica. Raises KeyError, ValueError or TypeError for anything else."""
    return Connection(
        connection_id=str(told["id"]),
        user_id=str(told["user"]),
        endpoint=str(told["endpoint"]),
        connected_at=float(told["at"]),
        session_id=told["session"],
        metadata=told["metadata"],
        replica=replica,
        sessions=set(told["sessions"]),
        last_ping=float(told["ping"]),
        last_pong=float(told["pong"]),
    )
