"""What happens in the service: a durable log of it, and the handlers that are told."""

from fleetpulse.events.event import CATEGORIES, FLEETING, Event
from fleetpulse.events.events import Events
from fleetpulse.events.handlers import EVERY_KIND, Handler

__all__ = ["CATEGORIES", "EVERY_KIND", "FLEETING", "Event", "Events", "Handler"]
