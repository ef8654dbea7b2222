"""Group accounts over HTTP, as CONTRACT C has them: what is taken, what is refused, what is told of them."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.system.harness import started
from tests.web.server import NDJSON, Answer, Server, new_id

PREFIX = "/api/v1/group-ai/monitor"
MANY = f"{PREFIX}/accounts/activity"
SYSTEM = {
    "total_accounts",
    "online_accounts",
    "total_messages",
    "total_replies",
    "total_redpackets",
    "total_errors",
    "average_reply_time",
    "scope",
}


def activity_of(account_id: str) -> str:
    return f"{PREFIX}/accounts/{quote(account_id, safe='')}/activity"


def outcome(answer: Answer) -> tuple[int, int, dict[int, list[Any]]]:
    """Accepted, duplicates, and the place of each error of each rejected item by its index."""
    assert answer.status == 202, answer
    document = answer.json
    rejected = {item["index"]: [error["loc"] for error in item["errors"]] for item in document["rejected"]}
    return document["accepted"], document["duplicates"], rejected


def account(server: Server, account_id: str) -> dict[str, Any]:
    (found,) = server.ask(f"{PREFIX}/accounts/metrics?account_id={quote(account_id, safe='')}").json[
        "account_metrics"
    ]
    assert isinstance(found, dict)
    return found


def stored(server: Server, account_id: str) -> list[tuple[Any, ...]]:
    columns = "kind, number, reply_time, online, text, metadata"
    query = f"SELECT {columns} FROM activities WHERE account_id = ? ORDER BY id"  # noqa: S608 - the test's own names
    return server.journal(query, account_id)


def test_an_activity_is_stored_as_it_was_told(server: Server) -> None:
    name = new_id("账号 ")
    told = {
        "kind": "Reply",
        "count": 2,
        "reply_time": 1.5,
        "online": True,
        "text": "line 1\nline 2 🤖",
        "metadata": {"k": ["v", None]},
        "account_name": "Anna",
        "timestamp": "2025-01-07T18:30:00+08:00",
    }
    assert outcome(server.give(activity_of(name), told)) == (1, 0, {})
    assert stored(server, name) == [("reply", 2, 1.5, 1, "line 1\nline 2 🤖", '{"k":["v",null]}')]
    shown = account(server, name)
    assert (shown["account_name"], shown["reply_count"], shown["average_reply_time"]) == ("Anna", 2, 1.5)
    assert shown["last_activity"] == "2025-01-07T10:30:00.000Z"


def test_one_request_tells_of_many_accounts(server: Server) -> None:
    names = [new_id("a") for _ in range(3)]
    lines = b"\n".join(json.dumps({"account_id": name, "kind": "message"}).encode() for name in names)
    assert outcome(server.give(MANY, lines, NDJSON)) == (3, 0, {})
    assert [account(server, name)["message_count"] for name in names] == [1, 1, 1]


def test_a_bad_item_rejects_only_itself(server: Server) -> None:
    name = new_id("a")
    items: list[Any] = [
        {"kind": "message"},
        {"kind": "message", "count": 0},
        {"kind": "message", "reply_time": 1.0},
        {"kind": "reply", "reply_time": -1},
        {"kind": "error", "activity_id": ""},
        {},
        7,
        {"kind": "redpacket", "count": 1_000_000},
        {"kind": "redpacket", "count": 1_000_001},
    ]
    accepted, duplicates, rejected = outcome(server.give(activity_of(name), items))
    assert (accepted, duplicates) == (2, 0)
    assert rejected == {
        1: [["count"]],
        2: [[]],
        3: [["reply_time"]],
        4: [["activity_id"]],
        5: [["kind"]],
        6: [[]],
        8: [["count"]],
    }
    assert account(server, name)["redpacket_count"] == 1_000_000


def test_what_is_sent_again_is_a_duplicate(server: Server) -> None:
    name, activity = new_id("a"), {"kind": "message", "activity_id": new_id("m")}
    assert outcome(server.give(activity_of(name), [activity, activity])) == (1, 1, {})
    assert outcome(server.give(activity_of(name), activity)) == (0, 1, {})
    assert account(server, name)["message_count"] == 1


@pytest.mark.parametrize("body", [b"", b"{", b"nonsense"])
def test_what_cannot_be_read_is_refused(server: Server, body: bytes) -> None:
    before = server.counted("activity")["rejected"]
    server.give(activity_of("a"), body).problem(400, "malformed")
    assert server.counted("activity")["rejected"] == before + 1


def test_an_account_needs_a_name_that_can_be_a_label(server: Server) -> None:
    server.give(activity_of("x" * 129), {"kind": "message"}).problem(422, "invalid-input")
    server.give(activity_of("a\nb"), {"kind": "message"}).problem(422, "invalid-input")


def test_the_series_say_what_was_told(server: Server) -> None:
    name = new_id("a")
    items = [{"kind": "message", "count": 4}, {"kind": "reply", "reply_time": 2.0}, {"kind": "error"}]
    assert outcome(server.give(activity_of(name), items))[0] == 3
    samples = server.metrics()
    names = ("messages_total", "replies_total", "redpackets_total", "errors_total", "activities_total", "online")
    values = [samples[f'fleetpulse_account_{each}{{account_id="{name}"}}'] for each in names]
    assert values == [4, 1, 0, 1, 6, 1]


def test_pages_are_the_whole_by_id(server: Server) -> None:
    names = sorted(new_id("page") for _ in range(5))
    server.give(MANY, [{"account_id": name, "kind": "message"} for name in names])
    wanted = "&".join(f"account_id={name}" for name in names[:3]) + f"&account_id={','.join(names[3:])}"
    found: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = server.ask(f"{PREFIX}/accounts/metrics?{wanted}&limit=2&cursor={quote(cursor)}").json
        found += [each["account_id"] for each in page["account_metrics"]]
        cursor = page["next_cursor"]
    assert found == names


def test_a_misspelt_filter_is_an_error(server: Server) -> None:
    server.ask(f"{PREFIX}/accounts/metrics?acount_id=a").problem(422, "invalid-input")
    server.ask(f"{PREFIX}/accounts/metrics?limit=1&limit=2").problem(422, "invalid-input")
    server.ask(f"{PREFIX}/accounts/metrics?account_id={'x' * 129}").problem(422, "invalid-input")


def test_unknown_accounts_are_not_there(server: Server) -> None:
    assert server.ask(f"{PREFIX}/accounts/metrics?account_id=nobody-at-all").json["account_metrics"] == []


def test_the_system_is_the_sum_of_its_accounts(server: Server) -> None:
    before = server.ask(f"{PREFIX}/system").json
    assert set(before) == SYSTEM
    name = new_id("a")
    server.give(activity_of(name), [{"kind": "message", "count": 3}, {"kind": "redpacket"}])
    after = server.ask(f"{PREFIX}/system").json
    changed = {key: after[key] - before[key] for key in SYSTEM - {"scope", "average_reply_time"}}
    assert changed == {
        "total_accounts": 1,
        "online_accounts": 1,
        "total_messages": 3,
        "total_replies": 0,
        "total_redpackets": 1,
        "total_errors": 0,
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that remembers two accounts only."""
    yield from started(Server(tmp_path_factory.mktemp("small"), FLEETPULSE_LIMITS__KNOWN_ACCOUNTS="2"))


def test_new_accounts_past_the_limit_are_refused_and_counted(small: Server) -> None:
    items = [{"account_id": name, "kind": "message"} for name in ("a", "b", "c", "a")]
    accepted, _, rejected = outcome(small.give(MANY, [{}, *items]))
    assert (accepted, rejected) == (3, {0: [["kind"], ["account_id"]], 3: [["account_id"]]})
    small.give(activity_of("c"), {"kind": "message"}).problem(503, "overloaded")
    assert outcome(small.give(activity_of("b"), {"kind": "message"})) == (1, 0, {})
    assert small.counted("activity") == {"stored": 4, "duplicate": 0, "rejected": 1, "refused": 2}


def test_alerts_and_events_of_a_fresh_service(server: Server) -> None:
    server.ask(f"{PREFIX}/alerts").problem(503, "upstream")
    server.give(f"{PREFIX}/alerts/check", b"").problem(503, "upstream")
    server.give(f"{PREFIX}/alerts/a_b_1/resolve", b"").problem(503, "upstream")
    assert server.ask(f"{PREFIX}/alerts?firing=false").json["firing"] is None
    page = server.ask(f"{PREFIX}/events?limit=1&category=nothing-such").json
    assert page == {"events": [], "next_cursor": None}


def test_only_alerts_about_accounts_are_listed(server: Server, tmp_path: Path) -> None:
    del tmp_path
    name = new_id("acc")
    for labels in ({"alertname": "AccountErrorRateHigh", "account_id": name}, {"alertname": "AgentSilent"}):
        alert = {
            "status": "firing",
            "labels": labels | {"severity": "warning", "alert_type": "error"},
            "annotations": {"description": f"account {name} error rate too high: 55.00% (threshold 50.00%)"},
            "startsAt": "2025-01-07T10:00:00Z",
            "fingerprint": new_id("f"),
        }
        assert server.give("/api/v1/alerts/webhook", {"alerts": [alert]}).status == 202
    recent = server.ask(f"{PREFIX}/alerts?firing=false&limit=1000").json["recent"]
    assert all(each["account_id"] for each in recent)
    (shown,) = server.ask(f"{PREFIX}/alerts?firing=false&account_id={name}").json["recent"]
    document = {key: shown[key] for key in ("alert_type", "account_id", "message", "resolved")}
    assert document == {
        "alert_type": "error",
        "account_id": name,
        "message": f"account {name} error rate too high: 55.00% (threshold 50.00%)",
        "resolved": False,
    }
