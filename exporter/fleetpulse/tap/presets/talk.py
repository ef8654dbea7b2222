"""What a protocol demands of a client while it listens: greetings, and answers to the server's own pings.

Nothing else is ever said here. With `auto` nothing is, unless the server opens as only an Engine.IO server does.
"""

from collections.abc import Callable

import orjson
from pydantic import SecretStr

from fleetpulse.config.tap import Message, Source
from fleetpulse.tap.presets.rocketchat import HELLO, pong
from fleetpulse.tap.presets.socketio import HANDSHAKE, JOIN, PING, PONG, is_engine_io

Answer = Callable[[str], str | None]
PONG_CHARACTERS = 500  # a longer message is no ping


def greetings(source: Source) -> tuple[Message, ...]:
    """What to send when the connection opens, before the configured messages."""
    return (Message(text=SecretStr(HELLO)),) if source.preset == "rocket.chat" else ()


def make_answer(source: Source) -> Answer | None:
    """What answers the text messages of a stream, one after the other; None where nothing is ever answered."""
    if source.preset == "rocket.chat":
        return _pong
    if source.preset == "socket.io" or (source.preset == "auto" and is_engine_io(source.url)):
        return EngineIo(known=True, joins=not source.on_connect)
    if source.preset == "auto":
        return EngineIo(known=False, joins=not source.on_connect)
    return None


class EngineIo:
    """Answers pings, and joins the main namespace when the server opens; who sends on connecting joins himself.

    Where it is not known that the server speaks Engine.IO, nothing is answered before its handshake.
    """

    def __init__(self, *, known: bool, joins: bool) -> None:
        self._known = known
        self._joins = joins

    def __call__(self, text: str) -> str | None:
        """What to answer."""
        if self._known and text == PING:
            return PONG
        if HANDSHAKE.match(text):
            self._known = True
            return JOIN if self._joins else None
        return None


def _pong(text: str) -> str | None:
    if len(text) > PONG_CHARACTERS or '"ping"' not in text:
        return None
    try:
        answer = pong(orjson.loads(text))
    except orjson.JSONDecodeError:
        return None
    return orjson.dumps(answer).decode() if answer else None
