"""Budgets that the configuration has gained or lost since the last life.

A new one begins with what was spent in its period already, kept as a total, so that later commits add to it. One
that is gone begins anew should it come back: nobody counted for it meanwhile.
"""

import asyncio

from fleetpulse import catalogue
from fleetpulse.budgets import Budgets, labels
from fleetpulse.journal import Adjustment, Journal, Key, spent_since
from fleetpulse.series.store import SeriesStore


async def settle_budgets(journal: Journal, store: SeriesStore, budgets: Budgets, now: float) -> None:
    """Brings the kept spend in line with the configured budgets. Call once, before anything is stored.

    Raises OverloadedError where the journal cannot be written.
    """
    deltas = _gone(store, budgets) | await asyncio.to_thread(_new, journal, store, budgets, now)
    if deltas:
        await journal.submit(Adjustment(deltas))


def _gone(store: SeriesStore, budgets: Budgets) -> dict[Key, float]:
    configured = {labels(budget) for budget in budgets.budgets}
    return {_key(key): -spent for key, spent in store.spending().items() if spent and key[:-1] not in configured}


def _new(journal: Journal, store: SeriesStore, budgets: Budgets, now: float) -> dict[Key, float]:
    deltas = {}
    reader = journal.reader()
    try:
        for budget in budgets.budgets:
            key = budgets.spend_labels(budget, now)
            if not store.spent(key):
                start = budgets.period_start(budget, now).timestamp()
                deltas[_key(key)] = spent_since(reader, start, budget.source, budget.model)
    finally:
        reader.close()
    return {key: spent for key, spent in deltas.items() if spent}


def _key(spend_labels: tuple[str, ...]) -> Key:
    return Key(catalogue.BUDGET_SPENT.name, spend_labels)
