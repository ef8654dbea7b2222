"""Budgets: which period of which of them a request counts in, and the state that a spend puts one in.

Spend is kept as a total per period. A period begins at local midnight, on Monday or on the first of the month, so
days of 23 or 25 hours are handled.
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from fleetpulse.config import Budget

State = Literal["ok", "warning", "critical", "exceeded", "unknown"]
WARNING, CRITICAL, EXCEEDED = 0.80, 0.95, 1.0  # shares of the limit; the alert rules have them, too


class Period(NamedTuple):
    """From its start up to its end, which is the start of the next."""

    start: datetime
    end: datetime


class Usage(NamedTuple):
    """What a budget's period holds: USD spent, and requests that have no cost."""

    spent: float
    unpriced: int


class Budgets:
    """The configured budgets and their current periods. Safe to ask from any thread."""

    def __init__(self, budgets: Sequence[Budget], timezone: str) -> None:
        self.budgets = tuple(budgets)
        self._zone = ZoneInfo(timezone)
        # The period that was asked for last, with the labels of its spend: read and written whole.
        self._known: dict[str, tuple[float, float, Period, tuple[str, ...]]] = {}

    def period(self, budget: Budget, moment: float) -> Period:
        """The budget's period that holds a moment (Unix seconds)."""
        return self._of(budget, moment)[2]

    def period_start(self, budget: Budget, moment: float) -> datetime:
        """When that period began."""
        return self._of(budget, moment)[2].start

    def spend_labels(self, budget: Budget, moment: float) -> tuple[str, ...]:
        """The key of the total that holds the budget's spend in the period of a moment.

        It names what the budget is of, then when the period began, so a budget that is given another scope starts
        a total of its own.
        """
        return self._of(budget, moment)[3]

    def same_periods(self, first: float, last: float) -> bool:
        """Whether no budget's period turns between two moments."""
        return first == last or all(
            self.period(budget, first) == self.period(budget, last) for budget in self.budgets
        )

    def _of(self, budget: Budget, moment: float) -> tuple[float, float, Period, tuple[str, ...]]:
        known = self._known.get(budget.name)
        if known is None or not known[0] <= moment < known[1]:
            period = self._period(budget, moment)
            key = (*labels(budget), period.start.isoformat())
            known = self._known[budget.name] = (period.start.timestamp(), period.end.timestamp(), period, key)
        return known

    def _period(self, budget: Budget, moment: float) -> Period:
        # Whole minutes: datetime rounds, and no zone begins a day within a minute.
        today = datetime.fromtimestamp(moment // 60 * 60, self._zone).date()
        if budget.period == "week":
            first = today - timedelta(days=today.weekday())
            return Period(self._midnight(first), self._midnight(first + timedelta(days=7)))
        if budget.period == "month":
            first = today.replace(day=1)
            return Period(self._midnight(first), self._midnight((first + timedelta(days=31)).replace(day=1)))
        return Period(self._midnight(today), self._midnight(today + timedelta(days=1)))

    def _midnight(self, day: date) -> datetime:
        """Where clocks are turned back at midnight, the day begins with the first of the two."""
        return datetime(day.year, day.month, day.day, tzinfo=self._zone)


def labels(budget: Budget) -> tuple[str, str, str, str]:
    """A budget's label values: name, scope, target, period."""
    return budget.name, budget.scope, budget.target, budget.period


def concerns(budget: Budget, source: str, model: str | None, user_id: str, account_id: str | None) -> bool:
    """Whether a request counts in a budget."""
    wanted = (budget.source, budget.model, budget.user, budget.account)
    return all(
        target in (None, given) for target, given in zip(wanted, (source, model, user_id, account_id), strict=True)
    )


def state(budget: Budget, usage: Usage) -> State:
    """What is known of a budget.

    With unpriced requests, spend is a lower bound: that it is exceeded is certain then, and nothing else is.
    """
    used = usage.spent / budget.limit_usd
    if used >= EXCEEDED:
        return "exceeded"
    if usage.unpriced:
        return "unknown"
    if used >= CRITICAL:
        return "critical"
    return "warning" if used >= WARNING else "ok"
