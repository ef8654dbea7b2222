"""The row about users: how many there are, and who asks and costs most. Not filtered by source or model."""

from grafana_foundation_sdk.models import dashboard as model

from fleetpulse import catalogue
from fleetpulse.catalogue import Metric
from grafana.builder.frame import Line, Row
from grafana.builder.panels import Look, bars, curves
from grafana.builder.promql import select, total
from grafana.builder.queries import Query

SHOWN = 10
NOBODY = "No requests with a user_id"
NAMED = "in the last 24 hours, from all sources, whatever the time range. The exporter names only the first few."


def users() -> Row:
    """Distinct users over time, and the heaviest of the last day."""
    active = curves(
        "Active users",
        "Distinct users in the hour and in the day before each moment, from all sources; an estimate within a few "
        "percent. Of several replicas the one with most counts.",
        [Query(total(select(catalogue.ACTIVE_USERS), ("window",), "max"), "Last {{window}}", "range")],
        Look("short", decimals=0, by_threshold=False, limits=(0, None), nothing=NOBODY),
    )
    costly = _heaviest("Users by cost", f"Who cost most {NAMED}", catalogue.TOP_USER_COST, "currencyUSD", 4)
    busy = _heaviest("Users by requests", f"Who asked most {NAMED}", catalogue.TOP_USER_REQUESTS, "locale", 0)
    return Row("Users", (Line(8, ((8, active), (8, costly), (8, busy))),))


def _heaviest(title: str, description: str, metric: Metric, unit: str, decimals: int) -> model.Panel:
    named = f"sort_desc(topk({SHOWN}, {total(select(metric), ('user_id',))}))"
    look = Look(unit, decimals=decimals, limits=(0, None), thresholds=((None, "blue"),), nothing=NOBODY)
    return bars(title, description, [Query(named, "{{user_id}}")], look)
