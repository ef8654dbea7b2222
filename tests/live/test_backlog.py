import pytest
from tests.live.pipe import Pipe

from fleetpulse import catalogue
from fleetpulse.catalogue import Metric
from fleetpulse.config import Live
from fleetpulse.instruments import Instruments
from fleetpulse.live import EVENT, STATE, Cause, Hub, LiveEncoder
from fleetpulse.live.backlog import NO_TOPIC, shares
from fleetpulse.live.client import Client

ENCODER = LiveEncoder()
STATE_NOW = [{"text": "x" * 3_000}]


@pytest.fixture
def instruments() -> Instruments:
    return Instruments()


@pytest.fixture
def hub(instruments: Instruments) -> Hub:
    made = Hub(Live(conflate_bytes=100_000, evict_bytes=1_000_000), instruments)
    made.declare("agents", STATE, lambda _topic: STATE_NOW)
    made.declare("requests", EVENT)
    made.declare("alerts", EVENT)
    return made


def join(hub: Hub, *topics: str) -> tuple[Client, Pipe]:
    pipe = Pipe()
    client = hub.connect(pipe, "test")
    for topic in topics:
        hub.subscribe(client, topic, ENCODER)
    return client, pipe


def value(instruments: Instruments, metric: Metric, **labels: str) -> float | None:
    return instruments.registry.get_sample_value(metric.name, labels)


def publish(hub: Hub, topic: str, count: int, size: int) -> None:
    hub.publish_many(topic, [(None, {"text": "x" * size})] * count)
    hub.flush()


def test_of_a_client_with_one_topic_all_that_waits_is_of_it(hub: Hub) -> None:
    client, pipe = join(hub, "requests")
    pipe.stalled = True
    publish(hub, "requests", 10, 100)
    assert shares(client) == {"requests": client.backlog}
    pipe.stalled = False
    pipe.drain()
    assert shares(client) == {}


def test_what_waits_is_shared_by_what_each_topic_sent(hub: Hub) -> None:
    client, pipe = join(hub, "requests", "alerts")
    pipe.stalled = True
    publish(hub, "requests", 30, 1_000)
    publish(hub, "alerts", 10, 1_000)
    found = shares(client)
    assert sum(found.values()) == pytest.approx(client.backlog)
    assert found["requests"] / found["alerts"] == pytest.approx(3, rel=0.01)


def test_a_snapshot_counts_for_its_topic(hub: Hub) -> None:
    client, pipe = join(hub, "requests")
    pipe.stalled = True
    hub.subscribe(client, "agents", ENCODER)
    assert shares(client)["agents"] == pytest.approx(client.backlog)


def test_topics_that_sent_nothing_share_alike(hub: Hub) -> None:
    client, pipe = join(hub, "requests", "alerts")
    pipe.stalled = True
    client.write(b"x" * 100)
    assert shares(client) == {"requests": 50, "alerts": 50}


def test_what_was_sent_long_ago_counts_no_more(hub: Hub) -> None:
    client, pipe = join(hub, "requests", "alerts")
    publish(hub, "requests", 50, 1_000)
    for _ in range(20):
        hub.sweep()
    pipe.stalled = True
    publish(hub, "alerts", 5, 1_000)
    assert shares(client)["alerts"] > 0.99 * client.backlog


def test_series_add_up_to_all_that_waits(hub: Hub, instruments: Instruments) -> None:
    _, one = join(hub, "requests", "alerts", "agents/a", "agents/b")
    _, two = join(hub, "requests")
    bare, three = join(hub)
    for pipe in (one, two, three):
        pipe.stalled = True
    bare.write(b"x" * 77)
    for topic in ("requests", "alerts"):
        publish(hub, topic, 10, 500)
    hub.publish("agents/a", {"text": "x"}, key="k")
    hub.flush()
    hub.sweep()
    by_topic = [
        value(instruments, catalogue.LIVE_TOPIC_BUFFERED, topic=topic) or 0.0
        for topic in ("requests", "alerts", "agents", NO_TOPIC)
    ]
    assert all(by_topic)
    assert by_topic[-1] == 77
    assert sum(by_topic) == pytest.approx(value(instruments, catalogue.LIVE_BUFFERED))
    assert value(instruments, catalogue.LIVE_BUFFERED) == sum(
        each.get_write_buffer_size() for each in (one, two, three)
    )
    for pipe in (one, two, three):
        pipe.stalled = False
        pipe.drain()
    hub.sweep()
    assert value(instruments, catalogue.LIVE_TOPIC_BUFFERED, topic="requests") == 0


def test_subscriptions_are_counted_as_they_are_evicted(hub: Hub, instruments: Instruments) -> None:
    client, _ = join(hub, "requests", "agents/a", "agents/b")
    polite, _ = join(hub, "requests")
    hub.close(client, Cause.SLOW)
    hub.close(polite, Cause.BYE)

    def evicted(topic: str) -> float | None:
        return value(instruments, catalogue.LIVE_EVICTED, topic=topic, reason="slow")

    assert (evicted("agents"), evicted("requests")) == (2, 1)
    assert value(instruments, catalogue.LIVE_EVICTIONS, reason="slow") == 1
