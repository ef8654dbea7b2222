"""Agents' state: who is up, who fell silent and when exactly, who is forgotten, what a restart keeps."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.series.page import Page, Scraped

from fleetpulse.config import Agents, Limits
from fleetpulse.errors import OverloadedError
from fleetpulse.fleet import Agent, Fleet
from fleetpulse.journal import AgentState
from fleetpulse.series.agents import AgentSeries
from fleetpulse.signals import Heartbeat

START = 1_000_000.0
SILENCE = 300.0
GOODBYE = 3_600.0
FORGET = 7 * 86_400.0
EVERYONE = 10_000


def beat(status: str = "busy", **fields: Any) -> Heartbeat:
    return Heartbeat(**{"status": status, "cpu_usage": 50.0, "memory_usage": 25.0} | fields)


@dataclass
class World:
    """A fleet with a clock, what it tells, and the table its state is saved in."""

    agents: Agents = field(default_factory=Agents)
    limits: Limits = field(default_factory=Limits)
    silence: float = SILENCE
    now: float = START
    told: list[tuple[str, str]] = field(default_factory=list)
    saved: dict[str, AgentState] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """A new life, from what was saved."""
        self.series = AgentSeries(self.limits.agent_series)
        self.fleet = Fleet(self.agents, self.limits, self.silence, self.series)
        self.fleet.restore(sorted(self.saved.values(), key=lambda state: state.received_at))
        self.sweep()

    def beat(self, agent_id: str, status: str = "busy", pool: str | None = None, **fields: Any) -> None:
        """A heartbeat arrives now."""
        self.tell(self.fleet.beat(agent_id, beat(status, **fields), pool, self.now))

    def sweep(self, *, after: float = 0.0) -> list[tuple[str, str]]:
        """Time passes; what the sweep then tells."""
        self.now += after
        before = len(self.told)
        self.tell(self.fleet.sweep(self.now, EVERYONE))
        return self.told[before:]

    def tell(self, changes: list[Any]) -> None:
        self.told += [(agent.agent_id, "offline" if offline else "update") for agent, offline in changes]

    def save(self) -> None:
        """Saves as the journal does."""
        states, forgotten = self.fleet.take_unsaved(EVERYONE)
        self.saved |= {state.agent_id: state for state in states}
        for agent_id in forgotten:
            self.saved.pop(agent_id, None)

    def restart(self, *, down: float) -> None:
        """Saves, stops, starts again after a while."""
        self.save()
        self.now += down
        self.start()

    def agent(self, agent_id: str) -> Agent | None:
        return next((agent for agent in self.fleet.everyone() if agent.agent_id == agent_id), None)

    def page(self) -> Scraped:
        return Page(agents=self.series).scrape()


@pytest.fixture
def world() -> World:
    return World()


# Heartbeats ---------------------------------------------------------------------------------------------------
def test_a_heartbeat_is_the_agents_state(world: World) -> None:
    tasks = [{"task_id": 7, "task_type": "检索", "started_at": "2025-01-07T10:30:00Z"}, {"task_id": "x"}]
    world.beat("a", "busy", agent_name="甲", running_tasks=tasks)
    agent = world.agent("a")
    assert agent is not None
    assert agent.up
    shown = agent.as_json()
    assert shown["running_tasks"][0]["started_at"] == "2025-01-07T10:30:00Z"
    assert shown["running_tasks"][0]["task_id"] == 7
    assert shown["running_tasks"][1] == {"task_id": "x", "task_type": "task"}
    assert {name: shown[name] for name in ("agent_id", "agent_name", "cpu_usage", "memory_usage", "status")} == {
        "agent_id": "a",
        "agent_name": "甲",
        "cpu_usage": 50.0,
        "memory_usage": 25.0,
        "status": "busy",
    }
    assert shown["last_update_time"] == "1970-01-12T13:46:40.000Z"
    assert agent.in_pool()["pool_id"] == "default"
    page = world.page()
    assert page.value("fleetpulse_agent_cpu_usage_ratio", pool_id="default", agent_id="a") == 0.5
    assert page.value("fleetpulse_agent_memory_usage_ratio", pool_id="default", agent_id="a") == 0.25
    assert page.value("fleetpulse_agent_running_tasks", pool_id="default", agent_id="a") == 2
    assert page.value("fleetpulse_agent_last_heartbeat_timestamp_seconds", pool_id="default", agent_id="a") == START


def test_the_pool_is_the_heartbeats_else_the_credentials_else_default(world: World) -> None:
    world.beat("a", pool="of the key", pool_id="its own")
    world.beat("b", pool="of the key")
    world.beat("c")
    assert world.fleet.pools() == ["default", "its own", "of the key"]
    assert [agent.agent_id for agent in world.fleet.agents("of the key")] == ["b"]


def test_agents_of_a_pool_come_by_id_and_of_an_unknown_pool_not_at_all(world: World) -> None:
    for agent_id in "cab":
        world.beat(agent_id)
    assert [agent.agent_id for agent in world.fleet.agents("default")] == ["a", "b", "c"]
    assert world.fleet.agents("nowhere") == []


def test_offline_and_back(world: World) -> None:
    world.beat("a")
    world.beat("a", "offline")
    assert world.page().value("fleetpulse_agent_up", pool_id="default", agent_id="a") == 0
    assert not world.page().has("fleetpulse_agent_cpu_usage_ratio", pool_id="default", agent_id="a")
    world.beat("a")
    assert world.told == [("a", "update"), ("a", "offline"), ("a", "update")]
    assert world.page().value("fleetpulse_agent_up", pool_id="default", agent_id="a") == 1


def test_a_move_tells_the_old_pool_and_leaves_nothing_there(world: World) -> None:
    world.beat("a", pool_id="old")
    changes = world.fleet.beat("a", beat(pool_id="new"), None, world.now)
    assert [(change.agent.pool_id, change.offline) for change in changes] == [("old", True), ("new", False)]
    assert world.fleet.pools() == ["new"]
    assert [labels["pool_id"] for labels in world.page().labels("fleetpulse_agent_up")] == ["new"]


# Silence ------------------------------------------------------------------------------------------------------
def test_silence_begins_exactly_when_it_is_allowed_no_longer(world: World) -> None:
    world.beat("a")
    assert world.sweep(after=SILENCE) == []
    assert world.sweep(after=0.001) == [("a", "offline")]
    assert world.sweep(after=1.0) == []
    agent = world.agent("a")
    assert agent is not None
    assert agent.silent
    assert not agent.up
    assert agent.status == "busy"
    assert agent.as_json()["status"] == "offline"
    page = world.page()
    assert page.labels("fleetpulse_agent_status") == [{"pool_id": "default", "agent_id": "a", "status": "silent"}]
    assert page.value("fleetpulse_agents", pool_id="default", status="silent") == 1
    assert page.value("fleetpulse_agent_last_heartbeat_timestamp_seconds", pool_id="default", agent_id="a") == START


def test_every_heartbeat_begins_the_wait_anew(world: World) -> None:
    world.beat("a")
    for _ in range(5):
        assert world.sweep(after=SILENCE - 1) == []
        world.beat("a")
    assert world.sweep(after=SILENCE + 1) == [("a", "offline")]


def test_a_silent_agent_that_is_heard_is_back(world: World) -> None:
    world.beat("a")
    world.sweep(after=SILENCE + 1)
    world.beat("a")
    assert world.told[-1] == ("a", "update")
    assert world.page().value("fleetpulse_agent_up", pool_id="default", agent_id="a") == 1
    assert world.sweep(after=SILENCE + 1) == [("a", "offline")]


def test_only_who_is_silent_is_told(world: World) -> None:
    world.beat("a")
    world.sweep(after=10.0)
    world.beat("b")
    world.sweep(after=10.0)
    world.beat("c", "offline")
    assert world.sweep(after=SILENCE - 19.0) == [("a", "offline")]
    assert world.sweep(after=10.0) == [("b", "offline")]
    assert world.sweep(after=SILENCE) == []


def test_a_sweep_looks_at_so_many_at_once_and_says_whether_more_wait(world: World) -> None:
    for number in range(10):
        world.beat(f"a{number}")
    world.now += SILENCE + 1
    found = []
    while world.fleet.overdue(world.now):
        changes = world.fleet.sweep(world.now, 4)
        assert len(changes) <= 4
        found += [change.agent.agent_id for change in changes]
    assert sorted(found) == [f"a{number}" for number in range(10)]


def test_a_short_patience_with_goodbyes_makes_nobody_silent_early() -> None:
    world = World(agents=Agents(forget_offline_after_seconds=60))
    world.beat("a")
    world.beat("b", "offline")
    assert world.sweep(after=61.0) == []
    assert world.agent("a") is not None
    assert world.agent("b") is None
    assert world.sweep(after=SILENCE - 60.0) == [("a", "offline")]


# Forgetting ---------------------------------------------------------------------------------------------------
def test_a_silent_agent_is_forgotten_with_its_series(world: World) -> None:
    world.beat("a")
    world.sweep(after=SILENCE + 1)
    world.save()
    assert world.sweep(after=FORGET - SILENCE - 1) == []
    assert world.agent("a") is not None
    assert world.sweep(after=0.001) == []
    assert world.agent("a") is None
    assert world.fleet.pools() == []
    assert "default" not in world.page().body
    world.save()
    assert world.saved == {}


def test_an_agent_that_said_goodbye_is_forgotten_sooner(world: World) -> None:
    world.beat("a", "offline")
    world.sweep(after=GOODBYE)
    assert world.agent("a") is not None
    world.sweep(after=0.001)
    assert world.agent("a") is None


def test_nobody_is_forgotten_unannounced() -> None:
    world = World(agents=Agents(forget_after_seconds=60))
    world.beat("a")
    assert world.sweep(after=100.0) == []
    assert world.agent("a") is not None
    assert world.sweep(after=SILENCE) == [("a", "offline")]
    world.sweep(after=0.001)
    assert world.agent("a") is None


def test_a_forgotten_agent_that_comes_back_is_kept(world: World) -> None:
    world.beat("a", "offline")
    world.save()
    world.sweep(after=GOODBYE + 1)
    world.beat("a")
    world.save()
    assert set(world.saved) == {"a"}
    assert world.sweep(after=SILENCE + 1) == [("a", "offline")]


# Restarts -----------------------------------------------------------------------------------------------------
def test_a_restart_keeps_every_agent_as_it_was(world: World) -> None:
    world.beat("silent", agent_name="默")
    world.sweep(after=SILENCE + 1)
    world.beat("busy", pool_id="p", running_tasks=[{"task_id": 1}])
    world.beat("gone", "offline")
    before = {agent.agent_id: agent for agent in world.fleet.everyone()}
    world.told.clear()
    world.restart(down=5.0)
    assert {agent.agent_id: agent for agent in world.fleet.everyone()} == before
    assert world.fleet.everyone()[0].agent_id == "silent", "the longest silent first"
    assert world.told == [], "nobody changed, so nothing is told"
    page = world.page()
    assert page.value("fleetpulse_agent_up", pool_id="default", agent_id="silent") == 0
    assert page.value("fleetpulse_agent_up", pool_id="p", agent_id="busy") == 1
    assert page.value("fleetpulse_agents", pool_id="default", status="offline") == 1


def test_a_long_stop_of_the_exporter_makes_nobody_silent(world: World) -> None:
    world.beat("alive")
    world.beat("died meanwhile")
    world.restart(down=10 * SILENCE)
    assert world.sweep(after=SILENCE - 1) == []
    world.beat("alive")
    assert world.sweep(after=2.0) == [("died meanwhile", "offline")]


def test_a_silent_agent_stays_silent_through_restarts_and_is_forgotten_in_time(world: World) -> None:
    world.beat("a")
    world.sweep(after=SILENCE + 1)
    world.told.clear()
    for _ in range(8):
        world.restart(down=86_400.0)
        world.sweep(after=1.0)
    assert world.told == []
    assert world.agent("a") is None


def test_what_was_saved_needs_no_saving_again(world: World) -> None:
    world.beat("a")
    world.restart(down=1.0)
    assert world.fleet.take_unsaved(EVERYONE) == ([], [])


def test_a_state_of_another_version_is_left_out(world: World) -> None:
    world.beat("a")
    world.save()
    world.saved["b"] = AgentState("b", START, '{"another": "shape"}')
    world.saved["c"] = AgentState("c", START, "not json")
    world.saved["d"] = AgentState("d", START, "[1]")
    world.start()
    assert [agent.agent_id for agent in world.fleet.everyone()] == ["a"]


# Saving -------------------------------------------------------------------------------------------------------
def test_states_are_taken_once_and_in_steps(world: World) -> None:
    for number in range(5):
        world.beat(f"a{number}")
        world.beat(f"a{number}")
    first, _ = world.fleet.take_unsaved(3)
    second, _ = world.fleet.take_unsaved(3)
    assert (len(first), len(second)) == (3, 2)
    assert {state.agent_id for state in first + second} == {f"a{number}" for number in range(5)}
    assert world.fleet.take_unsaved(3) == ([], [])


def test_what_is_put_back_is_saved_as_it_is_then(world: World) -> None:
    world.beat("a", "busy")
    world.beat("b", "offline")
    states, forgotten = world.fleet.take_unsaved(EVERYONE)
    world.beat("a", "idle")
    world.sweep(after=GOODBYE + 1)  # forgets b
    world.fleet.put_back(states, forgotten)
    states, forgotten = world.fleet.take_unsaved(EVERYONE)
    assert [(state.agent_id, '"idle"' in state.state) for state in states] == [("a", True)]
    assert forgotten == ["b"]


def test_a_forgetting_that_is_put_back_does_not_undo_a_return(world: World) -> None:
    world.beat("a", "offline")
    world.save()
    world.sweep(after=GOODBYE + 1)
    states, forgotten = world.fleet.take_unsaved(EVERYONE)
    assert forgotten == ["a"]
    world.beat("a")
    world.fleet.put_back(states, forgotten)
    states, forgotten = world.fleet.take_unsaved(EVERYONE)
    assert ([state.agent_id for state in states], forgotten) == (["a"], [])


# Limits -------------------------------------------------------------------------------------------------------
def test_past_the_limit_new_agents_are_refused_and_known_ones_are_not() -> None:
    world = World(limits=Limits(agents=2))
    world.beat("a")
    world.beat("b")
    with pytest.raises(OverloadedError, match=r"limits\.agents"):
        world.beat("c")
    world.beat("a", "idle")
    assert [agent.agent_id for agent in world.fleet.agents("default")] == ["a", "b"]
    assert world.page().total("fleetpulse_agents") == 2


def test_past_the_limit_new_pools_are_refused_and_the_agent_stays_where_it_was() -> None:
    world = World(limits=Limits(pools=2))
    world.beat("a", pool_id="p")
    world.beat("b", pool_id="q")
    with pytest.raises(OverloadedError, match=r"limits\.pools"):
        world.beat("a", pool_id="r")
    assert [agent.agent_id for agent in world.fleet.agents("p")] == ["a"]
    world.beat("b", pool_id="p")
    world.beat("a", pool_id="r")
    assert world.fleet.pools() == ["p", "r"]


def test_statuses_past_the_cap_are_shown_as_other() -> None:
    world = World(limits=Limits(statuses=4))  # offline and silent are two of them
    for number in range(5):
        world.beat(f"a{number}", f"status {number}")
    page = world.page()
    shown = Counter(labels["status"] for labels in page.labels("fleetpulse_agent_status"))
    assert shown == {"status 0": 1, "status 1": 1, "other": 3}
    assert page.value("fleetpulse_agents", pool_id="default", status="other") == 3
    assert world.fleet.status_label("status 4") == "other"
    world.beat("a4", "offline")
    assert world.page().value("fleetpulse_agents", pool_id="default", status="offline") == 1
    agent = world.agent("a3")
    assert agent is not None
    assert agent.status == "status 3", "only the label is folded"


# Everything at once -------------------------------------------------------------------------------------------
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("beat"),
            st.sampled_from("abcdef"),
            st.sampled_from(["p", "q", "r"]),
            st.sampled_from(["busy", "idle", "offline"]),
        ),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 100.0, 301.0, 3_601.0])),
        st.tuples(st.just("restart"), st.sampled_from([0.0, 1_000.0])),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(script=steps, series=st.integers(1, 6))
def test_counts_by_pool_and_status_are_exact(script: list[tuple[Any, ...]], series: int) -> None:
    world = World(limits=Limits(agent_series=series))
    for step, *details in script:
        if step == "beat":
            agent_id, pool, status = details
            world.beat(agent_id, status, pool_id=pool)
        elif step == "wait":
            world.sweep(after=details[0])
        else:
            world.restart(down=details[0])
        check(world)


def check(world: World) -> None:
    """Pools, counts and series agree with one another."""
    everyone = world.fleet.everyone()
    assert sorted(a.agent_id for a in everyone) == sorted(
        agent.agent_id for pool in world.fleet.pools() for agent in world.fleet.agents(pool)
    )
    page = world.page()
    counted = Counter((a.pool_id, "silent" if a.silent else a.status) for a in everyone)
    shown = {
        (labels["pool_id"], labels["status"]): page.value("fleetpulse_agents", **labels)
        for labels in page.labels("fleetpulse_agents")
    }
    assert shown == counted
    with_series = len(page.labels("fleetpulse_agent_up"))
    assert with_series + page.value("fleetpulse_agents_over_limit") == len(everyone)
    assert with_series <= world.limits.agent_series
    for labels in page.labels("fleetpulse_agent_up"):
        agent = world.agent(labels["agent_id"])
        assert agent is not None
        assert page.value("fleetpulse_agent_up", **labels) == agent.up
