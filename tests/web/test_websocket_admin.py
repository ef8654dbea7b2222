"""The administration's reads, over the whole exporter with people connected to it."""

from collections.abc import Awaitable, Callable
from datetime import datetime

import pytest
from tests.web.admin_stand import AdminStand, connection_id, gone
from tests.web.chat_stand import AUTH
from tests.web.live_stand import until

from fleetpulse.auth import Role

Serve = Callable[..., Awaitable[AdminStand]]
DOCUMENTED_STATS = {
    "total_connections",
    "active_connections",
    "messages_sent",
    "messages_received",
    "disconnections",
    "errors",
    "active_users",
    "active_sessions",
    "total_user_connections",
    "total_session_connections",
}
DOCUMENTED_CONNECTION = {
    "connection_id",
    "user_id",
    "session_id",
    "connected_at",
    "last_ping",
    "last_pong",
    "is_alive",
    "metadata",
}


async def test_statistics_are_the_documents_and_say_since_when(admin_serve: Serve) -> None:
    stand = await admin_serve()
    ann, _, bob = [
        await stand.enter(user, *joined) for user, *joined in (("ann", "s1", "s2"), ("ann",), ("bob", "s1"))
    ]
    await bob.socket.close()
    await gone(stand, "bob")
    await ann.say("ping", id=1)
    await ann.hear("pong", id=1)
    stats = await stand.get("/stats")
    assert set(stats) >= DOCUMENTED_STATS
    counted = {name: stats[name] for name in DOCUMENTED_STATS - {"messages_sent", "messages_received"}}
    assert counted == {
        "total_connections": 3,
        "active_connections": 2,
        "disconnections": 1,
        "errors": 0,
        "active_users": 1,
        "active_sessions": 2,
        "total_user_connections": 2,
        "total_session_connections": 2,
    }
    assert stats["messages_received"] == 4  # three joins and a ping
    assert stats["messages_sent"] >= 1
    assert datetime.fromisoformat(stats["counted_since"]).tzinfo is not None


async def test_connections_are_filtered_and_paged(admin_serve: Serve) -> None:
    stand = await admin_serve()
    people = [await stand.enter(f"user{number}", "even" if number % 2 == 0 else "odd") for number in range(5)]
    await stand.enter("user0", path="/ws/chat/session/even")
    everyone = await stand.get("/connections")
    assert everyone["total"] == 6
    ids = [each["connection_id"] for each in everyone["connections"]]
    assert ids == sorted(ids)
    assert set(everyone["connections"][0]) >= DOCUMENTED_CONNECTION
    assert {connection_id(person) for person in people} < set(ids)
    first = await stand.get("/connections", limit=4)
    rest = await stand.get("/connections", limit=4, cursor=first["next_cursor"])
    assert [each["connection_id"] for page in (first, rest) for each in page["connections"]] == ids
    assert rest["next_cursor"] is None
    assert (await stand.get("/connections", user_id="user0"))["total"] == 2
    assert (await stand.get("/connections", session_id="even"))["total"] == 4
    assert (await stand.get("/connections", session_id="even", user_id="user0", endpoint="session"))["total"] == 1
    assert (await stand.get("/connections", is_alive="false"))["total"] == 0
    assert (await stand.get("/connections", replica="elsewhere"))["total"] == 0
    await stand.get("/connections", sesion_id="even", status=422)


async def test_users_and_sessions_that_are_there(admin_serve: Serve) -> None:
    stand = await admin_serve()
    await stand.enter("ann", "s1", "s2")
    await stand.enter("ann")
    await stand.enter("bob", "s1")
    users = await stand.get("/online-users")
    assert [(each["user_id"], each["connections"], each["sessions"]) for each in users["users"]] == [
        ("ann", 2, ["s1", "s2"]),
        ("bob", 1, ["s1"]),
    ]
    assert (await stand.get("/online-users", limit=1))["next_cursor"] == "ann"
    sessions = await stand.get("/sessions")
    shown = [(each["session_id"], each["connections"], each["users"]) for each in sessions["sessions"]]
    assert shown == [("s1", 2, ["ann", "bob"]), ("s2", 1, ["ann"])]
    ann = await stand.get("/users/ann/connections")
    assert (ann["online"], ann["total"], len(ann["connections"])) == (True, 2, 2)
    nobody = await stand.get("/users/nobody%20here/connections")
    assert nobody == {"user_id": "nobody here", "online": False, "total": 0, "waiting": 0, "connections": []}


async def test_messages_that_wait_for_a_user_are_shown(admin_serve: Serve) -> None:
    stand = await admin_serve()
    body = {"message": "later", "target_type": "user", "target_id": "ann", "store": True}
    await stand.post("/broadcast", body)
    assert (await stand.get("/users/ann/connections"))["waiting"] == 1
    assert (await stand.get("/stats"))["mailbox_messages"] == 1


async def test_topics_tell_their_rates_and_positions(admin_serve: Serve) -> None:
    stand = await admin_serve()
    await stand.enter("ann", "s1")
    bob = await stand.enter("bob", "s1")
    for number in range(5):
        await bob.say("send_message", session_id="s1", text=str(number))
        await bob.hear("message_status_update", status="sent")
    topics = {each["topic"]: each for each in (await stand.get("/topics", family="chat"))["topics"]}
    chat = topics["chat/s1"]
    assert (chat["policy"], chat["journalled"], chat["epoch"]) == ("event", True, stand.parts.core.journal.epoch)
    assert (chat["offset"], chat["positions"]) == (5, {stand.parts.core.journal.epoch: 5})
    assert (chat["kept_messages"], chat["subscriptions"], chat["published_last_minute"]) == (5, 2, 5)
    assert chat["published_per_second"] > 0
    assert set(topics) <= {"chat", "chat/s1"}
    every = await stand.get("/topics", limit=1)
    assert every["total"] > 1
    assert every["next_cursor"] == every["topics"][0]["topic"]


async def test_health_says_what_is_wrong(admin_serve: Serve) -> None:
    stand = await admin_serve()
    await stand.enter("ann")
    health = await stand.get("/health")
    assert (health["status"], health["problems"], health["active_connections"]) == ("healthy", [], 1)
    for _ in range(100):  # a commit that is under way makes it writable again
        stand.parts.core.journal.writable = False  # as after a commit that storage refused
        health = await stand.get("/health")
        if health["status"] == "degraded":
            break
    assert health["status"] == "degraded"
    assert "journal" in health["problems"][0]


@pytest.mark.parametrize(
    ("path", "least"),
    [
        ("/stats", Role.VIEWER),
        ("/health", Role.VIEWER),
        ("/connections", Role.OPERATOR),
        ("/users/ann/connections", Role.OPERATOR),
        ("/online-users", Role.OPERATOR),
        ("/sessions", Role.OPERATOR),
        ("/topics", Role.OPERATOR),
        ("/audit", Role.ADMIN),
    ],
)
async def test_who_may_read_what(admin_serve: Serve, path: str, least: Role) -> None:
    stand = await admin_serve(auth=AUTH)
    order = [Role.VIEWER, Role.OPERATOR, Role.ADMIN]
    for role in order:
        await stand.get(path, role, status=200 if order.index(role) >= order.index(least) else 403)
    await stand.get(path, Role.REPORTER, status=403)
    async with stand.session.get(f"{stand.url}/api/v1/websocket{path}") as response:
        assert response.status == 401


async def test_what_happens_is_told_on_the_live_topic_to_operators_only(admin_serve: Serve) -> None:
    stand = await admin_serve(auth=AUTH)
    url = f"{stand.url}/ws/live"
    async with (
        stand.session.ws_connect(url, headers=stand.bearer("v", Role.VIEWER)) as viewer,
        stand.session.ws_connect(url, headers=stand.bearer("o", Role.OPERATOR)) as operator,
    ):
        await viewer.send_json({"type": "subscribe", "topic": "events"})
        assert (await viewer.receive_json())["code"] == "forbidden"
        await operator.send_json({"type": "subscribe", "topic": "events"})
        assert (await operator.receive_json())["type"] == "subscribed"
        await stand.enter("ann", "s1")
        heard = [(await operator.receive_json())["data"] for _ in range(2)]
        assert [(each["kind"], each["actor"]) for each in heard] == [
            ("user_connected", "ann"),
            ("session_joined", "ann"),
        ]
    await until(lambda: len(stand.events("connection")) == 2)
