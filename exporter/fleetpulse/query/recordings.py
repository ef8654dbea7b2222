"""Recorded streams as they are played again: their messages in order, page by page, with payloads."""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from fleetpulse.journal import MESSAGES, MessageRow
from fleetpulse.journal.positions import bounds, first_since
from fleetpulse.query.messages import MESSAGE_LOG
from fleetpulse.query.room import ReadingRoom

PAGE_ROWS = 256
PAGE_CHARACTERS = 2**21  # then a page ends, even after one message
COLUMNS = ",".join(MESSAGES.columns)


class Played(NamedTuple):
    """A message and its id in the journal."""

    number: int
    row: MessageRow


class Stretch(NamedTuple):
    """A part of a stream: the ids of its first and its last message."""

    stream: str
    first: int
    last: int


class Recordings:
    """Reads in the reading room."""

    def __init__(self, room: ReadingRoom) -> None:
        self._room = room

    async def stretch(self, stream: str, start: float | None, end: float | None) -> Stretch | None:
        """What of a stream was received from `start` up to `end` (Unix seconds); None where nothing was.

        Raises OverloadedError.
        """

        def read() -> Stretch | None:
            with self._room.leases.lease() as journal:
                first, last = _ids(journal, stream, start, end)
            return None if first is None else Stretch(stream, first, last)

        return await self._room.in_turn(read)

    async def after(self, stretch: Stretch, number: int) -> Sequence[Played]:
        """The next messages after an id; none at the end. Raises OverloadedError where storage does not answer."""

        def read() -> Sequence[Played]:
            with self._room.leases.lease() as journal:
                return _page(journal, stretch, number)

        return await self._room.run(read)


def _ids(
    journal: sqlite3.Connection, stream: str, start: float | None, end: float | None
) -> tuple[int | None, int]:
    low, high = bounds(journal, MESSAGES)
    low = low if start is None else first_since(journal, start, MESSAGES)
    high = high if end is None else first_since(journal, end, MESSAGES) - 1
    first, last = journal.execute(
        "SELECT min(id), max(id) FROM messages WHERE stream = ? AND id BETWEEN ? AND ?", (stream, low, high)
    ).fetchone()
    return first, last


def _page(journal: sqlite3.Connection, stretch: Stretch, number: int) -> list[Played]:
    found: list[Played] = []
    characters = 0
    rows = journal.execute(
        f"SELECT id,{COLUMNS} FROM messages INDEXED BY messages_stream "  # noqa: S608 - our own names
        "WHERE stream = ? AND id > ? AND id <= ? ORDER BY id LIMIT ?",
        (stretch.stream, number, stretch.last, PAGE_ROWS),
    )
    for each, *values in rows:
        found.append(Played(each, MessageRow(*values)))
        characters += MESSAGE_LOG.weight(found[-1].row)
        if characters >= PAGE_CHARACTERS:
            rows.close()
            break
    return found
