"""Request logs on demand: pages, single ones, exports. Reads on threads of its own, never on the event loop.

Bounded: a page in time (what was found until then is answered, with the place to go on from), in rows and in
characters; how many are worked on and how many wait; an export in how much of it is in memory, and how many run at
once. Paging goes by the rows' ids, so rows that arrive or are deleted meanwhile neither repeat nor hide others.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from fleetpulse import catalogue, config
from fleetpulse.errors import NotFoundError, OverloadedError
from fleetpulse.instruments import Instruments
from fleetpulse.journal import Journal, RequestRow
from fleetpulse.query.filters import RequestFilter
from fleetpulse.query.index import is_passing
from fleetpulse.query.leases import Leases, SearchIndex
from fleetpulse.query.reader import Encode, Page, Reader
from fleetpulse.query.sweep import TooSlowError

EXPORT_RETRY_SECONDS = 10
READ_RETRY_SECONDS = 5

T = TypeVar("T")


class RequestLogs:
    """Answers questions about stored requests. `close` it before the journal is closed."""

    def __init__(
        self, journal: Journal, index: SearchIndex | None, settings: config.Search, instruments: Instruments
    ) -> None:
        """`index` is None where it is turned off: then rows are read one by one."""
        self._leases = Leases(journal.path)
        self._reader = Reader(self._leases, index, settings.seconds)
        self._settings = settings
        self._threads = ThreadPoolExecutor(settings.threads, thread_name_prefix="requests")
        self._asked = 0
        self._exports = 0
        self._seconds = instruments.histogram(catalogue.SEARCH_SECONDS)
        self._refused = instruments.counter(catalogue.SEARCH_REFUSED)
        self._exported = instruments.counter(catalogue.EXPORTED_ROWS)
        instruments.gauge(catalogue.EXPORTS).set_function(lambda: self._exports)
        for reason in ("busy", "slow", "exports"):
            self._refused.labels(reason)

    async def page(self, wanted: RequestFilter, limit: int, before: int | None = None) -> Page:
        """The newest wanted requests, of those before an id.

        Raises OverloadedError where too many ask at once, or nothing at all could be looked at in time.
        """
        return await self._in_turn(lambda: self._reader.page(wanted, limit, before))

    async def one(self, request_id: str) -> RequestRow:
        """A single request. Raises NotFoundError, OverloadedError."""
        found = await self._in_turn(lambda: self._reader.one(request_id))
        if found is None:
            raise NotFoundError("no request with this id is stored")
        return found

    async def export(self, wanted: RequestFilter, encode: Encode) -> AsyncGenerator[bytes, None]:
        """The wanted requests that are stored by now, the oldest first, encoded part by part as they are taken.

        Raises OverloadedError, before the first part, where too many exports run.
        """
        if self._exports >= self._settings.exports:
            self._refused.labels("exports").inc()
            raise OverloadedError(f"{self._exports} exports are running already", EXPORT_RETRY_SECONDS)
        self._exports += 1
        try:
            low, high = await self._run(lambda: self._reader.extent(wanted))
            while low <= high:
                chunk = await self._run(partial(self._reader.chunk, wanted, low, high, encode))
                low = chunk.reached + 1
                self._exported.inc(chunk.rows)
                if chunk.data:
                    yield chunk.data
        finally:
            self._exports -= 1

    async def close(self) -> None:
        """Ends the threads and closes the connections; nobody may ask any more."""
        await asyncio.to_thread(self._threads.shutdown)
        self._leases.close()

    async def _in_turn(self, work: Callable[[], T]) -> T:
        """Works when it is this call's turn."""
        if self._asked >= self._settings.threads + self._settings.queue:
            self._refused.labels("busy").inc()
            raise OverloadedError(f"{self._asked} searches are under way already")
        self._asked += 1
        began = time.perf_counter()
        try:
            return await self._run(work)
        except TooSlowError as error:
            self._refused.labels("slow").inc()
            raise OverloadedError(
                f"nothing could be looked at within {self._settings.seconds:g} s (search.seconds); search for more "
                "letters of a word, or narrow the time"
            ) from error
        finally:
            self._asked -= 1
            self._seconds.observe(time.perf_counter() - began)

    async def _run(self, work: Callable[[], T]) -> T:
        """Works on a thread. Raises OverloadedError where storage does not answer now."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except sqlite3.Error as error:
            if not is_passing(error):
                raise
            raise OverloadedError(f"the journal cannot be read now: {error}", READ_RETRY_SECONDS) from error
