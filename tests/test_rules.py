"""The alert rules: valid, tested both ways, labelled, explained by a runbook, and only about metrics that exist."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.tools import ROOT, run

from fleetpulse import catalogue
from fleetpulse.config import Thresholds

PROMETHEUS = ROOT / "prometheus"
RUNBOOKS = ROOT / "docs" / "runbooks"
RUNBOOK_URL = "https://github.com/fleetpulse/fleetpulse/blob/main/docs/runbooks/{}.md"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
SEVERITIES = {"critical", "warning", "info", "none"}
ALERT_TYPES = {"cost", "error", "agent", "account", "stream", "system"}
OWN_SEVERITY = "{{ $labels.severity }}"  # what it is about says how grave it is


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def rules() -> list[dict[str, Any]]:
    return [rule for path in RULES for group in load(path)["groups"] for rule in group["rules"]]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def alert_tests() -> Iterator[tuple[str, bool]]:
    """Each unit test of an alert: its name, and whether it must fire."""
    for path in TESTS:
        for case in load(path)["tests"]:
            for check in case.get("alert_rule_test", []):
                yield check["alertname"], bool(check.get("exp_alerts"))


def exported_names() -> set[str]:
    """Every sample name of the catalogue, as PromQL sees it."""
    parts = {"histogram": ("_bucket", "_sum", "_count")}
    return {metric.name + part for metric in catalogue.METRICS for part in parts.get(metric.kind, ("",))}


def test_rules_are_valid_and_free_of_duplicates() -> None:
    run("promtool", "check", "rules", "--lint=all", "--lint-fatal", *RULES)


def test_rules_do_as_their_unit_tests_say() -> None:
    run("promtool", "test", "rules", *TESTS)


@pytest.mark.parametrize("targets", ["targets", "targets-compose"])
def test_the_configuration_is_valid_with_each_set_of_targets(targets: str, tmp_path: Path) -> None:
    copy = tmp_path / "prometheus"
    shutil.copytree(PROMETHEUS, copy, ignore=shutil.ignore_patterns("targets"))
    shutil.copytree(PROMETHEUS / targets, copy / "targets")
    assert f"{len(RULES)} rule files found" in run("promtool", "check", "config", copy / "prometheus.yml")


def test_every_target_file_that_the_configuration_names_is_there() -> None:
    config = load(PROMETHEUS / "prometheus.yml")
    users = [*config["scrape_configs"], *config["alerting"]["alertmanagers"]]
    named = {name for user in users for sd in user["file_sd_configs"] for name in sd["files"]}
    for folder in ("targets", "targets-compose"):
        assert {f"targets/{path.name}" for path in (PROMETHEUS / folder).iterdir()} == named


def test_the_configuration_takes_a_bearer_token(tmp_path: Path) -> None:
    copy = tmp_path / "prometheus"
    shutil.copytree(PROMETHEUS, copy)
    config = load(copy / "prometheus.yml")
    config["scrape_configs"][0]["authorization"] = {"credentials_file": "secrets/metrics-token"}
    (copy / "secrets").mkdir()
    (copy / "secrets" / "metrics-token").write_text("token")
    (copy / "prometheus.yml").write_text(yaml.safe_dump(config))
    assert config["scrape_configs"][0]["job_name"] == "fleetpulse"
    run("promtool", "check", "config", copy / "prometheus.yml")


def test_every_alert_has_a_test_that_fires_and_one_that_does_not() -> None:
    tested = set(alert_tests())
    assert {name for name, _ in tested} == set(alerts())
    always = {"Watchdog"}
    missing = {(name, fires) for name in alerts() for fires in (True, False)} - tested
    assert missing == {(name, False) for name in always}


@pytest.mark.parametrize("name", sorted(alerts()))
def test_an_alert_is_named_labelled_and_explained(name: str) -> None:
    alert = alerts()[name]
    assert re.fullmatch(r"([A-Z][a-z]+|[0-9]+)+", name)
    assert re.fullmatch(r"[0-9]+[smh]", alert["for"])
    assert alert["labels"].keys() == {"severity", "alert_type"}
    assert alert["labels"]["severity"] in {*SEVERITIES, OWN_SEVERITY}
    assert alert["labels"]["alert_type"] in ALERT_TYPES
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert alert["annotations"]["runbook_url"] == RUNBOOK_URL.format(name)


@pytest.mark.parametrize("name", sorted(alerts()))
def test_an_alert_has_a_runbook_that_the_index_lists(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    for heading in ("## What it means", "## Check", "## Do", "## Change it"):
        assert heading in text, f"{name}.md lacks {heading!r}"
    assert f"[{name}]({name}.md)" in (RUNBOOKS / "README.md").read_text()


def test_there_is_no_runbook_without_an_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"} == set(alerts())


def test_rules_and_runbooks_name_only_metrics_of_the_catalogue() -> None:
    texts = {rule.get("alert", rule.get("record")): rule["expr"] for rule in rules()}
    texts |= {path.name: "\n".join(promql_of(path.read_text())) for path in RUNBOOKS.glob("*.md")}
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    for where, text in texts.items():
        raw = set(re.findall(r"(?<![\w:])fleetpulse_\w+(?![\w:])", text))
        assert raw <= exported_names(), f"{where} names {raw - exported_names()}"
        made = set(re.findall(r"\w+:\w+:\w+", text))
        assert made <= recorded, f"{where} names {made - recorded}"


def promql_of(markdown: str) -> list[str]:
    return re.findall(r"```promql\n(.*?)```", markdown, flags=re.DOTALL)


def test_promql_in_runbooks_is_valid(tmp_path: Path) -> None:
    queries = [query for path in RUNBOOKS.glob("*.md") for query in promql_of(path.read_text())]
    assert len(queries) >= len(alerts()) - 1
    numbered = [{"record": f"runbook:query{n}:check", "expr": query} for n, query in enumerate(queries)]
    path = tmp_path / "runbooks.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "runbooks", "rules": numbered}]}))
    run("promtool", "check", "rules", path)


def test_every_recording_rule_is_used() -> None:
    """By a rule, or by a dashboard, or by who follows a runbook."""
    used = " ".join(rule["expr"] + str(rule.get("annotations", "")) for rule in rules())
    used += " ".join(path.read_text() for path in (ROOT / "grafana" / "dashboards").glob("*.json"))
    used += " ".join(query for path in RUNBOOKS.glob("*.md") for query in promql_of(path.read_text()))
    for rule in rules():
        if "record" in rule:
            assert re.search(rf"(?<![\w:]){rule['record']}(?![\w:])", used), f"{rule['record']} is used by nobody"


def test_thresholds_in_rules_are_settings_and_their_absence_is_alerted_on() -> None:
    expressions = {rule.get("alert", rule.get("record")): rule["expr"] for rule in rules()}
    watched = expressions.pop("AlertThresholdsMissing")
    compared = {name for expr in expressions.values() for name in re.findall(r'_threshold\{name="(\w+)"\}', expr)}
    (listed,) = re.findall(r'_threshold\{name=~"([\w|]+)"\}', watched)
    assert compared == set(listed.split("|"))
    assert watched.strip().endswith(f"== {len(compared)}")
    assert compared <= set(Thresholds.model_fields)
