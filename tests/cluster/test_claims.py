import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from tests.cluster.redis_server import RedisServer
from tests.journal.stand import until

from fleetpulse.cluster.bus import RedisBus
from fleetpulse.cluster.claims import RedisClaims
from fleetpulse.cluster.resting import end
from fleetpulse.config import Cluster
from fleetpulse.errors import LimitedError
from fleetpulse.instruments import Instruments

LIMIT = 5


class Replica:
    def __init__(self, name: str, redis: RedisServer, gone_seconds: float) -> None:
        settings = Cluster(redis_url=redis.url, retry_seconds=0.2, gone_seconds=gone_seconds)
        self.bus = RedisBus(settings, name, Instruments())
        self.claims = RedisClaims(self.bus, settings)
        self._tasks: list[asyncio.Task[None]] = []
        self.lost: list[tuple[str, bool]] = []
        self.claims.on_lost(self._lose)

    def _lose(self, name: str, displaced: bool) -> None:  # noqa: FBT001 - as it is called
        self.lost.append((name, displaced))
        self.claims.release("ann", name)

    def start(self) -> None:
        self._tasks = [asyncio.create_task(part.run()) for part in (self.bus, self.claims)]

    async def vanish(self) -> None:
        await end(self._tasks, 1.0)

    async def claimed(self, name: str) -> None:
        """Asks until there is a seat."""
        async with asyncio.timeout(30):
            while await self.claim(name) is None:  # noqa: ASYNC110 - it happens in another process
                await asyncio.sleep(0.02)

    async def claim(self, name: str, *, displace: bool = False) -> Sequence[str] | None:
        try:
            return await self.claims.claim("ann", name, LIMIT, displace=displace)
        except LimitedError:
            return None


@asynccontextmanager
async def two(redis: RedisServer, gone_seconds: float = 30.0) -> AsyncIterator[tuple[Replica, Replica]]:
    replicas = Replica("a", redis, gone_seconds), Replica("b", redis, gone_seconds)
    try:
        for replica in replicas:
            replica.start()
        await until(lambda: all(replica.bus.connection for replica in replicas))
        yield replicas
    finally:
        for replica in replicas:
            await replica.vanish()


async def test_fifty_at_one_instant_get_five_seats(redis: RedisServer) -> None:
    async with two(redis) as both:
        claims = (both[number % 2].claim(f"c{number}") for number in range(50))
        results = await asyncio.gather(*claims)
    assert sum(result is not None for result in results) == LIMIT


async def test_a_seat_that_is_given_back_is_free_at_the_other_replica(redis: RedisServer) -> None:
    async with two(redis) as (a, b):
        for number in range(LIMIT):
            assert await a.claim(f"a{number}") == []
        assert await b.claim("b0") is None
        a.claims.release("ann", "a3")
        await b.claimed("b0")
        assert await b.claim("b1") is None


async def test_the_oldest_makes_room_wherever_it_is(redis: RedisServer) -> None:
    async with two(redis) as (a, b):
        for number in range(LIMIT):
            assert await (a, b)[number % 2].claim(f"c{number}") == []
            await asyncio.sleep(0.002)  # ages are told in milliseconds
        assert await b.claim("new", displace=True) == ["c0"]
        assert await a.claim("newer", displace=True) == ["c1"]


async def test_seats_of_a_replica_that_vanished_are_free_and_those_of_a_living_one_are_not(
    redis: RedisServer,
) -> None:
    async with two(redis, gone_seconds=0.6) as (a, b):
        assert await a.claim("a0") == []
        for number in range(LIMIT - 1):
            assert await b.claim(f"b{number}") == []
        await asyncio.sleep(1.5)  # longer than a lease: they are renewed
        assert await b.claim("sixth") is None
        await a.vanish()
        await b.claimed("sixth")
        assert await b.claim("seventh") is None


@pytest.mark.parametrize("limit_reached", [False, True])
async def test_without_redis_everyone_is_let_in_and_keeps_their_seat_when_it_is_back(
    redis: RedisServer,
    limit_reached: bool,  # noqa: FBT001 - a test's parameter
) -> None:
    async with two(redis) as (a, b):
        redis.kill()
        await until(lambda: a.bus.connection is None and b.bus.connection is None)
        for number in range(LIMIT if limit_reached else LIMIT - 1):
            assert await a.claim(f"a{number}") == ()
        redis.start()
        await until(lambda: a.bus.connection and b.bus.connection)
        await until(lambda: redis.command("ZCARD", "fleetpulse:seats:ann") in (b":4\r\n", b":5\r\n"))
        assert (await b.claim("b0") is None) == limit_reached
        assert redis.command("ZCARD", "fleetpulse:seats:ann") == b":5\r\n"


async def test_a_redis_that_hangs_keeps_nobody_waiting_for_long(redis: RedisServer) -> None:
    async with two(redis) as (a, _b):
        with redis.frozen():
            assert await a.claim("a0") == ()


@pytest.mark.parametrize("displace", [False, True])
async def test_of_more_than_the_limit_those_yield_whom_the_policy_names_when_redis_is_back(
    redis: RedisServer,
    displace: bool,  # noqa: FBT001 - a test's parameter
) -> None:
    async with two(redis, gone_seconds=1.5) as both:
        redis.kill()
        await until(lambda: all(each.bus.connection is None for each in both))
        names = [f"c{number}" for number in range(8)]
        for number, name in enumerate(names):  # four at each, in turn
            assert await both[number % 2].claim(name, displace=displace) == ()
            await asyncio.sleep(0.002)  # ages are told in milliseconds
        redis.start()
        await until(lambda: sum(len(each.lost) for each in both) >= 3)
        await asyncio.sleep(1.5)  # longer than it takes to renew three times
        lost = sorted(name for each in both for name, _ in each.lost)
        assert lost == (names[:3] if displace else names[5:])
        assert {displaced for each in both for _, displaced in each.lost} == {displace}
        assert redis.command("ZCARD", "fleetpulse:seats:ann") == b":5\r\n"
