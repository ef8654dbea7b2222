"""What became of messages: the first of each kind stays, and goes with its message."""

from pathlib import Path

from tests.journal.stand import NOW, Stand, at_work

from fleetpulse.journal import MESSAGES, MessageRow
from fleetpulse.journal.receipts import Receipt, SaveReading, SaveReceipts, Sent, fates, undelivered
from fleetpulse.journal.writes import DeleteOldest


def message(number: int, user: str = "anna", session: str | None = "s1", to: str | None = None) -> MessageRow:
    return MessageRow(f"m{number}", NOW, None, "chat", "text", session, user, "hi", None, to)


def known(number: int, user: str = "anna") -> Sent:
    return Sent(number, f"m{number}", "s1", user, None)


async def save(stand: Stand, *receipts: Receipt) -> list[Receipt]:
    saved = await stand.journal.submit(SaveReceipts(receipts))
    assert isinstance(saved, list)
    return saved


def became(stand: Stand, *numbers: int) -> list[str]:
    reader = stand.journal.reader()
    try:
        return list(fates(reader, numbers).values())
    finally:
        reader.close()


async def test_the_first_receipt_of_each_kind_is_new_and_reading_is_more_than_delivery(tmp_path: Path) -> None:
    async with at_work(tmp_path / "journal.db") as stand:
        await stand.journal.store(MESSAGES, [message(1), message(2), message(3)])
        first = Receipt(known(1), "delivered", "ben", NOW)
        assert await save(stand, first, Receipt(known(1), "delivered", "cleo", NOW)) == [first]
        read = [Receipt(known(1), "read", "cleo", NOW), Receipt(known(2), "read", "ben", NOW)]
        assert await save(stand, *read, Receipt(known(1), "read", "ben", NOW)) == read
        assert await save(stand, Receipt(known(2), "delivered", "ben", NOW)) == []
        assert await save(stand, Receipt(known(9), "delivered", "ben", NOW)) == []
        assert became(stand, 1, 2, 3) == ["read", "read", "sent"]


async def test_reading_up_to_a_message_covers_those_of_others_before_it(tmp_path: Path) -> None:
    async with at_work(tmp_path / "journal.db") as stand:
        rows = [message(1), message(2, "ben"), message(3, session="s2"), message(4), message(5), message(6)]
        await stand.journal.store(MESSAGES, rows)
        new = await stand.journal.submit(SaveReading("s1", 5, "ben", NOW, 2))
        assert isinstance(new, list)
        assert [each.message.number for each in new] == [4, 5]
        new = await stand.journal.submit(SaveReading("s1", 5, "ben", NOW, 500))
        assert isinstance(new, list)
        assert [each.message.number for each in new] == [1]
        assert became(stand, *range(1, 7)) == ["read", "sent", "sent", "read", "read", "sent"]


async def test_what_nobody_has_is_found_again_and_receipts_go_with_their_messages(tmp_path: Path) -> None:
    async with at_work(tmp_path / "journal.db") as stand:
        rows = [message(1), message(2), message(3, session=None, to="ben"), message(4, "ben", "s2")]
        await stand.journal.store(MESSAGES, rows)
        await save(stand, Receipt(known(1), "delivered", "ben", NOW))
        reader = stand.journal.reader()
        assert [each.number for each in undelivered(reader)] == [2, 4]
        assert reader.execute("SELECT count(*) FROM receipts").fetchone() == (1,)
        await stand.journal.submit(DeleteOldest(MESSAGES, 2))
        assert reader.execute("SELECT count(*) FROM receipts").fetchone() == (0,)
        reader.close()
