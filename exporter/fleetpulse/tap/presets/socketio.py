"""Socket.IO over Engine.IO, revision 4: packets such as `42["message",{"text":"hi"}]`.

An event is read as the chat preset reads `{"event": …, "data": …}`; its namespace, where it is not the main one, is
the room unless the data names one. Binary attachments come as messages of their own, of kind `binary`.

Sources: Engine.IO protocol, revision 4; Socket.IO protocol, revision 5.
"""

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson

from fleetpulse.tap.presets.chat import CHAT, of_event
from fleetpulse.tap.presets.shape import Opened

PING, PONG, JOIN = "2", "3", "40"
TRANSPORT = {"0": "open", "1": "close", "2": "ping", "3": "pong", "5": "upgrade", "6": "noop"}
PACKET = {"0": "connect", "1": "disconnect", "3": "ack", "4": "connect_error", "6": "ack"}
EVENTS = "25"  # with and without attachments
MESSAGE = re.compile(r"4([0-6])(?:\d{1,3}-)?(?:(/[^,\[{]{0,200}),?)?\d{0,20}(?=[\[{]|$)")
HANDSHAKE = re.compile(r'0\{"sid":')
MAIN = "/"


def opened_packet(payload: str, _document: Any = None) -> Opened | None:
    """A packet's data: of an event the array of its name and arguments; None where it is no packet."""
    if (found := MESSAGE.match(payload)) is not None:
        return _message(found[1], found[2], _json(payload[found.end() :]))
    kind, rest = TRANSPORT.get(payload[:1]), payload[1:]
    data = _json(rest)
    known = kind is not None and (data is not None or rest in ("", "probe"))
    return Opened(data, kind=kind) if known else None


def _message(packet: str, namespace: str | None, data: Any) -> Opened:
    room = namespace if namespace != MAIN else None
    match data:
        case [str(event), *values] if packet in EVENTS:
            return Opened(data, of_event(event, values), room=room)
        case _:
            return Opened(data, kind=PACKET.get(packet, "event"), room=room)


def _json(text: str) -> Any:
    try:
        return orjson.loads(text) if text else None
    except orjson.JSONDecodeError:
        return None


def is_packet(payload: str) -> bool:
    """Whether a payload cannot well be anything else: an Engine.IO handshake, or a packet with JSON."""
    return bool(HANDSHAKE.match(payload)) or (
        payload[:2] in ("40", "42", "43", "44", "45", "46") and payload[-1] in "]}" and bool(MESSAGE.match(payload))
    )


def is_engine_io(url: str) -> bool:
    """Whether an address is that of an Engine.IO server, of the revision whose server pings."""
    query = parse_qs(urlsplit(url).query)
    return query.get("EIO") == ["4"] and query.get("transport") == ["websocket"]


SOCKET_IO = CHAT._replace(name="socket.io", open=opened_packet)
