"""Panels of single requests, from Loki: the last fifty as a table, and the failed ones.

The exporter sends every request log to Loki (docs/opentelemetry.md); a line is the request's JSON as the API shows
it, and what is filtered by here is structured metadata. Totals never come from here: Prometheus has them, exact.

Without Loki the panels are empty and say why.
"""

from collections.abc import Mapping
from typing import Any, Literal

from grafana_foundation_sdk.builders import common, logs, loki, table
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.loki import QueryEditorMode

from grafana.builder.panels import Look, finish, fixed, stacked_bars, transform

LOKI_UID = "fleetpulse-loki"
LOKI = model.DataSourceRef(type_val="loki", uid=LOKI_UID)
SHOWN_REQUESTS = 50
SHOWN_FAILURES = 100
NOTHING = "No requests, or no Loki: GET /api/requests lists them as well"
# Requests without a model are called `none`, as in the series behind the variable.
REQUESTS = (
    '{service_name="fleetpulse"} | event_name="fleetpulse.request" '
    '| fleetpulse_source=~"$source" | label_format model=`{{default "none" .gen_ai_request_model}}` '
    '| model=~"$model"'
)
FAILED = f'{REQUESTS} | severity_text="ERROR"'
LINE = (
    '| json command="command", error="error" '
    "| line_format `{{.fleetpulse_source}} {{.fleetpulse_status}} after {{.fleetpulse_execution_time}} s: "
    "{{.command}}{{if .error}} ({{.error}}){{end}}`"
)
STATUS_COLORS = {"success": "green", "error": "red", "timeout": "orange", "rate_limited": "orange"}
COLUMNS = {
    "timestamp": "Time",
    "source": "Source",
    "user_id": "User",
    "command": "Command",
    "status": "Status",
    "model": "Model",
    "execution_time": "Duration",
    "tokens_used": "Tokens",
    "cost": "Cost",
    "request_id": "Request",
}


def recent_requests() -> model.Panel:
    """A table of the last fifty requests of the chosen sources and models, newest first."""
    description = (
        "The newest requests of the time range, as Loki has them a second or two after they were stored. All of "
        "them, with search: GET /api/requests and /api/requests/export of the exporter."
    )
    look = Look("none", nothing=NOTHING, fields=_fields())
    made = finish(rows(COLUMNS), ("Last 50 requests", description), look, [])
    return from_loki(made, REQUESTS, "range", lines=SHOWN_REQUESTS)


def errors() -> tuple[model.Panel, model.Panel]:
    """Failures over time by status, and the failed requests themselves, newest first."""
    colors = {status: fixed(color) for status, color in STATUS_COLORS.items()}
    over_time = stacked_bars(
        "Failures over time",
        "Failed requests by status, from Loki; each bar counts what came before its time.",
        [],
        Look("locale", decimals=0, by_threshold=False, limits=(0, None), nothing="No failures", fields=colors),
    )
    shape = over_time.field_config.defaults.custom
    assert isinstance(shape, looks.GraphFieldConfig)  # noqa: S101 - that of every graph over time
    shape.bar_alignment = looks.BarAlignment.BEFORE
    counted = f"sum by (fleetpulse_status) (count_over_time({FAILED} [$__interval]))"
    description = (
        "The newest requests whose status is not success: source, status, duration, command and error. Open a "
        "line for the whole request."
    )
    look = Look("none", nothing="No failures")
    return (
        from_loki(over_time, counted, "range", legend="{{fleetpulse_status}}"),
        from_loki(
            finish(log_lines(), ("Failed requests", description), look, []),
            f"{FAILED} {LINE}",
            "range",
            lines=SHOWN_FAILURES,
        ),
    )


def log_lines() -> logs.Panel:
    """Lines as they are, newest first."""
    panel = logs.Panel().show_time(True).show_labels(False).show_common_labels(False).wrap_log_message(True)
    panel = panel.enable_log_details(True).prettify_log_message(False)
    return panel.sort_order(looks.LogsSortOrder.DESCENDING).dedup_strategy(looks.LogsDedupStrategy.NONE)


def from_loki(
    made: model.Panel, expr: str, kind: Literal["range", "instant"], *, legend: str = "", lines: int | None = None
) -> model.Panel:
    """Gives a panel its one query, in LogQL."""
    asked = loki.Dataquery().expr(expr).query_type(kind).ref_id("A").datasource(LOKI).legend_format(legend)
    asked = asked.editor_mode(QueryEditorMode.CODE)
    made.datasource = LOKI
    made.targets = [(asked.max_lines(lines) if lines else asked).build()]
    return made


def rows(columns: Mapping[str, str]) -> table.Panel:
    """A table of lines that are JSON, newest first. `columns` maps fields to headings; the first is the time."""
    panel = table.Panel().show_header(True).cell_height(looks.TableCellHeight.SM)
    panel = panel.sort_by([common.TableSortByFieldState().display_name("Time").desc(True)])
    for step in _as_columns(columns):
        panel = panel.with_transformation(step)
    return panel


def _as_columns(columns: Mapping[str, str]) -> list[model.DataTransformerConfig]:
    """The JSON of each line as columns. Grafana calls the line `Line`, or `body` in its newer format."""
    taken = {"format": "json", "replace": True, "keepTime": False}
    return [
        transform("extractFields", source="Line", **taken),
        transform("extractFields", source="body", **taken),
        transform("filterFieldsByName", include={"names": list(columns)}),
        transform(
            "convertFieldType",
            fields={},
            conversions=[{"targetField": next(iter(columns)), "destinationType": "time"}],
        ),
        transform(
            "organize",
            excludeByName={},
            indexByName={name: place for place, name in enumerate(columns)},
            renameByName=dict(columns),
        ),
    ]


def _fields() -> dict[str, dict[str, Any]]:
    """How the table shows its columns."""
    statuses = {status: {"color": color} for status, color in STATUS_COLORS.items()}
    return {
        "Time": {"unit": "dateTimeAsIsoNoDateIfToday", "custom.width": 170},
        "Status": {
            "mappings": [{"type": "value", "options": statuses}],
            "custom.cellOptions": {"type": "color-text"},
        },
        "Duration": {"unit": "s", "decimals": 2},
        "Tokens": {"unit": "locale", "decimals": 0},
        "Cost": {"unit": "currencyUSD", "decimals": 4},
    }
