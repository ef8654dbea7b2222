"""The live endpoints on a real port, fed by the test, and what reads from them."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, web
from aiohttp.test_utils import TestServer

from fleetpulse import catalogue
from fleetpulse.auth import Authenticator
from fleetpulse.config import Settings
from fleetpulse.instruments import Instruments
from fleetpulse.live import EVENT, STATE, Hub
from fleetpulse.live.client import Client, Transport
from fleetpulse.live.wires import WEBSOCKET, Wire
from fleetpulse.web.entry import Entry
from fleetpulse.web.guard import Guard
from fleetpulse.web.live import LiveEndpoints
from fleetpulse.web.sse import EventStreamEndpoints

DEADLINE = 20.0
POOL = "/ws/agent-pools/default/metrics"
ALERTS = "/api/v1/group-ai/monitor/ws/alerts"
LIVE = "/ws/live"


class WatchedHub(Hub):
    """Remembers its connections, so that a test can look at their transports after they are gone."""

    def __init__(self, settings: Any, instruments: Instruments) -> None:
        super().__init__(settings, instruments)
        self.seen: list[Client] = []

    def connect(self, transport: Transport, endpoint: str, wire: Wire = WEBSOCKET) -> Client:
        client = super().connect(transport, endpoint, wire)
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
        guard = Guard(Authenticator.from_settings(settings), settings)
        endpoints = LiveEndpoints(self.hub, settings, guard, auth_seconds=auth_seconds)
        Entry(guard, self.instruments).install(
            app, [*endpoints.routes(), *EventStreamEndpoints(self.hub, settings).routes()]
        )
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

    def alert(self, number: int, account_id: str = "acc") -> None:
        alert = {"alert_id": f"a{number}", "alert_type": "error", "account_id": account_id, "message": "错误率过高"}
        self.recent.append(alert | {"resolved": False})
        self.hub.publish("alerts", self.recent[-1])

    def value(self, metric: catalogue.Metric, *labels: str) -> float:
        for family in self.instruments.registry.collect():
            for sample in family.samples:
                if sample.name == metric.name and tuple(sample.labels.values()) == labels:
                    return sample.value
        return 0.0


Serve = Callable[..., Awaitable[Stand]]


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


async def subscribe(feed: ClientWebSocketResponse, topic: str, **more: Any) -> dict[str, Any]:
    await feed.send_json({"type": "subscribe", "topic": topic, **more})
    return await read(feed)
