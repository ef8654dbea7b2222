"""The sender's thread: takes batches from the spool to the server, and insists.

Promises: a record leaves the spool only once the server has acknowledged it or refused it for good. The server is
tried again with growing pauses, with its own (Retry-After) where it names one, and slowly where somebody must
change something first, such as a credential. A batch refused as a whole is taken apart until the bad record is
alone.
"""

import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fleetpulse.client.activities import MARK
from fleetpulse.client.answers import Outcome, Verdict, judge, together
from fleetpulse.client.complaints import Complaints, log
from fleetpulse.client.segments import Batch
from fleetpulse.client.spool import Spool
from fleetpulse.client.tally import Tally
from fleetpulse.client.transport import NDJSON, ExchangeError, Transport

REQUESTS = "/api/log-request"
ACTIVITIES = "/api/v1/group-ai/monitor/accounts/activity"
BATCH_BYTES = 2**20
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 30.0
BLOCKED_PAUSE = 30.0
ADOPT_SECONDS = 15.0


@dataclass(frozen=True)
class Pace:
    """At most so many records a batch; an incomplete one waits up to `interval` seconds for more."""

    batch_size: int
    interval: float


class Sender:
    """Runs until `stop`; then it closes the spool. `trouble` says why nothing can be sent now."""

    def __init__(  # noqa: PLR0913 - what it works with
        self, spool: Spool, transport: Transport, tally: Tally, complaints: Complaints, pace: Pace, where: str
    ) -> None:
        self.trouble: str | None = None
        self._spool = spool
        self._transport = transport
        self._tally = tally
        self._complaints = complaints
        self._pace = pace
        self._where = where
        self._most = pace.batch_size
        self._pause = FIRST_PAUSE
        self._adopt_at = 0.0
        self._wanted = 0  # own records up to this one are waited for
        self._work = threading.Event()  # there may be something to do
        self._kick = threading.Event()  # do not wait for the next attempt
        self._stopped = threading.Event()

    # Other threads ------------------------------------------------------------------------------------------------
    def more(self) -> None:
        """There is something to send, or to tell."""
        self._work.set()

    def hurry(self, target: int) -> None:
        """Somebody waits until `target` own records are settled: send at once, and try again soon."""
        self._wanted = max(self._wanted, target)
        self._pause = FIRST_PAUSE
        self._work.set()
        self._kick.set()

    def stop(self) -> None:
        """Ends after the attempt under way."""
        self._stopped.set()
        self._work.set()
        self._kick.set()

    def abandon(self) -> None:
        """Closes a forked child's handle of the connection, which is the parent's."""
        self._transport.close()

    # Its own ------------------------------------------------------------------------------------------------------
    def run(self) -> None:
        """The thread."""
        try:
            while not self._stopped.is_set():
                self._guarded_turn()
        finally:
            self._transport.close()
            self._spool.close()
            self._complaints.tell(now=True)

    def _guarded_turn(self) -> None:
        try:
            self._turn()
        except Exception as error:  # noqa: BLE001 - whatever it is, records must go on being sent
            self._spool.release()
            self._fail(f"{type(error).__name__} in the client", 1)
            log.debug("unforeseen", exc_info=error)
            self._stopped.wait(LONGEST_PAUSE / 10)

    def _turn(self) -> None:
        if time.monotonic() >= self._adopt_at:
            self._spool.adopt()
            self._adopt_at = time.monotonic() + ADOPT_SECONDS
        self._complaints.tell()
        if not self._spool.waiting:
            self._rest(ADOPT_SECONDS)
            return
        self._gather()
        batch = self._spool.next_batch(self._most, BATCH_BYTES)
        if batch is not None:
            self._deliver(batch)

    def _rest(self, seconds: float) -> None:
        """Waits for something to happen, or so long."""
        self._work.wait(seconds)
        self._work.clear()

    def _gather(self) -> None:
        """Waits for a batch to fill, unless somebody waits for what is there already."""
        until = time.monotonic() + self._pace.interval
        while self._spool.waiting < self._most and self._wanted <= self._spool.settled:
            left = until - time.monotonic()
            if left <= 0 or self._stopped.is_set():
                return
            self._rest(left)

    def _deliver(self, batch: Batch) -> None:
        self._kick.clear()  # who kicks from now on wants another attempt than this one
        outcome = self._attempt(batch)
        if outcome.verdict is Verdict.KEPT:
            self._kept(batch, outcome)
        elif outcome.verdict is Verdict.NARROW:
            self._narrow(batch, outcome.reason)
        else:
            self._spool.release()
            self._fail(outcome.reason, len(batch.records))
            self._wait(outcome)

    def _attempt(self, batch: Batch) -> Outcome:
        """Sends each kind of record to its address; the batch is kept once every part is.

        Where a part fails, all of it is sent again: what the server has by then, it knows by its id.
        """
        parts: list[Outcome] = []
        for path, records in by_address(batch.records):
            outcome = self._post(path, records)
            if outcome.verdict is not Verdict.KEPT:
                return outcome
            parts.append(outcome)
        return together(parts)

    def _post(self, path: str, records: Sequence[bytes]) -> Outcome:
        try:
            answer = self._transport.post(path, b"\n".join(records), NDJSON)
        except ExchangeError as error:
            return Outcome(Verdict.LATER, str(error))
        return judge(answer, len(records))

    def _kept(self, batch: Batch, outcome: Outcome) -> None:
        self._tally.add("sent", outcome.stored)
        self._tally.add("duplicates", outcome.duplicates)
        if outcome.rejected:
            self._reject(outcome.rejected, outcome.reason)
        self._spool.settle(batch)
        self._most = min(self._most * 2, self._pace.batch_size)
        self._pause = FIRST_PAUSE
        self._well()

    def _well(self) -> None:
        self.trouble = None
        self._complaints.over("away", f"{self._where} answers again")

    def _narrow(self, batch: Batch, reason: str) -> None:
        """A smaller part next time; the one record that is refused by itself is given up."""
        self._well()
        if len(batch.records) > 1:
            self._spool.release()
            self._most = len(batch.records) // 2
            return
        self._reject(1, reason)
        self._spool.settle(batch)

    def _reject(self, count: int, reason: str) -> None:
        self._tally.add("rejected", count)
        self._complaints.note("rejected", f"{self._where} refuses records for good: {reason}", count)

    def _fail(self, reason: str, count: int) -> None:
        self.trouble = reason
        self._tally.add("errors")
        waiting = f"{max(self._spool.waiting, count)} records wait"
        self._complaints.note("away", f"{self._where}: {reason}; {waiting} in {self._spool.place or 'memory'}")
        self._complaints.tell()

    def _wait(self, outcome: Outcome) -> None:
        """The pause before the next attempt: kept to where the server asked for it, else cut short by who waits."""
        if outcome.pause is not None:
            self._stopped.wait(outcome.pause)
            return
        pause = BLOCKED_PAUSE if outcome.verdict is Verdict.BLOCKED else self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        self._kick.wait(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter


def by_address(records: Sequence[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """Where to send which of the records, as the server takes them."""
    calls = [record for record in records if not record.startswith(MARK)]
    activities = [record.removeprefix(MARK) for record in records if record.startswith(MARK)]
    if calls:
        yield REQUESTS, calls
    if activities:
        yield ACTIVITIES, activities
