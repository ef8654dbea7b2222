"""The bus: what one replica tells the others beside stored rows, such as who types, who is there, whom to close.

What goes over it may be lost (a replica that is away hears nothing), so nothing durable may depend on it: stored
rows travel by journal and offset. One replica alone has a bus that leads nowhere.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

Handler = Callable[[Mapping[str, Any]], None]


class Bus(Protocol):
    """Talks to the other replicas. Belongs to the event loop's thread."""

    @property
    def replica(self) -> str:
        """The name of this replica, unique among them."""

    def send(self, channel: str, payload: Mapping[str, Any]) -> None:
        """Tells all other replicas; `payload` is JSON. Never waits, never raises; lost where nobody hears."""

    def on(self, channel: str, handler: Handler) -> None:
        """Calls `handler` with what the others send on a channel (one handler each); what it raises is logged."""


class LocalBus:
    """A bus without other replicas."""

    def __init__(self, replica: str) -> None:
        self.replica = replica

    def send(self, channel: str, payload: Mapping[str, Any]) -> None:
        """Nobody is there to be told."""

    def on(self, channel: str, handler: Handler) -> None:
        """Nobody is there to be heard."""
