"""A journal whose requests are priced as the exporter prices them, and the books that must agree about it."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.journal.stand import DEADLINE, NOW, Stand, at_work, request

from fleetpulse import catalogue
from fleetpulse.budgets import Budgets, concerns
from fleetpulse.config import Budget, Limits, LocalPrice, ModelPrice
from fleetpulse.journal import REQUESTS, RequestRow
from fleetpulse.pricing import Pricer
from fleetpulse.repricing import Order, Repricing, Run
from fleetpulse.series.corrections import CorrectionFold
from fleetpulse.signals import RequestLog
from fleetpulse.spending import settle_budgets


def close(amount: float) -> Any:
    """This amount, but for rounding."""
    return pytest.approx(amount, rel=1e-9, abs=1e-9)


@dataclass
class Market:
    """A journal at work, the prices, and the runs."""

    stand: Stand
    budgets: Budgets
    repricing: Repricing
    clock: Callable[[], float]
    work: asyncio.Task[None]

    async def report(self, request_id: str, **fields: Any) -> None:
        """Stores a request as the pipeline would."""
        await self.stand.journal.store(REQUESTS, [self.row(request_id, **fields)])

    def row(self, request_id: str, **fields: Any) -> RequestRow:
        """A request with the cost it has now."""
        whole = {"source": "telegram", "status": "success", "model": "mystery", "input_tokens": 1_000} | fields
        log = RequestLog(request_id=request_id, execution_time=0.5, **whole)
        cost = self.repricing.pricer.cost(log)
        kept = log.model_dump(exclude={"metadata", "timestamp", "cost", "tokens_used", "request_id"})
        return request(
            request_id,
            received_at=self.clock(),
            tokens_used=log.total_tokens,
            timestamp=log.timestamp.timestamp() if log.timestamp else None,
            cost=cost.usd,
            cost_source=cost.source,
            **kept,
        )

    async def give(self, model: str, usd: float, made_by: str = "ops", **fields: Any) -> Run:
        """Gives a price and waits until the run is over."""
        price = ModelPrice(model=model, input_usd_per_million=usd, output_usd_per_million=usd, **fields)
        return await self.end(await self.repricing.set_price(price, made_by))

    async def price_stored(self, **which: Any) -> Run:
        """Prices what is stored and waits until the run is over."""
        return await self.end(await self.repricing.price_stored(Order(made_by="ops", **which)))

    async def end(self, run: Run) -> Run:
        """Waits until a run is over."""
        async with asyncio.timeout(DEADLINE):
            await run.over.wait()
        return run

    async def all_over(self) -> None:
        """Waits until no run is left."""
        async with asyncio.timeout(DEADLINE):
            while self.repricing.pending:  # noqa: ASYNC110 - runs end by themselves
                await asyncio.sleep(0.005)

    def rows(self) -> list[dict[str, Any]]:
        """The requests in the file."""
        return self.table("requests")

    def table(self, name: str) -> list[dict[str, Any]]:
        """A table of the file."""
        cursor = self.stand.eyes.execute(f"SELECT * FROM {name} ORDER BY 1")  # noqa: S608 - our own names
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def total(self, metric: catalogue.Metric, *labels: str) -> float:
        """A total in the file."""
        return sum(
            value
            for key, value in self.stand.totals().items()
            if key.metric == metric.name and key.labels[: len(labels)] == labels
        )

    def spent(self, budget: Budget, now: float | None = None) -> float:
        """What is shown as spent."""
        return self.stand.series.spent(self.budgets.spend_labels(budget, self.clock() if now is None else now))

    def unpriced(self, budget: Budget, now: float | None = None) -> int:
        """What is shown as unpriced."""
        return self.stand.series.unpriced(self.budgets.spend_labels(budget, self.clock() if now is None else now))


@asynccontextmanager
async def market(
    path: Path,
    budgets: Sequence[Budget] = (),
    prices: Sequence[LocalPrice] = (),
    clock: Callable[[], float] = lambda: NOW,
    limits: Limits | None = None,
    **settings: Any,
) -> AsyncIterator[Market]:
    """Opens everything as the exporter does; unfinished runs go on."""
    async with at_work(path, clock=clock, limits=limits, budgets=budgets, **settings) as stand:
        made = Budgets(budgets, "UTC")
        repricing = Repricing(stand.journal, Pricer(prices), CorrectionFold(made), clock)
        await settle_budgets(stand.journal, stand.series, made, clock())
        task = asyncio.create_task(repricing.run())
        try:
            yield Market(stand, made, repricing, clock, task)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def audit(books: Market) -> None:
    """Rows, totals, budgets and corrections agree."""
    rows = books.rows()
    _check_series(books, rows)
    _check_corrections(books, rows)
    for budget in books.budgets.budgets:
        _check_budget(books, budget, rows)


def _check_series(books: Market, rows: list[dict[str, Any]]) -> None:
    costs: dict[tuple[str, str], float] = defaultdict(float)
    unknown: Counter[tuple[str, str]] = Counter()
    for row in rows:
        labels = (row["source"], row["model"] or "none")
        costs[labels] += row["cost"] or 0.0
        unknown[labels] += row["cost_source"] == "unknown"
    for labels, cost in costs.items():
        assert books.total(catalogue.COST, *labels) == close(cost)
        still = books.total(catalogue.UNPRICED, *labels) - books.total(catalogue.PRICED_AFTERWARDS, *labels)
        assert still == unknown[labels]
        assert books.stand.series.child(catalogue.COST, labels).parts[""].value == close(cost)
    assert books.total(catalogue.COST) == close(sum(costs.values()))


def _check_corrections(books: Market, rows: list[dict[str, Any]]) -> None:
    corrected = [row for row in rows if row["cost_source"] == "corrected"]
    entries = books.table("corrections")
    assert sum(entry["requests"] for entry in entries) == len(corrected)
    assert sum(entry["cost"] for entry in entries) == close(sum(row["cost"] for row in corrected))
    assert all(json.loads(entry["price"])["origin"] for entry in entries)
    assert books.total(catalogue.PRICED_AFTERWARDS) == len(corrected)


def _check_budget(books: Market, budget: Budget, rows: list[dict[str, Any]]) -> None:
    spent: dict[float, float] = defaultdict(float)
    unpriced: Counter[float] = Counter()
    corrected = 0.0
    for row in rows:
        if concerns(budget, row["source"], row["model"], row["user_id"], row["account_id"]):
            start = books.budgets.period(budget, row["received_at"]).start.timestamp()
            spent[start] += row["cost"] or 0.0
            unpriced[start] += row["cost_source"] == "unknown"
            corrected += row["cost"] if row["cost_source"] == "corrected" else 0.0
    name = (budget.name, budget.scope, budget.target, budget.period)
    for start, amount in spent.items():
        assert books.spent(budget, start) == close(amount)
        assert books.unpriced(budget, start) == unpriced[start]
    assert books.stand.series.spent_ever(name) == close(sum(spent.values()))
    assert books.stand.series.corrected(name) == close(corrected)
