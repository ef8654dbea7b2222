"""What the chat service sends: the document's messages, each made in one place. Times are RFC 3339 in UTC."""

from collections.abc import Mapping
from typing import Any

from fleetpulse.errors import FleetpulseError
from fleetpulse.journal import rfc3339

Message = dict[str, Any]


def message_json(fields: Mapping[str, Any]) -> Message:
    """A stored message (`MessageRow.as_json`) as the chat shows it; what it does not have is left out."""
    return {name: value for name, value in fields.items() if name != "stream"}


def new_message(fields: Mapping[str, Any]) -> Message:
    """Somebody wrote; `fields` are the stored message's."""
    session_id = fields.get("session_id")
    head = {"type": "new_message"} | ({} if session_id is None else {"session_id": session_id})
    return head | {"message": message_json(fields)}


def status_update(message_id: str, status: str, now: float, **more: Any) -> Message:
    """A message was `sent` (it is on disk), `delivered` (a recipient's client has it) or `read`."""
    return {"type": "message_status_update", "message_id": message_id, "status": status} | _at(now) | more


def read_upto(session_id: str, user_id: str, message_id: str, now: float) -> Message:
    """A user has read a session up to a message."""
    return status_update(message_id, "read", now, session_id=session_id, user_id=user_id)


def typing(session_id: str, user_id: str, now: float, *, is_typing: bool) -> Message:
    """A user types, or no more."""
    return {"type": "typing", "session_id": session_id, "user_id": user_id, "is_typing": is_typing} | _at(now)


def ai_status(session_id: str, user_id: str, status: str, now: float, **more: Any) -> Message:
    """What an AI does in a session; `user_id` is who says so."""
    head = {"type": "ai_processing_status", "session_id": session_id, "user_id": user_id, "status": status}
    return head | {name: value for name, value in more.items() if value is not None} | _at(now)


def user_status(user_id: str, status: str, now: float, session_id: str | None = None) -> Message:
    """A user is `online` or `offline`; with a session, there."""
    head = {"type": "user_status_update", "user_id": user_id, "status": status}
    return head | ({} if session_id is None else {"session_id": session_id}) | _at(now)


def error(failure: FleetpulseError, **more: Any) -> Message:
    """A message of the client's had no effect."""
    return {"type": "error", "code": failure.code, "message": failure.detail} | more


def _at(now: float) -> Message:
    return {"timestamp": rfc3339(now)}
