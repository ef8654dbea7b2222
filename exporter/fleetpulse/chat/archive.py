"""Stored chat messages, as they are asked for: small look-ups on the loop, pages on a thread."""

import asyncio
from collections.abc import Mapping
from contextlib import closing
from typing import NamedTuple

from fleetpulse.journal import MESSAGES, Journal, MessageRow
from fleetpulse.journal.conversations import CHAT, before_last, message_by_id, messages_before
from fleetpulse.journal.receipts import Fate, Sent, fates

END = 2**62
READERS = 4


class Conversation(NamedTuple):
    """Messages of a session by their ids, the newest first, and what became of each.

    The next page has those before the id `next_id`.
    """

    rows: Mapping[int, MessageRow]
    fates: Mapping[int, Fate]
    next_id: int | None


class Archive:
    """Reads the journal; `close` it before the journal stops."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._reader = journal.reader()
        self._places = asyncio.Semaphore(READERS)

    def close(self) -> None:
        """Closes what it reads with."""
        self._reader.close()

    def find(self, message_id: str) -> MessageRow | None:
        """One message."""
        found = self.numbered(message_id)
        return None if found is None else found[1]

    def numbered(self, message_id: str) -> tuple[int, MessageRow] | None:
        """One message, after its id in the journal."""
        found = message_by_id(self._reader, message_id)
        return (found.number, found.row) if found is not None and isinstance(found.row, MessageRow) else None

    def before_last(self, session_id: str, count: int) -> int:
        """The position after which a session's last `count` messages come."""
        if not count:
            return self._journal.newest_id(MESSAGES)
        return max(before_last(self._reader, session_id, count), self._journal.floor_of(CHAT))

    async def page(self, session_id: str, limit: int, before: int | None, text: str | None) -> Conversation:
        """A page of a session's messages, those that hold `text` where it is given."""
        async with self._places:
            return await asyncio.to_thread(self._read, session_id, limit, before or END, text)

    def _read(self, session_id: str, limit: int, before: int, text: str | None) -> Conversation:
        with closing(self._journal.reader()) as connection:
            found = messages_before(connection, session_id, before, limit + 1, text)
            rows = {each.number: each.row for each in found[:limit] if isinstance(each.row, MessageRow)}
            known = fates(connection, rows)
        return Conversation(rows, known, found[limit - 1].number if len(found) > limit else None)


def sent(number: int, row: MessageRow) -> Sent:
    """A stored message as its receipts know it."""
    return Sent(number, row.message_id, row.session_id, row.user_id, row.recipient)
