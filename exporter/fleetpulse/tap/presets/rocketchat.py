"""Rocket.Chat's realtime API: Meteor's DDP, in which a new message is a change of `stream-room-messages`.

A message is of kind `message`, one that the server writes by itself (somebody joins) of the kind that it names
(`uj`, `au`, …). Another stream is of the kind that its event ends with: `GENERAL/typing` is `typing` in the room
`GENERAL`.

Sources: DDP specification, version 1; Rocket.Chat developer documentation, Realtime API.
"""

from typing import Any

from fleetpulse.tap.presets.shape import Opened, Preset

HELLO = '{"msg":"connect","version":"1","support":["1"]}'
MESSAGES = "stream-room-messages"
DDP = frozenset(
    ("connected", "failed", "added", "changed", "removed", "ready", "nosub", "addedBefore", "movedBefore")
) | {"result", "updated", "ping", "pong", "error"}
BESIDE = frozenset(("collection", "session", "subs", "id", "methods", "reason", "version"))


def _open(_payload: str, document: Any) -> Opened | None:
    if not isinstance(document, dict):
        return None
    message = document.get("msg")
    if message in ("changed", "added", "removed") and isinstance(document.get("fields"), dict):
        return _change(document)
    if isinstance(message, str) and message in DDP:
        return Opened(document, kind=message)
    return Opened(document, kind="server") if "server_id" in document else None


def _change(document: dict[str, Any]) -> Opened:
    collection, event = document.get("collection"), document["fields"].get("eventName")
    if collection == MESSAGES:
        return Opened(document, kind=_message_kind(document["fields"].get("args")))
    if isinstance(event, str) and event:
        room, _, name = event.rpartition("/")
        return Opened(document, kind=name, room=room or None)
    return Opened(document)


def _message_kind(values: Any) -> str:
    match values:
        case [{"t": str(kind)}, *_] if kind:
            return kind
        case _:
            return "message"


def is_ddp(document: Any) -> bool:
    """Whether a document is a DDP message, and cannot well be anything else."""
    if not isinstance(document, dict) or not isinstance(document.get("msg"), str) or document["msg"] not in DDP:
        return False
    return len(document) == 1 or not BESIDE.isdisjoint(document)


def pong(document: Any) -> dict[str, Any] | None:
    """What a ping is to be answered with; None where it is no ping."""
    if not isinstance(document, dict) or document.get("msg") != "ping":
        return None
    return {"msg": "pong"} | ({"id": document["id"]} if isinstance(document.get("id"), str) else {})


ARGUMENT = "$.fields.args[0]"
ROCKET_CHAT = Preset(
    "rocket.chat",
    _open,
    kind=("$.collection", "$.msg"),
    user=(
        *(f"{ARGUMENT}.u._id", f"{ARGUMENT}.u.username", f"{ARGUMENT}.userId", f"{ARGUMENT}[0]", ARGUMENT),
        *("$.fields.username", "$.result.id"),
    ),
    room=(f"{ARGUMENT}.rid", f"{ARGUMENT}.payload.rid"),
    text=(
        *(f"{ARGUMENT}.msg", f"{ARGUMENT}.text", f"{ARGUMENT}.payload.message.msg"),
        *(f"{ARGUMENT}.attachments[0].title", "$.error.message", "$.error.reason", "$.reason"),
    ),
    time=(f"{ARGUMENT}.editedAt", f"{ARGUMENT}.ts", f"{ARGUMENT}._updatedAt"),
)
