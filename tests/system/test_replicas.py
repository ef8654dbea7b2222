import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from tests.cluster.redis_server import RedisServer
from tests.system.harness import Exporter
from tests.system.replicas import Reader, Replicas, balancer, until

ROWS = 20_000
BATCH = 50
CUTS = 200


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with TemporaryDirectory(prefix="redis-") as folder:
        server = RedisServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()


@pytest.fixture
async def replicas(tmp_path: Path, redis: RedisServer) -> AsyncIterator[Replicas]:
    pair = Replicas(tmp_path, redis)
    try:
        await asyncio.to_thread(pair.start)
        await until(pair.joined)
        yield pair
    finally:
        await asyncio.to_thread(pair.stop)


def requests(name: str, first: int, count: int) -> list[dict[str, Any]]:
    return [
        {"request_id": f"{name}-{number}", "source": "telegram", "status": "success", "execution_time": 0.1}
        for number in range(first, first + count)
    ]


async def post(exporter: Exporter, name: str, first: int, count: int) -> None:
    status, answer = await asyncio.to_thread(exporter.post, "/api/log-request", requests(name, first, count))
    assert status == 202, answer


async def steady_stream(pair: Replicas, progress: list[int]) -> None:
    """Posts to both in turn, in order each."""
    for first in range(0, ROWS // 2, BATCH):
        await post(pair.a, "a", first, BATCH)
        await post(pair.b, "b", first, BATCH)
        progress[0] += 2 * BATCH
        await asyncio.sleep(0.01)


async def redis_restarts(redis: RedisServer, progress: list[int]) -> None:
    """It dies after a third of the stream, and comes back empty after two thirds."""
    await until(lambda: progress[0] >= ROWS // 3)
    redis.kill()
    await until(lambda: progress[0] >= 2 * ROWS // 3)
    await asyncio.to_thread(redis.start)


def expected() -> dict[str, list[str]]:
    return {name: [f"{name}-{number}" for number in range(ROWS // 2)] for name in "ab"}


def by_name(reader: Reader) -> dict[str, list[str]]:
    return {keys[0][0]: keys for keys in reader.keys.values()}


async def test_a_client_cut_off_200_times_between_two_replicas_has_every_event_once_and_in_order(
    replicas: Replicas, redis: RedisServer
) -> None:
    reader, steady = Reader(), Reader()
    progress = [0]
    async with balancer(replicas.a.port, replicas.b.port) as port:
        cut = reader.read_with_cuts(f"ws://127.0.0.1:{port}/ws/live", ROWS, CUTS, random.Random(4))
        calm = steady.read_with_cuts(f"ws://127.0.0.1:{replicas.b.port}/ws/live", ROWS, 0, random.Random(4))
        await asyncio.gather(cut, calm, steady_stream(replicas, progress), redis_restarts(redis, progress))
    assert reader.cuts == CUTS
    assert reader.wrong == steady.wrong == []
    assert by_name(reader) == by_name(steady) == expected()
