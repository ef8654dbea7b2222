"""The hub against a model of its clients, through any order of publishing, stalling, cutting and resuming."""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from tests.live.pipe import Pipe
from tests.live.viewer_machine import ViewerMachine

from fleetpulse.config import Live
from fleetpulse.instruments import Instruments
from fleetpulse.live import EVENT, STATE, Filter, Hub, LiveEncoder, Position
from fleetpulse.live.client import Client

LIVE = Live(
    history_messages=12,
    history_seconds=30,
    conflate_bytes=600,
    evict_bytes=4_000,
    evict_seconds=20,
    dead_seconds=10_000,
    ping_seconds=1_000,
    max_topics=3,
)
TOPICS = st.sampled_from(["agents/a", "agents/b", "agents", "requests", "alerts"])
KEYS = st.sampled_from(["k1", "k2", "k3"])
ENCODER = LiveEncoder()


class Viewer:
    """A client that follows `docs/live.md`: one topic, over any number of connections."""

    def __init__(self, topic: str, wanted: dict[str, Any]) -> None:
        self.topic = topic
        self.wanted = wanted
        self.filter = Filter.of(wanted)
        self.pipe = Pipe()
        self.client: Client | None = None
        self.epoch = ""
        self.offset: int | None = None
        self.state: dict[str, dict[str, Any]] = {}
        self.asked: Position | None = None
        self.fresh = True

    def read(self) -> None:
        for message in self.pipe.read():
            getattr(self, "on_" + message["type"])(message)

    def on_subscribed(self, message: dict[str, Any]) -> None:
        if message["recovered"]:
            assert self.asked == (message["epoch"], message["offset"])
        elif self.asked is not None and self.topic.startswith("agents"):
            assert message["offset"] == 0
        self.epoch, self.offset = message["epoch"], message["offset"]
        self.fresh = not message["recovered"]

    def on_snapshot(self, message: dict[str, Any]) -> None:
        assert message["epoch"] == self.epoch
        assert self.offset is not None
        assert message["offset"] >= self.offset
        if self.topic.startswith("agents"):
            self.state = {item["name"]: item for item in message["data"]}
        self.offset = message["offset"]
        self.fresh = False

    def on_gap(self, message: dict[str, Any]) -> None:
        assert not self.topic.startswith("agents"), "state has no gaps"
        assert message["to"] >= message["from"]
        if not self.fresh:
            assert message["from"] == self._next()
        self.offset = message["offset"]

    def on_event(self, message: dict[str, Any]) -> None:
        expected = self._next()
        assert message["offset"] >= expected if self.filter else message["offset"] == expected
        self.offset = message["offset"]
        self.fresh = False

    def on_update(self, message: dict[str, Any]) -> None:
        assert message["offset"] >= self._next()
        self.offset = message["offset"]
        name = message["data"]["name"]
        if message["kind"] == "update":
            self.state[name] = message["data"]
        elif name in self.state:
            self.state[name] = self.state[name] | message["data"]

    def on_left(self, message: dict[str, Any]) -> None:
        assert message["offset"] >= self._next()
        self.offset = message["offset"]
        self.state.pop(message["key"].rpartition("/")[2], None)

    def on_position(self, message: dict[str, Any]) -> None:
        assert self.filter is not None
        assert self.offset is not None
        assert message["offset"] >= self.offset
        self.offset = message["offset"]

    def _next(self) -> int:
        assert self.offset is not None
        return self.offset + 1


class HubMachine(ViewerMachine[Viewer]):
    viewers = ViewerMachine.viewers

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.agents: dict[str, dict[str, Any]] = {}
        self.hub = Hub(LIVE, Instruments(), clock=lambda: self.now, timer=lambda: self.now)
        self.hub.declare("agents", STATE, self._agents)
        self.hub.declare("requests", EVENT)
        self.hub.declare("alerts", EVENT, lambda _: [{"n": self.number}])

    def _agents(self, topic: str) -> list[dict[str, Any]]:
        pool = topic.partition("/")[2]
        return [agent for agent in self.agents.values() if not pool or agent["pool"] == pool]

    def connect(self, viewer: Viewer) -> None:
        resume = None if viewer.offset is None else Position(viewer.epoch, viewer.offset)
        viewer.pipe = Pipe()
        viewer.client = self.hub.connect(viewer.pipe, "test")
        viewer.asked = resume
        self.hub.subscribe(viewer.client, viewer.topic, ENCODER, where=viewer.filter, resume=resume)
        viewer.read()

    @rule(target=viewers, topic=TOPICS, filtered=st.booleans())
    def subscribe(self, topic: str, *, filtered: bool) -> Viewer:
        if len({viewer.topic for viewer in self.watching} | {topic}) > LIVE.max_topics:
            topic = self.watching[0].topic
        viewer = Viewer(topic, {"parity": "even"} if filtered else {})
        self.watching.append(viewer)
        self.connect(viewer)
        return viewer

    @rule(pool=st.sampled_from("ab"), name=KEYS)
    def beat(self, pool: str, name: str) -> None:
        self.number += 1
        agent = {"name": f"{pool}:{name}", "pool": pool, "n": self.number, "status": "busy"}
        agent["parity"] = "even" if self.number % 2 else "odd"
        agent["text"] = "x" * (self.number % 50)
        self.agents[f"{pool}:{name}"] = agent
        self.hub.publish(f"agents/{pool}", agent, key=f"{pool}:{name}", kind="update")

    @rule(pool=st.sampled_from("ab"), name=KEYS)
    def goodbye(self, pool: str, name: str) -> None:
        key = f"{pool}:{name}"
        if key in self.agents:
            self.agents[key] = self.agents[key] | {"status": "offline"}
            self.hub.publish(f"agents/{pool}", {"name": key, "status": "offline"}, key=key, kind="offline")

    @rule(topic=st.sampled_from(["requests", "alerts"]), count=st.sampled_from([1, 2, 5, 20]))
    def events(self, topic: str, count: int) -> None:
        items = []
        for _ in range(count):
            self.number += 1
            items.append((None, {"n": self.number, "parity": "even" if self.number % 2 else "odd"}))
        self.hub.publish_many(topic, items)

    @invariant()
    def nothing_stays_of_who_is_gone(self) -> None:
        for viewer in self.watching:
            if viewer.client is None:
                assert viewer.pipe.get_write_buffer_size() == 0

    def teardown(self) -> None:
        self.settle()
        for viewer in self.watching:
            self._is_up_to_date(viewer)

    def _is_up_to_date(self, viewer: Viewer) -> None:
        assert viewer.client is not None
        assert not viewer.client.closed
        topic = viewer.client.subscriptions[viewer.topic].audience.topic
        assert (viewer.epoch, viewer.offset) == (topic.epoch, topic.offset)
        if viewer.topic.startswith("agents"):
            truth = {agent["name"]: agent for agent in self._agents(viewer.topic)}
            wanted = {name: agent for name, agent in truth.items() if viewer.wanted.items() <= agent.items()}
            assert viewer.state == wanted


TestHubMachine = HubMachine.TestCase
TestHubMachine.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
