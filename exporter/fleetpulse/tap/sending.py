"""What a stream sends: on connecting, at intervals, and pings to a server that is quiet.

Promises: messages on connecting go out in order, before all others; what cannot be made (a file is not there, a
name is unknown) ends the connection and is told of, as a server that was not logged in to says nothing.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import aiohttp

from fleetpulse.config.tap import Message, Regular, Source
from fleetpulse.errors import ConfigError, UpstreamError
from fleetpulse.tap.connection import Connection
from fleetpulse.tap.endings import Ending
from fleetpulse.tap.presets import greetings
from fleetpulse.tap.secrecy import Secrecy

SEND_SECONDS = 10.0
OVERSLEPT_SECONDS = 2.0


class Sending:
    """Sends over one connection, while `run` runs."""

    def __init__(
        self, source: Source, connection: Connection, secrecy: Secrecy, timer: Callable[[], float]
    ) -> None:
        self._source = source
        self._connection = connection
        self._secrecy = secrecy
        self._timer = timer

    async def send(self, message: Message) -> None:
        """Sends one message. Raises UpstreamError where the connection does not take it, ConfigError, OSError."""
        content = await asyncio.to_thread(self._secrecy.content, message)
        socket = self._connection.socket
        try:
            async with asyncio.timeout(SEND_SECONDS):
                if message.binary:
                    await socket.send_bytes(content)
                else:
                    await socket.send_str(content.decode())
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise UpstreamError(f"stream {self._source.name}", "the connection takes no message") from error

    async def run(self) -> None:
        """Sends what is to be sent, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._send_all(group))

    async def _send_all(self, group: asyncio.TaskGroup) -> None:
        for message in (*greetings(self._source), *self._source.on_connect):
            await self._try(message)
        for regular in self._source.regularly:
            group.create_task(self._repeat(regular))

    async def _repeat(self, regular: Regular) -> None:
        while True:
            await asyncio.sleep(regular.every_seconds)
            await self._try(regular)

    async def _try(self, message: Message) -> None:
        try:
            await self.send(message)
        except UpstreamError:
            self._connection.give_up(Ending("lost", "the server takes no messages"))
        except (ConfigError, OSError, ValueError) as error:
            why = self._secrecy.hide(f"a message cannot be made: {error}")
            self._connection.give_up(Ending("configuration", why, fatal=isinstance(error, ConfigError)))

    async def _watch(self) -> None:
        """Pings a quiet server, and gives up one that is silent."""
        every = min(self._source.ping_seconds, self._source.dead_seconds / 2)
        pinged = self._timer() - every
        while True:
            silent = await self._silence(min(1.0, every / 4))
            if silent >= self._source.dead_seconds:
                return self._connection.give_up(Ending("silent", f"no sign of life for {silent:.1f} s"))
            if silent >= every and self._timer() - pinged >= every:
                pinged = self._timer()
                await self._ping(every)

    async def _silence(self, step: float) -> float:
        """Seconds without a sign of life, after one step. While nobody listens, nobody can be heard."""
        connection, before = self._connection, self._timer()
        await asyncio.sleep(step)
        if connection.paused or self._timer() - before > step + OVERSLEPT_SECONDS:  # this machine slept
            connection.heard = self._timer()
        return self._timer() - connection.heard

    async def _ping(self, seconds: float) -> None:
        """A ping that a full buffer swallows is no reason to stop watching."""
        with suppress(aiohttp.ClientError, OSError):
            async with asyncio.timeout(seconds):
                await self._connection.socket.ping()
