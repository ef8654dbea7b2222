"""Several replicas over Redis: what each stores, hears and knows reaches the others' live clients."""

from fleetpulse.cluster.agents import AgentRelay
from fleetpulse.cluster.bus import RedisBus
from fleetpulse.cluster.claims import RedisClaims
from fleetpulse.cluster.cluster import Cluster
from fleetpulse.cluster.feed import HubFeed
from fleetpulse.cluster.mail import MailRelay

__all__ = ["AgentRelay", "Cluster", "HubFeed", "MailRelay", "RedisBus", "RedisClaims"]
