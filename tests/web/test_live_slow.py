import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from tests.web.live_stand import DEADLINE, LIVE, Stand, read, until

from fleetpulse import catalogue
from fleetpulse.config import Settings


# Slow clients ---------------------------------------------------------------------------------------------------
async def raw_client(stand: Stand, path: str) -> socket.socket:
    """A client that has shaken hands, with the smallest receive buffer, and reads nothing more by itself."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", stand.server.port))
    handshake = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{stand.server.port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    await loop.sock_sendall(sock, handshake.encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += await loop.sock_recv(sock, 1)
    assert b" 101 " in answer
    return sock


LOOPS = pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def run_on(loop_factory: LoopFactory, scenario: Callable[[Stand], Awaitable[None]], settings: Settings) -> None:
    async def main() -> None:
        stand = await Stand(settings).start()
        try:
            await scenario(stand)
        finally:
            await stand.stop()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


async def pour(stand: Stand, enough: Callable[[], bool], size: int = 10_000) -> int:
    """Publishes until a condition holds; returns how many messages."""
    count = 0
    async with asyncio.timeout(DEADLINE):
        while not enough():
            count += 1
            stand.hub.publish("requests", {"n": count, "text": "x" * size})
            await asyncio.sleep(0.001)
    return count


@LOOPS
def test_stalled_client_is_evicted_and_its_memory_given_back(loop_factory: LoopFactory, tmp_path: Path) -> None:
    async def scenario(stand: Stand) -> None:
        stalled = await raw_client(stand, LIVE + "?topics=requests")
        await until(lambda: bool(stand.hub.seen and stand.hub.seen[0].subscriptions))
        transport = stand.hub.seen[0].transport
        healthy = await stand.connect(LIVE + "?topics=requests")
        assert (await read(healthy))["type"] == "subscribed"
        offsets: list[int] = []

        async def follow() -> None:
            async for message in healthy:
                offsets.append(json.loads(message.data)["offset"])  # noqa: PERF401 - looked at meanwhile

        following = asyncio.create_task(follow())
        count = await pour(stand, lambda: stand.value(catalogue.LIVE_EVICTIONS, "slow") == 1)
        await until(lambda: len(offsets) >= count)
        assert offsets == list(range(1, count + 1))
        assert not healthy.closed
        await until(lambda: stand.value(catalogue.LIVE_CONNECTIONS, "live") == 1)
        assert transport.get_write_buffer_size() == 0
        await until(lambda: stand.value(catalogue.LIVE_BUFFERED) == 0)
        stalled.close()
        await healthy.close()
        await following

    settings = Settings(data_dir=tmp_path, live={"evict_seconds": 0.5, "history_messages": 100_000})
    run_on(loop_factory, scenario, settings)


@LOOPS
def test_client_that_asks_without_reading_is_evicted_by_its_buffer(
    loop_factory: LoopFactory, tmp_path: Path
) -> None:
    async def scenario(stand: Stand) -> None:
        for number in range(200):
            stand.beat(f"agent-{number}", 1, text="x" * 1_000)
        greedy = await stand.connect(LIVE)
        with suppress(ConnectionError):
            while not stand.value(catalogue.LIVE_EVICTIONS, "buffer"):
                await greedy.send_json({"type": "subscribe", "topic": "agents/default"})
                await greedy.send_json({"type": "unsubscribe", "topic": "agents/default"})
                await asyncio.sleep(0.001)
        await until(lambda: stand.value(catalogue.LIVE_CONNECTIONS, "live") == 0)
        assert stand.hub.seen[0].transport.get_write_buffer_size() == 0

    live = {"evict_bytes": 100_000, "messages_per_second": 100_000}
    run_on(loop_factory, scenario, Settings(data_dir=tmp_path, live=live))


def parse(data: bytearray) -> list[dict[str, Any]]:
    """Takes the whole text frames off the front of a byte stream."""
    found = []
    while len(data) >= 2:
        size, at = data[1], 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(data[2 : 2 + width], "big"), 2 + width
        if len(data) < at + size:
            break
        if data[0] == 0x81:
            found.append(json.loads(data[at : at + size]))
        del data[: at + size]
    return found


async def drain(sock: socket.socket, enough: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    got: list[dict[str, Any]] = []
    data = bytearray()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DEADLINE):
        while not enough(got):
            data += await loop.sock_recv(sock, 65_536)
            got += parse(data)
    return got


@LOOPS
def test_slow_client_gets_a_gap_record_once_it_drains(loop_factory: LoopFactory, tmp_path: Path) -> None:
    async def scenario(stand: Stand) -> None:
        slow = await raw_client(stand, LIVE + "?topics=requests")
        await until(lambda: bool(stand.hub.seen and stand.hub.seen[0].subscriptions))
        client = stand.hub.seen[0]
        extra = 0

        def enough() -> bool:
            nonlocal extra
            extra += client.stalled > 0
            return extra > 100

        last = await pour(stand, enough)
        got = await drain(slow, lambda got: bool(got) and got[-1]["offset"] == last)
        covered: list[int] = []
        for message in got[1:]:
            covered += (
                range(message["from"], message["to"] + 1) if message["type"] == "gap" else [message["offset"]]
            )
        assert covered == list(range(1, last + 1))
        lost = sum(message["to"] - message["from"] + 1 for message in got if message["type"] == "gap")
        assert lost > 0
        assert stand.value(catalogue.LIVE_GAPPED, "requests") == lost
        slow.close()

    run_on(loop_factory, scenario, Settings(data_dir=tmp_path, live={"history_messages": 20}))


@LOOPS
def test_slow_client_of_a_state_topic_ends_with_the_newest(loop_factory: LoopFactory, tmp_path: Path) -> None:
    async def scenario(stand: Stand) -> None:
        slow = await raw_client(stand, LIVE + "?topics=agents/default")
        await until(lambda: bool(stand.hub.seen and stand.hub.seen[0].subscriptions))
        client = stand.hub.seen[0]
        async with asyncio.timeout(DEADLINE):
            beats = 0
            while not client.stalled or beats % 7 or beats < 500:
                beats += 1
                stand.beat(f"agent-{beats % 7}", beats % 100, beat=beats, text="x" * 10_000)
                await asyncio.sleep(0.001)
        for _ in range(70):
            beats += 1
            stand.beat(f"agent-{beats % 7}", beats % 100, beat=beats, text="x" * 10_000)
        got = await drain(slow, lambda got: bool(got) and got[-1]["offset"] == beats)
        newest: dict[str, int] = {}
        for message in got[1:]:
            if message["type"] == "snapshot":
                newest = {agent["agent_id"]: agent["beat"] for agent in message["data"]}
            else:
                newest[message["key"]] = message["data"]["beat"]
        assert sorted(newest.values()) == list(range(beats - 6, beats + 1))
        assert stand.value(catalogue.LIVE_CONFLATED, "agents") > 0
        slow.close()

    run_on(loop_factory, scenario, Settings(data_dir=tmp_path, live={}))
