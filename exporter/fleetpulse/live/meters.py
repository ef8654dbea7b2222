"""The live feed's metrics, with the labelled children of each topic family looked up once."""

from collections.abc import Iterable, Mapping

from fleetpulse import catalogue
from fleetpulse.instruments import Instruments
from fleetpulse.live.backlog import NO_TOPIC


class FamilyMeters:
    """Counters and gauges of one topic family."""

    def __init__(self, instruments: Instruments, family: str) -> None:
        self.subscriptions = instruments.gauge(catalogue.LIVE_SUBSCRIPTIONS, family)
        self.published = instruments.counter(catalogue.LIVE_PUBLISHED, family)
        self.sent = instruments.counter(catalogue.LIVE_SENT, family)
        self.conflated = instruments.counter(catalogue.LIVE_CONFLATED, family)
        self.gapped = instruments.counter(catalogue.LIVE_GAPPED, family)
        self.delay = instruments.histogram(catalogue.LIVE_DELAY, family)
        self.buffered = instruments.gauge(catalogue.LIVE_TOPIC_BUFFERED, family)


class Meters:
    """All of the live feed's metrics."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._families: dict[str, FamilyMeters] = {}
        self.buffered = instruments.gauge(catalogue.LIVE_BUFFERED)
        self._of_none = instruments.gauge(catalogue.LIVE_TOPIC_BUFFERED, NO_TOPIC)

    def family(self, name: str) -> FamilyMeters:
        """The meters of a declared family."""
        meters = self._families.get(name)
        if meters is None:
            meters = self._families[name] = FamilyMeters(self._instruments, name)
        return meters

    def connected(self, endpoint: str, change: int) -> None:
        """A connection of an endpoint opened (1) or closed (-1)."""
        self._instruments.gauge(catalogue.LIVE_CONNECTIONS, endpoint).inc(change)

    def evicted(self, reason: str, families: Iterable[str]) -> None:
        """The server closed a connection for cause; `families` are those of its subscriptions."""
        self._instruments.counter(catalogue.LIVE_EVICTIONS, reason).inc()
        for family in families:
            self._instruments.counter(catalogue.LIVE_EVICTED, family, reason).inc()

    def received(self, endpoint: str) -> None:
        """A client sent a message."""
        self._instruments.counter(catalogue.LIVE_RECEIVED, endpoint).inc()

    def refused(self, endpoint: str, reason: str) -> None:
        """What a client wants is answered by an error, or it sends too much."""
        self._instruments.counter(catalogue.LIVE_REFUSED, endpoint, reason).inc()

    def waiting(self, by_family: Mapping[str, float]) -> None:
        """Bytes that wait in the clients' buffers, by family; those of no topic under NO_TOPIC."""
        self.buffered.set(sum(by_family.values()))
        self._of_none.set(by_family.get(NO_TOPIC, 0))
        for name, meters in self._families.items():
            meters.buffered.set(by_family.get(name, 0))
