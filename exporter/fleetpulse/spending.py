"""What budgets begin with, and where they will end.

A budget that is new begins with what was spent in its period already, kept as a total, so that later commits add to
it. One that is gone begins anew should it come back: nobody counted for it meanwhile.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing

from fleetpulse import catalogue
from fleetpulse.budgets import Budgets, Usage, labels
from fleetpulse.catalogue import Metric
from fleetpulse.config import Budget
from fleetpulse.journal import REQUESTS, Adjustment, Journal, Key, Scope, Spent, received_after, spent_since
from fleetpulse.series.store import SeriesStore

Changes = dict[Key, float]


def usage(store: SeriesStore, budgets: Budgets, budget: Budget, now: float) -> Usage:
    """What the budget's period of `now` (Unix seconds) holds so far."""
    key = budgets.spend_labels(budget, now)
    return Usage(store.spent(key), store.unpriced(key))


async def settle_budgets(journal: Journal, store: SeriesStore, budgets: Budgets, now: float) -> None:
    """Brings the kept spend in line with the configured budgets. Call once, before anything is stored.

    Raises OverloadedError where the journal cannot be written.
    """
    deltas = _gone(catalogue.BUDGET_SPENT, store.spending(), budgets)
    deltas |= _gone(catalogue.BUDGET_UNPRICED, store.unpricing(), budgets)
    deltas |= await asyncio.to_thread(_new, journal, store, budgets, now)
    if deltas:
        await journal.submit(Adjustment(deltas))


def _gone(metric: Metric, kept: Mapping[tuple[str, ...], float], budgets: Budgets) -> Changes:
    configured = {labels(budget) for budget in budgets.budgets}
    return {Key(metric.name, key): -value for key, value in kept.items() if value and key[:-1] not in configured}


def _new(journal: Journal, store: SeriesStore, budgets: Budgets, now: float) -> Changes:
    by_start: dict[float, list[Budget]] = {}
    for budget in budgets.budgets:
        key = budgets.spend_labels(budget, now)
        if not store.spent(key) or key not in store.unpricing():
            by_start.setdefault(budgets.period(budget, now).start.timestamp(), []).append(budget)
    changes: Changes = {}
    for start, new in by_start.items():
        for budget, spent in zip(new, _spent_since(journal, start, new), strict=True):
            changes |= _missing(store, budgets.spend_labels(budget, now), spent)
    return changes


def _missing(store: SeriesStore, key: tuple[str, ...], spent: Spent) -> Changes:
    """What the totals of a period lack. Nothing unpriced is kept as 0: it says that somebody looked."""
    changes: Changes = {}
    if spent.cost and not store.spent(key):
        changes[Key(catalogue.BUDGET_SPENT.name, key)] = spent.cost
    if key not in store.unpricing() or (spent.unpriced and not store.unpriced(key)):
        changes[Key(catalogue.BUDGET_UNPRICED.name, key)] = spent.unpriced
    return changes


def _spent_since(journal: Journal, start: float, budgets: Sequence[Budget]) -> list[Spent]:
    with closing(journal.reader()) as reader:
        return spent_since(reader, start, _scopes(budgets))


# Where a period will end --------------------------------------------------------------------------------------
HOUR = 3_600.0
PACE_SECONDS = 60.0
WINDOWS = {"day": (6 * HOUR, HOUR), "week": (24 * HOUR, HOUR), "month": (7 * 24 * HOUR, 24 * HOUR, HOUR)}


class Forecasts:
    """What each budget's spend will be at the end of its period, if it goes on as of late.

    The pace is that of the last 6 hours for a day, 24 hours for a week, 7 days for a month, on both sides of the
    turn of a period, so that its first minutes say nothing wild; of a shorter time (1 day, 1 hour) while there are
    no requests that old, and unknown before that. It is found from the rows, at most once a minute.
    """

    def __init__(self, journal: Journal, budgets: Budgets) -> None:
        self._journal = journal
        self._budgets = budgets
        self._paces: tuple[float, dict[str, float]] = (float("-inf"), {})
        self._lock = asyncio.Lock()

    async def forecast(self, budget: Budget, spent: float, now: float) -> float | None:
        """USD at the end of the period of `now` (Unix seconds); None where no pace is known."""
        async with self._lock:
            if not now - PACE_SECONDS < self._paces[0] <= now:
                self._paces = (now, await asyncio.to_thread(self._measured, now))
        pace = self._paces[1].get(budget.name)
        return None if pace is None else spent + pace * (self._budgets.period(budget, now).end.timestamp() - now)

    def _measured(self, now: float) -> dict[str, float]:
        """USD a second, by budget."""
        with closing(self._journal.reader()) as reader:
            oldest = received_after(reader, REQUESTS, 0)
            by_window: dict[float, list[Budget]] = {}
            for budget in self._budgets.budgets:
                known = (
                    window for window in WINDOWS[budget.period] if oldest is not None and oldest <= now - window
                )
                by_window.setdefault(next(known, 0.0), []).append(budget)
            by_window.pop(0.0, None)
            return {
                budget.name: spent.cost / window
                for window, group in by_window.items()
                for budget, spent in zip(group, spent_since(reader, now - window, _scopes(group)), strict=True)
            }


def _scopes(budgets: Sequence[Budget]) -> list[Scope]:
    return [Scope(budget.scope, budget.target) for budget in budgets]
