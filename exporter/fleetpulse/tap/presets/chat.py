"""Messages as most chats have them: one JSON object whose members have the usual names, or one within another.

That is the exporter's own chat, too, and `{"event", "data"}`, `{"op", "d", "t"}` (Discord), `{"topic", "event",
"payload"}` (Phoenix), Slack's, Telegram's and DingTalk's events. Arrays `[event, data]`, `[topic, event, payload]`
and Phoenix's `[join_ref, ref, topic, event, payload]` are read as the object they stand for.

Users and rooms are known by their ids where there are ids: names change, and two may have one.
"""

from typing import Any

from fleetpulse.tap.presets.shape import Opened, Preset, paths

ENVELOPES = ("$", "$.data", "$.payload", "$.message", "$.d", "$.event")
PEOPLE = ("user", "sender", "from", "author")
USER_IDS = (
    *("user_id", "userId", "from_user_id", "fromUserId", "sender_id", "senderId", "author_id", "authorId"),
    *("from_id", "uid", "username", "user_name", "userName", "user", "sender", "from", "author"),
    *("from_user", "fromUser", "nickname", "nick"),
)
PERSON = ("id", "user_id", "userId", "_id", "username", "name", "nickname")
ROOM_IDS = (
    *("room_id", "roomId", "channel_id", "channelId", "conversation_id", "conversationId", "chat_id", "chatId"),
    *("group_id", "groupId", "session_id", "sessionId", "thread_id", "room", "channel", "topic"),
)
PLACES = ("room", "channel", "chat", "conversation")
KINDS = (
    *("type", "event", "t", "post_type", "kind", "msg_type", "msgtype", "message_type", "action", "command", "cmd"),
    *("method", "op"),
)
TEXTS = ("content", "text", "raw_message", "message", "msg", "body", "caption")
TIMES = (
    *("timestamp", "time", "ts", "created_at", "createdAt", "create_at", "createAt", "sent_at", "sentAt", "date"),
    *("datetime", "received_at", "receivedAt"),
)


def _open(_payload: str, document: Any) -> Opened | None:
    if isinstance(document, dict):
        return Opened(document)
    if isinstance(document, list) and (inner := of_array(document)) is not None:
        return Opened(document, inner)
    return None


def of_array(items: list[Any]) -> dict[str, Any] | None:
    """The object that an array of a known form stands for: its event, its topic where it has one, and its data."""
    match items:
        case [_, _, str(topic), str(event), payload]:
            return {"event": event, "topic": topic, "payload": _data(payload)}
        case [str(topic), str(event), dict() as payload]:
            return {"event": event, "topic": topic, "payload": payload}
        case [str(event), *data] if any(isinstance(each, dict) for each in data):
            return of_event(event, data)
        case _:
            return None


def of_event(event: str, data: list[Any]) -> dict[str, Any]:
    """An event with its arguments as an object."""
    return {"event": event, "data": _data(data[0]) if len(data) == 1 else data}


def _data(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


CHAT = Preset(
    "chat",
    _open,
    kind=paths(ENVELOPES, KINDS),
    user=tuple(
        path
        for scope in ENVELOPES
        for path in (*paths((scope,), USER_IDS), *paths((f"{scope}.{person}" for person in PEOPLE), PERSON))
    ),
    room=tuple(
        path
        for scope in ENVELOPES
        for path in (*paths((scope,), ROOM_IDS), *paths((f"{scope}.{place}" for place in PLACES), ("id", "name")))
    ),
    text=paths(
        (*ENVELOPES, "$.content", "$.text", "$.notification", "$.data.message", "$.payload.message", "$.error"),
        TEXTS,
    ),
    time=paths(ENVELOPES, TIMES),
)
