import asyncio
import socket
from typing import Any

import pytest
from tests.live.pipe import Pipe

from fleetpulse import catalogue
from fleetpulse.config import Live
from fleetpulse.errors import InvalidInputError, NotFoundError, OverloadedError
from fleetpulse.instruments import Instruments
from fleetpulse.live import EVENT, STATE, Cause, Filter, Hub, LiveEncoder
from fleetpulse.live.client import Client
from fleetpulse.live.hub import CLOSE_SECONDS

ENCODER = LiveEncoder()


class Time:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Counted:
    """Data that counts how often it is encoded."""

    def __init__(self) -> None:
        self.calls = 0

    def as_json(self) -> dict[str, Any]:
        self.calls += 1
        return {"source": "a"}


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def instruments() -> Instruments:
    return Instruments()


@pytest.fixture
def hub(time: Time, instruments: Instruments) -> Hub:
    made = Hub(Live(conflate_bytes=1_000, evict_seconds=10), instruments, clock=time, timer=time)
    made.declare("agents", STATE, lambda _: [])
    made.declare("requests", EVENT)
    return made


def join(hub: Hub, *topics: str, where: Filter | None = None) -> tuple[Client, Pipe]:
    pipe = Pipe()
    client = hub.connect(pipe, "test")
    for topic in topics:
        hub.subscribe(client, topic, ENCODER, where=where)
    pipe.read()
    pipe.writes = 0
    return client, pipe


def test_nothing_is_encoded_while_nobody_listens(hub: Hub) -> None:
    data = Counted()
    hub.publish_many("requests", [(None, data)] * 1_000)
    join(hub, "agents/default")
    hub.flush()
    assert data.calls == 0


def test_data_is_encoded_once_for_all_clients_and_filters(hub: Hub) -> None:
    pipes = [join(hub, "requests")[1] for _ in range(5)]
    pipes += [join(hub, "requests", where=Filter.of({"source": ["a", n]}))[1] for n in range(5)]
    data = Counted()
    hub.publish("requests", data)
    hub.flush()
    assert all(pipe.read()[0]["data"] == {"source": "a"} for pipe in pipes)
    assert data.calls == 1


def test_one_flush_is_one_write_per_client(hub: Hub) -> None:
    _, one = join(hub, "requests")
    _, many = join(hub, "requests", "agents/a", "agents/b")
    for n in range(3):
        hub.publish("requests", {"n": n})
        hub.publish("agents/a", {"n": n}, key=str(n))
        hub.publish("agents/b", {"n": n}, key=str(n))
    hub.flush()
    assert (one.writes, many.writes) == (1, 1)
    assert (len(one.read()), len(many.read())) == (3, 9)


def test_state_of_one_key_is_conflated_within_a_flush_and_counted(hub: Hub, instruments: Instruments) -> None:
    _, pipe = join(hub, "agents/a")
    for n in range(10):
        hub.publish("agents/a", {"n": n}, key="k", kind="update")
    hub.publish("agents/a", {"status": "offline"}, key="k", kind="offline")
    hub.flush()
    assert [(message["offset"], message["kind"]) for message in pipe.read()] == [(10, "update"), (11, "offline")]
    assert instruments.counter(catalogue.LIVE_CONFLATED, "agents")._value.get() == 9  # noqa: SLF001


def test_publish_delay_is_observed_once_a_flush(hub: Hub, time: Time, instruments: Instruments) -> None:
    join(hub, "requests")
    hub.publish_many("requests", [(None, n) for n in range(10)])
    time.now += 0.5
    hub.flush()
    found = {
        sample.name: sample.value
        for family in instruments.registry.collect()
        if family.name == catalogue.LIVE_DELAY.name
        for sample in family.samples
        if "le" not in sample.labels
    }
    assert found[catalogue.LIVE_DELAY.name + "_count"] == 1
    assert found[catalogue.LIVE_DELAY.name + "_sum"] == pytest.approx(0.5)


def test_stalled_client_costs_no_more_than_its_bound(hub: Hub, time: Time) -> None:
    client, pipe = join(hub, "requests")
    pipe.stalled = True
    for n in range(500):
        hub.publish("requests", {"n": n, "text": "x" * 100})
        hub.flush()
    assert 1_000 < pipe.get_write_buffer_size() < 1_500
    hub.sweep()
    time.now += 11
    hub.sweep()
    assert client.closed
    assert not pipe.aborted
    time.now += 3
    hub.sweep()
    assert pipe.aborted
    assert pipe.get_write_buffer_size() == 0


def test_client_that_drains_in_time_is_not_evicted(hub: Hub, time: Time) -> None:
    client, pipe = join(hub, "requests")
    for _ in range(10):
        pipe.stalled = True
        hub.publish_many("requests", [(None, "x" * 500)] * 5)
        hub.flush()
        hub.publish("requests", "y")
        hub.flush()
        time.now += 6
        hub.heard(client)
        hub.sweep()
        pipe.stalled = False
        pipe.drain()
        hub.flush()
        hub.sweep()
    assert not client.closed
    assert [message["offset"] for message in pipe.read()] == list(range(1, 61))


def test_stalled_snapshot_without_news_is_evicted_too(time: Time) -> None:
    hub = Hub(Live(conflate_bytes=1_000, evict_bytes=2_000, evict_seconds=10), Instruments(), time, time)
    hub.declare("agents", STATE, lambda _: [{"text": "x" * 100}] * 100)
    pipe = Pipe()
    pipe.stalled = True
    client = hub.connect(pipe, "test")
    hub.subscribe(client, "agents/a", ENCODER)
    hub.sweep()
    assert not client.closed, "one snapshot may be larger than the bound"
    time.now += 11
    hub.sweep()
    assert client.closed


def test_failing_snapshot_costs_one_client_its_connection(time: Time, caplog: pytest.LogCaptureFixture) -> None:
    broken = False

    def snapshot(_: str) -> list[Any]:
        if broken:
            raise RuntimeError("the fleet is on fire")
        return []

    hub = Hub(Live(conflate_bytes=100, history_messages=2), Instruments(), time, time)
    hub.declare("agents", STATE, snapshot)
    slow, pipe = join(hub, "agents/a")
    well, other = join(hub, "agents/a")
    pipe.stalled = True
    for n in range(20):
        hub.publish("agents/a", {"n": n, "text": "x" * 50}, key=str(n))
        hub.flush()
    broken = True
    pipe.drain()
    hub.flush()
    assert (slow.closed, well.closed) == (True, False)
    assert "catch up" in caplog.text
    assert len(other.read()) == 20


def test_subscriptions_are_refused_for_a_reason(hub: Hub) -> None:
    client, _ = join(hub, "requests")
    with pytest.raises(InvalidInputError):
        hub.subscribe(client, "requests", ENCODER)
    with pytest.raises(NotFoundError):
        hub.subscribe(client, "weather/today", ENCODER)
    with pytest.raises(NotFoundError):
        hub.unsubscribe(client, "agents/a")
    with pytest.raises(NotFoundError):
        hub.publish("weather/today", 1)
    for n in range(99):
        hub.subscribe(client, f"agents/{n}", ENCODER)
    with pytest.raises(OverloadedError):
        hub.subscribe(client, "agents/one-too-many", ENCODER)


def test_closed_client_is_written_to_no_more(hub: Hub) -> None:
    client, pipe = join(hub, "requests")
    hub.close(client, Cause.FLOOD)
    writes = pipe.writes
    hub.publish("requests", 1)
    hub.flush()
    client.write(b"more")
    assert pipe.writes == writes
    hub.disconnect(client)
    assert pipe.is_closing()


@pytest.mark.parametrize("end", ["stop", "sweep"])
async def test_a_transport_that_is_lost_once_its_buffer_is_sent_is_not_aborted(
    instruments: Instruments, end: str
) -> None:
    now = [0.0]
    hub = Hub(Live(), instruments, timer=lambda: now[0])
    await hub.start()
    near, far = socket.socketpair()
    loop, protocol = asyncio.get_running_loop(), Lost()
    transport, _ = await loop.create_connection(lambda: protocol, sock=near)
    client = hub.connect(transport, "test")
    client.write(b"x" * 2**22)
    assert client.backlog
    hub.disconnect(client)
    far.setblocking(False)
    async with asyncio.timeout(20):
        while await loop.sock_recv(far, 2**20):  # it reads at last, up to the end
            pass
        await protocol.lost.wait()
    far.close()
    now[0] = 2 * CLOSE_SECONDS
    if end == "sweep":
        hub.sweep()
    await hub.stop()


class Lost(asyncio.Protocol):
    """Says when its connection is over."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        assert exc is None
        self.lost.set()


async def test_stop_sends_what_is_pending_and_aborts_who_does_not_leave(instruments: Instruments) -> None:
    hub = Hub(Live(), instruments)
    hub.declare("requests", EVENT)
    await hub.start()
    _, pipe = join(hub, "requests")
    hub.publish("requests", 1)
    await hub.stop()
    assert len(pipe.read()) == 1
    assert pipe.aborted
    with pytest.raises(OverloadedError), hub.reserve("127.0.0.1"):
        pass


async def test_timers_flush_without_being_asked() -> None:
    hub = Hub(Live(flush_seconds=0.0), Instruments())
    hub.declare("requests", EVENT)
    await hub.start()
    client, pipe = join(hub, "requests")
    hub.publish_many("requests", [(None, n) for n in range(5_000)])
    got = 0
    async with asyncio.timeout(20):
        while got < 5_000:
            await asyncio.sleep(0.01)
            got += len(pipe.read())
    hub.disconnect(client)
    await hub.stop()
