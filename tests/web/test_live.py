import json
from datetime import UTC, datetime

import pytest
import websockets
from aiohttp import WSServerHandshakeError
from tests.web.live_stand import ALERTS, LIVE, POOL, Serve, numbers, read, subscribe


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


async def test_alerts_of_chosen_accounts_alone(serve: Serve) -> None:
    stand = await serve()
    for number in range(6):
        stand.alert(number, "abc"[number % 3])
    feed = await stand.connect(f"{ALERTS}?account_id=a,b&anything=else")
    assert [(await read(feed))["alert"]["account_id"] for _ in range(4)] == ["a", "b", "a", "b"]
    stand.alert(6, "c")
    stand.alert(7, "b")
    assert (await read(feed))["alert"]["alert_id"] == "a7"

    await feed.send_json({"type": "configure", "accounts": ["c"]})
    assert await read(feed) == {"type": "configured", "accounts": ["c"]}
    assert [(await read(feed))["alert"]["alert_id"] for _ in range(3)] == ["a2", "a5", "a6"]
    stand.alert(8, "a")
    stand.alert(9, "c")
    assert (await read(feed))["alert"]["alert_id"] == "a9"

    await feed.send_json({"type": "configure", "accounts": [""]})
    assert (await read(feed))["code"] == "invalid-input"
    await feed.send_json({"type": "configure"})
    assert await read(feed) == {"type": "configured", "accounts": []}
    assert [(await read(feed))["alert"]["alert_id"] for _ in range(10)] == [f"a{number}" for number in range(10)]


async def test_accounts_that_cannot_be_are_refused_before_the_upgrade(serve: Serve) -> None:
    stand = await serve()
    with pytest.raises(WSServerHandshakeError) as refused:
        await stand.connect(f"{ALERTS}?account_id={'x' * 300}")
    assert refused.value.status == 422


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
    assert (answer["recovered"], answer["offset"]) == (False, 2)
    gap = await read(feed)
    assert (gap["type"], gap["epoch"], gap["from"], gap["to"], gap["offset"]) == ("gap", epoch, 3, 36, 36)
    stand.hub.publish_many("requests", numbers(1, 101))
    assert [(await read(feed))["offset"] for _ in range(65)] == list(range(37, 102))


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
