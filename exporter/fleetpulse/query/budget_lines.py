"""How each budget did in a report's time: the journal keeps a total of every period of every budget."""

from collections.abc import Iterator
from datetime import datetime

from fleetpulse.budgets import Budgets, Period, Usage, state
from fleetpulse.config import Budget
from fleetpulse.query.report import BudgetLine
from fleetpulse.series.store import SeriesStore


class BudgetBook:
    """The configured budgets, and what their periods hold."""

    def __init__(self, budgets: Budgets, store: SeriesStore) -> None:
        self._budgets = budgets
        self._store = store

    def lines(self, start: datetime, end: datetime, source: str | None) -> list[BudgetLine]:
        """Every budget (of one source: those of it) over `[start, end)`, measured by its limit of today."""
        chosen = [budget for budget in self._budgets.budgets if source is None or budget.source == source]
        return [self._line(budget, start, end) for budget in chosen]

    def _line(self, budget: Budget, start: datetime, end: datetime) -> BudgetLine:
        periods = list(self._periods(budget, start.timestamp(), end.timestamp()))
        begun = [period for period in periods if period.start.timestamp() >= start.timestamp()]
        usage = self._of(budget, periods[-1])
        return BudgetLine(
            name=budget.name,
            scope=budget.scope,
            target=budget.target,
            period=budget.period,
            start=periods[-1].start,
            limit=budget.limit_usd,
            spent=usage.spent,
            used=usage.spent / budget.limit_usd,
            state=state(budget, usage),
            periods=len(begun),
            exceeded=sum(self._of(budget, period).spent >= budget.limit_usd for period in begun),
        )

    def _periods(self, budget: Budget, start: float, end: float) -> Iterator[Period]:
        """Those of the budget's periods that overlap `[start, end)`, at least one."""
        period = self._budgets.period(budget, start)
        yield period
        while period.end.timestamp() < end:
            period = self._budgets.period(budget, period.end.timestamp())
            yield period

    def _of(self, budget: Budget, period: Period) -> Usage:
        labels = self._budgets.spend_labels(budget, period.start.timestamp())
        return Usage(self._store.spent(labels), self._store.unpriced(labels))
