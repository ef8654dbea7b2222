"""One stream: connects, listens, records, connects again.

Promises: every message that a connection brought is kept exactly once, in order, under its connection's name and
its number there; before the first and after the last message of each connection an event says so. Messages of a
connection are kept before the event of its end, and that before anything of the next connection. Attempts that fail
in a row are told of once, and counted each. Causes that will not pass by themselves (401, 403 and 404 at the
handshake, close code 1008, a certificate that is refused, a forbidden address, a wrong configuration) end it; so do
too many failures, where bounds are set. It then stays `failed` until a file of its headers changes, or a restart.
Nothing is dropped: where storage is slow, reading pauses, and TCP makes the server wait.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable

from fleetpulse.config.tap import Message, Source
from fleetpulse.errors import UpstreamError
from fleetpulse.tap import happenings
from fleetpulse.tap.backoff import Backoff
from fleetpulse.tap.connecting import Socket, opened
from fleetpulse.tap.connection import Connection
from fleetpulse.tap.endings import AttemptError, Ending
from fleetpulse.tap.frames import TEXT, Frame, Keep, Read, Reading, Recorded, Tell
from fleetpulse.tap.guards import shown
from fleetpulse.tap.meters import Meters, State
from fleetpulse.tap.presets import make_answer
from fleetpulse.tap.renewal import files_of, renewed, version
from fleetpulse.tap.secrecy import Secrecy
from fleetpulse.tap.sending import Sending
from fleetpulse.tap.storing import Storing

TICK_SECONDS = 1.0
STOP_SECONDS = 10.0
STOPPED = Ending("stopped", "the recorder was stopped", 1001)
log = logging.getLogger(__name__)


Match = Callable[[Reading], tuple[str, ...]]
"""The names of the rules that a message matches; never raises."""


class Recorder:
    """One stream. `run` it in a task of its own; `state` and `why` say how it stands, `url_shown` with whom."""

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        source: Source,
        read: Read,
        match: Match,
        keep: Keep,
        tell: Tell,
        meters: Meters,
        *,
        run_token: str,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        """`run_token` is one of this run of the program alone: connections are named by it, for ever."""
        rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self.state: State = "waiting"
        self.why = ""
        self.url_shown = shown(source.url)
        self._source = source
        self._read = read
        self._match = match
        self._meters = meters
        self._run_token = run_token
        self._clock = clock
        self._timer = timer
        self._rng = rng
        self._secrecy = Secrecy(source)
        self._storing = Storing(source.name, keep, tell, meters, source.queue_messages, source.queue_bytes, rng)
        self._backoff = Backoff(source.reconnect, timer, rng)
        self._connection: Connection | None = None
        self._sending: Sending | None = None
        self._connections = 0
        self._counted_bytes = 0
        self._told_of_failure = False
        self._misread = False

    @property
    def waiting(self) -> int:
        """Messages, and events of theirs, that wait to be stored."""
        return self._storing.waiting

    async def run(self) -> None:
        """Records until cancelled, or given up; what was received is kept first, at the end for a bounded time."""
        storing = asyncio.create_task(self._storing.run())
        ticking = asyncio.create_task(self._tick())
        try:
            await self._try_until_failed()
            self._storing.end()
            await asyncio.wait({storing})
        finally:
            ticking.cancel()
            await self._finish(storing)

    async def send(self, message: Message) -> None:
        """Sends to the server. Raises UpstreamError where there is no connection, or none that takes it."""
        if self._sending is None:
            raise UpstreamError(f"stream {self._source.name}", "there is no connection")
        await self._sending.send(message)

    # Trying, and trying again ----------------------------------------------------------------------------------
    async def _try_until_failed(self) -> None:
        """Connects again and again; returns when nothing that could change would make a difference."""
        await self._wait(self._backoff.first())
        while True:
            files = files_of(self._source)
            known = await asyncio.to_thread(version, files)
            ending = await self._try()
            delay = None if ending.fatal else self._backoff.wait(ending.retry_after)
            if delay is None:
                self._fail(ending)
                if not files:
                    return
                await renewed(files, known)
                self._backoff = Backoff(self._source.reconnect, self._timer, self._rng)
            await self._wait(delay or 0.0)

    async def _try(self) -> Ending:
        """One attempt, and the connection that it brings."""
        await self._storing.room()
        self._enter("connecting", self.why)
        try:
            async with opened(self._source, self._secrecy) as socket:
                return await self._record(socket)
        except AttemptError as error:
            self._note_attempt(error.ending)
            return error.ending

    async def _wait(self, seconds: float) -> None:
        self._enter("waiting", self.why)
        await asyncio.sleep(seconds)

    def _enter(self, state: State, why: str) -> None:
        self.state, self.why = state, why
        self._meters.entered(state)

    def _note_attempt(self, ending: Ending) -> None:
        self._backoff.failed()
        self._meters.ended(ending.cause)
        self.why = ending.why
        if not (ending.fatal or self._told_of_failure):
            self._told_of_failure = True
            log.warning("stream %s: %s", self._source.name, ending.why)
            self._storing.put_happening(happenings.retrying(ending, self._clock()))

    def _fail(self, ending: Ending) -> None:
        log.error("stream %s is given up: %s", self._source.name, ending.why)
        self._enter("failed", ending.why)
        unconnected = self._backoff.unconnected
        self._storing.put_happening(happenings.failed(ending, self._clock(), self._backoff.failures, unconnected))

    # A connection ----------------------------------------------------------------------------------------------
    async def _record(self, socket: Socket) -> Ending:
        """Records a connection to its end, told of at both of its ends."""
        connection = self._begin(socket)
        ending = STOPPED
        self._sending = Sending(self._source, connection, self._secrecy, self._timer)
        sending = asyncio.create_task(self._sending.run())
        try:
            ending = self._fit(await connection.listen())
        except asyncio.CancelledError:
            await connection.leave()
            raise
        finally:
            self._end(connection, ending)
            await self._stop_sending(sending)
        return ending

    async def _stop_sending(self, sending: asyncio.Task[None]) -> None:
        sending.cancel()
        (outcome,) = await asyncio.gather(sending, return_exceptions=True)
        if isinstance(outcome, Exception):
            log.error("stream %s: sending ended with an error", self._source.name, exc_info=outcome)

    def _fit(self, ending: Ending) -> Ending:
        """An ending as people may see it: a server may repeat what it was sent."""
        hide = self._secrecy.hide
        return ending._replace(why=hide(ending.why), reason=hide(ending.reason))

    def _begin(self, socket: Socket) -> Connection:
        self._connections += 1
        connection = self._connection = Connection(
            f"{self._run_token}-{self._connections}",
            socket,
            self._take,
            self._storing.room,
            self._clock,
            self._timer,
            make_answer(self._source),
        )
        self._counted_bytes = 0
        self._told_of_failure = False
        backoff = self._backoff
        self._storing.put_happening(
            happenings.connected(connection, self.url_shown, backoff.unconnected, backoff.failures)
        )
        self._enter("connected", "")
        self._meters.connected(connection.opened_at)
        log.info("stream %s is connected to %s", self._source.name, self.url_shown)
        return connection

    def _end(self, connection: Connection, ending: Ending) -> None:
        self._count()
        self._connection = self._sending = None
        self._backoff.ended(connection.age)
        self._meters.ended(ending.cause)
        if ending.cause in ("too_big", "invalid"):
            self._meters.lost(ending.cause)
        self._enter("waiting", ending.why)
        log.log(
            logging.INFO if ending.cause == STOPPED.cause else logging.WARNING,
            "stream %s: %s",
            self._source.name,
            ending.why,
        )
        self._storing.put_happening(happenings.disconnected(connection, ending, self._clock()))

    # Messages --------------------------------------------------------------------------------------------------
    def _take(self, frame: Frame) -> bool:
        try:
            reading = self._read(frame)
            recorded = Recorded(frame, reading, self._match(reading))
        except Exception as error:  # noqa: BLE001 - a message is kept whether it is understood or not
            recorded = Recorded(frame, self._unread(frame, error))
        return self._storing.put(recorded)

    def _unread(self, frame: Frame, error: Exception) -> Reading:
        """What stands for a reading that failed; the first is logged."""
        if not self._misread:
            self._misread = True
            log.error("stream %s: message %s cannot be read", self._source.name, frame[:2], exc_info=error)
        return Reading("raw" if frame.opcode == TEXT else "binary", "", str(frame.data))

    # In the background, and at the end -------------------------------------------------------------------------
    async def _tick(self) -> None:
        """Keeps the series of what goes on all the time up to date."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._meters.count_time()
            self._count()

    def _count(self) -> None:
        self._meters.waiting(self._storing.waiting)
        connection = self._connection
        if connection is not None and connection.bytes > self._counted_bytes:
            self._meters.received(connection.bytes - self._counted_bytes, connection.newest_at)
            self._counted_bytes = connection.bytes

    async def _finish(self, storing: asyncio.Task[None]) -> None:
        """Keeps what was received, for a bounded time."""
        self._storing.end()
        try:
            await asyncio.wait({storing}, timeout=STOP_SECONDS)
        finally:
            storing.cancel()
            await asyncio.gather(storing, return_exceptions=True)
            self._storing.abandon()
            self._meters.waiting(0)
            self._meters.stopped()
