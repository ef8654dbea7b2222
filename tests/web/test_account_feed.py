"""`ws/metrics`: the document's messages at once and then regularly, and what clients may choose."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSServerHandshakeError, web
from aiohttp.test_utils import TestServer
from tests.accounts.world import Clock, World, at_work
from tests.journal.stand import until
from tests.live.pipe import Pipe

from fleetpulse.accounts.feed import Configure, MetricsFeed, MetricsSession
from fleetpulse.accounts.history import HistoryDesk
from fleetpulse.auth import Authenticator
from fleetpulse.config import Settings
from fleetpulse.instruments import Instruments
from fleetpulse.live import Hub
from fleetpulse.query.promql import Prometheus
from fleetpulse.web.account_feed import AccountFeedEndpoints
from fleetpulse.web.entry import Entry
from fleetpulse.web.guard import Guard
from fleetpulse.web.sockets import Sockets

DEADLINE = 20.0
WHERE = "/api/v1/group-ai/monitor/ws/metrics"
NOBODY = "http://127.0.0.1:1"


class Stand:
    """The feed on a real port, over a real journal; Prometheus is not there."""

    def __init__(self, world: World, hub: Hub, settings: Settings) -> None:
        self.world = world
        self.hub = hub
        self.prometheus = Prometheus(NOBODY)
        self.feed = MetricsFeed.make(hub, world.book, HistoryDesk(self.prometheus, world.book))
        app, guard = web.Application(), Guard(Authenticator.from_settings(settings), settings)
        endpoints = AccountFeedEndpoints(self.feed, Sockets(hub, settings.live, guard))
        Entry(guard, Instruments()).install(app, endpoints.routes())
        self.server = TestServer(app)
        self.session = ClientSession()
        self.sockets: list[ClientWebSocketResponse] = []

    async def connect(self, query: str = "") -> ClientWebSocketResponse:
        """A client."""
        socket = await self.session.ws_connect(self.server.make_url(WHERE + query))
        self.sockets.append(socket)
        return socket

    async def stop(self) -> None:
        """Ends it all."""
        for socket in self.sockets:
            await socket.close()
        await self.session.close()
        await self.prometheus.close()
        await self.hub.stop()
        await self.server.close()


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    settings = Settings(data_dir=tmp_path)
    hub = Hub(settings.live, Instruments())
    async with at_work(tmp_path, Clock()) as world:
        made = Stand(world, hub, settings)
        await hub.start()
        await made.server.start_server()
        yield made
        await made.stop()


async def read(socket: ClientWebSocketResponse, kind: str = "metrics_update") -> dict[str, Any]:
    """The next message, which must be of this kind."""
    message: dict[str, Any] = json.loads(await socket.receive_str(timeout=DEADLINE))
    assert message["type"] == kind, message
    return message


def ids(message: dict[str, Any]) -> list[str]:
    return [account["account_id"] for account in message["account_metrics"]]


async def test_the_documents_message_comes_at_once(stand: Stand) -> None:
    await stand.world.do("account_1", count=100)
    await stand.world.do("account_1", "reply", count=80, reply_time=1.5)
    await stand.world.do("account_2", "error", online=False)
    message = await read(await stand.connect())
    assert message == {
        "type": "metrics_update",
        "timestamp": message["timestamp"],
        "system_metrics": {
            "total_accounts": 2,
            "online_accounts": 1,
            "total_messages": 100,
            "total_replies": 80,
            "total_redpackets": 0,
            "total_errors": 1,
            "average_reply_time": 1.5,
        },
        "account_metrics": [
            {
                "account_id": "account_1",
                "message_count": 100,
                "reply_count": 80,
                "redpacket_count": 0,
                "error_count": 0,
                "last_activity": "2023-11-14 22:13:20",
            },
            {
                "account_id": "account_2",
                "message_count": 0,
                "reply_count": 0,
                "redpacket_count": 0,
                "error_count": 1,
                "last_activity": "2023-11-14 22:13:20",
            },
        ],
    }


async def test_it_comes_again_with_what_is_new(stand: Stand) -> None:
    socket = await stand.connect("?interval=1")
    assert (await read(socket))["system_metrics"]["total_messages"] == 0
    await stand.world.do("a")
    assert (await read(socket))["system_metrics"]["total_messages"] == 1


async def test_a_client_chooses_accounts_and_interval_and_chooses_again(stand: Stand) -> None:
    for name in "abc":
        await stand.world.do(name)
    socket = await stand.connect("?interval=300&accounts=a,b&accounts=nobody")
    assert ids(await read(socket)) == ["a", "b"]
    assert stand.feed.ticker.intervals == [300]
    await socket.send_json({"type": "configure", "interval": 1, "accounts": ["c"]})
    assert await read(socket, "configured") == {"type": "configured", "interval": 1, "accounts": ["c"]}
    assert ids(await read(socket)) == ["c"]
    assert ids(await read(socket)) == ["c"]
    assert stand.feed.ticker.intervals == [1]
    await socket.send_json({"type": "configure", "accounts": []})
    assert (await read(socket, "configured"))["interval"] == 1
    assert ids(await read(socket)) == ["a", "b", "c"]


async def test_a_ping_is_answered_with_the_documents_pong(stand: Stand) -> None:
    socket = await stand.connect("?interval=300")
    await read(socket)
    await socket.send_json({"type": "ping"})
    pong = await read(socket, "pong")
    assert set(pong) == {"type", "timestamp"}
    assert len(pong["timestamp"]) == len("2025-01-07 14:30:00")


@pytest.mark.parametrize(
    "message",
    [
        '{"type":"configure","interval":0}',
        '{"type":"configure","interval":301}',
        '{"type":"configure","interval":1.5}',
        '{"type":"configure","accounts":"a"}',
        '{"type":"configure","accounts":[""]}',
        '{"type":"history","minutes":0}',
        '{"type":"history","minutes":1e9}',
        '{"type":"history","step":1}',
        '{"type":"subscribe","topic":"alerts"}',
        '{"type":"nothing"}',
        "[]",
        "nonsense",
        "",
    ],
)
async def test_a_message_that_cannot_be_is_answered_and_the_connection_stays(stand: Stand, message: str) -> None:
    socket = await stand.connect("?interval=300")
    await read(socket)
    await socket.send_str(message)
    assert (await read(socket, "error"))["message"]
    await socket.send_json({"type": "ping", "id": 1})
    assert (await read(socket, "pong"))["id"] == 1


@pytest.mark.parametrize(
    "query", ["?interval=0", "?interval=301", "?interval=x", "?history=x", "?history=8d", "?step=1", "?unknown=1"]
)
async def test_an_address_that_cannot_be_is_refused_before_the_upgrade(stand: Stand, query: str) -> None:
    with pytest.raises(WSServerHandshakeError) as caught:
        await stand.connect(query)
    assert caught.value.status == 422


async def test_the_broadcast_runs_only_while_someone_listens(stand: Stand) -> None:
    assert stand.feed.ticker.intervals == []
    first, second = await stand.connect(), await stand.connect("?interval=7")
    third = await stand.connect()
    for socket in (first, second, third):
        await read(socket)
    assert stand.feed.ticker.intervals == [5, 7]
    await first.close()
    await second.close()
    await until(lambda: stand.feed.ticker.intervals == [5])
    await third.close()
    await until(lambda: stand.feed.ticker.intervals == [])


async def test_without_prometheus_a_history_is_an_error_and_live_goes_on(stand: Stand) -> None:
    socket = await stand.connect("?history=15m&interval=300")
    assert "Prometheus" in (await read(socket, "error"))["message"]
    await read(socket)
    await socket.send_json({"type": "history", "minutes": 5})
    assert (await read(socket, "error"))["code"] == "upstream"
    assert stand.feed.ticker.intervals == [300]


async def test_who_wants_the_same_is_served_by_one_encoding(stand: Stand) -> None:
    sockets = [await stand.connect("?interval=300&accounts=b,a") for _ in range(2)]
    sockets += [await stand.connect("?accounts=a&accounts=b&interval=300"), await stand.connect("?interval=300")]
    for socket in sockets:
        await read(socket)
    clients = list(stand.hub.clients)
    audiences = {id(client.subscriptions["account_metrics/300"].audience) for client in clients}
    assert len(clients) == 4
    assert len(audiences) == 2


async def test_a_slow_client_is_told_what_is_and_nothing_twice(stand: Stand) -> None:
    for number in range(400):
        await stand.world.do(f"account-{number:04}")
    pipe = Pipe()
    client = stand.hub.connect(pipe, "account_metrics")
    session = MetricsSession(stand.feed, client, Configure(interval=300))
    pipe.stalled = True
    session.opened()
    for _ in range(5):
        await stand.world.do("account-0000")
        stand.hub.publish("account_metrics/300", stand.feed.ticker.metrics, key="metrics", kind="update")
        stand.hub.flush()
    waiting = pipe.get_write_buffer_size()
    pipe.stalled = False
    pipe.drain()
    await until(lambda: stand.hub.flush() == 0)
    messages = pipe.read()
    session.closed()
    stand.hub.disconnect(client)
    assert waiting < 3 * len(json.dumps(messages[0]))
    assert messages[-1]["account_metrics"][0]["message_count"] == 6
    assert len(messages) <= 4


async def test_many_clients_come_and_go(stand: Stand) -> None:
    async def visit(number: int) -> None:
        socket = await stand.connect(f"?interval={1 + number % 3}")
        await read(socket)
        await socket.close()

    await asyncio.gather(*(visit(number) for number in range(60)))
    await until(lambda: stand.feed.ticker.intervals == [])
    assert not stand.hub.clients
