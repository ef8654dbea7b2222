"""The committed dashboards are what the builder renders, and are built as dashboards should be.

The rules are those of Grafana's dashboard-linter, and stricter: every panel is held to them, not only some kinds.
Two are narrowed on purpose: alerts carry no job of their own, and exact growth takes the place of `increase()`.
"""

import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest
import yaml
from grafana.builder.__main__ import rendered
from tests.grafana.queries import dashboards, panels, promql_targets, variables
from tests.tools import ROOT

from fleetpulse.catalogue import METRICS, Metric

BOARDS = dashboards()
PANELS = [
    pytest.param(name, panel, id=f"{name}-{panel['title']}")
    for name, board in BOARDS.items()
    for panel in panels(board)
]
BUILT_IN = {"ALERTS", "up"}
SUFFIXES = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
KNOWN: dict[str, Metric] = {metric.name + suffix: metric for metric in METRICS for suffix in SUFFIXES[metric.kind]}
# What recording rules say, which has added up over the replicas.
RECORDED = {
    rule["record"]
    for path in (ROOT / "prometheus/rules").glob("*.yml")
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
    if "record" in rule
}
SELECTOR = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)\{(?P<matchers>[^}]*)\}(?P<window>\[[^\]]*\])?")
LOKI = {"type": "loki", "uid": "fleetpulse-loki"}
EXACT = ("last_over_time(", "min_over_time(", "count_over_time(")
UNITS = {"none", "short", "locale", "percentunit", "currencyUSD", "s", "reqps", "dtdurations", "bytes", "Bps"}

each_board = pytest.mark.parametrize("name", BOARDS)
each_panel = pytest.mark.parametrize(("name", "panel"), PANELS)


def exprs(panel: dict[str, Any]) -> list[str]:
    return [target["expr"] for target in promql_targets(panel)]


def test_the_committed_files_are_what_the_builder_renders() -> None:
    folder = ROOT / "grafana" / "dashboards"
    committed = {path: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}
    assert committed == rendered(), "run `.venv/bin/python -m grafana.builder` and commit what it writes"


@each_board
def test_a_dashboard_says_what_it_is_and_stays_as_built(name: str) -> None:
    board = BOARDS[name]
    assert board["uid"] == name
    assert board["title"]
    assert board["description"]
    assert board["tags"] == ["fleetpulse"]
    assert board["editable"] is False
    assert board["timezone"] == "browser"
    assert board["graphTooltip"] == 1
    assert board["refresh"] in {"10s", "30s"}
    assert "id" not in board, "a numeric id belongs to one Grafana only"


@each_board
def test_totals_are_never_read_in_the_future(name: str) -> None:
    board = BOARDS[name]
    assert board["time"]["to"] == "now"
    assert {choice["to"] for choice in board["timepicker"]["quick_ranges"]} == {"now"}


@each_board
def test_panels_have_ids_of_their_own(name: str) -> None:
    ids = [panel["id"] for panel in BOARDS[name]["panels"]]
    assert len(set(ids)) == len(ids)
    assert min(ids) > 0


@each_board
def test_panels_stay_on_the_grid_and_off_each_other(name: str) -> None:
    places = [panel["gridPos"] for panel in BOARDS[name]["panels"]]
    for place in places:
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
        assert place["w"] > 0
        assert place["h"] > 0
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, f"{one} overlaps {other}"


@each_board
def test_every_line_of_panels_fills_the_width(name: str) -> None:
    widths: dict[int, int] = {}
    for panel in BOARDS[name]["panels"]:
        widths[panel["gridPos"]["y"]] = widths.get(panel["gridPos"]["y"], 0) + panel["gridPos"]["w"]
    assert set(widths.values()) == {24}


@each_board
def test_rows_are_open(name: str) -> None:
    rows = [panel for panel in BOARDS[name]["panels"] if panel["type"] == "row"]
    assert rows
    assert BOARDS[name]["panels"][0]["type"] == "row"
    assert all(row["collapsed"] is False and row["panels"] == [] and row["title"] for row in rows)


@each_board
def test_titles_are_distinct(name: str) -> None:
    titles = [panel["title"] for panel in BOARDS[name]["panels"]]
    assert len(set(titles)) == len(titles)


@each_board
def test_data_source_job_and_instance_are_variables(name: str) -> None:
    listed = {variable["name"]: variable for variable in BOARDS[name]["templating"]["list"]}
    assert next(iter(listed)) == "datasource"
    source = listed["datasource"]
    assert (source["type"], source["query"], source["label"]) == ("datasource", "prometheus", "Data source")
    for label in ("job", "instance"):
        assert listed[label]["label"] == label.title()
        assert listed[label]["allValue"] == ".+"


@each_board
def test_query_variables_offer_all_and_follow_the_time_range(name: str) -> None:
    queried = [each for each in BOARDS[name]["templating"]["list"] if each["type"] == "query"]
    for variable in queried:
        assert variable["refresh"] == 2
        assert variable["multi"]
        assert variable["includeAll"]
        assert variable["allValue"] in {".+", ".*"}
        assert variable["datasource"]["uid"] == "${datasource}"
        metric = re.fullmatch(r"label_values\((\w+)(?:\{.*\})?, (\w+)\)", variable["query"])
        assert metric, variable["query"]
        assert metric[2] in {*KNOWN[metric[1]].labels, "job", "instance"}


@each_board
def test_alerts_are_annotated(name: str) -> None:
    (annotation,) = BOARDS[name]["annotations"]["list"]
    assert annotation["enable"]
    assert annotation["expr"].startswith('ALERTS{alertstate="firing"')
    assert annotation["datasource"]["uid"] == "${datasource}"


@each_board
def test_dashboards_lead_to_each_other(name: str) -> None:
    (link,) = BOARDS[name]["links"]
    assert (link["type"], link["tags"]) == ("dashboards", ["fleetpulse"])
    assert link["keepTime"]
    assert link["includeVars"]


def test_what_is_by_day_and_hour_has_whole_days_whatever_the_dashboard_shows() -> None:
    own = {panel["title"]: panel["timeFrom"] for _, _, panel in every_panel() if "timeFrom" in panel}
    assert own == {"Today": "now/d", "Messages by day": "now-29d/d", "Messages by hour of the day": "now-6d/d"}


def test_hours_of_the_day_are_grouped_by_names_that_the_query_gives() -> None:
    (panel,) = (panel for _, _, panel in every_panel() if panel["title"] == "Messages by hour of the day")
    (target,) = panel["targets"]
    as_hours, summed = (each["options"] for each in panel["transformations"])
    assert as_hours["conversions"] == [{"targetField": "Time", "destinationType": "string", "dateFormat": "HH"}]
    assert summed["fields"] == {
        "Time": {"operation": "groupby", "aggregations": []},
        target["legendFormat"]: {"operation": "aggregate", "aggregations": ["sum"]},
    }
    assert target["interval"] == "1h"
    assert panel["maxDataPoints"] > 7 * 24
    assert panel["options"]["xField"] == "Time"


def test_the_own_chat_and_recorded_streams_are_kept_apart() -> None:
    for name, title, panel in every_panel():
        for found in SELECTOR.finditer(" ".join(exprs(panel))):
            if found["name"] == "fleetpulse_chat_messages_total":
                wanted = 'stream!="chat"' if name == "fleetpulse-streams" else 'stream="chat"'
                assert wanted in found["matchers"], f"{name}: {title}"


def every_panel() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each with the names of its dashboard and itself."""
    for name, board in BOARDS.items():
        yield from ((name, panel["title"], panel) for panel in panels(board))


@each_panel
def test_a_panel_explains_itself(name: str, panel: dict[str, Any]) -> None:
    assert panel["title"], name
    assert panel["description"].endswith(".")
    assert panel["datasource"] in ({"type": "prometheus", "uid": "${datasource}"}, LOKI)


@each_panel
def test_a_panel_asks_something_and_shows_it_in_a_unit(name: str, panel: dict[str, Any]) -> None:
    if panel["type"] == "alertlist":
        pytest.skip("Grafana's alert list reads the rules itself")
    shown = panel["fieldConfig"]["defaults"]
    assert shown["unit"] in UNITS, name
    assert shown["noValue"]
    assert shown["thresholds"]["steps"][0]["value"] is None
    assert panel["targets"]
    assert [target["refId"] for target in panel["targets"]] == list("ABCDEFGHI"[: len(panel["targets"])])
    for target in promql_targets(panel):
        assert target["expr"]
        assert target["datasource"]["uid"] == "${datasource}"
        assert target["instant"] is not target["range"]


@each_panel
def test_queries_name_only_metrics_and_labels_of_the_catalogue(name: str, panel: dict[str, Any]) -> None:
    for expr in exprs(panel):
        names = {found["name"] for found in SELECTOR.finditer(expr)}
        assert names <= {*KNOWN, *RECORDED, *BUILT_IN}, name
        assert set(re.findall(r"(?<![\w:])fleetpulse_\w+", expr)) <= names, "an unfiltered metric"
        for found in SELECTOR.finditer(expr):
            if found["name"] in BUILT_IN:
                continue
            if found["name"] in RECORDED:
                assert found["matchers"] == 'job=~"$job"'
                continue
            labels = set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", found["matchers"]))
            assert labels <= {*KNOWN[found["name"]].labels, "job", "instance", "le"}, found[0]


@each_panel
def test_queries_are_filtered_by_every_variable_that_fits(name: str, panel: dict[str, Any]) -> None:
    offered = variables(BOARDS[name])
    filters = {label: label for label in ("job", "instance", "source", "model", "topic", "stream")} | {
        "pool_id": "pool"
    }
    for expr in exprs(panel):
        for found in SELECTOR.finditer(expr):
            if found["name"] == "ALERTS" or found["name"] in RECORDED:
                continue
            labels = {*(KNOWN[found["name"]].labels if found["name"] in KNOWN else ()), "job", "instance"}
            for label, variable in filters.items():
                if label in labels and variable in offered:
                    assert f'{label}=~"${variable}"' in found["matchers"], found[0]


@each_panel
def test_counters_are_read_as_growth(name: str, panel: dict[str, Any]) -> None:
    for expr in exprs(panel):
        for found in SELECTOR.finditer(expr):
            metric = KNOWN.get(found["name"])
            if metric is None or metric.kind == "gauge":
                continue
            before = expr[: found.start()]
            assert found["window"], f"{name}: {found[0]} is a running total"
            if before.endswith("rate("):
                assert found["window"] == "[$__rate_interval]"
            else:
                assert metric.durable, f"{found['name']} may reset: exact growth needs a durable counter"
                assert before.endswith(EXACT)


@each_panel
def test_only_variables_that_exist_are_used(name: str, panel: dict[str, Any]) -> None:
    own = {"__range", "__interval", "__rate_interval"}
    for expr in exprs(panel):
        used = set(re.findall(r"\$\{?(\w+)", expr))
        assert used <= {*variables(BOARDS[name]), *own}
