"""What happens in the service: a durable log of it, and the handlers that are told."""

from fleetpulse.events.event import CATEGORIES, FLEETING, Event
from fleetpulse.events.events import Events
from fleetpulse.events.handlers import EVERY_KIND, Handler
from fleetpulse.events.plugin import Plugin, Services
from fleetpulse.events.plugins import Plugins

__all__ = [
    "CATEGORIES",
    "EVERY_KIND",
    "FLEETING",
    "Event",
    "Events",
    "Handler",
    "Plugin",
    "Plugins",
    "Services",
]
