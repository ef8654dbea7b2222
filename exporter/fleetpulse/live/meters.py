"""The live feed's metrics, with the labelled children of each topic family looked up once."""

from fleetpulse import catalogue
from fleetpulse.instruments import Instruments


class FamilyMeters:
    """Counters and gauges of one topic family."""

    def __init__(self, instruments: Instruments, family: str) -> None:
        self.subscriptions = instruments.gauge(catalogue.LIVE_SUBSCRIPTIONS, family)
        self.published = instruments.counter(catalogue.LIVE_PUBLISHED, family)
        self.sent = instruments.counter(catalogue.LIVE_SENT, family)
        self.conflated = instruments.counter(catalogue.LIVE_CONFLATED, family)
        self.gapped = instruments.counter(catalogue.LIVE_GAPPED, family)
        self.delay = instruments.histogram(catalogue.LIVE_DELAY, family)


class Meters:
    """All of the live feed's metrics."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._families: dict[str, FamilyMeters] = {}
        self.buffered = instruments.gauge(catalogue.LIVE_BUFFERED)

    def family(self, name: str) -> FamilyMeters:
        """The meters of a declared family."""
        meters = self._families.get(name)
        if meters is None:
            meters = self._families[name] = FamilyMeters(self._instruments, name)
        return meters

    def connected(self, endpoint: str, change: int) -> None:
        """A connection of an endpoint opened (1) or closed (-1)."""
        self._instruments.gauge(catalogue.LIVE_CONNECTIONS, endpoint).inc(change)

    def evicted(self, reason: str) -> None:
        """The server closed a connection for cause."""
        self._instruments.counter(catalogue.LIVE_EVICTIONS, reason).inc()
