import asyncio
import json
import random
from contextlib import suppress
from typing import Any

import pytest
from tests.cluster.redis_server import RedisServer
from tests.system.harness import Exporter, is_ready
from tests.system.replicas import DEADLINE, Reader, Replicas, balancer, until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

ROWS = 20_000
BATCH = 50
CUTS = 200


def requests(name: str, first: int, count: int) -> list[dict[str, Any]]:
    return [
        {"request_id": f"{name}-{number}", "source": "telegram", "status": "success", "execution_time": 0.1}
        for number in range(first, first + count)
    ]


async def post(exporter: Exporter, name: str, first: int, count: int) -> None:
    status, answer = await asyncio.to_thread(exporter.post, "/api/log-request", requests(name, first, count))
    assert status == 202, answer


async def steady_stream(pair: Replicas, progress: list[int]) -> None:
    """Posts to both in turn, in order each."""
    for first in range(0, ROWS // 2, BATCH):
        await post(pair.a, "a", first, BATCH)
        await post(pair.b, "b", first, BATCH)
        progress[0] += 2 * BATCH
        await asyncio.sleep(0.01)


async def redis_restarts(redis: RedisServer, progress: list[int]) -> None:
    """It dies after a third of the stream, and comes back empty after two thirds."""
    await until(lambda: progress[0] >= ROWS // 3)
    redis.kill()
    await until(lambda: progress[0] >= 2 * ROWS // 3)
    await asyncio.to_thread(redis.start)


def expected() -> dict[str, list[str]]:
    return {name: [f"{name}-{number}" for number in range(ROWS // 2)] for name in "ab"}


def by_name(reader: Reader) -> dict[str, list[str]]:
    return {keys[0][0]: keys for keys in reader.keys.values()}


async def test_a_client_cut_off_200_times_between_two_replicas_has_every_event_once_and_in_order(
    replicas: Replicas, redis: RedisServer
) -> None:
    reader, steady = Reader(), Reader()
    progress = [0]
    for each in (reader, steady):
        await each.begin(f"ws://127.0.0.1:{replicas.b.port}/ws/live")
    async with balancer(replicas.a.port, replicas.b.port) as port:
        cut = reader.read_with_cuts(f"ws://127.0.0.1:{port}/ws/live", ROWS, CUTS, random.Random(4))
        calm = steady.read_with_cuts(f"ws://127.0.0.1:{replicas.b.port}/ws/live", ROWS, 0, random.Random(4))
        await asyncio.gather(cut, calm, steady_stream(replicas, progress), redis_restarts(redis, progress))
    assert reader.cuts == CUTS
    assert reader.wrong == steady.wrong == []
    assert by_name(reader) == by_name(steady) == expected()


async def test_agents_heard_at_either_replica_are_known_at_both_and_have_series_at_one(
    replicas: Replicas,
) -> None:
    a, b = replicas.both
    for number in range(40):
        await beat(replicas.both[number % 2], f"agent-{number}")
    everyone = {f"agent-{number}" for number in range(40)}
    for exporter in replicas.both:
        await until(lambda exporter=exporter: agents_of(exporter) == everyone)
    await until(lambda: sorted(series_of(a) + series_of(b)) == sorted(everyone))
    homes = set(series_of(a)), set(series_of(b))
    assert all(homes)
    for number in range(40):  # a balancer sends the next heartbeats elsewhere: the series stay where they are
        await beat(replicas.both[(number + 1) % 2], f"agent-{number}", status="idle")
    for exporter in replicas.both:
        await until(lambda exporter=exporter: statuses_of(exporter) == {"idle"})
    await until(lambda: sum(count_of(each, "idle") for each in replicas.both) == 40)
    assert (set(series_of(a)), set(series_of(b))) == homes

    await beat(a, "agent-1", status="offline")  # a goodbye counts everywhere
    await until(lambda: statuses_of(b) == {"idle", "offline"})

    await asyncio.to_thread(b.kill)  # what b showed is shown by a
    await until(lambda: set(series_of(a)) == everyone)
    await asyncio.to_thread(b.start)
    await until(lambda: (set(series_of(a)), set(series_of(b))) == homes)
    assert agents_of(b) == everyone


async def beat(exporter: Exporter, agent_id: str, status: str = "busy") -> None:
    state = {"status": status, "cpu_usage": 10, "memory_usage": 20, "running_tasks": []}
    code, _ = await asyncio.to_thread(exporter.post, f"/api/v1/agents/{agent_id}/ping", state)
    assert code == 202


def pool_of(exporter: Exporter) -> list[dict[str, Any]]:
    agents: list[dict[str, Any]] = exporter.get("/api/v1/agent-pools/default/agents")["agents"]
    return agents


def agents_of(exporter: Exporter) -> set[str]:
    return {agent["agent_id"] for agent in pool_of(exporter)}


def statuses_of(exporter: Exporter) -> set[str]:
    return {agent["status"] for agent in pool_of(exporter)}


def series_of(exporter: Exporter) -> list[str]:
    return [
        name.split('agent_id="')[1].split('"')[0]
        for name in exporter.metrics()
        if name.startswith("fleetpulse_agent_up{")
    ]


def count_of(exporter: Exporter, status: str) -> float:
    return sum(
        value
        for name, value in exporter.metrics().items()
        if name.startswith("fleetpulse_agents{") and f'status="{status}"' in name
    )


def chat_url(exporter: Exporter, user: str) -> str:
    return f"ws://127.0.0.1:{exporter.port}/ws/chat?user_id={user}"


async def hear(socket: ClientConnection, kind: str) -> dict[str, Any]:
    """The next message of a type."""
    async with asyncio.timeout(DEADLINE):
        while True:
            message: dict[str, Any] = json.loads(await socket.recv())
            if message["type"] == kind:
                return message


async def test_mail_waits_at_one_replica_and_is_read_at_the_other_in_order_and_once(replicas: Replicas) -> None:
    a, b = replicas.both
    async with connect(chat_url(a, "anna")) as anna:
        for number in range(120):
            message = {"type": "send_message", "user_id": "ben", "text": str(number)}
            await anna.send(json.dumps(message))
            await hear(anna, "message_status_update")
        assert a.metrics()["fleetpulse_mailbox_messages"] == 120
        async with connect(chat_url(b, "ben")) as ben:
            texts = [(await hear(ben, "new_message"))["message"]["text"] for _ in range(120)]
            assert texts == [str(number) for number in range(120)]
            await anna.send(json.dumps({"type": "send_message", "user_id": "ben", "text": "now"}))
            assert (await hear(ben, "new_message"))["message"]["text"] == "now"
            await until(lambda: [each.metrics()["fleetpulse_mailbox_messages"] for each in (a, b)] == [0, 0])
    async with connect(chat_url(a, "ben")) as again, connect(chat_url(b, "ben")) as there:
        await anna_writes(a, "ben", "both")  # on two devices at two replicas: each hears it once, and nothing old
        assert (await hear(again, "new_message"))["message"]["text"] == "both"
        assert (await hear(there, "new_message"))["message"]["text"] == "both"


async def anna_writes(exporter: Exporter, user: str, text: str) -> None:
    async with connect(chat_url(exporter, "anna")) as anna:
        await anna.send(json.dumps({"type": "send_message", "user_id": user, "text": text}))
        await hear(anna, "message_status_update")


async def test_a_session_is_one_over_both_replicas(replicas: Replicas) -> None:
    a, b = replicas.both
    async with connect(chat_url(a, "anna")) as anna, connect(chat_url(b, "ben")) as ben:
        for socket in (anna, ben):
            await socket.send(json.dumps({"type": "join_session", "session_id": "s1"}))
            await hear(socket, "session_joined")
        await anna.send(json.dumps({"type": "send_message", "session_id": "s1", "text": "from a"}))
        heard = await hear(ben, "new_message")
        assert (heard["message"]["text"], heard["message"]["user_id"]) == ("from a", "anna")
        about = {"message_id": heard["message"]["message_id"], "user_id": "ben", "session_id": "s1"}
        delivered = await fate(anna, "delivered")  # ben's client answers at b; the message is a's
        assert delivered == delivered | about
        await ben.send(json.dumps({"type": "read", "message_id": about["message_id"]}))
        read = await fate(anna, "read")
        assert read == read | about
        stored = "/api/v1/chat/sessions/s1/messages"
        await until(lambda: [each["status"] for each in a.get(stored)["messages"]] == ["read"])
        await ben.send(json.dumps({"type": "typing", "session_id": "s1", "is_typing": True}))
        assert (await hear(anna, "typing"))["user_id"] == "ben"
        online = "/api/v1/websocket/online-users"
        for exporter in (a, b):
            await until(lambda exporter=exporter: {"anna", "ben"} <= names(exporter.get(online)))
    for exporter in (a, b):
        await until(lambda exporter=exporter: not names(exporter.get(online)))


async def fate(socket: ClientConnection, status: str) -> dict[str, Any]:
    while (update := await hear(socket, "message_status_update"))["status"] != status:
        pass
    return update


def names(answer: Any) -> set[str]:
    return {each if isinstance(each, str) else each["user_id"] for each in answer["users"]}


async def test_a_sixth_connection_is_refused_with_fifty_at_one_instant(replicas: Replicas) -> None:
    sockets = await asyncio.gather(
        *(connect(chat_url(replicas.both[number % 2], "ann")) for number in range(50)), return_exceptions=True
    )
    opened = [socket for socket in sockets if isinstance(socket, ClientConnection)]
    refused = [socket.response.status_code for socket in sockets if isinstance(socket, InvalidStatus)]
    assert (len(opened), refused) == (5, [429] * 45)
    await opened[0].close()
    for exporter in replicas.both:  # the one that is free is free everywhere, but once
        if await seat(exporter, opened):
            break
    with pytest.raises(InvalidStatus):
        await connect(chat_url(replicas.b, "ann"))
    for socket in opened:
        await socket.close()


async def seat(exporter: Exporter, opened: list[ClientConnection]) -> bool:
    """Tries until it gets one, as others' going takes a moment to be known."""
    for _ in range(200):
        with suppress(InvalidStatus):
            opened.append(await connect(chat_url(exporter, "ann")))
            return True
        await asyncio.sleep(0.05)
    return False


async def test_without_redis_each_goes_on_and_it_heals_by_itself(replicas: Replicas, redis: RedisServer) -> None:
    a, b = replicas.both
    url = f"ws://127.0.0.1:{a.port}/ws/live?topics=events,requests"
    async with connect(url, max_queue=None) as socket:
        redis.kill()
        await until(lambda: replicas.connected() == {0})
        assert (await event(socket, "redis_lost"))["category"] == "system"
        for exporter in replicas.both:
            assert is_ready(f"{exporter.url}/-/ready")
        await post(a, "a", 0, 10)
        await post(b, "b", 0, 10)
        assert [await request(socket) for _ in range(10)] == [f"a-{number}" for number in range(10)]
        await asyncio.to_thread(redis.start)
        await until(lambda: replicas.connected() == {1})
        assert [await request(socket) for _ in range(10)] == [f"b-{number}" for number in range(10)]
    assert await until(lambda: a.metrics()["fleetpulse_cluster_replicas"] == 1)


async def event(socket: ClientConnection, kind: str) -> dict[str, Any]:
    while True:
        message = await hear(socket, "event")
        if message["topic"] == "events" and message["data"]["kind"] == kind:
            data: dict[str, Any] = message["data"]
            return data


async def request(socket: ClientConnection) -> str:
    while True:
        message = await hear(socket, "event")
        if message["topic"] == "requests":
            return str(message["key"])


async def test_a_replica_that_was_away_serves_what_the_other_stored_meanwhile(replicas: Replicas) -> None:
    a, b = replicas.both
    reader = Reader()
    await reader.begin(f"ws://127.0.0.1:{b.port}/ws/live")
    await post(a, "a", 0, 100)
    await reader.read(f"ws://127.0.0.1:{b.port}/ws/live", 100, DEADLINE)
    await asyncio.to_thread(b.kill)
    await post(a, "a", 100, 1_000)
    await asyncio.to_thread(b.start)
    await reader.read(f"ws://127.0.0.1:{b.port}/ws/live", 1_000, DEADLINE)
    assert reader.wrong == []
    assert by_name(reader) == {"a": [f"a-{number}" for number in range(1_100)]}


async def test_accounts_are_counted_over_both_replicas_and_by_what_a_killed_one_said_last(
    replicas: Replicas,
) -> None:
    monitor = "/api/v1/group-ai/monitor"
    for exporter, count in zip(replicas.both, (3, 4), strict=True):
        told = {"kind": "message", "count": count, "online": True}
        code, _ = await asyncio.to_thread(exporter.post, f"{monitor}/accounts/ann/activity", told)
        assert code == 202

    def shown(exporter: Exporter) -> tuple[Any, ...]:
        system, (ann,) = (
            exporter.get(f"{monitor}/system"),
            exporter.get(f"{monitor}/accounts/metrics")["account_metrics"],
        )
        return (
            system["total_messages"],
            system["total_accounts"],
            ann["message_count"],
            ann["online"],
            system["scope"],
        )

    for exporter in replicas.both:
        await until(lambda exporter=exporter: shown(exporter) == (7, 1, 7, True, "cluster"))
    async with connect(f"ws://127.0.0.1:{replicas.b.port}{monitor}/ws/metrics?interval=1") as socket:
        metrics = await hear(socket, "metrics_update")
        assert metrics["account_metrics"][0]["message_count"] == 7
        assert metrics["system_metrics"]["total_messages"] == 7
    await asyncio.to_thread(replicas.b.kill)
    await until(lambda: replicas.a.metrics()["fleetpulse_cluster_replicas"] == 0)
    assert shown(replicas.a) == (7, 1, 7, True, "cluster")
    await asyncio.to_thread(replicas.b.start)
    await until(lambda: shown(replicas.b) == (7, 1, 7, True, "cluster"))


async def test_more_connections_than_a_user_may_have_are_closed_when_redis_is_back(
    replicas: Replicas, redis: RedisServer
) -> None:
    redis.kill()
    await until(lambda: replicas.connected() == {0})
    sockets = [await connect(chat_url(replicas.both[number % 2], "ann")) for number in range(8)]
    await asyncio.to_thread(redis.start)
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*(socket.wait_closed() for socket in sockets[5:]))
    assert [socket.close_code for socket in sockets] == [None] * 5 + [4429] * 3
    for socket in sockets:
        await socket.close()
