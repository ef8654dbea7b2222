"""Connections carried to a port, for tests that cut them on the way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *ports: int) -> None:
    """Carries one connection to the first port that takes it, until either end closes it."""
    writers = [writer]
    try:
        for port in ports:
            with suppress(OSError):
                back, forth = await asyncio.open_connection("127.0.0.1", port)
                writers.append(forth)
                await asyncio.gather(_pump(reader, forth), _pump(back, writer))
                break
    finally:
        for each in writers:
            each.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


class Line:
    """A way to a port; its connections end without a word when it is cut: `open` are there, `cuts` were."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self.cuts = 0
        self._target = target
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def open(self) -> int:
        """Connections now."""
        return len(self._tasks)

    def cut(self) -> None:
        """Cuts whoever is connected."""
        self.cuts += self.open
        for task in self._tasks:
            task.cancel()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("served outside of any task")
        self._tasks.add(task)
        try:
            with suppress(asyncio.CancelledError):
                await carry(reader, writer, self._target)
        finally:
            self._tasks.discard(task)


@asynccontextmanager
async def a_line(target: int) -> AsyncIterator[Line]:
    """A line while the context lasts."""
    line = Line(target)
    server = await asyncio.start_server(line.serve, "127.0.0.1", 0)
    line.port = server.sockets[0].getsockname()[1]
    try:
        yield line
    finally:
        server.close()
        line.cut()
        await asyncio.sleep(0.05)  # aborted transports say goodbye
