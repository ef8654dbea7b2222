"""What administrators do: answered per recipient, tried without effect, and on disk in the audit log."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.harness import started
from tests.web.admin_stand import PREFIX, AdminStand, connection_id, gone, outcomes
from tests.web.chat_stand import AUTH
from tests.web.server import Server

from fleetpulse.auth import Role
from fleetpulse.errors import StorageFullError
from fleetpulse.live import Cause

Serve = Callable[..., Awaitable[AdminStand]]
KICKED = Cause.KICKED.code
NOTICE = {"title": "Disk", "message": "Almost full", "level": "WARNING", "channels": ["WEBSOCKET"]}


async def nothing_is_audited(stand: AdminStand) -> None:
    assert stand.events("audit", "intent") == []
    assert (await stand.get("/audit", phase="all"))["entries"] == []


# Broadcast ----------------------------------------------------------------------------------------------------
async def test_a_broadcast_reaches_everyone_and_says_whom(admin_serve: Serve) -> None:
    stand = await admin_serve(auth=AUTH)
    ann, bob = await stand.enter("ann"), await stand.enter("bob")
    answer = await stand.post("/broadcast", {"message": "维护 at ten"}, Role.OPERATOR, actor="olga")
    for person in (ann, bob):
        heard = await person.hear("broadcast")
        assert (heard["message"], heard["sender"]) == ("维护 at ten", "olga")
        assert heard["timestamp"]
    assert outcomes(answer) == {("ann", connection_id(ann)): "delivered", ("bob", connection_id(bob)): "delivered"}
    assert (answer["summary"], answer["dry_run"], answer["omitted"]) == ({"delivered": 2}, False, 0)
    entry = (await stand.get("/audit"))["entries"][0]
    expected = {"actor": "olga", "action": "broadcast", "target": "*", "phase": "done", "recipients": 2}
    assert entry == entry | expected | {"call_id": answer["call_id"], "outcomes": {"delivered": 2}}
    assert entry["body"] == {"message": "维护 at ten"}
    assert entry["address"] == "127.0.0.1"


async def test_a_message_goes_to_a_session_or_a_user_as_it_is(admin_serve: Serve) -> None:
    stand = await admin_serve()
    ann, bob = await stand.enter("ann", "s1"), await stand.enter("bob")
    body = {"message": {"type": "notice", "text": "hi"}, "target_type": "session", "target_id": "s1"}
    assert set(outcomes(await stand.post("/broadcast", body))) == {("ann", connection_id(ann))}
    heard = await ann.hear("notice")
    assert heard["text"] == "hi"
    body = {"message": {"type": "notice", "text": "you"}, "target_type": "user", "target_id": "bob"}
    await stand.post("/broadcast", body)
    assert (await bob.hear("notice"))["text"] == "you"
    await ann.nothing_but("user_status_update")


async def test_who_is_away_is_offline_or_gets_it_later(admin_serve: Serve) -> None:
    stand = await admin_serve()
    body: dict[str, Any] = {"message": {"type": "notice", "n": 1}, "target_type": "user", "target_id": "ann"}
    assert outcomes(await stand.post("/broadcast", body)) == {("ann", None): "offline"}
    assert outcomes(await stand.post("/broadcast", body | {"store": True})) == {("ann", None): "stored"}
    ann = await stand.enter("ann")
    assert (await ann.hear("notice"))["n"] == 1
    await ann.nothing_but()


async def test_a_connection_that_reads_too_slowly_is_over_the_limit(admin_serve: Serve) -> None:
    stand = await admin_serve(live={"conflate_bytes": 1_000})
    ann = await stand.enter("ann")
    (connection,) = stand.parts.core.chat.presence.of_user("ann")
    assert connection.client is not None
    connection.client.transport.pause_reading()  # type: ignore[attr-defined]  # asyncio's
    ann.socket._response.connection.transport.pause_reading()  # type: ignore[union-attr]  # noqa: SLF001 - it stops reading
    seen = set()
    for _ in range(2_000):
        answer = await stand.post("/broadcast", {"message": "x" * 8_000})
        seen |= set(answer["summary"])
        if "over_limit" in seen:
            break
    assert seen == {"delivered", "queued", "over_limit"}


async def test_a_dry_run_says_what_would_be_and_does_nothing(admin_serve: Serve) -> None:
    stand = await admin_serve()
    ann = await stand.enter("ann", "s1")
    mine = ("ann", connection_id(ann))
    dry = {"dry_run": True}
    user = {"target_type": "user", "store": True}
    assert outcomes(await stand.post("/broadcast", {"message": "x", **dry})) == {mine: "delivered"}
    stored = await stand.post("/broadcast", {"message": "x", "target_id": "bob", **user, **dry})
    assert outcomes(stored) == {("bob", None): "stored"}
    assert outcomes(await stand.post("/ping/ann", dry)) == {mine: "answered"}
    assert outcomes(await stand.post("/users/disconnect", {"user_id": "ann", **dry})) == {mine: "disconnected"}
    assert outcomes(await stand.post(f"/connections/{mine[1]}/disconnect", dry)) == {mine: "disconnected"}
    assert outcomes(await stand.post("/sessions/s1/close", dry)) == {mine: "left"}
    notice = await stand.post("/notify", NOTICE | {"recipients": {"users": ["ann"]}, **dry})
    assert (notice["dry_run"], notice["call_id"]) == (True, None)
    await ann.nothing_but("user_status_update")
    assert (await stand.get("/users/bob/connections"))["waiting"] == 0
    await nothing_is_audited(stand)


# Closing ------------------------------------------------------------------------------------------------------
async def test_users_are_disconnected_and_may_come_back(admin_serve: Serve) -> None:
    stand = await admin_serve()
    ann, other, bob = await stand.enter("ann"), await stand.enter("ann"), await stand.enter("bob")
    answer = await stand.post("/users/disconnect", {"user_ids": ["ann", "nobody"], "reason": "left"})
    assert outcomes(answer) == {
        ("ann", connection_id(ann)): "disconnected",
        ("ann", connection_id(other)): "disconnected",
        ("nobody", None): "offline",
    }
    assert [await each.closed() for each in (ann, other)] == [KICKED, KICKED]
    await gone(stand, "ann")
    await bob.nothing_but()
    await stand.enter("ann")
    entry = (await stand.get("/audit", action="disconnect_users"))["entries"][0]
    assert (entry["target"], entry["body"]["reason"]) == ("2 users", "left")
    assert entry["outcomes"] == {"disconnected": 2, "offline": 1}


async def test_one_connection_is_kicked(admin_serve: Serve) -> None:
    stand = await admin_serve()
    ann, other = await stand.enter("ann"), await stand.enter("ann")
    answer = await stand.post(f"/connections/{connection_id(ann)}/disconnect")
    assert outcomes(answer) == {("ann", connection_id(ann)): "disconnected"}
    assert await ann.closed() == KICKED
    await other.nothing_but()
    await stand.post("/connections/unknown/disconnect", status=404)


async def test_a_closed_session_is_left_by_all(admin_serve: Serve) -> None:
    stand = await admin_serve()
    ann = await stand.enter("ann", "s1", "s2")
    bob = await stand.enter("bob", path="/ws/chat/session/s1")
    answer = await stand.post("/sessions/s1/close", {"reason": "over"})
    assert outcomes(answer) == {("ann", connection_id(ann)): "left", ("bob", connection_id(bob)): "disconnected"}
    left = await ann.hear("session_left", session_id="s1")
    assert (left["closed"], left["reason"]) == (True, "over")
    assert await bob.closed() == KICKED
    await gone(stand, "bob")
    shown = await stand.get("/sessions")
    assert [each["session_id"] for each in shown["sessions"]] == ["s2"]
    await stand.post("/sessions/s1/close", status=404)
    await ann.join("s1")


# Ping and notify ----------------------------------------------------------------------------------------------
async def test_a_ping_is_measured_for_each_connection(admin_serve: Serve) -> None:
    stand = await admin_serve()
    ann, other = await stand.enter("ann"), await stand.enter("ann")
    answer = await stand.post("/ping/ann", None, Role.OPERATOR)
    assert outcomes(answer) == {
        ("ann", connection_id(ann)): "answered",
        ("ann", connection_id(other)): "answered",
    }
    assert all(0 < each["round_trip_ms"] < 5_000 for each in answer["recipients"])
    await ann.nothing_but()
    assert outcomes(await stand.post("/ping/nobody")) == {("nobody", None): "offline"}


async def test_a_notification_is_delivered_or_kept(admin_serve: Serve) -> None:
    stand = await admin_serve(auth=AUTH)
    ann = await stand.enter("ann")
    body = NOTICE | {"recipients": {"users": ["ann", "bob"]}}
    answer = await stand.post("/notify", body, Role.OPERATOR, actor="olga")
    heard = await ann.hear("notification")
    assert heard["notification"]["title"] == "Disk"
    assert heard["notification"]["type"] == "warning"
    assert heard["notification"]["id"] == answer["notification_id"]
    became = {each["recipient"]: (each["channel"], each["outcome"]) for each in answer["recipients"]}
    assert became == {"ann": ("WEBSOCKET", "delivered"), "bob": ("WEBSOCKET", "stored")}
    entry = (await stand.get("/audit", action="notify"))["entries"][0]
    assert (entry["actor"], entry["target"]) == ("olga", "ann, bob")
    assert entry["outcomes"] == {"delivered": 1, "stored": 1}
    bob = await stand.enter("bob")
    assert (await bob.hear("notification"))["notification"]["id"] == answer["notification_id"]


# The audit log ------------------------------------------------------------------------------------------------
async def test_the_audit_log_is_filtered_and_paged(admin_serve: Serve) -> None:
    stand = await admin_serve(auth=AUTH)
    for number in range(5):
        await stand.post("/broadcast", {"message": str(number)}, actor=f"admin{number % 2}")
    await stand.post("/ping/ann", actor="admin0")
    first = await stand.get("/audit", limit=4)
    rest = await stand.get("/audit", limit=4, cursor=first["next_cursor"])
    bodies = [each["body"].get("message") for page in (first, rest) for each in page["entries"]]
    assert bodies == [None, "4", "3", "2", "1", "0"]
    assert rest["next_cursor"] is None
    assert [each["target"] for each in (await stand.get("/audit", target="ann"))["entries"]] == ["ann"]
    assert len((await stand.get("/audit", actor="admin0", action="broadcast"))["entries"]) == 3
    assert (await stand.get("/audit", end="2020-01-01T00:00:00Z"))["entries"] == []
    assert len((await stand.get("/audit", start="2020-01-01"))["entries"]) == 6
    both = (await stand.get("/audit", phase="all", action="ping"))["entries"]
    assert [each["phase"] for each in both] == ["done", "asked"]
    assert len({each["call_id"] for each in both}) == 1
    await stand.get("/audit", start="yesterday", status=422)


async def test_the_audit_log_holds_no_secrets_and_no_long_texts(admin_serve: Serve) -> None:
    stand = await admin_serve()
    message = {"type": "config", "api_key": "hush", "nested": {"Authorization": "hush"}, "text": "x" * 5_000}
    await stand.post("/broadcast", {"message": message})
    body = (await stand.get("/audit"))["entries"][0]["body"]["message"]
    assert (body["api_key"], body["nested"]["Authorization"]) == ("(hidden)", "(hidden)")
    assert len(body["text"]) < 300
    assert all("hush" not in row.detail for row in stand.events())


async def test_what_cannot_be_audited_is_not_done(admin_serve: Serve) -> None:
    stand = await admin_serve()
    ann = await stand.enter("ann")
    store = stand.parts.core.journal.store

    async def full(*_: object) -> None:
        raise StorageFullError("no space is left")

    stand.parts.core.journal.store = full  # type: ignore[method-assign,assignment]  # a full disk, for a moment
    answer = await stand.post("/users/disconnect", {"user_id": "ann"}, status=503)
    assert answer["type"].endswith("storage-full")
    stand.parts.core.journal.store = store  # type: ignore[method-assign]  # there is room again
    await ann.nothing_but()
    await nothing_is_audited(stand)


async def test_what_fails_is_audited_as_failed(admin_serve: Serve) -> None:
    stand = await admin_serve(chat={"mailbox_total": 1})
    body = {"message": "x", "target_type": "user", "target_id": "ann", "store": True}
    await stand.post("/broadcast", body)
    await stand.post("/broadcast", body | {"target_id": "bob"}, status=503)
    entry = (await stand.get("/audit", target="bob"))["entries"][0]
    assert "mailbox_total" in entry["error"]


# Who may ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("path", "body", "least"),
    [
        ("/broadcast", {"message": "x"}, Role.OPERATOR),
        ("/notify", NOTICE | {"recipients": {"users": ["x"]}}, Role.OPERATOR),
        ("/ping/ann", {}, Role.OPERATOR),
        ("/users/disconnect", {"user_id": "ann"}, Role.ADMIN),
        ("/connections/{ann}/disconnect", {}, Role.ADMIN),
        ("/sessions/s1/close", {}, Role.ADMIN),
    ],
)
async def test_who_may_do_what(admin_serve: Serve, path: str, body: dict[str, Any], least: Role) -> None:
    stand = await admin_serve(auth=AUTH)
    ann = await stand.enter("ann", "s1")
    path = path.replace("{ann}", connection_id(ann))
    order = [Role.VIEWER, Role.OPERATOR, Role.ADMIN]
    for role in (Role.REPORTER, *order):
        allowed = role in order and order.index(role) >= order.index(least)
        await stand.post(path, body | {"dry_run": True}, role, status=200 if allowed else 403)
    await nothing_is_audited(stand)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/broadcast", {}),
        ("/broadcast", {"message": ""}),
        ("/broadcast", {"message": "x", "target_type": "user"}),
        ("/broadcast", {"message": "x", "target_id": "ann"}),
        ("/broadcast", {"message": "x", "unknown": 1}),
        ("/users/disconnect", {}),
        ("/users/disconnect", {"user_id": "a", "user_ids": ["b"]}),
        ("/users/disconnect", {"user_ids": []}),
        ("/notify", {"title": "x"}),
        ("/ping/ann", {"dry_run": "maybe"}),
        ("/ping/%00", {}),
    ],
)
async def test_what_breaks_the_contract_is_refused(admin_serve: Serve, path: str, body: dict[str, Any]) -> None:
    stand = await admin_serve()
    assert (await stand.post(path, body, status=422))["errors"]
    await nothing_is_audited(stand)


# After the end of the process ---------------------------------------------------------------------------------
@pytest.fixture
def killed(tmp_path: Path) -> Iterator[Server]:
    yield from started(Server(tmp_path / "killed"))


def test_what_was_answered_is_in_the_audit_log_after_a_kill(killed: Server) -> None:
    """SIGKILL right after each answer: neither the calls nor their outcomes are missing."""
    call_ids = []
    for number in range(3):
        for _ in range(20):
            answer = killed.give(f"{PREFIX}/broadcast", {"message": f"{number}"})
            assert answer.status == 200, answer
            call_ids.append(answer.json["call_id"])
        killed.process.kill()
        killed.process.wait()
        killed.close()
        killed.start()
    details = [json.loads(text) for (text,) in killed.journal("SELECT detail FROM events WHERE category = 'audit'")]
    assert [each["call_id"] for each in details] == call_ids
    assert all(each["outcomes"] == {} for each in details)
    shown = killed.ask(f"{PREFIX}/audit?limit=1000").json["entries"]
    assert [each["call_id"] for each in shown][::-1] == call_ids


async def test_calls_at_the_same_instant_are_all_audited(admin_serve: Serve) -> None:
    stand = await admin_serve()
    answers = await asyncio.gather(*(stand.post("/broadcast", {"message": str(n)}) for n in range(50)))
    entries = (await stand.get("/audit", limit=100))["entries"]
    assert {each["call_id"] for each in entries} == {each["call_id"] for each in answers}
