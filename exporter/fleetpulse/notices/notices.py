"""Notifications to people: one way to send them, whatever the channel.

Promises: what `send` returned for is on disk, and is delivered or says why not (notices/outbox.py), through
restarts of this process and of Alertmanager. A recipient is told the same once within its window, however many ask
for it at once. Refuses what is past the bound of what waits: nothing of it is kept then.
"""

import asyncio
import logging
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import NamedTuple

from fleetpulse import config
from fleetpulse.errors import OverloadedError
from fleetpulse.events import Events
from fleetpulse.journal import Journal, MailRow
from fleetpulse.journal.notices import (
    PENDING,
    Delivery,
    NoticeRow,
    Open,
    PurgeNotices,
    ReceiveNotices,
    Target,
    told_already,
)
from fleetpulse.notices.audience import Audience
from fleetpulse.notices.carrier import Carrier, Load, unpacked_mail_id
from fleetpulse.notices.model import Channel, Level, NotificationRequest
from fleetpulse.notices.outbox import LEASE_SECONDS, METRIC, Outbox
from fleetpulse.notices.plan import Planner
from fleetpulse.notices.preferences import PreferenceBook

DAY_SECONDS = 86_400
TIDY_SECONDS = 60.0
TIDY_ROWS = 500
RECEIPTS = 10_000  # that wait to be written; past it, history shows the first ones as stored for good
RECEIPT_SECONDS = 1.0
log = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """What became of a notification for one recipient over one channel.

    `recipient` is a user's or a session's id (`audience` says which), empty for all. With `retry_at` (Unix seconds)
    it is to be made, or tried again, then.
    """

    audience: str
    recipient: str
    channel: str
    outcome: str
    detail: str
    retry_at: float | None


class Sent(NamedTuple):
    """A notification that was sent. Where it was no news to anyone, the id is that of the one they were told."""

    notification_id: str
    outcomes: tuple[Outcome, ...]


class Notices:
    """Sends notifications. Belongs to the event loop; `restore` it, then `run` it in the background."""

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        journal: Journal,
        settings: config.Notifications,
        audience: Audience,
        planner: Planner,
        carrier: Carrier,
        outbox: Outbox,
        book: PreferenceBook,
        events: Events | None = None,
        *,
        retention_days: float = 70,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.book = book
        self._journal = journal
        self._settings = settings
        self._audience = audience
        self._planner = planner
        self._carrier = carrier
        self._outbox = outbox
        self._events = events
        self._retention = retention_days * DAY_SECONDS
        self._clock = clock
        self._received: deque[tuple[str, str]] = deque(maxlen=RECEIPTS)

    def restore(self) -> None:
        """Reads what is kept. Call once, before anything is sent. Blocks for a moment."""
        self.book.restore()
        self._outbox.restore()

    async def send(self, request: NotificationRequest, *, actor: str, dry_run: bool = False) -> Sent:
        """Sends a notification; returns when it is delivered, or kept to be delivered.

        `actor` is who sends it. In a dry run, what would become of it is told, and nothing else happens. Raises
        OverloadedError (also StorageFullError): nothing was kept.
        """
        now = self._clock()
        notice = request.row(f"notify_{int(now)}_{secrets.token_hex(6)}", now, actor)
        deliveries = self.deliveries(request, now)
        if dry_run:
            return await self._would(request, notice, deliveries, now)
        until = now + self._window(request)
        entered = await self._outbox.enter(notice, deliveries, request.key, until if until > now else None)
        if entered.number is None:
            first = next(iter(entered.first.values()))
            return Sent(first, tuple(_duplicate(each, entered.first[each.target]) for each in deliveries))
        fresh = [Open(entered.number, notice, each) for each in deliveries if each.target not in entered.first]
        made = await self._outbox.make(fresh)
        by_delivery = {(each.target, each.channel): _outcome(each) for each in made}
        outcomes = tuple(
            by_delivery.get((each.target, each.channel)) or _duplicate(each, entered.first[each.target])
            for each in deliveries
        )
        self._tell(request, notice, outcomes)
        return Sent(notice.notification_id, outcomes)

    async def run(self) -> None:
        """Delivers what waits, keeps receipts, deletes what is old; until cancelled."""
        await asyncio.gather(self._outbox.run(), self._keep_receipts(), self._tidy())

    def received(self, user_id: str, rows: Sequence[MailRow]) -> None:
        """Hears of what users have proved to have received (Mailbox.on_received)."""
        for row in rows:
            if row.kind == "notification":
                self._received.append((unpacked_mail_id(row.delivery_id, user_id), user_id))

    def nudge(self) -> None:
        """Has `run` look at once for what is due."""
        self._outbox.nudge()

    def deliveries(self, request: NotificationRequest, now: float) -> list[Delivery]:
        """What is to be made of a request at `now` (Unix seconds): one for each channel and target, under way."""
        channels = request.channels or self._channels(request.level)
        expires = None if request.expires_at is None else request.expires_at.timestamp()
        return [
            Delivery(target, channel, PENDING, "", now + LEASE_SECONDS, expires)
            for channel in dict.fromkeys(channels)
            for target in self._audience.targets(request.recipients, channel)
        ]

    def _channels(self, level: Level) -> tuple[Channel, ...]:
        names: Sequence[str] = getattr(self._settings, f"channels_{level.lower()}")
        return tuple(Channel(name.upper()) for name in names)

    def _window(self, request: NotificationRequest) -> int:
        return self._settings.dedup_seconds if request.dedup_seconds is None else request.dedup_seconds

    def _tell(self, request: NotificationRequest, notice: NoticeRow, outcomes: Sequence[Outcome]) -> None:
        if self._events is None:
            return
        became = dict(Counter(each.outcome for each in outcomes))
        detail = {"level": notice.level, "kind": notice.kind, "title": request.title, "outcomes": became}
        self._events.tell(
            "notification", "notification_sent", actor=notice.actor, subject=notice.notification_id, detail=detail
        )

    # A dry run ----------------------------------------------------------------------------------------------------
    async def _would(
        self, request: NotificationRequest, notice: NoticeRow, deliveries: Sequence[Delivery], now: float
    ) -> Sent:
        targets = list(dict.fromkeys(each.target for each in deliveries)) if self._window(request) else []
        first = await asyncio.to_thread(self._told, request.key, targets, now)
        outcomes = [
            _duplicate(each, first[each.target]) if each.target in first else await self._trial(notice, each, now)
            for each in deliveries
        ]
        return Sent(notice.notification_id, tuple(outcomes))

    async def _trial(self, notice: NoticeRow, each: Delivery, now: float) -> Outcome:
        channel, level = Channel(each.channel), Level(notice.level)
        if each.expires_at is not None and now >= each.expires_at:
            return _outcome(each._replace(outcome="expired", due_at=None))
        step = self._planner.step(each.target, channel, level, notice.kind, now, dry_run=True)
        if step.outcome != PENDING:
            return _outcome(each._replace(outcome=step.outcome, detail=step.detail, due_at=step.until))
        (fate,) = await self._carrier.carry([Load(notice, each.target, channel)], now, dry_run=True)
        return _outcome(each._replace(outcome=fate.outcome, detail=fate.detail, due_at=None))

    def _told(self, key: str, targets: Sequence[Target], now: float) -> dict[Target, str]:
        with closing(self._journal.reader()) as reader:
            found = {target: told_already(reader, key, target, now) for target in targets}
        return {target: name for target, name in found.items() if name is not None}

    # In the background --------------------------------------------------------------------------------------------
    async def _keep_receipts(self) -> None:
        while True:
            await asyncio.sleep(RECEIPT_SECONDS)
            group = [self._received.popleft() for _ in range(min(TIDY_ROWS, len(self._received)))]
            if not group:
                continue
            try:
                await self._journal.submit(ReceiveNotices(group, Channel.WEBSOCKET, self._clock(), METRIC))
            except OverloadedError as error:
                log.warning("receipts of notifications are not kept yet: %s", error.detail)
                self._received.extendleft(reversed(group))
            except Exception:
                log.exception("%d receipts of notifications are not kept", len(group))

    async def _tidy(self) -> None:
        while True:
            try:
                full = await self.tidy() == TIDY_ROWS
            except Exception as error:  # noqa: BLE001 - a full disk, most likely; the next round tries again
                log.warning("old notifications are not deleted: %s", error)
                full = False
            await asyncio.sleep(0 if full else TIDY_SECONDS)

    async def tidy(self) -> int:
        """Deletes some of what is old; how many notifications."""
        now = self._clock()
        purge = PurgeNotices(now, now - self._retention, self._settings.kept, TIDY_ROWS)
        gone = await self._journal.submit(purge)
        assert isinstance(gone, int)  # noqa: S101 - what PurgeNotices returns
        return gone


def _outcome(made: Delivery) -> Outcome:
    audience, recipient = made.target
    return Outcome(audience, recipient, str(made.channel), made.outcome, made.detail, made.due_at)


def _duplicate(delivery: Delivery, first: str) -> Outcome:
    return _outcome(delivery._replace(outcome="duplicate", detail=first, due_at=None))
