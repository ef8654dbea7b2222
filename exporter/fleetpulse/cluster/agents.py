"""Agents' state over all replicas: every replica knows every agent, and one of them shows its series.

A heartbeat is told to the others within a fraction of a second, the newest of each agent only; the newest by
`received_at` wins everywhere (replicas' clocks are taken to be in step). Who joins is told everything.

Each agent has one *home* among the replicas that are there, the same for whoever works it out (rendezvous hashing:
Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous", 1996). Only the home shows the agent's series,
wherever its heartbeats arrive: behind a balancer they arrive at another replica each time, and series that moved
with them would be counted twice at one scrape and not at all at the next. While Redis is away each replica shows
the agents that it heard last itself.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from fleetpulse.cluster.bus import RedisBus
from fleetpulse.cluster.peers import Peer, Peers
from fleetpulse.fleet import Agent, Change, Fleet

STATES = "agents.states"
TELL_SECONDS = 0.15
BATCH_AGENTS = 100
MOST_AGENTS = 1_000  # of one message; more than any version sends
STEP_AGENTS = 250  # agents shown anew before others get their turn
CROWDED_SECONDS = 0.1
_STATE = TypeAdapter(Agent)


class AgentRelay:
    """Shares the fleet with the other replicas; a `peers.Watcher`. `tell` publishes what came from them."""

    def __init__(
        self,
        bus: RedisBus,
        peers: Peers,
        fleet: Fleet,
        tell: Callable[[Sequence[Change]], None],
        epoch: str,
    ) -> None:
        self._bus = bus
        self._fleet = fleet
        self._tell = tell
        self._epoch = epoch
        self._there: tuple[str, ...] | None = None
        self._peers = peers
        self._newcomers: dict[str, None] = {}
        self._moved = asyncio.Event()
        fleet.share(self._shows)
        bus.on(STATES, self._heard)
        bus.watch(self._redis)
        peers.watch(self)

    async def run(self) -> None:
        """Tells of agents, until cancelled."""
        await asyncio.gather(self._tell_news(), self._tell_newcomers(), self._show_again())

    # A peers.Watcher -----------------------------------------------------------------------------------------
    def joined(self, peer: Peer) -> None:
        """Will be told everything; and some agents' home is there now."""
        self._newcomers[peer.run_id] = None
        self._count()

    def announced(self, peer: Peer) -> None:
        """Nothing new."""

    def left(self, peer: Peer) -> None:
        """Its agents find another home."""
        self._newcomers.pop(peer.run_id, None)
        self._count()

    def _redis(self, *, connected: bool) -> None:
        if connected:
            self._newcomers.update(dict.fromkeys(peer.run_id for peer in self._peers.all()))
        self._count()

    # Homes ---------------------------------------------------------------------------------------------------
    def _count(self) -> None:
        """Notes who is there; None while that cannot be known."""
        there = None
        if self._bus.connection is not None:
            there = (self._epoch, *sorted(peer.epoch for peer in self._peers.all()))
        if there != self._there:
            self._there = there
            self._moved.set()

    def _shows(self, agent: Agent) -> bool:
        if self._there is None:
            return not agent.replica
        if len(self._there) == 1:
            return True
        return self._epoch == max(self._there, key=lambda epoch: _weight(epoch, agent.agent_id))

    async def _show_again(self) -> None:
        """Shows the series of those whose home is here now, and no longer those of the others."""
        while True:
            await self._moved.wait()
            self._moved.clear()
            ids = [agent.agent_id for agent in self._fleet.everyone()]
            for start in range(0, len(ids), STEP_AGENTS):
                self._fleet.show_again(ids[start : start + STEP_AGENTS])
                await asyncio.sleep(0)

    # Telling -------------------------------------------------------------------------------------------------
    async def _tell_news(self) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            while agents := self._fleet.take_news(BATCH_AGENTS):
                if self._bus.connection is not None and self._peers.all():
                    self._bus.send(STATES, self._packed(agents))
                await asyncio.sleep(0)

    async def _tell_newcomers(self) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            while self._newcomers:
                run_id = next(iter(self._newcomers))
                del self._newcomers[run_id]
                await self._tell_all(run_id)

    async def _tell_all(self, run_id: str) -> None:
        agents = self._fleet.everyone()
        for start in range(0, len(agents), BATCH_AGENTS):
            while self._bus.connection is not None and self._bus.crowded:  # noqa: ASYNC110 - it drains, or Redis goes
                await asyncio.sleep(CROWDED_SECONDS)
            self._bus.send_to(run_id, STATES, self._packed(agents[start : start + BATCH_AGENTS]))
            await asyncio.sleep(0)

    def _packed(self, agents: Sequence[Agent]) -> dict[str, Any]:
        return {"epoch": self._epoch, "agents": [orjson.Fragment(orjson.dumps(agent)) for agent in agents]}

    def _heard(self, payload: Mapping[str, Any]) -> None:
        """An agent whose `replica` is empty was heard by the sender."""
        sender = str(payload["epoch"])
        changes: list[Change] = []
        broken = 0
        for state in payload["agents"][:MOST_AGENTS]:
            try:
                agent = _STATE.validate_python(state)
            except ValidationError:  # of another version
                broken += 1
                continue
            heard_by = agent.replica or sender
            changes += self._fleet.learn(agent, "" if heard_by == self._epoch else heard_by)
        self._tell(changes)
        if broken:
            raise ValueError(f"{broken} of {len(payload['agents'])} agents are none")


def _weight(epoch: str, agent_id: str) -> bytes:
    return blake2b(f"{epoch}/{agent_id}".encode(), digest_size=8).digest()
