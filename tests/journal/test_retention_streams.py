"""Streams of messages that are kept for times of their own: what goes, what stays, and what is said of it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.journal.stand import NOW, Stand, at_work

from fleetpulse import catalogue
from fleetpulse.config import Journal as JournalSettings
from fleetpulse.journal import MESSAGES, MessageRow, Retention
from fleetpulse.journal.history import CHAT_STREAM, MESSAGE_STREAM, JournalHistory
from fleetpulse.journal.retention import CHUNK_ROWS, DAY_SECONDS
from fleetpulse.journal.writes import DeleteOldest

OLD, NEW = NOW - 2 * DAY_SECONDS, NOW - 0.5 * DAY_SECONDS


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with at_work(tmp_path / "journal.db") as made:
        yield made


def message(number: int, stream: str, at: float = OLD) -> MessageRow:
    return MessageRow(f"m{number}", at, None, stream, "text", "room", "ann", "hello")


async def store(stand: Stand, streams: str, at: float = OLD) -> None:
    """A row for each letter, of the stream with that name; `c` is the chat."""
    first = stand.journal.newest_id(MESSAGES) + 1
    named = {"c": "chat"}
    rows = [message(n, named.get(letter, letter), at) for n, letter in enumerate(streams, first)]
    await stand.journal.store(MESSAGES, rows)


def retention(stand: Stand, **days: float) -> Retention:
    settings: dict[str, Any] = {"retention_days": 70, "stream_days": days}
    return Retention(stand.journal, JournalSettings(**settings), stand.instruments, lambda: NOW)


def kept(stand: Stand) -> list[int]:
    return [number for _, number, _ in stand.ids_of(MESSAGES)]


async def test_only_what_is_old_of_its_stream_goes(stand: Stand) -> None:
    await store(stand, "abcab")
    await store(stand, "abc", NEW)
    before = stand.totals()
    await retention(stand, a=1).once()
    assert kept(stand) == [2, 3, 5, 6, 7, 8]
    assert stand.totals() == before
    assert stand.value(catalogue.JOURNAL_DELETED, "messages") == 2
    await retention(stand, a=1, chat=1).once()
    assert kept(stand) == [2, 5, 6, 7, 8]
    await retention(stand, b=3).once()
    assert kept(stand) == [2, 5, 6, 7, 8]


async def test_rows_kept_are_counted_right_where_ids_have_holes(stand: Stand) -> None:
    await store(stand, "bababa")
    await retention(stand, a=1).once()
    assert stand.journal.extent(MESSAGES) == (3, OLD)
    assert stand.value(catalogue.JOURNAL_ROWS, "messages") == 3
    await stand.journal.submit(DeleteOldest(MESSAGES, 2))
    assert stand.journal.extent(MESSAGES) == (1, OLD)
    await store(stand, "ab", NEW)
    assert stand.journal.extent(MESSAGES) == (3, OLD)
    await stand.journal.submit(DeleteOldest(MESSAGES, 9))
    assert stand.journal.extent(MESSAGES) == (0, None)


async def test_rows_that_went_before_streams_had_times_are_counted_too(stand: Stand) -> None:
    await store(stand, "bbbbaab")
    await stand.journal.submit(DeleteOldest(MESSAGES, 2))
    await retention(stand, a=1).once()
    assert stand.journal.extent(MESSAGES)[0] == len(kept(stand)) == 3


async def test_more_than_a_chunk_goes_in_one_pass(stand: Stand) -> None:
    await store(stand, "ab" * (CHUNK_ROWS + 10))
    await retention(stand, a=1).once()
    assert len(kept(stand)) == stand.journal.extent(MESSAGES)[0] == CHUNK_ROWS + 10


async def test_a_stream_says_up_to_where_it_is_gone(stand: Stand) -> None:
    await store(stand, "abcabcab")
    await retention(stand, a=1, chat=1).once()
    messages, chat = JournalHistory(stand.journal, MESSAGE_STREAM), JournalHistory(stand.journal, CHAT_STREAM)
    assert [messages.floor(f"messages/{each}") for each in "ab"] == [7, 1]
    assert (chat.floor("chat"), chat.floor("chat/room")) == (6, 6)
    assert messages.after("messages/a", 0, 8, 10) == ([], 8, 7, [])
    page = messages.after("messages/b", 0, 8, 10)
    assert ([row.offset for row in page.rows], page.floor, page.gone) == ([2, 5, 8], 1, [])


async def test_of_all_streams_each_hole_is_named(stand: Stand) -> None:
    await store(stand, "babbaabcb")
    await retention(stand, a=1).once()
    history = JournalHistory(stand.journal, MESSAGE_STREAM)
    page = history.after("messages", 0, 9, 10)
    assert [row.offset for row in page.rows] == [1, 3, 4, 7, 9]
    assert (page.upto, page.floor, page.gone) == (9, 0, [(2, 2), (5, 6)])


async def test_what_the_chat_lost_is_no_loss_to_recorded_streams(stand: Stand) -> None:
    await store(stand, "bcbccb")
    await retention(stand, chat=1).once()
    page = JournalHistory(stand.journal, MESSAGE_STREAM).after("messages", 0, 6, 10)
    assert ([row.offset for row in page.rows], page.gone) == ([1, 3, 6], [])


async def test_pages_with_holes_are_short_and_lose_nothing(stand: Stand) -> None:
    await store(stand, "ba" * 20)
    await retention(stand, a=1).once()
    history, at = JournalHistory(stand.journal, MESSAGE_STREAM), 0
    spoken_for: list[int] = []
    while at < 40:
        page = history.after("messages", at, 40, 3)
        assert len(page.rows) <= 3
        assert len(page.gone) <= 3
        spoken_for += [row.offset for row in page.rows]
        spoken_for += [number for run in page.gone for number in range(run.begin, run.offset + 1)]
        assert page.upto > at
        at = page.upto
    assert sorted(spoken_for) == list(range(1, 41))


async def test_the_floor_outlives_a_restart_and_never_falls(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    async with at_work(path) as stand:
        await store(stand, "baab")
        await retention(stand, a=1).once()
    async with at_work(path) as stand:
        assert stand.journal.floor_of("a") == 3
        assert stand.journal.extent(MESSAGES)[0] == 2
        await retention(stand, a=1).once()
        assert stand.journal.floor_of("a") == 3
        await stand.journal.submit(DeleteOldest(MESSAGES, 9))
        assert stand.journal.floor_of("a") == 4
