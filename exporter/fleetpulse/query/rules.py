"""Prometheus' alerting rules as they stand: which fire, which are about to, which cannot be evaluated.

Source: https://prometheus.io/docs/prometheus/latest/querying/api/#rules.
"""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from fleetpulse.query.promql import Prometheus


class RuleAlert(BaseModel):
    """An alert of a rule: `pending` until it has lasted for the rule's time, then `firing`."""

    model_config = ConfigDict(frozen=True)

    labels: dict[str, str]
    annotations: dict[str, str] = {}
    state: str
    active_at: Annotated[datetime | None, Field(alias="activeAt")] = None
    value: str = ""


class Rule(BaseModel):
    """An alerting rule."""

    model_config = ConfigDict(frozen=True)

    name: str
    state: str
    health: str
    last_error: Annotated[str, Field(alias="lastError")] = ""
    last_evaluation: Annotated[datetime | None, Field(alias="lastEvaluation")] = None
    alerts: list[RuleAlert] = []


class _Group(BaseModel):
    name: str
    rules: list[Rule]


class _Groups(BaseModel):
    groups: list[_Group]


_GROUPS = TypeAdapter(_Groups)


async def alerting_rules(prometheus: Prometheus, group: str) -> list[Rule]:
    """The alerting rules of the groups of a name, in order. Raises UpstreamError."""
    document: Any = await prometheus.get("/api/v1/rules", {"type": "alert"})
    try:
        groups = _GROUPS.validate_python(document["data"]).groups
    except (KeyError, TypeError, ValidationError) as error:
        raise prometheus.failed("answered something else than rules") from error
    return [rule for each in groups if each.name == group for rule in each.rules]
