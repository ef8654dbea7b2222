"""Retention: deletes the oldest rows by age and by size, a few at a time between ingest's own transactions.

Messages of streams with a time of their own (`journal.stream_days`) go first, then rows past the age of all. Each
chunk is an ordinary write of the queue, so ingest waits for one chunk (milliseconds) at the most. Totals are not
touched: they count all that was ever stored.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable
from functools import partial

from fleetpulse import catalogue, config
from fleetpulse.errors import OverloadedError
from fleetpulse.instruments import Instruments
from fleetpulse.journal.floors import DeleteOldestOf
from fleetpulse.journal.journal import Journal
from fleetpulse.journal.rows import KEPT, MESSAGES, Table
from fleetpulse.journal.writes import DeleteOldest, FreePages, Statement

CHUNK_ROWS = 256
PAUSE_SECONDS = 0.001  # at least, between chunks
DAY_SECONDS = 86_400
log = logging.getLogger(__name__)


class Retention:
    """Runs until cancelled; every pass brings the journal within its limits."""

    def __init__(
        self,
        journal: Journal,
        settings: config.Journal,
        instruments: Instruments,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal = journal
        self._settings = settings
        self._clock = clock
        self._deleted = instruments.counter(catalogue.JOURNAL_DELETED)
        self._rows = instruments.gauge(catalogue.JOURNAL_ROWS)
        self._oldest = instruments.gauge(catalogue.JOURNAL_OLDEST)
        for table in KEPT:
            self._deleted.labels(table.name)

    async def run(self) -> None:
        """Passes at the configured interval, for ever."""
        while True:
            try:
                await self.once()
            except (OverloadedError, sqlite3.Error) as error:  # also a full disk: the next pass tries again
                log.warning("retention waits: %s", error)
            await asyncio.sleep(self._settings.retention_interval_seconds)

    async def once(self) -> None:
        """One pass: too old first, by stream and in all; then too large."""
        for stream, days in self._settings.stream_days.items():
            await _while_true(partial(self._delete_of, stream, self._clock() - days * DAY_SECONDS))
        cutoff = self._clock() - self._settings.retention_days * DAY_SECONDS
        for table in KEPT:
            await _while_true(partial(self._delete, table, cutoff))
        await _while_true(self._delete_excess)
        await _while_true(self._free)
        self._measure()

    async def _delete_excess(self) -> bool:
        """Takes from the table with most rows: what there is most of makes the file large."""
        too_large = self._journal.used_bytes() > self._settings.max_bytes
        largest = max(KEPT, key=lambda table: self._journal.extent(table)[0])
        return too_large and await self._delete(largest, None)

    async def _free(self) -> bool:
        return bool(await self._journal.submit(FreePages(CHUNK_ROWS)))

    async def _delete(self, table: Table, before: float | None) -> bool:
        return await self._count(table, DeleteOldest(table, CHUNK_ROWS, before))

    async def _delete_of(self, stream: str, before: float) -> bool:
        return await self._count(MESSAGES, DeleteOldestOf(stream, CHUNK_ROWS, before))

    async def _count(self, table: Table, deletion: Statement) -> bool:
        deleted = await self._journal.submit(deletion)
        assert isinstance(deleted, int)  # noqa: S101 - what these return
        self._deleted.labels(table.name).inc(deleted)
        return deleted > 0

    def _measure(self) -> None:
        for table in KEPT:
            rows, oldest = self._journal.extent(table)
            self._rows.labels(table.name).set(rows)
            self._oldest.labels(table.name).set(self._clock() if oldest is None else oldest)


async def _while_true(step: Callable[[], Awaitable[bool]]) -> None:
    """Repeats a step. It pauses for as long as each took, so that it never has more than half the writer's time."""
    more = True
    while more:
        began = time.perf_counter()
        more = await step()
        await asyncio.sleep(max(PAUSE_SECONDS, time.perf_counter() - began))
