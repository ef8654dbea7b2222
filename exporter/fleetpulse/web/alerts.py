"""Alertmanager's webhook: every change of an alert is stored, then pushed to the live alerts feed.

Source: Alertmanager's webhook format, version 4. Unknown fields are tolerated. Alertmanager does not try again what
was refused, so one alert that breaks the contract never takes the others of its notification down.
"""

import logging
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from fleetpulse.auth import Role
from fleetpulse.config import Limits
from fleetpulse.errors import InvalidInputError
from fleetpulse.pipeline import Pipeline
from fleetpulse.signals import AlertEvent, Identifier, LabelSet, Signal, Text
from fleetpulse.web.answers import Kept, json_answer
from fleetpulse.web.body import Decoder, read_body
from fleetpulse.web.guard import requires
from fleetpulse.web.operations import operation
from fleetpulse.web.problems import validation_errors

MAX_ALERTS = 10_000
MAX_ERRORS_PER_ALERT = 5
log = logging.getLogger(__name__)


class WebhookAlert(Signal):
    """One alert of a notification."""

    status: Literal["firing", "resolved"]
    labels: LabelSet
    annotations: Annotated[LabelSet, Field(default_factory=dict)]
    starts_at: Annotated[AwareDatetime, Field(alias="startsAt")]
    ends_at: Annotated[AwareDatetime | None, Field(alias="endsAt")] = None
    generator_url: Annotated[Text, Field(alias="generatorURL")] = ""
    fingerprint: Identifier

    def event(self) -> AlertEvent:
        """The alert as a signal."""
        return AlertEvent(
            fingerprint=self.fingerprint,
            alertname=self.labels.get("alertname") or "unnamed",
            status=self.status,
            severity=self.labels.get("severity") or "none",
            starts_at=self.starts_at,
            ends_at=self.ends_at,
            labels=self.labels,
            annotations=self.annotations,
            generator_url=self.generator_url,
        )


class WebhookMessage(Signal):
    """A notification: a group of alerts, which are judged one by one."""

    version: str = "4"
    receiver: str = ""
    alerts: Annotated[list[Any], Field(max_length=MAX_ALERTS)]


class Notification(WebhookMessage):
    """Alertmanager's webhook message, version 4."""

    alerts: Annotated[list[WebhookAlert], Field(max_length=MAX_ALERTS)]


EXAMPLE = {
    "version": "4",
    "receiver": "fleetpulse",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "Trial", "severity": "warning"},
            "annotations": {"summary": "a trial"},
            "startsAt": "2025-01-07T10:30:00Z",
            "fingerprint": "f00d",
        }
    ],
}
ALERT = TypeAdapter(WebhookAlert)


class AlertEndpoints:
    """The way back from Alertmanager."""

    def __init__(self, pipeline: Pipeline, limits: Limits) -> None:
        self._pipeline = pipeline
        self._limits = limits
        self._message = Decoder(WebhookMessage, 1)

    def routes(self) -> list[web.RouteDef]:
        """Where the handler lives."""
        return [web.post("/api/v1/alerts/webhook", self.webhook)]

    @requires(Role.REPORTER)
    @operation("Alerts", answer=Kept, status=202, body=Notification, examples={"One alert": EXAMPLE})
    async def webhook(self, request: web.Request) -> web.Response:
        """Takes Alertmanager's notifications.

        Each change of each alert is stored once; a repeated notification is acknowledged as a duplicate. 422 where
        no alert of the notification can be read.
        """
        message = self._message.one(await read_body(request, self._limits))
        events, rejected = _events(message.alerts)
        if rejected:
            self._pipeline.count("alert", "rejected", len(rejected))
            log.warning("%d of %d alerts of a notification are refused", len(rejected), len(message.alerts))
        if rejected and not events:
            raise InvalidInputError("no alert of the notification can be read", rejected[0]["errors"])
        receipt = await self._pipeline.alerts(events)
        answer = {"accepted": receipt.stored, "duplicates": receipt.duplicates, "rejected": rejected}
        return json_answer(answer, status=202)


def _events(alerts: list[Any]) -> tuple[list[AlertEvent], list[dict[str, Any]]]:
    """The alerts as signals, and those that are none: `{index, errors}`."""
    events: list[AlertEvent] = []
    rejected: list[dict[str, Any]] = []
    for index, alert in enumerate(alerts):
        try:
            events.append(ALERT.validate_python(alert).event())
        except ValidationError as error:
            rejected.append({"index": index, "errors": validation_errors(error)[:MAX_ERRORS_PER_ALERT]})
    return events, rejected
