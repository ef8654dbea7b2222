"""Two exporters over one Redis, a balancer before them, and a client of the live feed that keeps its positions."""

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from tests.cluster.redis_server import RedisServer
from tests.lines import carry
from tests.system.harness import Exporter
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

DEADLINE = 120.0
STAND_STILL = 20.0
RATES = {"FLEETPULSE_CHAT__MESSAGES_PER_SECOND": "1000", "FLEETPULSE_LIVE__MESSAGES_PER_SECOND": "1000"}


async def until(condition: Any, what: str = "") -> Any:
    """The first truthy result of a function that may block; an error that passes counts as "not yet"."""
    last: object = None
    try:
        async with asyncio.timeout(DEADLINE):
            while True:
                with suppress(OSError, KeyError):
                    if last := await asyncio.to_thread(condition):
                        return last
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"not in time: {what or condition}; last: {last!r}") from None


class Replicas:
    """The exporters `a` and `b`; more settings may be given to both."""

    def __init__(self, folder: Path, redis: RedisServer, **settings: str) -> None:
        shared = {
            "FLEETPULSE_CLUSTER__REDIS_URL": redis.url,
            "FLEETPULSE_CLUSTER__RETRY_SECONDS": "0.5",
            **RATES,
            **settings,
        }
        self.redis = redis
        self.both = tuple(
            Exporter(folder / name, **shared, FLEETPULSE_CLUSTER__REPLICA=name) for name in ("a", "b")
        )
        self.a, self.b = self.both

    def start(self) -> None:
        """Starts both, and waits until each knows the other."""
        for exporter in self.both:
            exporter.start(wait=False)
        for exporter in self.both:
            exporter.wait_ready()

    def stop(self) -> None:
        """Stops both."""
        for exporter in self.both:
            exporter.stop()

    def joined(self) -> bool:
        """Whether each knows the other."""
        return all(exporter.metrics()["fleetpulse_cluster_replicas"] == 1 for exporter in self.both)

    def connected(self) -> set[float]:
        """What the metric says at each."""
        return {exporter.metrics()["fleetpulse_cluster_connected"] for exporter in self.both}


@asynccontextmanager
async def balancer(*ports: int) -> AsyncIterator[int]:
    """A dumb TCP balancer: connections go to the ports in turn, to the next where one refuses. Yields its port."""
    turn = itertools.cycle(range(len(ports)))
    open_ones: set[asyncio.Task[Any] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ones.add(asyncio.current_task())
        try:
            first = next(turn)
            await carry(reader, writer, *ports[first:], *ports[:first])
        finally:
            open_ones.discard(asyncio.current_task())

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        left = [task for task in open_ones if task is not None]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports say goodbye


class Reader:
    """A client of one event topic: everything it got, by origin, and what was wrong with it."""

    def __init__(self, topic: str = "requests") -> None:
        self.topic = topic
        self.positions: dict[str, int] = {}
        self.keys: dict[str, list[str]] = {}
        self.wrong: list[Any] = []
        self.cuts = 0

    @property
    def count(self) -> int:
        """How many events it has."""
        return sum(map(len, self.keys.values()))

    async def begin(self, url: str) -> None:
        """Learns where both streams are, before anything is published."""
        async with asyncio.timeout(DEADLINE), _cut_off(url) as socket:
            await socket.send(json.dumps(self._question()))
            self._take(json.loads(await socket.recv()), "")
        assert len(self.positions) == 2

    async def read(self, url: str, most: int, seconds: float) -> None:
        """Connects, resumes, reads on until it has `most` more or the time is over, and cuts the connection."""
        goal = self.count + most
        with suppress(OSError, ConnectionClosed, InvalidHandshake, TimeoutError):
            async with asyncio.timeout(seconds), _cut_off(url) as socket:
                await socket.send(json.dumps(self._question()))
                epoch = ""
                while self.count < goal:
                    epoch = self._take(json.loads(await socket.recv()), epoch)

    def _question(self) -> dict[str, Any]:
        question: dict[str, Any] = {"type": "subscribe", "topic": self.topic}
        return question | ({"resume": {"positions": self.positions}} if self.positions else {})

    def _take(self, message: dict[str, Any], epoch: str) -> str:
        kind = message["type"]
        if kind == "subscribed":
            places = message.get("positions") or {message["epoch"]: message["offset"]}
            for each, offset in places.items():
                self.positions.setdefault(each, offset)
            return str(message["epoch"])
        if kind == "event":
            of = message.get("epoch", epoch)
            if message["offset"] != self.positions.get(of, 0) + 1:
                self.wrong.append((of, self.positions.get(of), message["offset"]))
            self.positions[of] = message["offset"]
            self.keys.setdefault(of, []).append(message["key"])
        elif kind != "position":
            self.wrong.append(message)
        return epoch

    async def read_with_cuts(self, url: str, total: int, cuts: int, rng: random.Random) -> None:
        """Reads until it has `total` events, cut off at random `cuts` times; fails when nothing comes any more."""
        while self.count < total:
            before = self.count
            if self.cuts < cuts:
                await self.read(url, rng.randint(1, 120), rng.uniform(0.02, 0.4))
                self.cuts += 1
            else:
                await self.read(url, total - self.count, STAND_STILL)
                assert self.count > before, f"stands still at {self.count} of {total}, {self.positions}"


@asynccontextmanager
async def _cut_off(url: str) -> AsyncIterator[ClientConnection]:
    """A connection that ends without a goodbye."""
    socket = await connect(url, ping_interval=None, compression=None, max_queue=None)
    try:
        yield socket
    finally:
        socket.transport.abort()
