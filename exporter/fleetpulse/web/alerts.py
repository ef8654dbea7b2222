"""Alertmanager's webhook: every change of an alert is stored, then pushed to the live alerts feed.

Source: Alertmanager's webhook format, version 4. Unknown fields are tolerated.
"""

from typing import Annotated, Literal

from aiohttp import web
from pydantic import AwareDatetime, Field

from fleetpulse.auth import Role
from fleetpulse.config import Limits
from fleetpulse.pipeline import Pipeline
from fleetpulse.signals import AlertEvent, Identifier, LabelSet, Signal, Text
from fleetpulse.web.answers import json_answer
from fleetpulse.web.body import Decoder, read_body
from fleetpulse.web.guard import requires

MAX_ALERTS = 10_000


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
    """A notification: a group of alerts."""

    version: str = "4"
    receiver: str = ""
    alerts: Annotated[list[WebhookAlert], Field(max_length=MAX_ALERTS)]


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
    async def webhook(self, request: web.Request) -> web.Response:
        """Stores each alert's change once; a repeated notification is acknowledged as a duplicate."""
        message = self._message.one(await read_body(request, self._limits))
        receipt = await self._pipeline.alerts([alert.event() for alert in message.alerts])
        return json_answer({"accepted": receipt.stored, "duplicates": receipt.duplicates}, status=202)
