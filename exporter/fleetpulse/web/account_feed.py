"""`ws/metrics`: the accounts' metrics at once, and then at the client's interval."""

import re
from typing import Annotated, Any

from aiohttp import web
from pydantic import BeforeValidator, Field

from fleetpulse.accounts.feed import (
    LEAST_SECONDS,
    MOST_SECONDS,
    USUAL_SECONDS,
    Configure,
    MetricsFeed,
    MetricsSession,
)
from fleetpulse.accounts.history import LEAST_STEP, MAX_MINUTES, Span
from fleetpulse.signals import Label
from fleetpulse.web.accounts import MAX_CHOSEN, PREFIX, split
from fleetpulse.web.guard import admits_websocket
from fleetpulse.web.live import Token
from fleetpulse.web.operations import operation, read_query
from fleetpulse.web.sockets import Sockets

MINUTES = {"s": 1 / 60, "m": 1.0, "h": 60.0, "d": 1_440.0, "": 1.0}
LENGTH = re.compile(r"([0-9]{1,6})([smhd]?)")


def _minutes(value: Any) -> Any:
    """`15m`, `90s`, `2h`, `1d`; a bare number is minutes."""
    found = LENGTH.fullmatch(str(value))
    if found is None:
        raise ValueError("must be a length of time such as 15m, 90s or 2h")
    return int(found[1]) * MINUTES[found[2]]


class MetricsQuery(Token):
    """What a client of `ws/metrics` chooses; it may choose anew by messages."""

    interval: int = Field(USUAL_SECONDS, ge=LEAST_SECONDS, le=MOST_SECONDS, description="Seconds between messages.")
    accounts: Annotated[frozenset[Label], BeforeValidator(split)] = Field(
        frozenset(), max_length=MAX_CHOSEN, description="Only these: several times, or with commas between."
    )
    history: Annotated[float, BeforeValidator(_minutes), Field(gt=0, le=MAX_MINUTES)] | None = Field(
        None,
        description="First what was, so long back: 15m, 2h, 1d.",
        json_schema_extra={"type": "string", "pattern": f"^{LENGTH.pattern}$"},
    )
    step: int | None = Field(None, ge=LEAST_STEP, le=86_400, description="Seconds between two points of that.")


class AccountFeedEndpoints:
    """CONTRACT C: metrics, live."""

    def __init__(self, feed: MetricsFeed, sockets: Sockets) -> None:
        self._feed = feed
        self._sockets = sockets

    def routes(self) -> list[web.RouteDef]:
        """Where the handler lives."""
        return [web.get(f"{PREFIX}/ws/metrics", self.metrics)]

    @admits_websocket
    @operation("Live feed", status=101, query=MetricsQuery, problems=(400, 422), websocket=True)
    async def metrics(self, request: web.Request) -> web.StreamResponse:
        """System and account metrics: at once, and then every five seconds or as you choose.

        `docs/accounts.md` has the messages.
        """
        query = read_query(request, MetricsQuery)
        wanted = Configure(interval=query.interval, accounts=query.accounts)
        history = None if query.history is None else Span(minutes=query.history, step=query.step)
        return await self._sockets.serve(
            request, "account_metrics", lambda client: MetricsSession(self._feed, client, wanted, history)
        )
