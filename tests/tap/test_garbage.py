"""The recorder against servers that break the protocol: what came before is kept, and they are left."""

import asyncio
import base64
import hashlib
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.tap.stage import recording, source_of, tcp_server, until

KEY = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
HELLO = b"\x81\x05hello"
DEFLATED = "Sec-WebSocket-Extensions: permessage-deflate\r\n"


def deflated(data: bytes) -> bytes:
    """A compressed text frame."""
    packer = zlib.compressobj(wbits=-15)
    body = (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
    return b"\xc1" + (bytes([len(body)]) if len(body) < 126 else b"\x7e" + len(body).to_bytes(2, "big")) + body


@asynccontextmanager
async def answering(*parts: bytes, headers: str = "", http: bytes | None = None) -> AsyncIterator[str]:
    """A server that shakes hands, says some bytes a part at a time, and listens on. `http`: says that instead."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if http is not None:
            return writer.write(http)
        writer.write(_accepted(head, headers))
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.01)
        await reader.read(1)  # an answer to what was wrong, or a goodbye
        return None

    async with tcp_server(talk) as port:
        yield f"ws://127.0.0.1:{port}/"


def _accepted(head: bytes, headers: str) -> bytes:
    key = head.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
    accept = base64.b64encode(hashlib.sha1(key + KEY).digest()).decode()  # noqa: S324 - RFC 6455
    lines = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return f"{lines}Sec-WebSocket-Accept: {accept}\r\n{headers}\r\n".encode()


@pytest.mark.parametrize(
    ("garbage", "code"),
    [
        (b"\x81\x02\xff\xfe", 1007),  # no UTF-8
        (b"\x83\x00", 1002),  # an opcode that is none
        (b"\xf1\x01x", 1002),  # reserved bits
        (b"\x80\x01x", 1002),  # goes on with what never began
        (b"\x01\x01a\x81\x01b", 1002),  # begins anew before the end
        (b"\x09\x01x", 1002),  # a ping in fragments
        (b"\x89\x7e\x00\x80" + b"x" * 128, 1002),  # a ping that is too long
        (b"\x88\x01x", 1002),  # half a close code
        (b"\x88\x02\x03\xec", 1002),  # a close code that is never sent
        (b"\xc1\x03abc", 1002),  # compressed, which was not agreed
        (b"\x81\x7f" + (2**62).to_bytes(8, "big"), 1009),  # would be 4 EiB
    ],
)
async def test_a_broken_frame_ends_the_connection_and_not_what_came_before(garbage: bytes, code: int) -> None:
    async with (
        answering(HELLO + garbage) as url,
        recording(source_of(url, compression=False)) as it,
    ):
        await until(lambda: it.count("stream_disconnected") >= 2)
    ended = it.detail("stream_disconnected", 0)
    assert (ended["close_code"], ended["messages"]) == (code, 1)
    assert ended["cause"] == ("too_big" if code == 1009 else "invalid")
    assert it.value("fleetpulse_tap_lost_messages_total", reason=ended["cause"]) >= 2
    assert set(it.texts) == {"hello"}


@pytest.mark.parametrize(
    ("frame", "cause"),
    [
        (deflated(b"hello"), "stopped"),
        (deflated(b"0" * 10_000_000)[:-3], "stopped"),  # not all of it yet
        (deflated(b"0" * 10_000_000), "too_big"),
        (b"\xc1\x04\xff\xff\xff\xff", "lost"),  # is not deflate
    ],
)
async def test_compressed_frames_are_bounded_by_what_they_hold(frame: bytes, cause: str) -> None:
    async with answering(HELLO, frame, headers=DEFLATED) as url, recording(source_of(url)) as it:
        await until(lambda: it.recorded)
        await until(lambda: it.count("stream_disconnected") or cause == "stopped")
    assert it.detail("stream_disconnected", 0)["cause"] in (cause, "invalid")


async def test_a_message_that_comes_byte_by_byte_is_one_message() -> None:
    frame = b"\x01\x03\xe9\x87\x8d\x89\x00\x00\x01\xe8\x80\x02\xa6\x81"
    parts = [bytes([each]) for each in frame]
    async with answering(*parts) as url, recording(source_of(url)) as it:
        await until(lambda: it.recorded)
    assert it.texts == ["重要"]


@pytest.mark.parametrize(
    "http",
    [
        b"",
        b"\x00\x01\x02 what\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 101 Switching Protocols\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
async def test_what_is_no_websocket_server_is_tried_again_and_told_of_once(http: bytes) -> None:
    async with answering(http=http) as url, recording(source_of(f"{url}?token=verysecret")) as it:
        await until(lambda: it.failures() >= 3)
    assert it.kinds == ["stream_retrying"]
    assert "verysecret" not in str(it.log)


async def test_who_closes_without_a_code_has_closed() -> None:
    async with answering(HELLO + b"\x88\x00") as url, recording(source_of(url)) as it:
        await until(lambda: it.count("stream_disconnected"))
    assert (it.detail("stream_disconnected", 0)["cause"], it.detail("stream_disconnected", 0)["close_code"]) == (
        "closed",
        1005,
    )
