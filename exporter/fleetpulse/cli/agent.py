"""`fleetpulse agent`: this host's load as heartbeats."""

import asyncio
import socket
from typing import Annotated

import typer
from rich.console import Console

from fleetpulse.cli import options
from fleetpulse.hostagent import HostAgent
from fleetpulse.sender import Credentials, Sender

AgentId = Annotated[str | None, typer.Argument(help="Name of this agent. Default: the host name")]
Interval = Annotated[float, typer.Option(min=0.5, max=3_600, help="Seconds between heartbeats.")]
Pool = Annotated[
    str | None, typer.Option(help="Agent pool it belongs to. Default: the app key's pool, else default")
]
Once = Annotated[bool, typer.Option("--once", help="Send one heartbeat and end.")]
ATTEMPT_SECONDS = 10.0


def agent(  # noqa: PLR0913 - one parameter per option
    agent_id: AgentId = None,
    *,
    pool: Pool = None,
    interval: Interval = 10.0,
    once: Once = False,
    url: options.Url = None,
    app_key: options.AppKey = None,
    app_secret: options.AppSecret = None,
    token: options.Token = None,
) -> None:
    """Report this host's CPU and memory as heartbeats.

    Keeps going while the exporter is away, and reports "offline" when it is stopped with Ctrl-C or SIGTERM, so that
    a planned stop raises no alert for a silent agent.

    **Examples**

    - `fleetpulse agent`
    - `fleetpulse agent gpu-box-1 --pool training --interval 5`
    - `fleetpulse agent --once --url http://monitor:8001`
    """
    sender = _sender(options.target(url), options.credentials(app_key, app_secret, token), interval)
    console = Console()
    asyncio.run(_run(HostAgent(sender, agent_id or socket.gethostname(), pool, interval, console.print), once=once))


def _sender(url: str, credentials: Credentials, interval: float) -> Sender:
    """One attempt per heartbeat: the next one is fresher than a repeat."""
    return Sender(url, credentials, patience=0, attempt_seconds=min(ATTEMPT_SECONDS, interval))


async def _run(host: HostAgent, *, once: bool) -> None:
    async with host.sender:
        if once:
            usage = await host.once()
            host.say(f"{host.agent_id}: CPU {usage.cpu_usage:.1f} %, memory {usage.memory_usage:.1f} %: taken")
            return
        stop = options.stop_event()
        host.say(f"Reporting {host.agent_id} to {host.sender.url} every {host.interval:g} s; Ctrl-C stops")
        await host.run(stop)
        host.say("Stopped; the agent is reported as offline.")
