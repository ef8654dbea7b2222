"""Makes the parts of notifications from the parts they need."""

import time
from collections.abc import Callable

from fleetpulse.chat.routing import Router
from fleetpulse.config import Settings
from fleetpulse.events import Events
from fleetpulse.instruments import Instruments
from fleetpulse.journal import Journal
from fleetpulse.live.presence import Presence
from fleetpulse.notices.audience import Audience
from fleetpulse.notices.carrier import Carrier
from fleetpulse.notices.notices import Notices
from fleetpulse.notices.outbox import Outbox
from fleetpulse.notices.plan import Planner
from fleetpulse.notices.preferences import PreferenceBook
from fleetpulse.query.alertmanager import Alertmanager


def make_notices(  # noqa: PLR0913 - the parts it joins
    settings: Settings,
    journal: Journal,
    router: Router,
    presence: Presence,
    alertmanager: Alertmanager,
    instruments: Instruments,
    events: Events | None = None,
    clock: Callable[[], float] = time.time,
) -> Notices:
    """Notifications, restored from the journal. Blocks for a moment."""
    own = settings.notifications
    book = PreferenceBook(journal, own.preferences, clock)
    planner = Planner(settings, book)
    carrier = Carrier(router, alertmanager, own.alert_seconds)
    outbox = Outbox(journal, planner, carrier, own, instruments, clock)
    audience = Audience(presence, own.members)
    days = settings.journal.retention_days
    notices = Notices(
        journal, own, audience, planner, carrier, outbox, book, events, retention_days=days, clock=clock
    )
    notices.restore()
    return notices
