"""Notifications to people: over live connections, by e-mail, SMS and push; told once, held back in quiet hours."""

from fleetpulse.notices.model import Channel, Level, NotificationRequest, Recipients
from fleetpulse.notices.notices import Notices, Outcome, Sent
from fleetpulse.notices.preferences import Preferences

__all__ = [
    "Channel",
    "Level",
    "Notices",
    "NotificationRequest",
    "Outcome",
    "Preferences",
    "Recipients",
    "Sent",
]
