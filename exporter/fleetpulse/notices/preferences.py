"""What users want to be told: over which channels, from which level on, and when not. Kept in the journal."""

import asyncio
import time
from collections.abc import Callable
from contextlib import closing
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fleetpulse.config.alerting import QuietHours
from fleetpulse.errors import OverloadedError
from fleetpulse.journal import Journal
from fleetpulse.journal.notices import SavePreferences, read_preferences
from fleetpulse.notices.model import Channel, Kind, Level

Least = Literal["INFO", "SUCCESS", "WARNING", "ERROR", "URGENT", "off"]


class Preferences(BaseModel):
    """A user's wishes. For each channel, the least level that is told over it, or `off`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    websocket: Least = "INFO"
    email: Least = "INFO"
    sms: Least = "INFO"
    push: Least = "INFO"
    muted_kinds: Annotated[tuple[Kind, ...], Field(max_length=50)] = Field(
        (), description="Kinds that are not told over any channel."
    )
    quiet_hours: Annotated[tuple[QuietHours, ...], Field(max_length=20)] = Field(
        (), description="When all but URGENT waits or comes without a sound; besides those that hold for everyone."
    )

    def refusal(self, channel: Channel, level: Level, kind: str) -> str | None:
        """Why this is not to be told over a channel, or None."""
        if kind in self.muted_kinds:
            return f"the user has muted {kind}"
        least: Least = getattr(self, channel.lower())
        if least == "off":
            return f"the user has turned {channel} off"
        return None if level.rank >= Level(least).rank else f"the user wants {least} or more over {channel}"


DEFAULT = Preferences()


class PreferenceBook:
    """Everyone's, in memory, and kept before they count."""

    def __init__(self, journal: Journal, most: int, clock: Callable[[], float] = time.time) -> None:
        """`most` users may have some."""
        self._journal = journal
        self._most = most
        self._clock = clock
        self._known: dict[str, Preferences] = {}
        self._order = asyncio.Lock()

    def restore(self) -> None:
        """Reads what is kept; what another version wrote is left out. Blocks for a moment."""
        with closing(self._journal.reader()) as reader:
            for user, text in read_preferences(reader):
                try:
                    self._known[user] = Preferences.model_validate_json(text)
                except ValidationError:
                    continue

    def of(self, user_id: str) -> Preferences:
        """A user's; the defaults where there are none."""
        return self._known.get(user_id, DEFAULT)

    async def put(self, user_id: str, preferences: Preferences, actor: str) -> None:
        """Replaces a user's; the defaults take no place. Returns after the commit; raises OverloadedError."""
        async with self._order:
            if preferences != DEFAULT and user_id not in self._known and len(self._known) >= self._most:
                raise OverloadedError(f"notifications.preferences: {self._most} users have some", retry_after=60)
            text = None if preferences == DEFAULT else preferences.model_dump_json()
            await self._journal.submit(SavePreferences(user_id, self._clock(), actor, text))
            if preferences == DEFAULT:
                self._known.pop(user_id, None)
            else:
                self._known[user_id] = preferences
