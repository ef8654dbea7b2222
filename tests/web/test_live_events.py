"""The live feed as server-sent events, over a real port."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import ClientResponse
from pydantic import SecretStr
from tests.web.live_stand import DEADLINE, Serve, Stand, numbers, until

from fleetpulse import catalogue
from fleetpulse.auth import Role
from fleetpulse.auth.tokens import issue
from fleetpulse.config import Auth

EVENTS = "/api/v1/live"
SECRET = "a secret of more than thirty-two characters"  # noqa: S105 - of this test alone


class Feed:
    """Reads a stream as EventSource does: the id that came last stays."""

    def __init__(self, answer: ClientResponse) -> None:
        self.answer = answer
        self.event_id = ""
        self.retry = ""
        self.comments = 0

    async def line(self) -> tuple[str, str] | None:
        """The next field; None at the end of the stream."""
        async with asyncio.timeout(DEADLINE):
            line = (await self.answer.content.readline()).decode()
        name, _, value = line.rstrip("\n").partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            self.event_id = value
        elif name == "retry":
            self.retry = value
        elif line.startswith(":"):
            self.comments += 1
        return (name, value) if line else None

    async def read(self) -> dict[str, Any]:
        """The next event's data."""
        while (field := await self.line()) is not None:
            if field[0] == "data":
                decoded: dict[str, Any] = json.loads(field[1])
                return decoded
        raise AssertionError("the stream ended")

    async def events(self, count: int) -> list[dict[str, Any]]:
        """So many events of event topics."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            message = await self.read()
            if message["type"] == "event":
                found.append(message)
        return found


@asynccontextmanager
async def listen(stand: Stand, query: str, **headers: str) -> AsyncIterator[Feed]:
    async with stand.session.get(stand.server.make_url(f"{EVENTS}?{query}"), headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == "text/event-stream"
        yield Feed(answer)


async def test_topics_are_streamed_as_on_the_websocket(serve: Serve) -> None:
    stand = await serve()
    stand.beat("agent-1", 10)
    async with listen(stand, "topics=agents/*,requests") as feed:
        agents, snapshot, requests = [await feed.read() for _ in range(3)]
        assert (agents["type"], agents["topic"]) == ("subscribed", "agents")
        assert (snapshot["type"], len(snapshot["data"])) == ("snapshot", 1)
        assert (requests["type"], requests["topic"]) == ("subscribed", "requests")
        assert int(feed.retry) > 0
        stand.hub.publish("requests", {"n": 1}, key="r1")
        assert (await feed.read())["data"] == {"n": 1}
        assert feed.event_id == f"{agents['epoch']}:0;{requests['epoch']}:1"
        stand.beat("agent-1", 11)
        assert (await feed.read())["key"] == "default/agent-1"
        assert feed.event_id == f"{agents['epoch']}:1;{requests['epoch']}:1"
    await until(lambda: stand.value(catalogue.LIVE_CONNECTIONS, "sse") == 0)


async def test_the_stream_goes_on_after_any_event(serve: Serve) -> None:
    stand = await serve()
    topics = "topics=requests,alerts"
    async with listen(stand, topics) as feed:
        await feed.read()
        for n in range(6):
            stand.hub.publish("requests" if n % 2 else "alerts", {"n": n})
        events, ids = [], []
        for _ in range(6):
            events += await feed.events(1)
            ids.append(feed.event_id)
    assert len(set(ids)) == 6
    for heard, event_id in enumerate(ids, 1):
        async with listen(stand, topics, **{"Last-Event-ID": event_id}) as feed:
            rest = await feed.events(6 - heard)
            key = lambda message: (message["topic"], message["offset"])  # noqa: E731 - of this line
            assert sorted(map(key, rest)) == sorted(map(key, events[heard:]))
            assert feed.event_id == ids[-1] or not rest


async def test_a_reader_that_stalls_is_brought_up_to_date(serve: Serve) -> None:
    stand = await serve()
    async with listen(stand, "topics=requests,agents/default") as feed:
        await feed.read()
        for n in range(400):
            stand.hub.publish("requests", {"n": n, "text": "x" * 20_000})
            stand.beat("one", n % 100)
            await asyncio.sleep(0)
        got = await feed.events(400)
        assert [event["data"]["n"] for event in got] == list(range(400))


async def test_missed_events_that_are_gone_are_a_gap(serve: Serve) -> None:
    stand = await serve(history_messages=64)
    async with listen(stand, "topics=requests") as feed:
        epoch = (await feed.read())["epoch"]
    await until(lambda: stand.value(catalogue.LIVE_CONNECTIONS, "sse") == 0)
    stand.hub.publish_many("requests", numbers(100))
    async with listen(stand, f"topics=requests&last_event_id={epoch}:2") as feed:
        answer, gap = await feed.read(), await feed.read()
        assert (answer["recovered"], gap["type"], gap["from"], gap["to"]) == (False, "gap", 3, 36)
        assert [event["offset"] for event in await feed.events(64)] == list(range(37, 101))


async def test_filters_choose(serve: Serve) -> None:
    stand = await serve()
    async with listen(stand, 'topics=requests&filter={"status":"error"}') as feed:
        await feed.read()
        for status in ("success", "error", "success"):
            stand.hub.publish("requests", {"status": status})
        assert (await feed.events(1))[0]["offset"] == 2
        position = await feed.read()
        assert (position["type"], position["offset"]) == ("position", 3)
        assert feed.event_id.endswith(":3")


async def test_silence_is_filled_with_comments_and_is_no_death(serve: Serve) -> None:
    stand = await serve(ping_seconds=0.1, dead_seconds=0.3)
    async with listen(stand, "topics=requests") as feed:
        await feed.read()
        while feed.comments < 8:
            await feed.line()
    assert stand.value(catalogue.LIVE_EVICTIONS, "dead") == 0


async def test_the_stream_ends_with_the_server_and_says_why(serve: Serve) -> None:
    stand = await serve()
    async with listen(stand, "topics=requests") as feed:
        await feed.read()
        stopping = asyncio.create_task(stand.hub.stop())
        message = await feed.read()
        assert (message["type"], message["code"]) == ("closing", 1001)
        while await feed.line() is not None:
            pass
        await stopping


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 422),
        ("topics=", 422),
        ("topics=,", 422),
        ("topics=requests,weather", 404),
        ("topics=" + ",".join(f"agents/{n}" for n in range(101)), 422),
        ("topics=requests&filter=[1]", 422),
        ("topics=requests&filter={", 422),
        ("topics=requests&last_event_id=nonsense", 422),
        ("topics=requests&last_event_id=a:1;b:2", 422),
        ("topics=requests&last_event_id=a:-1", 422),
        ("topics=requests&colour=blue", 422),
    ],
)
async def test_what_cannot_be_streamed_is_a_problem(serve: Serve, query: str, status: int) -> None:
    stand = await serve()
    async with stand.session.get(stand.server.make_url(f"{EVENTS}?{query}")) as answer:
        assert (answer.status, answer.content_type) == (status, "application/problem+json")
    assert stand.value(catalogue.LIVE_CONNECTIONS, "sse") == 0


async def test_seats_are_bounded_with_the_websockets(serve: Serve) -> None:
    stand = await serve(max_connections=1)
    async with (
        listen(stand, "topics=requests"),
        stand.session.get(stand.server.make_url(f"{EVENTS}?topics=requests")) as answer,
    ):
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
    await until(lambda: stand.value(catalogue.LIVE_CONNECTIONS, "sse") == 0)


async def test_a_credential_is_needed_and_ends_the_stream_with_it(serve: Serve) -> None:
    stand = await serve(auth={"jwt_secret": SECRET}, ping_seconds=0.5)
    async with stand.session.get(stand.server.make_url(f"{EVENTS}?topics=requests")) as answer:
        assert answer.status == 401
    auth = Auth(jwt_secret=SecretStr(SECRET))
    token = issue(auth, subject="ann", roles=[Role.VIEWER], lifetime=timedelta(seconds=1))
    async with listen(stand, f"topics=requests&token={token}") as feed:
        await feed.read()
        assert (await feed.read())["code"] == 4401


async def test_a_reader_that_stays_stalled_is_evicted(serve: Serve) -> None:
    stand = await serve(evict_seconds=0.5, conflate_bytes=20_000)
    async with listen(stand, "topics=requests") as feed:
        await feed.read()
        async with asyncio.timeout(DEADLINE):
            while stand.value(catalogue.LIVE_EVICTIONS, "slow") == 0:
                stand.hub.publish_many("requests", [(None, "x" * 100_000)] * 20)
                await asyncio.sleep(0.01)
        client = stand.hub.seen[-1]
        await until(client.transport.is_closing)
