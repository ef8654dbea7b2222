"""The panels of single requests, wherever they stand: Loki alone is asked, by what the exporter sends it."""

import json
import re
from typing import Any

import pytest
from grafana.builder.logs import COLUMNS, LOKI_UID, errors, recent_requests
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from tests.grafana.test_provisioning import load
from tests.journal.stand import request
from tests.sinks.collector import plain

from fleetpulse.sinks.records import record

PANELS: list[dict[str, Any]] = [
    json.loads(json.dumps(panel, cls=JSONEncoder)) for panel in (recent_requests(), *errors())
]
ROW = request("r", provider="p", session_id="s", account_id="a", status="error", error="gave up")
each_panel = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
OF_LOKI = {"service_name", "severity_text"}  # it makes these of the resource and of the record's own fields


def query(panel: dict[str, Any]) -> dict[str, Any]:
    (target,) = panel["targets"]
    found: dict[str, Any] = target
    return found


@each_panel
def test_the_provisioned_loki_is_asked(panel: dict[str, Any]) -> None:
    here = {"type": "loki", "uid": LOKI_UID}
    assert panel["datasource"] == query(panel)["datasource"] == here
    assert LOKI_UID in {source["uid"] for source in load("datasources")["datasources"]}
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["noValue"]


@each_panel
def test_queries_name_only_what_the_exporter_sends(panel: dict[str, Any]) -> None:
    expr = query(panel)["expr"]
    sent = {name.replace(".", "_") for name in plain(record(ROW).attributes)} | OF_LOKI
    made = set(re.findall(r"label_format (\w+)=", expr))
    filtered = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expr.partition("| json")[0]))
    shown = set(re.findall(r"\{\{(?:if |default \"none\" )?\.(\w+)\}\}", expr)) | set(
        re.findall(r"sum by \((\w+)\)", expr)
    )
    assert filtered <= sent | made
    assert shown <= sent | set(re.findall(r"(\w+)=\"\w+\"", expr.partition("| json")[2]))
    assert 'event_name="fleetpulse.request"' in expr


@each_panel
def test_the_dashboards_variables_filter(panel: dict[str, Any]) -> None:
    expr = query(panel)["expr"]
    assert 'fleetpulse_source=~"$source"' in expr
    assert 'model=~"$model"' in expr
    assert set(re.findall(r"\$(\w+)", expr)) <= {"source", "model", "__interval"}


def test_every_column_is_a_field_of_the_api() -> None:
    assert set(COLUMNS) <= set(ROW.as_json())


def test_the_table_has_fifty_rows_and_named_columns() -> None:
    panel = PANELS[0]
    assert query(panel)["maxLines"] == 50
    organized = panel["transformations"][-1]
    assert organized["id"] == "organize"
    assert organized["options"]["renameByName"] == COLUMNS
    assert sorted(organized["options"]["indexByName"].values()) == list(range(len(COLUMNS)))
    assert {each["matcher"]["options"] for each in panel["fieldConfig"]["overrides"]} <= set(COLUMNS.values())
