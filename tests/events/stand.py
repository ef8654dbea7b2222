"""Events over a real journal, and what a test asks of both."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fleetpulse import config
from fleetpulse.budgets import Budgets
from fleetpulse.catalogue import Metric
from fleetpulse.events import Events
from fleetpulse.instruments import Instruments
from fleetpulse.journal import EVENTS, EventRow, Journal, rows_after
from fleetpulse.series.fold import SeriesFold

DEADLINE = 20.0
NOW = 1_760_000_000.0


class Stand:
    """A journal, and the events that go into it."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.instruments = Instruments()
        fold = SeriesFold(config.Limits(), Budgets((), "UTC"))
        path = folder / "journal.db"
        self.journal = Journal(path, config.Journal(), fold, self.instruments, lambda _: None)
        self.events = Events(self.journal, "here", self.instruments, lambda: NOW, **options)

    def stored(self) -> list[EventRow]:
        """Every stored event, the oldest first."""
        reader = self.journal.reader()
        try:
            return [
                each.row for each in rows_after(reader, EVENTS, 0, 100_000).rows if isinstance(each.row, EventRow)
            ]
        finally:
            reader.close()

    def value(self, metric: Metric, *labels: str) -> float:
        """A sample of a metric."""
        for family in self.instruments.registry.collect():
            for sample in family.samples:
                if sample.name == metric.name and tuple(sample.labels.values()) == labels:
                    return sample.value
        return 0.0


@asynccontextmanager
async def running(folder: Path, **options: Any) -> AsyncIterator[Stand]:
    """Events that are stored and handed on; stopped in the end."""
    stand = Stand(folder, **options)
    stand.journal.start(lambda *_: None)
    stand.events.start()
    try:
        yield stand
    finally:
        await stand.events.stop()
        await stand.journal.stop()


async def until(condition: Callable[[], object]) -> None:
    """Waits until a condition holds."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - what is waited for is another party's doing
            await asyncio.sleep(0.005)
