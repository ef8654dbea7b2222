"""Each preset on messages as its servers send them."""

from typing import Any

import orjson
import pytest
from pydantic import SecretStr
from tests.tap.frame import NOW, reading_of, stream

from fleetpulse.config.tap import Message
from fleetpulse.tap.frames import Reading
from fleetpulse.tap.presets import greetings, make_answer

MS = int(NOW * 1_000)


def text_of(document: Any) -> str:
    return orjson.dumps(document).decode()


CHAT: list[tuple[Any, Reading]] = [
    (
        {
            "type": "message",
            "content": "你好，世界",
            "user_id": "u_1",
            "username": "anna",
            "session_id": "s1",
            "timestamp": "2025-10-09T08:53:20Z",
        },
        Reading("message", "u_1", "你好，世界", "s1", NOW),
    ),
    ({"type": "system", "message": "服务器将于今晚重启"}, Reading("system", "", "服务器将于今晚重启")),
    (
        {
            "type": "new_message",
            "session_id": "s1",
            "message": {"message_id": "m", "user_id": "ben", "kind": "text", "text": "hi", "timestamp": NOW},
            "offset": 7,
        },
        Reading("new_message", "ben", "hi", "s1", NOW),
    ),
    (
        {
            "type": "notification",
            "notification": {"title": "成本警告", "message": "今日已用 95 %", "timestamp": NOW},
        },
        Reading("notification", "", "今日已用 95 %"),
    ),
    ({"type": "typing", "session_id": "s1", "user_id": "ben"}, Reading("typing", "ben", "", "s1")),
    ({"event": "chat", "data": {"from": "eve", "body": "yo"}}, Reading("chat", "eve", "yo")),
    (
        {
            "op": 0,
            "s": 42,
            "t": "MESSAGE_CREATE",
            "d": {
                "content": "hello",
                "author": {"id": "80351110224678912", "username": "nelly"},
                "channel_id": "290926798999357250",
                "timestamp": "2025-10-09T08:53:20.000000+00:00",
            },
        },
        Reading("MESSAGE_CREATE", "80351110224678912", "hello", "290926798999357250", NOW),
    ),
    ({"op": 11, "s": None, "t": None, "d": None}, Reading("11", "", "")),
    (
        {"topic": "room:lobby", "event": "new_msg", "payload": {"user": "eve", "body": "hey"}, "ref": None},
        Reading("new_msg", "eve", "hey", "room:lobby"),
    ),
    (
        [None, "7", "room:lobby", "new_msg", {"user": "eve", "body": "hey"}],
        Reading("new_msg", "eve", "hey", "room:lobby"),
    ),
    (["room:lobby", "new_msg", {"user": "eve", "body": "hey"}], Reading("new_msg", "eve", "hey", "room:lobby")),
    (["chat", {"sender": {"name": "eve"}, "text": "hey"}], Reading("chat", "eve", "hey")),
    (
        {"type": "message", "channel": "C2147483705", "user": "U2147483697", "text": "hi", "ts": f"{NOW:.6f}"},
        Reading("message", "U2147483697", "hi", "C2147483705", NOW),
    ),
    (
        {
            "token": "z26u",
            "type": "event_callback",
            "event": {"type": "message", "channel": "C21", "user": "U21", "text": "hi", "ts": f"{NOW:.6f}"},
        },
        Reading("event_callback", "U21", "hi", "C21", NOW),
    ),
    (
        {
            "update_id": 1,
            "message": {
                "message_id": 7,
                "from": {"id": 1111, "is_bot": False, "username": "anna"},
                "chat": {"id": -100, "type": "group"},
                "date": int(NOW),
                "text": "/start",
            },
        },
        Reading("message", "1111", "/start", "-100", NOW),
    ),
    (
        {
            "msgtype": "text",
            "text": {"content": "重启机器人"},
            "senderId": "$:LWCP",
            "senderNick": "小王",
            "conversationId": "cid",
            "createAt": MS,
        },
        Reading("text", "$:LWCP", "重启机器人", "cid", NOW),
    ),
    (
        {
            "post_type": "message",
            "message_type": "group",
            "group_id": 123456,
            "user_id": 10001000,
            "raw_message": "紧急：机器人掉线",
            "message": [{"type": "text", "data": {"text": "紧急：机器人掉线"}}],
            "time": NOW,
        },
        Reading("message", "10001000", "紧急：机器人掉线", "123456", NOW),
    ),
]


@pytest.mark.parametrize("preset", ["chat", "auto"])
@pytest.mark.parametrize(("document", "reading"), CHAT)
def test_chat(preset: str, document: Any, reading: Reading) -> None:
    expected = reading if reading.text else reading._replace(text=text_of(document))
    found = reading_of(text_of(document), preset)
    if document == CHAT[3][0]:
        found = found._replace(timestamp=None)
    assert found == expected


POST = {
    "id": "4h1q",
    "create_at": MS,
    "update_at": MS,
    "edit_at": 0,
    "user_id": "q7wu",
    "channel_id": "c9x8",
    "message": "部署失败 @all",
    "type": "",
}
MATTERMOST: list[tuple[Any, Reading]] = [
    (
        {
            "event": "posted",
            "data": {
                "channel_display_name": "Town Square",
                "channel_name": "town-square",
                "channel_type": "O",
                "post": text_of(POST),
                "sender_name": "@anna",
                "team_id": "t1",
            },
            "broadcast": {"omit_users": None, "user_id": "", "channel_id": "c9x8", "team_id": ""},
            "seq": 7,
        },
        Reading("posted", "q7wu", "部署失败 @all", "c9x8", NOW),
    ),
    (
        {
            "event": "typing",
            "data": {"parent_id": "", "user_id": "q7wu"},
            "broadcast": {"omit_users": {"q7wu": True}, "user_id": "", "channel_id": "c9x8", "team_id": ""},
            "seq": 8,
        },
        Reading("typing", "q7wu", "", "c9x8"),
    ),
    (
        {
            "event": "status_change",
            "data": {"status": "away", "user_id": "q7wu"},
            "broadcast": {"omit_users": None, "user_id": "q7wu", "channel_id": "", "team_id": ""},
            "seq": 9,
        },
        Reading("status_change", "q7wu", "away"),
    ),
    (
        {
            "event": "reaction_added",
            "data": {
                "reaction": text_of({"user_id": "q7wu", "post_id": "4h1q", "emoji_name": "tada", "create_at": MS})
            },
            "broadcast": {"channel_id": "c9x8"},
            "seq": 10,
        },
        Reading("reaction_added", "q7wu", "tada", "c9x8", NOW),
    ),
    (
        {"event": "hello", "data": {"server_version": "9.4"}, "broadcast": {"user_id": "q7wu"}, "seq": 0},
        Reading("hello", "", ""),
    ),
]


@pytest.mark.parametrize("preset", ["mattermost", "auto"])
@pytest.mark.parametrize(("document", "reading"), MATTERMOST)
def test_mattermost(preset: str, document: Any, reading: Reading) -> None:
    payload = text_of(document)
    assert reading_of(payload, preset) == (reading if reading.text else reading._replace(text=payload))


def test_mattermost_answers_and_what_is_broken() -> None:
    assert reading_of('{"status":"OK","seq_reply":1}', "mattermost").kind == "OK"
    failed = '{"status":"FAIL","error":{"id":"api","message":"Invalid session"},"seq_reply":1}'
    assert reading_of(failed, "mattermost") == Reading("FAIL", "", "Invalid session")
    broken = '{"event":"posted","data":{"post":"{not json"},"broadcast":{},"seq":1}'
    assert reading_of(broken, "mattermost") == Reading("posted", "", broken)
    assert reading_of('{"text":"hi","user":"anna"}', "mattermost") == Reading("message", "anna", "hi")


def change(collection: str, event: str, *values: Any) -> dict[str, Any]:
    fields = {"eventName": event, "args": list(values)}
    return {"msg": "changed", "collection": collection, "id": "id", "fields": fields}


def message(**more: Any) -> dict[str, Any]:
    person = {"_id": "rocket-id", "username": "anna", "name": "Anna"}
    return {"_id": "m1", "rid": "GENERAL", "msg": "重要：开会", "ts": {"$date": MS}, "u": person} | more


ROCKET_CHAT: list[tuple[Any, Reading]] = [
    (
        change("stream-room-messages", "__my_messages__", message()),
        Reading("message", "rocket-id", "重要：开会", "GENERAL", NOW),
    ),
    (
        change("stream-room-messages", "GENERAL", message(t="uj", msg="anna")),
        Reading("uj", "rocket-id", "anna", "GENERAL", NOW),
    ),
    (change("stream-notify-room", "GENERAL/typing", "anna", True), Reading("typing", "anna", "", "GENERAL")),
    (
        change("stream-notify-logged", "user-status", ["rocket-id", "anna", 1, ""]),
        Reading("user-status", "rocket-id", ""),
    ),
    ({"msg": "connected", "session": "HTtT"}, Reading("connected", "", "")),
    ({"msg": "ready", "subs": ["1"]}, Reading("ready", "", "")),
    ({"msg": "ping"}, Reading("ping", "", "")),
    ({"msg": "nosub", "id": "1", "error": {"reason": "Not allowed"}}, Reading("nosub", "", "Not allowed")),
]


@pytest.mark.parametrize("preset", ["rocket.chat", "auto"])
@pytest.mark.parametrize(("document", "reading"), ROCKET_CHAT)
def test_rocket_chat(preset: str, document: Any, reading: Reading) -> None:
    payload = text_of(document)
    assert reading_of(payload, preset) == (reading if reading.text else reading._replace(text=payload))


def test_a_chat_whose_text_is_called_msg_is_not_taken_for_ddp() -> None:
    assert reading_of('{"msg":"ready","user":"anna"}') == Reading("message", "anna", "ready")


SOCKET_IO: list[tuple[str, Reading]] = [
    ('42["chat message",{"user":"anna","text":"hi","room":"r1"}]', Reading("chat_message", "anna", "hi", "r1")),
    ('42["message","hello"]', Reading("message", "", "hello")),
    ('42/admin,["note","secret"]', Reading("note", "", "secret", "/admin")),
    ('42/admin,12["note",{"room":"r2","text":"x"}]', Reading("note", "", "x", "r2")),
    ('4217["ask",{"text":"yes?"}]', Reading("ask", "", "yes?")),
    ('451-["file",{"_placeholder":true,"num":0}]', Reading("file", "", "")),
    (
        '452-/admin,["file",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
        Reading("file", "", "", "/admin"),
    ),
    ('43/admin,12["done"]', Reading("ack", "", "", "/admin")),
    ('40{"sid":"oSO0OpakMV_3jnilAAAA"}', Reading("connect", "", "")),
    ('40/admin,{"sid":"x"}', Reading("connect", "", "", "/admin")),
    ('44{"message":"Not authorized"}', Reading("connect_error", "", "Not authorized")),
    (
        '0{"sid":"lv_V","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}',
        Reading("open", "", ""),
    ),
]
ALONE = [
    ("2", "ping"),
    ("3", "pong"),
    ("41", "disconnect"),
    ("41/admin,", "disconnect"),
    ("1", "close"),
    ("2probe", "ping"),
]


@pytest.mark.parametrize("preset", ["socket.io", "auto"])
@pytest.mark.parametrize(("payload", "reading"), SOCKET_IO)
def test_socket_io(preset: str, payload: str, reading: Reading) -> None:
    assert reading_of(payload, preset) == (reading if reading.text else reading._replace(text=payload))


@pytest.mark.parametrize(("payload", "kind"), ALONE)
def test_packets_that_could_be_anything_are_taken_for_what_they_are_where_it_is_known(
    payload: str, kind: str
) -> None:
    assert reading_of(payload, "socket.io").kind == kind
    assert reading_of(payload, "auto").kind == "raw"
    assert reading_of(payload, "auto", url="wss://chat.test/socket.io/?EIO=4&transport=websocket").kind == kind


def test_paths_look_into_the_array_of_a_packet() -> None:
    found = reading_of(
        '42["say",{"who":"anna","what":"hi"}]', "socket.io", paths={"text": ["$[1].what"], "user": ["$..who"]}
    )
    assert found == Reading("say", "anna", "hi")


@pytest.mark.parametrize("payload", ["hello", "4", "4x", "42", "42[", "42[broken", "9", "7{}", "", "45-1[]"])
def test_what_is_no_packet_is_raw_or_an_event_without_a_name(payload: str) -> None:
    assert reading_of(payload, "socket.io").kind in ("raw", "event")
    assert reading_of(payload, "auto") == Reading("raw", "", payload)


# What is said ------------------------------------------------------------------------------------------------
def answers(preset: str, *heard: str, **settings: Any) -> list[str | None]:
    answer = make_answer(stream(preset, **settings))
    return [None if answer is None else answer(text) for text in heard]


HANDSHAKE = '0{"sid":"x","pingInterval":25000}'


def test_socket_io_joins_and_answers_pings() -> None:
    assert answers("socket.io", HANDSHAKE, '40{"sid":"y"}', "2", '42["x"]', "3") == ["40", None, "3", None, None]


def test_who_sends_something_on_connecting_joins_where_they_like() -> None:
    assert answers("socket.io", HANDSHAKE, "2", on_connect=[Message(text="40/admin,")]) == [None, "3"]


def test_auto_says_nothing_before_an_engine_io_handshake() -> None:
    assert answers("auto", "2", '{"msg":"ping"}', HANDSHAKE, "2") == [None, None, "40", "3"]
    assert answers("auto", "2", url="ws://a/socket.io/?EIO=4&transport=websocket") == ["3"]


def test_rocket_chat_is_greeted_and_its_pings_answered() -> None:
    assert [each.text for each in greetings(stream("rocket.chat"))] == [
        SecretStr('{"msg":"connect","version":"1","support":["1"]}')
    ]
    deep = '{"msg":"ping","id":' + "[" * 230 + "]" * 230 + "}"
    assert answers("rocket.chat", deep) == ['{"msg":"pong"}']
    heard = ('{"msg":"ping"}', '{"msg":"ping","id":"7"}', '{"msg":"ready","subs":["ping"]}', '"ping"', "{")
    assert answers("rocket.chat", *heard) == ['{"msg":"pong"}', '{"msg":"pong","id":"7"}', None, None, None]


@pytest.mark.parametrize("preset", ["chat", "mattermost", "raw"])
def test_other_presets_say_nothing(preset: str) -> None:
    assert greetings(stream(preset)) == ()
    assert answers(preset, HANDSHAKE, "2", '{"msg":"ping"}') == [None, None, None]
