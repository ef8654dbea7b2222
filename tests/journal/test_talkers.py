"""Who wrote, read back a few rows at a time."""

from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection

import pytest
from tests.journal.stand import NOW, at_work

from fleetpulse.journal import MESSAGES, MessageRow
from fleetpulse.journal.talkers import Talker, read_talkers

DAY = NOW - 100
SINCE = NOW - 1_000


def row(number: int, user: str, at: float, stream: str = "room", connection: str | None = "c") -> MessageRow:
    return MessageRow(f"m{number}", at, None, stream, "message", None, user, "hi", connection=connection)


ROWS = (
    row(1, "a", SINCE - 1),
    row(2, "a", DAY - 50),
    row(3, "a", DAY),
    row(4, "b", DAY + 10),
    row(5, "a", DAY + 20, stream="hall"),
    row(6, "a", DAY + 30),
    row(7, "", DAY + 40),
    row(8, "own", DAY + 40, connection=None),
)


@pytest.fixture
async def reader(tmp_path: Path) -> AsyncIterator[Connection]:
    async with at_work(tmp_path / "journal.db") as stand:
        await stand.journal.store(MESSAGES, ROWS)
        with closing(stand.journal.reader()) as connection:
            yield connection


async def test_users_are_told_by_stream_and_day_who_wrote_last_last(reader: Connection) -> None:
    assert read_talkers(reader, 0, 8, SINCE, DAY) == [
        Talker("room", "a", 1, DAY - 50, DAY - 50),
        Talker("room", "b", 1, DAY + 10, DAY + 10),
        Talker("hall", "a", 1, DAY + 20, DAY + 20),
        Talker("room", "a", 2, DAY, DAY + 30),
    ]


async def test_a_hole_is_not_the_end_but_older_rows_are(reader: Connection) -> None:
    assert read_talkers(reader, 6, 8, SINCE, DAY) == []
    assert read_talkers(reader, 100, 200, SINCE, DAY) == []
    assert read_talkers(reader, 0, 1, SINCE, DAY) is None
