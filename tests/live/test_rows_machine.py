"""The hub over journals: rows of this replica and of another, cut, resumed, evicted, restarted, in any order.

Whatever happens, a client hears of every row of its topics once, in the order of each journal, or a gap record
names the rows that it will not hear of.
"""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from tests.live.pipe import EventPipe, Pipe
from tests.live.rows import Rows
from tests.live.viewer_machine import ViewerMachine

from fleetpulse.config import Live
from fleetpulse.instruments import Instruments
from fleetpulse.live import EVENT, Filter, Hub, LiveEncoder
from fleetpulse.live.client import Client
from fleetpulse.live.wires import DEFLATED, WEBSOCKET, EventStreamWire, Wire, positions_of

LIVE = Live(
    history_messages=12,
    history_seconds=30,
    conflate_bytes=600,
    evict_bytes=4_000,
    evict_seconds=20,
    dead_seconds=10_000,
    ping_seconds=1_000,
    max_topics=4,
)
TOPICS = st.sampled_from([("chat",), ("chat/a",), ("chat/a", "chat/b"), ("chat", "chat/b")])
SESSIONS = st.lists(st.sampled_from("ab"), min_size=1, max_size=20)
ENCODER = LiveEncoder()
Positions = dict[str, dict[str, int]]


class Viewer:
    """A client that follows `docs/live.md`: some topics, over any number of connections."""

    def __init__(self, topics: tuple[str, ...], journals: dict[str, Rows], *, events: bool, wanted: Any) -> None:
        self.topics = topics
        self.journals = journals
        self.events = events
        self.filter = Filter.of(wanted)
        self.wanted = wanted
        self.pipe: Pipe = Pipe()
        self.client: Client | None = None
        self.positions: Positions = {}
        self.own: dict[str, str] = {}
        self.asked: Positions | None = None

    def read(self) -> None:
        for message in self.pipe.read():
            if message["type"] == "closing":
                continue
            getattr(self, "on_" + message["type"])(message)
            if self.events and message["type"] == "event":
                self._compare(positions_of(message["event_id"], self.topics))

    def _compare(self, told: Positions) -> None:
        """The id is where the client stands, or further on, where nothing was for it."""
        for topic, position in told.items():
            assert position.keys() >= self.positions[topic].keys()
            for epoch, offset in position.items():
                self._reach(topic, epoch, offset)

    def on_subscribed(self, message: dict[str, Any]) -> None:
        topic = message["topic"]
        told = message.get("positions", {message["epoch"]: message["offset"]})
        assert told[message["epoch"]] == message["offset"]
        self.own[topic] = message["epoch"]
        asked = (self.asked or {}).get(topic, {})
        assert all(told[epoch] == offset for epoch, offset in asked.items() if epoch in told)
        self.positions[topic] = asked | told

    def on_event(self, message: dict[str, Any]) -> None:
        epoch = message.get("epoch", self.own[message["topic"]])
        assert message["data"]["n"] == message["offset"]
        assert message["data"]["from"] == epoch
        self._reach(message["topic"], epoch, message["offset"] - 1)
        self.positions[message["topic"]][epoch] = message["offset"]

    def on_gap(self, message: dict[str, Any]) -> None:
        position = self.positions[message["topic"]]
        assert message["from"] <= message["to"]
        assert message["to"] > position.get(message["epoch"], 0)
        self._reach(message["topic"], message["epoch"], message["from"] - 1)
        position[message["epoch"]] = message["to"]

    def on_position(self, message: dict[str, Any]) -> None:
        for epoch, offset in message.get("positions", {message["epoch"]: message["offset"]}).items():
            self._reach(message["topic"], epoch, offset)
            self.positions[message["topic"]][epoch] = max(offset, self.positions[message["topic"]].get(epoch, 0))

    def _reach(self, topic: str, epoch: str, upto: int) -> None:
        """Nothing that it should hear of lies between where it is and there; a new origin begins anywhere."""
        known = self.positions[topic].get(epoch)
        if known is not None:
            assert upto >= known, "heard twice"
            missed = [n for n in self.journals[epoch].of(topic, known, upto) if self._wants(epoch, n)]
            assert missed == [], f"{missed} of {epoch} in {topic} never came"

    def _wants(self, epoch: str, number: int) -> bool:
        data = self.journals[epoch].row(number).data
        return all(data[name] == value for name, value in self.wanted.items())

    def where(self) -> Positions | None:
        """Where it resumes: as its messages say, or the id that EventSource kept."""
        if isinstance(self.pipe, EventPipe) and self.pipe.event_id:
            return positions_of(self.pipe.event_id, self.topics)
        return None if self.events else {topic: dict(place) for topic, place in self.positions.items()} or None


class RowsMachine(ViewerMachine[Viewer]):
    viewers = ViewerMachine.viewers

    def __init__(self) -> None:
        super().__init__()
        self.mine, self.other = Rows("mine"), Rows("other")
        self.journals = {"mine": self.mine, "other": self.other}
        self.hub = self._new_hub()

    def _new_hub(self) -> Hub:
        hub = Hub(LIVE, Instruments(), clock=lambda: self.now, timer=lambda: self.now)
        hub.declare("chat", EVENT, history=self.mine)
        self.told = 0  # of the other replica's rows
        return hub

    def connect(self, viewer: Viewer) -> None:
        resume = viewer.where()
        viewer.pipe = EventPipe() if viewer.events else Pipe()
        viewer.asked, viewer.positions = resume, {}
        wire: Wire = WEBSOCKET
        if viewer.events:
            claims = {
                topic: tuple((epoch, n) for epoch, n in place.items() if epoch not in (self.hub.tops("chat") or {}))
                for topic, place in (resume or {}).items()
            }
            wire = EventStreamWire(viewer.topics, tuple(claims.items()))
        viewer.client = self.hub.connect(viewer.pipe, "test", wire)
        for topic in viewer.topics:
            position = (resume or {}).get(topic) or None
            self.hub.subscribe(viewer.client, topic, ENCODER, where=viewer.filter, resume=position)
        if isinstance(wire, EventStreamWire):
            viewer.client.write(wire.stamp(self.hub.places(viewer.client)))
        viewer.read()

    @rule(target=viewers, topics=TOPICS, events=st.booleans(), filtered=st.booleans())
    def subscribe(self, topics: tuple[str, ...], *, events: bool, filtered: bool) -> Viewer:
        viewer = Viewer(topics, self.journals, events=events, wanted={"session": "a"} if filtered else {})
        self.watching.append(viewer)
        self.connect(viewer)
        return viewer

    @rule(sessions=SESSIONS)
    def store(self, sessions: list[str]) -> None:
        assert self.hub.publish_rows("chat", self.mine.add(*sessions)) == 0

    @rule(sessions=SESSIONS)
    def store_elsewhere(self, sessions: list[str]) -> None:
        self.other.add(*sessions)

    @rule(again=st.integers(0, 6), count=st.integers(1, 30))
    def hear(self, again: int, count: int) -> None:
        """The other replica's next rows come, and some that came already."""
        first = max(self.told - again, 0) + 1
        upto = min(self.told + count, self.other.newest())
        rows = [self.other.row(n) for n in range(first, upto + 1)]
        if rows and not (self.told == 0 and "other" in (self.hub.tops("chat") or {})):
            known = self.told if "other" in (self.hub.tops("chat") or {}) else 0
            assert self.hub.publish_rows("chat", rows, epoch="other") == max(known - first + 1, 0)
            self.told = max(upto, self.told)

    @rule(ahead=st.integers(0, 30))
    def give_up(self, ahead: int) -> None:
        """The other replica's rows are not to be had any more, up to some place: or it is met there."""
        self.told = min(self.told + ahead, self.other.newest())
        self.hub.follow("chat", "other", self.told)

    @precondition(lambda self: self.mine.newest() > self.mine.gone)
    @rule(count=st.integers(1, 30))
    def delete(self, count: int) -> None:
        self.mine.gone = min(self.mine.gone + count, self.mine.newest())

    @rule()
    def restart(self) -> None:
        for viewer in self.watching:
            if viewer.client is not None:
                self.lose(viewer)
        self.hub = self._new_hub()

    def teardown(self) -> None:
        self.settle()
        for viewer in self.watching:
            for topic in viewer.topics:
                for epoch, top in (self.hub.tops("chat") or {}).items():
                    if epoch in viewer.positions[topic]:
                        viewer._reach(topic, epoch, max(top, viewer.positions[topic][epoch]))  # noqa: SLF001
                assert viewer.positions[topic].keys() >= {"mine"}


TestRowsMachine = RowsMachine.TestCase
TestRowsMachine.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_the_end_of_a_burst_that_its_only_listener_missed_is_not_left_behind() -> None:
    machine = RowsMachine()
    viewer = machine.subscribe(("chat",), events=False, filtered=False)
    machine.restart()
    machine.store(["a"])
    machine.resume(viewer)
    machine.store(["a"] * 18)  # more than one flush takes
    machine.cut(viewer)
    machine.flush()
    machine.teardown()
    assert machine.watching[0].positions["chat"]["mine"] == 19


def test_a_gap_names_no_row_that_its_reader_has() -> None:
    machine = RowsMachine()
    machine.store_elsewhere(["a", "a", "a"])
    machine.hear(0, 2)
    machine.subscribe(("chat",), events=False, filtered=False)
    machine.restart()
    machine.hear(0, 1)
    machine.give_up(2)
    machine.teardown()
    assert machine.watching[0].positions["chat"]["other"] == 3


def test_an_events_id_says_that_its_reader_was_told_of_a_gap() -> None:
    machine = RowsMachine()
    machine.give_up(0)
    machine.store_elsewhere(["a"])
    viewer = machine.subscribe(("chat",), events=True, filtered=False)
    machine.restart()
    machine.resume(viewer)
    machine.store(["a"])
    machine.give_up(1)
    machine.teardown()
    assert machine.watching[0].positions["chat"] == {"mine": 1, "other": 1}


def test_deflated_clients_are_another_audience() -> None:
    hub = Hub(LIVE, Instruments(), clock=lambda: 0.0, timer=lambda: 0.0)
    hub.declare("chat", EVENT, history=Rows("mine"))
    for wire in (WEBSOCKET, DEFLATED, WEBSOCKET, DEFLATED, EventStreamWire(("chat",)), EventStreamWire(("chat",))):
        hub.subscribe(hub.connect(Pipe(), "test", wire), "chat", ENCODER)
    audiences = {client.subscriptions["chat"].audience for client in hub.clients}
    assert sorted(audience.size for audience in audiences) == [2, 2, 2]
