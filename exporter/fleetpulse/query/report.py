"""What a report says: the model that every form of it (JSON, Markdown, CSV, a page, an e-mail) is made from.

Money is in USD, times are aware datetimes, rates and ratios are 0-1. None means that there is nothing to tell: the
success rate of no requests, or a change against nothing.
"""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from fleetpulse.journal import rfc3339
from fleetpulse.query.periods import Kind

# RFC 3339 in UTC, as everywhere in the API; a report read in Python has its own time zone still.
Moment = Annotated[
    datetime,
    PlainSerializer(lambda moment: rfc3339(moment.timestamp()), return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]

Step = Literal["hour", "day"]


class Part(BaseModel):
    """Base of the report's parts: frozen, and every field is always there."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Gap(Part):
    """A time at an edge of the window in which an exporter (by its labels in Prometheus) was not scraped."""

    target: dict[str, str]
    start: Moment
    end: Moment
    counted: bool = Field(
        description="Whether what came in it is in the figures, which then hold what came before the window too."
    )


class Coverage(Part):
    """What figures really cover: from one scrape to another, null where no exporter was scraped in the window."""

    start: Moment | None
    end: Moment | None
    complete: bool = Field(description="Nothing of the window is missing, and nothing else is in it.")
    gaps: list[Gap] = Field(description="Why not, the longest first.")


class Figures(Part):
    """What some requests add up to, by the names of `/api/metrics`."""

    total_requests: int
    failed_requests: int = Field(description="Those whose status is not `success`.")
    success_rate: float | None = Field(description="0-1.")
    avg_execution_time: float | None = Field(description="Seconds.")
    total_tokens: int = Field(description="Of every kind; cached ones are counted once.")
    total_cost: float = Field(description="USD, of the requests whose cost is known.")
    unpriced_requests: int = Field(description="Those whose cost is unknown.")


class Group(Figures):
    """The figures of some of the requests beside those of the period before; null where that has none."""

    previous_total_requests: int | None
    previous_total_cost: float | None

    @property
    def name(self) -> str:
        """Of what."""
        raise NotImplementedError


class SourceGroup(Group):
    """The figures of one source."""

    source: str

    @property
    def name(self) -> str:
        """The source."""
        return self.source


class ModelGroup(Group):
    """The figures of one model; `none` are the requests without."""

    model: str

    @property
    def name(self) -> str:
        """The model."""
        return self.model


class StatusCount(Part):
    """Requests by how they ended."""

    status: str
    requests: int


class Point(Part):
    """One hour or one day."""

    start: Moment
    local: str = Field(description="The same in local time: an hour with its offset, or a date.")
    requests: int
    errors: int
    tokens: int
    cost: float


class Series(Part):
    """The period, hour by hour (daily) or day by day; what lies ahead of a current period is left out."""

    step: Step
    points: list[Point]


class Change(Part):
    """A figure less its value in the period before; `ratio` is the difference as a share of that value."""

    absolute: float
    ratio: float | None


class Changes(Part):
    """Each figure against the period before; None where one of the two has none."""

    total_requests: Change
    failed_requests: Change
    success_rate: Change | None
    avg_execution_time: Change | None
    total_tokens: Change
    total_cost: Change


class Previous(Part):
    """The period before. `partial`: only as much of it as has passed of the current one."""

    start: Moment
    end: Moment
    partial: bool
    covered: Coverage
    totals: Figures
    changes: Changes | None = Field(description="Null where nothing was recorded in one of the two.")


class TopError(Part):
    """One way to fail. Texts that differ in numbers and ids only are one; `error` is the commonest of them."""

    status: str
    error: str
    requests: int
    texts: int = Field(description="How many different texts were taken together.")


class Errors(Part):
    """Failed requests by what went wrong, the commonest first, as the journal's rows have it."""

    total: int
    top: list[TopError]
    others: int = Field(description="Failed requests besides those of `top`.")


class BudgetLine(Part):
    """A budget in its last period that overlaps the report's: what was spent, and whether that was too much."""

    name: str
    scope: str
    target: str
    period: str
    start: Moment = Field(description="When that period of the budget began.")
    limit: float
    spent: float
    used: float = Field(description="`spent` as a share of `limit`.")
    state: str
    periods: int = Field(description="Periods of the budget that began within the report's.")
    exceeded: int = Field(description="Of those, how many reached the limit.")


class CorrectionLine(Part):
    """Requests that were priced, or priced anew, within the period; they may have been made before it."""

    made_at: Moment
    source: str
    model: str
    requests: int
    cost: float = Field(description="What it changed the cost by, in USD.")


class Corrections(Part):
    """Corrections made within the period, the newest first."""

    total: int
    cost: float
    items: list[CorrectionLine]


class UnpricedLine(Part):
    """Requests of one model whose cost is unknown."""

    model: str
    requests: int


class AlertCount(Part):
    """How often one alert fired."""

    alertname: str
    severity: str
    times: int


class AlertLine(Part):
    """One alert, from when it fired until it was resolved."""

    alertname: str
    severity: str
    summary: str
    starts_at: Moment
    ends_at: Moment | None = Field(description="None while it fires.")


class Alerts(Part):
    """Alerts that fired at some time in the period, the newest first."""

    total: int
    by_name: list[AlertCount]
    items: list[AlertLine]


class Report(Part):
    """A daily, weekly or monthly report."""

    report: Kind
    generated_at: Moment
    timezone: str
    source: str | None = Field(description="The one source it is of; None: all.")
    first_day: date = Field(description="Local.")
    last_day: date
    start: Moment
    end: Moment
    complete: bool = Field(description="Whether the period is over.")
    covered: Coverage
    totals: Figures
    previous: Previous
    by_source: list[SourceGroup]
    by_model: list[ModelGroup]
    by_status: list[StatusCount]
    series: Series
    errors: Errors
    unpriced: list[UnpricedLine]
    corrections: Corrections
    budgets: list[BudgetLine]
    alerts: Alerts
