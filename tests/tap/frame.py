"""Messages and streams as tests need them."""

from typing import Any

from fleetpulse.config.tap import Source
from fleetpulse.tap.frames import BINARY, TEXT, Frame, Reading, Recorded
from fleetpulse.tap.reading import make_read

NOW = 1_760_000_000.0  # Thursday, 2025-10-09 08:53:20 UTC


def frame(data: str | bytes, number: int = 1) -> Frame:
    """A message as it came."""
    opcode = TEXT if isinstance(data, str) else BINARY
    return Frame("run-1", number, NOW, 1.5, opcode, data, len(data))


def stream(preset: str = "auto", **settings: Any) -> Source:
    """A stream's settings."""
    plain = {"name": "room", "url": "ws://127.0.0.1:1/ws", "preset": preset}
    return Source.model_validate(plain | settings)


def reading_of(data: str | bytes, preset: str = "auto", **settings: Any) -> Reading:
    """What a message says."""
    return make_read(stream(preset, **settings))(frame(data))


def recorded(text: str, *rules: str, user: str = "anna") -> Recorded:
    """A message that says a text and matched rules."""
    return Recorded(frame(text), Reading("message", user, text), rules)
