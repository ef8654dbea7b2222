"""Alerts about group accounts: what fires and fired, a look at the rules now, and what was dealt with."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Literal

from aiohttp import web
from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from fleetpulse.auth import Role
from fleetpulse.errors import NotFoundError
from fleetpulse.events import Events
from fleetpulse.journal import Journal
from fleetpulse.query.alertmanager import Alertmanager, FiringAlert
from fleetpulse.query.alerts import known, recent
from fleetpulse.query.events import EventFilter, EventLog
from fleetpulse.query.promql import Prometheus
from fleetpulse.query.rules import Rule, RuleAlert, alerting_rules
from fleetpulse.query.silences import silence
from fleetpulse.web.accounts import PREFIX, TAG, AccountIds
from fleetpulse.web.alert_list import MAX_FIRING, Alerts, valid_cursor
from fleetpulse.web.answers import Paged, json_answer
from fleetpulse.web.guard import principal_of, requires
from fleetpulse.web.operations import Query, operation, read_query

GROUP = "fleetpulse-accounts"
DAY_SECONDS = 86_400
Cursor = Annotated[str, AfterValidator(valid_cursor)]
CURSOR = Field("", description="`next_cursor` of the page before; without it, the first page.")


class AccountAlertsQuery(Paged):
    """Which alerts. `firing` may be turned off, and then Alertmanager is not needed."""

    cursor: Cursor = CURSOR
    account_id: AccountIds = Field(frozenset(), description="Only of these: several times, or with commas between.")
    status: Literal["firing", "resolved"] | None = Field(None, description="Only such changes.")
    firing: Literal["true", "false"] = Field("true", description="Whether to tell what fires now.")


class CheckedAlert(TypedDict):
    """An alert of a rule: `pending` ones will fire if they last."""

    alert_type: str
    account_id: str | None
    message: str
    state: str
    severity: str
    active_at: datetime | None
    value: str


class CheckedRule(TypedDict):
    """A rule as Prometheus last evaluated it; `health` is `ok`, `err` or `unknown`."""

    alertname: str
    state: str
    health: str
    last_error: str
    last_evaluation: datetime | None
    alerts: list[CheckedAlert]


class Check(TypedDict):
    """The rules about accounts, and how many of their alerts fire or are about to."""

    checked_at: datetime
    firing: int
    pending: int
    rules: list[CheckedRule]


class ResolveQuery(Query):
    """How an alert is put to rest."""

    seconds: int = Field(DAY_SECONDS, ge=60, le=30 * DAY_SECONDS, description="For how long nobody is told of it.")
    comment: str = Field("", max_length=1_000, description="Why, for who looks at the silence.")


class Resolution(TypedDict):
    """What was done: it was silenced now, or before; or it does not fire any more."""

    alert_id: str
    outcome: Literal["silenced", "already_silenced", "not_firing"]
    silence_id: str | None
    ends_at: datetime | None


class Happened(TypedDict):
    """Something that happened in the service."""

    event_id: str
    received_at: datetime
    category: str
    kind: str
    actor: str
    subject: str
    detail: dict[str, object]


class EventList(TypedDict):
    """Events, newest first. A page may be empty and another one follow."""

    events: list[Happened]
    next_cursor: str | None


class EventsQuery(Paged):
    """Which events."""

    cursor: Cursor = CURSOR
    category: str | None = Field(None, max_length=100, description="`account`, `connection`, `audit`, `system`, …")
    kind: str | None = Field(None, max_length=100, description="`account_online`, say.")
    subject: str | None = Field(None, max_length=200, description="What it happened to: an account's id, say.")
    actor: str | None = Field(None, max_length=200, description="Who did it.")


class AccountAlertEndpoints:
    """CONTRACT C: alerts and events."""

    def __init__(  # noqa: PLR0913 - the parts it asks
        self,
        alertmanager: Alertmanager,
        prometheus: Prometheus,
        journal: Journal,
        log: Events,
        events: EventLog,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._alertmanager = alertmanager
        self._prometheus = prometheus
        self._journal = journal
        self._log = log
        self._events = events
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        return [
            web.get(f"{PREFIX}/alerts", self.alerts),
            web.post(f"{PREFIX}/alerts/check", self.check),
            web.post(f"{PREFIX}/alerts/{{alert_id}}/resolve", self.resolve),
            web.get(f"{PREFIX}/events", self.events),
        ]

    @requires(Role.VIEWER)
    @operation(TAG, answer=Alerts, query=AccountAlertsQuery, upstream="Alertmanager")
    async def alerts(self, request: web.Request) -> web.Response:
        """What fires now about accounts, and what changed lately.

        As `/api/alerts`, of alerts with a label `account_id` alone.
        """
        query = read_query(request, AccountAlertsQuery)
        wanted = query.account_id
        firing = None
        if query.firing == "true":
            found = [each for each in await self._alertmanager.firing() if _is_about(each, wanted)]
            firing = [each.as_json() for each in found[:MAX_FIRING]]
        after = int(query.cursor) if query.cursor else None
        page = await asyncio.to_thread(recent, self._journal, query.limit, after, query.status, accounts=wanted)
        cursor = None if page.after is None else str(page.after)
        return json_answer(
            {"firing": firing, "recent": [row.as_json() for row in page.rows], "next_cursor": cursor}
        )

    @requires(Role.VIEWER)
    @operation(TAG, answer=Check, upstream="Prometheus")
    async def check(self, _request: web.Request) -> web.Response:
        """How the rules about accounts stand in Prometheus, which evaluates them every 15 seconds."""
        rules = await alerting_rules(self._prometheus, GROUP)
        states = [alert.state for rule in rules for alert in rule.alerts]
        checked_at = datetime.fromtimestamp(self._clock(), UTC)
        counts = {"firing": states.count("firing"), "pending": states.count("pending")}
        return json_answer({"checked_at": checked_at, **counts, "rules": [_rule(rule) for rule in rules]})

    @requires(Role.OPERATOR)
    @operation(TAG, answer=Resolution, query=ResolveQuery, problems=(404,), upstream="Alertmanager")
    async def resolve(self, request: web.Request) -> web.Response:
        """Puts one alert to rest: a silence in Alertmanager, for exactly this alert.

        It stays on record, and Prometheus resolves it when its cause is gone. Any alert's id will do. 404 where
        nobody ever heard of the alert.
        """
        alert_id = request.match_info["alert_id"]
        wanted = read_query(request, ResolveQuery)
        alert = next((each for each in await self._alertmanager.firing() if each.alert_id == alert_id), None)
        if alert is None:
            if await asyncio.to_thread(known, self._journal, alert_id) is None:
                raise NotFoundError(f"no alert {alert_id[:200]!r} is known")
            return _resolution(alert_id, "not_firing")
        if alert.status.silenced_by:
            return _resolution(alert_id, "already_silenced", alert.status.silenced_by[0])
        actor = principal_of(request).subject
        until = self._clock() + wanted.seconds
        comment = wanted.comment or "resolved by way of Fleetpulse"
        made = await silence(self._alertmanager, alert, until, actor, comment)
        detail = {"silence_id": made, "seconds": wanted.seconds, "comment": wanted.comment}
        await self._log.record("audit", "alert_resolved", actor=actor, subject=alert_id, detail=detail)
        return _resolution(alert_id, "silenced", made, until)

    @requires(Role.OPERATOR)
    @operation(TAG, answer=EventList, query=EventsQuery)
    async def events(self, request: web.Request) -> web.Response:
        """What happened in the service: accounts that came and went, connections, what administrators did."""
        query = read_query(request, EventsQuery)
        categories = () if query.category is None else (query.category,)
        wanted = EventFilter(categories, kind=query.kind, actor=query.actor, subject=query.subject)
        page = await self._events.page(wanted, query.limit, int(query.cursor) if query.cursor else None)
        cursor = None if page.next_id is None else str(page.next_id)
        return json_answer({"events": [each.row.as_json() for each in page.events], "next_cursor": cursor})


def _is_about(alert: FiringAlert, accounts: frozenset[str]) -> bool:
    account_id = alert.labels.get("account_id")
    return account_id in accounts if accounts else account_id is not None


def _rule(rule: Rule) -> CheckedRule:
    return {
        "alertname": rule.name,
        "state": rule.state,
        "health": rule.health,
        "last_error": rule.last_error,
        "last_evaluation": rule.last_evaluation,
        "alerts": [_checked(rule.name, alert) for alert in rule.alerts],
    }


def _checked(alertname: str, alert: RuleAlert) -> CheckedAlert:
    return {
        "alert_type": alert.labels.get("alert_type", alertname),
        "account_id": alert.labels.get("account_id"),
        "message": alert.annotations.get("description") or alert.annotations.get("summary") or alertname,
        "state": alert.state,
        "severity": alert.labels.get("severity") or "none",
        "active_at": alert.active_at,
        "value": alert.value,
    }


def _resolution(
    alert_id: str,
    outcome: Literal["silenced", "already_silenced", "not_firing"],
    silence_id: str | None = None,
    until: float | None = None,
) -> web.Response:
    ends_at = None if until is None else datetime.fromtimestamp(until, UTC)
    return json_answer({"alert_id": alert_id, "outcome": outcome, "silence_id": silence_id, "ends_at": ends_at})
