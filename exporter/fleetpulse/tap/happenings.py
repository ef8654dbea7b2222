"""What is told of a stream's connections: the events, and what they say.

Promises: each gap in a stream lies between a `stream_disconnected` (or `stream_lost`, where the recorder itself
died) and a `stream_connected`. Addresses are shown without their query, and no detail holds a secret.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from fleetpulse.tap.connecting import Socket
from fleetpulse.tap.connection import Connection
from fleetpulse.tap.endings import Ending

CONNECTED, DISCONNECTED = "stream_connected", "stream_disconnected"
RETRYING, FAILED, LOST = "stream_retrying", "stream_failed", "stream_lost"


class Happening(NamedTuple):
    """One thing that happened to a stream."""

    kind: str
    detail: Mapping[str, Any]


def connected(connection: Connection, url: str, unconnected: float, attempts: int) -> Happening:
    """A connection is open. `unconnected` seconds there was none; so many `attempts` failed meanwhile."""
    socket: Socket = connection.socket
    return Happening(
        CONNECTED,
        {
            "connection": connection.name,
            "at": connection.opened_at,
            "url": url,
            "subprotocol": socket.protocol,
            "compression": bool(socket.compress),
            "seconds_without": round(unconnected, 3),
            "failed_attempts": attempts,
        },
    )


def disconnected(connection: Connection, ending: Ending, at: float) -> Happening:
    """A connection has ended, at Unix seconds; `clock` is its age on the monotonic clock."""
    return Happening(
        DISCONNECTED,
        {
            "connection": connection.name,
            "at": at,
            "clock": round(connection.age, 3),
            "cause": ending.cause,
            "why": ending.why,
            "close_code": ending.code,
            "close_reason": ending.reason,
            "messages": connection.number,
            "bytes": connection.bytes,
            "last_number": connection.number,
        },
    )


def retrying(ending: Ending, at: float) -> Happening:
    """The first of some attempts in a row has failed."""
    return Happening(RETRYING, {"at": at, "cause": ending.cause, "why": ending.why})


def failed(ending: Ending, at: float, attempts: int, unconnected: float) -> Happening:
    """Nobody tries any more."""
    told = {"at": at, "cause": ending.cause, "why": ending.why, "failed_attempts": attempts}
    return Happening(FAILED, told | {"seconds_without": round(unconnected, 3)})


def lost(
    kind: str, detail: Mapping[str, Any], last_number: int | None, last_at: float | None, at: float
) -> Happening | None:
    """What to tell at the start of a stream whose last event is this one: whether the recorder died meanwhile.

    `last_number` and `last_at` are of the newest message of that connection which is stored, if there is one. None
    where the stream's last connection was told to have ended.
    """
    if kind != CONNECTED:
        return None
    told = {"connection": detail.get("connection"), "at": at, "connected_at": detail.get("at")}
    return Happening(LOST, told | {"last_number": last_number, "last_message_at": last_at})
