"""Alertmanager's configuration: valid, routed as meant, and readable to people."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.alerting import FOLDER, HOOK, NATIVE, rendered, webhook
from tests.tools import run

COMPOSE = FOLDER / "alertmanager.compose.yml"


@pytest.mark.parametrize("path", [NATIVE, COMPOSE])
def test_the_configuration_is_valid(path: Path) -> None:
    assert "1 templates" in run("amtool", "check-config", path)


def test_the_compose_file_differs_in_the_exporters_address_only() -> None:
    native, compose = (path.read_text().splitlines() for path in (NATIVE, COMPOSE))
    differing = [pair for pair in zip(native, compose, strict=True) if pair[0] != pair[1]]
    assert [(a.strip(), b.strip()) for a, b in differing] == [
        (f"- url: http://127.0.0.1:8001{HOOK}", f"- url: http://exporter:8001{HOOK}")
    ]


def test_the_webhook_takes_a_bearer_token(tmp_path: Path) -> None:
    def add_token(config: dict[str, Any]) -> None:
        webhook(config)["http_config"] = {"authorization": {"credentials_file": "secrets/webhook-token"}}

    run("amtool", "check-config", rendered(tmp_path, add_token))


def test_every_commented_example_is_valid_once_uncommented(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    text = re.sub(r"^( +)# ", r"\1", NATIVE.read_text(), flags=re.MULTILINE)
    (tmp_path / "alertmanager.yml").write_text(text)
    receivers = {each["name"]: set(each) for each in yaml.safe_load(text)["receivers"]}
    assert receivers["people"] == {"name", "email_configs", "telegram_configs", "discord_configs", "slack_configs"}
    assert "webhook_configs" in receivers["watchdog"]
    run("amtool", "check-config", tmp_path / "alertmanager.yml")


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ("alertname=BudgetAt100Percent severity=critical", "fleetpulse,people"),
        ("alertname=BudgetAt80Percent severity=warning alert_type=cost period=month", "fleetpulse,people"),
        ("alertname=UnpricedRequests severity=warning alert_type=cost model=m", "fleetpulse,people"),
        ("alertname=AgentSilent severity=warning pool_id=p", "fleetpulse,people"),
        ("alertname=LabelCapReached severity=info", "fleetpulse,nobody"),
        ("alertname=TapKeyword severity=critical alert_type=stream stream=s rule=r", "fleetpulse,people"),
        ("alertname=TapKeyword severity=info alert_type=stream stream=s rule=r", "fleetpulse,nobody"),
        ("alertname=Watchdog severity=none", "watchdog"),
        ("alertname=SomebodyElses", "fleetpulse,people"),
        ("alertname=Notification severity=info channel=email", "people"),
    ],
)
def test_alerts_go_where_they_should(labels: str, receivers: str) -> None:
    verify = f"--verify.receivers={receivers}"
    run("amtool", "config", "routes", "test", f"--config.file={NATIVE}", verify, *labels.split())


def test_inhibitions_compare_only_labels_that_their_alerts_have() -> None:
    """Labels missing on both sides count as equal: a misspelt one would mute everything."""
    known = {"job", "instance", "budget", "period_start"}
    for rule in yaml.safe_load(NATIVE.read_text())["inhibit_rules"]:
        equal = set(rule.get("equal", ()))
        assert equal <= known or ("alertname" in equal and 'alertname != "Notification"' in rule["source_matchers"])


def test_one_rule_of_a_stream_does_not_keep_another_quiet() -> None:
    """TapKeyword is as grave as its rule: critical for one must not hide the warning for another."""
    rules = yaml.safe_load(NATIVE.read_text())["inhibit_rules"]
    (general,) = (each["equal"] for each in rules if "alertname" in each.get("equal", ()))
    assert {"stream", "rule"} <= set(general)


def test_a_message_is_about_one_stream() -> None:
    assert "stream" in yaml.safe_load(NATIVE.read_text())["route"]["group_by"]


@pytest.mark.parametrize("period", ["day", "week", "month"])
@pytest.mark.parametrize("severity", ["warning", "critical"])
def test_a_budgets_level_is_repeated_after_its_period_at_the_earliest(period: str, severity: str) -> None:
    """Such alerts stop at the end of their period, so it is not repeated at all."""
    routes = yaml.safe_load(NATIVE.read_text())["route"]["routes"]
    labels = {"alert_type": "cost", "period": period, "severity": severity}
    taken = next(each for each in routes if not each.get("continue") and fits(each.get("matchers", []), labels))
    assert days(taken["repeat_interval"]) > 31
    assert {"alertname", "budget", "period_start"} <= set(taken["group_by"])


def fits(matchers: list[str], labels: dict[str, str]) -> bool:
    pairs = (re.fullmatch(r'(\w+) =(~?) "(.*)"', matcher) for matcher in matchers)
    return all(pair and re.fullmatch(pair[3], labels.get(pair[1], "")) for pair in pairs)


def days(duration: str) -> float:
    amount, unit = re.fullmatch(r"(\d+)([hd])", duration).groups()  # type: ignore[union-attr]  # or the test fails
    return int(amount) / {"h": 24, "d": 1}[unit]


def message(firing: int, resolved: int) -> dict[str, Any]:
    def alert(status: str, number: int) -> dict[str, Any]:
        return {
            "status": status,
            "labels": {"alertname": "AgentSilent", "pool_id": "客服", "severity": "warning"},
            "annotations": {"summary": f"Agent w{number} is silent", "runbook_url": "https://example.com/runbook"},
            "startsAt": "2026-01-02T03:04:05Z",
        }

    return {
        "status": "firing" if firing else "resolved",
        "groupLabels": {"alertname": "AgentSilent", "pool_id": "客服"},
        "externalURL": "http://alertmanager",
        "alerts": [alert("firing", n) for n in range(firing)] + [alert("resolved", n) for n in range(resolved)],
    }


@pytest.mark.parametrize("kind", ["text", "html"])
@pytest.mark.parametrize(
    ("firing", "resolved", "expected"),
    [
        (
            1,
            1,
            [
                "🔥 1 firing: AgentSilent (pool 客服)",
                "• [warning] Agent w0 is silent",
                "  since 2026-01-02 03:04:05 UTC",
                "  what to do: https://example.com/runbook",
                "resolved:",
                "• Agent w0 is silent",
            ],
        ),
        (0, 1, ["✅ resolved: AgentSilent (pool 客服)", "resolved:", "• Agent w0 is silent"]),
    ],
)
def test_people_read_what_happened(
    firing: int, resolved: int, expected: list[str], kind: str, tmp_path: Path
) -> None:
    assert rendered_message(message(firing, resolved), kind, tmp_path) == expected


def test_a_long_message_is_cut_short_and_says_so(tmp_path: Path) -> None:
    lines = rendered_message(message(12, 11), "text", tmp_path)
    assert sum(line.startswith("• [warning]") for line in lines) == 10
    assert "… of 12 firing; the rest are in Alertmanager: http://alertmanager" in lines
    assert lines[-1] == "… of 11 resolved"


def rendered_message(data: dict[str, Any], kind: str, folder: Path) -> list[str]:
    path = folder / "data.json"
    path.write_text(json.dumps(data))
    text = '{{ template "fleetpulse.title" . }}{{ "\\n" }}{{ template "fleetpulse.text" . }}'
    glob = f"--template.glob={FOLDER / 'templates' / '*.tmpl'}"
    options = (f"--template.data={path}", f"--template.type={kind}", f"--template.text={text}")
    return run("amtool", "template", "render", glob, *options).strip().splitlines()
