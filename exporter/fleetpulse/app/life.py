"""The exporter's life: in which order its parts start, and in which order they stop.

Start: read the journal, restore series and agents, serve, then be ready. Stop (SIGTERM, SIGINT): be unready, close
sockets, finish requests under way, save agents, write what is queued, close the journal.
"""

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence

import uvloop
from aiohttp import web

from fleetpulse.app import garbage
from fleetpulse.app.parts import Parts, build
from fleetpulse.auth import ensure_safe
from fleetpulse.cluster.resting import end
from fleetpulse.config import Settings, notes
from fleetpulse.errors import ConfigError
from fleetpulse.journal import REQUESTS, Row, Table
from fleetpulse.web.logs import configure_logging
from fleetpulse.web.ops import LoopLag

DRAIN_SECONDS = 3.0  # for requests whose body is still arriving
SHUTDOWN_SECONDS = 5.0
LINE_BYTES = 65_536  # of a request: a thousand percent-encoded Chinese characters are 9 kB, above aiohttp's 8,190
SWITCH_SECONDS = 0.0003  # the journal's writer gets the interpreter sooner than by default: shorter commits
log = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT. Raises ConfigError for what cannot work."""
    configure_logging(settings)
    ensure_safe(settings)
    for note in notes():
        log.info("configuration: %s", note)
    sys.setswitchinterval(SWITCH_SECONDS)
    uvloop.run(serve(settings))


async def serve(settings: Settings, on_ready: Callable[[str], Awaitable[None]] | None = None) -> None:
    """Runs the exporter on this loop until it is told to stop by a signal; `on_ready` gets its address."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    parts = build(settings)
    runner = web.AppRunner(
        parts.door.web,
        access_log=None,
        shutdown_timeout=SHUTDOWN_SECONDS,
        auto_decompress=False,  # web/body.py decompresses, with a bound of its own
        max_line_size=LINE_BYTES,
    )
    garbage.begin()
    background = await start(parts, runner)
    try:
        await parts.plugins.start()
        address = await _listen(runner, settings)
        parts.door.ops.ready = True
        log.info("serving %s, journal %s", address, settings.journal_path)
        if on_ready is not None:
            await on_ready(address)
        await stop.wait()
    finally:
        await shut_down(parts, runner, background)
        gc.unfreeze()  # or what is left in cycles is never freed, and extension modules complain of leaks


async def _listen(runner: web.AppRunner, settings: Settings) -> str:
    """Opens the port; returns the address that answers."""
    site = web.TCPSite(runner, settings.host, settings.port, backlog=1_024)
    try:
        await site.start()
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}; FLEETPULSE_HOST and "
            "FLEETPULSE_PORT choose another address"
        ) from error
    host, port = runner.addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in str(host) else f"http://{host}:{port}"


async def start(parts: Parts, runner: web.AppRunner) -> list[asyncio.Task[None]]:
    """Starts the parts in order; returns the background tasks that `shut_down` ends."""
    core = parts.core
    known = core.journal.newest_id(REQUESTS)
    core.journal.start(lambda table, rows, first: _stored(parts, table, rows, first))
    core.events.start()
    await core.pipeline.settle_budgets()
    await parts.outlets.start()
    core.pipeline.start()
    await core.hub.start()
    await runner.setup()
    lag = LoopLag(core.instruments)
    work = (lag.run(), core.users.restore(core.journal, known), *(part.run() for part in parts.background))
    parts.tap.start()
    return [asyncio.create_task(each) for each in work]


def _stored(parts: Parts, table: Table, rows: Sequence[Row], first: int) -> None:
    """Tells whoever follows what has just become durable; the rows' ids run from `first`."""
    core = parts.core
    core.pipeline.stored(table, rows, first)
    core.users.stored(table, rows)
    parts.tap.stored(table, rows)
    parts.notifications.stored(table, rows)
    core.ledger.stored(table, rows, first)
    if parts.cluster is not None:
        parts.cluster.stored(table, rows, first)
    core.chat.stored(table, rows, first)


async def shut_down(parts: Parts, runner: web.AppRunner, background: list[asyncio.Task[None]]) -> None:
    """Stops the parts in order, losing nothing that was acknowledged."""
    core = parts.core
    parts.door.ops.ready = False
    await parts.tap.stop()
    await end(background, SHUTDOWN_SECONDS)
    await asyncio.gather(parts.door.entry.drain(DRAIN_SECONDS), core.hub.stop())
    await parts.plugins.stop()
    await runner.cleanup()
    for upstream in parts.upstreams:
        await upstream.close()
    await core.chat.stop()
    await core.pipeline.drain()
    await core.events.stop()
    await parts.outlets.stop()
    await core.journal.stop()
    log.info("stopped")
