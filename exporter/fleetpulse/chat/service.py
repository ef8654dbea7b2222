"""The chat service: its parts in one place, who comes and goes, and the timers between them."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import orjson

from fleetpulse import catalogue
from fleetpulse.chat import messages, topics
from fleetpulse.chat.archive import Archive
from fleetpulse.chat.encoders import EventEncoder, InboxEncoder, MessageEncoder, PlainEncoder, SessionEncoder
from fleetpulse.chat.mailbox import Mailbox
from fleetpulse.chat.receipts import Receipts
from fleetpulse.chat.routing import Router
from fleetpulse.chat.senders import Senders
from fleetpulse.chat.signs import Signs
from fleetpulse.chat.writing import Writing
from fleetpulse.config import Settings
from fleetpulse.instruments import Instruments
from fleetpulse.journal import Journal, Row, Table, rfc3339
from fleetpulse.journal.receipts import Receipt
from fleetpulse.live import Hub
from fleetpulse.live.bus import Bus
from fleetpulse.live.claims import Claims
from fleetpulse.live.connection import Connection
from fleetpulse.live.encoders import Sends
from fleetpulse.live.presence import Presence

CONNECTION = "connection"
STEP = 500  # connections pinged before others get their turn
Stats = Callable[[], Mapping[str, Any]]


class Tell(Protocol):
    """Takes what happened for the log of events and whoever handles them; never waits."""

    def __call__(
        self, category: str, kind: str, *, actor: str = "", subject: str = "", detail: Mapping[str, Any] = {}
    ) -> None:
        """`category` is `connection` here, `kind` what happened, `actor` the user, `subject` the session."""


class Chat:
    """Hold one per exporter. `stats` may be replaced by whoever knows more than `Presence.totals`."""

    def __init__(  # noqa: PLR0913 - the parts it joins
        self,
        settings: Settings,
        journal: Journal,
        hub: Hub,
        bus: Bus,
        instruments: Instruments,
        tell: Tell,
        *,
        claims: Claims | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Declares the topics and reads what waits in the mailbox: before the journal is started."""
        self.settings = settings
        self.journal = journal
        self.hub = hub
        self.clock = clock
        self.tell = tell
        self.presence = Presence(settings.chat, hub.close, bus, claims, clock)
        self.archive = Archive(journal)
        self.mailbox = Mailbox(journal, settings.chat, instruments, clock)
        self.writing = Writing(journal, self.archive, self.mailbox, clock)
        self.router = Router(hub, self.presence, self.mailbox, self.writing, bus)
        self.signs = Signs(hub, bus, settings.chat, clock)
        senders = Senders(settings.chat, self.router, self.presence, self.mailbox)
        self.receipts = Receipts(
            journal, self.archive, senders, self.signs, hub, bus, instruments, self.changed, clock
        )
        self.stats: Stats = self.presence.totals
        self.limited = instruments.counter(catalogue.CHAT_LIMITED)
        self.encoders = Encoders(self.presence.counts)
        topics.declare(hub, journal, self.signs.of, lambda _topic: [self._stats_update()])
        self.mailbox.restore()
        self.receipts.restore()
        self.mailbox.on_received(self.receipts.mail)
        self.presence.listen(self)
        instruments.gauge(catalogue.CHAT_SESSIONS).set_function(lambda: len(self.presence.sessions()))
        instruments.gauge(catalogue.CHAT_USERS).set_function(lambda: len(self.presence.users()))

    def stored(self, table: Table, rows: Sequence[Row], first_id: int) -> None:
        """Hears of rows that a commit has just made durable: tells whoever listens."""
        topics.publish(self.hub, table, rows, first_id)
        self.receipts.stored(table, rows, first_id)

    async def run(self) -> None:
        """Works until cancelled: pings, statistics, what passes by itself, what waited for too long."""
        parts = (self.presence, self.mailbox, self.signs)
        async with asyncio.TaskGroup() as tasks:
            for work in (*(part.run() for part in parts), self._ping_regularly(), self._tell_stats()):
                tasks.create_task(work)

    async def stop(self) -> None:
        """Writes the receipts that came; call it once the connections are closed, before the journal stops."""
        await self.mailbox.drain()
        await self.receipts.drain()
        self.archive.close()

    # What happens (presence.Listener) ------------------------------------------------------------------------
    def connected(self, connection: Connection) -> None:
        """A connection is open."""
        self.happened("user_connected", connection)

    def disconnected(self, connection: Connection) -> None:
        """A connection is over."""
        for session_id in sorted(connection.sessions):
            self.has_left(connection, session_id)
        self.happened("user_disconnected", connection)

    def user_changed(self, user_id: str, sessions: Iterable[str], *, online: bool) -> None:
        """A user is there, on any replica, or is no more."""
        del sessions  # those hear of it by `status`
        update = messages.user_status(user_id, "online" if online else "offline", self.clock())
        self.hub.publish(topics.MONITOR, update, key=user_id, kind=update["type"])

    def has_joined(self, connection: Connection, session_id: str) -> None:
        """A connection has joined a session: who is in it is told, where the user was not there yet."""
        known = self.presence.is_in(connection.user_id, session_id)
        self.presence.joined(connection, session_id)
        if not known:
            self.signs.status(session_id, connection.user_id, online=True)
        self.happened("session_joined", connection, session_id)

    def has_left(self, connection: Connection, session_id: str) -> None:
        """A connection has left a session: who is in it is told, where the user is no more."""
        self.presence.left(connection, session_id)
        if not self.presence.is_in(connection.user_id, session_id):
            self.signs.gone(session_id, connection.user_id)
            self.signs.status(session_id, connection.user_id, online=False)
        self.happened("session_left", connection, session_id)

    def happened(self, kind: str, connection: Connection, subject: str = "", **detail: Any) -> None:
        """Tells the log of events of something that a connection did."""
        known = {"connection_id": connection.connection_id, "endpoint": connection.endpoint}
        self.tell(CONNECTION, kind, actor=connection.user_id, subject=subject, detail=known | detail)

    def changed(self, receipt: Receipt) -> None:
        """Tells the log of events that a message was delivered or read."""
        message = receipt.message
        detail = {"message_id": message.message_id, "status": receipt.fate, "sender": message.sender}
        place = message.session_id or message.recipient or ""
        self.tell(CONNECTION, "message_status_changed", actor=receipt.user_id, subject=place, detail=detail)

    # Timers --------------------------------------------------------------------------------------------------
    async def _ping_regularly(self) -> None:
        while True:
            await asyncio.sleep(self.settings.live.ping_seconds)
            await self.ping(self.presence.local())

    async def ping(self, connections: Iterable[Connection]) -> None:
        """Sends `ping`, as the document's clients expect; any answer is a sign of life."""
        now = self.clock()
        data = orjson.dumps({"type": "ping", "timestamp": rfc3339(now)})
        for number, connection in enumerate(connections, 1):
            client = connection.client
            if client is not None and client.backlog <= client.high:
                connection.last_ping = now
                client.write(client.wire.frame(data))
                self.presence.counts.sent += 1
            if number % STEP == 0:
                await asyncio.sleep(0)

    async def _tell_stats(self) -> None:
        while True:
            await asyncio.sleep(self.settings.chat.stats_seconds)
            update = self._stats_update()
            self.hub.publish(topics.MONITOR, update, key="stats", kind=update["type"])

    def _stats_update(self) -> dict[str, Any]:
        return {"type": "stats_update", "timestamp": rfc3339(self.clock()), "stats": dict(self.stats())}


class Encoders:
    """How chat connections see topics: one of each, so that all connections share the bytes."""

    def __init__(self, sends: Sends) -> None:
        self.session = SessionEncoder(sends)
        self.inbox = InboxEncoder(sends)
        self.messages = MessageEncoder(sends)
        self.plain = PlainEncoder(sends)
        self.events = EventEncoder(sends)
