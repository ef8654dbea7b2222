"""A whole `/metrics` page as the exporter makes it, and what prometheus-client's own parsers read in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client.core import Exemplar, Metric, Sample
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text
from tests.journal.stand import BUDGETS, NOW

from fleetpulse.budgets import Budgets
from fleetpulse.config import Limits, Thresholds
from fleetpulse.instruments import Instruments
from fleetpulse.journal import REQUESTS, RequestRow, Row, Table
from fleetpulse.journal.totals import Changes, Key, Total
from fleetpulse.series.agents import AgentSeries
from fleetpulse.series.exposition import Exposition
from fleetpulse.series.fold import SeriesFold
from fleetpulse.series.store import SeriesStore

TEXT = "text/plain;version=0.0.4"
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Scraped:
    """A page as a scraper understands it."""

    values: Mapping[tuple[str, Labels], float]
    exemplars: Mapping[tuple[str, Labels], Exemplar]
    families: Mapping[str, Metric]
    body: str
    content_type: str

    def value(self, sample: str, **labels: str) -> float:
        """One sample; a KeyError where it is not there."""
        return self.values[sample, frozenset(labels.items())]

    def has(self, sample: str, **labels: str) -> bool:
        """Whether there is such a sample."""
        return (sample, frozenset(labels.items())) in self.values

    def labels(self, sample: str) -> list[dict[str, str]]:
        """The label sets of every sample of this name."""
        return [dict(labels) for name, labels in self.values if name == sample]

    def total(self, sample: str) -> float:
        """The sum over all label sets."""
        return sum(value for (name, _), value in self.values.items() if name == sample)


@dataclass
class Page:
    """Folds rows as the journal would, and shows them."""

    limits: Limits = field(default_factory=Limits)
    agents: AgentSeries = field(default_factory=lambda: AgentSeries(1_000))
    now: float = NOW
    restored: Mapping[Key, Total] = field(default_factory=dict)

    def __post_init__(self) -> None:
        budgets = Budgets(BUDGETS, "UTC")
        self.fold = SeriesFold(self.limits, budgets)
        self.store = SeriesStore()
        self.totals: Changes = dict(self.restored)
        self.fold.restore(self.totals)
        self.store.apply(self.totals)
        self.exposition = Exposition(self.store, self.agents, budgets, Thresholds(), Instruments(), self.clock)

    def clock(self) -> float:
        """The time in this page's world."""
        return self.now

    def take(self, *rows: Row, table: Table = REQUESTS, duplicates: int = 0) -> None:
        """Counts rows and remembers them for exemplars, as one transaction."""
        changes = {}
        for key, delta in self.fold(table, rows, duplicates, self.clock()).items():
            before = self.totals.get(key, Total(0.0, self.clock()))
            changes[key] = Total(before.value + delta, before.created)
        self.totals |= changes
        self.store.apply(changes)
        self.store.remember([row for row in rows if isinstance(row, RequestRow)])

    def restart(self, limits: Limits | None = None) -> "Page":
        """The same totals, loaded into a new life."""
        return Page(limits or self.limits, now=self.now, restored=self.totals)

    def scrape(self, accept: str = TEXT) -> Scraped:
        """Renders and parses."""
        body, content_type = self.exposition.render(accept)
        return read(body.decode(), content_type)


def read(body: str, content_type: str) -> Scraped:
    """Parses a page with the parser of its format; a sample that is there twice is an error."""
    parse = openmetrics if content_type.startswith("application/openmetrics-text") else text
    families = list(parse(body))
    names = [family.name for family in families]
    assert len(set(names)) == len(names), "a family is there twice"
    values: dict[tuple[str, Labels], float] = {}
    exemplars = {}
    for sample in _samples(families):
        key = (sample.name, frozenset(sample.labels.items()))
        assert key not in values, key
        values[key] = sample.value
        if sample.exemplar:
            exemplars[key] = sample.exemplar
    return Scraped(values, exemplars, dict(zip(names, families, strict=True)), body, content_type)


def _samples(families: Sequence[Metric]) -> list[Sample]:
    return [sample for family in families for sample in family.samples]
