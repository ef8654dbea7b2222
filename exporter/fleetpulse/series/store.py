"""The durable series as they are scraped: totals in, exposition lines out, rendered again only where they changed.

Lives on the event loop. Each child (one label set of one metric) keeps its rendered lines, so that a scrape joins
bytes and does not format samples.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum

from fleetpulse import catalogue
from fleetpulse.catalogue import Metric
from fleetpulse.journal.rows import RequestRow
from fleetpulse.journal.totals import Changes, Total
from fleetpulse.series.bounds import bucket_of, les, sum_of
from fleetpulse.series.exemplars import exemplar
from fleetpulse.series.fold import BOUNDS, LE, NO_MODEL
from fleetpulse.series.text import header, labelled, number

DURABLE = {metric.name: metric for metric in catalogue.METRICS if metric.durable}
SUM_PART = "sum"
RENDERED = 50  # children in one step: a changed histogram takes 20 microseconds
REMEMBERED = 8  # newest rows of one transaction that may become exemplars
BUCKETS = {bucket_of(metric): metric for metric in DURABLE.values() if metric.kind == "histogram"}
SUMS = {sum_of(metric): metric for metric in DURABLE.values() if metric.kind == "histogram"}


@dataclass
class Child:
    """One label set of one metric. `parts` are the totals behind it: one, or a histogram's buckets and sum."""

    metric: Metric
    labels: tuple[str, ...]
    parts: dict[str, Total] = field(default_factory=dict)
    exemplars: dict[str, RequestRow] = field(default_factory=dict)
    _rendered: dict[bool, bytes] = field(default_factory=dict)

    def set(self, part: str, total: Total) -> None:
        """Takes a new value; the lines are rendered again at the next scrape."""
        self.parts[part] = total
        self._rendered.clear()

    def mark(self, bound: str, row: RequestRow) -> None:
        """Sets a bucket's exemplar."""
        self.exemplars[bound] = row
        self._rendered.pop(True, None)

    def lines(self, *, openmetrics: bool) -> bytes:
        """The child's lines in one of the two formats."""
        if openmetrics not in self._rendered:
            histogram = self.metric.kind == "histogram"
            text = self._histogram(openmetrics=openmetrics) if histogram else self._counter(openmetrics=openmetrics)
            self._rendered[openmetrics] = text.encode()
        return self._rendered[openmetrics]

    def _counter(self, *, openmetrics: bool) -> str:
        total = self.parts[""]
        block = labelled(self.metric.labels, self.labels)
        line = f"{self.metric.name}{block} {number(total.value)}\n"
        return line + self._created(block, total.created) if openmetrics else line

    def _histogram(self, *, openmetrics: bool) -> str:
        names = (*self.metric.labels, "le")
        counts = self._bucket_counts()
        count, lines = 0.0, []
        for bound in counts:
            count += counts[bound]
            row = self.exemplars.get(bound) if openmetrics else None
            block = labelled(names, (*self.labels, bound))
            lines.append(f"{self.metric.name}_bucket{block} {number(count)}{exemplar(row) if row else ''}\n")
        block = labelled(self.metric.labels, self.labels)
        total = self.parts.get(SUM_PART, Total(0.0, 0.0))
        lines.append(f"{self.metric.name}_count{block} {number(count)}\n")
        lines.append(f"{self.metric.name}_sum{block} {number(total.value)}\n")
        return "".join(lines) + (self._created(block, total.created) if openmetrics else "")

    def _bucket_counts(self) -> dict[str, float]:
        """Counts by the catalogue's bounds; what older bounds counted goes to the bucket that holds it now."""
        counts = dict.fromkeys(les(self.metric), 0.0)
        for bound, total in self.parts.items():
            if bound != SUM_PART:
                counts[next(current for current in counts if float(current) >= float(bound))] += total.value
        return counts

    def _created(self, block: str, created: float) -> str:
        """When the series first existed, through every restart (OpenMetrics only)."""
        return f"{self.metric.name.removesuffix('_total')}_created{block} {number(created)}\n"


class SeriesStore:
    """All durable series by metric. `apply` takes what a transaction changed."""

    def __init__(self) -> None:
        self._children: dict[str, dict[tuple[str, ...], Child]] = {name: {} for name in DURABLE}
        self._spend: dict[tuple[str, ...], float] = {}
        self._unpriced: dict[tuple[str, ...], float] = {}
        self._corrected: dict[tuple[str, ...], float] = {}
        self._periods: dict[tuple[str, ...], dict[str, float]] = {}

    def apply(self, changes: Changes) -> None:
        """Sets the new values of totals."""
        for key, total in changes.items():
            if key.metric == catalogue.BUDGET_SPENT.name:
                self._set_spend(key.labels, total.value)
            elif key.metric == catalogue.BUDGET_UNPRICED.name:
                self._unpriced[key.labels] = total.value
            elif key.metric == catalogue.BUDGET_CORRECTED.name:
                self._corrected[key.labels] = total.value
            elif key.metric in BUCKETS:
                *labels, bound = key.labels
                self.child(BUCKETS[key.metric], tuple(labels)).set(bound, total)
            elif key.metric in SUMS:
                self.child(SUMS[key.metric], key.labels).set(SUM_PART, total)
            elif key.metric in DURABLE:
                self.child(DURABLE[key.metric], key.labels).set("", total)

    def spent(self, labels: tuple[str, ...]) -> float:
        """A budget's spend in one period."""
        return self._spend.get(labels, 0.0)

    def unpriced(self, labels: tuple[str, ...]) -> int:
        """A budget's requests without a cost in one period."""
        return int(self._unpriced.get(labels, 0.0))

    def spent_ever(self, labels: tuple[str, ...]) -> float:
        """A budget's spend over all the periods that are kept: exactly rounded, so it never falls."""
        return fsum(self._periods.get(labels, {}).values())

    def corrected(self, labels: tuple[str, ...]) -> float:
        """Of that, what was added afterwards."""
        return self._corrected.get(labels, 0.0)

    def spending(self) -> Mapping[tuple[str, ...], float]:
        """The spend of every budget and period that is kept."""
        return self._spend

    def unpricing(self) -> Mapping[tuple[str, ...], float]:
        """The requests without a cost of every budget and period that is kept."""
        return self._unpriced

    def has(self, metric: Metric, labels: tuple[str, ...]) -> bool:
        """Whether there is a child of these labels."""
        return labels in self._children[metric.name]

    def child(self, metric: Metric, labels: tuple[str, ...]) -> Child:
        """The child of these labels, made where it is new."""
        children = self._children[metric.name]
        child = children.get(labels)
        if child is None:
            child = children[labels] = Child(metric, labels)
        return child

    def remember(self, rows: Sequence[RequestRow]) -> None:
        """Makes the newest of these rows the exemplars of their latency buckets.

        Rows whose labels were folded into `other` have no child of their own, and are passed over.
        """
        children = self._children[catalogue.REQUEST_DURATION.name]
        for row in rows[-REMEMBERED:]:
            child = children.get((row.source, row.model or NO_MODEL))
            if child is not None:
                child.mark(LE[bisect_left(BOUNDS, row.execution_time)], row)

    def render(self, *, openmetrics: bool) -> Iterable[bytes]:
        """The exposition of every durable metric that has series, a few children at a time."""
        for name, known in self._children.items():
            children = list(known.values())
            if children:
                yield header(DURABLE[name], openmetrics=openmetrics).encode()
            for start in range(0, len(children), RENDERED):
                yield b"".join(child.lines(openmetrics=openmetrics) for child in children[start : start + RENDERED])

    def _set_spend(self, labels: tuple[str, ...], spent: float) -> None:
        *budget, start = labels
        self._periods.setdefault(tuple(budget), {})[start] = spent
        self._spend[labels] = spent
