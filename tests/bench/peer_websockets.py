"""A peer for `live_scale.py`: heartbeats in over aiohttp, out to rooms with `websockets.broadcast`.

It validates nothing and keeps nothing. Prints its port for HTTP and its port for WebSockets, and serves until its
standard input ends.
"""

import asyncio
import json
import sys
from collections import defaultdict

import uvloop
from aiohttp import web
from websockets.asyncio.server import ServerConnection, broadcast, serve

ROOMS: dict[str, set[ServerConnection]] = defaultdict(set)


async def join(connection: ServerConnection) -> None:
    """Listens in the room that the path names."""
    assert connection.request is not None
    room = ROOMS[connection.request.path.partition("?topics=")[2]]
    room.add(connection)
    try:
        await connection.wait_closed()
    finally:
        room.discard(connection)


async def ping(request: web.Request) -> web.Response:
    """Takes a heartbeat and tells its pool's room."""
    beat = json.loads(await request.read())
    room = f"agents/{beat['pool_id']}"
    shown = {"type": "update", "topic": room, "agent_id": request.match_info["agent_id"], **beat}
    broadcast(ROOMS[room], json.dumps(shown, separators=(",", ":")))
    return web.json_response({"accepted": 1}, status=202)


async def log_request(request: web.Request) -> web.Response:
    """Takes a request log and tells everyone who listens to requests."""
    data = json.loads(await request.read())
    shown = {"type": "event", "topic": "requests", "data": data}
    broadcast(ROOMS["requests"], json.dumps(shown, separators=(",", ":")))
    return web.json_response({"accepted": 1}, status=202)


async def main() -> None:
    """Serves."""
    app = web.Application()
    app.add_routes([web.post("/api/v1/agents/{agent_id}/ping", ping), web.post("/api/log-request", log_request)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with serve(join, "127.0.0.1", 0, compression=None, backlog=4_096, ping_interval=None) as sockets:
        port = next(iter(sockets.sockets)).getsockname()[1]
        sys.stdout.write(f"{runner.addresses[0][1]} {port}\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main())
