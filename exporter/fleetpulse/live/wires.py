"""Wires: how payloads become bytes on a connection. Clients with equal wires, encoders and filters share them."""

from collections.abc import Mapping

from fleetpulse.live import frames
from fleetpulse.live.closing import Cause

Places = Mapping[str, Mapping[str, int]]
"""Where a client stands: of each topic, its position."""


class Wire:
    """A WebSocket without compression. Stateless, as every wire must be that is shared.

    `stamped`: each message carries where the client then stands, of all its topics. `hears`: the client can answer,
    so its silence means that it is dead.
    """

    stamped = False
    hears = True

    def frame(self, payload: bytes, places: Places | None = None) -> bytes:  # noqa: ARG002 - an interface
        """One message; `places` are given where the wire is stamped and the message moves the client."""
        return frames.text(payload)

    def ping(self, payload: bytes = b"") -> bytes:
        """Asks for a sign of life, or for a receipt: the answer brings `payload` back."""
        return frames.ping(payload)

    def close(self, cause: Cause) -> bytes:
        """The last that is written."""
        return frames.close(cause.code, cause.text)


WEBSOCKET = Wire()
