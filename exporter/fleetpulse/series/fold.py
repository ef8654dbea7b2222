"""The fold: stored rows to increments of totals. Pure but for the label caps; runs on the writer's thread."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import attrgetter

from fleetpulse import catalogue
from fleetpulse.budgets import Budgets
from fleetpulse.config import Budget, Limits, Scope
from fleetpulse.journal.rows import (
    ACTIVITIES,
    ALERTS,
    KINDS,
    MESSAGES,
    REQUESTS,
    ActivityRow,
    AlertRow,
    MessageRow,
    RequestRow,
    Row,
    Table,
)
from fleetpulse.journal.totals import Deltas, Key, Total
from fleetpulse.series.activities import fold_activities
from fleetpulse.series.bounds import bucket_of, les, sum_of
from fleetpulse.series.labels import LabelCaps
from fleetpulse.series.messages import fold_messages

NO_MODEL = "none"
RECEIVED_AT = attrgetter("received_at")
BOUNDS = catalogue.REQUEST_DURATION.buckets
LE = les(catalogue.REQUEST_DURATION)
BUCKET = bucket_of(catalogue.REQUEST_DURATION)
SUM = sum_of(catalogue.REQUEST_DURATION)
CAPPED = {  # metric -> which of its labels are capped, in order
    catalogue.REQUESTS.name: ("source", "model", "status"),
    catalogue.ALERT_EVENTS.name: ("alertname",),
    catalogue.CHAT_MESSAGES.name: ("stream", "message_kind"),
    catalogue.ACCOUNT_MESSAGES.name: ("account_id",),
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
    """Folds request logs, alert events and activities; owns the label caps and the budgets' spend."""

    def __init__(self, limits: Limits, budgets: Budgets) -> None:
        self._budgets = budgets
        self._shared = [budget for budget in budgets.budgets if budget.scope in ("total", "source", "model")]
        self._users = _by_target(budgets, "user")
        self._accounts = _by_target(budgets, "account")
        self._caps = LabelCaps(
            {
                "source": limits.sources,
                "model": limits.models,
                "status": limits.statuses,
                "alertname": limits.alertnames,
                "stream": limits.streams,
                "message_kind": limits.message_kinds,
                "account_id": limits.accounts,
            }
        )

    def restore(self, totals: Mapping[Key, Total]) -> None:
        """Admits the label values that the restored totals carry."""
        for key in totals:
            for label, value in zip(CAPPED.get(key.metric, ()), key.labels, strict=False):
                self._caps.restore(label, [value])

    def __call__(self, table: Table, new: Sequence[Row], duplicates: int, now: float) -> Deltas:
        """The increments for a transaction's new rows and duplicates of one table."""
        del now  # budgets count a request when it was received
        deltas: dict[Key, float] = defaultdict(float)
        kind = KINDS[table]
        deltas[Key(catalogue.SIGNALS.name, (kind, "stored"))] += len(new)
        deltas[Key(catalogue.SIGNALS.name, (kind, "duplicate"))] += duplicates
        if table is ALERTS:
            self._alerts(deltas, (row for row in new if isinstance(row, AlertRow)))
        elif table is ACTIVITIES:
            activities = (row for row in new if isinstance(row, ActivityRow))
            fold_activities(deltas, activities, partial(self._folded, deltas, "account_id"))
        elif table is MESSAGES:
            messages = (row for row in new if isinstance(row, MessageRow))
            fold_messages(deltas, messages, partial(self._folded, deltas))
        elif table is REQUESTS:
            for rows in self._by_period([row for row in new if isinstance(row, RequestRow)]):
                self._requests(deltas, rows)
        return deltas

    def _alerts(self, deltas: dict[Key, float], rows: Iterable[AlertRow]) -> None:
        for row in rows:
            alertname = self._folded(deltas, "alertname", row.alertname, 1)
            deltas[Key(catalogue.ALERT_EVENTS.name, (alertname, row.status))] += 1

    def _by_period(self, rows: list[RequestRow]) -> list[list[RequestRow]]:
        """The rows, cut where a budget's period turns. As a rule nothing is cut."""
        moments = set(map(RECEIVED_AT, rows))
        budgets = self._budgets
        if len(moments) < 2 or budgets.same_periods(min(moments), max(moments)):  # noqa: PLR2004 - nothing to cut
            return [rows] if rows else []
        periods: dict[tuple[tuple[str, ...], ...], list[RequestRow]] = defaultdict(list)
        for row in rows:
            periods[tuple(budgets.spend_labels(each, row.received_at) for each in budgets.budgets)].append(row)
        return list(periods.values())

    def _requests(self, deltas: dict[Key, float], rows: Sequence[RequestRow]) -> None:
        """Counts rows that lie in the same periods."""
        groups: dict[tuple[str, str | None, str], _Sums] = {}
        moment = rows[0].received_at
        for row in rows:
            key = (row.source, row.model, row.status)
            sums = groups.get(key)
            if sums is None:
                sums = groups[key] = _Sums()
            sums.add(row)
        for (source, model, status), sums in groups.items():
            for budget in self._shared:
                if budget.source in (None, source) and budget.model in (None, model):
                    self._spend(deltas, budget, moment, sums.cost, sums.unpriced)
            labels = (
                self._folded(deltas, "source", source, sums.count),
                self._folded(deltas, "model", model or NO_MODEL, sums.count),
            )
            _count(deltas, labels, self._folded(deltas, "status", status, sums.count), sums)
        if self._users or self._accounts:
            self._personal(deltas, rows)

    def _folded(self, deltas: dict[Key, float], label: str, value: str, count: int) -> str:
        folded = self._caps.fold(label, value)
        if folded != value:
            deltas[Key(catalogue.FOLDED_LABELS.name, (label,))] += count
        return folded

    def _personal(self, deltas: dict[Key, float], rows: Sequence[RequestRow]) -> None:
        """Counts rows in the budgets of their users and accounts."""
        for row in rows:
            own = (*self._users.get(row.user_id, ()), *self._accounts.get(row.account_id or "", ()))
            for budget in own:
                unpriced = row.cost is None and row.cost_source is not None
                self._spend(deltas, budget, row.received_at, row.cost or 0.0, int(unpriced))

    def _spend(self, deltas: dict[Key, float], budget: Budget, moment: float, cost: float, unpriced: int) -> None:
        key = self._budgets.spend_labels(budget, moment)
        deltas[Key(catalogue.BUDGET_SPENT.name, key)] += cost
        deltas[Key(catalogue.BUDGET_UNPRICED.name, key)] += unpriced  # also 0: a total that is there was counted


def _by_target(budgets: Budgets, scope: Scope) -> Mapping[str, list[Budget]]:
    found: dict[str, list[Budget]] = {}
    for budget in budgets.budgets:
        if budget.scope == scope:
            found.setdefault(budget.target, []).append(budget)
    return found


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
