"""How parts reach the other replicas: the bus, and seats that all share. Without Redis there are no others."""

import socket

from fleetpulse.accounts.ledger import Ledger
from fleetpulse.accounts.whole import Whole
from fleetpulse.cluster import RedisBus, RedisClaims
from fleetpulse.config import Settings
from fleetpulse.instruments import Instruments
from fleetpulse.journal import Journal
from fleetpulse.live.bus import Bus, LocalBus


def make_bus(settings: Settings, instruments: Instruments) -> Bus:
    """The bus to the other replicas; without Redis it leads nowhere."""
    replica = settings.cluster.replica or f"{socket.gethostname()}:{settings.port}"
    if settings.cluster.redis_url is None:
        return LocalBus(replica)
    return RedisBus(settings.cluster, replica, instruments)


def make_whole(settings: Settings, bus: Bus, ledger: Ledger, journal: Journal) -> Whole | None:
    """The accounts of all replicas; None without Redis."""
    if not isinstance(bus, RedisBus):
        return None
    whole = Whole(bus, ledger.book, journal.epoch, settings.accounts, settings.limits.known_accounts)
    ledger.watch(whole.changed)
    return whole


def make_claims(settings: Settings, bus: Bus) -> RedisClaims | None:
    """What counts a user's seats over all replicas; None without Redis."""
    return RedisClaims(bus, settings.cluster) if isinstance(bus, RedisBus) else None
