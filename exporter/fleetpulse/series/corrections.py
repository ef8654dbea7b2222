"""The fold of costs given afterwards: what a correction adds to, or takes from, which totals.

A request goes on where it was counted when it came: under the labels that had room then, in the period it was
received in, and only in budgets that counted it. All that shows in the totals of what is unpriced, from which it is
taken; so these never fall below zero, and a budget that is younger than a request is not charged for it.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache

from fleetpulse import catalogue
from fleetpulse.budgets import Budgets, concerns
from fleetpulse.journal.corrections import Correction, Kept, UnpricedRow
from fleetpulse.journal.totals import Deltas, Key
from fleetpulse.series.fold import NO_MODEL
from fleetpulse.series.labels import OTHER


class CorrectionFold:
    """Runs on the writer's thread, within the transaction."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets

    def __call__(self, corrections: Sequence[Correction], kept: Kept) -> Deltas:
        """The increments that these corrections stand for; `kept` tells the totals as they are before."""
        deltas: dict[Key, float] = defaultdict(float)
        before = cache(kept)
        for row, cost, _price in corrections:
            labels = next(
                (each for each in _candidates(row) if _left(deltas, before, each) > 0),
                (OTHER, OTHER),
            )
            deltas[Key(catalogue.COST.name, labels)] += cost
            deltas[Key(catalogue.PRICED_AFTERWARDS.name, labels)] += 1
            for key in self._periods(row):
                unpriced = Key(catalogue.BUDGET_UNPRICED.name, key)
                if before(unpriced) + deltas.get(unpriced, 0.0) > 0:
                    deltas[unpriced] -= 1
                    deltas[Key(catalogue.BUDGET_SPENT.name, key)] += cost
                    deltas[Key(catalogue.BUDGET_CORRECTED.name, key[:-1])] += cost
        return deltas

    def _periods(self, row: UnpricedRow) -> Iterator[tuple[str, ...]]:
        """The budgets that the request is of, each with the period it was received in."""
        for budget in self._budgets.budgets:
            if concerns(budget, row.source, row.model, row.user_id, row.account_id):
                yield self._budgets.spend_labels(budget, row.received_at)


def _candidates(row: UnpricedRow) -> tuple[tuple[str, str], ...]:
    """The labels that the request may have been counted under."""
    model = row.model or NO_MODEL
    return (row.source, model), (row.source, OTHER), (OTHER, model), (OTHER, OTHER)


def _left(deltas: Deltas, before: Kept, labels: tuple[str, str]) -> float:
    """How many requests under these labels have no cost yet."""
    unpriced, priced = Key(catalogue.UNPRICED.name, labels), Key(catalogue.PRICED_AFTERWARDS.name, labels)
    return before(unpriced) - before(priced) - deltas.get(priced, 0.0)
