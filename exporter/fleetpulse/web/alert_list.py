"""`/api/alerts`: what fires now, as Alertmanager has it, and what changed lately, as the journal has it."""

import asyncio
import re
from datetime import datetime
from typing import Annotated, Literal

from aiohttp import web
from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from fleetpulse.auth import Role
from fleetpulse.journal import Journal
from fleetpulse.query.alertmanager import Alertmanager
from fleetpulse.query.alerts import recent
from fleetpulse.signals import Label
from fleetpulse.web.answers import Paged, json_answer
from fleetpulse.web.guard import requires
from fleetpulse.web.operations import operation, read_query

CURSOR = re.compile(r"(|[0-9]{1,18})")
MAX_FIRING = 1_000


def valid_cursor(value: str) -> str:
    """Refuses what no page gave."""
    if not CURSOR.fullmatch(value):
        raise ValueError("is no cursor that a page gave")
    return value


class Alert(TypedDict):
    """What is the same of an alert that fires and of one that is remembered."""

    alert_id: str
    alert_type: str
    account_id: str | None
    message: str
    alertname: str
    severity: str
    summary: str | None
    starts_at: datetime
    labels: dict[str, str]
    annotations: dict[str, str]
    runbook_url: str | None
    fingerprint: str


class Firing(Alert):
    """An alert that fires now. `suppressed` ones are silenced or inhibited, by those whose ids are listed."""

    state: Literal["active", "suppressed", "unprocessed"]
    silenced_by: list[str]
    inhibited_by: list[str]
    updated_at: datetime
    generator_url: str


class Change(Alert):
    """A change of an alert, as it was received (Unix seconds)."""

    status: Literal["firing", "resolved"]
    resolved: bool
    ends_at: datetime | None
    received_at: float


class Alerts(TypedDict):
    """`firing` is null where it was not asked for; `recent` is newest first."""

    firing: list[Firing] | None
    recent: list[Change]
    next_cursor: str | None


class AlertsQuery(Paged):
    """Which alerts. `firing` may be turned off, and then Alertmanager is not needed."""

    cursor: Annotated[str, AfterValidator(valid_cursor)] = Field(
        "", description="`next_cursor` of the page before; without it, the first page."
    )
    status: Literal["firing", "resolved"] | None = Field(None, description="Only such changes.")
    alertname: Label | None = Field(None, description="Only alerts of this name.")
    firing: Literal["true", "false"] = Field("true", description="Whether to tell what fires now.")


class AlertListEndpoints:
    """CONTRACT B: alerts, firing and recent."""

    def __init__(self, alertmanager: Alertmanager, journal: Journal) -> None:
        self._alertmanager = alertmanager
        self._journal = journal

    def routes(self) -> list[web.RouteDef]:
        """Where the handler lives."""
        return [web.get("/api/alerts", self.alerts)]

    @requires(Role.VIEWER)
    @operation("Alerts", answer=Alerts, query=AlertsQuery, upstream="Alertmanager")
    async def alerts(self, request: web.Request) -> web.Response:
        """What fires now and what changed lately.

        `firing` is what Alertmanager holds, silenced and inhibited alerts too, the newest 1,000. `recent` are the
        changes that Alertmanager sent, from the journal. Without Alertmanager the answer is 503; ask for
        `firing=false` to have what the journal holds all the same.
        """
        query = read_query(request, AlertsQuery)
        firing = await self._firing(query) if query.firing == "true" else None
        after = int(query.cursor) if query.cursor else None
        page = await asyncio.to_thread(recent, self._journal, query.limit, after, query.status, query.alertname)
        changes = [row.as_json() for row in page.rows]
        cursor = None if page.after is None else str(page.after)
        return json_answer({"firing": firing, "recent": changes, "next_cursor": cursor})

    async def _firing(self, query: AlertsQuery) -> list[dict[str, object]]:
        alerts = await self._alertmanager.firing()
        wanted = [alert for alert in alerts if query.alertname in (None, alert.alertname)]
        return [alert.as_json() for alert in wanted[:MAX_FIRING]]
