"""The dashboard "Requests and cost": what the fleet is asked, how well it answers, and what that costs.

Totals cover the chosen time range and are exact; curves of rates and quantiles are estimates, and say so.
"""

from itertools import pairwise

from grafana_foundation_sdk.models import dashboard as model

from fleetpulse import catalogue
from fleetpulse.config import Thresholds
from grafana.builder.budgets import budgets
from grafana.builder.frame import (
    ALERTS,
    Line,
    Row,
    arrange,
    datasource_variable,
    frame,
    label_variable,
    target_variables,
)
from grafana.builder.logs import errors, recent_requests
from grafana.builder.panels import (
    Look,
    bars,
    card,
    categories,
    curves,
    day_bars,
    density,
    donut,
    firing_alerts,
    fixed,
    grid,
    stacked_bars,
)
from grafana.builder.promql import growth, or_zero, quantile, rate, step_growth
from grafana.builder.queries import Query
from grafana.builder.users import users

FAILED = 'status!="success"'
SUCCEEDED = 'status="success"'
ERROR_RATE = Thresholds().error_rate
COUNT = Look("locale", decimals=0)
MONEY = Look("currencyUSD", decimals=2, by_threshold=False, limits=(0, None))
STATUS_COLORS = {"success": fixed("green"), "error": fixed("red"), "timeout": fixed("orange")}
KIND_COLORS = {
    "input": fixed("blue"),
    "cached": fixed("light-blue"),
    "output": fixed("purple"),
    "unattributed": fixed("text"),
}


def requests() -> model.Dashboard:
    """The dashboard, ready to render."""
    board = frame(
        "fleetpulse-requests",
        "Requests and cost",
        "AI and API requests reported to Fleetpulse: how many, how well, how fast, how many tokens, what cost.",
        refresh="30s",
        start="now-24h",
    ).variables(
        [
            datasource_variable(),
            label_variable("source", "Source", catalogue.REQUESTS, "source"),
            label_variable("model", "Model", catalogue.REQUESTS, "model"),
            *target_variables(),
        ]
    )
    made = board.build()
    made.panels = arrange(
        (_alerts(), _totals(), _traffic(), _response_time(), _tokens(), budgets(), users(), _single())
    )
    return made


def _alerts() -> Row:
    count = card(
        "Firing alerts",
        "Alerts that fire now, of the whole fleet; the watchdog, which always fires, is left out.",
        f"count({ALERTS}) or vector(0)",
        Look("none", decimals=0, thresholds=((None, "green"), (1, "red"))),
    )
    listed = firing_alerts(
        "Firing and pending alerts",
        "Pending and firing alerts of Prometheus' rules, most important first. Open one for what it means and "
        "what to do; silence it in Alertmanager. Empty is good.",
    )
    return Row("Alerts", (Line(5, ((4, count), (20, listed))),))


def _totals() -> Row:
    requested = growth(catalogue.REQUESTS)
    duration = catalogue.REQUEST_DURATION
    rate_limits = ((None, "red"), (1 - ERROR_RATE, "yellow"), (1 - ERROR_RATE / 2, "green"))
    ratio = Look("percentunit", decimals=1, thresholds=rate_limits, nothing="No requests")
    cards = (
        card("Requests", "Request logs received in the time range. Exact.", or_zero(requested), COUNT),
        card(
            "Success rate",
            "Share of requests whose status is success. Yellow and red: failures pass half, and all, of the "
            "default alert threshold.",
            f"{or_zero(growth(catalogue.REQUESTS, SUCCEEDED))} / ({requested} > 0)",
            ratio,
        ),
        card(
            "Average time",
            "Mean time a request took, failed ones included. Exact.",
            f"{growth(duration, suffix='_sum')} / ({growth(duration, suffix='_count')} > 0)",
            Look("s", decimals=2, nothing="No requests"),
        ),
        card(
            "Tokens", "Tokens of all kinds used in the time range. Exact.", or_zero(growth(catalogue.TOKENS)), COUNT
        ),
        card(
            "Cost",
            "Cost in the time range: as reported, else computed from model and tokens. Requests of unknown cost "
            "add nothing; see Unpriced requests.",
            or_zero(growth(catalogue.COST)),
            Look("currencyUSD", decimals=4),
        ),
        card(
            "Failures",
            "Requests whose status is anything but success. Exact.",
            or_zero(growth(catalogue.REQUESTS, FAILED)),
            Look("locale", decimals=0, thresholds=((None, "green"), (1, "orange"))),
        ),
    )
    return Row("In the time range", (Line(4, tuple((4, each) for each in cards)),))


def _traffic() -> Row:
    by_hour = stacked_bars(
        "Requests by hour",
        "Requests received in each hour, by status; the bar at 14:00 is what came from 14:00 to 15:00. Over long "
        "ranges a bar is several hours. Exact.",
        [Query(step_growth(catalogue.REQUESTS, by=("status",)), "{{status}}", "range", "1h")],
        Look("locale", decimals=0, by_threshold=False, limits=(0, None), fields=STATUS_COLORS),
    )
    by_day = day_bars(
        "Cost by day",
        "Cost of each whole day, midnight to midnight in the dashboard's time zone, by source; the last one is so "
        "far. Exact.",
        [Query(step_growth(catalogue.COST, by=("source",)), "{{source}}", "range", "1d")],
        MONEY,
    )
    sources = donut(
        "Sources",
        "Where the requests of the time range came from. Exact.",
        Query(f"{growth(catalogue.REQUESTS, by=('source',))} > 0", "{{source}}"),
        Look("locale", decimals=0, by_threshold=False, nothing="No requests"),
    )
    statuses = bars(
        "Requests by status",
        "How the requests of the time range ended. Exact.",
        [Query(f"sort_desc({growth(catalogue.REQUESTS, by=('status',))})", "{{status}}")],
        Look(
            "locale", decimals=0, by_threshold=False, limits=(0, None), fields=STATUS_COLORS, nothing="No requests"
        ),
    )
    failures = stacked_bars(
        "Failures by kind",
        "Requests in each hour that did not succeed, by how they ended. Exact.",
        [Query(step_growth(catalogue.REQUESTS, FAILED, by=("status",)), "{{status}}", "range", "1h")],
        Look("locale", decimals=0, by_threshold=False, limits=(0, None), fields=STATUS_COLORS),
    )
    speed = curves(
        "Request rate",
        "Requests a second by source; an estimate from neighboring scrapes.",
        [Query(rate(catalogue.REQUESTS, by=("source",)), "{{source}}", "range")],
        Look("reqps", by_threshold=False, limits=(0, None)),
    )
    charts = Line(9, ((12, by_hour), (12, by_day)))
    return Row("Traffic and cost", (charts, Line(8, ((6, sources), (5, statuses), (6, failures), (7, speed)))))


def _response_time() -> Row:
    buckets = categories(
        "Requests by response time",
        "Requests of the time range by how long they took. Exact: these are bounds of the exporter's buckets.",
        [Query(_between(low, high), _name(low, high)) for low, high in _ranges()],
        Look("locale", decimals=0, limits=(0, None), thresholds=((None, "blue"),), nothing="No requests"),
    )
    quantiles = curves(
        "Response time quantiles",
        "Half, 95 % and 99 % of requests were faster than this; estimates within the exporter's buckets. Dots are "
        "single requests, with their ids, where Prometheus keeps exemplars.",
        [
            Query(quantile(0.5, catalogue.REQUEST_DURATION), "50 %", "range"),
            Query(quantile(0.95, catalogue.REQUEST_DURATION), "95 %", "range", exemplar=True),
            Query(quantile(0.99, catalogue.REQUEST_DURATION), "99 %", "range"),
        ],
        Look("s", by_threshold=False, limits=(0, None)),
    )
    spread = density(
        "Response time over time",
        "Requests a second in each bucket of response time: the darker, the more.",
        rate(catalogue.REQUEST_DURATION, by=("le",), suffix="_bucket"),
        Look("reqps"),
    )
    return Row("Response time", (Line(8, ((7, buckets), (9, quantiles), (8, spread))),))


def _single() -> Row:
    over_time, failed = errors()
    return Row("Single requests", (Line(12, ((24, recent_requests()),)), Line(9, ((9, over_time), (15, failed)))))


def _ranges() -> list[tuple[float | None, float | None]]:
    """The document's ranges of response time: 0-1, 1-2, 2-3, 3-5 and over 5 s."""
    bounds = (None, 1.0, 2.0, 3.0, 5.0, None)
    return list(pairwise(bounds))


def _name(low: float | None, high: float | None) -> str:
    return f"> {low:g} s" if high is None else f"{low or 0:g}-{high:g} s"


def _between(low: float | None, high: float | None) -> str:
    up_to_high = or_zero(_up_to(high))
    return up_to_high if low is None else f"{up_to_high} - {or_zero(_up_to(low))}"


def _up_to(bound: float | None) -> str:
    """Requests that took at most so long. A whole bound is written 1 or 1.0, as the Prometheus version likes."""
    le = "[+]Inf" if bound is None else f"{bound:g}([.]0)?"
    return growth(catalogue.REQUEST_DURATION, f'le=~"{le}"', suffix="_bucket")


def _tokens() -> Row:
    by_kind = stacked_bars(
        "Tokens by hour",
        "Tokens used in each hour, by kind. Input is what did not come from a cache; unattributed is what was "
        "reported only as a total. Exact.",
        [Query(step_growth(catalogue.TOKENS, by=("kind",)), "{{kind}}", "range", "1h")],
        Look("short", by_threshold=False, limits=(0, None), fields=KIND_COLORS),
    )
    duration = catalogue.REQUEST_DURATION
    by = ("model",)
    seconds, count = growth(duration, by=by, suffix="_sum"), growth(duration, by=by, suffix="_count")
    models = grid(
        ("By model", "What each model did in the time range, and what it cost. Exact."),
        {"model": "Model"},
        {
            "Requests": f"{growth(catalogue.REQUESTS, by=by)} > 0",
            "Failures": f"{growth(catalogue.REQUESTS, FAILED, by=by)} > 0",
            "Average time": f"{seconds} / ({count} > 0)",
            "Tokens": f"{growth(catalogue.TOKENS, by=by)} > 0",
            "Cost": f"{growth(catalogue.COST, by=by)} > 0",
            "Unpriced": f"{growth(catalogue.UNPRICED, by=by)} > 0",
        },
        Look(
            "locale",
            decimals=0,
            nothing="-",
            fields={
                "Average time": {"unit": "s", "decimals": 2},
                "Cost": {"unit": "currencyUSD", "decimals": 4},
            },
        ),
        sort="Requests",
    )
    return Row("Models and tokens", (Line(9, ((10, by_kind), (14, models))),))
