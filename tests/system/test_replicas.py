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
    for each in (reader, steady):
        await each.begin(f"ws://127.0.0.1:{replicas.b.port}/ws/live")
    async with balancer(replicas.a.port, replicas.b.port) as port:
        cut = reader.read_with_cuts(f"ws://127.0.0.1:{port}/ws/live", ROWS, CUTS, random.Random(4))
        calm = steady.read_with_cuts(f"ws://127.0.0.1:{replicas.b.port}/ws/live", ROWS, 0, random.Random(4))
        await asyncio.gather(cut, calm, steady_stream(replicas, progress), redis_restarts(redis, progress))
    assert reader.cuts == CUTS
    assert reader.wrong == steady.wrong == []
    assert by_name(reader) == by_name(steady) == expected()


async def test_agents_heard_at_either_replica_are_known_at_both_and_have_series_at_one(
    replicas: Replicas,
) -> None:
    a, b = replicas.both
    for number in range(40):
        await beat(replicas.both[number % 2], f"agent-{number}")
    everyone = {f"agent-{number}" for number in range(40)}
    for exporter in replicas.both:
        await until(lambda exporter=exporter: agents_of(exporter) == everyone)
    await until(lambda: sorted(series_of(a) + series_of(b)) == sorted(everyone))
    homes = set(series_of(a)), set(series_of(b))
    assert all(homes)
    for number in range(40):  # a balancer sends the next heartbeats elsewhere: the series stay where they are
        await beat(replicas.both[(number + 1) % 2], f"agent-{number}", status="idle")
    for exporter in replicas.both:
        await until(lambda exporter=exporter: statuses_of(exporter) == {"idle"})
    await until(lambda: sum(count_of(each, "idle") for each in replicas.both) == 40)
    assert (set(series_of(a)), set(series_of(b))) == homes

    await beat(a, "agent-1", status="offline")  # a goodbye counts everywhere
    await until(lambda: statuses_of(b) == {"idle", "offline"})

    await asyncio.to_thread(b.kill)  # what b showed is shown by a
    await until(lambda: set(series_of(a)) == everyone)
    await asyncio.to_thread(b.start)
    await until(lambda: (set(series_of(a)), set(series_of(b))) == homes)
    assert agents_of(b) == everyone


async def beat(exporter: Exporter, agent_id: str, status: str = "busy") -> None:
    state = {"status": status, "cpu_usage": 10, "memory_usage": 20, "running_tasks": []}
    code, _ = await asyncio.to_thread(exporter.post, f"/api/v1/agents/{agent_id}/ping", state)
    assert code == 202


def pool_of(exporter: Exporter) -> list[dict[str, Any]]:
    agents: list[dict[str, Any]] = exporter.get("/api/v1/agent-pools/default/agents")["agents"]
    return agents


def agents_of(exporter: Exporter) -> set[str]:
    return {agent["agent_id"] for agent in pool_of(exporter)}


def statuses_of(exporter: Exporter) -> set[str]:
    return {agent["status"] for agent in pool_of(exporter)}


def series_of(exporter: Exporter) -> list[str]:
    return [
        name.split('agent_id="')[1].split('"')[0]
        for name in exporter.metrics()
        if name.startswith("fleetpulse_agent_up{")
    ]


def count_of(exporter: Exporter, status: str) -> float:
    return sum(
        value
        for name, value in exporter.metrics().items()
        if name.startswith("fleetpulse_agents{") and f'status="{status}"' in name
    )
