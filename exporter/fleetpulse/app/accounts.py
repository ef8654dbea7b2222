"""The handlers of group accounts, with what stands behind them."""

from aiohttp import web

from fleetpulse.accounts.feed import MetricsFeed
from fleetpulse.accounts.history import HistoryDesk
from fleetpulse.app.core import Core
from fleetpulse.app.desk import Desk
from fleetpulse.query.events import EventLog
from fleetpulse.web.account_alerts import AccountAlertEndpoints
from fleetpulse.web.account_feed import AccountFeedEndpoints
from fleetpulse.web.accounts import AccountEndpoints
from fleetpulse.web.guard import Guard
from fleetpulse.web.sockets import Sockets


class Accounts:
    """All of them."""

    def __init__(self, core: Core, desk: Desk, guard: Guard, log: EventLog) -> None:
        settings, figures = core.settings, core.whole or core.ledger.book
        feed = MetricsFeed.make(core.hub, figures, HistoryDesk(desk.prometheus, figures))
        self._groups = (
            AccountEndpoints(core.ledger, settings.limits, core.whole),
            AccountAlertEndpoints(desk.alertmanager, desk.prometheus, core.journal, core.events, log),
            AccountFeedEndpoints(feed, Sockets(core.hub, settings.live, guard)),
        )

    def routes(self) -> list[web.RouteDef]:
        """Where they live."""
        return [route for group in self._groups for route in group.routes()]
