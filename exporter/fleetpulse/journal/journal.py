"""The journal as the event loop sees it: submit a write, await its commit.

Owns the writer's thread, the bound on waiting rows and the journal's own metrics. Everything here runs on the
event loop; only `Writer` runs elsewhere.
"""

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from fleetpulse import catalogue, config
from fleetpulse.errors import OverloadedError
from fleetpulse.instruments import Instruments
from fleetpulse.journal.accounts import AccountState, read_account, read_accounts
from fleetpulse.journal.floors import floor_of, kept_rows
from fleetpulse.journal.following import oldest_id
from fleetpulse.journal.notes import read_note
from fleetpulse.journal.rows import ALERTS, REQUESTS, TABLES, AlertRow, Row, Table
from fleetpulse.journal.schema import open_reader, open_writer
from fleetpulse.journal.totals import Changes, Key, Total
from fleetpulse.journal.writer import Commit, Fold, Job, Result, Writer
from fleetpulse.journal.writes import AgentState, Batch, Outcome, SaveAgents, Write

GROUP_ROWS = 16_384
EPOCH_NOTE = "journal.epoch"
OnStored = Callable[[Table, Sequence[Row], int], None]
"""Hears of a table's new rows after their commit, with the id of the first; the others' follow without holes."""
log = logging.getLogger(__name__)


class Journal:
    """Durable storage with group commit. `on_changes` gets every committed change of totals, before the submitters.

    So whoever is told "stored" finds it in the totals already. `epoch` names this journal for its whole life: with
    a row's id it is a position that outlives restarts, and that no other journal has.
    """

    def __init__(  # noqa: PLR0913 - the parts it is wired from
        self,
        path: Path,
        settings: config.Journal,
        fold: Fold,
        instruments: Instruments,
        on_changes: Callable[[Changes], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Opens, checks and migrates the file: may take seconds; raises ConfigError or JournalDamagedError."""
        self.path = path
        self._settings = settings
        self._on_changes = on_changes
        self._on_stored: OnStored = lambda _table, _rows, _first: None
        self._connection = open_writer(path, settings.synchronous)
        self._reader = open_reader(path)
        self.epoch = (read_note(self._reader, EPOCH_NOTE) or b"").decode()
        self._newest = {table: self.newest_id(table) for table in TABLES}
        self._writer = Writer(self._connection, fold, self._deliver, clock)
        self._waiting: deque[Job] = deque()
        self._busy = False  # whether the writer has a group, or is about to be given one
        self._pending_rows = 0
        self.writable = True
        self._instrument(instruments)

    @property
    def totals(self) -> dict[Key, Total]:
        """Every restored total; read it before `start`."""
        return self._writer.totals.values

    def start(self, on_stored: OnStored) -> None:
        """Starts the writer; call on the running loop. `on_stored` hears of new rows after each commit."""
        self._on_stored = on_stored
        self._loop = asyncio.get_running_loop()
        self._writer.start()

    async def stop(self) -> None:
        """Writes everything that was submitted, then closes the file."""
        with suppress(OverloadedError):  # a full disk refuses this too: whoever waited was told
            await self.submit(SaveAgents(()))  # writes nothing, after everything that was submitted before
        await asyncio.to_thread(self._writer.stop)
        self._reader.close()
        with suppress(sqlite3.OperationalError):  # it may want to write, too
            self._connection.execute("PRAGMA optimize")
        self._connection.close()

    async def store(self, table: Table, rows: Sequence[Row]) -> Outcome:
        """Stores rows once each; returns after the commit.

        Raises OverloadedError (also StorageFullError): nothing was kept.
        """
        outcome = await self.submit(Batch(table, rows))
        assert isinstance(outcome, Outcome)  # noqa: S101 - what a Batch returns
        return outcome

    async def submit(self, write: Write) -> object:
        """Queues a write and returns its result after the commit."""
        size = write.size
        if size and self._pending_rows + size > max(self._settings.queue_rows, size):
            raise OverloadedError(f"{self._pending_rows} rows wait for the journal; nothing of this call was kept")
        self._pending_rows += size
        future = self._loop.create_future()
        self._waiting.append(Job(write, future))
        if not self._busy:
            self._busy = True  # the rest of this turn of the loop may add to the group
            self._loop.call_soon(self._hand_over)
        return await future

    def recent_alerts(self, limit: int) -> list[AlertRow]:
        """The newest alert events, oldest first."""
        columns = ",".join(ALERTS.columns)
        rows = self._reader.execute(
            f"SELECT {columns} FROM alert_events ORDER BY id DESC LIMIT ?",  # noqa: S608 - our own names
            (limit,),
        )
        return [AlertRow(*row) for row in rows][::-1]

    def saved_agents(self) -> list[AgentState]:
        """Every agent's saved state, the longest silent first."""
        rows = self._reader.execute("SELECT agent_id, received_at, state FROM agents ORDER BY received_at")
        return [AgentState(*row) for row in rows]

    def saved_accounts(self) -> list[AccountState]:
        """Every group account's state, as of its newest stored activity."""
        return read_accounts(self._reader)

    def saved_account(self, account_id: str) -> AccountState | None:
        """One group account's state."""
        return read_account(self._reader, account_id)

    def extent(self, table: Table) -> tuple[int, float | None]:
        """How many rows a table keeps, and when its oldest was received."""
        first = self._reader.execute(
            f"SELECT received_at FROM {table.name} ORDER BY id LIMIT 1"  # noqa: S608 - our own names
        ).fetchone()
        return (0, None) if first is None else (kept_rows(self._reader, table), float(first[0]))

    def newest_id(self, table: Table) -> int:
        """The id of the newest row that a table ever had, 0 where there was none."""
        row = self._reader.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table.name,)).fetchone()
        return int(row[0]) if row else 0

    def oldest_id(self, table: Table) -> int:
        """The id of the oldest row that is kept, or of the next one to come."""
        return oldest_id(self._reader, table)

    def floor_of(self, stream: str) -> int:
        """The rows of a stream of messages with ids up to this one are gone for ever; 0 where none is."""
        return floor_of(self._reader, stream)

    def used_bytes(self) -> int:
        """Bytes of pages in use, without free ones and without the write-ahead log."""
        (pages,) = self._reader.execute("PRAGMA page_count").fetchone()
        (free,) = self._reader.execute("PRAGMA freelist_count").fetchone()
        (size,) = self._reader.execute("PRAGMA page_size").fetchone()
        return int((pages - free) * size)

    def file_bytes(self) -> int:
        """Bytes of the journal's files on disk."""
        files = (self.path, Path(f"{self.path}-wal"), Path(f"{self.path}-shm"))
        return sum(file.stat().st_size for file in files if file.exists())

    def reader(self) -> sqlite3.Connection:
        """A new read-only connection; the caller closes it."""
        return open_reader(self.path)

    def _deliver(self, commit: Commit) -> None:
        self._loop.call_soon_threadsafe(self._handle, commit)

    def _hand_over(self) -> None:
        """Gives the writer what is waiting, up to GROUP_ROWS, as one transaction; the rest waits for the next."""
        rows = 0
        group = []
        while self._waiting and rows < GROUP_ROWS:
            job = self._waiting.popleft()
            group.append(job)
            rows += job.write.size
        self._writer.put(group)

    def _handle(self, commit: Commit) -> None:
        self._observe(commit)
        self._on_changes(commit.changes)
        self._stored(commit)
        for job, result in zip(commit.jobs, commit.results, strict=True):
            self._finish(job, result)
        self._busy = bool(self._waiting)
        if self._busy:
            self._loop.call_soon(self._hand_over)  # while the writer works, the loop answers

    def _stored(self, commit: Commit) -> None:
        new: dict[Table, list[Row]] = {}
        for job, result in zip(commit.jobs, commit.results, strict=True):
            if isinstance(job.write, Batch) and isinstance(result, Outcome):
                new.setdefault(job.write.table, []).extend(result.new)
        for table, rows in new.items():
            first = self._newest[table] + 1
            self._newest[table] += len(rows)
            self._on_stored(table, rows, first)

    def _finish(self, job: Job, result: Result) -> None:
        self._pending_rows -= job.write.size
        if job.future.done():  # the submitter was cancelled; what it sent is stored all the same
            return
        if isinstance(result, Exception):
            job.future.set_exception(result)
        else:
            job.future.set_result(result)

    def _instrument(self, instruments: Instruments) -> None:
        self._failures = instruments.counter(catalogue.JOURNAL_FAILURES)
        self._commits = instruments.counter(catalogue.JOURNAL_COMMITS)
        self._commit_seconds = instruments.histogram(catalogue.JOURNAL_COMMIT_SECONDS)
        self._group_rows = instruments.histogram(catalogue.JOURNAL_GROUP_ROWS)
        instruments.gauge(catalogue.JOURNAL_PENDING).set_function(lambda: self._pending_rows)
        instruments.gauge(catalogue.JOURNAL_PENDING_LIMIT).set(self._settings.queue_rows)
        instruments.gauge(catalogue.JOURNAL_SIZE).set_function(self.file_bytes)
        instruments.gauge(catalogue.JOURNAL_WRITABLE).set_function(lambda: float(self.writable))
        for reason in ("storage", "internal"):
            self._failures.labels(reason)

    def _observe(self, commit: Commit) -> None:
        self.writable = commit.failure != "storage"
        if commit.failure:
            self._failures.labels(commit.failure).inc()
        if all(isinstance(result, Exception) for result in commit.results):
            return
        self._commits.inc()
        self._commit_seconds.observe(commit.seconds)
        self._group_rows.observe(sum(job.write.size for job in commit.jobs))


__all__ = ["ALERTS", "REQUESTS", "Journal"]
