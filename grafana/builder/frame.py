"""What surrounds the panels of a dashboard: variables, annotations, links, layout, and the JSON at the end.

Works around three habits of the SDK: it gives panels no id, it collapses a row that panels are added to, and it
knows neither the time picker's own ranges nor the wording of a Prometheus annotation.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as model

from fleetpulse import catalogue
from fleetpulse.catalogue import Metric
from grafana.builder.promql import TARGETS

PROMETHEUS_UID = "fleetpulse-prometheus"
SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "fleetpulse"
COLUMNS = 24
ALERTS = 'ALERTS{alertstate="firing", alertname!="Watchdog"}'
ANY_VALUE = ".*"  # also of a series that lacks the label

# Ranges that end now: totals are read at the end of the range, and there is nothing to read in the future.
QUICK_RANGES = [
    {"display": name, "from": start, "to": "now"}
    for name, start in (
        ("Today so far", "now/d"),
        ("Last 15 minutes", "now-15m"),
        ("Last hour", "now-1h"),
        ("Last 6 hours", "now-6h"),
        ("Last 24 hours", "now-24h"),
        ("Last 7 days", "now-7d"),
        ("Last 30 days", "now-30d"),
    )
]


@dataclass(frozen=True)
class Line:
    """Panels side by side, `height` grid units high; each takes the given width of 24 columns."""

    height: int
    panels: Sequence[tuple[int, model.Panel]]


@dataclass(frozen=True)
class Row:
    """A titled row, which people can fold, and the lines below it."""

    title: str
    lines: Sequence[Line]


def arrange(rows: Sequence[Row]) -> list[model.Panel | model.RowPanel]:
    """Numbers the panels and puts them on the grid, top down and left to right."""
    placed: list[model.Panel | model.RowPanel] = []
    y = 0
    for row in rows:
        place = model.GridPos(h=1, w=COLUMNS, x=0, y=y)
        placed.append(model.RowPanel(title=row.title, id_val=len(placed) + 1, grid_pos=place))
        y += 1
        for line in row.lines:
            _fill(line, y, placed)
            y += line.height
    return placed


def _fill(line: Line, y: int, placed: list[model.Panel | model.RowPanel]) -> None:
    x = 0
    for width, panel in line.panels:
        panel.id_val = len(placed) + 1
        panel.grid_pos = model.GridPos(h=line.height, w=width, x=x, y=y)
        placed.append(panel)
        x += width


def frame(uid: str, title: str, description: str, *, refresh: str, start: str) -> build.Dashboard:
    """A dashboard without panels; `start` is where its default time range, up to now, begins."""
    picker = build.TimePicker().refresh_intervals(["5s", "10s", "30s", "1m", "5m", "15m", "1h"])
    board = build.Dashboard(title).uid(uid).description(description).tags([TAG]).readonly()
    board = board.timezone("browser").tooltip(model.DashboardCursorSync.CROSSHAIR).timepicker(picker)
    return board.time(start, "now").refresh(refresh).link(_other_dashboards()).annotation(_firing_alerts())


def datasource_variable() -> build.DatasourceVariable:
    """Which Prometheus; ours where there are several."""
    chosen = model.VariableOption(selected=True, text="Prometheus", value=PROMETHEUS_UID)
    return build.DatasourceVariable("datasource").label("Data source").type("prometheus").current(chosen)


def target_variables() -> list[build.QueryVariable]:
    """Which exporters, where there are replicas."""
    info = catalogue.BUILD_INFO.name
    job = _query_variable("job", "Job", f"label_values({info}, job)")
    instance = _query_variable("instance", "Instance", f'label_values({info}{{job=~"$job"}}, instance)')
    return [job.all_value(".+"), instance.all_value(".+")]


def label_variable(name: str, label: str, metric: Metric, metric_label: str) -> build.QueryVariable:
    """A choice of values of one label; each query is filtered by it where its metric has the label."""
    query = f"label_values({metric.name}{{{TARGETS}}}, {metric_label})"
    return _query_variable(name, label, query).all_value(ANY_VALUE)


def _query_variable(name: str, label: str, query: str) -> build.QueryVariable:
    everything = model.VariableOption(selected=True, text=["All"], value=["$__all"])
    variable = build.QueryVariable(name).label(label).query(query).datasource(SOURCE)
    variable = variable.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
    variable = variable.sort(model.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
    return variable.multi(True).include_all(True).current(everything)


def _other_dashboards() -> build.DashboardLink:
    link = build.DashboardLink("Fleetpulse").type(model.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.keep_time(True).include_vars(True).tooltip("The other dashboards, for the same time range")


def _firing_alerts() -> build.AnnotationQuery:
    return build.AnnotationQuery().name("Firing alerts").datasource(SOURCE).icon_color("red").expr(ALERTS)


def render(board: model.Dashboard) -> str:
    """The dashboard as classic JSON, the same for the same code."""
    document: dict[str, Any] = json.loads(json.dumps(board, cls=JSONEncoder))
    document["timepicker"]["quick_ranges"] = QUICK_RANGES
    for annotation in document["annotations"]["list"]:
        annotation |= {
            "titleFormat": "{{alertname}}",
            "tagKeys": "severity,source,budget,pool_id,agent_id,stream,rule",
        }
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
