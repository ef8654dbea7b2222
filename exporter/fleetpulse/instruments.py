"""prometheus-client objects for the metrics that count since the process started.

One `Instruments` per exporter, made from the catalogue; nothing here is global, so tests run side by side.
Durable metrics and per-agent series are rendered by `series/`, not here.
"""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

from fleetpulse.catalogue import Metric

Instrument = Counter | Gauge | Histogram


class Instruments:
    """Makes each instrument once, on first use, in its own registry."""

    def __init__(self) -> None:
        # `_created` of process-lifetime counters says no more than process_start_time_seconds and, on
        # Prometheus before 3.0, doubles the series.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped in prometheus-client
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._made: dict[str, Instrument] = {}

    def counter(self, metric: Metric, *labels: str) -> Counter:
        """The counter of this metric and these label values."""
        made = self._made.get(metric.name) or self._make(metric, Counter)
        assert isinstance(made, Counter)  # noqa: S101 - the catalogue's kind decides the class
        return made.labels(*labels) if labels else made

    def gauge(self, metric: Metric, *labels: str) -> Gauge:
        """The gauge of this metric and these label values."""
        made = self._made.get(metric.name) or self._make(metric, Gauge)
        assert isinstance(made, Gauge)  # noqa: S101
        return made.labels(*labels) if labels else made

    def histogram(self, metric: Metric, *labels: str) -> Histogram:
        """The histogram of this metric and these label values, with the catalogue's buckets."""
        made = self._made.get(metric.name) or self._make(metric, Histogram)
        assert isinstance(made, Histogram)  # noqa: S101
        return made.labels(*labels) if labels else made

    def _make(self, metric: Metric, kind: type[Instrument]) -> Instrument:
        if kind is Histogram:
            made: Instrument = Histogram(
                metric.name, metric.help, metric.labels, registry=self.registry, buckets=metric.buckets
            )
        else:
            made = kind(metric.name, metric.help, metric.labels, registry=self.registry)
        self._made[metric.name] = made
        return made
