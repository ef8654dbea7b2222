"""Handlers of events: each has a queue and a worker of its own, so that none holds up the service or another.

An `async` handler runs on the event loop, and is cancelled when it takes too long; a plain function runs on a
thread of its own, one call at a time. A queue that is full gives up its oldest event. What a handler raises is
logged and counted, and the next event is handed to it all the same.
"""

import asyncio
import inspect
import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

from fleetpulse import catalogue
from fleetpulse.errors import OverloadedError
from fleetpulse.events.event import Event
from fleetpulse.instruments import Instruments

QUEUE_EVENTS = 1_000
CALL_SECONDS = 10.0
DRAIN_SECONDS = 2.0
MAX_HANDLERS = 256
EVERY_KIND = "*"
OUTCOMES = ("done", "failed", "timeout", "dropped")
Handler = Callable[[Event], object]
"""What is called with an event; what an `async def` returns is awaited."""
log = logging.getLogger(__name__)


class Worker:
    """Calls one handler with one event after another."""

    def __init__(self, name: str, handler: Handler, instruments: Instruments, seconds: float) -> None:
        self.waiting: deque[Event] = deque()
        self.busy = False
        self._name = name
        self._handler = handler
        self._seconds = seconds
        self._more = asyncio.Event()
        self._thread = None if _is_async(handler) else _Thread(handler, name)
        self._calls = instruments.counter(catalogue.EVENT_HANDLER_CALLS)
        for outcome in OUTCOMES:
            self._calls.labels(name, outcome)

    def put(self, event: Event) -> None:
        """Hands an event to the handler, soon; never waits."""
        if len(self.waiting) >= QUEUE_EVENTS:
            self.waiting.popleft()
            self._calls.labels(self._name, "dropped").inc()
        self.waiting.append(event)
        self._more.set()

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self.waiting:
                self.busy = True
                self._calls.labels(self._name, await self._call(self.waiting.popleft())).inc()
                self.busy = False

    def close(self) -> None:
        """Lets the thread end, once the handler returns."""
        if self._thread is not None:
            self._thread.close()

    async def _call(self, event: Event) -> str:
        try:
            if self._thread is not None:
                return await self._on_thread(self._thread, event)
            async with asyncio.timeout(self._seconds):
                returned = self._handler(event)
                if inspect.isawaitable(returned):
                    await returned
        except TimeoutError:
            log.warning("the handler %s took longer than %g s and was cancelled", self._name, self._seconds)
            return "timeout"
        except Exception:
            log.exception("the handler %s failed at %s", self._name, event.kind)
            return "failed"
        return "done"

    async def _on_thread(self, thread: "_Thread", event: Event) -> str:
        """A thread cannot be cancelled: a slow call is counted, and waited for; meanwhile the queue fills."""
        call = thread.call(event)
        done, _ = await asyncio.wait((call,), timeout=self._seconds)
        if not done:
            log.warning("the handler %s has been busy for %g s", self._name, self._seconds)
        await call
        return "done" if done else "timeout"


class _Thread:
    """A thread for one handler. It is a daemon: a handler that hangs does not keep the process from ending."""

    def __init__(self, handler: Handler, name: str) -> None:
        self._handler = handler
        self._name = name
        self._calls: SimpleQueue[tuple[Event, asyncio.Future[None]] | None] = SimpleQueue()
        self._started = False

    def call(self, event: Event) -> asyncio.Future[None]:
        """Calls the handler on the thread; the future belongs to the running loop."""
        if not self._started:
            self._started = True
            threading.Thread(target=self._run, name=f"handler {self._name}", daemon=True).start()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._calls.put((event, future))
        return future

    def close(self) -> None:
        self._calls.put(None)

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            event, future = item
            raised: Exception | None = None
            try:
                if asyncio.iscoroutine(returned := self._handler(event)):
                    returned.close()
                    raise TypeError("the handler returned a coroutine: declare it with async def")  # noqa: TRY301
            except Exception as error:  # noqa: BLE001 - handed to the worker, which logs it
                raised = error
            with suppress(RuntimeError):  # the loop is over, and nobody waits any more
                future.get_loop().call_soon_threadsafe(_finish, future, raised)


class Handlers:
    """Who wants to hear of which kind of event. Belongs to the event loop's thread."""

    def __init__(self, instruments: Instruments, seconds: float = CALL_SECONDS) -> None:
        self._instruments = instruments
        self._seconds = seconds
        self._by_kind: dict[str, list[Worker]] = {}
        self._workers: dict[Worker, asyncio.Task[None] | None] = {}
        self._running = False

    def on(self, kind: str, handler: Handler, name: str | None = None) -> Callable[[], None]:
        """Registers a handler for a kind, `*` for all; returns what takes it back. Raises OverloadedError."""
        if len(self._workers) >= MAX_HANDLERS:
            raise OverloadedError(f"{MAX_HANDLERS} event handlers are registered already")
        worker = Worker(name or _name_of(handler), handler, self._instruments, self._seconds)
        self._by_kind.setdefault(kind, []).append(worker)
        self._workers[worker] = asyncio.create_task(worker.run()) if self._running else None
        return lambda: self._forget(kind, worker)

    def wanted(self, kind: str) -> bool:
        """Whether anybody wants to hear of a kind."""
        return bool(self._by_kind.get(kind) or self._by_kind.get(EVERY_KIND))

    def hand(self, event: Event) -> None:
        """Hands an event to whoever wants it; never waits."""
        for worker in (*self._by_kind.get(event.kind, ()), *self._by_kind.get(EVERY_KIND, ())):
            worker.put(event)

    def start(self) -> None:
        """Begins to call handlers; what was handed to them before is not lost."""
        self._running = True
        for worker in self._workers:
            self._workers[worker] = asyncio.create_task(worker.run())

    async def stop(self) -> None:
        """Lets handlers finish what waits for them, for a bounded time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while any(worker.waiting or worker.busy for worker in self._workers):  # noqa: ASYNC110 - rarely any
                    await asyncio.sleep(0.01)
        self._running = False
        tasks = [task for task in self._workers.values() if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=DRAIN_SECONDS)
        for worker in self._workers:
            worker.close()

    def _forget(self, kind: str, worker: Worker) -> None:
        if worker not in self._workers:
            return
        task = self._workers.pop(worker)
        self._by_kind[kind].remove(worker)
        worker.close()
        if task is not None:
            task.cancel()


def _finish(future: asyncio.Future[None], raised: Exception | None) -> None:
    if future.done():
        return
    if raised is None:
        future.set_result(None)
    else:
        future.set_exception(raised)


def _is_async(handler: Handler) -> bool:
    call = getattr(handler, "func", handler)  # functools.partial
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(type(call).__call__)


def _name_of(handler: Handler) -> str:
    return f"{handler.__module__}.{getattr(handler, '__qualname__', type(handler).__name__)}"
