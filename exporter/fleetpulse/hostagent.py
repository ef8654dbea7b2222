"""The host agent: reports this machine's CPU and memory as an agent's heartbeats.

Promises: it outlives any absence of the exporter (says so once, and once more when it is back) and reports
`offline` when it is stopped. Refuses: to queue old heartbeats; only the newest is worth sending.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

import psutil

from fleetpulse.errors import UpstreamError
from fleetpulse.sender import Sender

FIRST_SAMPLE_SECONDS = 0.5


@dataclass(frozen=True)
class Usage:
    """Load of a machine, in percent 0-100."""

    cpu_usage: float
    memory_usage: float


def read_usage() -> Usage:
    """CPU use since the last call (0.0 on the first) and memory in use now."""
    return Usage(psutil.cpu_percent(interval=None), psutil.virtual_memory().percent)


@dataclass
class HostAgent:
    """One agent that stands for this host. `say` hears, for people, when the exporter goes away or returns."""

    sender: Sender
    agent_id: str
    pool_id: str | None = None
    interval: float = 10.0
    say: Callable[[str], None] = print
    read: Callable[[], Usage] = read_usage
    away: bool = False

    async def once(self) -> Usage:
        """Measures for a moment and sends one heartbeat; raises what the sender raises."""
        self.read()
        await asyncio.sleep(FIRST_SAMPLE_SECONDS)
        usage = self.read()
        await self._send("online", usage)
        return usage

    async def run(self, stop: asyncio.Event) -> None:
        """Sends a heartbeat every interval until `stop`, then says goodbye.

        Raises UnauthenticatedError and the like: a wrong credential does not become right by waiting.
        """
        self.read()
        pause = min(FIRST_SAMPLE_SECONDS, self.interval)
        while not await _stopped_within(stop, pause):
            began = time.monotonic()
            await self._beat("online")
            pause = max(0.0, self.interval - (time.monotonic() - began))
        await self._beat("offline")

    async def _beat(self, status: str) -> None:
        try:
            await self._send(status, self.read())
        except UpstreamError as error:
            if not self.away:
                self.say(f"{error}; still trying every {self.interval:g} s")
            self.away = True
        else:
            if self.away:
                self.say("the exporter is back")
            self.away = False

    async def _send(self, status: str, usage: Usage) -> None:
        beat: dict[str, Any] = {"status": status, "running_tasks": [], "agent_name": self.agent_id, **asdict(usage)}
        if self.pool_id is not None:
            beat["pool_id"] = self.pool_id
        await self.sender.post(f"/api/v1/agents/{quote(self.agent_id, safe='')}/ping", beat)


async def _stopped_within(stop: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return False
    return True
