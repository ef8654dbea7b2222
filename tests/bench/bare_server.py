"""The baseline of `ingest_singles.py`: a bare aiohttp handler that validates a request log and keeps nothing."""

import asyncio
import sys

import uvloop
from aiohttp import web
from pydantic import TypeAdapter

from fleetpulse.signals import RequestLog

LOG = TypeAdapter(RequestLog)
ANSWER = b'{"accepted":1,"duplicates":0,"rejected":[]}'


async def log_request(request: web.Request) -> web.Response:
    """Validates, and forgets."""
    LOG.validate_json(await request.read())
    return web.Response(body=ANSWER, status=202, content_type="application/json")


async def ready(_request: web.Request) -> web.Response:
    """Says that the server is up."""
    return web.Response()


async def serve(port: int) -> None:
    """Serves until terminated."""
    app = web.Application()
    app.add_routes([web.post("/api/log-request", log_request), web.get("/-/ready", ready)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


uvloop.run(serve(int(sys.argv[1])))
