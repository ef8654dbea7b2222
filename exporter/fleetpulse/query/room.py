"""The reading room: the threads on which rows are looked up and read, and whose turn it is. One for all tables.

Bounded: how many are worked on, how many wait, how many exports run.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from fleetpulse import catalogue, config
from fleetpulse.errors import OverloadedError
from fleetpulse.instruments import Instruments
from fleetpulse.query.index import is_passing
from fleetpulse.query.leases import Leases
from fleetpulse.query.sweep import TooSlowError

EXPORT_RETRY_SECONDS = 10
READ_RETRY_SECONDS = 5

T = TypeVar("T")


class ReadingRoom:
    """Threads, and connections to the journal. `close` it before the journal is closed."""

    def __init__(self, journal: Path, settings: config.Search, instruments: Instruments) -> None:
        """`journal` is its file."""
        self.leases = Leases(journal)
        self.settings = settings
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="rows")
        self._asked = 0
        self._exports = 0
        self._seconds = instruments.histogram(catalogue.SEARCH_SECONDS)
        self._refused = instruments.counter(catalogue.SEARCH_REFUSED)
        self._exported = instruments.counter(catalogue.EXPORTED_ROWS)
        instruments.gauge(catalogue.EXPORTS).set_function(lambda: self._exports)
        for reason in ("busy", "slow", "exports"):
            self._refused.labels(reason)

    async def in_turn(self, work: Callable[[], T]) -> T:
        """Works when it is this call's turn.

        Raises OverloadedError where too many ask at once, or nothing at all could be looked at in time.
        """
        if self._asked >= self.settings.threads + self.settings.queue:
            self._refused.labels("busy").inc()
            raise OverloadedError(f"{self._asked} searches are under way already")
        self._asked += 1
        began = time.perf_counter()
        try:
            return await self.run(work)
        except TooSlowError as error:
            self._refused.labels("slow").inc()
            raise OverloadedError(
                f"nothing could be looked at within {self.settings.seconds:g} s (search.seconds); search for more "
                "letters of a word, or narrow the time"
            ) from error
        finally:
            self._asked -= 1
            self._seconds.observe(time.perf_counter() - began)

    async def run(self, work: Callable[[], T]) -> T:
        """Works on a thread. Raises OverloadedError where storage does not answer now."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except sqlite3.Error as error:
            if not is_passing(error):
                raise
            raise OverloadedError(f"the journal cannot be read now: {error}", READ_RETRY_SECONDS) from error

    @contextmanager
    def export(self) -> Iterator[None]:
        """Holds the place of one export. Raises OverloadedError where too many run."""
        if self._exports >= self.settings.exports:
            self._refused.labels("exports").inc()
            raise OverloadedError(f"{self._exports} exports are running already", EXPORT_RETRY_SECONDS)
        self._exports += 1
        try:
            yield
        finally:
            self._exports -= 1

    def exported(self, rows: int) -> None:
        """Counts rows that an export has read."""
        self._exported.inc(rows)

    async def close(self) -> None:
        """Ends the threads and closes the connections; nobody may ask any more."""
        await asyncio.to_thread(self._threads.shutdown)
        self.leases.close()
