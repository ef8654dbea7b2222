"""Notifications on the real chat service, with a real journal, real sockets and, in some tests, Alertmanager."""

import asyncio
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.journal.stand import Run
from tests.system.harness import free_port
from tests.web.chat_stand import ChatStand

from fleetpulse import catalogue
from fleetpulse.config import Settings, load
from fleetpulse.journal.notices import read_preferences
from fleetpulse.notices import NotificationRequest, Sent
from fleetpulse.notices.wiring import make_notices
from fleetpulse.query.alertmanager import Alertmanager
from fleetpulse.query.notices import View, sent

NIGHT = datetime.now(UTC).replace(hour=23, minute=0, second=0, microsecond=0) + timedelta(days=1)
MORNING = NIGHT + timedelta(hours=10)
QUIET = {"start": "22:00", "end": "08:00"}


class Clock:
    """The time of day, which a test may set; it goes on from there."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self._ahead

    def set(self, moment: datetime) -> None:
        self._ahead = moment.timestamp() - time.time()

    def pass_by(self, seconds: float) -> None:
        self._ahead += seconds


class NoticeStand(ChatStand):
    """The chat service and notifications; nobody is where Alertmanager should be, unless a test says so."""

    def __init__(self, settings: Settings, alertmanager: str | None = None) -> None:
        super().__init__(settings)
        self.moment = Clock()
        self.alertmanager_url = alertmanager or f"http://127.0.0.1:{free_port()}"

    async def start(self) -> "NoticeStand":
        await super().start()
        self.alertmanager = Alertmanager(self.alertmanager_url)
        self.notices = make_notices(
            self.settings,
            self.journal,
            self.chat.router,
            self.chat.presence,
            self.alertmanager,
            self.instruments,
            clock=self.moment,
        )
        self.chat.mailbox.on_received(self.notices.received)
        self._running = asyncio.create_task(self.notices.run())
        return self

    async def stop(self) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self.alertmanager.close()
        await super().stop()

    async def send(self, **fields: Any) -> Sent:
        dry_run = fields.pop("dry_run", False)
        return await self.notices.send(request(**fields), actor="tests", dry_run=dry_run)

    def history(self, user: str | None = None, **filters: Any) -> list[dict[str, Any]]:
        """What was sent, the newest first."""
        return sent(self.journal, View(user), 1_000, **filters).shown

    def became(self, notification_id: str) -> dict[tuple[str, str], str]:
        """What became of a notification so far, by recipient and channel."""
        (found,) = (each for each in self.history() if each["id"] == notification_id)
        return {(each["recipient"], each["channel"]): each["outcome"] for each in found["outcomes"]}

    def preferences(self) -> dict[str, str]:
        with closing(self.journal.reader()) as reader:
            return dict(read_preferences(reader))

    def counted(self, channel: str, level: str, outcome: str) -> float:
        return self.total(catalogue.NOTIFICATIONS, channel, level, outcome)

    async def write(self, sql: str) -> None:
        """Changes the journal as another process might have left it."""
        await self.journal.submit(Run(sql))

    @property
    def waiting(self) -> float:
        return self.value(catalogue.NOTIFICATIONS_WAITING)


def request(**fields: Any) -> NotificationRequest:
    """A plain notification to u1; a test names what matters to it."""
    plain = {"title": "Hello", "message": "there", "recipients": {"users": ["u1"]}}
    return NotificationRequest.model_validate(plain | fields)


def settings(folder: Path, **sections: Any) -> Settings:
    return load(data_dir=folder, **sections)


def outcomes(made: Sent) -> dict[tuple[str, str], str]:
    """What became of it, by recipient and channel."""
    return {(each.recipient, each.channel): each.outcome for each in made.outcomes}
