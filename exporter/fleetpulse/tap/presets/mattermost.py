"""Mattermost's WebSocket events: `{"event": "posted", "data": {…}, "broadcast": {…}, "seq": 7}`.

What an event carries (a post, a reaction, a channel) is JSON within a string of `data`; it is decoded in its place,
so that `$.data.post.message` is a path. Source: Mattermost API reference, WebSocket events.
"""

from typing import Any

import orjson

from fleetpulse.tap.presets.shape import Opened, Preset

CARRIED = ("post", "reaction", "thread", "channel", "preference", "user", "draft")


def _open(_payload: str, document: Any) -> Opened | None:
    if not isinstance(document, dict) or not _known(document):
        return None
    data = document.get("data")
    if isinstance(data, dict) and (carried := {name: _decoded(data[name]) for name in CARRIED if name in data}):
        return Opened(document | {"data": data | carried})
    return Opened(document)


def _known(document: dict[str, Any]) -> bool:
    return "event" in document or "seq_reply" in document or ("action" in document and "seq" in document)


def _decoded(value: Any) -> Any:
    if not isinstance(value, str) or value[:1] not in ("{", "["):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def is_event(document: Any) -> bool:
    """Whether a document is one of Mattermost's, and cannot well be anything else."""
    return isinstance(document, dict) and "event" in document and "broadcast" in document and "seq" in document


MATTERMOST = Preset(
    "mattermost",
    _open,
    kind=("$.event", "$.action", "$.status"),
    user=(
        *("$.data.post.user_id", "$.data.reaction.user_id", "$.data.user_id", "$.data.creator_id"),
        *("$.data.user.id", "$.data.thread.post.user_id", "$.data.sender_name"),
    ),
    room=("$.data.post.channel_id", "$.data.channel_id", "$.data.channel.id", "$.broadcast.channel_id"),
    text=(
        "$.data.post.message",
        "$.data.reaction.emoji_name",
        "$.data.status",
        "$.data.message",
        "$.error.message",
    ),
    time=(
        *("$.data.post.edit_at", "$.data.post.create_at", "$.data.reaction.create_at"),
        *("$.data.last_activity_at", "$.data.thread.last_reply_at"),
    ),
)
