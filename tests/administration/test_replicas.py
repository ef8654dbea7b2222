"""Two whole exporters over a real Redis: what is commanded on one is done on the other, and answered for."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.cluster.redis_server import RedisServer
from tests.web.admin_stand import AdminStand, connection_id, outcomes
from tests.web.live_stand import until

from fleetpulse.live import Cause

Serve = Callable[..., Awaitable[AdminStand]]


async def two(admin_serve: Serve, redis: RedisServer) -> tuple[AdminStand, AdminStand]:
    """Two replicas that know of each other."""
    stands = [
        await admin_serve(cluster={"redis_url": redis.url, "replica": name, "channel_prefix": "tests"})
        for name in ("one", "two")
    ]
    for stand in stands:
        await until(lambda stand=stand: "replica_joined" in {row.kind for row in stand.events("system")})  # type: ignore[misc]
    return stands[0], stands[1]


async def known(stand: AdminStand, user: str, connections: int) -> None:
    """Waits until a replica has heard of a user's connections."""
    await until(lambda: len(stand.parts.core.chat.presence.of_user(user)) == connections)


async def test_connections_of_both_are_shown_and_commanded(admin_serve: Serve, redis: RedisServer) -> None:
    one, two_ = await two(admin_serve, redis)
    assert (await one.get("/health"))["other_replicas"] == ["two"], "nobody is connected there yet"
    here, there = await one.enter("ann", "s1"), await two_.enter("ann", "s1")
    await known(one, "ann", 2)
    shown = {each["connection_id"]: each["replica"] for each in (await one.get("/connections"))["connections"]}
    assert shown == {connection_id(here): "one", connection_id(there): "two"}
    assert (await one.get("/connections", replica="two"))["total"] == 1
    assert (await one.get("/online-users"))["users"][0]["replicas"] == ["one", "two"]

    pinged = await one.post("/ping/ann")
    assert {each["replica"]: each["outcome"] for each in pinged["recipients"]} == {
        "one": "answered",
        "two": "answered",
    }
    assert all(each["round_trip_ms"] > 0 for each in pinged["recipients"])

    await until(lambda: len(one.parts.core.chat.presence.of_session("s1")) == 2)
    closed = await one.post("/sessions/s1/close", {"reason": "over"})
    assert set(outcomes(closed).values()) == {"left"}
    for person in (here, there):
        assert (await person.hear("session_left"))["reason"] == "over"

    answer = await one.post("/users/disconnect", {"user_id": "ann"})
    assert {each["replica"]: each["outcome"] for each in answer["recipients"]} == {
        "one": "disconnected",
        "two": "disconnected",
    }
    assert [await person.closed() for person in (here, there)] == [Cause.KICKED.code] * 2
    await known(one, "ann", 0)


async def test_a_broadcast_goes_through_the_other_replica(admin_serve: Serve, redis: RedisServer) -> None:
    one, two_ = await two(admin_serve, redis)
    here, there = await one.enter("ann"), await two_.enter("bob")
    await known(one, "bob", 1)
    answer = await one.post("/broadcast", {"message": "hello"})
    assert outcomes(answer) == {("ann", connection_id(here)): "delivered", ("bob", connection_id(there)): "queued"}
    for person in (here, there):
        assert (await person.hear("broadcast"))["message"] == "hello"


async def test_what_a_replica_does_not_answer_is_pending(admin_serve: Serve, redis: RedisServer) -> None:
    """Redis is frozen: the call ends in a bounded time, and says what is not known."""
    one, two_ = await two(admin_serve, redis)
    here, there = await one.enter("ann"), await two_.enter("ann")
    await known(one, "ann", 2)
    with redis.frozen():
        answer = await one.post("/users/disconnect", {"user_id": "ann"})
    assert outcomes(answer) == {
        ("ann", connection_id(here)): "disconnected",
        ("ann", connection_id(there)): "pending",
    }
    entry = (await one.get("/audit"))["entries"][0]
    assert entry["outcomes"] == {"disconnected": 1, "pending": 1}


async def test_health_says_that_redis_is_away(admin_serve: Serve, redis: RedisServer) -> None:
    one, _ = await two(admin_serve, redis)
    redis.kill()
    async with asyncio.timeout(30):
        while (await one.get("/health"))["status"] == "healthy":  # noqa: ASYNC110 - the other party's doing
            await asyncio.sleep(0.05)
    assert "Redis" in (await one.get("/health"))["problems"][0]
