"""The Python live client over cuts, kills and replicas: it ends with exactly what the journals hold, in order."""

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing

from tests.lines import Line, a_line
from tests.system.harness import Exporter
from tests.system.replicas import DEADLINE, Replicas, balancer, until
from tests.web.server import request_log

from fleetpulse.feed import Backoff, Event, Gap, LiveFeed, Subscribed

BATCH = 20


async def cut(line: Line) -> None:
    """Cuts whoever is connected, waiting for somebody where the last cut was just now."""
    async with asyncio.timeout(DEADLINE):
        while not line.open:  # noqa: ASYNC110 - the client connects when it does
            await asyncio.sleep(0.002)
    line.cut()


class Got:
    """What a feed handed out of an event topic, by origin."""

    def __init__(self) -> None:
        self.events: dict[str, list[tuple[int, str]]] = {}
        self.gaps: list[Gap] = []
        self.answers: list[Subscribed] = []

    @property
    def count(self) -> int:
        return sum(map(len, self.events.values()))

    async def read(self, feed: LiveFeed) -> None:
        async for message in feed:
            if isinstance(message, Event):
                self.events.setdefault(message.epoch, []).append((message.offset, message.data["request_id"]))
            elif isinstance(message, Gap):
                self.gaps.append(message)
            elif isinstance(message, Subscribed):
                self.answers.append(message)


def rows(exporter: Exporter) -> list[tuple[int, str]]:
    """What is stored there, with the offsets."""
    with closing(sqlite3.connect(f"file:{exporter.data_dir / 'journal.db'}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT id, request_id FROM requests ORDER BY id").fetchall()


async def send(exporter: Exporter, count: int) -> None:
    """Stores a batch, whatever it takes."""
    batch = [request_log() for _ in range(count)]

    def stored() -> bool:
        return exporter.post("/api/log-request", batch)[0] == 202

    await until(stored)


async def all_read(got: Got, total: int, reading: asyncio.Task[None]) -> None:
    async with asyncio.timeout(DEADLINE):
        while got.count < total:
            assert not reading.done(), reading
            await asyncio.sleep(0.05)


async def follow(port: int, work: Callable[[Got], Awaitable[int]]) -> Got:
    """Follows the requests at a port while something goes on; `work` tells how many there are in the end."""
    got = Got()
    backoff = Backoff(first=0.01, longest=0.04, rng=random.Random(5))
    async with LiveFeed(f"http://127.0.0.1:{port}", backoff=backoff) as feed:
        feed.subscribe("requests")
        reading = asyncio.create_task(got.read(feed))
        async with asyncio.timeout(DEADLINE):
            while not got.answers:  # noqa: ASYNC110 - what is waited for happens in another process
                await asyncio.sleep(0.02)
        await all_read(got, await work(got), reading)
    await reading
    return got


async def test_cuts_and_kills_of_the_exporter_lose_and_repeat_nothing(exporter: Exporter) -> None:
    chance = random.Random(11)
    async with a_line(exporter.port) as way:

        async def work(_: Got) -> int:
            for number in range(1, 151):
                await send(exporter, BATCH)
                if chance.random() < 0.6:
                    await cut(way)
                if number % 50 == 0:
                    exporter.kill()
                    await asyncio.to_thread(exporter.start)
            return len(rows(exporter))

        got = await follow(way.port, work)
    assert way.cuts > 40
    assert got.gaps == []
    assert all(answer.recovered for answer in got.answers[1:])
    assert list(got.events.values()) == [rows(exporter)]


async def test_cuts_between_replicas_and_a_redis_that_is_killed_lose_and_repeat_nothing(replicas: Replicas) -> None:
    chance = random.Random(12)
    async with balancer(*(each.port for each in replicas.both)) as port, a_line(port) as way:

        async def work(_: Got) -> int:
            for number in range(1, 101):
                await send(chance.choice(replicas.both), BATCH)
                if chance.random() < 0.6:
                    await cut(way)
                if number == 40:
                    replicas.redis.kill()
                if number == 60:
                    replicas.redis.start()
            return sum(len(rows(each)) for each in replicas.both)

        got = await follow(way.port, work)
    assert way.cuts > 20
    assert got.gaps == []
    assert sorted(got.events.values()) == sorted(rows(each) for each in replicas.both)
