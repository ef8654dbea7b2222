"""Agent pools as they are now."""

from datetime import datetime
from typing import NotRequired

from aiohttp import web
from typing_extensions import TypedDict

from fleetpulse.auth import Role
from fleetpulse.errors import NotFoundError
from fleetpulse.fleet import Agent, Fleet
from fleetpulse.web.answers import Paged, json_answer, page
from fleetpulse.web.guard import requires
from fleetpulse.web.operations import operation


class Pool(TypedDict):
    """A pool and its counts. Averages are of the agents online, in percent; null where none is."""

    pool_id: str
    agents: int
    online: int
    offline: int
    running_tasks: int
    cpu_usage: float | None
    memory_usage: float | None


class Pools(TypedDict):
    """Pools by name."""

    pools: list[Pool]
    next_cursor: str | None


class RunningTask(TypedDict):
    """One task that an agent works on."""

    task_id: int | str
    task_type: str
    workspace_id: NotRequired[str]
    started_at: NotRequired[datetime]


class AgentState(TypedDict):
    """An agent's newest heartbeat, usage in percent; the status of a silent one is `offline`."""

    agent_id: str
    agent_name: str
    cpu_usage: float
    memory_usage: float
    running_tasks: list[RunningTask]
    last_update_time: datetime
    status: str


class PoolAgents(TypedDict):
    """Agents of one pool by id."""

    pool_id: str
    agents: list[AgentState]
    next_cursor: str | None


class AgentEndpoints:
    """CONTRACT A, the reading half."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        return [
            web.get("/api/v1/agent-pools", self.pools),
            web.get("/api/v1/agent-pools/{pool_id}/agents", self.agents),
        ]

    @requires(Role.VIEWER)
    @operation("Agents", answer=Pools, query=Paged)
    async def pools(self, request: web.Request) -> web.Response:
        """Every pool with its counts, by name."""
        names, cursor = page(request, self._fleet.pools(), str)
        pools = [_summary(name, self._fleet.agents(name)) for name in names]
        return json_answer({"pools": pools, "next_cursor": cursor})

    @requires(Role.VIEWER)
    @operation("Agents", answer=PoolAgents, query=Paged)
    async def agents(self, request: web.Request) -> web.Response:
        """The agents of one pool, by id.

        404 for a pool that nobody reported to.
        """
        pool_id = request.match_info["pool_id"]
        members = self._fleet.agents(pool_id)
        if not members:
            raise NotFoundError(f"no agent of pool {pool_id!r} is known")
        shown, cursor = page(request, members, lambda agent: agent.agent_id)
        agents = [agent.as_json() for agent in shown]
        return json_answer({"pool_id": pool_id, "agents": agents, "next_cursor": cursor})


def _summary(pool_id: str, agents: list[Agent]) -> Pool:
    online = [agent for agent in agents if agent.up]
    return {
        "pool_id": pool_id,
        "agents": len(agents),
        "online": len(online),
        "offline": len(agents) - len(online),
        "running_tasks": sum(len(agent.running_tasks) for agent in online),
        "cpu_usage": _mean([agent.cpu_usage for agent in online]),
        "memory_usage": _mean([agent.memory_usage for agent in online]),
    }


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
