"""The collector of `otlp_out.py`: takes every batch of log records, says 204 as Loki does, and keeps nothing."""

import asyncio
import sys

import uvloop
from aiohttp import web


async def take(request: web.Request) -> web.Response:
    """Reads, and forgets."""
    await request.read()
    return web.Response(status=204)


async def ready(_request: web.Request) -> web.Response:
    """Says that the server is up."""
    return web.Response()


async def serve(port: int) -> None:
    """Serves until terminated."""
    app = web.Application(client_max_size=2**26)
    app.add_routes([web.post("/v1/logs", take), web.get("/-/ready", ready)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


uvloop.run(serve(int(sys.argv[1])))
