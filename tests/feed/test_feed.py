"""The live client against the real endpoints: what it yields, and what it makes of cuts."""

import asyncio
import random
import time
from pathlib import Path

import jwt
import pytest
from tests.feed.conftest import Serve
from tests.feed.stand import cut, events, first, gaps, quick, sever, states, take, url
from tests.web.live_stand import DEADLINE, until

from fleetpulse.errors import InvalidInputError, NotFoundError, UnauthenticatedError, UpstreamError
from fleetpulse.feed import Event, Left, LiveFeed, Position, Snapshot, Subscribed, Update
from fleetpulse.live import Cause

SECRET = "a secret of thirty-two bytes or more"  # noqa: S105 - of this test


def token(seconds: float = 600.0) -> str:
    claims = {"sub": "u", "aud": "fleetpulse", "roles": ["viewer"], "exp": int(time.time() + seconds)}
    return jwt.encode(claims, SECRET, "HS256")


@pytest.fixture
def secret(tmp_path: Path) -> dict[str, str]:
    """Settings of an exporter that asks for tokens."""
    path = tmp_path / "secret"
    path.write_text(SECRET)
    return {"jwt_secret_file": str(path)}


async def test_events_come_typed_and_in_order(serve: Serve) -> None:
    stand = await serve()
    async with LiveFeed(url(stand)) as feed:
        feed.subscribe("requests")
        answer = await first(feed, Subscribed)
        assert (answer.topic, answer.policy, answer.recovered) == ("requests", "event", False)
        for number in range(3):
            stand.hub.publish("requests", {"n": number})
        got = await take(feed, lambda got: len(got) == 3)
        assert [(one.offset, one.data) for one in got if isinstance(one, Event)] == [
            (1, {"n": 0}),
            (2, {"n": 1}),
            (3, {"n": 2}),
        ]
        assert feed.positions == {"requests": {answer.epoch: 3}}


async def test_state_comes_whole_then_by_key(serve: Serve) -> None:
    stand = await serve()
    stand.beat("a", 1)
    async with LiveFeed(url(stand)) as feed:
        feed.subscribe("agents/default")
        state = await first(feed, Snapshot)
        assert [agent["agent_id"] for agent in state.data] == ["a"]
        stand.beat("b", 2)
        update = await first(feed, Update)
        assert (update.key, update.kind, update.data["cpu_usage"]) == ("b", "update", 2)
        stand.offline("b")
        assert (await first(feed, Update)).kind == "offline"
        assert feed.positions == {}, "a program that begins anew needs the whole state"


async def test_filters_show_what_matches_and_what_ceased_to(serve: Serve) -> None:
    stand = await serve()
    async with LiveFeed(url(stand)) as feed:
        feed.subscribe("requests", filter={"status": ["error", "timeout"]})
        feed.subscribe("agents", filter={"status": "busy"})
        await first(feed, Snapshot)
        stand.hub.publish("requests", {"n": 1, "status": "success"})
        stand.hub.publish("requests", {"n": 2, "status": "error"})
        assert (await first(feed, Event)).data["n"] == 2
        stand.beat("a", 1)
        await first(feed, Update)
        stand.beat("a", 1, status="idle")
        assert (await first(feed, Left)).key == "default/a"
        stand.hub.publish("requests", {"n": 3, "status": "success"})
        assert (await first(feed, Position)).offset == 3
        assert feed.positions["requests"].popitem()[1] == 3


async def test_another_filter_subscribes_anew_and_loses_nothing(serve: Serve) -> None:
    stand = await serve()
    async with LiveFeed(url(stand)) as feed:
        feed.subscribe("requests", filter={"n": 1})
        await first(feed, Subscribed)
        stand.hub.publish("requests", {"n": 1})
        await first(feed, Event)
        stand.hub.publish("requests", {"n": 2})
        feed.subscribe("requests", filter={"n": [2, 3]})
        assert (await first(feed, Event)).data == {"n": 2}
        feed.unsubscribe("requests")
        assert feed.topics == []
        await until(lambda: not any(client.subscriptions for client in stand.hub.seen))


@pytest.mark.parametrize("end", ["evicted", "severed"])
async def test_a_cut_is_repaired(serve: Serve, end: str) -> None:
    stand = await serve()
    async with LiveFeed(url(stand), backoff=quick()) as feed:
        feed.subscribe("requests")
        feed.subscribe("agents")
        await first(feed, Snapshot)
        stand.hub.publish("requests", {"n": 0})
        stand.beat("a", 0)
        await take(feed, lambda got: {Event, Update} <= {type(one) for one in got})
        assert (cut if end == "evicted" else sever)(stand) == 1
        stand.hub.publish("requests", {"n": 1})
        stand.beat("a", 1)
        got = await take(feed, lambda got: events(got) and any(isinstance(one, Update) for one in got))
        assert states(got) == ["waiting", "connecting", "connected"]
        assert [answer.recovered for answer in got if isinstance(answer, Subscribed)] == [True, True]
        assert events(got) == [{"n": 1}]


async def test_two_hundred_cuts_lose_and_repeat_nothing(serve: Serve) -> None:
    stand = await serve(history_messages=20_000)
    chance = random.Random(1)
    cuts = 0

    async def publish() -> None:
        nonlocal cuts
        for number in range(5_000):
            stand.hub.publish("requests", {"n": number})
            if number % 25 == 0:
                cuts += chance.choice((cut, sever))(stand)
                await asyncio.sleep(chance.uniform(0, 0.02))

    async with LiveFeed(url(stand), backoff=quick(), queue_size=50) as feed:
        feed.subscribe("requests")
        await first(feed, Subscribed)
        publishing = asyncio.create_task(publish())
        got = await take(feed, lambda got: getattr(got[-1], "data", None) == {"n": 4_999})
        await publishing
    assert [event["n"] for event in events(got)] == list(range(5_000))
    assert gaps(got) == []
    assert cuts > 20


async def test_what_is_no_longer_held_is_named_once(serve: Serve) -> None:
    stand = await serve(history_messages=5)
    async with LiveFeed(url(stand), backoff=quick()) as feed:
        feed.subscribe("requests")
        await first(feed, Subscribed)
        for number in range(1, 4):
            stand.hub.publish("requests", {"n": number})
        await take(feed, lambda got: len(got) == 3)
        cut(stand)
        for number in range(4, 21):
            stand.hub.publish("requests", {"n": number})
        stand.hub.flush()
        stand.hub.publish("requests", {"n": 21})
        got = await take(feed, lambda got: {"n": 21} in events(got))
        ((lost, upto),) = gaps(got)
        assert [*range(lost, upto + 1), *(event["n"] for event in events(got))] == list(range(4, 22))
        assert feed.positions["requests"].popitem()[1] == 21


async def test_positions_lead_a_later_run_on(serve: Serve) -> None:
    stand = await serve()
    async with LiveFeed(url(stand)) as feed:
        feed.subscribe("requests")
        await first(feed, Subscribed)
        for number in range(3):
            stand.hub.publish("requests", {"n": number})
        await first(feed, Event)
        kept = feed.positions
    async with LiveFeed(url(stand), positions=kept | {"alerts": {"e": 7}}) as feed:
        assert feed.positions == kept | {"alerts": {"e": 7}}, "what is not subscribed to yet is kept"
        feed.subscribe("requests")
        got = await take(feed, lambda got: len(events(got)) == 2)
        assert events(got) == [{"n": 1}, {"n": 2}]


async def test_who_reads_slowly_bounds_what_is_held(serve: Serve) -> None:
    stand = await serve(history_messages=50_000)
    async with LiveFeed(url(stand), backoff=quick(), queue_size=10) as feed:
        feed.subscribe("requests")
        await first(feed, Subscribed)
        for number in range(1_000):
            stand.hub.publish("requests", {"n": number, "text": "x" * 20_000})
        await until(lambda: any(client.backlog for client in stand.hub.seen))
        assert feed._queue.qsize() <= 10  # noqa: SLF001 - that it is bounded is the point
        got = await take(feed, lambda got: len(events(got)) == 1_000)
    assert [event["n"] for event in events(got)] == list(range(1_000))


async def test_silence_is_asked_and_then_ended(serve: Serve) -> None:
    stand = await serve()
    async with LiveFeed(url(stand), backoff=quick(), idle_seconds=0.1) as feed:
        feed.subscribe("requests")
        await first(feed, Subscribed)
        (client,) = stand.hub.seen
        seen = client.last_seen
        await until(lambda: client.last_seen > seen)  # a ping, and its pong keeps the connection
        stand.hub.publish("requests", {"n": 1})
        assert states(await take(feed, events)) == []


async def test_a_peer_that_says_nothing_is_left() -> None:
    async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(stay_silent, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    async with LiveFeed(f"http://127.0.0.1:{port}") as feed:
        assert states(await take(feed, lambda got: len(got) == 1)) == ["connecting"]
    server.close()


# Errors -------------------------------------------------------------------------------------------------------
async def test_an_unknown_topic_is_an_error_of_that_topic_only(serve: Serve) -> None:
    stand = await serve()
    async with LiveFeed(url(stand)) as feed:
        feed.subscribe("nonsense")
        feed.subscribe("requests")
        with pytest.raises(NotFoundError, match="nonsense"):
            await take(feed, events)
        await asyncio.sleep(0)
        assert feed.topics == ["requests"]
        await until(lambda: any(client.subscriptions for client in stand.hub.seen))
        stand.hub.publish("requests", {"n": 1})
        assert events(await take(feed, events)) == [{"n": 1}]


@pytest.mark.parametrize("wrong", ["127.0.0.1:8001", "ftp://host", "http://", "http://host:port"])
def test_an_address_that_is_none_is_refused_at_once(wrong: str) -> None:
    with pytest.raises(InvalidInputError, match="address"):
        LiveFeed(wrong)


async def test_an_address_without_a_feed_is_an_error(serve: Serve) -> None:
    stand = await serve()
    async with LiveFeed(f"{url(stand)}elsewhere") as feed:
        with pytest.raises(NotFoundError, match="no live feed at"):
            await take(feed, lambda _: False)
        with pytest.raises(StopAsyncIteration):
            await anext(feed)


async def test_it_gives_up_where_it_is_told_to() -> None:
    async with LiveFeed("http://127.0.0.1:1", backoff=quick(), give_up_seconds=0.3) as feed:
        with pytest.raises(UpstreamError, match="cannot connect"):
            await take(feed, lambda _: False)


async def test_a_wrong_token_is_an_error_and_a_function_that_repeats_it_too(
    serve: Serve, secret: dict[str, str]
) -> None:
    stand = await serve(auth=secret)
    for wrong in ("nonsense", lambda: "nonsense"):
        async with LiveFeed(url(stand), token=wrong, backoff=quick()) as feed:
            with pytest.raises(UnauthenticatedError):
                await take(feed, lambda _: False)


async def test_an_expired_token_is_replaced_by_a_fresh_one(serve: Serve, secret: dict[str, str]) -> None:
    stand = await serve(auth=secret)
    given = iter(["nonsense", token(600), token(700), token(800)])

    async def fresh() -> str:
        return next(given)

    async with LiveFeed(url(stand), token=fresh, backoff=quick()) as feed:
        feed.subscribe("requests")
        await first(feed, Subscribed)
        cut(stand, Cause.EXPIRED)
        stand.hub.publish("requests", {"n": 1})
        assert events(await take(feed, events)) == [{"n": 1}]


async def test_a_token_is_renewed_on_the_connection(serve: Serve, secret: dict[str, str]) -> None:
    stand = await serve(auth=secret)
    given = iter([token(20), token(900)])
    async with LiveFeed(url(stand), token=lambda: next(given)) as feed:
        feed.subscribe("requests")
        await first(feed, Subscribed)
        (client,) = stand.hub.seen
        await until(lambda: (client.expires_at or 0) > time.time() + 600)
        stand.hub.publish("requests", {"n": 1})
        assert states(await take(feed, events)) == [], "the connection stayed"
        assert len(stand.hub.seen) == 1


async def test_a_fixed_token_that_expires_ends_the_feed(serve: Serve, secret: dict[str, str]) -> None:
    stand = await serve(auth=secret)
    async with LiveFeed(url(stand), token=token(), backoff=quick()) as feed:
        feed.subscribe("requests")
        await first(feed, Subscribed)
        cut(stand, Cause.EXPIRED)
        with pytest.raises(UnauthenticatedError, match="4401"):
            await take(feed, lambda _: False)


async def test_trouble_with_the_source_of_tokens_passes(serve: Serve) -> None:
    stand = await serve()
    tries = 0

    def source() -> str | None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ConnectionError("the token server restarts")
        return None

    async with LiveFeed(url(stand), token=source, backoff=quick()) as feed:
        feed.subscribe("requests")
        got = await take(feed, lambda got: isinstance(got[-1], Subscribed))
    assert states(got).count("waiting") == 2


async def test_a_broken_token_function_is_told(serve: Serve) -> None:
    stand = await serve()

    def broken() -> str:
        raise KeyError("token")

    async with LiveFeed(url(stand), token=broken) as feed:
        with pytest.raises(KeyError):
            await take(feed, lambda _: False)


async def test_closing_ends_the_iteration(serve: Serve) -> None:
    stand = await serve()
    feed = LiveFeed(url(stand))
    async with feed:
        feed.subscribe("requests")
        await first(feed, Subscribed)

        async def read() -> int:
            return len([message async for message in feed])

        reading = asyncio.create_task(read())
        await asyncio.sleep(0)
        await feed.close()
        async with asyncio.timeout(DEADLINE):
            assert await reading == 0
    await until(lambda: all(client.closed for client in stand.hub.seen))
