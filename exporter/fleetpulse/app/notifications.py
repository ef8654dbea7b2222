"""Notifications with what they are made of, what makes them by itself, and their handlers."""

import asyncio
from collections.abc import Sequence

from aiohttp import web

from fleetpulse.app.core import Core
from fleetpulse.app.desk import Desk
from fleetpulse.journal import Row, Table
from fleetpulse.notices.watch import Watch
from fleetpulse.notices.wiring import make_notices
from fleetpulse.web.notifications import NotificationEndpoints


class Notifications:
    """All of them; works in the background."""

    def __init__(self, core: Core, desk: Desk) -> None:
        """Reads what waits: before the journal is started."""
        settings, chat = core.settings, core.chat
        self.notices = make_notices(
            settings, core.journal, chat.router, chat.presence, desk.alertmanager, core.instruments, core.events
        )
        chat.mailbox.on_received(self.notices.received)
        own = settings.notifications
        self._watch = Watch(self.notices, own, core.journal, core.fleet, core.budgets, core.store, core.instruments)
        core.pipeline.watch(self._watch.agents)
        self._watch.listen(core.events)
        self._endpoints = NotificationEndpoints(self.notices, core.journal, core.events, settings.limits)

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        return self._endpoints.routes()

    def stored(self, table: Table, rows: Sequence[Row]) -> None:
        """Hears of rows that a commit has just made durable."""
        self._watch.stored(table, rows)

    async def run(self) -> None:
        """Delivers what waits and notices what happens, until cancelled."""
        await asyncio.gather(self.notices.run(), self._watch.run())
