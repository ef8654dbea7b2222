import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop
import websockets
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, WSServerHandshakeError, web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

from fleetpulse import catalogue
from fleetpulse.auth import Authenticator, Role
from fleetpulse.auth.tokens import issue
from fleetpulse.config import Auth, Settings
from fleetpulse.instruments import Instruments
from fleetpulse.live import EVENT, STATE, Hub
from fleetpulse.live.client import Client, Transport
from fleetpulse.web.guard import Guard
from fleetpulse.web.live import LiveEndpoints
from fleetpulse.web.problems import setup_problems

SECRET = "a secret of more than thirty-two characters"  # noqa: S105 - of this test alone
DEADLINE = 20.0
POOL = "/ws/agent-pools/default/metrics"
ALERTS = "/api/v1/group-ai/monitor/ws/alerts"
LIVE = "/ws/live"


class WatchedHub(Hub):
    """Remembers its connections, so that a test can look at their transports after they are gone."""

    def __init__(self, settings: Any, instruments: Instruments) -> None:
        super().__init__(settings, instruments)
        self.seen: list[Client] = []

    def connect(self, transport: Transport, endpoint: str) -> Client:
        client = super().connect(transport, endpoint)
        self.seen.append(client)
        return client


class Stand:
    """The live endpoints behind the real guard, on a real port, fed by the test."""

    def __init__(self, settings: Settings, *, auth_seconds: float = DEADLINE) -> None:
        self.instruments = Instruments()
        self.agents: dict[str, dict[str, Any]] = {}
        self.recent: list[dict[str, Any]] = []
        self.hub = WatchedHub(settings.live, self.instruments)
        self.hub.declare("agents", STATE, lambda topic: self.pool(topic.partition("/")[2]))
        self.hub.declare("requests", EVENT)
        self.hub.declare("alerts", EVENT, lambda _: list(self.recent))
        app = web.Application()
        setup_problems(app)
        guard = Guard(Authenticator.from_settings(settings), settings)
        guard.setup(app)
        app.add_routes(LiveEndpoints(self.hub, settings, guard, auth_seconds=auth_seconds).routes())
        self.server = TestServer(app)
        self.session = ClientSession()
        self.feeds: list[ClientWebSocketResponse] = []

    def pool(self, pool_id: str) -> list[dict[str, Any]]:
        return [agent for name, agent in self.agents.items() if not pool_id or name.startswith(pool_id + "/")]

    async def start(self) -> "Stand":
        await self.hub.start()
        await self.server.start_server()
        return self

    async def stop(self) -> None:
        for feed in self.feeds:
            await feed.close()
        await self.session.close()
        await self.hub.stop()
        await self.server.close()

    async def connect(self, path: str, **options: Any) -> ClientWebSocketResponse:
        feed: ClientWebSocketResponse = await self.session.ws_connect(self.server.make_url(path), **options)
        self.feeds.append(feed)
        return feed

    def beat(self, agent_id: str, cpu: float, pool: str = "default", **more: Any) -> None:
        agent = {"agent_id": agent_id, "agent_name": agent_id, "cpu_usage": cpu, "memory_usage": 5.0} | {
            "running_tasks": [],
            "last_update_time": "2025-01-07T10:35:00Z",
            "status": "busy",
        }
        self.agents[f"{pool}/{agent_id}"] = agent | more
        self.hub.publish(f"agents/{pool}", agent | more, key=agent_id, kind="update")

    def offline(self, agent_id: str, pool: str = "default") -> None:
        self.agents[f"{pool}/{agent_id}"]["status"] = "offline"
        self.hub.publish(
            f"agents/{pool}", {"agent_id": agent_id, "status": "offline"}, key=agent_id, kind="offline"
        )

    def alert(self, number: int) -> None:
        alert = {"alert_id": f"a{number}", "alert_type": "error", "account_id": "acc", "message": "错误率过高"}
        self.recent.append(alert | {"resolved": False})
        self.hub.publish("alerts", self.recent[-1])

    def value(self, metric: catalogue.Metric, *labels: str) -> float:
        for family in self.instruments.registry.collect():
            for sample in family.samples:
                if sample.name == metric.name and tuple(sample.labels.values()) == labels:
                    return sample.value
        return 0.0


Serve = Callable[..., Awaitable[Stand]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    stands = []

    async def start(*, auth: dict[str, Any] | None = None, auth_seconds: float = DEADLINE, **live: Any) -> Stand:
        settings = Settings(data_dir=tmp_path, live=live, auth=auth or {})
        stand = await Stand(settings, auth_seconds=auth_seconds).start()
        stands.append(stand)
        return stand

    yield start
    for stand in stands:
        await stand.stop()


async def read(feed: ClientWebSocketResponse) -> dict[str, Any]:
    message = await feed.receive(DEADLINE)
    assert message.type is WSMsgType.TEXT, message
    decoded = json.loads(message.data)
    assert isinstance(decoded, dict)
    return decoded


async def closed(feed: ClientWebSocketResponse) -> int | None:
    while (await feed.receive(DEADLINE)).type not in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR):
        pass
    return feed.close_code


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - what is waited for is another party's doing
            await asyncio.sleep(0.01)


def numbers(count: int, start: int = 1) -> list[tuple[None, dict[str, int]]]:
    return [(None, {"n": n}) for n in range(start, start + count)]


# The documents' endpoints -------------------------------------------------------------------------------------
async def test_pool_feed_follows_its_document(serve: Serve) -> None:
    stand = await serve()
    stand.beat("agent-1", 45.5)
    feed = await stand.connect(POOL)
    first = await read(feed)
    assert first == {"type": "initial_metrics", "pool_id": "default", "metrics": [stand.agents["default/agent-1"]]}
    stand.beat("agent-1", 48.2)
    update = await read(feed)
    assert update == {
        "type": "metrics_update",
        "pool_id": "default",
        "metrics": stand.agents["default/agent-1"],
    }
    stand.offline("agent-1")
    assert await read(feed) == {
        "type": "agent_offline",
        "pool_id": "default",
        "metrics": {"agent_id": "agent-1", "status": "offline"},
    }


async def test_unknown_pool_is_empty_and_then_waits(serve: Serve) -> None:
    stand = await serve()
    feed = await stand.connect("/ws/agent-pools/未知/metrics")
    assert await read(feed) == {"type": "initial_metrics", "pool_id": "未知", "metrics": []}
    stand.beat("agent-9", 1, pool="未知")
    assert (await read(feed))["metrics"]["agent_id"] == "agent-9"


async def test_pool_feed_shows_no_other_pool(serve: Serve) -> None:
    stand = await serve()
    feed = await stand.connect(POOL)
    await read(feed)
    stand.beat("elsewhere", 1, pool="other")
    stand.beat("here", 1)
    assert (await read(feed))["metrics"]["agent_id"] == "here"


async def test_alert_feed_follows_its_document(serve: Serve) -> None:
    stand = await serve()
    for number in range(12):
        stand.alert(number)
    feed = await stand.connect(ALERTS)
    shown = [await read(feed) for _ in range(10)]
    assert [message["alert"]["alert_id"] for message in shown] == [f"a{n}" for n in range(2, 12)]
    stand.alert(12)
    message = await read(feed)
    assert set(message) == {"type", "timestamp", "alert"}
    assert message["type"] == "alert"
    assert message["alert"] == stand.recent[-1]
    datetime.strptime(message["timestamp"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)


async def test_alert_feed_answers_pings_with_the_time(serve: Serve) -> None:
    stand = await serve()
    feed = await stand.connect(ALERTS)
    await feed.send_str('{"type": "ping"}')
    pong = await read(feed)
    assert set(pong) == {"type", "timestamp"}
    assert pong["type"] == "pong"


async def test_websockets_library_reads_the_alert_feed_as_the_document_does(serve: Serve) -> None:
    stand = await serve()
    stand.alert(1)
    url = str(stand.server.make_url(ALERTS)).replace("http", "ws", 1)
    async with websockets.connect(url) as feed:
        async for text in feed:
            assert json.loads(text)["alert"]["alert_id"] == "a1"
            break


# The protocol of /ws/live ---------------------------------------------------------------------------------------
async def test_topics_named_in_the_address_are_subscribed_at_once(serve: Serve) -> None:
    stand = await serve()
    stand.beat("agent-1", 10)
    feed = await stand.connect(LIVE + "?topics=agents/default,requests,nonsense")
    agents, snapshot, requests, wrong = [await read(feed) for _ in range(4)]
    assert (agents["type"], agents["topic"], agents["policy"]) == ("subscribed", "agents/default", "state")
    assert (snapshot["type"], snapshot["epoch"], snapshot["offset"]) == ("snapshot", agents["epoch"], 1)
    assert snapshot["data"] == [stand.agents["default/agent-1"]]
    assert (requests["type"], requests["offset"], requests["recovered"]) == ("subscribed", 0, False)
    assert (wrong["type"], wrong["code"]) == ("error", "not-found")
    stand.hub.publish("requests", {"n": 1}, key="r1")
    assert await read(feed) == {
        "type": "event",
        "topic": "requests",
        "offset": 1,
        "key": "r1",
        "kind": "event",
        "data": {"n": 1},
    }


async def subscribe(feed: ClientWebSocketResponse, topic: str, **more: Any) -> dict[str, Any]:
    await feed.send_json({"type": "subscribe", "topic": topic, **more})
    return await read(feed)


async def test_answers_carry_the_requests_id(serve: Serve) -> None:
    stand = await serve()
    feed = await stand.connect(LIVE)
    assert (await subscribe(feed, "requests", id=7))["id"] == 7
    again = await subscribe(feed, "requests", id="b")
    assert (again["type"], again["code"], again["id"]) == ("error", "invalid-input", "b")
    await feed.send_json({"type": "ping", "id": 9})
    assert await read(feed) == {"type": "pong", "id": 9}
    await feed.send_json({"type": "unsubscribe", "topic": "requests", "id": 10})
    assert await read(feed) == {"type": "unsubscribed", "topic": "requests", "id": 10}
    await feed.send_json({"type": "unsubscribe", "topic": "requests", "id": 11})
    assert (await read(feed))["code"] == "not-found"
    stand.hub.publish("requests", {"n": 1})
    await feed.send_json({"type": "ping"})
    assert (await read(feed))["type"] == "pong"  # nothing came of the topic that was left


async def test_filters_choose_events_and_their_offsets_still_advance(serve: Serve) -> None:
    stand = await serve()
    feed = await stand.connect(LIVE)
    answer = await subscribe(feed, "requests", filter={"source": ["a", "b"], "ok": True})
    for n, source, ok in [(1, "a", True), (2, "c", True), (3, "b", True), (4, "a", 1), (5, "a", False)]:
        stand.hub.publish("requests", {"n": n, "source": source, "ok": ok})
    assert [(await read(feed))["offset"] for _ in range(2)] == [1, 3]
    assert await read(feed) == {
        "type": "position",
        "topic": "requests",
        "epoch": answer["epoch"],
        "offset": 5,
    }


async def test_filters_on_state_say_what_left(serve: Serve) -> None:
    stand = await serve()
    stand.beat("one", 1)
    stand.beat("two", 1, status="idle")
    feed = await stand.connect(LIVE)
    await subscribe(feed, "agents/default", filter={"status": "busy"})
    assert [agent["agent_id"] for agent in (await read(feed))["data"]] == ["one"]
    stand.beat("one", 2, status="idle")
    left = await read(feed)
    assert (left["type"], left["key"]) == ("left", "one")
    stand.beat("one", 3, status="idle")
    stand.beat("two", 3)
    update = await read(feed)
    assert (update["type"], update["key"], update["offset"]) == ("update", "two", 5)


async def test_a_whole_family_is_one_topic(serve: Serve) -> None:
    stand = await serve()
    stand.beat("x", 1, pool="p1")
    stand.beat("y", 2, pool="p2")
    feed = await stand.connect(LIVE)
    assert (await subscribe(feed, "agents/*"))["topic"] == "agents"
    assert len((await read(feed))["data"]) == 2
    stand.beat("y", 3, pool="p2")
    update = await read(feed)
    assert (update["topic"], update["origin"], update["key"]) == ("agents", "agents/p2", "p2/y")


async def test_resume_brings_exactly_what_was_missed(serve: Serve) -> None:
    stand = await serve()
    feed = await stand.connect(LIVE)
    epoch = (await subscribe(feed, "requests"))["epoch"]
    stand.hub.publish_many("requests", numbers(3))
    assert [(await read(feed))["offset"] for _ in range(3)] == [1, 2, 3]
    await feed.close()
    stand.hub.publish_many("requests", numbers(4, 4))
    feed = await stand.connect(LIVE)
    answer = await subscribe(feed, "requests", resume={"epoch": epoch, "offset": 3})
    assert (answer["recovered"], answer["offset"]) == (True, 3)
    stand.hub.publish_many("requests", numbers(1, 8))
    assert [(await read(feed))["data"]["n"] for _ in range(5)] == [4, 5, 6, 7, 8]


async def test_resume_beyond_the_history_is_a_gap_and_then_live(serve: Serve) -> None:
    stand = await serve(history_messages=64)
    feed = await stand.connect(LIVE)
    epoch = (await subscribe(feed, "requests"))["epoch"]
    await feed.close()
    stand.hub.publish_many("requests", numbers(100))
    feed = await stand.connect(LIVE)
    answer = await subscribe(feed, "requests", resume={"epoch": epoch, "offset": 2})
    assert (answer["recovered"], answer["offset"]) == (False, 100)
    gap = await read(feed)
    assert (gap["type"], gap["from"], gap["to"], gap["offset"]) == ("gap", 3, 100, 100)
    stand.hub.publish_many("requests", numbers(1, 101))
    assert (await read(feed))["offset"] == 101


async def test_resume_of_state_is_a_snapshot_when_history_or_epoch_is_gone(serve: Serve) -> None:
    stand = await serve(history_messages=64)
    feed = await stand.connect(LIVE)
    epoch = (await subscribe(feed, "agents/default"))["epoch"]
    await feed.close()
    for n in range(100):
        stand.beat("one", n)
    for resume in ({"epoch": epoch, "offset": 5}, {"epoch": "other", "offset": 99}, {"epoch": epoch, "offset": 0}):
        feed = await stand.connect(LIVE)
        answer = await subscribe(feed, "agents/default", resume=resume)
        assert (answer["recovered"], answer["offset"]) == (False, 0)
        snapshot = await read(feed)
        assert (snapshot["type"], snapshot["offset"], snapshot["epoch"]) == ("snapshot", 100, epoch)
        assert snapshot["data"][0]["cpu_usage"] == 99
    feed = await stand.connect(LIVE)
    answer = await subscribe(feed, "agents/default", resume={"epoch": epoch, "offset": 98})
    assert answer["recovered"]
    assert [(await read(feed))["data"]["cpu_usage"] for _ in range(2)] == [98, 99]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        '{"type": 5}',
        '{"type": "shout"}',
        '{"type": "subscribe"}',
        '{"type": "subscribe", "topic": ""}',
        '{"type": "subscribe", "topic": "requests", "filter": {"a": {"b": 1}}}',
        '{"type": "subscribe", "topic": "requests", "resume": {"epoch": 1, "offset": -1}}',
        '{"type": "subscribe", "topic": "nope/nope"}',
        '{"type": "subscribe", "topic": "\\ud800"}',
        '{"type": "unsubscribe", "topic": "requests"}',
        "[" * 5_000,
    ],
)
async def test_malformed_messages_are_answered_and_harm_nothing(serve: Serve, text: str) -> None:
    stand = await serve()
    feed = await stand.connect(LIVE)
    await feed.send_str(text)
    answer = await read(feed)
    assert answer["type"] == "error"
    assert answer["code"] in {"malformed", "invalid-input", "not-found"}
    await feed.send_bytes(b"\x00\x01")
    assert (await read(feed))["code"] == "invalid-input"
    assert (await subscribe(feed, "requests"))["type"] == "subscribed"


async def test_messages_of_one_flush_arrive_in_order_over_several_subscriptions(serve: Serve) -> None:
    stand = await serve()
    feed = await stand.connect(LIVE + "?topics=requests,alerts")
    assert [(await read(feed))["type"] for _ in range(3)] == ["subscribed", "subscribed", "snapshot"]
    stand.hub.publish_many("requests", numbers(5))
    stand.alert(1)
    got = [await read(feed) for _ in range(6)]
    assert [message["offset"] for message in got if message["topic"] == "requests"] == [1, 2, 3, 4, 5]
    assert [message["data"]["alert_id"] for message in got if message["topic"] == "alerts"] == ["a1"]


async def test_burst_larger_than_history_reaches_a_client_that_keeps_up(serve: Serve) -> None:
    stand = await serve(history_messages=64)
    feed = await stand.connect(LIVE + "?topics=requests")
    await read(feed)
    stand.hub.publish_many("requests", numbers(5_000))
    assert [(await read(feed))["offset"] for _ in range(5_000)] == list(range(1, 5_001))


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


# Slow clients ---------------------------------------------------------------------------------------------------
async def raw_client(stand: Stand, path: str) -> socket.socket:
    """A client that has shaken hands, with the smallest receive buffer, and reads nothing more by itself."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", stand.server.port))
    handshake = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{stand.server.port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    await loop.sock_sendall(sock, handshake.encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += await loop.sock_recv(sock, 1)
    assert b" 101 " in answer
    return sock


LOOPS = pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def run_on(loop_factory: LoopFactory, scenario: Callable[[Stand], Awaitable[None]], settings: Settings) -> None:
    async def main() -> None:
        stand = await Stand(settings).start()
        try:
            await scenario(stand)
        finally:
            await stand.stop()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


async def pour(stand: Stand, enough: Callable[[], bool], size: int = 10_000) -> int:
    """Publishes until a condition holds; returns how many messages."""
    count = 0
    async with asyncio.timeout(DEADLINE):
        while not enough():
            count += 1
            stand.hub.publish("requests", {"n": count, "text": "x" * size})
            await asyncio.sleep(0.001)
    return count


@LOOPS
def test_stalled_client_is_evicted_and_its_memory_given_back(loop_factory: LoopFactory, tmp_path: Path) -> None:
    async def scenario(stand: Stand) -> None:
        stalled = await raw_client(stand, LIVE + "?topics=requests")
        await until(lambda: bool(stand.hub.seen and stand.hub.seen[0].subscriptions))
        transport = stand.hub.seen[0].transport
        healthy = await stand.connect(LIVE + "?topics=requests")
        assert (await read(healthy))["type"] == "subscribed"
        offsets: list[int] = []

        async def follow() -> None:
            async for message in healthy:
                offsets.append(json.loads(message.data)["offset"])  # noqa: PERF401 - looked at meanwhile

        following = asyncio.create_task(follow())
        count = await pour(stand, lambda: stand.value(catalogue.LIVE_EVICTIONS, "slow") == 1)
        await until(lambda: len(offsets) >= count)
        assert offsets == list(range(1, count + 1))
        assert not healthy.closed
        await until(lambda: stand.value(catalogue.LIVE_CONNECTIONS, "live") == 1)
        assert transport.get_write_buffer_size() == 0
        await until(lambda: stand.value(catalogue.LIVE_BUFFERED) == 0)
        stalled.close()
        await healthy.close()
        await following

    settings = Settings(data_dir=tmp_path, live={"evict_seconds": 0.5, "history_messages": 100_000})
    run_on(loop_factory, scenario, settings)


@LOOPS
def test_client_that_asks_without_reading_is_evicted_by_its_buffer(
    loop_factory: LoopFactory, tmp_path: Path
) -> None:
    async def scenario(stand: Stand) -> None:
        for number in range(200):
            stand.beat(f"agent-{number}", 1, text="x" * 1_000)
        greedy = await stand.connect(LIVE)
        with suppress(ConnectionError):
            while not stand.value(catalogue.LIVE_EVICTIONS, "buffer"):
                await greedy.send_json({"type": "subscribe", "topic": "agents/default"})
                await greedy.send_json({"type": "unsubscribe", "topic": "agents/default"})
                await asyncio.sleep(0.001)
        await until(lambda: stand.value(catalogue.LIVE_CONNECTIONS, "live") == 0)
        assert stand.hub.seen[0].transport.get_write_buffer_size() == 0

    live = {"evict_bytes": 100_000, "messages_per_second": 100_000}
    run_on(loop_factory, scenario, Settings(data_dir=tmp_path, live=live))


def parse(data: bytearray) -> list[dict[str, Any]]:
    """Takes the whole text frames off the front of a byte stream."""
    found = []
    while len(data) >= 2:
        size, at = data[1], 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(data[2 : 2 + width], "big"), 2 + width
        if len(data) < at + size:
            break
        if data[0] == 0x81:
            found.append(json.loads(data[at : at + size]))
        del data[: at + size]
    return found


async def drain(sock: socket.socket, enough: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    got: list[dict[str, Any]] = []
    data = bytearray()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(DEADLINE):
        while not enough(got):
            data += await loop.sock_recv(sock, 65_536)
            got += parse(data)
    return got


@LOOPS
def test_slow_client_gets_a_gap_record_once_it_drains(loop_factory: LoopFactory, tmp_path: Path) -> None:
    async def scenario(stand: Stand) -> None:
        slow = await raw_client(stand, LIVE + "?topics=requests")
        await until(lambda: bool(stand.hub.seen and stand.hub.seen[0].subscriptions))
        client = stand.hub.seen[0]
        extra = 0

        def enough() -> bool:
            nonlocal extra
            extra += client.stalled > 0
            return extra > 100

        last = await pour(stand, enough)
        got = await drain(slow, lambda got: bool(got) and got[-1]["offset"] == last)
        covered: list[int] = []
        for message in got[1:]:
            covered += (
                range(message["from"], message["to"] + 1) if message["type"] == "gap" else [message["offset"]]
            )
        assert covered == list(range(1, last + 1))
        lost = sum(message["to"] - message["from"] + 1 for message in got if message["type"] == "gap")
        assert lost > 0
        assert stand.value(catalogue.LIVE_GAPPED, "requests") == lost
        slow.close()

    run_on(loop_factory, scenario, Settings(data_dir=tmp_path, live={"history_messages": 20}))


@LOOPS
def test_slow_client_of_a_state_topic_ends_with_the_newest(loop_factory: LoopFactory, tmp_path: Path) -> None:
    async def scenario(stand: Stand) -> None:
        slow = await raw_client(stand, LIVE + "?topics=agents/default")
        await until(lambda: bool(stand.hub.seen and stand.hub.seen[0].subscriptions))
        client = stand.hub.seen[0]
        async with asyncio.timeout(DEADLINE):
            beats = 0
            while not client.stalled or beats % 7 or beats < 500:
                beats += 1
                stand.beat(f"agent-{beats % 7}", beats % 100, beat=beats, text="x" * 10_000)
                await asyncio.sleep(0.001)
        for _ in range(70):
            beats += 1
            stand.beat(f"agent-{beats % 7}", beats % 100, beat=beats, text="x" * 10_000)
        got = await drain(slow, lambda got: bool(got) and got[-1]["offset"] == beats)
        newest: dict[str, int] = {}
        for message in got[1:]:
            if message["type"] == "snapshot":
                newest = {agent["agent_id"]: agent["beat"] for agent in message["data"]}
            else:
                newest[message["key"]] = message["data"]["beat"]
        assert sorted(newest.values()) == list(range(beats - 6, beats + 1))
        assert stand.value(catalogue.LIVE_CONFLATED, "agents") > 0
        slow.close()

    run_on(loop_factory, scenario, Settings(data_dir=tmp_path, live={}))
