"""Receipts: whose message has reached somebody else's client, and who has read it.

Promises: the first receipt of each kind is on disk before anyone is told of it, and stays right over a restart.
A receipt that the journal cannot take is given up, and counted: its message stays `sent` until another comes.
Receipts of other replicas' messages are theirs to note: they are told over the bus, which may lose one.
"""

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

import orjson

from fleetpulse import catalogue
from fleetpulse.chat.archive import Archive, sent
from fleetpulse.chat.senders import Senders, newest
from fleetpulse.chat.signs import Signs
from fleetpulse.chat.topics import CHAT
from fleetpulse.chat.writing import DIRECT, EVERYONE
from fleetpulse.errors import OverloadedError
from fleetpulse.instruments import Instruments
from fleetpulse.journal import MESSAGES, Journal, MailRow, MessageRow, Row, Table
from fleetpulse.journal.receipts import Fate, Receipt, SaveReading, SaveReceipts, Sent, undelivered
from fleetpulse.live import Hub
from fleetpulse.live.bus import Bus

CHANNEL = "chat.receipts"
MAX_SESSIONS = 2_000
MAX_PENDING = 500  # messages of a session that nobody has yet
MAX_MARKS = 10_000  # receipts on their way to disk
Changed = Callable[[Receipt], None]
log = logging.getLogger(__name__)


class Proven(NamedTuple):
    """Of a session, a user's client has an origin's messages with offsets in (after, upto]."""

    epoch: str
    session_id: str
    user_id: str
    after: int
    upto: int


class Receipts:
    """The messages of sessions that nobody else's client has proved to have, and receipts on their way to disk."""

    def __init__(  # noqa: PLR0913 - the parts it works with
        self,
        journal: Journal,
        archive: Archive,
        senders: Senders,
        signs: Signs,
        hub: Hub,
        bus: Bus,
        instruments: Instruments,
        changed: Changed,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`changed` hears of receipts that are new and on disk; of several of one user's at once, of the newest."""
        self._journal = journal
        self._archive = archive
        self._senders = senders
        self._signs = signs
        self._hub = hub
        self._bus = bus
        self._changed = changed
        self._clock = clock
        self._dropped = instruments.counter(catalogue.CHAT_RECEIPTS_DROPPED)
        self._pending: OrderedDict[str, deque[Sent]] = OrderedDict()
        self._marks: list[Receipt] = []
        self._readings: dict[tuple[str, str], SaveReading] = {}
        self._told = _Told()
        self._task: asyncio.Task[None] | None = None
        bus.on(CHANNEL, self._heard)

    def restore(self) -> None:
        """Reads which messages nobody has yet. Call once, before the journal is written to."""
        with closing(self._journal.reader()) as connection:
            for message in undelivered(connection):
                self._expect(message)

    def stored(self, table: Table, rows: Sequence[Row], first_id: int) -> None:
        """Messages were stored: their receipts may come."""
        if table is not MESSAGES:
            return
        for number, row in enumerate(rows, first_id):
            if isinstance(row, MessageRow) and row.session_id is not None:
                self._expect(sent(number, row))

    def proved(self, proven: Proven) -> None:
        """A user's client has messages of a session."""
        if proven.epoch == self._journal.epoch:
            self._deliver(proven)
        elif self._told.is_new(proven):
            self._bus.send(CHANNEL, proven._asdict())

    def mail(self, user_id: str, rows: Sequence[MailRow]) -> None:
        """A user has received what was addressed to them."""
        for row in rows:
            if row.kind == DIRECT:
                self.note(orjson.loads(row.payload)["message"]["message_id"], "delivered", user_id)

    def note(self, message_id: str, fate: Fate, user_id: str, sessions: Collection[str] = ()) -> bool:
        """A user, who is in these sessions, has a message, or has read it and those before it in its session.

        False where it is no message of theirs. One that is not known here may be another replica's, which is told.
        """
        found = self._archive.numbered(message_id)
        if found is None:
            about = {"message_id": message_id, "fate": fate, "user_id": user_id, "sessions": sorted(sessions)}
            self._bus.send(CHANNEL, about)
            return len(self._hub.tops(CHAT) or ()) > 1
        message = sent(*found)
        if message.session_id not in sessions and message.recipient not in (user_id, EVERYONE):
            return False
        if message.sender == user_id:
            return True
        if fate == "read" and message.session_id is not None:
            self._signs.read(message.session_id, user_id, message_id)
            self._read(message.session_id, message.number, user_id)
        elif fate != "sent":
            self._mark(Receipt(message, fate, user_id, self._clock()))
        return True

    async def drain(self) -> None:
        """Waits until every receipt is written and told."""
        while self._task is not None:
            await self._task

    # What is known -------------------------------------------------------------------------------------------
    def _expect(self, message: Sent) -> None:
        session_id = message.session_id or ""
        self._pending.setdefault(session_id, deque(maxlen=MAX_PENDING)).append(message)
        self._pending.move_to_end(session_id)
        while len(self._pending) > MAX_SESSIONS:
            self._pending.popitem(last=False)

    def _deliver(self, proven: Proven) -> None:
        waiting = self._pending.get(proven.session_id, ())
        reached = [
            each for each in waiting if proven.after < each.number <= proven.upto and each.sender != proven.user_id
        ]
        if not reached:
            return
        now, numbers = self._clock(), {each.number for each in reached}
        for each in reached:
            self._mark(Receipt(each, "delivered", proven.user_id, now))
        left = [each for each in waiting if each.number not in numbers]
        if left:
            self._pending[proven.session_id] = deque(left, maxlen=MAX_PENDING)
        else:
            del self._pending[proven.session_id]

    def _heard(self, payload: Mapping[str, Any]) -> None:
        """Another replica has receipts of messages that are not its own."""
        if "epoch" in payload:
            proven = Proven(**{name: payload[name] for name in Proven._fields})
            if proven.epoch == self._journal.epoch:
                self._deliver(proven)
        elif self._archive.numbered(str(payload["message_id"])) is not None:
            self.note(str(payload["message_id"]), payload["fate"], str(payload["user_id"]), payload["sessions"])

    # To disk -------------------------------------------------------------------------------------------------
    def _mark(self, receipt: Receipt) -> None:
        if len(self._marks) >= MAX_MARKS:
            self._dropped.inc()
            return
        self._marks.append(receipt)
        self._begin()

    def _read(self, session_id: str, upto: int, user_id: str) -> None:
        """Of several of one user's the last counts, as it speaks for those before."""
        key = session_id, user_id
        if key not in self._readings and len(self._readings) >= MAX_MARKS:
            self._dropped.inc()
            return
        known = self._readings.get(key)
        upto = max(upto, known.upto if known else 0)
        self._readings[key] = SaveReading(session_id, upto, user_id, self._clock(), MAX_PENDING)
        self._begin()

    def _begin(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        """Writes what there is, until there is no more: what comes meanwhile is written together."""
        try:
            while self._marks or self._readings:
                marks, readings = self._marks, list(self._readings.values())
                self._marks, self._readings = [], {}
                await self._save([SaveReceipts(marks), *readings] if marks else readings)
        finally:
            self._task = None

    async def _save(self, writes: Sequence[SaveReceipts | SaveReading]) -> None:
        results = await asyncio.gather(*map(self._journal.submit, writes), return_exceptions=True)
        new: list[Receipt] = []
        for write, result in zip(writes, results, strict=True):
            if isinstance(result, list):
                new += result if isinstance(write, SaveReceipts) else newest(result)
            elif isinstance(result, OverloadedError):
                self._dropped.inc(write.size)
                log.warning("receipts of messages are not written: %s", result.detail)
            elif isinstance(result, BaseException):
                raise result
        for receipt in new:
            self._changed(receipt)
        await self._senders.tell(new)


class _Told:
    """Which proofs other replicas were told of: once two users have messages, no third one's says more."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], list[Proven]] = OrderedDict()

    def is_new(self, proven: Proven) -> bool:
        known = self._known.setdefault((proven.epoch, proven.session_id), [])
        covering = {each.user_id for each in known if each.after <= proven.after and each.upto >= proven.upto}
        if len(covering) > 1 or proven.user_id in covering:
            return False
        known[:] = [*(each for each in known if each.user_id != proven.user_id), proven][-2:]
        self._known.move_to_end((proven.epoch, proven.session_id))
        while len(self._known) > MAX_SESSIONS:
            self._known.popitem(last=False)
        return True
