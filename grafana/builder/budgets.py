"""The row about budgets: spent, left, where the period will end, and what makes that uncertain.

Budgets are of the whole fleet and of their own periods: the time range, source and model do not change them. What
Prometheus' rules work out of them (prometheus/rules/budgets.yml) is asked for by name, not worked out again.
"""

from grafana_foundation_sdk.models import dashboard as model

from fleetpulse import catalogue
from grafana.builder.frame import Line, Row
from grafana.builder.panels import Look, bars, card, curves, grid
from grafana.builder.promql import growth, or_zero, recorded, total
from grafana.builder.queries import Query

USED: tuple[tuple[float | None, str], ...] = ((None, "green"), (0.8, "yellow"), (0.95, "orange"), (1.0, "red"))
BUDGET = ("budget", "scope", "target", "period")
STATES = {
    "-1": ("unknown", "purple"),
    "0": ("ok", "green"),
    "1": ("warning", "yellow"),
    "2": ("critical", "orange"),
    "3": ("exceeded", "red"),
}


def budgets() -> Row:
    """Bars, the table, the way to the end of the period, and requests that nobody can price."""
    first = Line(8, ((8, _used()), (16, _table())))
    return Row("Budgets", (first, Line(8, ((18, _forecast()), (6, _unpriced())))))


def _spent() -> str:
    return total(recorded("budget:fleetpulse_budget_spent_usd:sum"), BUDGET)


def _limit() -> str:
    return total(recorded("budget:fleetpulse_budget_limit_usd:max"), BUDGET, "max")


def _end() -> str:
    """The forecast; in the first hour of an installation nothing is known of the pace, and it is what is spent."""
    return f"({total(recorded('budget:fleetpulse_budget_forecast_usd:end'), BUDGET)} or {_spent()})"


def _used() -> model.Panel:
    return bars(
        "Budgets used",
        "Share of each budget spent in its current day, week or month: yellow from 80 %, orange from 95 %, red "
        "from 100 %. Whatever the time range and the variables.",
        [Query(f"sort_desc({_spent()} / {_limit()})", "{{budget}} (a {{period}})")],
        Look("percentunit", decimals=1, limits=(0, 1), thresholds=USED, nothing="No budget is configured"),
    )


def _table() -> model.Panel:
    unpriced = total(recorded("budget:fleetpulse_budget_unpriced_requests:sum"), BUDGET)
    columns = {
        "Spent": _spent(),
        "Limit": _limit(),
        "Left": f"{_limit()} - {_spent()}",
        "Used": f"{_spent()} / {_limit()}",
        "Forecast": _end(),
        "Unpriced": unpriced,
        "State": total(recorded("budget:fleetpulse_budget_state:code"), BUDGET, "max"),
    }
    return grid(
        (
            "Spent, left, and at the period's end",
            (
                "Each budget's limit, what is spent and left of it in its current period, and what is expected at "
                "its end by the pace of late. Unpriced requests make spend a lower bound, and the state unknown."
            ),
        ),
        {"budget": "Budget", "scope": "Scope", "target": "Of", "period": "Period"},
        columns,
        Look(
            "currencyUSD",
            decimals=2,
            nothing="-",
            fields={"Used": _share(), "State": _state(), "Unpriced": {"unit": "locale", "decimals": 0}},
        ),
        sort="Used",
    )


def _forecast() -> model.Panel:
    legend = "{{budget}} (a {{period}})"
    return curves(
        "Spent, and forecast for the end of the period",
        "How each budget's spend grows, and what it was expected to be at the end of the period; the steps down "
        "are where a new period begins. Until there is an hour of history, the forecast is what is spent.",
        [
            Query(_spent(), f"{legend}: spent", "range"),
            Query(_end(), f"{legend}: forecast", "range"),
            Query(_limit(), f"{legend}: limit", "range"),
        ],
        Look("currencyUSD", decimals=2, by_threshold=False, limits=(0, None), nothing="No budget is configured"),
    )


def _unpriced() -> model.Panel:
    return card(
        "Unpriced requests",
        "Requests of the time range whose cost was unknown when they came: none was reported, and the model has no "
        "known price. Until they are priced (docs/pricing.md) they are missing from every sum of money.",
        or_zero(growth(catalogue.UNPRICED)),
        Look("locale", decimals=0, thresholds=((None, "green"), (1, "orange"))),
    )


def _share() -> dict[str, object]:
    """A cell as a share of a limit, colored by it."""
    steps = [{"value": value, "color": color} for value, color in USED]
    return {
        "unit": "percentunit",
        "decimals": 1,
        "thresholds": {"mode": "absolute", "steps": steps},
        "color": {"mode": "thresholds"},
        "custom.cellOptions": {"type": "color-text"},
    }


def _state() -> dict[str, object]:
    """A cell that says the state in words."""
    options = {
        code: {"text": text, "color": color, "index": int(code) + 1} for code, (text, color) in STATES.items()
    }
    return {
        "unit": "none",
        "mappings": [{"type": "value", "options": options}],
        "custom.cellOptions": {"type": "color-text"},
    }
