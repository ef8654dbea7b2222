"""Starts the services, waits until each is healthy, watches them, and stops them all.

Promises: when it returns, none of its children runs. It ends because it was asked to (SIGINT, SIGTERM: exit code
0), or because a child died or never became healthy (it says which, shows its last output: exit code 1).
"""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

import aiohttp

from fleetpulse.errors import FleetpulseError
from fleetpulse.stack.children import Child, Service

HEALTH_PAUSE = 0.1
HEALTH_SECONDS = 300.0  # Prometheus may have a long log to read back
TOKEN_SECONDS = 1.0


class Screen(Protocol):
    """What people see; `screen.py` has the one for terminals."""

    def starting(self, waiting: Sequence[str]) -> None:
        """These services are not healthy yet."""

    def running(self) -> None:
        """All are healthy."""

    def stopping(self, name: str) -> None:
        """This service is asked to stop."""

    def stopped(self) -> None:
        """All have stopped."""

    def failed(self, what: str, tail: str, log: str) -> None:
        """Something ended that should not have; its last output, and where the rest is."""


class Launcher:
    """Runs services once; `refresh` is called every second while they run (it keeps the token file fitting)."""

    def __init__(self, services: Sequence[Service], screen: Screen, refresh: Callable[[], None]) -> None:
        self._children = [Child(service) for service in services]
        self._screen = screen
        self._refresh = refresh
        self._stop = asyncio.Event()
        self._failed = False

    async def run(self) -> int:
        """Until asked to stop or a child dies; returns the exit code."""
        self._listen_to_signals()
        try:
            for child in self._children:
                if not await self._start(child):
                    return 1
            if await self._meanwhile(self._all_healthy()):
                self._screen.running()
                await self._meanwhile(self._keep_fresh())
        finally:
            await self._stop_all()
        return 1 if self._failed else 0

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._asked_to_stop)

    def _asked_to_stop(self) -> None:
        """The first time: an orderly stop. The second: at once."""
        if self._stop.is_set():
            for child in self._children:
                child.kill()
        self._stop.set()

    async def _start(self, child: Child) -> bool:
        try:
            await child.start()
        except OSError as error:
            self._fail(child, f"{child.service.name} cannot be started: {error}")
            return False
        return True

    async def _meanwhile(self, work: Coroutine[Any, Any, bool]) -> bool:
        """The result of `work`, or False as soon as a child dies or the stop is asked for."""
        working = asyncio.create_task(work)
        asked = asyncio.create_task(self._stop.wait())
        deaths = {asyncio.create_task(child.ended()): child for child in self._children}
        try:
            done, _ = await asyncio.wait({working, asked, *deaths}, return_when=asyncio.FIRST_COMPLETED)
            for death in done & deaths.keys():
                if not self._stop.is_set():
                    child = deaths[death]
                    self._fail(child, f"{child.service.name} ended by itself ({_how(death.result())})")
            return working.result() if working in done and not self._failed else False
        finally:
            for task in (working, asked, *deaths):
                task.cancel()
            await asyncio.gather(working, asked, *deaths, return_exceptions=True)

    async def _all_healthy(self) -> bool:
        waiting = {child.service.name: child for child in self._children}
        self._screen.starting(list(waiting))
        try:
            async with asyncio.timeout(HEALTH_SECONDS), _session() as session:
                while waiting:
                    for name, child in list(waiting.items()):
                        if await _healthy(session, child.service.health_url):
                            del waiting[name]
                            self._screen.starting(list(waiting))
                    await asyncio.sleep(HEALTH_PAUSE)
        except TimeoutError:
            name, child = next(iter(waiting.items()))
            self._fail(child, f"{name} was not healthy within {HEALTH_SECONDS:.0f} s")
            return False
        return True

    async def _keep_fresh(self) -> bool:
        """Until cancelled. A refresh that fails is told once and tried again; until then the target is down."""
        told = ""
        while True:
            try:
                self._refresh()
            except FleetpulseError as error:
                if told != str(error):
                    told = str(error)
                    self._screen.failed(told, "", "")
            await asyncio.sleep(TOKEN_SECONDS)

    def _fail(self, child: Child, what: str) -> None:
        self._failed = True
        self._screen.failed(what, child.tail(), str(child.service.log))

    async def _stop_all(self) -> None:
        """Last started, first stopped: nobody asks a service that is gone."""
        for child in reversed(self._children):
            if child.returncode is None and child.pid is not None:
                self._screen.stopping(child.service.name)
            await child.stop()
        self._screen.stopped()


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))


async def _healthy(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.status == 200  # noqa: PLR2004 - HTTP
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


def _how(code: int) -> str:
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
