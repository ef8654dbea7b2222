"""A ledger with all it needs: a real journal, the fold, the series, and a hub that writes down what it is told."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleetpulse import catalogue
from fleetpulse.accounts.book import Book
from fleetpulse.accounts.ledger import Ledger
from fleetpulse.budgets import Budgets
from fleetpulse.config import Settings
from fleetpulse.fleet import Fleet
from fleetpulse.instruments import Instruments
from fleetpulse.journal import Journal, Row, Stored, Table
from fleetpulse.pipeline import Pipeline, Receipt
from fleetpulse.series.accounts import AccountSeries
from fleetpulse.series.agents import AgentSeries
from fleetpulse.series.fold import SeriesFold
from fleetpulse.series.store import SeriesStore
from fleetpulse.signals import Activity

START = 1_700_000_000.0


@dataclass
class Clock:
    """A clock that the test moves."""

    now: float = START

    def __call__(self) -> float:
        return self.now


@dataclass
class Listener:
    """A live hub that writes down what it is told."""

    told: list[tuple[str, str | None]] = field(default_factory=list)
    broken: bool = False
    events: list[tuple[str, str, str, bool]] = field(default_factory=list)

    def happened(self, category: str, kind: str, *, subject: str, detail: Mapping[str, Any]) -> None:
        """Hears of an event."""
        self.events.append((category, kind, subject, bool(detail["silent"])))

    def publish_many(self, topic: str, items: Sequence[tuple[str | None, object]], *, kind: str = "event") -> None:
        """Hears of many things."""
        if self.broken:
            raise RuntimeError("the hub is broken")
        self.told += [(kind, key) for key, _ in items if topic == "accounts"]

    def publish_rows(self, family: str, rows: Sequence[Stored]) -> None:
        """Hears of rows, which are the pipeline's business."""


@dataclass
class World:
    """One life of the exporter, as far as accounts go."""

    ledger: Ledger
    journal: Journal
    store: SeriesStore
    series: AccountSeries
    hub: Listener
    clock: Clock

    @property
    def book(self) -> Book:
        """The book."""
        return self.ledger.book

    async def do(self, account_id: str, kind: str = "message", **fields: Any) -> Receipt:
        """One activity."""
        return await self.ledger.store([(account_id, Activity(kind=kind, **fields))])

    def counter(self, metric: catalogue.Metric, account_id: str) -> float:
        """What a counter shows."""
        if not self.store.has(metric, (account_id,)):
            return 0.0
        return self.store.child(metric, (account_id,)).parts[""].value

    def lines(self) -> str:
        """The gauges as exposed."""
        return b"".join(self.series.render(openmetrics=False)).decode()


@asynccontextmanager
async def at_work(path: Path, clock: Clock, **settings: Any) -> AsyncIterator[World]:
    """Wires the parts as the exporter does, without the web."""
    made = Settings(data_dir=path, **settings)
    store, series = SeriesStore(), AccountSeries()
    fold = SeriesFold(made.limits, Budgets(made.budgets, made.timezone))
    journal = Journal(made.journal_path, made.journal, fold, Instruments(), store.apply, clock)
    fold.restore(journal.totals)
    store.apply(journal.totals)
    has_series = lambda account_id: store.has(catalogue.ACCOUNT_MESSAGES, (account_id,))  # noqa: E731 - as in app
    book = Book(made.accounts, made.limits.known_accounts, series, has_series)
    book.restore(journal.saved_accounts(), journal.totals, clock())
    hub = Listener()
    fleet = Fleet(made.agents, made.limits, 300, AgentSeries(10))
    pipeline = Pipeline(made, journal, store, fleet, hub, clock)
    ledger = Ledger(book, pipeline, journal, hub, hub.happened, clock)

    def stored(table: Table, rows: Sequence[Row], first: int) -> None:
        pipeline.stored(table, rows, first)
        ledger.stored(table, rows, first)

    journal.start(stored)
    try:
        yield World(ledger, journal, store, series, hub, clock)
    finally:
        await journal.stop()
