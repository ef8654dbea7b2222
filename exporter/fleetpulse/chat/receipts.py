"""Receipts: whose message has reached somebody else's client, which its sender is told once.

Kept in memory, bounded: a message whose receipt comes after many others, or after a restart, stays `sent`.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import orjson

from fleetpulse.chat.messages import status_update
from fleetpulse.chat.routing import Router
from fleetpulse.chat.writing import DIRECT
from fleetpulse.journal import MESSAGES, MailRow, MessageRow, Row, Table

MAX_SESSIONS = 2_000
MAX_PENDING = 500


class _Pending(NamedTuple):
    offset: int
    message_id: str
    sender: str


class Receipts:
    """The messages of sessions that no other user's client has proved to have."""

    def __init__(self, router: Router, clock: Callable[[], float] = time.time) -> None:
        self._router = router
        self._clock = clock
        self._pending: OrderedDict[str, deque[_Pending]] = OrderedDict()

    def stored(self, table: Table, rows: Sequence[Row], first_id: int) -> None:
        """Messages were stored: their receipts may come."""
        if table is not MESSAGES:
            return
        for number, row in enumerate(rows, first_id):
            if isinstance(row, MessageRow) and row.session_id is not None:
                waiting = self._pending.setdefault(row.session_id, deque(maxlen=MAX_PENDING))
                waiting.append(_Pending(number, row.message_id, row.user_id))
                self._pending.move_to_end(row.session_id)
        while len(self._pending) > MAX_SESSIONS:
            self._pending.popitem(last=False)

    def proved(self, session_id: str, user_id: str, upto: int) -> None:
        """A user's client has a session's messages up to an id: their senders are told, the user excepted."""
        waiting = self._pending.get(session_id)
        if waiting is None:
            return
        own = [each for each in waiting if each.offset > upto or each.sender == user_id]
        if len(own) == len(waiting):
            return
        for each in waiting:
            if each.offset <= upto and each.sender != user_id:
                self._tell(each.sender, each.message_id, user_id, session_id=session_id)
        self._pending[session_id] = deque(own, maxlen=MAX_PENDING)
        if not own:
            del self._pending[session_id]

    def mail(self, user_id: str, rows: Sequence[MailRow]) -> None:
        """A user has received what was addressed to them: who wrote it is told."""
        for row in rows:
            if row.kind == DIRECT:
                message = orjson.loads(row.payload)["message"]
                self._tell(message["user_id"], message["message_id"], user_id, recipient=user_id)

    def _tell(self, sender: str, message_id: str, user_id: str, **more: str) -> None:
        update = status_update(message_id, "delivered", self._clock(), user_id=user_id, **more)
        self._router.push(sender, update)
