"""What budgets begin with, and where they will end.

A budget that is new begins with what was spent in its period already, kept as a total, so that later commits add to
it. One that is gone begins anew should it come back: nobody counted for it meanwhile.
"""

import asyncio
from collections.abc import Mapping, Sequence

from fleetpulse import catalogue
from fleetpulse.budgets import Budgets, Usage, labels
from fleetpulse.catalogue import Metric
from fleetpulse.config import Budget
from fleetpulse.journal import Adjustment, Journal, Key, Scope, Spent, spent_since
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
    reader = journal.reader()
    try:
        return spent_since(reader, start, [Scope(budget.scope, budget.target) for budget in budgets])
    finally:
        reader.close()
