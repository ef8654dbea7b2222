"""What of a topic is kept elsewhere than in memory: the journal, as far as the live feed knows it.

A journalled family has a `History`. Its topics' epoch is the journal's and their offsets are row ids, so a position
outlives a restart, and what the ring in memory no longer holds is read back by id.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from fleetpulse.journal.history import History, Page, Stored

PAGE_ROWS = 512
READERS = 2  # pages read at once; whoever else wants one waits
log = logging.getLogger(__name__)


Done = Callable[[Page | None], None]


class Pages:
    """Reads pages on threads, a few at a time; until `start`, in place. `done` gets None where reading failed."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._waiting: deque[tuple[Callable[[], Page], Done]] = deque()  # one per subscription at most
        self._under_way = 0

    def start(self) -> None:
        """Reads on threads from now on, and calls back on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(READERS, "live-history")

    def stop(self) -> None:
        """Waits for what is being read, and forgets what waits."""
        self._waiting.clear()
        if self._threads is not None:
            self._threads.shutdown()
        self._loop = self._threads = None

    def read(self, work: Callable[[], Page], done: Done) -> None:
        """Reads a page, and hands it to `done` on the loop's thread."""
        if self._loop is None:
            done(_attempt(work))
            return
        self._waiting.append((work, done))
        self._go_on()

    def _go_on(self) -> None:
        while self._waiting and self._under_way < READERS and self._loop is not None:
            work, done = self._waiting.popleft()
            self._under_way += 1
            reading = self._loop.run_in_executor(self._threads, _attempt, work)
            reading.add_done_callback(lambda future, done=done: self._finish(future, done))  # type: ignore[misc]

    def _finish(self, future: "asyncio.Future[Page | None]", done: Done) -> None:
        self._under_way -= 1
        try:
            done(None if future.cancelled() else future.result())
        finally:
            self._go_on()


def _attempt(work: Callable[[], Page]) -> Page | None:
    try:
        return work()
    except Exception:
        log.exception("the journal could not be read for the live feed")
        return None


__all__ = ["History", "Page", "Pages", "Stored"]
