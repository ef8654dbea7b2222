"""What a plug-in may do: the one object it gets. Its names are kept stable; what else is imported may change."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from threading import get_ident
from typing import Any

import orjson

from fleetpulse.errors import InvalidInputError, NotFoundError
from fleetpulse.events.events import NOTHING, Events
from fleetpulse.events.handlers import Handler

TOPIC = "plugins"
MESSAGE_BYTES = 64 * 2**10
MAX_TASKS = 64
_CLOSED = "the exporter has no such service"


async def _no_service(*_args: object, **_named: object) -> Sequence[Any]:
    raise NotFoundError(_CLOSED)


@dataclass(frozen=True)
class Services:
    """What plug-ins reach of the rest of the exporter.

    `publish(topic, data, key)` tells the live feed; `send(message, user_id, session_id)` and
    `notify(notification, actor)` answer with what became of it per recipient.
    """

    publish: Callable[[str, Any, str | None], None]
    send: Callable[[Mapping[str, Any], str | None, str | None], Awaitable[Sequence[Any]]] = _no_service
    notify: Callable[[Mapping[str, Any], str], Awaitable[Sequence[Any]]] = _no_service


@dataclass(eq=False)
class Plugin:
    """A plug-in's side of the exporter: `name`, `settings` (`plugins.settings.<name>`), and what follows.

    `tell`, `publish` and `on` may be called on any thread; everything else belongs to the event loop.
    """

    name: str
    settings: Mapping[str, Any]
    _events: Events = field(repr=False)
    _services: Services = field(repr=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set, repr=False)
    _handlers: list[Callable[[], None]] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self.log = logging.getLogger(f"fleetpulse.plugins.{self.name}")
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()

    @property
    def topic(self) -> str:
        """The topic of the live feed that is this plug-in's."""
        return f"{TOPIC}/{self.name}"

    @property
    def actor(self) -> str:
        """What the log of events calls the plug-in."""
        return f"plugin:{self.name}"

    def on(self, kind: str, handler: Handler) -> None:
        """Calls a handler, plain or async, with each event of a kind; `*` is every kind."""
        name = f"{self.name}.{_name(handler)}"
        self._on_loop(lambda: self._handlers.append(self._events.on(kind, handler, name)))

    def tell(self, kind: str, *, subject: str = "", detail: Mapping[str, Any] = NOTHING) -> None:
        """Tells of an event of the plug-in's own; it is stored, and handlers of that kind are called."""
        self._on_loop(lambda: self._events.tell("custom", kind, actor=self.actor, subject=subject, detail=detail))

    def publish(self, data: Any, *, key: str | None = None) -> None:
        """Publishes JSON on the plug-in's topic. Raises InvalidInputError for what is none, or over 64 KiB."""
        shown = _json(data)
        self._on_loop(lambda: self._services.publish(self.topic, shown, key))

    async def send(
        self, message: Mapping[str, Any], *, user_id: str | None = None, session_id: str | None = None
    ) -> Sequence[Any]:
        """Sends a message to a user, to a session, or (neither named) to everyone who is connected.

        Returns what became of it for each recipient.
        """
        return await self._services.send(_json(dict(message)), user_id, session_id)

    async def notify(self, notification: Mapping[str, Any]) -> Sequence[Any]:
        """Sends a notification, as `POST /api/v1/websocket/notify` takes it; returns the outcome per recipient."""
        return await self._services.notify(_json(dict(notification)), self.actor)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs a coroutine beside the service until it ends, or the exporter stops; what it raises is logged."""
        if len(self._tasks) >= MAX_TASKS:
            work.close()
            raise InvalidInputError(f"the plug-in {self.name} runs {MAX_TASKS} tasks already")
        task = asyncio.create_task(self._watched(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self, seconds: float) -> None:
        """Takes its handlers back and cancels what runs; the exporter calls it."""
        for take_back in self._handlers:
            take_back()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            self.log.exception("a task of the plug-in %s failed", self.name)

    def _on_loop(self, call: Callable[[], object]) -> None:
        if get_ident() == self._thread:
            call()
        else:
            self._loop.call_soon_threadsafe(call)


def _json(data: Any) -> Any:
    """A copy that is JSON for certain: what is published is encoded later, by others."""
    try:
        encoded = orjson.dumps(data)
    except TypeError as error:
        raise InvalidInputError(f"a plug-in's message is no JSON: {error}") from error
    if len(encoded) > MESSAGE_BYTES:
        raise InvalidInputError(f"a plug-in's message may have {MESSAGE_BYTES} bytes, this one has {len(encoded)}")
    return orjson.loads(encoded)


def _name(handler: Handler) -> str:
    return getattr(handler, "__qualname__", type(handler).__name__).rpartition("<locals>.")[2]
