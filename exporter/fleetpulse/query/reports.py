"""Gathers a report: figures from Prometheus; errors, alerts and corrections from the journal; budgets from totals.

A period that is not over is compared with the same part of the one before it. What came in between two scrapes at a
boundary belongs to the later side, as in all statistics, so neighbouring reports add up.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from fleetpulse.errors import OverloadedError
from fleetpulse.journal import Journal
from fleetpulse.query.alert_history import alerts_between
from fleetpulse.query.budget_lines import BudgetBook
from fleetpulse.query.corrections import corrections_between
from fleetpulse.query.error_kinds import top_kinds
from fleetpulse.query.failures import top_errors
from fleetpulse.query.figures import Bucket, Covered, Summary, Totals
from fleetpulse.query.periods import Kind, Period, current, period_of
from fleetpulse.query.report import (
    Alerts,
    Change,
    Changes,
    Corrections,
    Coverage,
    Errors,
    Figures,
    Gap,
    Group,
    ModelGroup,
    Point,
    Previous,
    Report,
    Series,
    SourceGroup,
    StatusCount,
    Step,
    TopError,
    UnpricedLine,
)
from fleetpulse.query.statistics import Statistics
from fleetpulse.query.windows import Window

TOP_ERRORS = 10
ERROR_TEXTS = 2_000  # taken together before the top is chosen
GAPS = 20
AT_ONCE = 2
WAITING = 16


@dataclass(frozen=True)
class _Span:
    """What is reported, and what it is compared with: the same part of the period before."""

    period: Period
    window: Window
    before: Window
    now: datetime

    @property
    def complete(self) -> bool:
        return self.window.end.timestamp() >= self.period.end.timestamp()


class Reports:
    """Makes reports, some at a time.

    Every method raises UpstreamError where Prometheus does not answer, and OverloadedError where too many ask.
    """

    def __init__(
        self,
        statistics: Statistics,
        journal: Journal,
        budgets: BudgetBook,
        zone: ZoneInfo,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._zone = zone
        self._statistics = statistics
        self._journal = journal
        self._budgets = budgets
        self._clock = clock
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0

    @property
    def zone(self) -> ZoneInfo:
        """Whose midnight counts."""
        return self._zone

    @property
    def now(self) -> datetime:
        """The present, local."""
        return datetime.fromtimestamp(self._clock(), self._zone)

    async def current(self, kind: Kind, source: str | None = None) -> Report:
        """Of the day, week or month that is under way."""
        return await self._in_turn(current(kind, self.now, self._zone), source)

    async def previous(self, kind: Kind, source: str | None = None) -> Report:
        """Of the last whole day, week or month."""
        return await self._in_turn(current(kind, self.now, self._zone).before(), source)

    async def of(self, kind: Kind, day: date, source: str | None = None) -> Report:
        """Of the day, week or month that holds a local day, which must not lie ahead."""
        return await self._in_turn(period_of(kind, day, self._zone), source)

    async def _in_turn(self, period: Period, source: str | None) -> Report:
        if self._waiting >= WAITING:
            raise OverloadedError("too many reports are being made; try again", retry_after=5)
        self._waiting += 1
        try:
            async with self._turns:
                return await self._gather(period, source)
        finally:
            self._waiting -= 1

    async def _gather(self, period: Period, source: str | None) -> Report:
        span = _span(period, self.now)
        timeline = self._statistics.by_hour if period.kind == "daily" else self._statistics.by_day
        summary, before, series, failures, kept = await asyncio.gather(
            self._statistics.over(span.window, source),
            self._statistics.over(span.before, source),
            timeline(span.window, source),
            top_errors(self._journal, *_seconds(span.window), source, ERROR_TEXTS),
            asyncio.to_thread(self._kept, span.window, source),
        )
        alerts, corrections = kept
        totals = _figures(summary.totals)
        step: Step = "hour" if period.kind == "daily" else "day"
        return Report(
            report=period.kind,
            generated_at=span.now,
            timezone=self._zone.key,
            source=source,
            first_day=period.first,
            last_day=period.last,
            start=period.start,
            end=period.end,
            complete=span.complete,
            covered=_coverage(summary.covered),
            totals=totals,
            previous=_previous(span, summary, before),
            by_source=_sources(summary, before),
            by_model=_models(summary, before),
            by_status=_statuses(summary),
            series=Series(step=step, points=[_point(each, step) for each in series.buckets]),
            errors=_errors(totals.failed_requests, top_kinds(failures, TOP_ERRORS)),
            unpriced=_unpriced(summary),
            corrections=corrections,
            budgets=self._budgets.lines(span.window.start, span.window.end, source),
            alerts=alerts,
        )

    def _kept(self, window: Window, source: str | None) -> tuple[Alerts, Corrections]:
        """What the journal has of the window. Blocks for some milliseconds."""
        with closing(self._journal.reader()) as reader:
            return (
                alerts_between(reader, *_seconds(window), source),
                corrections_between(reader, *_seconds(window), source),
            )


def _span(period: Period, now: datetime) -> _Span:
    before = period.before()
    over = now.timestamp() >= period.end.timestamp()
    window = _window(period.start, period.end if over else now)
    return _Span(period, window, _window(before.start, before.end if over else before.same_part(now)), now)


def _window(start: datetime, end: datetime) -> Window:
    """At least a second of it, also at the very moment when a period begins."""
    return Window(start, max(end, start + timedelta(seconds=1), key=datetime.timestamp))


def _seconds(window: Window) -> tuple[float, float]:
    return window.start.timestamp(), window.end.timestamp()


def _figures(totals: Totals) -> Figures:
    return Figures(**_fields(totals))


def _fields(totals: Totals) -> dict[str, Any]:
    return {
        "total_requests": totals.requests,
        "failed_requests": totals.failed,
        "success_rate": totals.success_rate,
        "avg_execution_time": totals.average_seconds,
        "total_tokens": totals.tokens.total,
        "total_cost": totals.cost,
        "unpriced_requests": totals.unpriced,
    }


def _coverage(covered: Covered) -> Coverage:
    longest = sorted(covered.gaps, key=lambda gap: gap.start.timestamp() - gap.end.timestamp())[:GAPS]
    gaps = [Gap(target=dict(gap.target), start=gap.start, end=gap.end, counted=gap.counted) for gap in longest]
    return Coverage(start=covered.start, end=covered.end, complete=covered.complete, gaps=gaps)


def _previous(span: _Span, summary: Summary, before: Summary) -> Previous:
    compared = summary.covered.start is not None and before.covered.start is not None
    now, was = _figures(summary.totals), _figures(before.totals)
    changes = {name: _change(getattr(now, name), getattr(was, name)) for name in Changes.model_fields}
    return Previous(
        start=span.before.start,
        end=span.before.end,
        partial=not span.complete,
        covered=_coverage(before.covered),
        totals=was,
        changes=Changes.model_validate(changes) if compared else None,
    )


def _change(now: float | None, before: float | None) -> Change | None:
    if now is None or before is None:
        return None
    return Change(absolute=now - before, ratio=(now - before) / before if before else None)


def _sources(summary: Summary, before: Summary) -> list[SourceGroup]:
    was = _before(before, before.by_source)
    made = [SourceGroup(source=name, **was(name), **_fields(each)) for name, each in summary.by_source.items()]
    return sorted(made, key=_dearest)


def _models(summary: Summary, before: Summary) -> list[ModelGroup]:
    was = _before(before, before.by_model)
    made = [ModelGroup(model=name, **was(name), **_fields(each)) for name, each in summary.by_model.items()]
    return sorted(made, key=_dearest)


def _before(before: Summary, groups: Mapping[str, Totals]) -> Callable[[str], dict[str, Any]]:
    """What is told of a group in the period before."""

    def was(name: str) -> dict[str, Any]:
        told = None if before.covered.start is None else groups.get(name, Totals())
        return {"previous_total_requests": told and told.requests, "previous_total_cost": told and told.cost}

    return was


def _dearest(group: Group) -> tuple[float, int, str]:
    return -group.total_cost, -group.total_requests, group.name


def _errors(total: int, top: list[TopError]) -> Errors:
    return Errors(total=total, top=top, others=max(0, total - sum(each.requests for each in top)))


def _statuses(summary: Summary) -> list[StatusCount]:
    counts: dict[str, int] = {}
    for (_, status), requests in summary.by_status.items():
        counts[status] = counts.get(status, 0) + requests
    made = [StatusCount(status=status, requests=requests) for status, requests in counts.items() if requests]
    return sorted(made, key=lambda each: (-each.requests, each.status))


def _point(bucket: Bucket, step: Step) -> Point:
    totals = bucket.totals
    return Point(
        start=bucket.start,
        local=bucket.start.isoformat(timespec="minutes") if step == "hour" else bucket.start.date().isoformat(),
        requests=totals.requests,
        errors=totals.failed,
        tokens=totals.tokens.total,
        cost=totals.cost,
    )


def _unpriced(summary: Summary) -> list[UnpricedLine]:
    found = [UnpricedLine(model=name, requests=each.unpriced) for name, each in summary.by_model.items()]
    return sorted((each for each in found if each.requests), key=lambda each: (-each.requests, each.model))
