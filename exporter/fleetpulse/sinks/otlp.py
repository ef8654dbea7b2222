"""Request logs, alerts and recorded messages to an OTLP collector. The journal is the queue, this is its follower.

Promises: every row that is stored after sending was turned on is sent at least once, in order, through any outage
of the collector and any end of this process, unless the journal's retention deletes it first or the collector
refuses it; both are counted. How far it came is kept in the journal together with the counts, in one transaction,
so at any time, `kill -9` included, rows = sent + lost + backlog. (Messages of the own chat are passed over, and are
not among those rows.) After a crash the batches of the last seconds are
sent again and still counted once.

Holds one batch in memory, whatever waits. Reads and encodes on a thread of its own and for half of the time at the
most, so that ingest comes first; a backlog is worked off when there is time.
"""

import asyncio
import json
import logging
import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from fleetpulse import catalogue
from fleetpulse.errors import OverloadedError
from fleetpulse.instruments import Instruments
from fleetpulse.journal import (
    ALERTS,
    MESSAGES,
    REQUESTS,
    Journal,
    Key,
    SaveNote,
    Table,
    newest_id,
    oldest_id,
    read_note,
    received_after,
    rows_after,
)
from fleetpulse.sinks.delivery import Answer, Delivery
from fleetpulse.sinks.records import Batch, encode
from fleetpulse.sinks.variables import Destination, Telemetry

NOTE = "otlp-logs"
# Alerts are few, and go first.
KINDS: Mapping[str, Table] = {"alert": ALERTS, "request": REQUESTS, "message": MESSAGES}
LOST = ("rejected", "too_large", "deleted")
TROUBLES = ("unreachable", "timeout", "busy", "misdirected")
BATCH_BYTES = 2**20  # Loki takes 4 MiB, collectors as much or more
SAVE_SECONDS = 2.0
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 0.5, 30.0
STOP_SECONDS = 2.0
TELL_SECONDS = 60.0
log = logging.getLogger(__name__)


@dataclass
class Stream:
    """One table on its way out.

    `position` is the id of the last row that is done with, `saved` that which a restart would go on from, and
    `most` how many rows a batch may hold now.
    """

    kind: str
    table: Table
    most: int
    position: int = 0
    saved: int = 0
    counted: dict[Key, float] = field(default_factory=dict)

    def count(self, key: Key, number: float) -> None:
        """Adds to what goes into the journal with the next position."""
        self.counted[key] = self.counted.get(key, 0.0) + number


class OtlpLogs:
    """Sends what the journal stores. Lives on the event loop from `start` to `stop`."""

    def __init__(  # noqa: PLR0913 - the parts it is wired from
        self,
        telemetry: Telemetry,
        destination: Destination,
        journal: Journal,
        instruments: Instruments,
        begin: Literal["newest", "oldest"],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`telemetry.resource` is who sends. Raises ConfigError for certificates that cannot be used."""
        self._telemetry = telemetry
        self._shown = destination.shown
        self._journal = journal
        self._begin = begin
        self._clock = clock
        self._delivery = Delivery(destination)
        self._streams = [Stream(kind, table, telemetry.batch_rows) for kind, table in KINDS.items()]
        self._reader = journal.reader()  # of the thread
        self._eyes = journal.reader()  # of the event loop
        self._thread = ThreadPoolExecutor(1, "otlp-logs")
        self._stopping = asyncio.Event()
        self._hurry = False
        self._posting: asyncio.Task[Answer] | None = None
        self._task: asyncio.Task[None] | None = None
        self._saved_at = 0.0
        self._worked = 0.0  # seconds of the processor that the thread took in one round
        self._told: dict[str, float] = {}
        self._instrument(instruments)

    async def start(self) -> None:
        """Finds where to go on, and begins. Call before anything new is stored."""
        self._restore()
        with suppress(OverloadedError):  # a full disk: it is kept with the first position that can be
            await self._save()
        self._task = asyncio.create_task(self._run())
        log.info("sending request logs, alerts and recorded messages to %s", self._shown)

    async def stop(self) -> None:
        """Sends what is left for STOP_SECONDS at the most, keeps the position, and closes everything.

        What is not sent by then waits in the journal for the next start.
        """
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=STOP_SECONDS)
            self._hurry = True
            if self._posting is not None:
                self._posting.cancel()
            await self._task
        await self._delivery.close()
        await asyncio.to_thread(self._thread.shutdown)
        self._reader.close()
        self._eyes.close()

    async def _run(self) -> None:
        while not self._hurry:
            last = self._stopping.is_set()
            more = await self._round()
            if last and not more:
                break
            await self._pause(self._worked if more else self._telemetry.delay_seconds)
        with suppress(OverloadedError):
            await self._save()

    async def _round(self) -> bool:
        """One batch of each kind; whether there is more to send at once."""
        self._worked = 0.0
        try:
            more = [await self._forward(stream) for stream in self._streams]
            if time.monotonic() - self._saved_at >= SAVE_SECONDS:
                await self._save()
        except OverloadedError as error:
            self._tell("save", "how far sending to OTLP came is not kept: %s", error)
        except Exception as error:  # noqa: BLE001 - it must outlive anything; the position stays, so nothing is lost
            self._tell("error", "sending to OTLP: %s: %s", type(error).__name__, error)
        else:
            return any(more)
        return False

    async def _forward(self, stream: Stream) -> bool:
        """Sends the next batch of a table, if there is one; whether it was a full one."""
        work = asyncio.get_running_loop().run_in_executor
        batch = await work(self._thread, self._next, stream.table, stream.position, stream.most)
        if not batch.records:
            self._advance(stream, batch)
            return batch.full
        answer = await self._deliver(batch)
        if answer is None:
            return False
        self._settle(stream, batch, answer)
        return batch.full

    def _next(self, table: Table, position: int, most: int) -> Batch:
        """Reads and encodes, on the thread."""
        began = time.thread_time()
        page = rows_after(self._reader, table, position, most)
        batch = Batch(b"", 0, page.upto, full=False)
        if page.rows:
            batch = encode(page.rows, self._telemetry.resource, BATCH_BYTES, most)
        self._worked += time.thread_time() - began
        return batch

    async def _deliver(self, batch: Batch) -> Answer | None:
        """Tries until the collector has decided; None where the exporter stops before."""
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            answer = await self._post(batch.body)
            if answer is None or answer.outcome != "again":
                return answer
            self._retries.labels(answer.trouble).inc()
            self._tell("trouble", "%s takes no records, which wait in the journal: %s", self._shown, answer.detail)
            jitter = random.uniform(0.5, 1.0)  # noqa: S311 - no secret: replicas must not come back all at once
            if await self._pause(max(answer.retry_after, backoff * jitter)):
                return None
            backoff = min(2 * backoff, LONGEST_BACKOFF_SECONDS)

    async def _post(self, body: bytes) -> Answer | None:
        """One try; None where `stop` cuts it off."""
        self._posting = asyncio.create_task(self._delivery.post(body))
        await asyncio.wait({self._posting})
        return None if self._posting.cancelled() else self._posting.result()

    def _settle(self, stream: Stream, batch: Batch, answer: Answer) -> None:
        """Counts what the collector decided, and moves on."""
        if answer.outcome == "smaller" and batch.records > 1:
            stream.most = batch.records // 2
            return
        lost = min(answer.rejected, batch.records) if answer.outcome == "taken" else batch.records
        reason = "too_large" if answer.outcome == "smaller" else "rejected"
        if lost:
            stream.count(Key(catalogue.OTLP_LOGS_LOST.name, (stream.kind, reason)), lost)
            self._tell("lost", "%s refused %d of %d records: %s", self._shown, lost, batch.records, answer.detail)
        if answer.outcome == "taken":
            stream.count(Key(catalogue.OTLP_LOGS_SENT.name, (stream.kind,)), batch.records - lost)
            stream.most = min(2 * stream.most, self._telemetry.batch_rows)
            self._last_success.set(self._clock())
            if self._told.pop("trouble", None):
                log.info("%s takes records again", self._shown)
        self._advance(stream, batch)

    def _advance(self, stream: Stream, batch: Batch) -> None:
        """Moves past a batch; ids that are missing up to its end are rows that were deleted unsent."""
        deleted = batch.upto - stream.position - batch.records - batch.passed
        if deleted:
            stream.count(Key(catalogue.OTLP_LOGS_LOST.name, (stream.kind, "deleted")), deleted)
            self._tell("deleted", "retention deleted %d rows before they could be sent to OTLP", deleted)
        if batch.passed:
            stream.count(Key(catalogue.OTLP_LOGS_SENT.name, (stream.kind,)), 0.0)  # so that the position is kept
        stream.position = batch.upto

    def _restore(self) -> None:
        """Goes on where the journal says, else begins as configured; lets every counter exist."""
        kept = json.loads(read_note(self._eyes, NOTE) or b"{}")
        for stream in self._streams:
            newest = newest_id(self._eyes, stream.table)
            first = newest if self._begin == "newest" else oldest_id(self._eyes, stream.table) - 1
            stream.position = stream.saved = min(kept.get(stream.kind, first), newest)
            stream.count(Key(catalogue.OTLP_LOGS_SENT.name, (stream.kind,)), 0.0)
            for reason in LOST:
                stream.count(Key(catalogue.OTLP_LOGS_LOST.name, (stream.kind, reason)), 0.0)

    async def _save(self) -> None:
        """Keeps the positions and what is counted up to them. Raises OverloadedError: later, then."""
        self._saved_at = time.monotonic()
        if not any(stream.counted for stream in self._streams):
            return
        deltas = {key: number for stream in self._streams for key, number in stream.counted.items()}
        positions = {stream.kind: stream.position for stream in self._streams}
        await self._journal.submit(SaveNote(deltas, NOTE, json.dumps(positions).encode()))
        for stream in self._streams:
            stream.counted.clear()
            stream.saved = positions[stream.kind]

    async def _pause(self, seconds: float) -> bool:
        """Waits, unless it is time to stop; whether it is."""
        if not self._stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._stopping.wait()
        return self._stopping.is_set()

    def _tell(self, what: str, message: str, *arguments: object) -> None:
        """Warns, once a minute of the same thing at the most."""
        now = time.monotonic()
        if now - self._told.get(what, -TELL_SECONDS) >= TELL_SECONDS:
            self._told[what] = now
            log.warning(message, *arguments)

    def _instrument(self, instruments: Instruments) -> None:
        backlog = instruments.gauge(catalogue.OTLP_LOGS_BACKLOG)
        for stream in self._streams:
            backlog.labels(stream.kind).set_function(partial(self._backlog, stream))
        instruments.gauge(catalogue.OTLP_LOGS_LAG).set_function(self._lag)
        self._last_success = instruments.gauge(catalogue.OTLP_LOGS_LAST_SUCCESS)
        self._retries = instruments.counter(catalogue.OTLP_LOGS_RETRIES)
        for trouble in TROUBLES:
            self._retries.labels(trouble)

    def _backlog(self, stream: Stream) -> float:
        return newest_id(self._eyes, stream.table) - stream.saved

    def _lag(self) -> float:
        waiting = [received_after(self._eyes, stream.table, stream.position) for stream in self._streams]
        return max((self._clock() - since for since in waiting if since is not None), default=0.0)
