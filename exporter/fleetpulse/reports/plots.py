"""Which charts a report has, and what stands in them."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from fleetpulse.query.report import Group, Point, Report
from fleetpulse.query.windows import Window
from fleetpulse.reports.charts import Bar, Slot, bars, columns
from fleetpulse.reports.numbers import usd, whole
from fleetpulse.reports.view import Chart, Words, period_in

SHOWN = 8  # bars; the others are one more
Place = tuple[datetime, str, str]  # when it begins, below the axis, in the tip


def charts(report: Report, words: Words) -> list[Chart]:
    """By time and by kind; none where there were no requests."""
    if not report.totals.total_requests:
        return []
    return [_requests(report, words), _cost(report, words), *_groups(report, words)]


def _requests(report: Report, words: Words) -> Chart:
    title = words(f"chart.requests.{report.series.step}")

    def told(point: Point) -> str:
        failed = f", {whole(point.errors)} {words('chart.failed')}" if point.errors else ""
        return f"{whole(point.requests)}{failed}"

    slots = _slots(report, lambda point: (point.requests - point.errors, point.errors), told)
    legend = [("ok", words("chart.ok")), ("bad", words("chart.failed"))]
    return Chart("requests", title, columns(title, slots, ("ok", "bad"), _count_label), legend)


def _cost(report: Report, words: Words) -> Chart:
    title = words(f"chart.cost.{report.series.step}")
    slots = _slots(report, lambda point: (point.cost,), lambda point: usd(point.cost))
    return Chart("cost", title, columns(title, slots, ("money",), _usd_label))


def _groups(report: Report, words: Words) -> Iterator[Chart]:
    """By source and by model: what they cost, or where nothing costs anything, how many requests there were."""
    priced = report.totals.total_cost > 0
    for name, groups in (("by_source", report.by_source), ("by_model", report.by_model)):
        title = words(f"chart.{name}" if priced else f"chart.{name}.requests")
        value = _group_cost if priced else _group_requests
        items = _bars(groups, words, value, usd if priced else whole)
        yield Chart(name, title, bars(title, items, "money" if priced else "ok"))


def _bars(
    groups: Sequence[Group], words: Words, value: Callable[[Group], float], text: Callable[[float], str]
) -> list[Bar]:
    largest = sorted(groups, key=value, reverse=True)
    made = [Bar(group.name, value(group), text(value(group))) for group in largest[:SHOWN]]
    if rest := largest[SHOWN:]:
        summed = sum(map(value, rest))
        made.append(Bar(f"{words('chart.others')} ({len(rest)})", summed, text(summed)))
    return made


def _group_cost(group: Group) -> float:
    return group.total_cost


def _group_requests(group: Group) -> float:
    return group.total_requests


def _slots(
    report: Report, values: Callable[[Point], tuple[float, ...]], told: Callable[[Point], str]
) -> list[Slot]:
    """A place for every hour or day of the period, filled where the report has it."""
    points = {point.start.timestamp(): point for point in report.series.points}
    slots = []
    for start, tick, tip in _places(report):
        point = points.get(start.timestamp())
        slots.append(
            Slot(tick, tip if point is None else f"{tip}: {told(point)}", None if point is None else values(point))
        )
    return slots


def _places(report: Report) -> list[Place]:
    period = period_in(report)
    window = Window(period.start, period.end)
    if report.series.step == "day":
        return [(day, f"{day.day}", f"{day:%Y-%m-%d}") for day in window.days()[:-1]]
    return [(hour, f"{hour:%H}", f"{hour:%H:%M}") for hour in window.hours()[:-1]]


def _count_label(value: float) -> str:
    """1,500 on a scale; 2.5M where it is long."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            unit = 1e3 if letter == "k" else size
            return f"{value / unit:,.4g}{letter}"
    return f"{value:,.4g}"


def _usd_label(value: float) -> str:
    return f"${value:,.4g}" if value < 1e4 else f"${_count_label(value)}"  # noqa: PLR2004 - as in _count_label
