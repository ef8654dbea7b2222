from collections.abc import Generator
from typing import TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from fleetpulse.live import frames

T = TypeVar("T")


def decode(data: bytes) -> list[tuple[Opcode, bytes]]:
    """What the websockets library makes of the bytes."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    found = []
    at_end = reader.at_eof()
    while not _finished(at_end):
        parsing = Frame.parse(reader.read_exact, mask=False)
        frame = _finished(parsing)
        found.append((frame.opcode, bytes(frame.data)))
        at_end = reader.at_eof()
    return found


def _finished(steps: Generator[None, None, T]) -> T:
    try:
        while True:
            next(steps)
    except StopIteration as done:
        value: T = done.value
        return value


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 300_000])
def test_text_of_every_length_form(size: int) -> None:
    payload = b"x" * size
    assert decode(frames.text(payload)) == [(Opcode.TEXT, payload)]


def test_frames_join() -> None:
    data = frames.text("你好".encode()) + frames.ping(b"p") + frames.pong(b"q")
    assert decode(data) == [(Opcode.TEXT, "你好".encode()), (Opcode.PING, b"p"), (Opcode.PONG, b"q")]


@given(reason=st.text(max_size=200), code=st.sampled_from([1000, 1013, 4401]))
@example(reason="心" * 60, code=1001)
def test_close_reason_is_cut_at_a_whole_character(reason: str, code: int) -> None:
    frame = frames.close(code, reason)
    assert len(frame) <= 2 + 125
    assert frame[1] == len(frame) - 2
    assert int.from_bytes(frame[2:4], "big") == code
    assert reason.startswith(frame[4:].decode())
    assert len(frame) == 2 + 125 or len(frame) > 2 + 125 - 4 or frame[4:].decode() == reason


def test_control_payloads_are_cut() -> None:
    assert len(frames.ping(b"x" * 500)) == 127
