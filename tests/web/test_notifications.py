"""Notifications over HTTP: who may send, who sees what, and everyone's own preferences; on a whole exporter."""

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from tests.system.harness import free_port, started, wait_for
from tests.web.server import WEBHOOK, Answer, Server, new_id
from websockets.sync.client import connect

from fleetpulse.auth import Role
from fleetpulse.auth.tokens import issue
from fleetpulse.config import Auth

PATH = "/api/v1/notifications"
SECRET = "n" * 40
LIMIT = 5


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An exporter that asks for credentials; nobody is where Alertmanager should be."""
    own = {
        "FLEETPULSE_AUTH__JWT_SECRET": SECRET,
        "FLEETPULSE_STACK__ALERTMANAGER_PORT": str(free_port()),
        "FLEETPULSE_NOTIFICATIONS__OUTBOX": str(LIMIT),
        "FLEETPULSE_BUDGETS": "[]",
    }
    program = Server(tmp_path_factory.mktemp("server"), **own)
    yield from started(program)
    assert " ERROR fleetpulse" not in program.output()


def bearer(user: str, *roles: Role, sessions: Any = ()) -> dict[str, str]:
    token = issue(
        Auth(jwt_secret=SECRET),
        subject=user,
        roles=roles or (Role.VIEWER,),
        lifetime=timedelta(hours=2),
        sessions=sessions,
    )
    return {"Authorization": f"Bearer {token}"}


OPERATOR = bearer("op", Role.OPERATOR)
ADMIN = bearer("boss", Role.ADMIN)


def notification(*users: str, **fields: Any) -> dict[str, Any]:
    return {"title": new_id("t"), "message": "m", "recipients": {"users": users}} | fields


def send(server: Server, *users: str, **fields: Any) -> dict[str, Any]:
    answer = server.give(PATH, notification(*users, **fields), OPERATOR)
    assert answer.status == 200, answer
    document: dict[str, Any] = answer.json
    return document


def listed(server: Server, who: Mapping[str, str], query: str = "") -> list[dict[str, Any]]:
    answer = server.send("GET", f"{PATH}?{query}", headers=who)
    assert answer.status == 200, answer
    found: list[dict[str, Any]] = answer.json["notifications"]
    return found


def put(server: Server, user: str, body: Any, who: Mapping[str, str]) -> Answer:
    headers = {"Content-Type": "application/json"} | dict(who)
    return server.send("PUT", f"{PATH}/preferences/{user}", json.dumps(body).encode(), headers)


def test_a_notification_reaches_its_user_and_says_so(server: Server) -> None:
    user = new_id("u")
    made = send(server, user, level="warning", kind="takeover", subject="s1", metadata={"n": 1})
    assert made["summary"] == {"stored": 1}
    url = f"ws://127.0.0.1:{server.port}/ws/chat"
    with connect(url, additional_headers=bearer(user)) as chat:
        while (heard := json.loads(chat.recv(30)))["type"] != "notification":
            pass
        assert heard["notification"]["id"] == made["id"]
        wait_for(lambda: listed(server, OPERATOR, f"user_id={user}")[0]["summary"] == {"delivered": 1})
    (kept,) = listed(server, bearer(user))
    assert kept["actor"] == "op"
    assert (kept["level"], kept["kind"], kept["subject"]) == ("WARNING", "takeover", "s1")
    assert kept["metadata"] == {"n": 1}
    assert (kept["outcomes"][0]["recipient"], kept["outcomes"][0]["outcome"]) == (user, "delivered")


def test_users_see_their_own_and_operators_everything(server: Server) -> None:
    a, b, session = new_id("a"), new_id("b"), new_id("s")
    first, second, both = (send(server, *users)["id"] for users in ((a,), (b,), (a, b)))
    inside = send(server, recipients={"sessions": [session]})["id"]
    every = send(server, recipients={"all": True})["id"]

    def seen(who: Mapping[str, str], query: str = "") -> list[str]:
        wanted = {first, second, both, inside, every}
        return [each["id"] for each in listed(server, who, query) if each["id"] in wanted]

    assert seen(OPERATOR) == [every, inside, both, second, first]
    assert seen(bearer(a)) == [every, both, first]
    assert seen(bearer(b), f"user_id={b}") == [every, both, second]
    assert seen(bearer(b, sessions=[session])) == [every, inside, both, second]
    assert seen(bearer(b, sessions="*")) == [every, inside, both, second]
    assert seen(OPERATOR, f"user_id={a}") == [every, inside, both, first]
    (for_a,) = (each for each in listed(server, bearer(a)) if each["id"] == both)
    assert [each["recipient"] for each in for_a["outcomes"]] == [a]


def test_pages_and_filters(server: Server) -> None:
    user = new_id("u")
    ids = [send(server, user, level=level, channels=["WEBSOCKET"])["id"] for level in ("INFO", "ERROR") * 3]
    found, cursor = [], ""
    while cursor is not None:
        query = f"user_id={user}&limit=4&cursor={cursor}"
        page = server.send("GET", f"{PATH}?{query}", headers=OPERATOR).json
        found += [each["id"] for each in page["notifications"]]
        cursor = page["next_cursor"]
    assert [each for each in found if each in ids] == ids[::-1]
    errors = listed(server, OPERATOR, f"user_id={user}&level=error")
    assert [each["id"] for each in errors] == ids[::-1][::2]
    assert listed(server, OPERATOR, f"user_id={user}&level=ERROR&kind=takeover") == []
    server.send("GET", f"{PATH}?level=loud", headers=OPERATOR).problem(422, "invalid-input")
    server.send("GET", f"{PATH}?cursor=x", headers=OPERATOR).problem(422, "invalid-input")


def test_preferences_are_ones_own(server: Server) -> None:
    user = new_id("u")
    path = f"{PATH}/preferences/{user}"
    before = server.send("GET", path, headers=bearer(user)).json
    assert before["preferences"] == {
        "websocket": "INFO",
        "email": "INFO",
        "sms": "INFO",
        "push": "INFO",
        "muted_kinds": [],
        "quiet_hours": [],
    }
    wish = {"websocket": "ERROR", "quiet_hours": [{"start": "22:00", "end": "08:00", "timezone": "Asia/Shanghai"}]}
    answer = put(server, user, wish, bearer(user))
    assert answer.status == 200, answer
    shown = server.send("GET", path, headers=ADMIN).json
    assert shown == answer.json
    assert shown["preferences"]["quiet_hours"][0]["timezone"] == "Asia/Shanghai"
    assert send(server, user)["summary"] == {"suppressed": 1}
    assert put(server, user, {}, ADMIN).json == before
    broken: list[Any] = [{"fax": "INFO"}, {"sms": "LOUD"}, {"quiet_hours": [{"start": "25:00", "end": "1:00"}]}, []]
    for wrong in broken:
        put(server, user, wrong, bearer(user)).problem(422, "invalid-input")
    put(server, "x" * 300, {}, ADMIN).problem(422, "invalid-input")
    audited = server.journal(
        "SELECT actor FROM events WHERE kind = 'notification_preferences' AND subject = ?", user
    )
    assert audited == [(user,), ("boss",)]


def test_sending_is_audited(server: Server) -> None:
    made = send(server, "u")
    ((actor, detail),) = server.journal(
        "SELECT actor, detail FROM events WHERE category = 'audit' AND subject = ?", made["id"]
    )
    assert actor == "op"
    assert json.loads(detail)["outcomes"] == {"stored": 1}


def test_what_breaks_the_contract_is_refused(server: Server) -> None:
    wrongs: list[dict[str, Any]] = [
        {},
        notification("u", level="loud"),
        notification("u", colour="red"),
        notification("u", action_url="javascript:x"),
        notification(),
    ]
    for wrong in wrongs:
        server.give(PATH, wrong, OPERATOR).problem(422, "invalid-input")
    server.give(PATH, b"{", OPERATOR).problem(400, "malformed")


def test_an_agent_that_goes_is_told_to_who_watches(server: Server) -> None:
    reporter = bearer("r", Role.REPORTER)
    agent = new_id("agent")
    url = f"ws://127.0.0.1:{server.port}/ws/chat"
    with connect(url, additional_headers=bearer("watcher", Role.OPERATOR)) as chat:
        assert json.loads(chat.recv(30))["type"] == "connection_established"
        for status in ("idle", "offline"):
            beat = {"status": status, "cpu_usage": 1, "memory_usage": 1}
            assert server.give(f"/api/v1/agents/{agent}/ping", beat, reporter).status == 202
        while (heard := json.loads(chat.recv(30)))["type"] != "notification":
            pass
        assert heard["notification"]["title"] == f"{agent} is offline"
        assert heard["notification"]["type"] == "warning"


def test_an_alert_of_an_account_makes_one_and_a_notification_none(server: Server) -> None:
    def alert(name: str, account: str) -> dict[str, Any]:
        return {
            "status": "firing",
            "labels": {"alertname": name, "account_id": account, "notification_id": "n1"},
            "startsAt": "2026-01-07T10:30:00Z",
            "fingerprint": new_id("f"),
        }

    account, other = new_id("acc"), new_id("acc")
    alerts = [alert("Notification", other), alert("AccountErrorRate", account)]
    assert server.give(WEBHOOK, {"alerts": alerts}, bearer("am", Role.REPORTER)).status == 202
    wait_for(lambda: any(each["subject"] == account for each in listed(server, OPERATOR)))
    assert not any(each["subject"] == other for each in listed(server, OPERATOR))


def test_roles(server: Server) -> None:
    server.give(PATH, notification("u"), bearer("v")).problem(403, "forbidden")
    server.give(PATH, notification("u")).problem(401, "unauthenticated")
    server.send("GET", PATH).problem(401, "unauthenticated")
    server.send("GET", f"{PATH}?user_id=other", headers=bearer("v")).problem(403, "forbidden")
    server.send("GET", f"{PATH}/preferences/other", headers=bearer("v")).problem(403, "forbidden")
    put(server, "other", {}, bearer("v")).problem(403, "forbidden")
    put(server, "other", {}, OPERATOR).problem(403, "forbidden")


def test_what_is_down_is_said_and_tried_again(server: Server) -> None:
    made = send(server, "away", channels=["PUSH"])
    (outcome,) = made["outcomes"]
    assert (outcome["outcome"], outcome["channel"]) == ("failed", "PUSH")
    assert outcome["detail"].startswith("Alertmanager: cannot be reached")
    assert outcome["retry_at"]
    while (answer := server.give(PATH, notification("away", channels=["PUSH"]), OPERATOR)).status == 200:
        pass
    answer.problem(503, "overloaded")
    assert int(answer.headers["Retry-After"]) >= 1
    page = server.send("GET", "/metrics", headers=OPERATOR).body.decode()
    assert f"\nfleetpulse_notifications_waiting {LIMIT}.0\n" in page
    assert server.give(PATH, notification("away", dry_run=True), OPERATOR).status == 200
