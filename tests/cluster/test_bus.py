import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.redis_server import RedisServer
from tests.journal.stand import shown, until

from fleetpulse.cluster.bus import RedisBus
from fleetpulse.cluster.resting import end
from fleetpulse.config import Cluster
from fleetpulse.instruments import Instruments


class Post:
    """A bus at work and what it was told."""

    def __init__(self, name: str, **settings: Any) -> None:
        self.instruments = Instruments()
        self.bus = RedisBus(Cluster(retry_seconds=0.2, **settings), name, self.instruments)
        self.heard: list[Mapping[str, Any]] = []
        self.states: list[bool] = []
        self.bus.on("test.said", self.heard.append)
        self.bus.watch(self._seen)

    def _seen(self, *, connected: bool) -> None:
        self.states.append(connected)

    def count(self, direction: str) -> float:
        return shown(self.instruments, "fleetpulse_cluster_messages_total", direction)

    @property
    def connected(self) -> float:
        return shown(self.instruments, "fleetpulse_cluster_connected")


@asynccontextmanager
async def at_work(*posts: Post) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(post.bus.run()) for post in posts]
    try:
        await until(lambda: all(post.bus.connection for post in posts))
        yield
    finally:
        await end(tasks, 5.0)


async def test_the_others_hear_everything_in_order_and_oneself_nothing(redis: RedisServer) -> None:
    a, b, c = (Post(name, redis_url=redis.url) for name in "abc")
    async with at_work(a, b, c):
        for number in range(1_000):
            a.bus.send("test.said", {"number": number})
        await until(lambda: len(b.heard) == len(c.heard) == 1_000)
    assert b.heard == c.heard == [{"number": number} for number in range(1_000)]
    assert a.heard == []


async def test_one_replica_can_be_told_alone(redis: RedisServer) -> None:
    a, b, c = (Post(name, redis_url=redis.url) for name in "abc")
    async with at_work(a, b, c):
        a.bus.send_to(b.bus.run_id, "test.said", {"to": "b"})
        a.bus.send("test.said", {"to": "all"})
        await until(lambda: c.heard and len(b.heard) == 2)
    assert b.heard == [{"to": "b"}, {"to": "all"}]
    assert c.heard == [{"to": "all"}]


async def test_clusters_with_other_prefixes_share_a_redis(redis: RedisServer) -> None:
    a, b = Post("a", redis_url=redis.url), Post("b", redis_url=redis.url)
    other = Post("other", redis_url=redis.url, channel_prefix="staging")
    async with at_work(a, b, other):
        a.bus.send("test.said", {})
        await until(lambda: b.heard)
    assert other.heard == []


async def test_a_killed_redis_is_noticed_and_found_again(redis: RedisServer) -> None:
    a, b = Post("a", redis_url=redis.url), Post("b", redis_url=redis.url)
    async with at_work(a, b):
        redis.kill()
        await until(lambda: a.connected == b.connected == 0)
        a.bus.send("test.said", {"lost": True})
        assert a.count("dropped") >= 1
        redis.start()
        await until(lambda: a.connected == b.connected == 1)
        a.bus.send("test.said", {"lost": False})
        await until(lambda: b.heard)
    assert b.heard == [{"lost": False}]
    assert a.states == [True, False, True, False]


async def test_a_redis_that_hangs_is_noticed(redis: RedisServer) -> None:
    a = Post("a", redis_url=redis.url, silence_seconds=0.5)
    async with at_work(a):
        with redis.frozen():
            await until(lambda: a.connected == 0)
        await until(lambda: a.connected == 1)


async def test_what_does_not_fit_is_dropped_and_counted_and_the_rest_arrives(redis: RedisServer) -> None:
    a = Post("a", redis_url=redis.url, queue_messages=10)
    b = Post("b", redis_url=redis.url)
    async with at_work(a, b):
        before = a.count("dropped")
        for number in range(100):
            a.bus.send("test.said", {"number": number})
        assert a.count("dropped") - before >= 89
        await until(lambda: len(b.heard) >= 9)
    assert b.heard[:9] == [{"number": number} for number in range(9)]


async def test_a_handler_that_fails_and_a_message_that_is_none_cost_nothing_else(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = Post("a", redis_url=redis.url), Post("b", redis_url=redis.url)

    def fail(_payload: object) -> None:
        raise RuntimeError("on purpose")

    b.bus.on("test.fails", fail)
    with caplog.at_level(logging.CRITICAL):
        async with at_work(a, b):
            a.bus.send("test.fails", {})
            a.bus.send("test.unknown", {})
            a.bus.send("test.said", {"bad": object()})
            redis.command("PUBLISH", "fleetpulse:all", "not json")
            redis.command("PUBLISH", "fleetpulse:all", '["neither"]')
            await until(lambda: b.count("broken") == 3)
            a.bus.send("test.said", {"good": True})
            await until(lambda: b.heard)
    assert b.heard == [{"good": True}]


async def test_a_password_comes_from_its_file_and_a_wrong_one_is_tried_again(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path / "r", password="right")  # noqa: S106 - a test's
    redis.start()
    secret = tmp_path / "password"
    secret.write_text("wrong\n")
    a = Post("a", redis_url=redis.url, redis_password_file=secret)
    task = asyncio.create_task(a.bus.run())
    try:
        await until(lambda: a.bus._failures > 1)  # noqa: SLF001 - nothing else shows an attempt
        assert a.connected == 0
        secret.write_text("right\n")
        await until(lambda: a.connected == 1)
    finally:
        await end([task], 5.0)
        redis.kill()


async def test_a_replica_that_stops_says_goodbye(redis: RedisServer) -> None:
    a, b = Post("a", redis_url=redis.url), Post("b", redis_url=redis.url)
    a.bus.last_words("test.said", {"bye": "a"})
    async with at_work(b):
        async with at_work(a):
            pass
        await until(lambda: b.heard)
    assert b.heard == [{"bye": "a"}]
