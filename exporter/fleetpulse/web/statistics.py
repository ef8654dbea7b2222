"""Statistics of request logs: sums over a window, by hour and by day. Every answer says what it really covers."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from aiohttp import web
from pydantic import Field
from typing_extensions import TypedDict

from fleetpulse.auth import Role
from fleetpulse.errors import InvalidInputError
from fleetpulse.journal.rows import rfc3339
from fleetpulse.query.figures import Bucket, Covered, Summary, Timeline, Totals
from fleetpulse.query.statistics import Statistics
from fleetpulse.query.windows import Range, Window
from fleetpulse.signals import Label
from fleetpulse.web.answers import json_answer
from fleetpulse.web.guard import requires
from fleetpulse.web.operations import Query, operation, read_query

MAX_HOURLY_DAYS = 62
MAX_GAPS = 100
START = "From when on: RFC 3339 with an offset, or a date, which is its midnight in the configured time zone."
END = "Up to when, itself not included; the same forms. Without it, up to now."


class WindowQuery(Query):
    """Which window: a range, or `start` with or without `end`; and which source."""

    range: Range | None = Field(
        None, description="In the configured time zone; `7d` and `30d` are whole days, today the last of them."
    )
    start: str | None = Field(None, max_length=40, description=START)
    end: str | None = Field(None, max_length=40, description=END)
    source: Label | None = Field(None, description="Only requests of this source; default: all.")


class Asked(TypedDict):
    """The window that was asked for, and the time zone in which its days begin."""

    start: datetime
    end: datetime
    timezone: str


class Hole(TypedDict):
    """An exporter (by its labels in Prometheus) was not scraped then, at an edge of the window.

    `counted`: what came then is in the sums, what came in it before the window too; else it is missing.
    """

    target: dict[str, str]
    start: datetime
    end: datetime
    counted: bool


class Cover(TypedDict):
    """From which scrape to which the sums count; null where no exporter was scraped in the window."""

    start: datetime | None
    end: datetime | None
    complete: bool
    gaps: list[Hole]


class TokenKinds(TypedDict):
    """Tokens by kind; input is without cached ones."""

    input: int
    cached: int
    output: int
    unattributed: int


class Figures(TypedDict):
    """Sums. Seconds and USD; rates from 0 to 1, null of no requests; unpriced requests add nothing to the cost."""

    total_requests: int
    failed_requests: int
    success_rate: float | None
    avg_execution_time: float | None
    total_tokens: int
    tokens: TokenKinds
    total_cost: float
    unpriced_requests: int
    priced_afterwards_requests: int


class SourceFigures(Figures):
    """Sums of one source."""

    source: str


class ModelFigures(Figures):
    """Sums of one model."""

    model: str


class StatusFigures(TypedDict):
    """Requests of one source with one status."""

    source: str
    status: str
    requests: int


class Metrics(Figures):
    """Sums over a window."""

    window: Asked
    covered: Cover
    by_source: list[SourceFigures]
    by_model: list[ModelFigures]
    by_status: list[StatusFigures]


class Counts(TypedDict):
    """Sums of one bucket, which is cut where the window begins or ends within it."""

    start: datetime
    end: datetime
    requests: int
    errors: int
    success_rate: float | None
    avg_execution_time: float | None
    tokens: int
    cost: float
    unpriced_requests: int
    complete: bool


class HourCounts(Counts):
    """One hour; `hour` is when it begins, in local time."""

    hour: datetime


class DayCounts(Counts):
    """One day; `date` is the local one."""

    date: str


class HourlyStats(TypedDict):
    """Sums by hour, in order, without holes."""

    window: Asked
    covered: Cover
    hours: list[HourCounts]


class DailyStats(TypedDict):
    """Sums by day, in order, without holes."""

    window: Asked
    covered: Cover
    days: list[DayCounts]


class StatisticsEndpoints:
    """CONTRACT B: statistics."""

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics

    def routes(self) -> list[web.RouteDef]:
        """Where the handlers live."""
        return [
            web.get("/api/metrics", self.metrics),
            web.get("/api/hourly-stats", self.hourly),
            web.get("/api/daily-stats", self.daily),
        ]

    @requires(Role.VIEWER)
    @operation("Statistics", answer=Metrics, query=WindowQuery, upstream="Prometheus")
    async def metrics(self, request: web.Request) -> web.Response:
        """Sums of requests over a window, by source, model and status; by default of today."""
        query = read_query(request, WindowQuery)
        summary = await self._statistics.over(self._window(query, "today"), query.source)
        return json_answer(self._metrics(summary))

    @requires(Role.VIEWER)
    @operation("Statistics", answer=HourlyStats, query=WindowQuery, upstream="Prometheus")
    async def hourly(self, request: web.Request) -> web.Response:
        """Sums of requests by hour of the local clock, over at most 62 days; by default of today."""
        query = read_query(request, WindowQuery)
        window = self._window(query, "today")
        if window.end.timestamp() - window.start.timestamp() > MAX_HOURLY_DAYS * 86_400:
            raise _wrong("end", f"is more than {MAX_HOURLY_DAYS} days after start")
        timeline = await self._statistics.by_hour(window, query.source)
        hours = [_bucket(each) | {"hour": each.start.isoformat()} for each in timeline.buckets]
        return json_answer(self._over(timeline) | {"hours": hours})

    @requires(Role.VIEWER)
    @operation("Statistics", answer=DailyStats, query=WindowQuery, upstream="Prometheus")
    async def daily(self, request: web.Request) -> web.Response:
        """Sums of requests by local day, over at most 400 days; by default of the last 30."""
        query = read_query(request, WindowQuery)
        timeline = await self._statistics.by_day(self._window(query, "30d"), query.source)
        days = [_bucket(each) | {"date": each.start.date().isoformat()} for each in timeline.buckets]
        return json_answer(self._over(timeline) | {"days": days})

    def _window(self, query: WindowQuery, usual: Range) -> Window:
        now = self._statistics.now()
        if query.start is None:
            if query.end is not None:
                raise _wrong("start", "is needed where there is an end")
            return Window.of(query.range or usual, now)
        if query.range is not None:
            raise _wrong("range", "cannot go with start and end")
        return Window.between(query.start, query.end, now)

    def _metrics(self, summary: Summary) -> dict[str, Any]:
        return {
            **_figures(summary.totals),
            **self._over(summary),
            "by_source": _named("source", summary.by_source),
            "by_model": _named("model", summary.by_model),
            "by_status": [
                {"source": source, "status": status, "requests": requests}
                for (source, status), requests in summary.by_status.items()
            ],
        }

    def _over(self, answer: Summary | Timeline) -> dict[str, Any]:
        window = {"start": _shown(answer.window.start), "end": _shown(answer.window.end)}
        zone = {"timezone": self._statistics.zone.key}
        return {"window": window | zone, "covered": _covered(answer.covered)}


def _named(name: str, groups: Mapping[str, Totals]) -> list[dict[str, Any]]:
    return [{name: group, **_figures(totals)} for group, totals in groups.items()]


def _figures(totals: Totals) -> dict[str, Any]:
    tokens = totals.tokens
    return {
        "total_requests": totals.requests,
        "failed_requests": totals.failed,
        "success_rate": totals.success_rate,
        "avg_execution_time": totals.average_seconds,
        "total_tokens": tokens.total,
        "tokens": {name: getattr(tokens, name) for name in TokenKinds.__annotations__},
        "total_cost": totals.cost,
        "unpriced_requests": totals.unpriced,
        "priced_afterwards_requests": totals.priced_afterwards,
    }


def _bucket(bucket: Bucket) -> dict[str, Any]:
    totals = bucket.totals
    return {
        "start": _shown(bucket.start),
        "end": _shown(bucket.end),
        "requests": totals.requests,
        "errors": totals.failed,
        "success_rate": totals.success_rate,
        "avg_execution_time": totals.average_seconds,
        "tokens": totals.tokens.total,
        "cost": totals.cost,
        "unpriced_requests": totals.unpriced,
        "complete": bucket.complete,
    }


def _covered(covered: Covered) -> dict[str, Any]:
    gaps = [
        {"target": dict(gap.target), "start": _shown(gap.start), "end": _shown(gap.end), "counted": gap.counted}
        for gap in covered.gaps[:MAX_GAPS]
    ]
    start = None if covered.start is None else _shown(covered.start)
    end = None if covered.end is None else _shown(covered.end)
    return {"start": start, "end": end, "complete": covered.complete, "gaps": gaps}


def _shown(moment: datetime) -> str:
    return rfc3339(moment.timestamp())


def _wrong(name: str, message: str) -> InvalidInputError:
    return InvalidInputError("the query does not validate", [{"loc": ["query", name], "msg": message}])
