"""A real journal with its fold and its series, as the exporter wires them, and the rows to fill it with."""

import asyncio
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from fleetpulse.budgets import Budgets
from fleetpulse.catalogue import Metric
from fleetpulse.config import Budget, Limits
from fleetpulse.config import Journal as JournalSettings
from fleetpulse.instruments import Instruments
from fleetpulse.journal import REQUESTS, AlertRow, Journal, MessageRow, RequestRow, Row, Table
from fleetpulse.journal.totals import Deltas, Key
from fleetpulse.journal.writer import Fold
from fleetpulse.series.fold import SeriesFold
from fleetpulse.series.store import SeriesStore

NOW = 1_760_000_000.0  # Thursday, 2025-10-09 08:53:20 UTC
DEADLINE = 30.0
BUDGETS = (Budget(name="daily", limit_usd=10.0),)


def request(request_id: str, **fields: Any) -> RequestRow:
    """A stored request; what a test does not name is plain."""
    plain = RequestRow(
        request_id=request_id,
        received_at=NOW,
        timestamp=None,
        source="telegram",
        user_id="u1",
        command="ask",
        status="success",
        model="gpt-4o",
        provider=None,
        execution_time=0.5,
        tokens_used=30,
        input_tokens=20,
        output_tokens=10,
        cached_tokens=4,
        cost=0.25,
        cost_source="reported",
        error=None,
        session_id=None,
        trace_id=None,
        metadata=None,
    )
    return plain._replace(**fields)


def requests(ids: Iterable[object], **fields: Any) -> list[RequestRow]:
    """Requests with these ids."""
    return [request(f"r{each}", **fields) for each in ids]


def alert(fingerprint: str, status: str = "firing", **fields: Any) -> AlertRow:
    """A stored alert event."""
    starts_at = "2025-10-09T08:00:00+00:00"
    plain = AlertRow(
        event_key=f"{fingerprint}/{starts_at}/{status}",
        received_at=NOW,
        fingerprint=fingerprint,
        alertname="BudgetExceeded",
        status=status,
        severity="critical",
        starts_at=starts_at,
        ends_at=None,
        labels=json.dumps({"alertname": "BudgetExceeded"}),
        annotations="{}",
        generator_url="",
    )
    return plain._replace(**fields)


def recorded(number: int, **fields: Any) -> MessageRow:
    """A message of a recorded stream."""
    plain = MessageRow(
        message_id=f"live/c1/{number}",
        received_at=NOW,
        timestamp=None,
        stream="live",
        kind="message",
        session_id="lobby",
        user_id="u1",
        text="hello",
        opcode=1,
        size=40,
        clock=1.5,
        connection="c1",
    )
    return plain._replace(**fields)


@dataclass
class Stand:
    """A journal at work, what it told, and a second pair of eyes on its file."""

    journal: Journal
    fold: Fold
    series: SeriesStore
    instruments: Instruments
    eyes: sqlite3.Connection
    told: list[tuple[str, str]] = field(default_factory=list)
    numbered: list[tuple[str, int, str]] = field(default_factory=list)
    stopped: bool = False

    async def stop(self) -> None:
        """Stops the journal, once."""
        if not self.stopped:
            self.stopped = True
            self.eyes.close()
            await self.journal.stop()

    def hear(self, table: Table, rows: Sequence[Row], first_id: int) -> None:
        """What the journal says is stored, in its order."""
        self.numbered.extend((table.name, first_id + place, row[0]) for place, row in enumerate(rows))
        self.told.extend((table.name, row[0]) for row in rows)

    def ids(self, table: Table = REQUESTS) -> list[str]:
        """The keys in the file, oldest first."""
        return [key for (key,) in self.eyes.execute(f"SELECT {table.columns[0]} FROM {table.name} ORDER BY id")]  # noqa: S608

    def ids_of(self, table: Table) -> list[tuple[str, int, str]]:
        """Ids and keys in the file, oldest first, as `numbered` has them."""
        found = self.eyes.execute(f"SELECT id, {table.columns[0]} FROM {table.name} ORDER BY id")  # noqa: S608
        return [(table.name, number, key) for number, key in found]

    def totals(self) -> dict[Key, float]:
        """The totals in the file."""
        rows = self.eyes.execute("SELECT metric, labels, value FROM totals")
        return {Key(metric, tuple(json.loads(labels))): value for metric, labels, value in rows}

    def value(self, metric: Metric, *labels: str) -> float:
        """What an instrument shows."""
        return shown(self.instruments, metric.name, *labels)


def shown(instruments: Instruments, sample: str, *labels: str) -> float:
    """A sample of the process's own registry."""
    found = [
        each.value
        for family in instruments.registry.collect()
        for each in family.samples
        if each.name == sample and tuple(each.labels.values()) == labels
    ]
    assert len(found) == 1, (sample, labels, found)
    return found[0]


@asynccontextmanager
async def at_work(
    path: Path,
    *,
    clock: Callable[[], float] = lambda: NOW,
    limits: Limits | None = None,
    budgets: Sequence[Budget] = BUDGETS,
    fold: Fold | None = None,
    **settings: Any,
) -> AsyncIterator[Stand]:
    """Opens a journal as the exporter does, and stops it as the exporter does."""
    series_fold = SeriesFold(limits or Limits(), Budgets(budgets, "UTC"))
    instruments, series = Instruments(), SeriesStore()
    journal = Journal(path, JournalSettings(**settings), fold or series_fold, instruments, series.apply, clock)
    series_fold.restore(journal.totals)
    series.apply(journal.totals)
    stand = Stand(journal, fold or series_fold, series, instruments, journal.reader())
    journal.start(stand.hear)
    try:
        yield stand
    finally:
        await stand.stop()


def crash(path: Path, to: Path) -> Path:
    """The journal's files as `kill -9` at this moment leaves them, in another place."""
    to.mkdir(parents=True, exist_ok=True)
    for file in (path, Path(f"{path}-wal")):
        if file.exists():
            shutil.copy(file, to / file.name)
    return to / path.name


@dataclass
class Hold:
    """A write that keeps the writer busy until it is let go."""

    release: Event = field(default_factory=Event)
    begun: Event = field(default_factory=Event)
    size: int = 0

    def run(self, _connection: sqlite3.Connection) -> None:
        """Waits, on the writer's thread."""
        self.begun.set()
        assert self.release.wait(DEADLINE)


@dataclass
class Run:
    """A write that runs any SQL on the writer's own connection."""

    sql: str
    size: int = 0

    def run(self, connection: sqlite3.Connection) -> list[Any]:
        """Runs it."""
        return connection.execute(self.sql).fetchall()


@asynccontextmanager
async def held(journal: Journal) -> AsyncIterator[Hold]:
    """The writer is busy within; what is submitted meanwhile waits."""
    hold = Hold()
    task = asyncio.create_task(journal.submit(hold))
    assert await asyncio.to_thread(hold.begun.wait, DEADLINE)
    try:
        yield hold
    finally:
        hold.release.set()
        await task


async def until(condition: Callable[[], Any]) -> None:
    """Waits for what the writer does."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - it happens in another thread
            await asyncio.sleep(0.005)


def file_bytes(path: Path) -> int:
    """The size of a file, 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


async def begin(*writes: Any) -> list[asyncio.Task[Any]]:
    """Starts coroutines and lets each submit what it will."""
    tasks = [asyncio.create_task(write) for write in writes]
    await asyncio.sleep(0)
    return tasks


def no_totals(table: Table, new: Sequence[Row], duplicates: int, now: float) -> Deltas:  # noqa: ARG001 - a Fold
    """A fold of nothing."""
    return {}
