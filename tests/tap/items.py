"""Items of a recording, made up."""

from typing import Any

from fleetpulse.tap.frames import BINARY, TEXT, Frame, Reading, Recorded
from fleetpulse.tap.output import Happened, Heard

AT = 1_700_000_000.25


def heard(
    data: str | bytes = "hello",
    number: int = 1,
    *,
    connection: str = "run-1",
    rules: tuple[str, ...] = (),
    **said: Any,
) -> Heard:
    """A message as it is recorded; what it says is the payload, unless told."""
    binary = isinstance(data, bytes)
    size = len(data if isinstance(data, bytes) else data.encode("utf-8", "replace"))
    frame = Frame(connection, number, AT + number, 0.5 * number, BINARY if binary else TEXT, data, size)
    reading = Reading(**({"kind": "raw", "user": "", "text": "" if binary else data} | said))
    return Heard("main", Recorded(frame, reading, rules))


def happened(kind: str, **detail: Any) -> Happened:
    """Something that became of a connection."""
    return Happened("main", kind, AT, detail)
