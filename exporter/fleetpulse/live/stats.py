"""The topic `stats`: how the live feed does, told to whoever listens to it, and to the chat service's monitor.

One record of each topic family, and one of all (`*`), from the same counters as the metrics: what came since the
record before, a second. Nothing is computed while nobody listens; who begins to listen gets the record of the last
round, or, where there was none of late, one that covers the time since (`seconds` says how much).
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypedDict

from fleetpulse import catalogue
from fleetpulse.auth import Role
from fleetpulse.catalogue import Metric
from fleetpulse.instruments import Instruments
from fleetpulse.journal import rfc3339
from fleetpulse.live.hub import Hub
from fleetpulse.live.topics import STATE

TOPIC = "stats"
ALL = "*"
RATES = {
    "published_per_second": catalogue.LIVE_PUBLISHED,
    "sent_per_second": catalogue.LIVE_SENT,
    "conflated_per_second": catalogue.LIVE_CONFLATED,
    "gapped_per_second": catalogue.LIVE_GAPPED,
    "evicted_per_second": catalogue.LIVE_EVICTED,
}
TALK = {"received_per_second": catalogue.LIVE_RECEIVED, "refused_per_second": catalogue.LIVE_REFUSED}
Buckets = Mapping[float, float]
"""How many were observed up to each bound, that one included."""
By = dict[str, float]


class ClusterState(TypedDict):
    """The other replicas that are heard of, and whether they can be."""

    connected: bool
    replicas: list[str]


class Surroundings(NamedTuple):
    """What the record of all tells besides: `users` are those online, `sessions` those somebody has joined.

    `cluster` gives None where no replicas are configured.
    """

    replica: str
    users: Callable[[], int]
    sessions: Callable[[], int]
    cluster: Callable[[], ClusterState | None]


class Counts(NamedTuple):
    """The counters at one moment of the timer: of each by topic family or endpoint."""

    at: float
    rates: Mapping[str, By]
    talk: Mapping[str, By]
    delays: Mapping[str, Buckets]


class LiveStats:
    """Hold one per exporter. `clock` tells the time of day, `timer` durations."""

    def __init__(  # noqa: PLR0913 - what it watches, and its clocks
        self,
        hub: Hub,
        instruments: Instruments,
        seconds: float,
        around: Surroundings,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """Declares the topic: before clients come."""
        self._hub = hub
        self._instruments = instruments
        self._seconds = seconds
        self._around = around
        self._clock = clock
        self._timer = timer
        self._last = Counts(timer(), {}, {}, {})
        self._records: list[dict[str, Any]] = []
        hub.declare(TOPIC, STATE, self.records, admits=lambda principal, _topic: principal.may(Role.OPERATOR))

    async def run(self) -> None:
        """Tells whoever listens, until cancelled."""
        while True:
            await asyncio.sleep(self._seconds)
            self.tell()

    def tell(self) -> None:
        """Tells of the time since the last record, if somebody listens."""
        if self._hub.is_heard(TOPIC):
            self._take()
            self._hub.publish_many(TOPIC, [(record["topic"], record) for record in self._records])

    def records(self, _topic: str = TOPIC) -> Sequence[dict[str, Any]]:
        """The newest records, that of all at the end; taken now where those of the last round are too old."""
        if not self._records or self._timer() - self._last.at > self._seconds:
            self._take()
        return self._records

    def totals(self) -> dict[str, Any]:
        """The newest record of all."""
        return self.records()[-1]

    def _take(self) -> None:
        before, now = self._last, self._read()
        common = {"seconds": round(now.at - before.at, 3), "at": rfc3339(self._clock())}
        subscriptions = self._by(catalogue.LIVE_SUBSCRIPTIONS)
        buffered = self._by(catalogue.LIVE_TOPIC_BUFFERED)
        self._records = [
            {
                "topic": name,
                "subscriptions": int(subscriptions.get(name, 0)),
                "buffered_bytes": int(buffered.get(name, 0)),
                **_rates(before, now, name),
                **common,
            }
            for name in sorted(family.name for family in self._hub.families)
        ]
        self._records.append(self._all(before, now, subscriptions, buffered) | common)
        self._last = now

    def _all(self, before: Counts, now: Counts, subscriptions: By, buffered: By) -> dict[str, Any]:
        around = self._around
        return {
            "topic": ALL,
            "replica": around.replica,
            "connections": {name: int(open_) for name, open_ in self._by(catalogue.LIVE_CONNECTIONS).items()},
            "users": around.users(),
            "sessions": around.sessions(),
            "subscriptions": int(sum(subscriptions.values())),
            "buffered_bytes": int(sum(buffered.values())),
            **_rates(before, now),
            **{name: _rate(before, now, before.talk.get(name, {}), by) for name, by in now.talk.items()},
            "cluster": around.cluster(),
        }

    def _read(self) -> Counts:
        return Counts(
            self._timer(),
            {name: self._by(metric) for name, metric in RATES.items()},
            {name: self._by(metric, "endpoint") for name, metric in TALK.items()},
            self._delays(),
        )

    def _by(self, metric: Metric, label: str | None = None) -> By:
        """The values of a counter or gauge by a label, its first where none is named, summed over the others."""
        make = self._instruments.counter if metric.kind == "counter" else self._instruments.gauge
        found: By = {}
        for family in make(metric).collect():
            for sample in family.samples:
                if sample.name == metric.name:
                    value = sample.labels[label or metric.labels[0]]
                    found[value] = found.get(value, 0.0) + sample.value
        return found

    def _delays(self) -> Mapping[str, Buckets]:
        found: dict[str, dict[float, float]] = {}
        for family in self._instruments.histogram(catalogue.LIVE_DELAY).collect():
            for sample in family.samples:
                if sample.name.endswith("_bucket"):
                    found.setdefault(sample.labels["topic"], {})[float(sample.labels["le"])] = sample.value
        return found


def _rates(before: Counts, now: Counts, name: str | None = None) -> dict[str, Any]:
    """What happened between two readings on one family's topics, or on all."""
    names = list(now.delays) if name is None else [name]
    grown = [grown_by(before.delays.get(each, {}), now.delays.get(each, {})) for each in names]
    seen = {bound: sum(each.get(bound, 0.0) for each in grown) for each in grown for bound in each}
    rates = {key: _rate(before, now, before.rates.get(key, {}), by, name) for key, by in now.rates.items()}
    return rates | {"delay_p50_seconds": quantile(0.5, seen), "delay_p99_seconds": quantile(0.99, seen)}


def _rate(before: Counts, now: Counts, then: By, by: By, name: str | None = None) -> float:
    """How fast a counter grew, a second; of one name, or of all."""
    names: Iterable[str] = by if name is None else (name,)
    grown = sum(by.get(each, 0.0) - then.get(each, 0.0) for each in names)
    return round(grown / max(now.at - before.at, 1e-9), 3)


def grown_by(before: Buckets, now: Buckets) -> Buckets:
    """What was observed between two readings of a histogram."""
    return {bound: count - before.get(bound, 0.0) for bound, count in now.items()}


def quantile(share: float, buckets: Buckets) -> float | None:
    """A quantile by linear interpolation within its bucket, as Prometheus has it; None of nothing.

    What lies above the last finite bound counts as that bound.
    """
    whole = max(buckets.values(), default=0.0)
    if not whole:
        return None
    rank = share * whole
    for (low, below), (bound, count) in pairwise([(0.0, 0.0), *sorted(buckets.items())]):
        if count >= rank:
            part = (rank - below) / (count - below)
            return low if bound == float("inf") else round(low + (bound - low) * part, 6)
    return None  # pragma: no cover - the last bucket holds all
