"""Several replicas over Redis: what each stores, hears and knows reaches the others' live clients."""

from fleetpulse.cluster.bus import RedisBus
from fleetpulse.cluster.cluster import Cluster

__all__ = ["Cluster", "RedisBus"]
