"""Stored requests, the index that follows them and what answers questions about them, all real."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.journal.stand import Stand, at_work, request, until

from fleetpulse.catalogue import Metric
from fleetpulse.config import Search
from fleetpulse.journal import REQUESTS, RequestRow
from fleetpulse.query.filters import REQUEST_LOGS, RequestFilter
from fleetpulse.query.indexer import Indexer, search_indexer
from fleetpulse.query.logs import Logs
from fleetpulse.query.room import ReadingRoom
from fleetpulse.query.text import parse


@dataclass
class Library:
    """A journal, its index and its reader."""

    stand: Stand
    logs: Logs[RequestRow]
    indexer: Indexer[RequestRow] | None
    made: int = 0

    async def store(self, *rows: RequestRow) -> None:
        """Stores rows."""
        await self.stand.journal.store(REQUESTS, rows)

    async def texts(self, *commands: str) -> None:
        """Stores requests with these commands; their ids are r0, r1, ..."""
        first, self.made = self.made, self.made + len(commands)
        await self.store(*(request(f"r{number}", command=text) for number, text in enumerate(commands, first)))

    async def indexed(self) -> None:
        """Waits until the index has come to the newest row."""
        assert self.indexer is not None
        shared = self.indexer.shared
        await until(lambda: shared.reached == self.stand.journal.newest_id(REQUESTS))

    async def found(self, q: str = "", *, limit: int = 100, **filters: Any) -> list[str]:
        """The ids of the requests that are found on the first page, newest first."""
        page = await self.logs.page(wanted(q, **filters), limit)
        return [row.request_id for row in page.rows]

    async def pages(self, sought: RequestFilter, limit: int) -> list[list[str]]:
        """The ids on every page."""
        found, before = [], None
        while True:
            page = await self.logs.page(sought, limit, before)
            found.append([row.request_id for row in page.rows])
            before = page.next_id
            if before is None:
                return found

    async def exported(self, sought: RequestFilter) -> list[str]:
        """The ids in an export."""
        parts = [part async for part in self.logs.export(sought, encode_ids)]
        return b"".join(parts).decode().splitlines()

    def value(self, metric: Metric, *labels: str) -> float:
        """What an instrument shows."""
        return self.stand.value(metric, *labels)


@asynccontextmanager
async def library(path: Path, **search: Any) -> AsyncIterator[Library]:
    """A journal in this folder, its index at work and its reader."""
    async with at_work(path / "journal.db") as stand:
        indexer = search_indexer(stand.journal, path / "search.db", stand.instruments, REQUEST_LOGS)
        indexer = indexer if search.pop("index", True) else None
        room = ReadingRoom(stand.journal.path, Search(**search), stand.instruments)
        logs = Logs[RequestRow](room, indexer.shared if indexer else None)
        async with at_work_in_background(indexer):
            yield Library(stand, logs, indexer)
            await room.close()


@asynccontextmanager
async def at_work_in_background(indexer: Indexer[Any] | None) -> AsyncIterator[None]:
    """The indexer runs within."""
    task = asyncio.create_task(indexer.run()) if indexer else None
    try:
        yield
    finally:
        if task:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def wanted(q: str = "", **filters: Any) -> RequestFilter:
    """A filter; what is no other part of it is a column's value."""
    own = {name: filters.pop(name) for name in list(filters) if name in RequestFilter.__dataclass_fields__}
    return RequestFilter(text=parse(q), equal=tuple(filters.items()), **own)


def encode_ids(rows: Sequence[RequestRow]) -> bytes:
    """An export of ids, a line each."""
    return "".join(f"{row.request_id}\n" for row in rows).encode()
