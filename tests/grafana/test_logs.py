"""The panels of single requests, wherever they stand: Loki alone is asked, by what the exporter sends it."""

import json
import re
from typing import Any

import pytest
from grafana.builder import messages
from grafana.builder.logs import COLUMNS, LOKI_UID, errors, recent_requests
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from tests.grafana.test_provisioning import load
from tests.journal.stand import recorded, request
from tests.sinks.collector import plain

from fleetpulse.journal import Row
from fleetpulse.sinks.records import record


def shown(*panels: Any) -> list[dict[str, Any]]:
    """Panels as Grafana gets them."""
    return [json.loads(json.dumps(panel, cls=JSONEncoder)) for panel in panels]


PANELS = shown(recent_requests(), *errors())
ROW = request("r", provider="p", session_id="s", account_id="a", status="error", error="gave up")
MESSAGE = recorded(1, rules=",urgent,")
OF_MESSAGES = shown(messages.recent_messages(), messages.rule_hits())
ALL = [*((panel, ROW) for panel in PANELS), *((panel, MESSAGE) for panel in OF_MESSAGES)]
every_panel = pytest.mark.parametrize(("panel", "row"), ALL, ids=[panel["title"] for panel, _ in ALL])
each_panel = pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
tables = pytest.mark.parametrize(
    ("panel", "columns", "lines"), [(PANELS[0], COLUMNS, 50), (OF_MESSAGES[0], messages.COLUMNS, 100)]
)
OF_LOKI = {"service_name", "severity_text"}  # it makes these of the resource and of the record's own fields


def query(panel: dict[str, Any]) -> dict[str, Any]:
    (target,) = panel["targets"]
    found: dict[str, Any] = target
    return found


@pytest.mark.parametrize("panel", [*PANELS, *OF_MESSAGES], ids=lambda panel: panel["title"])
def test_the_provisioned_loki_is_asked(panel: dict[str, Any]) -> None:
    here = {"type": "loki", "uid": LOKI_UID}
    assert panel["datasource"] == query(panel)["datasource"] == here
    assert LOKI_UID in {source["uid"] for source in load("datasources")["datasources"]}
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["noValue"]


@every_panel
def test_queries_name_only_what_the_exporter_sends(panel: dict[str, Any], row: Row) -> None:
    expr = query(panel)["expr"]
    made_of_it = record(row)
    assert made_of_it is not None
    sent = {name.replace(".", "_") for name in plain(made_of_it.attributes)} | OF_LOKI
    made = set(re.findall(r"label_format (\w+)=", expr))
    filtered = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expr.partition("| json")[0]))
    shown = set(re.findall(r"\{\{(?:if |default \"none\" )?\.(\w+)\}\}", expr)) | set(
        re.findall(r"sum by \((\w+)\)", expr)
    )
    assert filtered <= sent | made
    assert shown <= sent | set(re.findall(r"(\w+)=\"\w+\"", expr.partition("| json")[2]))
    assert f'event_name="{made_of_it.event_name}"' in expr


@each_panel
def test_the_dashboards_variables_filter(panel: dict[str, Any]) -> None:
    expr = query(panel)["expr"]
    assert 'fleetpulse_source=~"$source"' in expr
    assert 'model=~"$model"' in expr
    assert set(re.findall(r"\$(\w+)", expr)) <= {"source", "model", "__interval"}


@pytest.mark.parametrize("panel", OF_MESSAGES, ids=lambda panel: panel["title"])
def test_messages_are_those_of_the_chosen_streams(panel: dict[str, Any]) -> None:
    assert 'fleetpulse_stream=~"$stream"' in query(panel)["expr"]


def test_every_column_is_a_field_of_the_api() -> None:
    assert set(COLUMNS) <= set(ROW.as_json())
    assert set(messages.COLUMNS) <= set(MESSAGE.as_json())


@tables
def test_a_table_has_so_many_rows_and_named_columns(
    panel: dict[str, Any], columns: dict[str, str], lines: int
) -> None:
    assert query(panel)["maxLines"] == lines
    organized = panel["transformations"][-1]
    assert organized["id"] == "organize"
    assert organized["options"]["renameByName"] == columns
    assert sorted(organized["options"]["indexByName"].values()) == list(range(len(columns)))
    assert {each["matcher"]["options"] for each in panel["fieldConfig"]["overrides"]} <= set(columns.values())
