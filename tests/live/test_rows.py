"""Journalled topics of the hub: who publishes what, and what is kept and read where."""

import asyncio
from typing import Any

import pytest
from tests.live.pipe import Pipe
from tests.live.rows import Rows

from fleetpulse.auth import Principal, Role
from fleetpulse.config import Live
from fleetpulse.errors import ForbiddenError, NotFoundError
from fleetpulse.instruments import Instruments
from fleetpulse.live import EVENT, STATE, Hub, LiveEncoder, Stored
from fleetpulse.live.client import Client
from fleetpulse.live.history import Page
from fleetpulse.live.sessions import LiveSession
from fleetpulse.live.topics import Topic
from fleetpulse.live.wires import EventStreamWire, positions_of

ENCODER = LiveEncoder()


class Receipts(LiveEncoder):
    """Asks for a receipt of everything."""

    receipts = True

    def receipt(self, topic: Topic, epoch: str, offset: int) -> bytes:
        return f"{topic.name} {epoch} {offset}".encode()


@pytest.fixture
def mine() -> Rows:
    return Rows("mine")


@pytest.fixture
def hub(mine: Rows) -> Hub:
    made = Hub(Live(history_messages=64), Instruments(), clock=lambda: 0.0, timer=lambda: 0.0)
    made.declare("chat", EVENT, history=mine, admits=lambda who, topic: who.may_enter(topic.partition("/")[2]))
    made.declare("agents", STATE, lambda _: [])
    return made


def join(hub: Hub, topic: str, **options: Any) -> tuple[Client, Pipe]:
    pipe = Pipe()
    client = hub.connect(pipe, "test")
    hub.subscribe(client, topic, ENCODER, **options)
    return client, pipe


def offsets(pipe: Pipe) -> list[int]:
    return [message["offset"] for message in pipe.read() if message["type"] == "event"]


def test_rows_are_published_by_their_ids_only(hub: Hub, mine: Rows) -> None:
    with pytest.raises(ValueError, match="journalled"):
        hub.publish("chat/a", {"typing": True})
    with pytest.raises(ValueError, match="journalled"):
        hub.publish_rows("agents", mine.add("a"))
    with pytest.raises(NotFoundError):
        hub.publish_rows("weather", mine.add("a"))
    with pytest.raises(ValueError, match="history"):
        hub.declare("state", STATE, lambda _: [], history=mine)


def test_a_row_is_heard_on_its_topic_and_on_its_familys(hub: Hub, mine: Rows) -> None:
    _, bare = join(hub, "chat")
    _, one = join(hub, "chat/a")
    hub.publish_rows("chat", mine.add("a", "b", "a"))
    hub.flush()
    message = bare.read()[1]
    assert (message["origin"], message["key"], message["offset"]) == ("chat/a", "a/m1", 1)
    assert offsets(bare) == []
    assert offsets(one) == [1, 3]


def test_rows_that_came_already_are_passed_over(hub: Hub, mine: Rows) -> None:
    other = Rows("other")
    _, pipe = join(hub, "chat")
    rows = other.add(*"aaaa")
    assert hub.publish_rows("chat", rows[:3], epoch="other") == 0
    assert hub.publish_rows("chat", rows, epoch="other") == 3
    assert hub.publish_rows("chat", rows, epoch="other") == 4
    assert hub.publish_rows("chat", mine.add("a")) == 0
    assert hub.tops("chat") == {"mine": 1, "other": 4}
    hub.flush()
    heard = [(message.get("epoch"), message["offset"]) for message in pipe.read() if message["type"] == "event"]
    assert heard == [("other", 1), ("other", 2), ("other", 3), ("other", 4), (None, 1)]


def test_own_rows_open_no_topic_and_are_read_back(hub: Hub, mine: Rows) -> None:
    hub.publish_rows("chat", mine.add(*"ab" * 20))
    _, pipe = join(hub, "chat/a", resume={"mine": 3})
    assert mine.reads == 0
    for _ in range(10):
        hub.flush()
    assert pipe.read()[0]["recovered"]
    _, again = join(hub, "chat/a", resume={"mine": 0})
    for _ in range(10):
        hub.flush()
    assert offsets(again) == list(range(1, 40, 2))


def test_what_was_read_back_is_kept_for_others(hub: Hub, mine: Rows) -> None:
    hub.publish_rows("chat", mine.add(*"aaaaaaaaa"))
    for expected in (list(range(6, 10)), list(range(6, 10)), list(range(8, 10))):
        reads = mine.reads
        _, pipe = join(hub, "chat/a", resume={"mine": expected[0] - 1})
        for _ in range(5):
            hub.flush()
        assert offsets(pipe) == expected
    assert mine.reads == reads == 1


def test_a_history_that_cannot_be_read_costs_the_connection(hub: Hub, mine: Rows) -> None:
    hub.publish_rows("chat", mine.add("a"))
    mine.after = lambda *_: 1 / 0  # type: ignore[method-assign,assignment]
    client, _ = join(hub, "chat", resume={"mine": 0})
    hub.flush()
    assert client.closed


def test_a_hole_that_stays_is_a_gap(hub: Hub) -> None:
    other = Rows("other")
    _, pipe = join(hub, "chat")
    hub.publish_rows("chat", other.add("a"), epoch="other")
    other.add("a", "a")
    hub.follow("chat", "other", 3)
    hub.publish_rows("chat", other.add("a"), epoch="other")
    hub.flush()
    told = [message for message in pipe.read() if message["type"] in ("event", "gap")]
    assert [(message["type"], message.get("from"), message["offset"]) for message in told] == [
        ("event", None, 1),
        ("gap", 2, 3),
        ("event", None, 4),
    ]


def test_a_client_ahead_of_another_replicas_stream_waits_for_its_turn(hub: Hub) -> None:
    other = Rows("other")
    rows = other.add(*"aaaaaa")
    _, ahead = join(hub, "chat", resume={"mine": 0, "other": 4})
    _, fresh = join(hub, "chat")
    _, behind = join(hub, "chat", resume={"mine": 0, "other": 1})
    hub.follow("chat", "other", 2)
    for row in rows[2:]:
        hub.publish_rows("chat", [row], epoch="other")
        hub.flush()
    hub.flush()
    assert offsets(ahead) == [5, 6]
    assert offsets(fresh) == [3, 4, 5, 6]
    told = behind.read()
    assert [(each["from"], each["to"]) for each in told if each["type"] == "gap"] == [(2, 2)]
    assert [each["offset"] for each in told if each["type"] == "event"] == [3, 4, 5, 6]


def test_who_may_subscribe_is_asked(hub: Hub) -> None:
    ann = Principal("ann", frozenset({Role.VIEWER}), sessions=frozenset({"a"}))
    hub.check(ann, "chat/a")
    hub.check(None, "agents")
    for who, topic in ((ann, "chat/b"), (ann, "chat"), (None, "chat/a")):
        with pytest.raises(ForbiddenError):
            hub.check(who, topic)
    pipe = Pipe()
    client = hub.connect(pipe, "test")
    client.admitted(ann)
    session = LiveSession(hub, client, ENCODER, ["chat/a", "chat/b"])
    session.opened()
    assert [message["type"] for message in pipe.read()] == ["subscribed", "error"]


def test_receipts_are_asked_for_after_what_was_sent(hub: Hub, mine: Rows) -> None:
    hub.publish_rows("chat", mine.add("a"))
    pipe = Pipe()
    pipe.stalled = True
    client = hub.connect(pipe, "test")
    hub.subscribe(client, "chat/a", Receipts(), resume={"mine": 0})
    hub.flush()
    hub.publish_rows("chat", mine.add("a", "a"))
    hub.flush()
    pipe.drain()
    sent = bytes(pipe._arrived)  # noqa: SLF001 - the frames themselves
    assert sent.count(b"\x89\x0dchat/a mine 1") == 1
    assert sent.endswith(b"\x89\x0dchat/a mine 3")


def test_receipts_are_asked_for_of_each_origin_by_its_own_offsets(hub: Hub, mine: Rows) -> None:
    theirs = Rows("theirs", ["a"] * 900)
    hub.follow("chat", "theirs", 900)
    pipe = Pipe()
    client = hub.connect(pipe, "test")
    hub.subscribe(client, "chat/a", Receipts())
    hub.publish_rows("chat", theirs.add("a"), epoch="theirs")
    hub.publish_rows("chat", mine.add("a"))
    hub.publish_rows("chat", theirs.add("a"), epoch="theirs")
    hub.flush()
    sent = bytes(pipe._arrived)  # noqa: SLF001 - the frames themselves
    assert sent.endswith(b"\x89\x11chat/a theirs 902\x89\x0dchat/a mine 1")
    assert sent.count(b"\x89") == 2


def test_ids_of_events_say_where_all_topics_are() -> None:
    wire = EventStreamWire(("a", "b/c"), (("b/c", (("x", 7),)),))
    event_id = wire.id_of({"a": {"e": 1, "f": 2}, "b/c": {"g": 3}})
    assert event_id == b"e:1,f:2;x:7,g:3"
    assert positions_of(event_id.decode(), wire.topics) == {"a": {"e": 1, "f": 2}, "b/c": {"x": 7, "g": 3}}


async def test_pages_are_read_on_threads_while_the_loop_goes_on(mine: Rows) -> None:
    hub = Hub(Live(history_messages=64, flush_seconds=0.0), Instruments())
    hub.declare("chat", EVENT, history=mine)
    await hub.start()
    hub.publish_rows("chat", mine.add(*"ab" * 100))
    clients = [join(hub, "chat", resume={"mine": n}) for n in range(30)]
    assert mine.reads == 0
    live = [Stored(201, None, {"n": 201}, ("chat/a",))]
    hub.publish_rows("chat", live)
    got: list[list[int]] = [[] for _ in clients]
    async with asyncio.timeout(20):
        while any(each[-1:] != [201] for each in got):
            await asyncio.sleep(0.01)
            for heard, (_, pipe) in zip(got, clients, strict=True):
                heard.extend(offsets(pipe))
    assert got == [list(range(n + 1, 202)) for n in range(30)]
    for client, _ in clients:
        hub.disconnect(client)
    await hub.stop()
    assert isinstance(mine.after("chat", 0, 1, 1), Page)


def test_old_rows_of_a_new_origin_are_for_those_who_name_an_earlier_position(hub: Hub, mine: Rows) -> None:
    other = Rows("other")
    rows = other.add(*"abababab")
    _, fresh = join(hub, "chat/a")
    _, claims = join(hub, "chat/a", resume={"mine": 0, "other": 2})
    hub.follow("chat", "other", 0, old=6)
    _, newer = join(hub, "chat/a")
    _, later = join(hub, "chat/a", resume={"other": 3})
    hub.publish_rows("chat", rows[:4], epoch="other")
    hub.flush()
    hub.publish_rows("chat", mine.add("a"))
    hub.publish_rows("chat", rows[4:6], epoch="other")
    hub.settle("chat", "other")
    hub.settle("chat", "other")
    hub.flush()
    hub.publish_rows("chat", rows[6:], epoch="other")
    for _ in range(5):
        hub.flush()
    assert not hub._delivery.waiting  # noqa: SLF001 - all are in step again
    assert heard(fresh) == heard(newer) == [("mine", 1), ("other", 7)]
    assert heard(claims) == [("other", 3), ("mine", 1), ("other", 5), ("other", 7)]
    assert heard(later) == [("mine", 1), ("other", 5), ("other", 7)]


def heard(pipe: Pipe) -> list[tuple[str, int]]:
    """What a client was told, whose positions only grow."""
    told = pipe.read()
    at: dict[str, int] = {}
    events = []
    for message in told:
        places = message.get("positions") or {message.get("epoch", "mine"): message.get("offset", 0)}
        for epoch, offset in places.items():
            assert offset >= at.get(epoch, 0), told
            at[epoch] = offset
        if message["type"] == "event":
            events.append((message.get("epoch", "mine"), message["offset"]))
    assert at["other"] == 7
    assert not [message for message in told if message["type"] in ("gap", "error")]
    return events


def test_old_rows_that_cannot_be_had_are_a_gap_to_those_who_name_an_earlier_position_only(hub: Hub) -> None:
    _, fresh = join(hub, "chat/a")
    _, claims = join(hub, "chat/a", resume={"mine": 0, "other": 2})
    hub.follow("chat", "other", 0, old=6)
    hub.follow("chat", "other", 6)
    hub.settle("chat", "other")
    for _ in range(5):
        hub.flush()
    assert "gap" in [message["type"] for message in claims.read()]
    assert "gap" not in [message["type"] for message in fresh.read()]
    assert not hub._delivery.waiting  # noqa: SLF001 - both are in step
