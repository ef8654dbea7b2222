"""An exporter's live endpoints on a real port, which the tests feed, cut and restart; and a reader of its feed."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.web.live_stand import DEADLINE, Stand

from fleetpulse.config import Settings
from fleetpulse.feed import Backoff, Event, Gap, LiveFeed, Message, StateChange
from fleetpulse.live import Cause

QUICK = {"first": 0.02, "longest": 0.2}


def quick() -> Backoff:
    """A back-off for tests: the same rule, sooner."""
    return Backoff(**QUICK, rng=random.Random(7))


async def stand(folder: Path, auth: dict[str, Any] | None = None, **live: Any) -> Stand:
    """The endpoints, started."""
    return await Stand(Settings(data_dir=folder, live=live, auth=auth or {})).start()


def url(it: Stand) -> str:
    """Its address."""
    return str(it.server.make_url("/"))


def cut(it: Stand, cause: Cause = Cause.SLOW) -> int:
    """Closes every connection as the server would; how many there were."""
    clients = [client for client in it.hub.seen if not client.closed]
    for client in clients:
        it.hub.close(client, cause)
    return len(clients)


def sever(it: Stand) -> int:
    """Breaks every connection without a word, as a network would."""
    clients = [client for client in it.hub.seen if not client.closed and not client.transport.is_closing()]
    for client in clients:
        client.transport.abort()
    return len(clients)


async def take(feed: LiveFeed, enough: Callable[[list[Message]], Any]) -> list[Message]:
    """Messages until there are enough."""
    got: list[Message] = []
    async with asyncio.timeout(DEADLINE):
        async for message in feed:
            got.append(message)
            if enough(got):
                break
    return got


async def first(feed: LiveFeed, kind: type[Any]) -> Any:
    """The next message of a class."""
    return (await take(feed, lambda got: isinstance(got[-1], kind)))[-1]


def events(got: list[Message]) -> list[Any]:
    """The data of the events."""
    return [message.data for message in got if isinstance(message, Event)]


def gaps(got: list[Message]) -> list[tuple[int, int]]:
    """The gaps."""
    return [(message.first, message.last) for message in got if isinstance(message, Gap)]


def states(got: list[Message]) -> list[str]:
    """What became of the connection."""
    return [message.state for message in got if isinstance(message, StateChange)]
