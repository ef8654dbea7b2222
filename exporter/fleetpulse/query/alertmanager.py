"""Alertmanager's HTTP API (v2): the alerts that it holds now, silenced and inhibited ones too; and posting some.

Source: https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml (`gettableAlert`).
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fleetpulse.query.upstream import Upstream


class State(BaseModel):
    """`active` alerts are told; `suppressed` ones are silenced or inhibited; `unprocessed` ones are too new."""

    model_config = ConfigDict(frozen=True)

    state: Literal["active", "suppressed", "unprocessed"]
    silenced_by: Annotated[tuple[str, ...], Field(alias="silencedBy")] = ()
    inhibited_by: Annotated[tuple[str, ...], Field(alias="inhibitedBy")] = ()


class FiringAlert(BaseModel):
    """An alert that fires now; unknown fields are tolerated."""

    model_config = ConfigDict(frozen=True)

    fingerprint: str
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    status: State
    starts_at: Annotated[AwareDatetime, Field(alias="startsAt")]
    updated_at: Annotated[AwareDatetime, Field(alias="updatedAt")]
    generator_url: Annotated[str, Field(alias="generatorURL")] = ""

    @property
    def alertname(self) -> str:
        """Its name."""
        return self.labels.get("alertname") or "unnamed"

    @property
    def alert_id(self) -> str:
        """The id that its stored changes have, too."""
        return f"{self.alertname}_{self.fingerprint}_{int(self.starts_at.timestamp())}"

    def as_json(self) -> dict[str, object]:
        """The alert as the API shows it, with the names that its stored changes have."""
        return {
            "alert_id": self.alert_id,
            "alert_type": self.labels.get("alert_type", self.alertname),
            "account_id": self.labels.get("account_id"),
            "message": self.annotations.get("description") or self.annotations.get("summary") or self.alertname,
            "alertname": self.alertname,
            "severity": self.labels.get("severity") or "none",
            "state": self.status.state,
            "silenced_by": self.status.silenced_by,
            "inhibited_by": self.status.inhibited_by,
            "summary": self.annotations.get("summary"),
            "starts_at": self.starts_at,
            "updated_at": self.updated_at,
            "labels": self.labels,
            "annotations": self.annotations,
            "runbook_url": self.annotations.get("runbook_url"),
            "generator_url": self.generator_url,
            "fingerprint": self.fingerprint,
        }


ALERTS = TypeAdapter(list[FiringAlert])


class PostedAlert(BaseModel):
    """An alert to be posted (`postableAlert`): it fires from its start until its end, then is resolved by itself.

    Posted again with the same labels before its end, it is the same alert.
    """

    model_config = ConfigDict(frozen=True)

    labels: dict[str, str]
    annotations: dict[str, str] = {}
    starts_at: datetime
    ends_at: datetime

    def as_json(self) -> dict[str, object]:
        """With the names that Alertmanager knows."""
        return {
            "labels": self.labels,
            "annotations": self.annotations,
            "startsAt": self.starts_at,
            "endsAt": self.ends_at,
        }


class Alertmanager(Upstream):
    """Asks one Alertmanager. Every method raises UpstreamError."""

    def __init__(self, url: str, token_file: Path | None = None, seconds: float = 10.0) -> None:
        super().__init__("Alertmanager", url, token_file, seconds)

    async def firing(self) -> list[FiringAlert]:
        """Every alert that fires now, the newest first."""
        document = await self.get("/api/v2/alerts")
        try:
            alerts = ALERTS.validate_python(document)
        except ValidationError as error:
            raise self.failed("answered something else than alerts") from error
        return sorted(alerts, key=_newest_first)

    async def post_alerts(self, alerts: Sequence[PostedAlert]) -> None:
        """Hands alerts over; returns when Alertmanager has taken all of them."""
        await self.give("/api/v2/alerts", [alert.as_json() for alert in alerts])

    def explain(self, document: Any) -> str:
        """Alertmanager says a text, or `{"code", "message"}`."""
        message = document.get("message") if isinstance(document, dict) else document
        return str(message or "")[:200]


def _newest_first(alert: FiringAlert) -> tuple[float, str]:
    began: datetime = alert.starts_at
    return -began.timestamp(), alert.fingerprint
