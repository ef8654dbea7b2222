"""The connections to Redis, as the bus uses them: one that listens, and a few that publish and ask.

Nothing is tried again here: the bus begins anew with everything when one of them fails. Errors are `RedisError` and
`OSError`.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from fleetpulse.cluster.outbox import Parcel
from fleetpulse.config import Cluster


class Connection:
    """Redis while it is there."""

    def __init__(self, redis: Redis, listener: PubSub) -> None:
        self._redis = redis
        self._listener = listener

    async def subscribe(self, *channels: str) -> None:
        """Returns once Redis has confirmed: from then on everything published arrives."""
        await self._listener.subscribe(*channels)
        for _ in channels:
            await self._listener.get_message(timeout=None)

    async def receive(self) -> bytes:
        """The next message."""
        while True:
            message = await self._listener.get_message(timeout=None)
            if message is not None and message["type"] == "message":
                return bytes(message["data"])

    async def publish(self, parcels: Sequence[Parcel]) -> None:
        """Publishes in order, in one round trip."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for parcel in parcels:
                pipeline.publish(parcel.channel, parcel.body)
            await pipeline.execute()

    async def script(self, text: str, keys: Sequence[str], values: Sequence[str | int | float]) -> Any:
        """Runs a Lua script, in one atomic step; returns its result with texts as bytes."""
        return await self._redis.eval(text, len(keys), *keys, *values)


@asynccontextmanager
async def connected(settings: Cluster) -> AsyncIterator[Connection]:
    """A connection that answers; raises RedisError or OSError where there is none."""
    assert settings.redis_url is not None  # noqa: S101 - without it there is no bus over Redis
    redis = Redis.from_url(
        settings.redis_url.get_secret_value(),
        password=await asyncio.to_thread(_password, settings),
        socket_connect_timeout=settings.connect_seconds,
        socket_timeout=settings.silence_seconds,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        client_name="fleetpulse",
    )
    try:
        async with asyncio.timeout(settings.connect_seconds):
            await redis.ping()
        async with redis.pubsub() as listener:
            yield Connection(redis, listener)
    except TimeoutError as error:
        raise RedisError("no answer in time") from error
    finally:
        await redis.aclose()


def _password(settings: Cluster) -> str | None:
    if settings.redis_password_file is not None:
        return settings.redis_password_file.read_text("utf-8").strip()
    return settings.redis_password.get_secret_value() if settings.redis_password else None
