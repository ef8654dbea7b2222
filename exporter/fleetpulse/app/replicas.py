"""What joins this exporter to its other replicas, where Redis is configured."""

import socket

from fleetpulse.chat.topics import STREAMS
from fleetpulse.cluster import Cluster, RedisBus
from fleetpulse.config import Settings
from fleetpulse.events import Events
from fleetpulse.instruments import Instruments
from fleetpulse.journal import Journal
from fleetpulse.journal.history import ACTIVITY_STREAM, ALERT_STREAM, EVENT_STREAM, REQUEST_STREAM
from fleetpulse.live import Hub
from fleetpulse.live.bus import Bus, LocalBus

CHAT_STREAMS = tuple(stream for streams in STREAMS.values() for stream in streams)
JOURNALLED = (REQUEST_STREAM, ALERT_STREAM, ACTIVITY_STREAM, EVENT_STREAM, *CHAT_STREAMS)


def make_bus(settings: Settings, instruments: Instruments) -> Bus:
    """The bus to the other replicas; without Redis it leads nowhere."""
    replica = settings.cluster.replica or f"{socket.gethostname()}:{settings.port}"
    if settings.cluster.redis_url is None:
        return LocalBus(replica)
    return RedisBus(settings.cluster, replica, instruments)


def make_cluster(  # noqa: PLR0913 - the parts it is wired from
    bus: Bus, settings: Settings, journal: Journal, hub: Hub, events: Events, instruments: Instruments
) -> Cluster | None:
    """Everything that goes over it; None without Redis. Every topic has to be declared."""
    if not isinstance(bus, RedisBus):
        return None
    return Cluster(bus, settings.cluster, journal, hub, JOURNALLED, events, instruments)
