"""How the live service watches itself: the topic `stats`, with what surrounds the hub."""

from fleetpulse.app.administration import is_joined
from fleetpulse.app.core import Core
from fleetpulse.cluster import Cluster
from fleetpulse.live.stats import ClusterState, LiveStats, Surroundings


def make_stats(core: Core, cluster: Cluster | None) -> LiveStats:
    """Declares the topic; the monitor's statistics tell of all topics, too."""
    presence = core.chat.presence

    def replicas() -> ClusterState | None:
        if cluster is None:
            return None
        return {"connected": is_joined(core.bus), "replicas": sorted(each.replica for each in cluster.peers.all())}

    around = Surroundings(
        core.bus.replica, lambda: len(presence.users()), lambda: len(presence.sessions()), replicas
    )
    stats = LiveStats(core.hub, core.instruments, core.settings.live.stats_seconds, around)
    core.chat.stats = lambda: {**presence.totals(), "live": stats.totals()}
    return stats
