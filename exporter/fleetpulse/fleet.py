"""The fleet: the newest state of every agent, in memory; who went silent, who is to be saved, who is forgotten.

Heartbeats are state, not history. Nothing here waits: a heartbeat is taken in, its series lines are rendered, and
the caller is told what to publish. Saving is the pipeline's work, from `take_unsaved`.

Silence is counted from the first sweep at the earliest: while the exporter was down nobody could be heard. An agent
is told to be offline before it is forgotten.

Where there are other replicas, the fleet has the agents that they hear, too (`learn`): shown and swept like its
own, but not saved, and with series only where `share` says so.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import orjson

from fleetpulse.config import Agents, Limits
from fleetpulse.deadlines import Deadlines
from fleetpulse.errors import OverloadedError
from fleetpulse.journal.rows import rfc3339
from fleetpulse.journal.writes import AgentState
from fleetpulse.series.agents import AgentSample, AgentSeries
from fleetpulse.series.labels import LabelCaps
from fleetpulse.signals import Heartbeat

DEFAULT_POOL = "default"
OFFLINE = "offline"
SILENT = "silent"
LEAST_STEP = 0.001  # a heartbeat is newer than what another replica heard, whatever the two clocks say


@dataclass(frozen=True)
class Agent:
    """An agent's newest heartbeat and when it came (Unix seconds); CPU and memory in percent.

    `replica` is the journal's epoch of the replica that heard it, empty where that is this one.
    """

    agent_id: str
    agent_name: str
    pool_id: str
    status: str
    cpu_usage: float
    memory_usage: float
    running_tasks: list[dict[str, Any]]
    seen: float
    silent: bool = False
    replica: str = ""

    @property
    def up(self) -> bool:
        """Whether it is at work: it neither said goodbye nor fell silent."""
        return not self.silent and self.status != OFFLINE

    def as_json(self) -> dict[str, Any]:
        """The agent as the documents show it to browsers; a silent agent is offline to them."""
        return {
            "agent_id": self.agent_id,
            "agent_name": self.agent_name,
            "cpu_usage": self.cpu_usage,
            "memory_usage": self.memory_usage,
            "running_tasks": self.running_tasks,
            "last_update_time": rfc3339(self.seen),
            "status": OFFLINE if self.silent else self.status,
        }

    def in_pool(self) -> dict[str, Any]:
        """The same with its pool, for where agents of many pools are shown together."""
        return {**self.as_json(), "pool_id": self.pool_id}


class Change(NamedTuple):
    """Something to publish: an agent's update, or that it is offline."""

    agent: Agent
    offline: bool


class Fleet:
    """Every known agent, the longest silent first."""

    def __init__(self, agents: Agents, limits: Limits, silence_seconds: float, series: AgentSeries) -> None:
        self._settings = agents
        self._limits = limits
        self._silence = silence_seconds
        self._series = series
        self._agents: OrderedDict[str, Agent] = OrderedDict()
        self._pools: dict[str, set[str]] = {}
        self._deadlines = Deadlines()
        self._listening_since: float | None = None
        self._statuses = LabelCaps({"status": limits.statuses})
        self._statuses.restore("status", (OFFLINE, SILENT))
        self._unsaved: set[str] = set()
        self._forgotten: set[str] = set()
        self._shows: Callable[[Agent], bool] | None = None
        self._news: set[str] = set()

    def restore(self, states: Iterable[AgentState]) -> None:
        """Loads what was saved, the longest silent first; a state from another version is left out."""
        for state in states:
            try:
                agent = Agent(**orjson.loads(state.state))
            except (TypeError, ValueError):
                continue
            self._keep(agent)
        self._unsaved.clear()

    def beat(self, agent_id: str, heartbeat: Heartbeat, pool_id: str | None, now: float) -> list[Change]:
        """Takes a heartbeat in. `pool_id` is the credential's pool, for a heartbeat that names none.

        Raises OverloadedError for a new agent or pool past the limit; nothing is kept then.
        """
        before = self._agents.get(agent_id)
        pool = heartbeat.pool_id or pool_id or DEFAULT_POOL
        self._admit(before, pool)
        agent = Agent(
            agent_id=agent_id,
            agent_name=heartbeat.agent_name or agent_id,
            pool_id=pool,
            status=heartbeat.status,
            cpu_usage=heartbeat.cpu_usage,
            memory_usage=heartbeat.memory_usage,
            running_tasks=[task.model_dump(mode="json", exclude_none=True) for task in heartbeat.running_tasks],
            seen=now if before is None or not before.replica else max(now, before.seen + LEAST_STEP),
        )
        self._keep(agent)
        left = [Change(before, offline=True)] if before is not None and before.pool_id != pool else []
        return [*left, Change(agent, offline=agent.status == OFFLINE)]

    def share(self, shows: Callable[[Agent], bool]) -> None:
        """There may be other replicas: `take_news` has something for them, `shows` says whose series are here."""
        self._shows = shows

    def take_news(self, limit: int) -> list[Agent]:
        """The agents, at most `limit`, that were heard here or fell silent, and that were not taken before."""
        taken = [self._news.pop() for _ in range(min(limit, len(self._news)))]
        return [self._agents[agent_id] for agent_id in taken]

    def learn(self, agent: Agent, replica: str) -> list[Change]:
        """Takes in what another replica knows of an agent, if that is newer; past the limits it is passed over."""
        before = self._agents.get(agent.agent_id)
        if before is not None and (agent.seen, agent.silent) <= (before.seen, before.silent):
            return []
        try:
            self._admit(before, agent.pool_id)
        except OverloadedError:
            return []
        agent = replace(agent, replica=replica)
        self._keep(agent)
        moved = before is not None and before.pool_id != agent.pool_id
        left = [Change(before, offline=True)] if before is not None and moved else []
        return [*left, Change(agent, offline=not agent.up)]

    def show_again(self, agent_ids: Iterable[str]) -> None:
        """Shows or hides the series of agents, as `share` says now."""
        for agent_id in agent_ids:
            if agent_id in self._agents:
                self._show(self._agents[agent_id])

    def sweep(self, now: float, limit: int) -> list[Change]:
        """Finds who fell silent since the last sweep, and forgets who was away for too long.

        Looks at `limit` agents at most; `overdue` says whether more are waiting.
        """
        if self._listening_since is None:
            self._listening_since = now
        changes = []
        for _ in range(limit):
            agent_id = self._deadlines.past(now)
            if agent_id is None:
                break
            agent = self._agents[agent_id]
            if self._deadline(agent) >= now:  # it was heard meanwhile
                self._deadlines.set(agent_id, self._deadline(agent))
            elif agent.up:
                changes.append(self._fall_silent(agent))
            else:
                self._forget(agent)
        return changes

    def overdue(self, now: float) -> bool:
        """Whether another sweep may find someone at once."""
        return self._deadlines.any_past(now)

    def status_label(self, status: str) -> str:
        """The status as series show it: past the cap on statuses, `other`."""
        return self._statuses.fold("status", status)

    def agents(self, pool_id: str) -> list[Agent]:
        """The agents of a pool, by id."""
        return [self._agents[agent_id] for agent_id in sorted(self._pools.get(pool_id, ()))]

    def everyone(self) -> list[Agent]:
        """All agents, the longest silent first."""
        return list(self._agents.values())

    def pools(self) -> list[str]:
        """The pools that have agents, by name."""
        return sorted(self._pools)

    def take_unsaved(self, limit: int) -> tuple[list[AgentState], list[str]]:
        """What changed and was not taken before: at most `limit` states to save, and ids to forget."""
        taken = [self._unsaved.pop() for _ in range(min(limit, len(self._unsaved)))]
        states = [_state(self._agents[agent_id]) for agent_id in taken]
        forgotten = [self._forgotten.pop() for _ in range(min(limit, len(self._forgotten)))]
        return states, forgotten

    def put_back(self, states: Sequence[AgentState], forgotten: Sequence[str]) -> None:
        """Returns what could not be saved."""
        self._unsaved.update(state.agent_id for state in states if state.agent_id in self._agents)
        self._forgotten.update(agent_id for agent_id in forgotten if agent_id not in self._agents)

    def _admit(self, before: Agent | None, pool: str) -> None:
        if before is None and len(self._agents) >= self._limits.agents:
            raise OverloadedError(f"limits.agents: {self._limits.agents} agents are known already", retry_after=60)
        if pool not in self._pools and len(self._pools) >= self._limits.pools:
            raise OverloadedError(f"limits.pools: {self._limits.pools} pools are known already", retry_after=60)

    def _keep(self, agent: Agent) -> None:
        before = self._agents.get(agent.agent_id)
        if before is not None and before.pool_id != agent.pool_id:
            self._leave_pool(before)
        self._agents[agent.agent_id] = agent
        self._agents.move_to_end(agent.agent_id)
        self._pools.setdefault(agent.pool_id, set()).add(agent.agent_id)
        if agent.replica:  # the replica that heard it saves it
            self._unsaved.discard(agent.agent_id)
            if before is not None and not before.replica:
                self._forgotten.add(agent.agent_id)
        else:
            self._note(agent)
            self._forgotten.discard(agent.agent_id)
        self._deadlines.set(agent.agent_id, self._deadline(agent))
        self._show(agent)

    def _note(self, agent: Agent) -> None:
        """Notes that an agent heard here changed: to be saved, and told to the other replicas."""
        self._unsaved.add(agent.agent_id)
        if self._shows is not None:
            self._news.add(agent.agent_id)

    def _fall_silent(self, agent: Agent) -> Change:
        silent = replace(agent, silent=True)
        self._agents[agent.agent_id] = silent  # keeps its place in the order of silence
        if not agent.replica:
            self._note(silent)
        self._deadlines.set(agent.agent_id, self._deadline(silent))
        self._show(silent)
        return Change(silent, offline=True)

    def _forget(self, agent: Agent) -> None:
        del self._agents[agent.agent_id]
        self._leave_pool(agent)
        self._unsaved.discard(agent.agent_id)
        self._news.discard(agent.agent_id)
        self._forgotten.add(agent.agent_id)
        self._deadlines.discard(agent.agent_id)
        self._series.remove(agent.agent_id)

    def _leave_pool(self, agent: Agent) -> None:
        members = self._pools[agent.pool_id]
        members.discard(agent.agent_id)
        if not members:
            del self._pools[agent.pool_id]

    def _show(self, agent: Agent) -> None:
        """Renders the agent's series. What a silent agent last measured is no longer so, and is left out."""
        if self._shows is not None and not self._shows(agent):
            self._series.remove(agent.agent_id)
            return
        sample = AgentSample(
            up=float(agent.up),
            cpu=agent.cpu_usage / 100 if agent.up else None,
            memory=agent.memory_usage / 100 if agent.up else None,
            tasks=float(len(agent.running_tasks)) if agent.up else None,
            seen=agent.seen,
        )
        status = SILENT if agent.silent else self.status_label(agent.status)
        self._series.set(agent.pool_id, agent.agent_id, status, sample)

    def _deadline(self, agent: Agent) -> float:
        """Until when nothing happens to the agent unless it is heard."""
        if agent.up:
            return max(agent.seen, self._listening_since or agent.seen) + self._silence
        if agent.status == OFFLINE:
            return agent.seen + self._settings.forget_offline_after_seconds
        return agent.seen + self._settings.forget_after_seconds


def _state(agent: Agent) -> AgentState:
    return AgentState(agent.agent_id, agent.seen, orjson.dumps(agent).decode())
