"""The fold: stored rows to increments of totals. Pure but for the label caps; runs on the writer's thread."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fleetpulse import catalogue
from fleetpulse.budgets import Budgets
from fleetpulse.config import Limits
from fleetpulse.journal.rows import ALERTS, AlertRow, RequestRow, Row, Table
from fleetpulse.journal.totals import Deltas, Key, Total
from fleetpulse.series.labels import LabelCaps

NO_MODEL = "none"
BOUNDS = catalogue.REQUEST_DURATION.buckets
LE = (*(repr(bound) for bound in BOUNDS), "+Inf")
BUCKET = f"{catalogue.REQUEST_DURATION.name}_bucket"
SUM = f"{catalogue.REQUEST_DURATION.name}_sum"
CAPPED = {  # metric -> which of its labels are capped, in order
    catalogue.REQUESTS.name: ("source", "model", "status"),
    catalogue.ALERT_EVENTS.name: ("alertname",),
}


@dataclass
class _Sums:
    """What one (source, model, status) adds up to within a transaction."""

    count: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0
    unattributed: int = 0
    cost: float = 0.0
    unpriced: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * len(LE))

    def add(self, row: RequestRow) -> None:
        tokens_in = row.input_tokens or 0
        tokens_out = row.output_tokens or 0
        cached = row.cached_tokens or 0
        self.count += 1
        self.input += tokens_in - cached
        self.cached += cached
        self.output += tokens_out
        self.unattributed += row.tokens_used - tokens_in - tokens_out
        if row.cost is not None:
            self.cost += row.cost
        elif row.cost_source is not None:
            self.unpriced += 1
        self.seconds += row.execution_time
        self.buckets[bisect_left(BOUNDS, row.execution_time)] += 1


class SeriesFold:
    """Folds request logs and alert events; owns the label caps and the budgets' spend."""

    def __init__(self, limits: Limits, budgets: Budgets) -> None:
        self._budgets = budgets
        self._caps = LabelCaps(
            {
                "source": limits.sources,
                "model": limits.models,
                "status": limits.statuses,
                "alertname": limits.alertnames,
            }
        )

    def restore(self, totals: Mapping[Key, Total]) -> None:
        """Admits the label values that the restored totals carry."""
        for key in totals:
            for label, value in zip(CAPPED.get(key.metric, ()), key.labels, strict=False):
                self._caps.restore(label, [value])

    def __call__(self, table: Table, new: Sequence[Row], duplicates: int, now: float) -> Deltas:
        """The increments for a transaction's new rows and duplicates of one table."""
        deltas: dict[Key, float] = defaultdict(float)
        kind = "alert" if table is ALERTS else "request"
        deltas[Key(catalogue.SIGNALS.name, (kind, "stored"))] += len(new)
        deltas[Key(catalogue.SIGNALS.name, (kind, "duplicate"))] += duplicates
        if table is ALERTS:
            self._alerts(deltas, (row for row in new if isinstance(row, AlertRow)))
        else:
            self._requests(deltas, (row for row in new if isinstance(row, RequestRow)), now)
        return deltas

    def _alerts(self, deltas: dict[Key, float], rows: Iterable[AlertRow]) -> None:
        for row in rows:
            alertname = self._folded(deltas, "alertname", row.alertname, 1)
            deltas[Key(catalogue.ALERT_EVENTS.name, (alertname, row.status))] += 1

    def _requests(self, deltas: dict[Key, float], rows: Iterable[RequestRow], now: float) -> None:
        groups: dict[tuple[str, str | None, str], _Sums] = {}
        for row in rows:
            key = (row.source, row.model, row.status)
            sums = groups.get(key)
            if sums is None:
                sums = groups[key] = _Sums()
            sums.add(row)
        for (source, model, status), sums in groups.items():
            self._spend(deltas, source, model, sums.cost, now)
            labels = (
                self._folded(deltas, "source", source, sums.count),
                self._folded(deltas, "model", model or NO_MODEL, sums.count),
            )
            _count(deltas, labels, self._folded(deltas, "status", status, sums.count), sums)

    def _folded(self, deltas: dict[Key, float], label: str, value: str, count: int) -> str:
        folded = self._caps.fold(label, value)
        if folded != value:
            deltas[Key(catalogue.FOLDED_LABELS.name, (label,))] += count
        return folded

    def _spend(self, deltas: dict[Key, float], source: str, model: str | None, cost: float, now: float) -> None:
        for budget in self._budgets.budgets:
            if budget.source in (None, source) and budget.model in (None, model):
                deltas[Key(catalogue.BUDGET_SPENT.name, self._budgets.spend_labels(budget, now))] += cost


def _count(deltas: dict[Key, float], labels: tuple[str, str], status: str, sums: _Sums) -> None:
    """Adds one group's sums to its series. Every kind of tokens exists from the first request on."""
    deltas[Key(catalogue.REQUESTS.name, (*labels, status))] += sums.count
    for kind in ("input", "cached", "output", "unattributed"):
        deltas[Key(catalogue.TOKENS.name, (*labels, kind))] += getattr(sums, kind)
    deltas[Key(catalogue.COST.name, labels)] += sums.cost
    deltas[Key(catalogue.UNPRICED.name, labels)] += sums.unpriced
    deltas[Key(SUM, labels)] += sums.seconds
    for bound, count in zip(LE, sums.buckets, strict=True):
        if count:
            deltas[Key(BUCKET, (*labels, bound))] += count
