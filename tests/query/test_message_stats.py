"""Statistics of messages: what is counted equals the rows, by local time, whatever retention deletes."""

from contextlib import closing
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from tests.journal.stand import NOW, Run, Stand, at_work
from tests.query.message_rows import message, said

from fleetpulse.config import Search
from fleetpulse.journal import MESSAGES, message_counts, schema
from fleetpulse.query.message_stats import Asked, MessageStats, Speaker, message_stats
from fleetpulse.query.room import ReadingRoom

HOUR, DAY = 3_600, 86_400
SHANGHAI = ZoneInfo("Asia/Shanghai")  # NOW is 16:53 there


async def stats(stand: Stand, zone: ZoneInfo = SHANGHAI, **asked: object) -> MessageStats:
    room = ReadingRoom(stand.journal.path, Search(), stand.instruments)
    try:
        return await message_stats(room, Asked(datetime.fromtimestamp(NOW, zone), **asked))  # type: ignore[arg-type]
    finally:
        await room.close()


async def test_days_and_hours_are_local(tmp_path: Path) -> None:
    ages = [0, 1 * HOUR, 16 * HOUR, 17 * HOUR, 41 * HOUR, 29 * DAY, 30 * DAY]
    async with at_work(tmp_path / "journal.db") as stand:
        await stand.journal.store(
            MESSAGES, [message(n, received_at=NOW - age) for n, age in sorted(enumerate(ages), reverse=True)]
        )
        found = await stats(stand)
    assert (found.total, found.today) == (7, 3)
    assert len(found.days) == 30
    assert {date: count for date, count in found.days if count} == {
        "2025-10-09": 3,
        "2025-10-08": 1,
        "2025-10-07": 1,
        "2025-09-10": 1,
    }
    assert {hour: count for hour, count in enumerate(found.hours) if count} == {0: 1, 15: 1, 16: 2, 23: 2}


async def test_a_zone_off_the_full_hour(tmp_path: Path) -> None:
    async with at_work(tmp_path / "journal.db") as stand:
        await stand.journal.store(MESSAGES, [message(1, received_at=NOW)])
        assert (await stats(stand, ZoneInfo("Asia/Kathmandu"))).hours[14] == 1, "08:53 UTC is 14:38 there"


async def test_users_of_today(tmp_path: Path) -> None:
    rows = [
        *(message(n, user_id="anna", received_at=NOW - 17 * HOUR) for n in range(5)),
        *(message(n, user_id="bo", received_at=NOW) for n in range(5, 8)),
        message(8, user_id="", received_at=NOW),
        message(1, "forum", user_id="bo", received_at=NOW),
        said("m", "s", "hello", user_id="eve", received_at=NOW),
    ]
    async with at_work(tmp_path / "journal.db") as stand:
        await stand.journal.store(MESSAGES, rows)
        found = await stats(stand)
        assert (found.users, found.complete) == (3, True)
        assert found.top == [Speaker("shop", "bo", 3), Speaker("forum", "bo", 1), Speaker("chat", "eve", 1)]
        assert (await stats(stand, chat=False)).users == 2
        assert (await stats(stand, stream="forum", top=0)).users == 1
        assert (await stats(stand, top=1)).top == [Speaker("shop", "bo", 3)]


async def test_counts_are_of_what_was_stored_not_of_what_is_kept(tmp_path: Path) -> None:
    async with at_work(tmp_path / "journal.db") as stand:
        rows = [message(n, received_at=NOW) for n in range(10)]
        await stand.journal.store(MESSAGES, rows)
        await stand.journal.store(MESSAGES, rows)
        await stand.journal.submit(Run("DELETE FROM messages WHERE id < 6"))
        found = await stats(stand)
        assert (found.total, found.today, found.top) == (10, 10, [Speaker("shop", "anna", 10)])
        assert found.kinds == [("shop", "chat", 10)]


async def test_users_are_bounded_by_time_and_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_counts, "USERS", 3)
    async with at_work(tmp_path / "journal.db") as stand:
        await stand.journal.store(MESSAGES, [message(0, received_at=NOW - 60 * HOUR)])
        rows = [message(n, user_id=f"u{n % 5}", received_at=NOW) for n in range(1, 11)]
        await stand.journal.store(MESSAGES, rows)
        found = await stats(stand)
        assert (found.users, found.complete, found.today) == (3, False, 10)
        assert [each.messages for each in found.top] == [2, 2, 2], "who is counted is counted on"
        assert await stand.journal.submit(Run("SELECT min(hour) FROM message_users")) == [(int(NOW // HOUR),)]


async def test_an_empty_journal(tmp_path: Path) -> None:
    async with at_work(tmp_path / "journal.db") as stand:
        found = await stats(stand)
        assert (found.total, found.today, found.users, found.complete) == (0, 0, 0, True)


async def test_what_an_older_journal_has_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.db"
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:3])
    with closing(schema.open_writer(path, "normal")) as old:
        old.execute(
            "INSERT INTO messages (message_id, received_at, stream, kind, session_id, user_id, text) "
            "VALUES ('m', ?, 'chat', 'text', 's', 'eve', 'hello')",
            (NOW,),
        )
    monkeypatch.undo()
    async with at_work(path) as stand:
        await stand.journal.store(MESSAGES, [said("n", "s", "more", user_id="eve")])
        found = await stats(stand)
        assert (found.total, found.today, found.top) == (2, 2, [Speaker("chat", "eve", 2)])
