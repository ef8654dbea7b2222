"""The replays that run: so many and no more, each with a live topic of its own.

They are this process's: a restart ends them, and other replicas know nothing of them.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any, Protocol

from fleetpulse import catalogue
from fleetpulse.errors import InvalidInputError, NotFoundError, OverloadedError
from fleetpulse.instruments import Instruments
from fleetpulse.live import Hub, Policy
from fleetpulse.query.messages import CHAT
from fleetpulse.query.recordings import Recordings
from fleetpulse.tap.replay import FAMILY, IdleError, Order, Replay

CATEGORY = "tap"
RETRY_SECONDS = 60
log = logging.getLogger(__name__)


class Tell(Protocol):
    """Takes events; see `Events.tell`."""

    def __call__(self, category: str, kind: str, *, actor: str, subject: str, detail: dict[str, Any]) -> None:
        """Never waits."""


class Running:
    """A replay, who started it and when (Unix seconds), and the task that plays it."""

    def __init__(self, replay: Replay, by: str, at: float) -> None:
        self.replay = replay
        self.by = by
        self.at = at
        self.why = "stopped"
        self.task: asyncio.Task[None]


class Replays:
    """Starts and ends replays; belongs to the event loop."""

    def __init__(  # noqa: PLR0913 - the parts it is wired from
        self,
        recordings: Recordings,
        hub: Hub,
        tell: Tell,
        most: int,
        instruments: Instruments,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """At most `most` run at once."""
        self._recordings = recordings
        self._hub = hub
        self._tell = tell
        self._most = most
        self._clock = clock
        self._timer = timer
        self._running: dict[str, Running] = {}
        self._starting = asyncio.Lock()
        hub.declare(FAMILY, Policy.EVENT)
        instruments.gauge(catalogue.TAP_REPLAYS).set_function(lambda: len(self._running))

    async def run(self) -> None:
        """Lives until cancelled, which ends every replay."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.gather(*(self._stop(each) for each in list(self._running.values())))

    def all(self) -> list[Running]:
        """Those that run, the oldest first."""
        return list(self._running.values())

    def one(self, name: str) -> Running:
        """One that runs. Raises NotFoundError."""
        found = self._running.get(name)
        if found is None:
            raise NotFoundError("no replay of this name runs")
        return found

    async def start(self, order: Order, by: str, name: str | None = None) -> Running:
        """Starts one; it plays as soon as somebody listens.

        Raises OverloadedError where too many run, InvalidInputError for a name that is taken or the chat's stream,
        NotFoundError where there is nothing to play.
        """
        async with self._starting:
            self._check(order, name)
            stretch = await self._recordings.stretch(order.stream, order.start, order.end)
            if stretch is None:
                raise NotFoundError("no message of this stream is stored, or none of that time")
            name = name or secrets.token_hex(6)
            replay = Replay(name, order, stretch, self._recordings, self._hub, self._timer)
            running = self._running[name] = Running(replay, by, self._clock())
        running.task = asyncio.create_task(self._play(running))
        running.task.add_done_callback(lambda _: self._over(running))
        self._told("started", running, {"speed": order.speed, "loop": order.loop})
        return running

    async def end(self, name: str) -> None:
        """Ends one. Raises NotFoundError."""
        running = self.one(name)
        running.why = "deleted"
        await self._stop(running)

    def _check(self, order: Order, name: str | None) -> None:
        if order.stream == CHAT:
            raise _wrong("stream", "is the exporter's own chat, which is not recorded")
        if name in self._running:
            raise _wrong("topic", "is the name of a replay that runs")
        if len(self._running) >= self._most:
            raise OverloadedError(f"{self._most} replays run already (tap.replays); end one first", RETRY_SECONDS)

    async def _stop(self, running: Running) -> None:
        running.task.cancel()
        await asyncio.wait({running.task})

    async def _play(self, running: Running) -> None:
        replay = running.replay
        try:
            await replay.play()
            running.why = "finished"
        except IdleError:
            running.why = "idle"
        except OverloadedError as error:
            log.warning("a replay of %s ends: %s", replay.order.stream, error.detail)
            running.why = "failed"
        except Exception:
            log.exception("a replay of %s failed", replay.order.stream)
            running.why = "failed"
        finally:
            await replay.end("finished" if running.why == "finished" else "stopped")

    def _over(self, running: Running) -> None:
        """Makes room for another one."""
        replay = running.replay
        del self._running[replay.name]
        self._hub.publish(replay.topic, {"why": running.why, "played": replay.played}, kind="ended")
        self._hub.retire(replay.topic)
        self._told("ended", running, {"why": running.why, "played": replay.played, "passes": replay.passes})

    def _told(self, what: str, running: Running, detail: dict[str, Any]) -> None:
        order = running.replay.order
        named = {"replay": running.replay.name, **detail}
        self._tell(CATEGORY, f"replay_{what}", actor=running.by, subject=order.stream, detail=named)


def _wrong(name: str, message: str) -> InvalidInputError:
    return InvalidInputError("the replay cannot be started", [{"loc": [name], "msg": message}])
