"""Group accounts in a whole stack: rules looked at, histories replayed, one alert put to rest, all for real."""

import json
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.system.harness import Stack, get_json, post, started, wait_for
from websockets.sync.client import connect

PREFIX = "/api/v1/group-ai/monitor"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with two accounts: one of which fails most of the time."""
    for whole in started(Stack(tmp_path_factory.mktemp("stack"))):
        wait_until_scraped(whole)  # what is there at the first scrape may be old, and is no increase
        report(whole, "account_1", kind="error", count=22)
        report(whole, "account_1", kind="message", count=18)
        report(whole, "account_2", kind="reply", count=4, reply_time=1.5)
        wait_until_counted(whole)
        yield whole


def wait_until_scraped(stack: Stack) -> None:
    wait_for(lambda: stack.value("count(fleetpulse_build_info)") == 1, what="a first scrape")


def wait_until_counted(stack: Stack) -> None:
    counted = 'sum(fleetpulse_account_activities_total{account_id="account_1"})'
    wait_for(lambda: stack.value(counted) == 40, what="the accounts in Prometheus")


def report(stack: Stack, account_id: str, **activity: Any) -> None:
    status, answer = stack.exporter.post(f"{PREFIX}/accounts/{account_id}/activity", activity)
    assert (status, answer["accepted"]) == (202, 1)


def feed(stack: Stack) -> str:
    return f"ws://127.0.0.1:{stack.exporter.port}{PREFIX}/ws/metrics"


def test_the_rules_can_be_looked_at(stack: Stack) -> None:
    def judged() -> Any:
        status, check = stack.exporter.post(f"{PREFIX}/alerts/check", None)
        assert status == 200
        rules = {rule["alertname"]: rule for rule in check["rules"]}
        assert set(rules) == {"AccountErrorRateHigh", "AccountIdle"}
        return check if check["pending"] + check["firing"] else None

    check = wait_for(judged, what="an alert that is pending")
    (alert,) = (alert for rule in check["rules"] for alert in rule["alerts"])
    assert (alert["alert_type"], alert["account_id"], alert["severity"]) == ("error", "account_1", "warning")
    assert alert["message"] == "account account_1 error rate too high: 55.00% (threshold 50.00%)"
    assert {rule["health"] for rule in check["rules"]} == {"ok"}


def test_a_history_comes_before_what_is_live(stack: Stack) -> None:
    def last(history: dict[str, Any]) -> dict[str, Any]:
        accounts = {each["account_id"]: each for each in history["account_metrics"]}
        return {name: column[-1] for name, column in accounts["account_1"].items() if name != "account_id"}

    def replayed() -> Any:
        with connect(f"{feed(stack)}?history=2m&step=5&accounts=account_1,nobody") as socket:
            history, live = json.loads(socket.recv()), json.loads(socket.recv())
        assert (history["type"], live["type"]) == ("metrics_history", "metrics_update")
        return history if last(history)["error_count"] is not None else None

    history = wait_for(replayed, what="a history that has the account")
    assert last(history) == {"message_count": 18, "reply_count": 0, "redpacket_count": 0, "error_count": 22}
    times = history["timestamps"]
    assert (history["step"], len(times), times) == (5, 25, sorted(times))
    system = {name: column[-1] for name, column in history["system_metrics"].items()}
    assert system["total_accounts"] == 2
    assert (system["total_errors"], system["total_replies"], system["average_reply_time"]) == (22, 4, 1.5)
    assert all(len(column) == 25 for column in history["system_metrics"].values())
    nobody = next(each for each in history["account_metrics"] if each["account_id"] == "nobody")
    assert set(nobody["message_count"]) == {None}


def test_a_long_history_is_down_sampled(stack: Stack) -> None:
    with connect(f"{feed(stack)}?interval=300") as socket:
        socket.recv()
        socket.send(json.dumps({"type": "history", "minutes": 7 * 24 * 60, "step": 5}))
        history = json.loads(socket.recv())
    assert history["type"] == "metrics_history"
    assert len(history["timestamps"]) <= 240
    assert history["step"] > 5


def fire(stack: Stack, account_id: str) -> dict[str, Any]:
    """An alert that Alertmanager holds, and the exporter has heard of."""
    labels = {"alertname": "AccountErrorRateHigh", "account_id": account_id, "alert_type": "error"}
    alert = {
        "labels": labels | {"severity": "warning", "job": "test"},
        "annotations": {"description": f"account {account_id} fails"},
        "startsAt": datetime.now(UTC).isoformat(),
        "endsAt": (datetime.now(UTC) + timedelta(hours=1)).isoformat(),
    }
    where = f"{stack.exporter_url}{PREFIX}/alerts?account_id={account_id}"
    send(stack, [alert])
    shown = wait_for(lambda: get_json(where)["firing"], what="the alert in Alertmanager")
    assert len(shown) == 1
    assert isinstance(shown[0], dict)
    return shown[0]


def send(stack: Stack, alerts: list[dict[str, Any]]) -> None:
    request = urllib.request.Request(  # noqa: S310 - an address made by the tests
        f"{stack.alertmanager_url}/api/v2/alerts",
        json.dumps(alerts).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=30).close()  # noqa: S310


def resolve(stack: Stack, alert_id: str, query: str = "") -> tuple[int, Any]:
    return post(f"{stack.exporter_url}{PREFIX}/alerts/{alert_id}/resolve{query}", None)


def test_one_alert_is_put_to_rest_and_no_other(stack: Stack) -> None:
    alert, other = fire(stack, "resting"), fire(stack, "working")
    status, done = resolve(stack, alert["alert_id"], "?seconds=600&comment=moved")
    assert (status, done["outcome"]) == (200, "silenced")
    (silence,) = (
        each for each in get_json(f"{stack.alertmanager_url}/api/v2/silences") if each["id"] == done["silence_id"]
    )
    assert {each["name"]: each["value"] for each in silence["matchers"]} == alert["labels"]
    assert all(each["isEqual"] and not each["isRegex"] for each in silence["matchers"])
    assert silence["comment"] == "moved"
    lasts = datetime.fromisoformat(silence["endsAt"]) - datetime.now(UTC)
    assert timedelta(minutes=8) < lasts <= timedelta(minutes=10)

    def states() -> Any:
        firing = get_json(f"{stack.exporter_url}{PREFIX}/alerts")["firing"]
        found = {each["account_id"]: each["state"] for each in firing}
        return found if found["resting"] == "suppressed" else None

    assert wait_for(states, what="the silence")[other["account_id"]] == "active"
    status, again = resolve(stack, alert["alert_id"])
    assert (status, again["outcome"], again["silence_id"]) == (200, "already_silenced", done["silence_id"])
    events = stack.exporter.get(f"{PREFIX}/events?category=audit&kind=alert_resolved")["events"]
    assert [(each["subject"], each["detail"]["silence_id"]) for each in events] == [
        (alert["alert_id"], done["silence_id"])
    ]


def test_an_alert_that_is_over_needs_no_rest_and_one_that_never_was_is_not_found(stack: Stack) -> None:
    began = "2025-01-07T10:00:00Z"
    labels = {"alertname": "AccountIdle", "account_id": "a", "severity": "warning"}
    alert = {"status": "resolved", "labels": labels, "startsAt": began, "endsAt": began, "fingerprint": "beef"}
    stack.exporter.post("/api/v1/alerts/webhook", {"alerts": [alert]})
    seconds = int(datetime.fromisoformat(began).timestamp())
    status, answer = resolve(stack, f"AccountIdle_beef_{seconds}")
    assert (status, answer["outcome"], answer["silence_id"]) == (200, "not_firing", None)
    for unknown in (f"AccountIdle_beef_{seconds + 1}", f"AccountIdle_dead_{seconds}", "x", "_", "__"):
        assert resolve(stack, unknown)[0] == 404
