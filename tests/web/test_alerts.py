"""Alertmanager's webhook (version 4), and the feed it fills."""

import json
from typing import Any

import pytest
from tests.web.server import WEBHOOK, Answer, Server, new_id
from websockets.sync.client import ClientConnection, connect

FEED = "/api/v1/group-ai/monitor/ws/alerts"


def alert(**changes: Any) -> dict[str, Any]:
    """One alert as Alertmanager 0.25 to 0.3x tells it."""
    return {
        "status": "firing",
        "labels": {"alertname": "Trial", "severity": "warning", "alert_type": "cost"},
        "annotations": {"summary": "a trial", "description": "预算已用完", "runbook_url": "https://x/y.md"},
        "startsAt": "2025-01-07T10:30:00.123456789Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph?g0.expr=up",
        "fingerprint": new_id("f"),
    } | changes


def notification(*alerts: object, **changes: Any) -> dict[str, Any]:
    return {
        "version": "4",
        "groupKey": '{}:{alertname="Trial"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "fleetpulse",
        "groupLabels": {"alertname": "Trial"},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager",
        "alerts": list(alerts),
        "notificationReason": "a field of the future",
    } | changes


def outcome(answer: Answer) -> tuple[int, int, list[int]]:
    assert answer.status == 202, answer
    document = answer.json
    return document["accepted"], document["duplicates"], [item["index"] for item in document["rejected"]]


def events(server: Server, fingerprint: str) -> list[tuple[Any, ...]]:
    return server.journal("SELECT alertname, status, severity FROM alert_events WHERE fingerprint = ?", fingerprint)


def read(feed: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(feed.recv(30))
    return message


def until_a_new_one(server: Server, feed: ClientConnection) -> list[dict[str, Any]]:
    """What the feed says before an alert that is sent now."""
    last = alert()
    server.give(WEBHOOK, notification(last))
    messages = []
    while (message := read(feed))["alert"]["fingerprint"] != last["fingerprint"]:
        messages.append(message)
    return messages


def test_each_change_of_each_alert_is_stored_and_pushed_once(server: Server) -> None:
    firing = alert()
    resolved = firing | {"status": "resolved", "endsAt": "2025-01-07T10:40:00Z"}
    again = firing | {"startsAt": "2025-01-08T10:30:00Z"}
    with connect(f"ws://127.0.0.1:{server.port}{FEED}") as feed:
        until_a_new_one(server, feed)
        answers = [
            server.give(WEBHOOK, notification(one)) for one in (firing, firing, resolved, firing, resolved, again)
        ]
        assert [outcome(answer)[:2] for answer in answers] == [(1, 0), (0, 1), (1, 0), (0, 1), (0, 1), (1, 0)]
        pushed = until_a_new_one(server, feed)
    assert [(message["type"], message["alert"]["resolved"]) for message in pushed] == [
        ("alert", False),
        ("alert", True),
        ("alert", False),
    ]
    shown = pushed[0]["alert"]
    assert shown["alert_type"] == "cost"
    assert shown["message"] == "预算已用完"
    assert shown["runbook_url"] == "https://x/y.md"
    assert shown["account_id"] is None
    assert shown["alert_id"] == pushed[1]["alert"]["alert_id"] != pushed[2]["alert"]["alert_id"]
    assert [status for _, status, _ in events(server, firing["fingerprint"])] == ["firing", "resolved", "firing"]


def test_a_newcomer_gets_the_last_ten(server: Server) -> None:
    alerts = [alert(annotations={"summary": f"number {n}"}) for n in range(12)]
    assert outcome(server.give(WEBHOOK, notification(*alerts))) == (12, 0, [])
    with connect(f"ws://127.0.0.1:{server.port}{FEED}") as feed:
        seen = [message["alert"]["message"] for message in until_a_new_one(server, feed)]
    assert seen == [f"number {n}" for n in range(2, 12)]


def test_the_same_alert_twice_in_one_notification(server: Server) -> None:
    one = alert()
    assert outcome(server.give(WEBHOOK, notification(one, one))) == (1, 1, [])


def test_events_are_counted(server: Server) -> None:
    name = new_id("Alert")
    before = server.counted("alert")
    one = alert(labels={"alertname": name})
    server.give(WEBHOOK, notification(one, one, {"status": "firing"}))
    after = server.counted("alert")
    counted = {outcome: after[outcome] - before[outcome] for outcome in after}
    assert counted == {"stored": 1, "duplicate": 1, "rejected": 1, "refused": 0}
    assert server.metrics()[f'fleetpulse_alert_events_total{{alertname="{name}",status="firing"}}'] == 1
    assert events(server, one["fingerprint"]) == [(name, "firing", "none")]


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": {}},
        {"labels": {"alertname": "n" * 128} | {f"l{n}": "v" * 8_192 for n in range(60)}},
        {"annotations": {}},
        {"startsAt": "0001-01-01T00:00:00+14:00"},
        {"startsAt": "9999-12-31T23:59:59-14:00"},
        {"endsAt": None},
        {"generatorURL": ""},
        {"status": "resolved"},
        {"labels": {"alertname": 'quo"te\\', "кириллица": "line\nbreak"}},
    ],
)
def test_odd_alerts_are_taken(server: Server, changes: dict[str, Any]) -> None:
    one = alert(**changes)
    assert outcome(server.give(WEBHOOK, notification(one))) == (1, 0, [])
    assert len(events(server, one["fingerprint"])) == 1
    with connect(f"ws://127.0.0.1:{server.port}{FEED}") as feed:
        assert until_a_new_one(server, feed)[-1]["alert"]["fingerprint"] == one["fingerprint"]


BAD: list[Any] = [
    None,
    5,
    "text",
    [],
    {},
    alert(status="pending"),
    alert(labels=None),
    alert(labels={"alertname": "n" * 129}),
    alert(labels={"alertname": "a\nb"}),
    alert(labels={"alertname": "x", "l": "v" * 8_193}),
    alert(labels={f"l{n}": "v" for n in range(65)}),
    alert(labels={"alertname": 5}),
    alert(labels=dict.fromkeys(map(str, range(300_000)), 0)),
    alert(startsAt="yesterday"),
    alert(startsAt="2025-01-07T10:30:00"),
    alert(startsAt=None),
    alert(fingerprint=""),
    alert(fingerprint=None),
]


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_alert_never_takes_the_others_with_it(server: Server, bad: object) -> None:
    """Alertmanager does not repeat what is refused with 4xx: the others of its group would be lost."""
    good = [alert(), alert()]
    assert outcome(server.give(WEBHOOK, notification(good[0], bad, good[1]))) == (2, 0, [1])
    assert [len(events(server, one["fingerprint"])) for one in good] == [1, 1]
    assert server.give(WEBHOOK, notification(bad)).problem(422, "invalid-input")["errors"]


@pytest.mark.parametrize(
    "message",
    [{}, {"alerts": None}, {"alerts": {}}, notification(version=4), [], "text", None, {"alerts": [None] * 10_001}],
)
def test_what_is_no_notification_is_422(server: Server, message: object) -> None:
    before = server.rows("alert_events")
    server.give(WEBHOOK, message).problem(422, "invalid-input")
    assert server.rows("alert_events") == before


def test_a_notification_without_alerts_is_fine(server: Server) -> None:
    assert outcome(server.give(WEBHOOK, notification())) == (0, 0, [])


def test_unreadable_bytes_are_400(server: Server) -> None:
    for body in (b"", b"{", b"\xff", b"[" * 100_000):
        server.give(WEBHOOK, body).problem(400, "malformed")
