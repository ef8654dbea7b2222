"""Budgets' periods: which one a moment belongs to, in the configured time zone.

Spend is kept as a total per period. A period begins at local midnight, on Monday or on the first of the month, so
days of 23 or 25 hours are handled.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from fleetpulse.config import Budget


class Budgets:
    """The configured budgets and their current periods."""

    def __init__(self, budgets: Sequence[Budget], timezone: str) -> None:
        self.budgets = tuple(budgets)
        self._zone = ZoneInfo(timezone)
        self._known: tuple[int, dict[str, datetime]] = (-1, {})  # a minute, and the periods' starts seen from it

    def period_start(self, budget: Budget, now: float) -> datetime:
        """When the budget's period that holds `now` (Unix seconds) began."""
        minute, starts = self._known  # read and written whole: two threads ask
        this_minute = int(now // 60)  # no zone begins a day within a minute
        if minute != this_minute:
            starts = {known.name: self._period_start(known, this_minute * 60) for known in self.budgets}
            self._known = (this_minute, starts)
        return starts[budget.name]

    def _period_start(self, budget: Budget, now: int) -> datetime:
        # Where clocks are turned back at midnight, the day begins with the first of the two.
        today = datetime.fromtimestamp(now, self._zone).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        if budget.period == "week":
            return today - timedelta(days=today.weekday())
        return today.replace(day=1) if budget.period == "month" else today

    def spend_labels(self, budget: Budget, now: float) -> tuple[str, ...]:
        """The key of the total that holds the budget's spend in the period of `now`.

        It names what the budget is of, then when the period began, so a budget that is given another scope starts
        a total of its own.
        """
        return (*labels(budget), self.period_start(budget, now).isoformat())


def labels(budget: Budget) -> tuple[str, str, str, str]:
    """A budget's label values: name, scope, target, period."""
    return budget.name, budget.scope, budget.target, budget.period
