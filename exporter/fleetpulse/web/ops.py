"""What operators and machines look at: `/metrics`, health and readiness."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Iterable
from typing import Literal

from aiohttp import web
from typing_extensions import TypedDict

import fleetpulse
from fleetpulse import catalogue
from fleetpulse.auth import Role
from fleetpulse.instruments import Instruments
from fleetpulse.journal import Journal
from fleetpulse.series.exposition import Exposition
from fleetpulse.series.text import OPENMETRICS
from fleetpulse.web.answers import json_answer
from fleetpulse.web.guard import public, requires
from fleetpulse.web.operations import TEXT, Answer, operation

GZIP_LEVEL = 1  # Prometheus is near: speed over size
GZIP_MIN_BYTES = 1_024
LAG_INTERVAL_SECONDS = 0.05


class JournalHealth(TypedDict):
    """Whether the journal can be written, and its size on disk."""

    writable: bool
    bytes: int


class Health(TypedDict):
    """The exporter's state; degraded while the journal cannot be written."""

    status: Literal["ok", "degraded"]
    version: str
    uptime_seconds: float
    ready: bool
    journal: JournalHealth


class LoopLag:
    """Measures how late the event loop runs; the worst since the last scrape is what `/metrics` shows."""

    def __init__(self, instruments: Instruments) -> None:
        self._worst = 0.0
        instruments.gauge(catalogue.LOOP_LAG).set_function(self._take)

    async def run(self) -> None:
        """Measures until cancelled."""
        while True:
            due = time.monotonic() + LAG_INTERVAL_SECONDS
            await asyncio.sleep(LAG_INTERVAL_SECONDS)
            self._worst = max(self._worst, time.monotonic() - due)

    def _take(self) -> float:
        worst, self._worst = self._worst, 0.0
        return worst


async def _in_steps(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Gives every part in turn, with a turn of the event loop between two."""
    for part in parts:
        yield part
        await asyncio.sleep(0)


class OpsEndpoints:
    """Health and metrics. `ready` turns true once the journal is restored, false while draining."""

    def __init__(self, exposition: Exposition, journal: Journal) -> None:
        self._exposition = exposition
        self._journal = journal
        self._started = time.time()
        self.ready = False

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        return [
            web.get("/metrics", self.metrics),
            web.get("/health", self.health),
            web.get("/-/healthy", self.healthy),
            web.get("/-/ready", self.readiness),
        ]

    @requires(Role.VIEWER)
    @operation("Operations", media=(TEXT, OPENMETRICS))
    async def metrics(self, request: web.Request) -> web.Response:
        """Every series, for Prometheus.

        The text format 0.0.4, or OpenMetrics 1.0 with exemplars where that is accepted; compressed where gzip is.
        """
        # put together in steps between other work; compressed in another thread
        parts, content_type = self._exposition.parts(request.headers.get("Accept", ""))
        body = b"".join([part async for part in _in_steps(parts)])
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        if len(body) >= GZIP_MIN_BYTES and "gzip" in request.headers.get("Accept-Encoding", ""):
            body = await asyncio.to_thread(gzip.compress, body, GZIP_LEVEL)
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=body, headers=headers)

    @public
    @operation("Operations", answer=Health)
    async def health(self, _request: web.Request) -> web.Response:
        """The state in words.

        200 even when degraded (the journal cannot be written): restarting would not help, `/metrics` still works.
        """
        writable = self._journal.writable
        return json_answer(
            {
                "status": "ok" if writable else "degraded",
                "version": fleetpulse.__version__,
                "uptime_seconds": round(time.time() - self._started, 1),
                "ready": self.ready,
                "journal": {"writable": writable, "bytes": self._journal.file_bytes()},
            }
        )

    @public
    @operation("Operations", media=(TEXT,))
    async def healthy(self, _request: web.Request) -> web.Response:
        """Whether the process answers."""
        return web.Response(text="Fleetpulse is healthy.\n")

    @public
    @operation("Operations", media=(TEXT,), answers={503: Answer("Starting or draining.", media=(TEXT,))})
    async def readiness(self, _request: web.Request) -> web.Response:
        """Whether traffic is welcome."""
        if self.ready:
            return web.Response(text="Fleetpulse is ready.\n")
        return web.Response(status=503, text="Fleetpulse is starting or draining.\n", headers={"Retry-After": "1"})
