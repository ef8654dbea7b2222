"""What the tap's parts hand each other: a message as it came, what it says, and what happens to its connection."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

TEXT, BINARY = 1, 2
NOBODY = ""


class Frame(NamedTuple):
    """A message as it came, decompressed. `data` is str where it is TEXT, bytes where BINARY.

    `received_at` is Unix seconds; `clock` seconds of the monotonic clock since its connection opened, which no
    change of the wall clock touches. `number` counts the messages of its connection, from 1.
    """

    connection: str
    number: int
    received_at: float
    clock: float
    opcode: int
    data: str | bytes
    size: int


class Reading(NamedTuple):
    """What a message says: the kind of message, who said it (`""`: nobody is named), where, what, and when.

    `timestamp` is the sender's, in Unix seconds.
    """

    kind: str
    user: str
    text: str
    room: str | None = None
    timestamp: float | None = None


class Recorded(NamedTuple):
    """A message with what was read in it, and the names of the rules that it matched."""

    frame: Frame
    reading: Reading
    rules: tuple[str, ...] = ()


Read = Callable[[Frame], Reading]
"""Understands a message; never raises: what cannot be understood is of kind `raw` or `binary`."""

Keep = Callable[[Sequence[Recorded]], Awaitable[None]]
"""Keeps messages of one stream, in order; returns when they are kept. Raises OverloadedError: try again."""


class Tell(Protocol):
    """Takes what happened to a stream for the log of events; returns when it is kept."""

    async def __call__(self, kind: str, detail: Mapping[str, Any]) -> None:
        """`kind` is connected, disconnected, failed, …; `detail` is JSON's types."""
