"""A table as a stream of the live feed: what is read back equals what was published."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.journal.stand import NOW, Stand, at_work, requests

from fleetpulse.journal import MAILBOX, MESSAGES, REQUESTS, MailRow, MessageRow, history
from fleetpulse.journal.history import CHAT_STREAM, INBOX_STREAM, REQUEST_STREAM, JournalHistory
from fleetpulse.journal.writes import DeleteOldest


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with at_work(tmp_path / "journal.db") as made:
        yield made


def message(number: int, session: str | None, stream: str = "chat") -> MessageRow:
    return MessageRow(f"m{number}", NOW, None, stream, "text", session, "ann", "hello")


async def test_rows_come_back_as_they_were_published(stand: Stand) -> None:
    rows = requests(range(7))
    await stand.journal.store(REQUESTS, rows)
    kept = JournalHistory(stand.journal, REQUEST_STREAM)
    published = REQUEST_STREAM.stored(rows, 1)
    assert (kept.epoch, kept.newest(), kept.floor("requests")) == (stand.journal.epoch, 7, 0)
    page = kept.after("requests", 2, 6, 10)
    assert [row._replace(at=None) for row in page.rows] == published[2:6]
    assert {row.at for row in page.rows} == {NOW}
    assert (page.upto, page.floor) == (6, 0)
    first = kept.after("requests", 2, 6, 3)
    assert ([row.offset for row in first.rows], first.upto) == ([3, 4, 5], 5)


async def test_what_retention_deleted_is_said(stand: Stand) -> None:
    await stand.journal.store(REQUESTS, requests(range(10)))
    await stand.journal.submit(DeleteOldest(REQUESTS, 4))
    kept = JournalHistory(stand.journal, REQUEST_STREAM)
    assert kept.floor("requests") == 4
    page = kept.after("requests", 1, 8, 10)
    assert ([row.offset for row in page.rows], page.upto, page.floor) == ([5, 6, 7, 8], 8, 4)
    gone = kept.after("requests", 1, 3, 10)
    assert (gone.rows, gone.upto, gone.floor) == ([], 3, 4)


async def test_a_sub_topic_is_some_rows_of_its_family(stand: Stand) -> None:
    rows = [message(1, "a"), message(2, "b"), message(3, "a", "tap"), message(4, None), message(5, "a")]
    await stand.journal.store(MESSAGES, rows)
    kept = JournalHistory(stand.journal, CHAT_STREAM)
    assert [row.offset for row in kept.after("chat", 0, 5, 10).rows] == [1, 2, 4, 5]
    assert [row.offset for row in kept.after("chat/a", 0, 5, 10).rows] == [1, 5]
    assert [row._replace(at=None) for row in kept.after("chat", 0, 5, 10).rows] == CHAT_STREAM.stored(rows, 1)
    assert [row.topics for row in CHAT_STREAM.stored(rows, 1)] == [("chat/a",), ("chat/b",), (), ("chat/a",)]
    assert kept.after("chat/none", 0, 5, 10) == ([], 5, 0, [])


async def test_a_page_looks_at_so_many_ids(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "SPAN", 3)
    await stand.journal.store(MESSAGES, [message(n, "a" if n == 8 else "b") for n in range(1, 10)])
    kept = JournalHistory(stand.journal, CHAT_STREAM)
    pages, at = [], 0
    while at < 9:
        pages.append(kept.after("chat/a", at, 9, 10))
        at = pages[-1].upto
    assert [[row.offset for row in page.rows] for page in pages] == [[], [], [8]]


async def test_received_mail_is_no_loss(stand: Stand) -> None:
    rows = [MailRow(f"d{n}", NOW, "ann", "chat", "{}") for n in range(3)]
    await stand.journal.store(MAILBOX, rows)
    kept = JournalHistory(stand.journal, INBOX_STREAM)
    assert (kept.floor("inbox"), kept.newest()) == (0, 3)
    assert [row.offset for row in kept.after("inbox/ann", 0, 3, 10).rows] == [1, 2, 3]
    assert kept.after("inbox/ann", 0, 3, 10).floor == 0
