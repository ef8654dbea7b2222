"""What has been received, on its way to the journal.

Promises: messages and happenings are kept in the order in which they were put here, and none is dropped while the
recorder runs: where storage refuses, they are offered again until it takes them, and `full` says to read no further
meanwhile. A message that can never be kept is set aside alone, logged and counted. What waits at the end is kept
within a bounded time; what is left then is counted as lost.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice

from fleetpulse.errors import OverloadedError
from fleetpulse.tap.frames import Keep, Recorded, Tell
from fleetpulse.tap.happenings import Happening
from fleetpulse.tap.meters import Meters

BATCH_MESSAGES = 2_000
BATCH_BYTES = 4 * 2**20
RETRY_FIRST, RETRY_CAP = 0.1, 5.0
log = logging.getLogger(__name__)


class Storing:
    """The queue of one stream, and who empties it."""

    def __init__(  # noqa: PLR0913 - what it joins
        self, name: str, keep: Keep, tell: Tell, meters: Meters, messages: int, size: int, rng: random.Random
    ) -> None:
        """`messages` and `size` (bytes) bound what may wait."""
        self._name = name
        self._keep = keep
        self._tell = tell
        self._meters = meters
        self._max_messages = messages
        self._max_bytes = size
        self._rng = rng
        self._queue: deque[Recorded | Happening] = deque()
        self._bytes = 0
        self._more = asyncio.Event()
        self._room = asyncio.Event()
        self._ending = False

    @property
    def full(self) -> bool:
        """Whether nothing more should be read for now."""
        return len(self._queue) >= self._max_messages or self._bytes >= self._max_bytes

    @property
    def waiting(self) -> int:
        """What waits to be stored."""
        return len(self._queue)

    def put(self, recorded: Recorded) -> bool:
        """Takes a message, always; False: no more for now, until `room` returns."""
        self._bytes += recorded.frame.size
        self.put_happening(recorded)
        return not self.full

    def put_happening(self, item: Recorded | Happening) -> None:
        """Takes what happened; it is told of after what was put before it."""
        self._queue.append(item)
        self._more.set()

    async def room(self) -> None:
        """Returns when there is room."""
        while self.full:
            self._meters.pausing(paused=True)
            self._room.clear()
            try:
                await self._room.wait()
            finally:
                self._meters.pausing(paused=False)

    async def run(self) -> None:
        """Stores what comes, until `end` and the queue is empty."""
        while self._queue or not self._ending:
            await self._more.wait()
            self._more.clear()
            while self._queue:
                await self._store_some()

    def end(self) -> None:
        """Lets `run` return when nothing waits any more."""
        self._ending = True
        self._more.set()

    def abandon(self) -> None:
        """Counts what is left as lost."""
        messages = sum(isinstance(item, Recorded) for item in self._queue)
        if self._queue:
            log.error("stream %s: %d messages could not be stored before the end", self._name, messages)
        self._meters.lost("stopped", messages)
        self._queue.clear()

    async def _store_some(self) -> None:
        """Stores the oldest that wait. They leave the queue afterwards, so that it is known what there is."""
        first = self._queue[0]
        batch = [] if isinstance(first, Happening) else self._batch()
        if isinstance(first, Happening):
            await self._tell_of(first)
        else:
            await self._keep_all(batch)
        for _ in range(len(batch) or 1):
            self._queue.popleft()
        self._bytes -= sum(each.frame.size for each in batch)
        self._room.set()

    def _batch(self) -> list[Recorded]:
        """The oldest messages up to the next happening, bounded in number and bytes."""
        batch: list[Recorded] = []
        size = 0
        for item in islice(self._queue, BATCH_MESSAGES):
            if isinstance(item, Happening) or size >= BATCH_BYTES:
                break
            batch.append(item)
            size += item.frame.size
        return batch

    async def _keep_all(self, batch: Sequence[Recorded]) -> None:
        """Keeps a batch; one that is broken in itself is halved until the message that breaks it stands alone."""
        try:
            await self._insist(lambda: self._keep(batch))
        except Exception:
            if len(batch) == 1:
                log.exception("stream %s: message %s cannot be stored", self._name, batch[0].frame[:2])
                self._meters.lost("refused")
                return
            half = len(batch) // 2
            await self._keep_all(batch[:half])
            await self._keep_all(batch[half:])

    async def _tell_of(self, happening: Happening) -> None:
        try:
            await self._insist(lambda: self._tell(happening.kind, happening.detail))
        except Exception:  # the messages after it must be kept all the same
            log.exception("stream %s: %s cannot be told", self._name, happening.kind)

    async def _insist(self, store: Callable[[], Awaitable[None]]) -> None:
        """Stores, again and again while storage has no room."""
        bound = RETRY_FIRST
        while True:
            try:
                return await store()
            except OverloadedError as error:
                if bound == RETRY_FIRST:
                    log.warning("stream %s waits to be stored: %s", self._name, error.detail)
                await asyncio.sleep(self._rng.uniform(bound / 2, bound))
                bound = min(bound * 2, RETRY_CAP)
