import bisect
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.live.pipe import Pipe

from fleetpulse.auth import Principal, Role
from fleetpulse.config import Live
from fleetpulse.errors import ForbiddenError
from fleetpulse.instruments import Instruments
from fleetpulse.live import EVENT, STATE, Cause, Hub, LiveEncoder
from fleetpulse.live.client import Client
from fleetpulse.live.sessions import LiveSession
from fleetpulse.live.stats import ALL, TOPIC, ClusterState, LiveStats, Surroundings, quantile

ENCODER = LiveEncoder()


class Time:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Service:
    """A hub that watches itself; nobody runs it, so `tell` says when."""

    def __init__(self, cluster: ClusterState | None = None) -> None:
        self.time = Time()
        instruments = Instruments()
        self.hub = Hub(Live(conflate_bytes=1_000), instruments, clock=self.time, timer=self.time)
        self.hub.declare("agents", STATE, lambda _topic: [])
        self.hub.declare("requests", EVENT)
        around = Surroundings("one", lambda: 3, lambda: 2, lambda: cluster)
        self.stats = LiveStats(self.hub, instruments, 10, around, clock=self.time, timer=self.time)

    def join(self, *topics: str) -> tuple[Client, Pipe]:
        pipe = Pipe()
        client = self.hub.connect(pipe, "live")
        for topic in topics:
            self.hub.subscribe(client, topic, ENCODER)
        return client, pipe

    def tell(self, after: float = 10.0) -> None:
        self.time.now += after
        self.stats.tell()
        self.hub.flush()


@pytest.fixture
def service() -> Service:
    return Service()


def told(pipe: Pipe) -> dict[str, dict[str, Any]]:
    """The newest record of each topic that arrived."""
    updates = [each for each in pipe.read() if each["type"] == "update" and each["topic"] == TOPIC]
    return {update["key"]: update["data"] for update in updates}


def test_who_listens_is_told_of_each_family_and_of_all(service: Service) -> None:
    _, pipe = service.join(TOPIC)
    service.join("requests", "agents")
    service.tell()
    records = told(pipe)
    assert set(records) == {"agents", "requests", TOPIC, ALL}
    assert records["requests"]["subscriptions"] == 1
    everything = records[ALL]
    assert everything["connections"] == {"live": 2}
    assert (everything["users"], everything["sessions"], everything["replica"]) == (3, 2, "one")
    assert everything["subscriptions"] == 3
    assert everything["cluster"] is None
    assert everything["at"] == "1970-01-01T00:16:50.000Z"


def test_rates_are_of_the_time_since_the_record_before(service: Service) -> None:
    _, pipe = service.join(TOPIC)
    service.join("requests")
    service.join("requests")
    for number in range(50):
        service.hub.publish("requests", {"n": number})
    service.hub.flush()
    service.tell()
    record = told(pipe)["requests"]
    assert (record["published_per_second"], record["sent_per_second"], record["seconds"]) == (5, 10, 10)
    service.tell()
    assert told(pipe)["requests"]["published_per_second"] == 0


def test_nothing_is_published_while_nobody_listens(service: Service) -> None:
    service.join("requests")
    service.tell()
    assert not any(topic.messages for topic in service.hub.topics)


def test_a_newcomer_is_shown_the_last_round(service: Service) -> None:
    _, first = service.join(TOPIC)
    service.hub.publish("requests", {})
    service.tell()
    service.time.now += 5
    _, second = service.join(TOPIC)
    (snapshot,) = (each for each in second.read() if each["type"] == "snapshot")
    assert [each["topic"] for each in snapshot["data"]] == ["agents", "requests", TOPIC, ALL]
    assert snapshot["data"][-1] == told(first)[ALL]


def test_the_first_to_listen_is_shown_the_time_nobody_did(service: Service) -> None:
    service.hub.publish("requests", {})
    service.time.now += 100
    shown = {record["topic"]: record for record in service.stats.records()}
    assert shown["requests"]["seconds"] == 100
    assert shown["requests"]["published_per_second"] == 0.01
    assert service.stats.totals() is service.stats.records()[-1], "computed once"


def test_what_is_refused_and_evicted_is_told(service: Service) -> None:
    _, pipe = service.join(TOPIC)
    client, _ = service.join("requests")
    session = LiveSession(service.hub, client, ENCODER)
    for text in ("{", '{"type": "subscribe", "topic": "nothing"}', '{"type": "ping"}'):
        service.hub.received(client)
        session.received(text)
    service.hub.close(client, Cause.DEAD)
    service.tell()
    records = told(pipe)
    assert (records[ALL]["received_per_second"], records[ALL]["refused_per_second"]) == (0.3, 0.2)
    assert records["requests"]["evicted_per_second"] == records[ALL]["evicted_per_second"] == 0.1


def test_conflated_and_gapped_are_told(service: Service) -> None:
    _, pipe = service.join(TOPIC)
    _, slow = service.join("agents", "requests")
    slow.stalled = True
    text = "x" * 1_500
    for _ in range(3_000):
        service.hub.publish("agents", {"text": text}, key="one")
        service.hub.publish("requests", {"text": text})
        service.hub.flush()
    slow.stalled = False
    slow.drain()
    service.hub.flush()
    service.tell()
    records = told(pipe)
    assert records["agents"]["conflated_per_second"] > 0
    assert records["requests"]["gapped_per_second"] > 0
    assert records["requests"]["conflated_per_second"] == records["agents"]["gapped_per_second"] == 0


def test_delays_are_quantiles_of_the_flushes_since(service: Service) -> None:
    _, pipe = service.join(TOPIC, "requests")
    service.hub.publish("requests", {})
    service.time.now += 0.2
    service.hub.flush()
    service.tell()
    record = told(pipe)["requests"]
    assert 0.1 < record["delay_p50_seconds"] <= record["delay_p99_seconds"] <= 0.25
    service.tell()
    assert told(pipe)["requests"]["delay_p99_seconds"] is None


def test_replicas_are_told() -> None:
    service = Service({"connected": True, "replicas": ["two"]})
    assert service.stats.totals()["cluster"] == {"connected": True, "replicas": ["two"]}


def test_records_are_json(service: Service) -> None:
    assert orjson.loads(orjson.dumps(service.stats.records())) == service.stats.records()


@pytest.mark.parametrize("role", Role)
def test_it_is_for_operators_and_administrators(service: Service, role: Role) -> None:
    principal = Principal("someone", frozenset({role}))
    if role in (Role.OPERATOR, Role.ADMIN):
        service.hub.check(principal, TOPIC)
    else:
        with pytest.raises(ForbiddenError):
            service.hub.check(principal, TOPIC)


BOUNDS = [0.1, 0.5, 1.0, 5.0, float("inf")]


@given(st.lists(st.floats(0, 5), min_size=1), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(values: list[float], share: float) -> None:
    buckets = {bound: float(sum(value <= bound for value in values)) for bound in BOUNDS}
    found = quantile(share, buckets)
    assert found is not None
    true = sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]
    at = bisect.bisect_left(BOUNDS, true)
    low = BOUNDS[at - 1] if at else 0.0
    assert low - 1e-6 <= found <= BOUNDS[at] + 1e-6


def test_what_is_beyond_all_bounds_counts_as_the_last() -> None:
    assert quantile(0.99, {1.0: 0.0, 5.0: 0.0, float("inf"): 7.0}) == 5.0
    assert quantile(0.5, {}) is quantile(0.5, {1.0: 0.0}) is None
