"""The mailbox: what is addressed to one user, kept on disk until a client of theirs has proved receipt.

Promises: what `post` returned for is delivered, in order, to every open connection of the user, or to the first one
that opens later, after any restart; and is deleted on the first receipt. Receipt is proved by the connection's pong
to a ping that was sent after the message, so clients need to do nothing for it. A cut between delivery and receipt
means delivery again, with the same `offset` and `delivery_id`: at least once, and once for who looks at either.

Bounded per user, in all, and by age; a full box refuses what is new, and says so.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from fleetpulse import catalogue, config
from fleetpulse.errors import LimitedError, OverloadedError
from fleetpulse.instruments import Instruments
from fleetpulse.journal import MAILBOX, Journal, MailRow
from fleetpulse.journal.mail import ExpireMail, ReceiveMail, boxes

EXPIRE_SECONDS = 60.0
EXPIRE_ROWS = 256
PAUSE_SECONDS = 0.01
DAY_SECONDS = 86_400
RETRY_SECONDS = 60
Received = Callable[[str, Sequence[MailRow]], None]
"""Hears what a user has received: the user, and the rows, in order."""
log = logging.getLogger(__name__)


class _Box:
    """One user's: how much waits, and up to which id everything was received."""

    __slots__ = ("received", "waiting")

    def __init__(self, received: int, waiting: int) -> None:
        self.received = received
        self.waiting = waiting


class Mailbox:
    """Everyone's. Lives on the event loop; memory goes with the users for whom something waits."""

    def __init__(
        self,
        journal: Journal,
        settings: config.Chat,
        instruments: Instruments,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal = journal
        self._settings = settings
        self._clock = clock
        self._boxes: dict[str, _Box] = {}
        self._total = 0
        self._listeners: list[Received] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._dropped = instruments.counter(catalogue.MAILBOX_DROPPED)
        for reason in ("full", "age"):
            self._dropped.labels(reason)
        instruments.gauge(catalogue.MAILBOX_MESSAGES).set_function(lambda: self._total)

    def restore(self) -> None:
        """Reads what waits. Call once, before the journal is written to."""
        connection = self._journal.reader()
        try:
            for box in boxes(connection):
                self._boxes[box.user_id] = _Box(box.first - 1, box.waiting)
                self._total += box.waiting
        finally:
            connection.close()

    def on_received(self, listener: Received) -> None:
        """Adds one who hears of receipts; called on the loop, must not wait."""
        self._listeners.append(listener)

    def waiting(self, user_id: str) -> int:
        """How much waits for a user."""
        box = self._boxes.get(user_id)
        return box.waiting if box else 0

    @property
    def total(self) -> int:
        """How much waits for all users together."""
        return self._total

    def position(self, user_id: str) -> int | None:
        """Everything up to this id was received; None where nothing waits."""
        box = self._boxes.get(user_id)
        return box.received if box else None

    def full(self, user_id: str) -> bool:
        """Whether a post to this user would be refused now."""
        return (
            self.waiting(user_id) >= self._settings.mailbox_messages or self._total >= self._settings.mailbox_total
        )

    async def post(self, user_id: str, kind: str, payload: Mapping[str, Any], delivery_id: str) -> bool:
        """Keeps something for a user; returns after the commit, when its delivery is under way.

        `payload` is the server message to send. False where `delivery_id` waits already. Raises LimitedError where
        the user's box is full, OverloadedError where all are, or the journal is: nothing was kept.
        """
        self.reserve(user_id)
        return await self.keep(MailRow(delivery_id, self._clock(), user_id, kind, orjson.dumps(payload).decode()))

    def reserve(self, user_id: str) -> None:
        """Takes a place in a user's box, which `keep` must fill; raises as `post`."""
        self._ensure_room(user_id)
        box = self._boxes.setdefault(user_id, _Box(self._journal.newest_id(MAILBOX), 0))
        box.waiting += 1
        self._total += 1

    async def keep(self, row: MailRow) -> bool:
        """Stores a row for which a place is reserved; as `post`."""
        try:
            outcome = await self._journal.store(MAILBOX, [row])
        except Exception:  # nothing was kept; who is only cancelled has it kept all the same
            self._taken(row.user_id, 1)
            raise
        if not outcome.new:
            self._taken(row.user_id, 1)
        return bool(outcome.new)

    def received(self, user_id: str, upto: int) -> None:
        """A client of the user proved that it has everything up to an id."""
        self._let_go(user_id, upto, self._tell)

    def moved(self, user_id: str, upto: int) -> None:
        """Everything up to an id waits at another replica now: nobody has received it."""
        self._let_go(user_id, upto, None)

    def _let_go(self, user_id: str, upto: int, tell: Received | None) -> None:
        box = self._boxes.get(user_id)
        if box is None or upto <= box.received:
            return
        box.received = upto
        task = asyncio.get_running_loop().create_task(self._delete(user_id, upto, tell))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def run(self) -> None:
        """Drops what waited for too long; until cancelled."""
        while True:
            try:
                more = await self.expire()
            except OverloadedError as error:  # a full disk: the next round tries again
                log.warning("what waited for too long is not dropped: %s", error.detail)
                more = False
            await asyncio.sleep(PAUSE_SECONDS if more else EXPIRE_SECONDS)

    async def expire(self) -> bool:
        """Drops some of what waited for too long; False where there is no more."""
        before = self._clock() - self._settings.mailbox_days * DAY_SECONDS
        users = await self._journal.submit(ExpireMail(before, EXPIRE_ROWS))
        assert isinstance(users, list)  # noqa: S101 - what ExpireMail returns
        for user_id in users:
            self._taken(user_id, 1)
        self._dropped.labels("age").inc(len(users))
        return bool(users)

    async def drain(self) -> None:
        """Waits until every receipt is written."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _delete(self, user_id: str, upto: int, tell: Received | None) -> None:
        try:
            gone = await self._journal.submit(ReceiveMail(user_id, upto))
        except OverloadedError as error:  # it stays on disk, and is sent again after a restart
            log.warning("a receipt is not written: %s", error.detail)
            return
        assert isinstance(gone, list)  # noqa: S101 - what ReceiveMail returns
        self._taken(user_id, len(gone))
        if tell is not None:
            tell(user_id, [each.row for each in gone if isinstance(each.row, MailRow)])

    def _tell(self, user_id: str, rows: Sequence[MailRow]) -> None:
        for listener in self._listeners:
            try:
                listener(user_id, rows)
            except Exception:
                log.exception("one who listens for receipts failed")

    def _taken(self, user_id: str, count: int) -> None:
        box = self._boxes.get(user_id)
        if box is None:
            return
        box.waiting -= count
        self._total -= count
        if box.waiting <= 0:
            del self._boxes[user_id]

    def _ensure_room(self, user_id: str) -> None:
        if self.waiting(user_id) >= self._settings.mailbox_messages:
            self._dropped.labels("full").inc()
            raise LimitedError(
                f"chat.mailbox_messages: {self._settings.mailbox_messages} wait for this user already"
            )
        if self._total >= self._settings.mailbox_total:
            self._dropped.labels("full").inc()
            raise OverloadedError("chat.mailbox_total: too much waits for people who are away", RETRY_SECONDS)
