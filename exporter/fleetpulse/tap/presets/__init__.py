"""Known shapes of messages. `auto` looks at each message and picks; the others take what is theirs, and no more.

Messages that are not of a preset's shape are read as the chat preset reads JSON; what is no JSON is raw text.
"""

from typing import Any

from fleetpulse.tap.presets.chat import CHAT
from fleetpulse.tap.presets.mattermost import MATTERMOST, is_event
from fleetpulse.tap.presets.rocketchat import ROCKET_CHAT, is_ddp
from fleetpulse.tap.presets.shape import FIELDS, Opened, Preset
from fleetpulse.tap.presets.socketio import SOCKET_IO, is_packet
from fleetpulse.tap.presets.talk import Answer, greetings, make_answer

__all__ = ["FIELDS", "PRESETS", "RAW", "Answer", "Opened", "Preset", "candidates", "greetings", "make_answer"]

RAW = Preset("raw", lambda _payload, document: Opened(document))
PRESETS = {each.name: each for each in (CHAT, SOCKET_IO, MATTERMOST, ROCKET_CHAT, RAW)}


def candidates(name: str, payload: str, document: Any) -> tuple[Preset, ...]:
    """The presets to try on a message, in order: the configured one, or with `auto` what the message looks like."""
    if name != "auto":
        return (PRESETS[name], CHAT, RAW)
    if isinstance(document, dict):
        if is_event(document):
            return (MATTERMOST, CHAT, RAW)
        if is_ddp(document):
            return (ROCKET_CHAT, CHAT, RAW)
    elif document is None and payload and is_packet(payload):
        return (SOCKET_IO, RAW)
    return (CHAT, RAW)
