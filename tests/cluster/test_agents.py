import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cluster.line import Frame, Line
from tests.journal.stand import until

from fleetpulse import config
from fleetpulse.cluster.agents import STATES, AgentRelay
from fleetpulse.cluster.bus import RedisBus
from fleetpulse.cluster.peers import BYE, Peers
from fleetpulse.fleet import Change, Fleet
from fleetpulse.series.agents import AgentSeries
from fleetpulse.signals import Heartbeat

NOW = 1_000_000.0


class Replica:
    """A fleet that is shared over a line."""

    def __init__(self, name: str, limit: int = 1_000) -> None:
        self.name = name
        self.line = Line(name)
        self.series = AgentSeries(1_000)
        self.fleet = Fleet(config.Agents(), config.Limits(agents=limit), 300.0, self.series)
        self.told: list[Change] = []
        bus = cast("RedisBus", self.line)
        self.peers = Peers(bus, name, dict, config.Cluster(), self.line.instruments)
        self.relay = AgentRelay(bus, self.peers, self.fleet, self.told.extend, name)

    def beat(self, agent_id: str, at: float = NOW, status: str = "busy", pool: str = "p") -> None:
        self.fleet.beat(agent_id, Heartbeat(status=status, cpu_usage=1, memory_usage=2), pool, at)

    @property
    def shown(self) -> set[str]:
        text = b"".join(self.series.render(openmetrics=False)).decode()
        lines = [line for line in text.splitlines() if line.startswith("fleetpulse_agent_up{")]
        return {line.split('agent_id="')[1].split('"')[0] for line in lines}

    @property
    def known(self) -> dict[str, tuple[str, str, float]]:
        return {agent.agent_id: (agent.status, agent.pool_id, agent.seen) for agent in self.fleet.everyone()}


def carry(*replicas: Replica) -> int:
    """Everything that was sent arrives everywhere; how much that was."""
    frames = [(each, frame) for each in replicas for frame in each.line.take()]
    for sender, frame in frames:
        for each in replicas:
            if each is not sender:
                each.line.deliver(frame)
    return len(frames)


def meet(*replicas: Replica) -> None:
    for each in replicas:
        each.peers.announce()
    while carry(*replicas):
        pass


@asynccontextmanager
async def at_work(*replicas: Replica) -> AsyncIterator[None]:
    """What they send arrives, all the time."""

    async def post() -> None:
        while True:
            carry(*replicas)
            await asyncio.sleep(0.01)

    tasks = [asyncio.create_task(work) for work in (post(), *(each.relay.run() for each in replicas))]
    try:
        yield
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_all_know_all_and_each_agent_has_series_at_one() -> None:
    a, b, c = (Replica(name) for name in "abc")
    for number in range(300):  # more than one message takes, before they meet
        a.beat(f"agent-{number}")
    meet(a, b, c)
    async with at_work(a, b, c):
        await until(lambda: a.known == b.known == c.known != {})
        b.beat("agent-7", NOW + 5, status="idle", pool="q")
        await until(lambda: a.known["agent-7"] == c.known["agent-7"] == ("idle", "q", NOW + 5))
        await until(lambda: len(a.shown) + len(b.shown) + len(c.shown) == 300)
        assert a.shown | b.shown | c.shown == set(a.known)
        homes = a.shown, b.shown
        for each in (a, b):
            each.line.hand(BYE, {"run": c.line.run_id})
        await until(lambda: len(a.shown) + len(b.shown) == 300)
        assert homes[0] <= a.shown, "who stays where it is keeps its series"
        assert homes[1] <= b.shown


async def test_without_redis_each_shows_those_that_it_heard_itself() -> None:
    a, b = Replica("a"), Replica("b")
    meet(a, b)
    async with at_work(a, b):
        for number in range(20):
            (a, b)[number % 2].beat(f"agent-{number}")
        await until(lambda: len(a.known) == len(b.known) == 20)
        for each in (a, b):
            each.line.redis(connected=False)
        await until(lambda: a.shown == {f"agent-{number}" for number in range(0, 20, 2)})
        a.beat("agent-1", NOW + 1)
        for each in (a, b):
            each.line.redis(connected=True)
        await until(lambda: b.known["agent-1"][2] == NOW + 1)
        await until(lambda: len(a.shown) + len(b.shown) == 20)


@settings(max_examples=100, deadline=None)
@given(
    beats=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 9), st.sampled_from(["busy", "offline"])),
        max_size=30,
    ),
    order=st.randoms(use_true_random=False),
)
def test_the_newest_heartbeat_wins_everywhere_however_the_frames_come(
    beats: list[tuple[int, int, int, str]], order: Any
) -> None:
    async def play() -> None:
        replicas = [Replica(name) for name in "abc"]
        frames: list[tuple[Replica, Frame]] = []
        now = NOW
        for which, agent, later, status in beats:
            replica = replicas[which]
            now += 0.001 + later
            replica.beat(f"agent-{agent}", now, status)
            while agents := replica.fleet.take_news(100):
                replica.line.send(STATES, {"epoch": replica.name, "agents": [_plain(agent) for agent in agents]})
            frames += [(replica, frame) for frame in replica.line.take()]
        frames += frames[:5]
        order.shuffle(frames)
        for sender, frame in frames:
            for each in replicas:
                if each is not sender:
                    each.line.deliver(frame)
        assert replicas[0].known == replicas[1].known == replicas[2].known

    asyncio.run(play())


def _plain(agent: Any) -> Any:
    return orjson.loads(orjson.dumps(agent))


STATE: dict[str, Any] = {
    "agent_id": "x",
    "agent_name": "x",
    "pool_id": "p",
    "status": "busy",
    "cpu_usage": 1.0,
    "memory_usage": 1.0,
    "running_tasks": [],
    "seen": NOW,
}


@pytest.mark.parametrize(
    "broken",
    [None, 7, {}, STATE | {"seen": "then"}, STATE | {"cpu_usage": None}, STATE | {"running_tasks": {"a": 1}}],
)
async def test_a_state_that_is_none_is_left_out_and_told(broken: Any) -> None:
    a = Replica("a")
    with pytest.raises(ValueError, match="1 of 2"):
        a.line.hand(STATES, {"epoch": "b", "agents": [broken, STATE | {"of": "a newer version"}]})
    assert set(a.known) == {"x"}


async def test_agents_past_the_limit_are_passed_over() -> None:
    a = Replica("a", limit=3)
    states = [STATE | {"agent_id": f"agent-{number}"} for number in range(10)]
    a.line.hand(STATES, {"epoch": "b", "agents": states})
    assert len(a.known) == 3
