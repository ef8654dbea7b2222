"""`/metrics`: durable series, agents, budgets, thresholds, and prometheus-client's registry, in one answer.

A scrape must not stall the event loop: durable and per-agent lines are joined from what is already rendered; only
the process's own small registry is rendered by prometheus-client.
"""

import platform
import time
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

import fleetpulse
from fleetpulse import catalogue
from fleetpulse.budgets import Budgets, labels
from fleetpulse.catalogue import Metric
from fleetpulse.config import Budget, Thresholds
from fleetpulse.instruments import Instruments
from fleetpulse.series.accounts import AccountSeries
from fleetpulse.series.agents import AgentSeries
from fleetpulse.series.store import SeriesStore
from fleetpulse.series.text import OPENMETRICS, header, labelled, number

EOF = b"# EOF\n"
Encoder = Callable[[CollectorRegistry], bytes]


class Exposition:
    """Renders everything the exporter shows to Prometheus."""

    def __init__(  # noqa: PLR0913 - the sources of what is shown
        self,
        store: SeriesStore,
        agents: AgentSeries,
        budgets: Budgets,
        thresholds: Thresholds,
        instruments: Instruments,
        clock: Callable[[], float] = time.time,
        accounts: AccountSeries | None = None,
    ) -> None:
        self._store = store
        self._agents = agents
        self._accounts = accounts or AccountSeries()
        self._budgets = budgets
        self._registry = instruments.registry
        self._clock = clock
        for name, value in thresholds.model_dump().items():
            instruments.gauge(catalogue.THRESHOLD, name).set(value)
        instruments.gauge(catalogue.BUILD_INFO, fleetpulse.__version__, platform.python_version()).set(1)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The body and its Content-Type for a scraper's Accept header."""
        parts, content_type = self.parts(accept)
        return b"".join(parts), content_type

    def parts(self, accept: str) -> tuple[Iterable[bytes], str]:
        """The same in parts that take a millisecond or so each; series may change between two of them."""
        encode, content_type = _encoder(accept)
        return self._parts(encode, openmetrics=content_type.startswith(OPENMETRICS)), content_type

    def _parts(self, encode: Encoder, *, openmetrics: bool) -> Iterable[bytes]:
        yield encode(self._registry).removesuffix(EOF)
        yield from self._store.render(openmetrics=openmetrics)
        yield from self._agents.render(openmetrics=openmetrics)
        yield from self._accounts.render(openmetrics=openmetrics)
        yield b"".join(self._budget_lines(openmetrics=openmetrics))
        if openmetrics:
            yield EOF

    def _budget_lines(self, *, openmetrics: bool) -> Iterable[bytes]:
        now = self._clock()
        for metric, value in self._budget_metrics(now).items():
            yield header(metric, openmetrics=openmetrics).encode()
            for budget in self._budgets.budgets:
                yield f"{metric.name}{labelled(metric.labels, labels(budget))} {number(value(budget))}\n".encode()

    def _budget_metrics(self, now: float) -> Mapping[Metric, Callable[[Budget], float]]:
        """What is shown of each budget."""
        store, budgets = self._store, self._budgets
        return {
            catalogue.BUDGET_LIMIT: lambda budget: budget.limit_usd,
            catalogue.BUDGET_SPENT: lambda budget: store.spent(budgets.spend_labels(budget, now)),
            catalogue.BUDGET_COST: lambda budget: store.spent_ever(labels(budget)),
            catalogue.BUDGET_CORRECTED: lambda budget: store.corrected(labels(budget)),
            catalogue.BUDGET_UNPRICED: lambda budget: float(store.unpriced(budgets.spend_labels(budget, now))),
            catalogue.BUDGET_PERIOD_START: lambda budget: budgets.period(budget, now).start.timestamp(),
            catalogue.BUDGET_PERIOD_END: lambda budget: budgets.period(budget, now).end.timestamp(),
        }


def _encoder(accept: str) -> tuple[Encoder, str]:
    """What the scraper asks for; plain text where prometheus-client cannot make sense of it."""
    try:
        return choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is no number
        return choose_encoder("")
