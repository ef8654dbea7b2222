"""What the services beside the exporter are doing, for a page that must not wait for them.

Promises: whoever asks is answered within `PATIENCE_SECONDS` with the newest that is known; however many ask, each
service is asked once in `FRESH_SECONDS` at most, all at the same time; and a probe never fails, it says `down`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Generic, Literal, TypeVar

import aiohttp

PROBE_SECONDS = 1.0
FRESH_SECONDS = 4.0
PATIENCE_SECONDS = 0.25
SERVICE_UNAVAILABLE = 503
SERVER_ERROR = 500
State = Literal["up", "starting", "down", "checking"]
T = TypeVar("T")


class Recent(Generic[T]):
    """The newest result of something slow. `ask` must end by itself and not raise; `first` holds until it has."""

    def __init__(
        self, ask: Callable[[], Awaitable[T]], first: T, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._newest = first
        self._clock = clock
        self._asked_at: float | None = None
        self._asking: asyncio.Task[None] | None = None

    async def value(self) -> T:
        """What is known, after a moment's wait for what is being found out."""
        if self._asking is None and (self._asked_at is None or self._clock() - self._asked_at >= FRESH_SECONDS):
            self._asked_at = self._clock()
            self._asking = asyncio.create_task(self._find_out())
        if self._asking is not None:
            await asyncio.wait({self._asking}, timeout=PATIENCE_SECONDS)
        return self._newest

    async def close(self) -> None:
        """Ends what is under way."""
        if self._asking is not None:
            self._asking.cancel()
            with suppress(asyncio.CancelledError):
                await self._asking

    async def _find_out(self) -> None:
        try:
            self._newest = await self._ask()
        finally:
            self._asking = None


class Probes:
    """Asks services for their health; `addresses` are those of their health checks, by name."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self._addresses = dict(addresses)
        self._session: aiohttp.ClientSession | None = None
        first: dict[str, State] = dict.fromkeys(addresses, "checking")
        self._states = Recent(self._probe_all, first)

    async def states(self) -> dict[str, State]:
        """What each service is doing."""
        return await self._states.value()

    async def close(self) -> None:
        """Ends what is under way and closes the connections."""
        await self._states.close()
        if self._session is not None:
            await self._session.close()

    async def _probe_all(self) -> dict[str, State]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PROBE_SECONDS))
        session = self._session
        found = await asyncio.gather(*(_probe(session, address) for address in self._addresses.values()))
        return dict(zip(self._addresses, found, strict=True))


async def _probe(session: aiohttp.ClientSession, address: str) -> State:
    """Up is whatever answers, and be it with a demand for credentials; 503 is how Prometheus starts."""
    try:
        async with session.get(address, allow_redirects=False) as response:
            if response.status == SERVICE_UNAVAILABLE:
                return "starting"
            return "up" if response.status < SERVER_ERROR else "down"
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return "down"
