"""A small real receiver that answers like the exporter, for tests of what sends to it.

It keeps what it takes, knows duplicates by `request_id`, and can be told to fail in the ways a network and a busy
server do.
"""

import asyncio
import time
from collections import deque
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web

Fault = str
BUSY = "busy"  # 503 with Retry-After: 0, nothing kept
BROKEN = "broken"  # 500, nothing kept
LOST = "lost"  # everything kept, then the connection breaks before the answer
LARGEST_BODY = 32 * 2**20


class Receiver:
    """Listens on a free loopback port while used in `async with`; `faults` are applied to the next posts."""

    def __init__(self, *, status: int | None = None, largest_batch: int = 10_000) -> None:
        self.stored: dict[str, dict[str, Any]] = {}
        self.beats: list[dict[str, Any]] = []
        self.batches: list[tuple[float, int]] = []
        self.faults: deque[Fault] = deque()
        self.headers: dict[str, str] = {}
        self.in_flight = self.most_in_flight = 0
        self.delay = 0.0
        self.port = 0
        self._status = status
        self._largest_batch = largest_batch
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def total(self, field: str) -> float:
        """The sum of a field over everything stored."""
        return sum(item.get(field) or 0 for item in self.stored.values())

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.leave()

    async def listen(self) -> None:
        """Starts, on the same port as before if there was one."""
        app = web.Application(client_max_size=LARGEST_BODY)
        app.add_routes(
            [
                web.post("/api/log-request", self._log_request),
                web.post("/api/v1/agents/ping", self._ping_many),
                web.post("/api/v1/agents/{agent_id}/ping", self._ping),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def leave(self) -> None:
        """Stops listening; what was stored stays, as it does in a journal."""
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def _log_request(self, request: web.Request) -> web.StreamResponse:
        self.headers = dict(request.headers)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            items = orjson.loads(await request.read())
            await asyncio.sleep(self.delay)
            return self._answer(request, items)
        finally:
            self.in_flight -= 1

    def _answer(self, request: web.Request, items: list[dict[str, Any]]) -> web.StreamResponse:
        if self._status:
            return problem(self._status, "as the test wants")
        if len(items) > self._largest_batch:
            return problem(413, f"a batch holds at most {self._largest_batch} items")
        fault = self.faults.popleft() if self.faults else None
        if fault == BUSY:
            return problem(503, "the queue is full", {"Retry-After": "0"})
        if fault == BROKEN:
            return problem(500, "broken")
        self.batches.append((time.monotonic(), len(items)))
        answer = self._store(items)
        if fault == LOST and request.transport:
            request.transport.abort()
        return web.json_response(answer, status=202)

    def _store(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        accepted = duplicates = 0
        rejected = []
        for index, item in enumerate(items):
            if not isinstance(item.get("execution_time"), (int, float)):
                rejected.append({"index": index, "errors": [{"loc": ["execution_time"], "msg": "not a number"}]})
            elif item["request_id"] in self.stored:
                duplicates += 1
            else:
                accepted += 1
                self.stored[item["request_id"]] = item
        return {"accepted": accepted, "duplicates": duplicates, "rejected": rejected}

    async def _ping(self, request: web.Request) -> web.StreamResponse:
        return self._beat([{"agent_id": request.match_info["agent_id"], **orjson.loads(await request.read())}])

    async def _ping_many(self, request: web.Request) -> web.StreamResponse:
        return self._beat(orjson.loads(await request.read()))

    def _beat(self, beats: list[dict[str, Any]]) -> web.StreamResponse:
        if self._status:
            return problem(self._status, "as the test wants")
        self.beats.extend(beats)
        return web.json_response({"accepted": len(beats), "rejected": []}, status=202)


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    """A problem document."""
    body = {"type": "about:blank", "title": "problem", "status": status, "detail": detail}
    return web.json_response(body, status=status, headers=headers)
