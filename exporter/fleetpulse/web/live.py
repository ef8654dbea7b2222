"""The WebSocket endpoints of the live feed: which sessions their clients have (`web/sockets.py` serves them)."""

from typing import Literal

from aiohttp import web
from pydantic import Field, TypeAdapter, ValidationError

from fleetpulse.config import Settings
from fleetpulse.errors import InvalidInputError
from fleetpulse.live import AlertEncoder, Hub, LiveEncoder, PoolEncoder
from fleetpulse.live.alert_session import AlertSession
from fleetpulse.live.client import Client
from fleetpulse.live.sessions import LiveSession, PoolSession, Session
from fleetpulse.web.accounts import AccountIds
from fleetpulse.web.guard import admits_websocket
from fleetpulse.web.operations import Query, operation
from fleetpulse.web.problems import validation_errors
from fleetpulse.web.sockets import AUTH_SECONDS, Doorkeeper, Sockets


class Token(Query):
    """The query of a WebSocket's address."""

    token: str | None = Field(None, description="A credential, where no header can be sent.")
    compress: Literal["0", "1"] = Field(
        "0", description="1: messages may be deflated, where the client offers permessage-deflate."
    )


class Topics(Token):
    """The query of `/ws/live`."""

    topics: str = Field("", description="Topics to subscribe to at once, with commas between: `agents,requests`.")


class AlertsQuery(Token):
    """The query of the alerts' address; its clients may choose anew by messages."""

    account_id: AccountIds = Field(
        frozenset(), description="Only alerts about these accounts: several times, or with commas between."
    )


ACCOUNT_IDS: TypeAdapter[frozenset[str]] = TypeAdapter(AccountIds)


class LiveEndpoints:
    """Handlers of the three live endpoints; add `routes()` to the application."""

    def __init__(
        self, hub: Hub, settings: Settings, guard: Doorkeeper, *, auth_seconds: float = AUTH_SECONDS
    ) -> None:
        self._hub = hub
        self._settings = settings.live
        self._sockets = Sockets(hub, settings.live, guard, auth_seconds=auth_seconds)
        self._live = LiveEncoder()
        self._pool = PoolEncoder()
        self._alert = AlertEncoder(hub.clock)

    def routes(self) -> list[web.RouteDef]:
        """The routes to add."""
        return [
            web.get("/ws/live", self.live),
            web.get("/ws/agent-pools/{pool_id}/metrics", self.pool_metrics),
            web.get("/api/v1/group-ai/monitor/ws/alerts", self.alerts),
        ]

    @admits_websocket
    @operation("Live feed", status=101, query=Topics, problems=(400,), websocket=True)
    async def live(self, request: web.Request) -> web.StreamResponse:
        """Many topics on one connection.

        Subscribe by messages or by `topics`; resume by epoch and offset. See `docs/live.md`.
        """
        topics = [topic for topic in request.query.get("topics", "").split(",") if topic]

        def session(client: Client) -> Session:
            return LiveSession(self._hub, client, self._live, topics[: self._settings.max_subscriptions])

        return await self._sockets.serve(request, "live", session)

    @admits_websocket
    @operation("Live feed", status=101, query=Token, problems=(400,), websocket=True)
    async def pool_metrics(self, request: web.Request) -> web.StreamResponse:
        """One pool's agents as they change.

        `initial_metrics` first, then `metrics_update` and `agent_offline`.
        """
        pool_id = request.match_info["pool_id"]
        return await self._sockets.serve(
            request, "pool", lambda client: PoolSession(self._hub, client, self._pool, pool_id)
        )

    @admits_websocket
    @operation("Live feed", status=101, query=AlertsQuery, problems=(400, 422), websocket=True)
    async def alerts(self, request: web.Request) -> web.StreamResponse:
        """Alerts: the last ten at once, then each new one; of all, or of chosen accounts."""
        chosen = _accounts(request)
        return await self._sockets.serve(
            request, "alerts", lambda client: AlertSession(self._hub, client, self._alert, chosen)
        )


def _accounts(request: web.Request) -> frozenset[str]:
    """The chosen accounts; names that are not known are passed over, as the document's clients may add theirs."""
    try:
        return ACCOUNT_IDS.validate_python(request.query.getall("account_id", []))
    except ValidationError as error:
        errors = [{**each, "loc": ["query", "account_id", *each["loc"]]} for each in validation_errors(error)]
        raise InvalidInputError("the query does not validate", errors) from error
