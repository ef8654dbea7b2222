"""Mail across replicas: what waits here for a user who is at another replica, and not here, moves there.

The rows go over in order, a few at a time. The other replica stores them in its own mailbox, under the same
delivery ids, and says so; only then are they deleted here. A row that is offered again is known by its place (this
journal's epoch and its id) and not stored twice; only a restart of the other replica between storing a row and
saying so may bring it twice, with the same `delivery_id`.

Who is at both replicas has it from here; their connections there are sent a copy, which nobody answers for.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from fleetpulse.cluster.batches import Batch, packed, row_id, unpacked
from fleetpulse.cluster.bus import RedisBus
from fleetpulse.cluster.peers import Peers
from fleetpulse.cluster.resting import rest
from fleetpulse.errors import LimitedError, OverloadedError
from fleetpulse.journal import MAILBOX, Journal, MailRow, Numbered, Row, Table
from fleetpulse.journal.history import INBOX_STREAM, JournalHistory
from fleetpulse.live.connection import Connection
from fleetpulse.live.presence import Presence

MOVE = "mail.move"
MOVED = "mail.moved"
PAGE_ROWS = 50
LOOK_SECONDS = 1.0
ANSWER_SECONDS = 5.0
STEP = 500  # connections looked at before others get their turn
MAX_REMEMBERED = 20_000  # users of other replicas whose mail came here
MAX_WAITING = 256  # offers being stored; past it they are not taken, and come again
log = logging.getLogger(__name__)


class Box(Protocol):
    """The mailbox, as far as it is known here."""

    def waiting(self, user_id: str) -> int:
        """How much waits for a user."""

    def position(self, user_id: str) -> int | None:
        """Everything up to this id was received; None where nothing waits."""

    def reserve(self, user_id: str) -> None:
        """Takes a place in a user's box, which `keep` must fill; raises LimitedError or OverloadedError."""

    async def keep(self, row: MailRow) -> bool:
        """Stores a row for which a place is reserved; False where it is stored already."""

    def moved(self, user_id: str, upto: int) -> None:
        """Everything up to an id waits elsewhere now."""


class MailRelay:
    """Moves mail after its users, from here and to here. Belongs to the event loop's thread."""

    def __init__(  # noqa: PLR0913 - the parts it is wired from
        self,
        bus: RedisBus,
        peers: Peers,
        journal: Journal,
        presence: Presence,
        box: Box,
        push: str,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        """`push` is the bus's channel of messages to whoever of a user is at the other replicas."""
        self._push = push
        self._bus = bus
        self._peers = peers
        self._journal = journal
        self._history = JournalHistory(journal, INBOX_STREAM)
        self._presence = presence
        self._box = box
        self._timer = timer
        self._offered: dict[str, float] = {}
        self._came: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._storing: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        bus.on(MOVE, self._take)
        bus.on(MOVED, self._gone)
        presence.listen(self)

    # A presence.Listener -------------------------------------------------------------------------------------
    def connected(self, connection: Connection) -> None:
        """Here their mail is sent anyway."""

    def disconnected(self, connection: Connection) -> None:  # noqa: ARG002 - an interface
        """They may still be at another replica."""
        self._wake.set()

    def user_changed(self, user_id: str, sessions: Iterable[str], *, online: bool) -> None:
        """They may have come to another replica."""
        del user_id, sessions
        if online:
            self._wake.set()

    # A cluster.Hearer ----------------------------------------------------------------------------------------
    def stored(self, table: Table, rows: Sequence[Row], first_id: int) -> None:
        """Mail was stored here."""
        del first_id
        for row in rows if table is MAILBOX else ():
            assert isinstance(row, MailRow)  # noqa: S101 - what the table holds
            at = {connection.replica for connection in self._presence.of_user(row.user_id)}
            if self._bus.replica not in at:
                self._wake.set()
            elif len(at) > 1:
                self._bus.send(self._push, {"to": {"user": row.user_id}, "message": row.as_json()})

    # From here -----------------------------------------------------------------------------------------------
    async def run(self) -> None:
        """Offers what waits for users who are elsewhere, until cancelled."""
        while True:
            await rest(self._wake, LOOK_SECONDS)
            await self._look()

    async def _look(self) -> None:
        here = {connection.user_id for connection in self._presence.local()}
        there = {connection.user_id: connection.replica for connection in self._presence.remote.values()}
        for number, (user_id, replica) in enumerate(there.items(), 1):
            if user_id not in here and self._box.waiting(user_id):
                await self._offer(user_id, replica)
            if number % STEP == 0:
                await asyncio.sleep(0)

    async def _offer(self, user_id: str, replica: str) -> None:
        now, begin = self._timer(), self._box.position(user_id)
        run_id = next((peer.run_id for peer in self._peers.all() if peer.replica == replica), None)
        if begin is None or run_id is None or now - self._offered.get(user_id, -ANSWER_SECONDS) < ANSWER_SECONDS:
            return
        newest = self._journal.newest_id(MAILBOX)
        topic = f"{INBOX_STREAM.family}/{user_id}"
        page = await asyncio.to_thread(self._history.after, topic, begin, newest, PAGE_ROWS)
        rows = [Numbered(each.offset, each.data) for each in page.rows]
        if not rows:
            return
        self._offered[user_id] = now
        to = {"run": self._bus.run_id, "user": user_id}
        payload = next(packed(self._journal.epoch, MAILBOX, begin, page.upto, rows))
        self._bus.send_to(run_id, MOVE, payload | to)

    def _gone(self, payload: Mapping[str, Any]) -> None:
        """The other replica has stored some: they need not wait here, and the next may go."""
        user_id = str(payload["user"])
        if payload["epoch"] == self._journal.epoch:
            upto = row_id(payload["upto"])
            if upto > self._journal.newest_id(MAILBOX):
                raise ValueError("mail that was never here is said to have moved")
            self._offered.pop(user_id, None)
            self._box.moved(user_id, upto)
            self._wake.set()

    # To here -------------------------------------------------------------------------------------------------
    def _take(self, payload: Mapping[str, Any]) -> None:
        user_id, run_id, batch = str(payload["user"]), str(payload["run"]), unpacked(payload)
        if not all(isinstance(each.row, MailRow) and each.row.user_id == user_id for each in batch.rows):
            raise ValueError("this is not one user's mail")
        if len(self._storing) < MAX_WAITING:
            task = asyncio.get_running_loop().create_task(self._store(user_id, run_id, batch))
            self._storing.add(task)
            task.add_done_callback(self._storing.discard)

    async def _store(self, user_id: str, run_id: str, batch: Batch) -> None:
        origin = batch.epoch, user_id
        try:
            await self._keep(origin, batch.rows)
        except (LimitedError, OverloadedError) as error:  # it waits where it is, and is offered again
            log.warning("mail of another replica cannot be taken: %s", error.detail)
        upto = self._came.get(origin, 0)
        if upto:
            answer = {"epoch": batch.epoch, "user": user_id, "upto": upto}
            self._bus.send_to(run_id, MOVED, answer)

    async def _keep(self, origin: tuple[str, str], rows: Sequence[Numbered]) -> None:
        for each in rows:
            if each.number <= self._came.get(origin, 0) or not isinstance(each.row, MailRow):
                continue
            self._box.reserve(each.row.user_id)
            await self._box.keep(each.row)
            self._came[origin] = max(each.number, self._came.get(origin, 0))
            self._came.move_to_end(origin)
        while len(self._came) > MAX_REMEMBERED:
            self._came.popitem(last=False)
