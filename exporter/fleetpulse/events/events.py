"""The log of what happens in the service: who came and went, who did what, what broke.

Promises: `tell` never waits and never raises; what it tells is stored soon, or counted as dropped where the queue
is full. `record` returns after the commit, so what was recorded outlives the process. Handlers hear of an event as
soon as it is told, or recorded; they never hold up whoever told it.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from fleetpulse import catalogue
from fleetpulse.errors import OverloadedError
from fleetpulse.events.event import CATEGORIES, FLEETING, Event, make_event
from fleetpulse.events.handlers import CALL_SECONDS, Handler, Handlers
from fleetpulse.instruments import Instruments
from fleetpulse.journal import EVENTS, Journal

QUEUE_EVENTS = 10_000
GROUP_EVENTS = 1_000
RETRY_SECONDS = 1.0
OTHER = "other"
NOTHING: Mapping[str, Any] = MappingProxyType({})
log = logging.getLogger(__name__)


class Events:
    """Tells handlers of events and stores them. Belongs to the event loop's thread; `start` it, then `stop` it."""

    def __init__(  # noqa: PLR0913 - the parts it is wired from
        self,
        journal: Journal,
        replica: str,
        instruments: Instruments,
        clock: Callable[[], float] = time.time,
        *,
        queue: int = QUEUE_EVENTS,
        handler_seconds: float = CALL_SECONDS,
    ) -> None:
        """`queue` bounds events that wait to be stored; a handler may take `handler_seconds` for one event."""
        self._journal = journal
        self._replica = replica
        self._clock = clock
        self._queue = queue
        self._handlers = Handlers(instruments, handler_seconds)
        self._waiting: deque[Event] = deque()
        self._more = asyncio.Event()
        self._storing: asyncio.Task[None] | None = None
        self._told = instruments.counter(catalogue.EVENTS)
        self._dropped = instruments.counter(catalogue.EVENTS_DROPPED)

    def tell(  # noqa: PLR0913 - what an event is made of
        self,
        category: str,
        kind: str,
        *,
        actor: str = "",
        subject: str = "",
        detail: Mapping[str, Any] = NOTHING,
        store: bool | None = None,
    ) -> None:
        """Tells of an event; never waits, never raises.

        Kinds of FLEETING are for handlers only, all others are stored; `store` decides otherwise.
        """
        kept = kind not in FLEETING if store is None else store
        if not kept and not self._handlers.wanted(kind):
            return
        event = self._make(category, kind, actor, subject, detail)
        if kept:
            self._keep(event)
        self._handlers.hand(event)

    async def record(
        self, category: str, kind: str, *, actor: str = "", subject: str = "", detail: Mapping[str, Any] = NOTHING
    ) -> Event:
        """Stores an event, and returns after the commit.

        Raises OverloadedError (also StorageFullError): nothing was kept, and nobody was told.
        """
        event = self._make(category, kind, actor, subject, detail)
        await self._journal.store(EVENTS, [event.row()])
        self._handlers.hand(event)
        return event

    def on(self, kind: str, handler: Handler, name: str | None = None) -> Callable[[], None]:
        """Calls a handler, plain or async, with each event of a kind (`*`: of all); returns what takes it back.

        `name` is what metrics and logs call it. Raises OverloadedError past 256 handlers.
        """
        return self._handlers.on(kind, handler, name)

    def start(self) -> None:
        """Begins to store and to call handlers; call on the running loop, after the journal's start."""
        self._handlers.start()
        self._storing = asyncio.create_task(self._store_regularly())

    async def stop(self) -> None:
        """Stores what was told and lets handlers finish, both for a bounded time; call before the journal stops."""
        await self._handlers.stop()
        if self._storing is not None:
            self._storing.cancel()
            await asyncio.gather(self._storing, return_exceptions=True)
        while self._waiting and await self._store_some():
            pass

    def _make(self, category: str, kind: str, actor: str, subject: str, detail: Mapping[str, Any]) -> Event:
        self._told.labels(category if category in CATEGORIES else OTHER).inc()
        return make_event(self._clock(), self._replica, category, kind, actor, subject, detail)

    def _keep(self, event: Event) -> None:
        if len(self._waiting) >= self._queue:
            self._dropped.inc()
            return
        self._waiting.append(event)
        self._more.set()

    async def _store_regularly(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting:
                if not await self._store_some():
                    await asyncio.sleep(RETRY_SECONDS)

    async def _store_some(self) -> bool:
        """Stores the oldest that wait; False where storage refuses. An event's id makes a repetition harmless."""
        group = [self._waiting[at] for at in range(min(GROUP_EVENTS, len(self._waiting)))]
        try:
            await self._journal.store(EVENTS, [event.row() for event in group])
        except OverloadedError as error:
            log.warning("events wait to be stored: %s", error.detail)
            return False
        except Exception:
            log.exception("%d events could not be stored", len(group))
            self._dropped.inc(len(group))
        for _ in group:
            self._waiting.popleft()
        return True
