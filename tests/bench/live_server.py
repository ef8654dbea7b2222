"""The live endpoints alone, or a bare aiohttp WebSocket handler, for the benchmarks of memory and fan-out.

`python live_server.py hub|bare` prints its port and serves until its standard input ends.
"""

import asyncio
import sys
from pathlib import Path

import uvloop
from aiohttp import web

from fleetpulse.auth import Authenticator
from fleetpulse.config import Live, Settings
from fleetpulse.instruments import Instruments
from fleetpulse.live import EVENT, STATE, Hub
from fleetpulse.live.client import Client, Transport
from fleetpulse.live.wires import WEBSOCKET, Wire
from fleetpulse.web.entry import Entry
from fleetpulse.web.guard import Guard
from fleetpulse.web.live import LiveEndpoints


class WatchedHub(Hub):
    """Remembers the transports, which a benchmark writes to without the hub for comparison."""

    def __init__(self, settings: Live, instruments: Instruments) -> None:
        super().__init__(settings, instruments)
        self.transports: list[Transport] = []

    def connect(self, transport: Transport, endpoint: str, wire: Wire = WEBSOCKET) -> Client:
        """As the hub does."""
        self.transports.append(transport)
        return super().connect(transport, endpoint, wire)


def build(settings: Settings) -> tuple[web.Application, WatchedHub]:
    """The live endpoints as the exporter has them."""
    instruments = Instruments()
    hub = WatchedHub(settings.live, instruments)
    hub.declare("agents", STATE, lambda _: [{"agent_id": f"agent-{n}", "status": "busy"} for n in range(10)])
    hub.declare("requests", EVENT)
    hub.declare("alerts", EVENT)
    app = web.Application()
    guard = Guard(Authenticator.from_settings(settings), settings)
    Entry(guard, instruments).install(app, LiveEndpoints(hub, settings, guard).routes())
    return app, hub


def bare() -> web.Application:
    """The least that aiohttp can do: accept, and wait."""

    async def wait(request: web.Request) -> web.StreamResponse:
        feed = web.WebSocketResponse(compress=False)
        await feed.prepare(request)
        async for _ in feed:
            pass
        return feed

    app = web.Application()
    app.add_routes([web.get("/{path:.*}", wait)])
    return app


async def listen(app: web.Application) -> tuple[web.AppRunner, int]:
    """Serves on a free port of loopback."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4_096).start()
    return runner, runner.addresses[0][1]


async def main() -> None:
    """Serves until standard input ends."""
    hub = None
    if sys.argv[1] == "hub":
        app, hub = build(Settings(data_dir=Path("unused")))
        await hub.start()
    else:
        app = bare()
    runner, port = await listen(app)
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    if hub is not None:
        await hub.stop()
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(main())
