"""Administration: what people may do to connections, users and sessions, on every replica, and its audit."""

from fleetpulse.administration.audit import Audit, Case
from fleetpulse.administration.calls import Calls
from fleetpulse.administration.commands import Commands, Done
from fleetpulse.administration.rates import TopicRates

__all__ = ["Audit", "Calls", "Case", "Commands", "Done", "TopicRates"]
