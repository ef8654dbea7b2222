"""Signs: what is so in a session just now, and is not kept: who is there, who types, what the AI does.

Of each kind and user the newest counts; what passes by itself (typing) ends after its time. Other replicas hear of
it over the bus, and may miss some.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from fleetpulse import config
from fleetpulse.chat import messages
from fleetpulse.chat.topics import SIGNS
from fleetpulse.live import Hub
from fleetpulse.live.bus import Bus
from fleetpulse.signals import MAX_INT

CHANNEL = "chat.signs"
LOOK_SECONDS = 0.5
MAX_SHOWN = 20_000
AI_SECONDS = 600.0  # an AI that says nothing more for so long is not shown to newcomers
AI_OVER = ("done", "completed", "failed")


class _Sign(NamedTuple):
    until: float
    message: dict[str, Any]


class Signs:
    """The signs of all sessions, on the event loop. `shown` are those that last, for newcomers."""

    def __init__(self, hub: Hub, bus: Bus, settings: config.Chat, clock: Callable[[], float] = time.time) -> None:
        self._hub = hub
        self._bus = bus
        self._typing_seconds = settings.typing_seconds
        self._clock = clock
        self._shown: dict[tuple[str, str], _Sign] = {}
        self._by_session: dict[str, dict[str, None]] = {}
        bus.on(CHANNEL, self._heard)

    def typing(self, session_id: str, user_id: str, *, is_typing: bool) -> None:
        """A user types, or no more."""
        message = messages.typing(session_id, user_id, self._clock(), is_typing=is_typing)
        self._show(session_id, f"typing/{user_id}", message, self._typing_seconds if is_typing else 0.0)

    def ai(self, session_id: str, user_id: str, status: str, **more: Any) -> None:
        """What an AI does."""
        message = messages.ai_status(session_id, user_id, status, self._clock(), **more)
        about = more.get("message_id") or ""
        self._show(session_id, f"ai/{user_id}/{about}", message, 0.0 if status in AI_OVER else AI_SECONDS)

    def status(self, session_id: str, user_id: str, *, online: bool) -> None:
        """A user came into a session, or left it."""
        status = "online" if online else "offline"
        message = messages.user_status(user_id, status, self._clock(), session_id)
        self._show(session_id, f"status/{user_id}", message, 0.0)

    def read(self, session_id: str, user_id: str, message_id: str) -> None:
        """A user has read a session up to a message."""
        message = messages.read_upto(session_id, user_id, message_id, self._clock())
        self._show(session_id, f"read/{user_id}", message, 0.0)

    def of(self, topic: str) -> Sequence[Any]:
        """What is so in a session; nothing of all of them together."""
        session_id = topic.partition("/")[2]
        return [self._shown[session_id, key].message for key in self._by_session.get(session_id, ())]

    def gone(self, session_id: str, user_id: str) -> None:
        """A user who left types no more."""
        if (session_id, f"typing/{user_id}") in self._shown:
            self.typing(session_id, user_id, is_typing=False)

    async def run(self) -> None:
        """Ends what passes by itself, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.expire()

    def expire(self) -> None:
        """Ends what has passed; each replica does so for itself."""
        now = self._clock()
        over = [place for place, sign in self._shown.items() if sign.until <= now]
        for session_id, key in over:
            sign = self._shown[session_id, key]
            self._forget(session_id, key)
            if sign.message["type"] == "typing":
                ended = messages.typing(session_id, sign.message["user_id"], now, is_typing=False)
                self._publish(session_id, key, ended)

    def _show(self, session_id: str, key: str, message: dict[str, Any], seconds: float) -> None:
        self._take(session_id, key, message, seconds)
        self._bus.send(CHANNEL, {"session": session_id, "key": key, "message": message, "seconds": seconds})

    def _heard(self, payload: Mapping[str, Any]) -> None:
        seconds = min(float(payload["seconds"]), MAX_INT)
        self._take(str(payload["session"]), str(payload["key"]), dict(payload["message"]), seconds)

    def _take(self, session_id: str, key: str, message: dict[str, Any], seconds: float) -> None:
        self._forget(session_id, key)
        if seconds:
            while len(self._shown) >= MAX_SHOWN:
                self._forget(*next(iter(self._shown)))
            self._shown[session_id, key] = _Sign(self._clock() + seconds, message)
            self._by_session.setdefault(session_id, {})[key] = None
        self._publish(session_id, key, message)

    def _publish(self, session_id: str, key: str, message: dict[str, Any]) -> None:
        self._hub.publish(f"{SIGNS}/{session_id}", message, key=key, kind=message["type"])

    def _forget(self, session_id: str, key: str) -> None:
        if self._shown.pop((session_id, key), None) is None:
            return
        keys = self._by_session[session_id]
        del keys[key]
        if not keys:
            del self._by_session[session_id]
