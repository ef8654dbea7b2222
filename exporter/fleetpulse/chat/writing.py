"""Chat messages on their way to disk: what is stored once, told of after the commit, and never twice.

Promises: `store` returns after the commit. A message id that is stored already, or on its way, is a duplicate: it
is acknowledged and changes nothing, neither the history nor a mailbox.
"""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

import orjson

from fleetpulse.chat.archive import Archive
from fleetpulse.chat.mailbox import Mailbox
from fleetpulse.chat.messages import new_message
from fleetpulse.journal import MESSAGES, Journal, MailRow, MessageRow
from fleetpulse.signals import ChatMessage

DIRECT = "chat"
EVERYONE = "*"
WRITTEN = "m_"  # what ids of messages begin with that users wrote


class Written(NamedTuple):
    """What became of a message: `duplicate` where it was stored before."""

    row: MessageRow
    duplicate: bool


class Writing:
    """The one way to disk of the exporter's own chat messages."""

    def __init__(
        self, journal: Journal, archive: Archive, mailbox: Mailbox, clock: Callable[[], float] = time.time
    ) -> None:
        self._journal = journal
        self._archive = archive
        self._mailbox = mailbox
        self._clock = clock
        self._under_way: dict[str, asyncio.Future[None]] = {}

    async def store(self, message: ChatMessage) -> Written:
        """Stores a message; to one user it goes into their mailbox in the same transaction.

        Raises LimitedError or OverloadedError (also StorageFullError): nothing was kept.
        """
        row = self._row(message)
        while (other := self._under_way.get(message.message_id)) is not None:
            await asyncio.wait([other])
        if self._archive.find(message.message_id) is not None:
            return Written(row, duplicate=True)
        done = self._under_way[message.message_id] = asyncio.get_running_loop().create_future()
        try:
            duplicate = await self._commit(row)
        finally:
            del self._under_way[message.message_id]
            done.set_result(None)
        return Written(row, duplicate)

    async def _commit(self, row: MessageRow) -> bool:
        """Both are queued in one turn of the loop, the mail first: a stored message was mailed."""
        if row.recipient in (None, EVERYONE):
            return not (await self._journal.store(MESSAGES, [row])).new
        mail = MailRow(row.message_id, row.received_at, str(row.recipient), DIRECT, _payload(row))
        self._mailbox.reserve(mail.user_id)
        _, outcome = await asyncio.gather(self._mailbox.keep(mail), self._journal.store(MESSAGES, [row]))
        return not outcome.new

    def _row(self, message: ChatMessage) -> MessageRow:
        return MessageRow(
            message.message_id,
            self._clock(),
            message.timestamp.timestamp() if message.timestamp else None,
            message.stream,
            message.kind,
            message.session_id,
            message.user_id,
            message.text,
            orjson.dumps(message.metadata).decode() if message.metadata else None,
            message.recipient,
        )


def _payload(row: MessageRow) -> str:
    return orjson.dumps(new_message(row.as_json())).decode()
