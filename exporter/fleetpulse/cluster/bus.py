"""The bus over Redis' publish/subscribe: one connection that listens, others that publish.

Owns the connection's life: it connects, notices when Redis is gone (by its own beat, which has to come back), says
so, and tries again with back-off and jitter for ever. Promises: `send` never waits or raises, and messages of one
replica arrive in the order in which it sent them. Refuses to keep anything: what is sent while Redis is away is
dropped and counted, and so is what does not fit into the queue; nothing here may be durable.

A frame is JSON: `{"replica", "run", "channel", "payload"}`. `run` is drawn at every start and tells replicas apart
that were given one name. All frames go to `{prefix}:all`, those for one replica to `{prefix}:run:{run}`.
"""

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Protocol

import orjson
from redis.exceptions import RedisError

from fleetpulse import catalogue
from fleetpulse.cluster.connection import Connection, connected
from fleetpulse.cluster.outbox import Outbox, Parcel
from fleetpulse.cluster.resting import end
from fleetpulse.config import Cluster
from fleetpulse.instruments import Instruments
from fleetpulse.live.bus import Handler

BEAT = "bus.beat"
PIPELINE_MESSAGES = 64
FIRST_RETRY_SECONDS = 0.25
MAX_DOUBLINGS = 16
CANCEL_SECONDS = 0.1
GOODBYE_SECONDS = 1.0
COMPLAIN_SECONDS = 10.0  # between two lines in the log about one channel
MAX_FRAME_BYTES = 64 * 2**20  # longer than the longest row: what is larger is not parsed
LOST = (RedisError, OSError, ValueError)  # ValueError: a password file that is no text
log = logging.getLogger(__name__)


class Witness(Protocol):
    """Hears that Redis came or went; on the loop, must not wait."""

    def __call__(self, *, connected: bool) -> None:
        """Redis is there, or is away."""


class RedisBus:
    """Talks to the other replicas over Redis; `live.bus.Bus`. Belongs to the event loop's thread."""

    def __init__(
        self,
        settings: Cluster,
        replica: str,
        instruments: Instruments,
        connect: Callable[[Cluster], AbstractAsyncContextManager[Connection]] = connected,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.replica = replica
        self.run_id = secrets.token_hex(8)
        self._settings = settings
        self._connect = connect
        self._timer = timer
        self._handlers: dict[str, Handler] = {BEAT: lambda _payload: None}
        self._witnesses: list[Witness] = []
        self._last_words: list[bytes] = []
        self._outbox = Outbox(settings.queue_messages, settings.queue_bytes)
        self._connection: Connection | None = None
        self._heard_at = 0.0
        self._failures = 0
        self._quiet_until: dict[str, float] = {}
        self._instrument(instruments)

    @property
    def connection(self) -> Connection | None:
        """The connection to Redis; None while it is away."""
        return self._connection

    @property
    def crowded(self) -> bool:
        """Whether so much waits for Redis that what can be had later should not be sent now."""
        return self._connection is None or self._outbox.crowded

    def key(self, *parts: str) -> str:
        """A Redis key or channel of this cluster."""
        return ":".join((self._settings.channel_prefix, *parts))

    def on(self, channel: str, handler: Handler) -> None:
        """Calls `handler` with what the others send on a channel (one handler each); what it raises is logged."""
        if channel in self._handlers:
            raise ValueError(f"the bus's channel {channel!r} has a handler already")
        self._handlers[channel] = handler

    def watch(self, witness: Witness) -> None:
        """Tells `witness` whenever Redis comes or goes."""
        self._witnesses.append(witness)

    def send(self, channel: str, payload: Mapping[str, Any]) -> None:
        """Tells all other replicas; `payload` is JSON. Never waits, never raises; lost where nobody hears."""
        self._post(self.key("all"), channel, payload)

    def send_to(self, run_id: str, channel: str, payload: Mapping[str, Any]) -> None:
        """Tells one replica, by its `run_id`."""
        self._post(self.key("run", run_id), channel, payload)

    def last_words(self, channel: str, payload: Mapping[str, Any]) -> None:
        """What all others are told when this replica stops."""
        self._last_words.append(self._framed(channel, payload))

    async def run(self) -> None:
        """Keeps the connection, until cancelled."""
        while True:
            try:
                await self._session()
            except LOST as error:
                self._lost(error)
            finally:
                self._away()
            await asyncio.sleep(self._pause())

    # Sending -------------------------------------------------------------------------------------------------
    def _post(self, to: str, channel: str, payload: Mapping[str, Any]) -> None:
        if self._connection is None:
            self._dropped.inc()
            return
        try:
            body = self._framed(channel, payload)
        except TypeError:  # orjson.JSONEncodeError: a mistake of ours, which must not reach whoever sends
            log.exception("a message for %s is no JSON", channel)
            self._dropped.inc()
            return
        (self._sent if self._outbox.put(Parcel(to, body)) else self._dropped).inc()

    def _framed(self, channel: str, payload: Mapping[str, Any]) -> bytes:
        frame = {"replica": self.replica, "run": self.run_id, "channel": channel, "payload": payload}
        return orjson.dumps(frame)

    async def _publish(self, connection: Connection) -> None:
        while True:
            await connection.publish(await self._outbox.take(PIPELINE_MESSAGES))

    async def _beat(self) -> None:
        """Sends itself a sign of life, over both connections: without it coming back Redis counts as lost."""
        silence = self._settings.silence_seconds
        self._heard_at = self._timer()
        while True:
            if self._timer() - self._heard_at > silence:
                raise RedisError(f"no sign of life for {silence:g} s")
            self.send_to(self.run_id, BEAT, {})
            await asyncio.sleep(silence / 5)

    # Receiving -----------------------------------------------------------------------------------------------
    async def _listen(self, connection: Connection) -> None:
        while True:
            body = await connection.receive()
            self._heard_at = self._timer()
            self._take(body)
            await asyncio.sleep(0)  # many may wait in the buffer already: others have their turn between them

    def _take(self, body: bytes) -> None:
        try:
            frame = _loaded(body)
            run_id, channel, payload = frame["run"], frame["channel"], frame["payload"]
        except (ValueError, TypeError, KeyError) as error:
            self._complain("", error, "a message on the bus is none of ours: %r", body[:100])
            return
        if run_id == self.run_id:
            return
        self._received.inc()
        handler = self._handlers.get(channel) if isinstance(channel, str) else None
        if handler is None:  # a newer version's
            return
        try:
            handler(payload)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is one message's
            self._complain(
                channel, error, "a message of replica %.200s on %s has no effect", frame.get("replica"), channel
            )

    def _complain(self, channel: str, error: Exception, text: str, *values: object) -> None:
        """Counts a message that is not understood; says so too, but not of each one."""
        self._broken.inc()
        now = self._timer()
        if now >= self._quiet_until.get(channel, now):
            self._quiet_until[channel] = now + COMPLAIN_SECONDS
            log.warning(text, *values, exc_info=error)

    # The connection's life -----------------------------------------------------------------------------------
    async def _session(self) -> None:
        async with self._connect(self._settings) as connection:
            await connection.subscribe(self.key("all"), self.key("run", self.run_id))
            self._connection = connection
            self._failures = 0
            self._connected.set(1)
            log.info("connected to Redis as replica %s", self.replica)
            self._tell(connected=True)
            try:
                await _until_one_fails(self._listen(connection), self._publish(connection), self._beat())
            except asyncio.CancelledError:
                await self._say_goodbye(connection)
                raise

    async def _say_goodbye(self, connection: Connection) -> None:
        with suppress(*LOST):
            async with asyncio.timeout(GOODBYE_SECONDS):
                await connection.publish([Parcel(self.key("all"), body) for body in self._last_words])

    def _lost(self, error: BaseException) -> None:
        if self._failures == 0:
            log.warning("Redis is away: %s; this replica goes on by itself", error)
        self._failures += 1

    def _away(self) -> None:
        was_there, self._connection = self._connection is not None, None
        self._connected.set(0)
        self._dropped.inc(self._outbox.clear())
        if was_there:
            self._tell(connected=False)

    def _pause(self) -> float:
        """Exponential with full jitter, so that replicas do not come back all at once."""
        bound = FIRST_RETRY_SECONDS * 2.0 ** min(self._failures, MAX_DOUBLINGS)
        return random.uniform(0, min(bound, self._settings.retry_seconds))  # noqa: S311 - no secret

    def _tell(self, *, connected: bool) -> None:
        for witness in self._witnesses:
            try:
                witness(connected=connected)
            except Exception:
                log.exception("one who watches the bus failed")

    def _instrument(self, instruments: Instruments) -> None:
        self._connected = instruments.gauge(catalogue.CLUSTER_CONNECTED)
        messages = (
            instruments.counter(catalogue.CLUSTER_MESSAGES, way)
            for way in ("sent", "received", "dropped", "broken")
        )
        self._sent, self._received, self._dropped, self._broken = messages


def _loaded(body: bytes) -> Any:
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError(f"{len(body)} bytes are too many for a message")
    return orjson.loads(body)


async def _until_one_fails(*work: Coroutine[Any, Any, None]) -> None:
    """Runs all until one ends, then ends the others and raises what that one raised.

    Not a TaskGroup: up to Python 3.12 it leaves its parent marked as cancelled, and other time-outs go wrong.
    """
    tasks = [asyncio.create_task(each) for each in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(tasks, CANCEL_SECONDS)
    for task in done:
        task.result()
