"""The live feed without its HTTP: topics, positions, delivery, and the protocols its clients speak."""

from fleetpulse.live.closing import Cause
from fleetpulse.live.encoders import AlertEncoder, Encoder, LiveEncoder, PoolEncoder
from fleetpulse.live.filters import Filter
from fleetpulse.live.history import History, Page, Stored
from fleetpulse.live.hub import Hub
from fleetpulse.live.topics import EVENT, STATE, Policy, Position

__all__ = [
    "EVENT",
    "STATE",
    "AlertEncoder",
    "Cause",
    "Encoder",
    "Filter",
    "History",
    "Hub",
    "LiveEncoder",
    "Page",
    "Policy",
    "PoolEncoder",
    "Position",
    "Stored",
]
