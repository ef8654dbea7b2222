"""What joins this exporter to its other replicas, where Redis is configured."""

from fleetpulse.app.core import Core
from fleetpulse.chat.routing import PUSH
from fleetpulse.chat.topics import STREAMS
from fleetpulse.cluster import AgentRelay, Cluster, HubFeed, MailRelay, RedisBus
from fleetpulse.journal.history import ACTIVITY_STREAM, ALERT_STREAM, EVENT_STREAM, MESSAGE_STREAM, REQUEST_STREAM
from fleetpulse.live import Cause

CHAT_STREAMS = tuple(stream for streams in STREAMS.values() for stream in streams)
JOURNALLED = (REQUEST_STREAM, ALERT_STREAM, ACTIVITY_STREAM, EVENT_STREAM, MESSAGE_STREAM, *CHAT_STREAMS)


def make_cluster(core: Core) -> Cluster | None:
    """Everything that goes over the bus; None without Redis. Every topic has to be declared."""
    bus, settings = core.bus, core.settings.cluster
    if not isinstance(bus, RedisBus) or core.claims is None:
        return None
    cluster = Cluster(bus, settings, core.journal, core.events, core.instruments, [HubFeed(core.hub, JOURNALLED)])
    agents = AgentRelay(bus, cluster.peers, core.fleet, core.pipeline.tell_agents, core.journal.epoch)
    chat = core.chat
    mail = MailRelay(bus, cluster.peers, core.journal, chat.presence, chat.mailbox, PUSH)
    cluster.hear(mail)
    core.claims.on_lost(
        lambda name, displaced: chat.presence.close(name, Cause.REPLACED if displaced else Cause.LIMITED)
    )
    cluster.add(core.claims, agents, mail)
    if core.whole is not None:
        cluster.peers.watch(core.whole)
        cluster.add(core.whole)
    return cluster
