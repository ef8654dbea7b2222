"""The administration of the live service: its handlers, with what stands behind them, and the plug-ins."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from aiohttp import web

from fleetpulse.administration import Audit, Calls, Commands, TopicRates
from fleetpulse.app.core import Core
from fleetpulse.app.notifications import Notifications
from fleetpulse.cluster import Cluster, RedisBus
from fleetpulse.events import Plugins, Services
from fleetpulse.live.bus import Bus
from fleetpulse.notices import NotificationRequest
from fleetpulse.query.events import EventLog
from fleetpulse.web.websocket_admin import AdminEndpoints
from fleetpulse.web.websocket_commands import CommandEndpoints


class Administration:
    """All of it; `run` it in the background, and `close` it before the journal stops."""

    def __init__(self, core: Core, notifications: Notifications) -> None:
        settings, chat = core.settings, core.chat
        self._cluster: Cluster | None = None
        self._rates = TopicRates(core.hub)
        self._calls = Calls(core.bus)
        self.log = EventLog(core.journal)
        commands = Commands(chat.presence, self._calls)
        zone = ZoneInfo(settings.timezone)
        notices = notifications.notices
        self._groups = (
            AdminEndpoints(
                chat,
                core.hub,
                core.journal,
                core.bus,
                self._rates,
                self.log,
                zone,
                lambda: is_joined(core.bus),
                self._others,
            ),
            CommandEndpoints(chat, commands, Audit(core.events), notices, settings.limits),
        )

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        return [route for group in self._groups for route in group.routes()]

    def know(self, cluster: Cluster | None) -> None:
        """The cluster, which is made once every topic is declared: its replicas are named in answers."""
        self._cluster = cluster

    def _others(self) -> list[str]:
        return [] if self._cluster is None else sorted(each.replica for each in self._cluster.peers.all())

    async def run(self) -> None:
        """Watches topics' rates until cancelled."""
        await self._rates.run()

    async def close(self) -> None:
        """Ends what is done for other replicas, and the log's thread."""
        await asyncio.gather(self._calls.stop(), self.log.close())


def is_joined(bus: Bus) -> bool:
    """Whether the other replicas can be reached; true where there are none."""
    return not isinstance(bus, RedisBus) or bus.connection is not None


def make_plugins(core: Core, notifications: Notifications) -> Plugins:
    """The plug-ins, with what they reach of the exporter."""
    hub, router, notices = core.hub, core.chat.router, notifications.notices

    def publish(topic: str, data: Any, key: str | None) -> None:
        hub.publish(topic, data, key=key)

    async def send(message: Mapping[str, Any], user_id: str | None, session_id: str | None) -> Sequence[Any]:
        if user_id is not None:
            return await router.to_user(user_id, message)
        if session_id is not None:
            return await router.to_session(session_id, message)
        return await router.to_all(message)

    async def notify(notification: Mapping[str, Any], actor: str) -> Sequence[Any]:
        return (await notices.send(NotificationRequest.model_validate(notification), actor=actor)).outcomes

    return Plugins(core.settings.plugins, core.events, Services(publish, send, notify))
