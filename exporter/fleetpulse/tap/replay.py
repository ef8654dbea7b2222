"""One replay: a recorded stream that is played again, to the listeners of a live topic and of plain WebSockets.

All listeners hear the same performance. It begins when the first one listens, pauses while nobody does, and ends by
itself after IDLE_SECONDS of that. A plain WebSocket that takes too long holds it up, for STALL_SECONDS at most:
then it is left out. Listeners of the topic hold nothing up, as the hub deals with slow ones; only where the replay
is to go as fast as it is taken, it waits for them too.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

from fleetpulse.journal import Stored
from fleetpulse.live import Hub
from fleetpulse.query.payloads import payload_of, with_payload
from fleetpulse.query.recordings import Played, Recordings, Stretch
from fleetpulse.tap.pace import Pace

FAMILY = "replay"
IDLE_SECONDS = 600.0
STALL_SECONDS = 10.0
LOOK_SECONDS = 0.05  # how often it looks for listeners
TAKEN_SECONDS = 0.005  # how often it looks whether all was taken
BATCH_ROWS = 256

State = Literal["waiting", "playing", "paused"]
Ending = Literal["finished", "stopped", "slow"]


class IdleError(Exception):
    """Nobody has listened for IDLE_SECONDS."""


class Listener(Protocol):
    """A plain WebSocket that hears a replay."""

    async def hear(self, payload: str | bytes) -> None:
        """Sends one message as it was recorded; waits while the client takes none. Raises ConnectionError."""

    async def end(self, ending: "Ending") -> None:
        """Closes; never raises, and takes a few seconds at most."""


class Order(NamedTuple):
    """What to play, and how. Times are Unix seconds; `longest` bounds pauses, in seconds as they are played."""

    stream: str
    start: float | None = None
    end: float | None = None
    speed: float = 1.0
    longest: float | None = None
    loop: bool = False


class Replay:
    """Plays; everything about it may be looked at.

    `offset` is that of the message played last; `played` counts messages, `skipped` those of which no payload was
    kept, so that plain WebSockets did not get them; `passes` are complete ones.
    """

    def __init__(  # noqa: PLR0913 - what it is made of
        self,
        name: str,
        order: Order,
        stretch: Stretch,
        recordings: Recordings,
        hub: Hub,
        timer: Callable[[], float],
    ) -> None:
        self.name = name
        self.order = order
        self.stretch = stretch
        self.state: State = "waiting"
        self.offset = 0
        self.played = self.skipped = self.passes = 0
        self.listeners: set[Listener] = set()
        self._recordings = recordings
        self._hub = hub
        self._timer = timer
        self._pace = Pace(order.speed, order.longest, timer)

    @property
    def topic(self) -> str:
        """The live topic."""
        return f"{FAMILY}/{self.name}"

    async def play(self) -> None:
        """Plays to the end, or for ever. Raises IdleError, OverloadedError where the journal cannot be read."""
        more = True
        while more:
            self._pace.begin()
            more = await self._once() and self.order.loop
            self.passes += 1
        await self._taken()

    async def end(self, ending: Ending) -> None:
        """Says good-bye to every listener."""
        leaving, self.listeners = self.listeners, set()
        await asyncio.gather(*(each.end(ending) for each in leaving))

    async def _once(self) -> bool:
        """One pass; whether there was anything."""
        number = self.stretch.first - 1
        while page := await self._recordings.after(self.stretch, number):
            await self._play(page)
            number = page[-1].number
        return number >= self.stretch.first

    async def _play(self, page: Sequence[Played]) -> None:
        """Plays messages when they are due; those that are due together, together."""
        ready: list[Played] = []
        for each in page:
            await self._heard()
            wait = self._pace.due(each.row) - self._timer()
            if ready and (wait > 0 or len(ready) >= BATCH_ROWS):
                await self._tell(ready)
                ready = []
            if wait > 0:
                await asyncio.sleep(wait)
            ready.append(each)
        await self._tell(ready)

    async def _heard(self) -> None:
        """Waits until somebody listens; then it goes on from where it was."""
        began = self._timer()
        while not (self.listeners or self._hub.is_heard(self.topic)):
            if self.state == "playing":
                self.state = "paused"
            if self._timer() - began > IDLE_SECONDS:
                raise IdleError
            await asyncio.sleep(LOOK_SECONDS)
        if self.state != "playing":
            self.state = "playing"
            self._pace.begin()

    async def _tell(self, ready: Sequence[Played]) -> None:
        """Plays some messages now."""
        shift = self.passes * (self.stretch.last - self.stretch.first + 1)
        rows = [Stored(number + shift, row.message_id, with_payload(row)) for number, row in ready]
        self._hub.publish_numbered(self.topic, rows)
        payloads = [payload for _, row in ready if (payload := payload_of(row)) is not None]
        await asyncio.gather(*(self._send(each, payloads) for each in tuple(self.listeners)))
        self.offset = rows[-1].offset
        self.played += len(ready)
        self.skipped += len(ready) - len(payloads)
        if not self.order.speed:
            await self._taken()

    async def _send(self, listener: Listener, payloads: Sequence[str | bytes]) -> None:
        """Sends to one listener; one that is gone or too slow is left out."""
        try:
            for payload in payloads:
                async with asyncio.timeout(STALL_SECONDS):
                    await listener.hear(payload)
        except (TimeoutError, ConnectionError):
            self.listeners.discard(listener)
            await listener.end("slow")

    async def _taken(self) -> None:
        """Waits until the topic's listeners have everything, or are gone: the hub ends those that stay slow."""
        while not self._hub.is_taken(self.topic):  # noqa: ASYNC110 - the hub tells nobody
            await asyncio.sleep(TAKEN_SECONDS)
