"""The report's tables, in words."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from fleetpulse.query.report import BudgetLine, Change, Group, Report, TopError
from fleetpulse.reports.numbers import DASH, percent, points, seconds, short, signed, usd, whole
from fleetpulse.reports.view import Card, Cell, Table, Value, Words

SHOW = {
    "total_requests": whole,
    "success_rate": percent,
    "avg_execution_time": seconds,
    "total_tokens": whole,
    "total_cost": usd,
    "failed_requests": whole,
}
FIGURES = tuple(SHOW)
BETTER_UP = {"success_rate"}
BETTER_DOWN = {"failed_requests", "total_cost", "avg_execution_time"}


def cards(report: Report, words: Words) -> list[Card]:
    """The six figures, each against the period before."""
    return [_card(report, name, words) for name in FIGURES]


def tables(report: Report, words: Words) -> list[Table]:
    """Every section below the charts, in order."""
    by_source = _groups("by_source", report, report.by_source, words)
    by_model = _groups("by_model", report, report.by_model, words)
    money = [_budgets(report, words), *_unpriced(report, words), *_corrections(report, words)]
    trouble = [*_alerts(report, words), _errors(report, words), _statuses(report, words)]
    return [_totals(report, words), by_source, by_model, *money, *trouble, _series(report, words)]


def shown(name: str, value: float | None) -> str:
    """One of the six figures as people read it."""
    return DASH if value is None else SHOW[name](value)


def _card(report: Report, name: str, words: Words) -> Card:
    now, before = getattr(report.totals, name), getattr(report.previous.totals, name)
    change: Change | None = getattr(report.previous.changes, name, None)
    return Card(
        name=name,
        label=words(f"card.{name}"),
        text=short(now) if name == "total_tokens" else shown(name, now),
        value=now,
        change=words("change.none") if change is None else _change(name, change, words),
        before="" if change is None else words("change.was", value=shown(name, before)),
        tone="plain" if change is None else _tone(name, change),
    )


def _change(name: str, change: Change, words: Words) -> str:
    if not change.absolute:
        return words("change.same")
    if name == "success_rate":
        return words("change.points", points=points(change))
    return signed(change) or words("change.new")


def _tone(name: str, change: Change) -> str:
    if not change.absolute or name not in BETTER_UP | BETTER_DOWN:
        return "plain"
    return "good" if (change.absolute > 0) == (name in BETTER_UP) else "bad"


def _totals(report: Report, words: Words) -> Table:
    titles = [words(f"column.{name}") for name in ("figure", "value", "before", "change")]
    rows = []
    for name, card in zip(FIGURES, cards(report, words), strict=True):
        now, before = getattr(report.totals, name), getattr(report.previous.totals, name)
        told = report.previous.covered.start is not None
        was = _number(shown(name, before), before) if told else _number(DASH, None)
        rows.append([_text(card.label), _number(shown(name, now), now), was, _number(card.change, None)])
    return Table("totals", words("section.totals"), titles, rows)


def _groups(name: str, report: Report, groups: Sequence[Group], words: Words) -> Table:
    key = name.removeprefix("by_")
    names = (key, "requests", "errors", "success_rate", "average", "tokens", "cost", "share", "cost_before")
    rows = [_group(group, report.totals.total_cost) for group in groups]
    return Table(name, words(f"section.{name}"), [words(f"column.{each}") for each in names], rows)


def _group(group: Group, cost: float) -> list[Cell]:
    share = group.total_cost / cost if cost else None
    return [
        _text(group.name),
        _number(whole(group.total_requests), group.total_requests),
        _number(whole(group.failed_requests), group.failed_requests),
        _number(percent(group.success_rate), group.success_rate),
        _number(seconds(group.avg_execution_time), group.avg_execution_time),
        _number(whole(group.total_tokens), group.total_tokens),
        _number(usd(group.total_cost), group.total_cost),
        _number(percent(share), share),
        _number(usd(group.previous_total_cost), group.previous_total_cost),
    ]


def _statuses(report: Report, words: Words) -> Table:
    rows = [[_text(each.status), _number(whole(each.requests), each.requests)] for each in report.by_status]
    titles = [words("column.status"), words("column.requests")]
    return Table("by_status", words("section.by_status"), titles, rows)


def _series(report: Report, words: Words) -> Table:
    step = report.series.step
    titles = [words(f"column.{each}") for each in (step, "requests", "errors", "tokens", "cost")]
    rows = []
    for point in report.series.points:
        local = point.start.astimezone(words.zone)
        at = f"{local:%H:%M}" if step == "hour" else f"{local:%Y-%m-%d}"
        figures = [_number(whole(each), each) for each in (point.requests, point.errors, point.tokens)]
        rows.append([Cell(at, point.start.isoformat()), *figures, _number(usd(point.cost), point.cost)])
    return Table("series", words(f"section.{step}"), titles, rows)


def _errors(report: Report, words: Words) -> Table:
    titles = [words(f"column.{each}") for each in ("status", "error", "requests")]
    rows = [
        [_text(each.status), _text(_error(each, words)), _number(whole(each.requests), each.requests)]
        for each in report.errors.top
    ]
    others = report.errors.others
    if others and rows:
        rows.append([_text(words("and_others")), _text(""), _number(whole(others), others)])
    return Table("errors", words("section.errors"), titles, rows, [words("note.errors")] if rows else [])


def _error(error: TopError, words: Words) -> str:
    if error.texts == 1:
        return error.error or DASH
    return words("error.like", error=error.error, others=whole(error.texts - 1))


def _unpriced(report: Report, words: Words) -> Iterator[Table]:
    rows = [[_text(each.model), _number(whole(each.requests), each.requests)] for each in report.unpriced]
    if rows:
        titles = [words("column.model"), words("column.requests")]
        yield Table("unpriced", words("section.unpriced"), titles, rows)


def _corrections(report: Report, words: Words) -> Iterator[Table]:
    made = report.corrections
    titles = [words(f"column.{each}") for each in ("made_at", "source", "model", "requests", "cost")]
    rows = [
        [
            _time(each.made_at, words),
            _text(each.source),
            _text(each.model),
            _number(whole(each.requests), each.requests),
            _number(usd(each.cost), each.cost),
        ]
        for each in made.items
    ]
    if rows:
        notes = [words("note.corrections"), *_cut(len(rows), made.total, words)]
        total = [_text(words("total")), _text(""), _text(""), _number("", None), _number(usd(made.cost), made.cost)]
        yield Table("corrections", words("section.corrections"), titles, [*rows, total], notes)


def _budgets(report: Report, words: Words) -> Table:
    names = ("budget", "scope", "since", "limit", "spent", "used", "state", "exceeded")
    rows = [_budget(each, words) for each in report.budgets]
    return Table("budgets", words("section.budgets"), [words(f"column.{name}") for name in names], rows)


def _budget(budget: BudgetLine, words: Words) -> list[Cell]:
    over = DASH
    if budget.periods:
        over = words(f"exceeded.{budget.period}", exceeded=budget.exceeded, periods=budget.periods)
    return [
        _text(budget.name),
        _text(words(f"scope.{budget.scope}", target=budget.target)),
        _time(budget.start, words),
        _number(usd(budget.limit), budget.limit),
        _number(usd(budget.spent), budget.spent),
        _number(percent(budget.used), budget.used),
        _text(words(f"state.{budget.state}"), budget.state),
        _number(over, budget.exceeded),
    ]


def _alerts(report: Report, words: Words) -> Iterator[Table]:
    titles = [words(f"column.{each}") for each in ("alert", "severity", "times")]
    rows = [
        [_text(each.alertname), _text(each.severity), _number(whole(each.times), each.times)]
        for each in report.alerts.by_name
    ]
    yield Table("alerts", words("section.alerts"), titles, rows)
    titles = [words(f"column.{each}") for each in ("alert", "severity", "summary", "start", "end")]
    rows = [
        [
            _text(each.alertname),
            _text(each.severity),
            _text(each.summary),
            _time(each.starts_at, words),
            _time(each.ends_at, words) if each.ends_at else _text(words("still_firing")),
        ]
        for each in report.alerts.items
    ]
    if rows:
        notes = _cut(len(rows), report.alerts.total, words)
        yield Table("alerts_list", words("section.alerts.list"), titles, rows, notes)


def _cut(listed: int, total: int, words: Words) -> list[str]:
    return [words("note.list", shown=whole(listed), total=whole(total))] if listed < total else []


def _text(text: str, value: Value = None) -> Cell:
    return Cell(text, value)


def _time(moment: datetime, words: Words) -> Cell:
    return Cell(words.time(moment), moment.isoformat())


def _number(text: str, value: float | None) -> Cell:
    return Cell(text, value, number=True)
