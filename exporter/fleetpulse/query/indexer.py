"""Keeps the search index up with the journal, on a thread and connections of its own.

Promises: the journal's writer never waits for it; it takes little while rows come in, and catches up when they
do not; what cannot be trusted (damaged, of another layout, of another journal or ahead of this one) is made again
by itself, while searches read the rows instead. A full disk is waited for.
"""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Generic

from fleetpulse.instruments import Instruments
from fleetpulse.journal import MESSAGES, REQUESTS, Journal
from fleetpulse.journal.following import newest_id, oldest_id
from fleetpulse.query import index
from fleetpulse.query.index import PARTITION_IDS, Position
from fleetpulse.query.leases import SearchIndex
from fleetpulse.query.subject import R, Subject

SLICE_ROWS = 256
TRANSACTION_SLICES = 32
FOLLOW_SECONDS = 0.5
RETRY_SECONDS = 5.0
MIN_SECONDS = 0.001
TIDY_SECONDS = 30.0
IDLE_SHARE = 0.25  # pause after a slice, as a share of the time it took
BUSY_SHARE = 3.0  # the same, while rows come in: it keeps up with them
FLOOD_SHARE = 12.0  # the same, while very many come in: it catches up later
FLOOD_ROWS_PER_SECOND = 2_000
MERGE_PAGES = 256
FREE_PAGES = 256
REASONS = ("missing", "layout", "damaged", "other_journal")
FLOODING = (REQUESTS, MESSAGES)  # rows of which there may be very many
log = logging.getLogger(__name__)


class UnfitError(Exception):
    """The index has to be made again, for one of REASONS."""


class UnreadableError(Exception):
    """The journal cannot be read now."""


def search_indexer(
    journal: Journal, path: Path, instruments: Instruments, subject: Subject[R]
) -> "Indexer[R] | None":
    """The indexer of a subject's index in this file; None where SQLite was built without FTS5."""
    if not index.supported():
        log.warning("SQLite has no FTS5 here, so there is no search index: rows are read one by one")
        return None
    return Indexer(journal, SearchIndex(path), instruments, subject)


class Indexer(Generic[R]):
    """The thread, which lives as long as `run`: end that before the journal is closed."""

    def __init__(
        self, journal: Journal, shared: SearchIndex, instruments: Instruments, subject: Subject[R]
    ) -> None:
        self.shared = shared
        self._subject = subject
        self._table = subject.table
        self._journal = journal
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"search-{subject.table.name}", daemon=True)
        self._rows: sqlite3.Connection
        self._file: sqlite3.Connection
        self._discarded = False
        self._unmerged: list[int] = []
        self._merged: set[int] = set()
        self._merging = False
        self._tidy_due = 0.0
        self._newest, self._looked = 0, 0.0
        self._warned = False
        self._instrument(instruments)

    async def run(self) -> None:
        """Indexes until cancelled; what was not committed then is indexed after the next start."""
        self._thread.start()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._stopping.set()
            with suppress(AttributeError, sqlite3.ProgrammingError):  # not open yet, or closed already
                self._file.interrupt()
            await asyncio.to_thread(self._thread.join)

    def _instrument(self, instruments: Instruments) -> None:
        shared, journal, table, metrics = self.shared, self._journal, self._table, self._subject.metrics
        self._rebuilds = instruments.counter(metrics.rebuilds)
        for reason in REASONS:
            self._rebuilds.labels(reason)

        def lag() -> int:
            return max(0, journal.newest_id(table) - shared.reached)

        instruments.gauge(metrics.lag).set_function(lag)
        instruments.gauge(metrics.indexed).set_function(lambda: max(0, journal.extent(table)[0] - lag()))
        instruments.gauge(metrics.size).set_function(lambda: index.size(shared.path))

    # The thread's life ----------------------------------------------------------------------------------------
    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._attempt()
            except Exception as error:  # noqa: BLE001 - the thread outlives whatever it is: the next try may do
                self._wait_after(error)

    def _attempt(self) -> None:
        try:
            self._follow()
        except UnfitError as unfit:
            self._discard(str(unfit))
        except sqlite3.Error as error:
            if index.is_passing(error) or self._stopping.is_set():
                raise
            log.warning("the search index is damaged: %s", error)
            self._discard("damaged")

    def _wait_after(self, error: Exception) -> None:
        """Waits until it is time for another try; says so once."""
        if self._stopping.is_set():
            return
        if not self._warned:
            foreseen = isinstance(error, sqlite3.Error | UnreadableError | OSError)
            log.warning("the search index waits: %s", error, exc_info=None if foreseen else error)
            self._warned = True
        self._stopping.wait(RETRY_SECONDS)

    def _discard(self, reason: str) -> None:
        """Deletes the file. Searches read the rows until there is another."""
        self.shared.reached = 0
        self.shared.doubted = False
        for file in index.files(self.shared.path):
            file.unlink(missing_ok=True)
        self._rebuilds.labels(reason).inc()
        self._discarded = True
        log.info("the search index is made again: %s", reason.replace("_", " "))
        if reason == "damaged":
            self._stopping.wait(RETRY_SECONDS)  # a disk that damages everything is not to be kept busy

    def _follow(self) -> None:
        """Works until it is told to stop. Raises UnfitError, UnreadableError, sqlite3.Error or OSError."""
        if not self.shared.path.exists() and not self._discarded:
            self._rebuilds.labels("missing").inc()
        with (
            closing(self._journal.reader()) as self._rows,
            closing(index.open_index(self.shared.path)) as self._file,
        ):
            self._judge()
            self._unmerged, self._merged, self._merging, self._tidy_due = [], set(), False, 0.0
            self.shared.publish()
            try:
                self._work()
            finally:
                self.shared.withdraw()
                with suppress(sqlite3.Error):  # it may be damaged
                    index.settle(self._file)

    def _work(self) -> None:
        while not self._stopping.is_set():
            if self.shared.doubted:
                raise UnfitError("damaged")
            try:
                busy = self._advance() or self._tidy()
            except (sqlite3.Error, UnreadableError) as error:
                if isinstance(error, sqlite3.Error) and not index.is_passing(error):
                    raise
                self._wait_after(error)  # what is indexed can be read meanwhile
                continue
            self._warned = False
            if not busy:
                self._stopping.wait(FOLLOW_SECONDS)

    def _judge(self) -> None:
        """Takes over where the file stands, if it stands on this journal."""
        if index.version(self._file) != index.VERSION:
            raise UnfitError("layout")
        if not index.is_sound(self._file):
            raise UnfitError("damaged")
        last, key = index.position(self._file)
        with _journal():
            found = self._rows.execute(
                f"SELECT {self._subject.key} FROM {self._table.name} WHERE id = ?",  # noqa: S608 - our own names
                (last,),
            ).fetchone()
            ahead = last > newest_id(self._rows, self._table)
        if ahead or (found and found != (key,)):
            raise UnfitError("other_journal")
        self.shared.reached = last

    # Adding ---------------------------------------------------------------------------------------------------
    def _advance(self) -> bool:
        """Indexes what is new, at most one transaction of it; False where nothing was."""
        rows = self._read(self.shared.reached)
        if not rows:
            return False
        self._file.execute("BEGIN IMMEDIATE")
        try:
            reached = self._add(rows)
            index.save_position(self._file, reached)
            self._file.execute("COMMIT")
        except BaseException:
            if self._file.in_transaction:
                self._file.execute("ROLLBACK")
            raise
        self.shared.reached = reached.last
        return True

    def _add(self, rows: list[tuple[int, R]]) -> Position:
        """Adds these rows and those that follow, slice by slice, to the open transaction."""
        reached = Position(0, "")
        for _ in range(TRANSACTION_SLICES):
            began = time.perf_counter()
            index.add(self._file, [(number, self._subject.document(row)) for number, row in rows])
            number, row = rows[-1]
            reached = Position(number, row[0])
            self._pause(time.perf_counter() - began)
            rows = [] if self._stopping.is_set() else self._read(number)
            if not rows:
                break
        return reached

    def _read(self, after: int) -> list[tuple[int, R]]:
        with _journal():
            found = self._rows.execute(
                f"SELECT id,{self._subject.columns} FROM {self._table.name} WHERE id > ? ORDER BY id LIMIT ?",  # noqa: S608 - our own names
                (after, SLICE_ROWS),
            ).fetchall()
        return [(number, self._subject.row(*values)) for number, *values in found]

    def _pause(self, took: float) -> None:
        """Leaves the processor to others: much of it while requests come in."""
        with _journal():
            newest = sum(newest_id(self._rows, table) for table in FLOODING)
        now = time.monotonic()
        rate = (newest - self._newest) / max(now - self._looked, MIN_SECONDS)
        self._newest, self._looked = newest, now
        share = FLOOD_SHARE if rate > FLOOD_ROWS_PER_SECOND else BUSY_SHARE if rate > 0 else IDLE_SHARE
        self._stopping.wait(took * share)

    # Tidying --------------------------------------------------------------------------------------------------
    def _tidy(self) -> bool:
        """One step of what can wait: forgets deleted rows, merges complete tables; False where nothing is to do."""
        if self._unmerged:
            self._merge()
            return True
        if time.monotonic() < self._tidy_due:
            return False
        self._tidy_due = time.monotonic() + TIDY_SECONDS
        with _journal():
            oldest = oldest_id(self._rows, self._table)
        after = {number: (number + 1) * PARTITION_IDS for number in index.partitions(self._file)}
        for number in [each for each in after if after[each] <= oldest]:
            index.drop(self._file, number)
            del after[number]
        while index.free(self._file, FREE_PAGES) and not self._stopping.is_set():
            pass
        complete = {number for number in after if after[number] <= self.shared.reached + 1}
        self._unmerged = sorted(complete - self._merged)
        return bool(self._unmerged)

    def _merge(self) -> None:
        """One step of merging one table."""
        began = time.perf_counter()
        pages = MERGE_PAGES if self._merging else -MERGE_PAGES
        self._merging = index.merge(self._file, self._unmerged[-1], pages)
        if not self._merging:
            self._merged.add(self._unmerged.pop())
        self._pause(time.perf_counter() - began)


@contextmanager
def _journal() -> Iterator[None]:
    """Reading the journal within: its failures say nothing about the index."""
    try:
        yield
    except sqlite3.Error as error:
        raise UnreadableError(f"the journal cannot be read: {error}") from error
