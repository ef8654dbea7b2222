"""Wires: how payloads become bytes on a connection. Clients with equal wires, encoders and filters share them."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from fleetpulse.live import frames
from fleetpulse.live.closing import Cause

Places = Mapping[str, Mapping[str, int]]
"""Where a client stands: of each topic, its position."""
DEFLATE_BYTES = 256  # smaller messages gain little
LEVEL = 1  # a message is deflated on the event loop


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


class DeflateWire(Wire):
    """A WebSocket with permessage-deflate (RFC 7692) without context takeover.

    Every message is deflated by itself, so its bytes are right for every client; no connection has a compressor.
    """

    def frame(self, payload: bytes, places: Places | None = None) -> bytes:
        """One message, deflated where that makes it smaller."""
        if len(payload) < DEFLATE_BYTES:
            return super().frame(payload, places)
        deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        data = (deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]  # RFC 7692, 7.2.1
        return frames.deflated_text(data) if len(data) < len(payload) else super().frame(payload, places)


@dataclass(frozen=True)
class EventStreamWire(Wire):
    """Server-sent events (WHATWG HTML, 9.2), in chunks of HTTP/1.1 where `chunked`.

    An event's id is where the client stands: the positions of its `topics`, in their order, so that every client of
    the same topics shares the bytes. `claims` are positions in the streams of replicas that nobody here knows: they
    stay in the id.
    """

    topics: tuple[str, ...]
    claims: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()
    chunked: bool = True
    stamped = True
    hears = False

    def frame(self, payload: bytes, places: Places | None = None) -> bytes:
        """One event; without `places` the client keeps the id it has."""
        stamp = b"" if places is None else b"id: " + self.id_of(places) + b"\n"
        return self._chunk(stamp + b"data: " + payload + b"\n\n")

    def stamp(self, places: Places) -> bytes:
        """No event, but the id of where the client stands."""
        return self._chunk(b"id: " + self.id_of(places) + b"\n\n")

    def begin(self, retry_ms: int) -> bytes:
        """What a stream begins with: when to reconnect after a cut."""
        return self._chunk(b"retry: %d\n\n" % retry_ms)

    def ping(self, payload: bytes = b"") -> bytes:  # noqa: ARG002 - nobody answers
        """A comment, which keeps the connection from being taken for dead on its way."""
        return self._chunk(b":\n\n")

    def close(self, cause: Cause) -> bytes:
        """Why, as an event, and the end of the body."""
        last = orjson.dumps({"type": "closing", "code": cause.code, "message": cause.text})
        return self.frame(last) + (b"0\r\n\r\n" if self.chunked else b"")

    def id_of(self, places: Places) -> bytes:
        """Positions as `epoch:offset,epoch:offset;…`, a part for each topic."""
        claims = dict(self.claims)
        parts = []
        for topic in self.topics:
            known = dict(claims.get(topic, ())) | dict(places.get(topic, {}))
            parts.append(",".join(f"{epoch}:{offset}" for epoch, offset in known.items()))
        return ";".join(parts).encode()

    def _chunk(self, data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data


def positions_of(event_id: str, topics: tuple[str, ...]) -> dict[str, dict[str, int]]:
    """What an event's id says, by topic. Raises ValueError where it is no id of these topics."""
    parts = event_id.split(";")
    if len(parts) != len(topics):
        raise ValueError("the id is of other topics")
    return {topic: _position(part) for topic, part in zip(topics, parts, strict=True)}


def _position(part: str) -> dict[str, int]:
    position = {}
    for item in filter(None, part.split(",")):
        epoch, _, offset = item.partition(":")
        if not epoch or not (offset.isascii() and offset.isdigit()) or len(offset) > len(str(2**63)):
            raise ValueError("the id is not one of this server")
        position[epoch] = int(offset)
    return position


WEBSOCKET = Wire()
DEFLATED = DeflateWire()
