import asyncio
import json
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import WSMsgType, WSServerHandshakeError
from pydantic import SecretStr
from tests.web.live_stand import ALERTS, DEADLINE, LIVE, POOL, Serve, closed, numbers, read, subscribe, until

from fleetpulse import catalogue
from fleetpulse.auth import Role
from fleetpulse.auth.tokens import issue
from fleetpulse.config import Auth

SECRET = "a secret of more than thirty-two characters"  # noqa: S105 - of this test alone


# Bounds, life and death -----------------------------------------------------------------------------------------
async def test_plain_request_is_refused_as_a_problem(serve: Serve) -> None:
    stand = await serve()
    async with stand.session.get(stand.server.make_url(LIVE)) as answer:
        assert answer.status == 400
        assert answer.content_type == "application/problem+json"
    await until(lambda: stand.value(catalogue.LIVE_CONNECTIONS, "live") == 0)


@pytest.mark.parametrize("bound", ["max_connections", "max_connections_per_ip"])
async def test_connections_past_the_cap_are_refused_before_the_upgrade(serve: Serve, bound: str) -> None:
    stand = await serve(**{bound: 2})
    first, _ = await stand.connect(LIVE), await stand.connect(POOL)
    with pytest.raises(WSServerHandshakeError) as refused:
        await stand.connect(ALERTS)
    assert refused.value.status == 503
    assert refused.value.headers is not None
    assert int(refused.value.headers["Retry-After"]) > 0
    await first.close()
    await until(lambda: stand.value(catalogue.LIVE_CONNECTIONS, "live") == 0)
    await stand.connect(ALERTS)


async def test_subscriptions_and_topics_are_bounded(serve: Serve) -> None:
    stand = await serve(max_subscriptions=2, max_topics=3)
    feed = await stand.connect(LIVE + "?topics=agents/a,agents/b,agents/c")
    assert [(await read(feed))["type"] for _ in range(4)] == ["subscribed", "snapshot"] * 2
    assert (await subscribe(feed, "requests"))["code"] == "overloaded"
    other = await stand.connect(LIVE + "?topics=agents/d,agents/e")
    assert [(await read(other))["type"] for _ in range(3)] == ["subscribed", "snapshot", "error"]
    stand.beat("x", 1, pool="another")  # nobody hears it, and nothing breaks
    stand.beat("y", 1, pool="d")
    assert (await read(other))["key"] == "y"


async def test_too_many_messages_close_the_connection(serve: Serve) -> None:
    stand = await serve(messages_per_second=5)
    feed = await stand.connect(LIVE)
    for _ in range(50):
        await feed.send_str('{"type": "ping"}')
    assert await closed(feed) == 4429
    assert stand.value(catalogue.LIVE_EVICTIONS, "flood") == 1


async def test_too_large_a_message_closes_the_connection(serve: Serve) -> None:
    stand = await serve(max_message_bytes=1_000)
    feed = await stand.connect(LIVE)
    await feed.send_str(json.dumps({"type": "ping", "more": "x" * 2_000}))
    assert await closed(feed) == 1009
    await until(lambda: stand.value(catalogue.LIVE_EVICTIONS, "too_big") == 1)


async def test_pings_keep_a_quiet_client_and_a_dead_one_is_closed(serve: Serve) -> None:
    stand = await serve(ping_seconds=0.1, dead_seconds=0.5)
    alive = await stand.connect(LIVE)
    dead = await stand.connect(LIVE, autoping=False)
    reading = asyncio.create_task(alive.receive())
    pinged = 0
    while (message := await dead.receive(DEADLINE)).type is WSMsgType.PING:
        pinged += 1
    assert message.type is WSMsgType.CLOSE
    assert dead.close_code == 4408
    assert pinged >= 1
    assert stand.value(catalogue.LIVE_EVICTIONS, "dead") == 1
    assert not reading.done()
    reading.cancel()
    with suppress(asyncio.CancelledError):
        await reading


async def test_any_message_is_a_sign_of_life(serve: Serve) -> None:
    stand = await serve(ping_seconds=0.2, dead_seconds=0.6, messages_per_second=1_000)
    feed = await stand.connect(LIVE, autoping=False)
    loop = asyncio.get_running_loop()
    end = loop.time() + 1.5
    while loop.time() < end:
        await feed.send_str('{"type": "ping"}')
        assert (await feed.receive(DEADLINE)).type in (WSMsgType.TEXT, WSMsgType.PING)
        await asyncio.sleep(0.05)
    assert not feed.closed


async def test_websocket_pings_are_answered(serve: Serve) -> None:
    stand = await serve()
    feed = await stand.connect(LIVE, autoping=False)
    await feed.ping(b"hello")
    message = await feed.receive(DEADLINE)
    assert (message.type, message.data) == (WSMsgType.PONG, b"hello")


async def test_shutdown_says_goodbye_to_everyone_and_refuses_newcomers(serve: Serve) -> None:
    stand = await serve()
    feeds = [await stand.connect(path) for path in (LIVE, POOL, ALERTS)]
    codes = asyncio.gather(*(closed(feed) for feed in feeds))
    await stand.hub.stop()
    assert await codes == [1001, 1001, 1001]
    with pytest.raises(WSServerHandshakeError) as refused:
        await stand.connect(LIVE)
    assert refused.value.status == 503


async def test_connections_and_subscriptions_are_counted_while_they_last(serve: Serve) -> None:
    stand = await serve()
    feed = await stand.connect(LIVE + "?topics=requests,agents/a")
    for _ in range(3):
        await read(feed)
    assert stand.value(catalogue.LIVE_CONNECTIONS, "live") == 1
    assert stand.value(catalogue.LIVE_SUBSCRIPTIONS, "agents") == 1
    stand.hub.publish_many("requests", numbers(3))
    for _ in range(3):
        await read(feed)
    assert stand.value(catalogue.LIVE_PUBLISHED, "requests") == 3
    assert stand.value(catalogue.LIVE_SENT, "requests") == 3
    await feed.close()
    await until(lambda: stand.value(catalogue.LIVE_CONNECTIONS, "live") == 0)
    assert stand.value(catalogue.LIVE_SUBSCRIPTIONS, "requests") == 0


# Credentials ----------------------------------------------------------------------------------------------------
def token(role: Role, **lasting: Any) -> str:
    auth = Auth(jwt_secret=SecretStr(SECRET))
    return issue(auth, subject="ann", roles=[role], lifetime=timedelta(**(lasting or {"hours": 1})))


async def test_token_may_come_as_first_message(serve: Serve) -> None:
    stand = await serve(auth={"jwt_secret": SECRET})
    feed = await stand.connect(POOL)
    await feed.send_json({"type": "auth", "token": token(Role.VIEWER)})
    assert (await read(feed))["type"] == "initial_metrics"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('{"type": "auth", "token": "wrong"}', 4401),
        ('{"type": "subscribe", "topic": "requests"}', 4401),
        ("nonsense", 4401),
        ("reporter", 4403),
    ],
)
async def test_wrong_first_message_closes_and_shows_nothing(serve: Serve, message: str, code: int) -> None:
    stand = await serve(auth={"jwt_secret": SECRET})
    stand.alert(1)
    feed = await stand.connect(ALERTS)
    if message == "reporter":
        message = json.dumps({"type": "auth", "token": token(Role.REPORTER)})
    await feed.send_str(message)
    first = await feed.receive(DEADLINE)
    assert first.type is WSMsgType.CLOSE
    assert feed.close_code == code


async def test_no_first_message_closes_in_time(serve: Serve) -> None:
    stand = await serve(auth={"jwt_secret": SECRET}, auth_seconds=0.1)
    feed = await stand.connect(LIVE)
    assert await closed(feed) == 4401
    assert stand.value(catalogue.LIVE_EVICTIONS, "unauthenticated") == 1


async def test_token_in_the_handshake_needs_no_first_message(serve: Serve) -> None:
    stand = await serve(auth={"jwt_secret": SECRET})
    headers = {"Authorization": f"Bearer {token(Role.VIEWER)}"}
    feed = await stand.connect(LIVE + "?topics=requests", headers=headers)
    assert (await read(feed))["type"] == "subscribed"
    with pytest.raises(WSServerHandshakeError) as refused:
        await stand.connect(LIVE, headers={"Authorization": f"Bearer {token(Role.REPORTER)}"})
    assert refused.value.status == 403


async def test_connection_ends_with_its_credential(serve: Serve) -> None:
    stand = await serve(auth={"jwt_secret": SECRET}, ping_seconds=0.5)
    soon = token(Role.VIEWER, seconds=2)
    feed = await stand.connect(LIVE, headers={"Authorization": f"Bearer {soon}"})
    assert await closed(feed) == 4401
    assert stand.value(catalogue.LIVE_EVICTIONS, "expired") == 1
