import json
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.live.pipe import Pipe

from fleetpulse.config import Live
from fleetpulse.instruments import Instruments
from fleetpulse.live import EVENT, STATE, AlertEncoder, Hub, LiveEncoder, PoolEncoder
from fleetpulse.live.alert_session import AlertSession
from fleetpulse.live.sessions import LiveSession, PoolSession, Session, token_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
TYPES = st.sampled_from(["subscribe", "unsubscribe", "ping", "pong", "auth"]) | JSON
TOPICS = st.sampled_from(["agents/a", "agents", "agents/*", "agents/", "requests", "alerts", "none"]) | JSON
RESUME = st.fixed_dictionaries({"epoch": st.text(max_size=4) | JSON, "offset": st.integers() | JSON})
MESSAGES = st.fixed_dictionaries(
    {"type": TYPES},
    optional={"topic": TOPICS, "filter": JSON, "resume": RESUME | JSON, "id": JSON, "token": JSON},
)


def hub() -> Hub:
    made = Hub(Live(max_topics=3), Instruments(), clock=lambda: 0.0, timer=lambda: 0.0)
    made.declare("agents", STATE, lambda _: [{"agent_id": "x", "status": "busy"}])
    made.declare("requests", EVENT)
    made.declare("alerts", EVENT, lambda _: [{"alert_id": n} for n in range(3)])
    return made


def open_session(kind: str, made: Hub) -> tuple[Session, Pipe]:
    pipe = Pipe()
    client = made.connect(pipe, kind)
    session: Session
    if kind == "pool":
        session = PoolSession(made, client, PoolEncoder(), "a")
    elif kind == "alerts":
        session = AlertSession(made, client, AlertEncoder(lambda: 0.0))
    else:
        session = LiveSession(made, client, LiveEncoder())
    session.opened()
    return session, pipe


@given(kind=st.sampled_from(["pool", "alerts", "live"]), messages=st.lists(MESSAGES | JSON, max_size=5))
@example(kind="live", messages=[{"type": "ping", "id": 10**40}])
@example(kind="alerts", messages=[{"type": "configure", "accounts": [1]}, {"type": "configure", "accounts": ["a"]}])
@example(kind="live", messages=[{"type": "subscribe", "topic": "requests", "filter": {"n": float("nan")}}])
@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=300)
def test_whatever_a_client_sends_is_answered_in_json_and_nothing_breaks(kind: str, messages: list[Any]) -> None:
    made = hub()
    session, pipe = open_session(kind, made)
    for message in messages:
        session.received(json.dumps(message))
    made.publish("requests", {"n": 1})
    made.publish("agents/a", {"agent_id": "x", "status": "idle"}, key="x", kind="update")
    made.flush()
    assert all(answer["type"] for answer in pipe.read())


@given(text=st.text(max_size=50))
def test_text_that_is_no_json_is_answered(text: str) -> None:
    session, pipe = open_session("live", hub())
    session.received(text)
    assert pipe.read()[-1]["type"] == "error"


def test_fixed_feeds_take_no_subscriptions() -> None:
    session, pipe = open_session("alerts", hub())
    session.received('{"type": "subscribe", "topic": "requests", "id": 4}')
    answer = pipe.read()[-1]
    assert (answer["code"], answer["id"]) == ("invalid-input", 4)
    session.received('{"type": "auth", "token": "late, but harmless"}')
    assert pipe.read() == []


def test_first_message_brings_a_token_or_none() -> None:
    assert token_of('{"type": "auth", "token": "t"}') == "t"
    assert token_of('{"type": "ping"}') is None
    assert token_of("nonsense") is None
