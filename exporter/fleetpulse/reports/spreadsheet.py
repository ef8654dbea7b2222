"""A report as one tidy table: a figure a line.

Spreadsheets filter and pivot it, and programs read it without knowing the report.
Text that a spreadsheet would take for a formula gets an apostrophe before it. The file begins with a byte order
mark: without one, Excel does not read it as UTF-8. Lines end in CR LF (RFC 4180). Numbers are exact, as in JSON.
"""

import csv
import io
from collections.abc import Iterator

from pydantic import BaseModel

from fleetpulse.query.report import Change, Figures, Group, Report

HEADER = ("section", "name", "metric", "value", "previous", "change", "change_ratio")
FIGURES = tuple(Figures.model_fields)
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
BOM = "\ufeff"
Value = object
Line = tuple[Value, ...]


def to_csv(report: Report) -> str:
    """The whole file."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(HEADER)
    for line in _lines(report):
        writer.writerow([_cell(value) for value in (*line, *[None] * (len(HEADER) - len(line)))])
    return BOM + out.getvalue()


def _lines(report: Report) -> Iterator[Line]:
    yield from _period(report)
    yield from _totals(report)
    for section, groups in (("by_source", report.by_source), ("by_model", report.by_model)):
        for group in groups:
            yield from _group(section, group)
    for status in report.by_status:
        yield "by_status", status.status, "requests", status.requests
    for point in report.series.points:
        yield from _fields(f"by_{report.series.step}", point.local, point, {"start", "local"})
    yield from _errors(report)
    for unpriced in report.unpriced:
        yield "unpriced", unpriced.model, "requests", unpriced.requests
    yield from _corrections(report)
    for budget in report.budgets:
        yield from _fields("budgets", budget.name, budget, {"name"})
    yield from _alerts(report)


def _period(report: Report) -> Iterator[Line]:
    yield "report", "", "report", report.report
    for name in ("source", "timezone", "generated_at", "first_day", "last_day", "start", "end", "complete"):
        yield "report", "", name, getattr(report, name)
    for name, covered in (("covered", report.covered), ("previous_covered", report.previous.covered)):
        yield from _fields("report", name, covered, {"gaps"})
    yield "report", "previous", "start", report.previous.start
    yield "report", "previous", "end", report.previous.end


def _totals(report: Report) -> Iterator[Line]:
    for metric in FIGURES:
        now, before = getattr(report.totals, metric), getattr(report.previous.totals, metric)
        change: Change | None = getattr(report.previous.changes, metric, None)
        yield "totals", "", metric, now, before, change and change.absolute, change and change.ratio


def _group(section: str, group: Group) -> Iterator[Line]:
    before = {"total_requests": group.previous_total_requests, "total_cost": group.previous_total_cost}
    for metric in FIGURES:
        yield section, group.name, metric, getattr(group, metric), before.get(metric)


def _errors(report: Report) -> Iterator[Line]:
    yield "errors", "", "total", report.errors.total
    for error in report.errors.top:
        yield "errors", f"{error.status}: {error.error}", "requests", error.requests
    yield "errors", "", "others", report.errors.others


def _corrections(report: Report) -> Iterator[Line]:
    yield "corrections", "", "total", report.corrections.total
    yield "corrections", "", "cost", report.corrections.cost
    for each in report.corrections.items:
        name = f"{each.source} / {each.model} / {each.made_at.isoformat()}"
        yield "corrections", name, "requests", each.requests
        yield "corrections", name, "cost", each.cost


def _alerts(report: Report) -> Iterator[Line]:
    yield "alerts", "", "total", report.alerts.total
    for count in report.alerts.by_name:
        yield "alerts", count.alertname, "times", count.times
    for alert in report.alerts.items:
        yield "alert", f"{alert.alertname} / {alert.starts_at.isoformat()}", "ends_at", alert.ends_at


def _fields(section: str, name: str, item: BaseModel, without: set[str]) -> Iterator[Line]:
    for metric in type(item).model_fields:
        if metric not in without:
            yield section, name, metric, getattr(item, metric)


def _cell(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.lstrip(" ").startswith(FORMULA) else value
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if hasattr(value, "isoformat") else repr(value)
