"""Compression that is asked for: bytes made once for all, and nothing kept from one message to the next."""

import asyncio
import json
import zlib

import pytest
import websockets
from aiohttp import WSMsgType
from tests.web.live_stand import DEADLINE, LIVE, Serve, Stand, closed, read, until
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from fleetpulse import catalogue
from fleetpulse.live.wires import DEFLATED

OFFER = "permessage-deflate"


async def extensions(stand: Stand, path: str, offer: str | None = OFFER) -> str | None:
    """What the server answers to an offer."""
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    headers |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    if offer is not None:
        headers["Sec-WebSocket-Extensions"] = offer
    async with stand.session.get(stand.server.make_url(path), headers=headers) as answer:
        assert answer.status == 101
        return answer.headers.get("Sec-WebSocket-Extensions")


@pytest.mark.parametrize(
    ("setting", "path", "offer", "agreed"),
    [
        ("asked", LIVE, OFFER, False),
        ("asked", LIVE + "?compress=1", OFFER, True),
        ("asked", LIVE + "?compress=1", None, False),
        ("asked", LIVE + "?compress=1", OFFER + "; client_max_window_bits", True),
        ("asked", LIVE + "?compress=1", OFFER + "; server_max_window_bits=10", False),
        ("offered", LIVE, OFFER, True),
        ("never", LIVE + "?compress=1", OFFER, False),
    ],
)
async def test_it_is_agreed_on_when_asked_for(
    serve: Serve, setting: str, path: str, offer: str | None, *, agreed: bool
) -> None:
    stand = await serve(compression=setting)
    answer = await extensions(stand, path, offer)
    expected = OFFER + "; server_no_context_takeover; client_no_context_takeover"
    assert answer == (expected if agreed else None)


async def test_clients_share_the_bytes_and_each_understands_them(serve: Serve) -> None:
    stand = await serve()
    url = str(stand.server.make_url(LIVE + "?compress=1&topics=requests")).replace("http", "ws", 1)
    factory = ClientPerMessageDeflateFactory(client_max_window_bits=True)
    async with websockets.connect(url, extensions=[factory], compression=None) as early:
        await early.recv()
        stand.hub.publish("requests", {"n": 0, "text": "the same again and again " * 50})
        assert json.loads(await early.recv())["data"]["n"] == 0
        async with websockets.connect(url, compression="deflate") as late:
            await late.recv()
            plain = await stand.connect(LIVE + "?topics=requests")
            await read(plain)
            for n in range(1, 20):
                stand.hub.publish("requests", {"n": n, "text": "the same again and again " * (n % 3 * 50)})
            for feed in (early, late):
                got = [json.loads(await feed.recv())["data"]["n"] for _ in range(1, 20)]
                assert got == list(range(1, 20))
            assert [(await read(plain))["data"]["n"] for _ in range(1, 20)] == list(range(1, 20))


def test_small_messages_and_what_does_not_shrink_go_plain() -> None:
    assert DEFLATED.frame(b'"%b"' % (b"x" * 100))[0] == 0x81
    assert DEFLATED.frame(bytes(range(256)) * 2)[0] == 0xC1
    assert DEFLATED.frame(zlib.compress(b"x" * 10) + bytes(range(256)))[0] == 0x81


async def test_a_client_may_send_deflated_messages(serve: Serve) -> None:
    stand = await serve()
    feed = await stand.connect(LIVE + "?compress=1", compress=15)
    for n in range(3):
        await feed.send_str(json.dumps({"type": "ping", "id": n, "more": "x" * 1_000}))
        assert await read(feed) == {"type": "pong", "id": n}


async def test_a_bomb_is_too_big(serve: Serve) -> None:
    stand = await serve()
    feed = await stand.connect(LIVE + "?compress=1", compress=15)
    await feed.send_str(json.dumps({"type": "ping", "more": "x" * 50_000_000}))
    assert await closed(feed) == 1009
    await until(lambda: stand.value(catalogue.LIVE_EVICTIONS, "too_big") == 1)


async def test_deflated_bytes_that_are_none_end_the_connection_only(serve: Serve) -> None:
    stand = await serve()
    other = await stand.connect(LIVE)
    reader, writer = await asyncio.open_connection("127.0.0.1", stand.server.port)
    writer.write(
        b"GET /ws/live?compress=1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"\xc1\x85\x00\x00\x00\x00\xff\xff\xff\xff\xff")
    async with asyncio.timeout(DEADLINE):
        frame = await reader.read(2)
        assert frame[:1] in (b"\x88", b"")
    writer.close()
    await other.send_json({"type": "ping"})
    assert (await other.receive(DEADLINE)).type is WSMsgType.TEXT
