"""The journal's one writer: a thread that commits each group of writes it is given as one transaction.

Promises: a write's result is delivered only after the commit that holds it; rows and the totals they change are
in the same transaction; a write that storage refuses (disk full) fails alone with StorageFullError and nothing of
it is kept; a broken write never takes others of its group down with it.
"""

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

from fleetpulse.errors import StorageFullError
from fleetpulse.journal.rows import DuplicateError, Row, Table, insert_each, insert_new
from fleetpulse.journal.schema import is_refusal
from fleetpulse.journal.totals import Changes, Deltas, Key, Totals
from fleetpulse.journal.writes import Adjustment, Batch, Counted, Outcome, Write

log = logging.getLogger(__name__)

Result = object | Exception


class Fold(Protocol):
    """Turns what a transaction stores into increments of totals. Called on the writer's thread only."""

    def __call__(self, table: Table, new: Sequence[Row], duplicates: int, now: float) -> Deltas:
        """The increments that these new rows and duplicates stand for."""


@dataclass(frozen=True)
class Commit:
    """One finished group: each job's result, the totals that changed, and what it cost."""

    jobs: Sequence["Job"]
    results: Sequence[Result]
    changes: Changes
    seconds: float
    failure: str | None = None


@dataclass(slots=True, eq=False)
class Job:
    """A write on its way, and the future that awaits its result on the loop."""

    write: Write
    future: asyncio.Future[object]


Insert = Callable[[list[Batch]], list[Outcome]]


class Writer:
    """Owns the writing connection and the totals from `start` until `stop` returns."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        fold: Fold,
        deliver: Callable[[Commit], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`deliver` is called on the writer's thread, once a group, and must not block."""
        self.totals = Totals(connection)
        self._connection = connection
        self._fold = fold
        self._deliver = deliver
        self._clock = clock
        self._queue: queue.SimpleQueue[list[Job] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)

    def start(self) -> None:
        """Begins to write."""
        self._thread.start()

    def put(self, jobs: list[Job]) -> None:
        """Queues jobs that are committed together. The caller bounds how many wait."""
        self._queue.put(jobs)

    def stop(self) -> None:
        """Writes all that was queued before, then ends the thread. Blocks."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (jobs := self._queue.get()) is not None:
            self._deliver(self._commit(jobs))

    def _commit(self, jobs: list[Job]) -> Commit:
        started = time.perf_counter()
        try:
            results, changes = self._transaction(jobs)
        except Exception as error:  # noqa: BLE001 - whatever it is, every submitter must be told
            return self._failed(jobs, error, started)
        return Commit(jobs, results, changes, time.perf_counter() - started)

    def _failed(self, jobs: list[Job], error: Exception, started: float) -> Commit:
        refused = isinstance(error, sqlite3.Error) and is_refusal(error)
        if len(jobs) > 1 and not refused:
            return self._one_by_one(jobs, started)
        log.error("journal: a transaction of %d writes failed: %s", len(jobs), error)
        told = StorageFullError(f"the journal cannot be written now ({error})", retry_after=5) if refused else error
        reason = "storage" if refused else "internal"
        return Commit(jobs, [told] * len(jobs), {}, time.perf_counter() - started, failure=reason)

    def _one_by_one(self, jobs: list[Job], started: float) -> Commit:
        """Finds the broken write by committing each alone."""
        parts = [self._commit([job]) for job in jobs]
        changes = {key: total for part in parts for key, total in part.changes.items()}
        failure = next((part.failure for part in parts if part.failure), None)
        results = [result for part in parts for result in part.results]
        return Commit(jobs, results, changes, time.perf_counter() - started, failure)

    def _transaction(self, jobs: list[Job]) -> tuple[list[Result], Changes]:
        """Tries the usual case first: every row is new. A duplicate among them costs a second transaction."""
        try:
            return self._attempt(jobs, self._insert_all)
        except DuplicateError:
            return self._attempt(jobs, self._insert_each)

    def _attempt(self, jobs: list[Job], insert: Insert) -> tuple[list[Result], Changes]:
        now = self._clock()
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            outcomes = insert([job.write for job in jobs if isinstance(job.write, Batch)])
            results = self._results(jobs, outcomes)
            changes = self.totals.stage(self._increments(jobs, results, now), now)
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self.totals.settle(changes)
        return results, changes

    def _results(self, jobs: list[Job], outcomes: list[Outcome]) -> list[Result]:
        """Each job's result, in order; runs the writes that are not batches."""
        stored = iter(outcomes)
        return [next(stored) if isinstance(job.write, Batch) else job.write.run(self._connection) for job in jobs]

    def _insert_all(self, batches: list[Batch]) -> list[Outcome]:
        """Inserts every row of a table at once; raises DuplicateError where one of them was a duplicate."""
        for table in dict.fromkeys(batch.table for batch in batches):
            insert_new(
                self._connection, table, list(chain.from_iterable(b.rows for b in batches if b.table is table))
            )
        return [Outcome(batch.rows, 0) for batch in batches]

    def _insert_each(self, batches: list[Batch]) -> list[Outcome]:
        """Inserts batch by batch, in order, so that each learns which of its rows were new."""
        return [self._insert_batch(batch) for batch in batches]

    def _insert_batch(self, batch: Batch) -> Outcome:
        stored = insert_each(self._connection, batch.table, batch.rows)
        new = [row for row, is_new in zip(batch.rows, stored, strict=True) if is_new]
        return Outcome(new, len(batch.rows) - len(new))

    def _increments(self, jobs: list[Job], results: list[Result], now: float) -> Deltas:
        """Folds the group's new rows, table by table, so that each series is touched once a transaction."""
        outcomes: dict[Table, list[Outcome]] = {}
        for job, result in zip(jobs, results, strict=True):
            if isinstance(job.write, Batch) and isinstance(result, Outcome):
                outcomes.setdefault(job.write.table, []).append(result)
        parts = [job.write.deltas for job in jobs if isinstance(job.write, Adjustment)]
        parts += [result.deltas for result in results if isinstance(result, Counted)]
        for table, group in outcomes.items():
            new = list(chain.from_iterable(outcome.new for outcome in group))
            parts.append(self._fold(table, new, sum(outcome.duplicates for outcome in group), now))
        return _summed(parts)


def _summed(parts: Sequence[Deltas]) -> Deltas:
    if len(parts) == 1:
        return parts[0]
    deltas: dict[Key, float] = {}
    for key, delta in chain.from_iterable(part.items() for part in parts):
        deltas[key] = deltas.get(key, 0.0) + delta
    return deltas
