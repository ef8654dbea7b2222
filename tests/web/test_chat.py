import asyncio
from contextlib import suppress
from typing import Any

import jwt
import pytest
from aiohttp import WSServerHandshakeError
from tests.web.chat_stand import AUTH, CHAT, MONITOR, ChatServe
from tests.web.live_stand import until

from fleetpulse import catalogue
from fleetpulse.auth import Role

PASSING = (
    "connection_established",
    "user_status_update",
    "new_message",
    "message_status_update",
    "typing",
    "stats_update",
    "error",
    "notification",
)


# Talking ----------------------------------------------------------------------------------------------------------
async def test_a_message_reaches_who_has_joined_and_its_fate_comes_back(chat_serve: ChatServe) -> None:
    stand = await chat_serve()
    anna = await stand.enter("anna")
    ben = await stand.enter("ben")
    assert (await anna.join("s1"))["members"] == ["anna"]
    assert (await ben.join("s1"))["members"] == ["anna", "ben"]
    await anna.say("send_message", session_id="s1", content="你好", client_message_id="c1", id=7)
    sent = await anna.hear("message_status_update", status="sent")
    assert (sent["id"], sent["client_message_id"]) == (7, "c1")
    heard = await ben.hear("new_message")
    assert heard["message"]["message_id"] == sent["message_id"]
    assert (heard["session_id"], heard["message"]["text"], heard["message"]["user_id"]) == ("s1", "你好", "anna")
    delivered = await anna.hear("message_status_update", status="delivered")
    assert (delivered["message_id"], delivered["user_id"]) == (sent["message_id"], "ben")
    await ben.say("message_status", message_id=sent["message_id"], status="read")
    assert (await anna.hear("message_status_update", status="read"))["user_id"] == "ben"


async def test_a_message_is_on_disk_before_it_is_told_of(chat_serve: ChatServe) -> None:
    stand = await chat_serve()
    anna = await stand.enter("anna")
    await anna.join("s1")
    await anna.say("send_message", session_id="s1", text="kept", kind="note", metadata={"a": 1})
    heard = await anna.hear("new_message")
    row = stand.chat.archive.find(heard["message"]["message_id"])
    assert (row.text, row.kind, row.stream, row.metadata) == ("kept", "note", "chat", '{"a":1}')
    assert stand.total(catalogue.CHAT_MESSAGES, "chat", "note") == 1
    assert stand.total(catalogue.SIGNALS, "message", "stored") == 1


async def test_a_client_id_that_is_sent_again_is_acknowledged_and_not_repeated(chat_serve: ChatServe) -> None:
    stand = await chat_serve()
    anna = await stand.enter("anna")
    await anna.join("s1")
    for _ in range(3):
        await anna.say("send_message", session_id="s1", text="once", client_message_id="c1")
    acks = [await anna.hear("message_status_update", status="sent") for _ in range(3)]
    assert len({ack["message_id"] for ack in acks}) == 1
    assert [ack.get("duplicate", False) for ack in acks] == [False, True, True]
    await stand.restart()
    anna = await stand.enter("anna")
    joined = await anna.join("s1")
    assert (await anna.hear("new_message"))["message"]["text"] == "once"
    await anna.say("send_message", session_id="s1", text="once", client_message_id="c1")
    assert (await anna.hear("message_status_update", status="sent"))["duplicate"]
    await anna.nothing_but("user_status_update")
    assert joined["recovered"] is True
    assert stand.total(catalogue.CHAT_MESSAGES, "chat", "text") == 1


async def test_who_joins_gets_the_last_messages_or_what_was_missed(chat_serve: ChatServe) -> None:
    stand = await chat_serve(history_messages=3)
    anna = await stand.enter("anna")
    await anna.join("s1")
    for number in range(6):
        await anna.say("send_message", session_id="s1", text=str(number))
        place = (await anna.hear("new_message"))["offset"]
    ben = await stand.enter("ben")
    joined = await ben.join("s1")
    assert [(await ben.hear("new_message"))["message"]["text"] for _ in range(3)] == ["3", "4", "5"]
    await ben.nothing_but("user_status_update", "message_status_update")
    carol = await stand.enter("carol")
    await carol.join("s1", history=1)
    assert (await carol.hear("new_message"))["message"]["text"] == "5"
    await carol.nothing_but("user_status_update")
    await stand.restart()
    dora = await stand.enter("dora", f"/ws/chat/session/s1?epoch={joined['epoch']}&offset={place - 5}")
    again = await dora.hear("session_joined")
    assert (again["resumed"], again["recovered"], again["epoch"]) == (True, True, joined["epoch"])
    assert [(await dora.hear("new_message"))["message"]["text"] for _ in range(5)] == ["1", "2", "3", "4", "5"]


async def test_sessions_are_apart_and_left_again(chat_serve: ChatServe) -> None:
    stand = await chat_serve()
    anna, ben = await stand.enter("anna"), await stand.enter("ben")
    await anna.join("s1")
    await anna.join("s2")
    await ben.join("s1")
    await ben.say("typing", session_id="s1")
    assert (await anna.hear("typing"))["is_typing"] is True
    await ben.say("leave_session", session_id="s1", id="bye")
    assert (await ben.hear("session_left"))["id"] == "bye"
    assert (await anna.hear("typing"))["is_typing"] is False
    assert (await anna.hear("user_status_update", status="offline"))["session_id"] == "s1"
    await anna.say("send_message", session_id="s1", text="gone?")
    await anna.hear("message_status_update", status="sent")
    await ben.nothing_but()
    await anna.say("send_message", text="where?")  # two are joined: it must say which
    assert (await anna.hear("error"))["code"] == "invalid-input"
    await ben.say("typing", session_id="s1")
    assert (await ben.hear("error"))["code"] == "not-found"


async def test_typing_ends_by_itself_and_newcomers_see_who_types(chat_serve: ChatServe) -> None:
    stand = await chat_serve(typing_seconds=3.0)
    anna, ben = await stand.enter("anna"), await stand.enter("ben")
    await anna.join("s1")
    await anna.say("typing_start", session_id="s1")
    await anna.hear("typing", is_typing=True)
    await ben.join("s1")
    assert (await ben.hear("typing", is_typing=True))["user_id"] == "anna"
    assert (await ben.hear("typing", is_typing=False))["user_id"] == "anna"


async def test_bots_say_what_the_ai_does(chat_serve: ChatServe) -> None:
    stand = await chat_serve(auth=AUTH)
    bot = await stand.open(headers=stand.bearer("bot", Role.REPORTER, sessions=["s1"]))
    ben = await stand.open(headers=stand.bearer("ben", sessions="*"))
    await bot.join("s1")
    await ben.join("s1")
    await bot.say("ai_processing_status", session_id="s1", status="thinking", progress=40)
    heard = await ben.hear("ai_processing_status")
    assert (heard["status"], heard["progress"], heard["user_id"]) == ("thinking", 40, "bot")
    await ben.say("ai_processing_status", session_id="s1", status="done")
    assert (await ben.hear("error"))["code"] == "forbidden"


async def test_everyone_is_written_to_by_operators_only(chat_serve: ChatServe) -> None:
    stand = await chat_serve(auth=AUTH)
    boss = await stand.open(headers=stand.bearer("boss", Role.OPERATOR))
    ben = await stand.open(headers=stand.bearer("ben"))
    await ben.hear("connection_established")
    await boss.say("send_message", target="broadcast", text="all hands")
    heard = await ben.hear("new_message")
    assert (heard["message"]["text"], heard["message"]["recipient"]) == ("all hands", "*")
    await ben.say("send_message", target="broadcast", text="me too")
    assert (await ben.hear("error"))["code"] == "forbidden"


# Who is let in ----------------------------------------------------------------------------------------------------
async def test_the_session_endpoint_joins_at_once_and_has_one(chat_serve: ChatServe) -> None:
    stand = await chat_serve()
    anna = await stand.open("/ws/chat/session/s1", "anna")
    established = await anna.hear("connection_established")
    assert (established["session_id"], established["user_id"]) == ("s1", "anna")
    assert (established["ping_interval"], established["ping_timeout"]) == (30.0, 60.0)
    await anna.hear("session_joined")
    await anna.say("join_session", session_id="s2")
    assert (await anna.hear("error"))["code"] == "invalid-input"
    await anna.say("send_message", text="here")
    assert (await anna.hear("new_message"))["session_id"] == "s1"


@pytest.mark.parametrize("path", [CHAT, "/ws/chat/session/s1", MONITOR])
async def test_bad_tokens_and_foreign_pages_are_refused_before_the_upgrade(
    chat_serve: ChatServe, path: str
) -> None:
    stand = await chat_serve(auth=AUTH)
    good = {"sessions": "*"}
    claims = {"sub": "a", "roles": ["admin"], "aud": "fleetpulse", "exp": 9_999_999_999}
    unsigned = jwt.encode(claims, "", algorithm="none")
    refused: list[tuple[int, dict[str, str]]] = [
        (401, {"Authorization": f"Bearer {unsigned}"}),
        (401, dict(stand.bearer("a", Role.ADMIN, minutes=-5, **good))),
        (401, dict(stand.bearer("a", Role.ADMIN, jwt_audience="others", **good))),
        (403, dict(stand.bearer("a", Role.ADMIN, **good)) | {"Origin": "https://evil.example"}),
    ]
    for status, headers in refused:
        with pytest.raises(WSServerHandshakeError) as caught:
            await stand.open(path, headers=headers)
        assert caught.value.status == status, headers
    assert stand.chat.presence.totals()["total_connections"] == 0


async def test_a_session_that_is_not_for_the_token_is_refused(chat_serve: ChatServe) -> None:
    stand = await chat_serve(auth=AUTH)
    mine = stand.bearer("anna", sessions=["s1"])
    with pytest.raises(WSServerHandshakeError) as caught:
        await stand.open("/ws/chat/session/s2", headers=mine)
    assert caught.value.status == 403
    anna = await stand.open(headers=mine)
    await anna.join("s1")
    await anna.say("join_session", session_id="s2", id=5)
    error = await anna.hear("error")
    assert (error["code"], error["id"]) == ("forbidden", 5)
    await anna.say("send_message", session_id="s2", text="let me in", id=6)
    assert (await anna.hear("error", id=6))["code"] == "forbidden"
    admin = await stand.open("/ws/chat/session/s2", headers=stand.bearer("root", Role.ADMIN))
    await admin.hear("session_joined")


async def test_the_monitor_is_for_administrators(chat_serve: ChatServe) -> None:
    stand = await chat_serve(auth=AUTH, stats_seconds=0.2)
    with pytest.raises(WSServerHandshakeError) as caught:
        await stand.open(MONITOR, headers=stand.bearer("boss", Role.OPERATOR))
    assert caught.value.status == 403
    admin = await stand.open(MONITOR, headers=stand.bearer("root", Role.ADMIN))
    first = await admin.hear("stats_update")
    assert first["stats"]["active_connections"] == 1
    ben = await stand.open(headers=stand.bearer("ben", sessions="*"))
    assert (await admin.hear("user_status_update"))["user_id"] == "ben"
    while (await admin.hear("stats_update"))["stats"]["active_users"] != 2:
        pass
    await ben.socket.close()
    await admin.hear("user_status_update", status="offline")


async def test_a_token_may_come_as_query_subprotocol_or_first_message(chat_serve: ChatServe) -> None:
    stand = await chat_serve(auth=AUTH)
    token = stand.token("anna")
    ways: list[tuple[str, dict[str, Any]]] = [
        (f"{CHAT}?token={token}", {}),
        (CHAT, {"protocols": ("bearer", token)}),
        (CHAT, {"headers": {"Authorization": f"Bearer {token}"}}),
    ]
    for path, options in ways:
        person = await stand.open(path, **options)
        assert (await person.hear("connection_established"))["user_id"] == "anna"
    late = await stand.open(CHAT)
    await late.say("auth", token=token)
    assert (await late.hear("connection_established"))["user_id"] == "anna"
    with pytest.raises(WSServerHandshakeError) as caught:
        await stand.open(f"{CHAT}?token={token}&user_id=ben")
    assert caught.value.status == 403


async def test_who_brings_no_credential_in_time_is_closed(chat_serve: ChatServe) -> None:
    stand = await chat_serve(auth=AUTH, auth_seconds=0.1)
    assert await (await stand.open(CHAT)).closed() == 4401
    stranger = await stand.open(CHAT)
    await stranger.say("auth", token="nonsense")  # noqa: S106 - none of ours
    assert await stranger.closed() == 4401


async def test_an_expired_token_closes_unless_it_is_renewed(chat_serve: ChatServe) -> None:
    stand = await chat_serve(auth=AUTH, live={"ping_seconds": 0.4})
    ends_soon = -3 / 60  # the leeway for clocks is 5 seconds
    left = await stand.open(headers=stand.bearer("anna", minutes=ends_soon))
    kept = await stand.open(headers=stand.bearer("ben", sessions=["s1", "s2"], minutes=ends_soon))
    await kept.join("s1")
    await kept.join("s2")
    await kept.say("auth", token=stand.token("ben", sessions=["s1"]), id="r")
    assert (await kept.hear("authenticated"))["id"] == "r"
    assert (await kept.hear("session_left"))["session_id"] == "s2"
    assert await left.closed() == 4401
    await kept.say("auth", token=stand.token("carol"))
    assert (await kept.hear("error"))["code"] == "forbidden"
    await kept.say("send_message", session_id="s1", text="still here")
    await kept.hear("message_status_update", status="sent")


# Presence ---------------------------------------------------------------------------------------------------------
async def test_fifty_connections_of_one_user_at_once_are_never_six(chat_serve: ChatServe) -> None:
    stand = await chat_serve()
    most = 0

    def connected(*_: object) -> None:
        nonlocal most
        most = max(most, len(stand.chat.presence.of_user("anna")))

    stand.chat.presence.listen(_Listener(connected))
    opened = await asyncio.gather(*(stand.open(CHAT, "anna") for _ in range(50)), return_exceptions=True)
    people = [each for each in opened if not isinstance(each, BaseException)]
    refused = [each for each in opened if isinstance(each, WSServerHandshakeError)]
    assert (len(people), len(refused)) == (5, 45)
    assert {error.status for error in refused} == {429}
    for person in people:
        await person.hear("connection_established")
    assert (most, len(stand.chat.presence.of_user("anna"))) == (5, 5)
    await people[0].socket.close()
    await until(lambda: len(stand.chat.presence.of_user("anna")) == 4)
    await stand.enter("anna")


async def test_the_oldest_connection_makes_room_where_that_is_configured(chat_serve: ChatServe) -> None:
    stand = await chat_serve(at_limit="close_oldest")
    most = 0

    def connected(*_: object) -> None:
        nonlocal most
        alive = [each for each in stand.chat.presence.of_user("anna") if each.is_alive]
        most = max(most, len(alive))

    stand.chat.presence.listen(_Listener(connected))
    people = await asyncio.gather(*(stand.open(CHAT, "anna") for _ in range(50)))
    await until(lambda: len(stand.chat.presence.of_user("anna")) == 5)
    await until(lambda: sum(person.socket.closed for person in people) == 45)
    assert {person.socket.close_code for person in people if person.socket.closed} == {4409}
    assert most <= 5


class _Listener:
    def __init__(self, connected: Any) -> None:
        self.connected = connected

    def disconnected(self, connection: Any) -> None:
        """Not looked at."""

    def user_changed(self, user_id: str, sessions: Any, *, online: bool) -> None:
        """Not looked at."""


async def test_who_comes_and_goes_is_told_to_the_session_and_the_event_log(chat_serve: ChatServe) -> None:
    stand = await chat_serve()
    anna = await stand.enter("anna")
    await anna.join("s1")
    async with stand.there("ben") as ben, stand.there("ben") as other:
        await ben.join("s1")
        assert (await anna.hear("user_status_update", user_id="ben"))["status"] == "online"
        await other.join("s1")
    assert (await anna.hear("user_status_update", user_id="ben"))["status"] == "offline"
    kinds = [kind for kind, actor, _ in stand.happened if actor == "ben"]
    assert kinds == ["user_connected"] * 2 + ["session_joined"] * 2 + ["session_left", "user_disconnected"] * 2


async def test_the_statistics_count_every_message_whatever_way_it_went(chat_serve: ChatServe) -> None:
    stand = await chat_serve(auth=AUTH)
    await stand.chat.router.to_user("ben", {"type": "notification", "notification": {"id": "waits"}})
    boss = await stand.open(MONITOR, headers=stand.bearer("boss", Role.ADMIN))
    people = [await stand.open(headers=stand.bearer(user, Role.OPERATOR, sessions="*")) for user in ("anna", "ben")]
    anna, ben = people
    for person in people:
        await person.join("s1")
    for number in range(5):
        await anna.say("send_message", session_id="s1", text=str(number))
    await anna.say("send_message", target="broadcast", text="all")
    await anna.say("send_message", user_id="ben", text="psst")
    await ben.say("typing", session_id="s1")
    await ben.say("nonsense")
    await ben.say("auth", token=stand.token("ben", Role.OPERATOR, sessions="*"))
    await ben.hear("authenticated")
    await anna.hear("message_status_update", status="delivered", recipient="ben")
    again = await stand.open(headers=stand.bearer("cleo", sessions="*"))
    await again.join("s1", resume={"epoch": stand.journal.epoch, "offset": 2})
    everyone = [boss, *people, again]
    await stand.chat.receipts.drain()
    for person in everyone:
        await person.nothing_but(*PASSING)
    counts = stand.chat.presence.counts
    await until(lambda: counts.sent == sum(person.heard for person in everyone))
    assert counts.received == sum(person.said for person in everyone)
    assert (counts.errors, counts.connections, counts.disconnections) == (1, 4, 0)
    assert again.heard >= 6  # established, joined, three that it missed, a pong


async def test_silence_for_a_minute_closes_and_any_sign_of_life_counts(chat_serve: ChatServe) -> None:
    stand = await chat_serve(live={"ping_seconds": 0.1, "dead_seconds": 1.0})
    lively = await stand.enter("anna")  # its library answers pings
    await lively.hear("ping")
    dead = await stand.session.ws_connect(stand.server.make_url(CHAT), autoping=False)
    async with asyncio.timeout(20):
        while not dead.closed:
            await dead.receive()
    assert dead.close_code == 4408
    await lively.say("ping", id=1)
    await lively.hear("pong", id=1)


# Too much ---------------------------------------------------------------------------------------------------------
async def test_a_flood_is_told_first_and_closed_if_it_goes_on(chat_serve: ChatServe) -> None:
    stand = await chat_serve(messages_per_second=5, flood_strikes=20)
    anna = await stand.enter("anna")
    await anna.join("s1")
    for number in range(30):
        await anna.say("send_message", session_id="s1", text=str(number))
    error = await anna.hear("error")
    assert error["code"] == "rate_limited"
    for number in range(60):
        with suppress(ConnectionError):  # it may be closed by now
            await anna.say("send_message", session_id="s1", text=str(number))
    assert await anna.closed() == 4429
    assert stand.value(catalogue.CHAT_LIMITED) >= 20


async def test_a_message_that_is_too_large_is_refused(chat_serve: ChatServe) -> None:
    stand = await chat_serve(live={"max_message_bytes": 20_000})
    anna = await stand.enter("anna")
    await anna.join("s1")
    await anna.say("send_message", session_id="s1", text="x" * 8_193)
    error = await anna.hear("error")
    assert (error["code"], error["errors"][0]["loc"]) == ("invalid-input", ["text"])
    await anna.say("send_message", session_id="s1", text="x" * 30_000)
    assert await anna.closed() == 1009


async def test_sessions_of_a_connection_are_bounded(chat_serve: ChatServe) -> None:
    stand = await chat_serve(max_sessions=2)
    anna = await stand.enter("anna")
    await anna.join("s1")
    await anna.join("s2")
    await anna.say("join_session", session_id="s3")
    assert (await anna.hear("error"))["code"] == "limited"
    await anna.say("leave_session", session_id="s1")
    await anna.join("s3")


# History over HTTP ------------------------------------------------------------------------------------------------
async def test_stored_messages_come_in_pages_and_may_be_searched(chat_serve: ChatServe) -> None:
    stand = await chat_serve(auth=AUTH)
    headers = stand.bearer("anna", sessions=["s1"])
    anna = await stand.open(headers=headers)
    await anna.join("s1")
    for number in range(5):
        await anna.say("send_message", session_id="s1", text=f"第{number}条 100% of_it" if number % 2 else "Other")
        await anna.hear("new_message")
    url = stand.server.make_url("/api/v1/chat/sessions/s1/messages")

    async def page(**query: str) -> dict[str, Any]:
        async with stand.session.get(url, params=query, headers=headers) as answer:
            assert answer.status == 200
            shown: dict[str, Any] = await answer.json()
            return shown

    first = await page(limit="2")
    second = await page(limit="2", cursor=first["next_cursor"])
    last = await page(limit="2", cursor=second["next_cursor"])
    texts = [each["text"] for each in (*first["messages"], *second["messages"], *last["messages"])]
    assert texts == ["Other", "第3条 100% of_it", "Other", "第1条 100% of_it", "Other"]
    assert last["next_cursor"] is None
    assert len((await page(q="100%"))["messages"]) == 2
    assert (await page(q="100_"))["messages"] == []
    assert len((await page(q="other"))["messages"]) == 3
    other = stand.server.make_url("/api/v1/chat/sessions/s2/messages")
    async with stand.session.get(other, headers=headers) as answer:
        assert answer.status == 403
