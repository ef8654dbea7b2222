"""Servers that end a connection unless the client speaks their protocol's own heartbeat.

Source: Engine.IO protocol, revision 4: the server sends `0{…}` on opening and `2` at intervals, which the client
answers with `3`; Socket.IO on top of it wants `40` to join the main namespace before it sends anything.
"""

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from fleetpulse.config.tap import Source

Answer = Callable[[str], str | None]
OPEN, PING, PONG, JOIN = "0{", "2", "3", "40"


def answer_of(source: Source) -> Answer | None:
    """What answers a stream's messages by protocol, or None where it has none of that kind."""
    query = parse_qs(urlsplit(source.url).query)
    if query.get("EIO") != ["4"] or query.get("transport") != ["websocket"]:
        return None
    joins = not source.on_connect  # who sends something of his own on connecting joins where he likes
    return lambda text: PONG if text == PING else JOIN if joins and text.startswith(OPEN) else None
