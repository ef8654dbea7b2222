"""Per-agent series: each agent's lines are rendered when its heartbeat arrives, so that a scrape only joins bytes.

Gauges read the same in both text formats. Agents past the cap get no series of their own; the exact count by pool
and status (`agents`) still has them.
"""

from collections.abc import Iterable
from typing import NamedTuple

from fleetpulse import catalogue
from fleetpulse.series.text import header, labelled, number

GAUGES = (
    catalogue.AGENT_UP,
    catalogue.AGENT_CPU,
    catalogue.AGENT_MEMORY,
    catalogue.AGENT_TASKS,
    catalogue.AGENT_SEEN,
)
POOL_LABELS = ("pool_id", "agent_id")


class AgentSample(NamedTuple):
    """What one agent shows at a scrape; ratios are 0-1, None leaves the series out."""

    up: float
    cpu: float | None
    memory: float | None
    tasks: float | None
    seen: float


class AgentSeries:
    """The rendered lines of every agent that has series."""

    def __init__(self, cap: int) -> None:
        self._cap = cap
        self._lines: tuple[dict[str, bytes], ...] = tuple({} for _ in GAUGES)
        self._status: dict[str, bytes] = {}
        self._agents: dict[tuple[str, str], int] = {}
        self._where: dict[str, tuple[str, str]] = {}

    def set(self, pool_id: str, agent_id: str, status: str, sample: AgentSample) -> None:
        """Renders an agent's lines; past the cap it is counted only."""
        self._recount(agent_id, (pool_id, status))
        if agent_id not in self._status and len(self._status) >= self._cap:
            return
        block = labelled(POOL_LABELS, (pool_id, agent_id))
        for gauge, lines, value in zip(GAUGES, self._lines, sample, strict=True):
            if value is None:
                lines.pop(agent_id, None)
            else:
                lines[agent_id] = f"{gauge.name}{block} {number(value)}\n".encode()
        block = labelled((*POOL_LABELS, "status"), (pool_id, agent_id, status))
        self._status[agent_id] = f"{catalogue.AGENT_STATUS.name}{block} 1.0\n".encode()

    def remove(self, agent_id: str) -> None:
        """Forgets an agent's series."""
        for lines in self._lines:
            lines.pop(agent_id, None)
        self._status.pop(agent_id, None)
        self._recount(agent_id, None)

    def render(self, *, openmetrics: bool) -> Iterable[bytes]:
        """The exposition of every agent."""
        for gauge, lines in zip((*GAUGES, catalogue.AGENT_STATUS), (*self._lines, self._status), strict=True):
            if lines:
                yield header(gauge, openmetrics=openmetrics).encode()
                yield b"".join(lines.values())
        if self._agents:
            counts = (
                f"{catalogue.AGENTS.name}{labelled(catalogue.AGENTS.labels, labels)} {count}.0\n"
                for labels, count in self._agents.items()
            )
            yield (header(catalogue.AGENTS, openmetrics=openmetrics) + "".join(counts)).encode()
        yield header(catalogue.AGENTS_OVER_LIMIT, openmetrics=openmetrics).encode()
        yield f"{catalogue.AGENTS_OVER_LIMIT.name} {len(self._where) - len(self._status)}.0\n".encode()

    def _recount(self, agent_id: str, now: tuple[str, str] | None) -> None:
        before = self._where.get(agent_id)
        if before == now:
            return
        if before is not None:
            self._agents[before] -= 1
            if not self._agents[before]:
                del self._agents[before]
            del self._where[agent_id]
        if now is not None:
            self._agents[now] = self._agents.get(now, 0) + 1
            self._where[agent_id] = now
