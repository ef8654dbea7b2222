import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.journal.stand import Run, Stand, at_work, crash

from fleetpulse import catalogue
from fleetpulse.errors import StorageFullError
from fleetpulse.journal import Key, SaveNote, read_note

KEY = Key(catalogue.OTLP_LOGS_SENT.name, ("request",))


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with at_work(tmp_path / "journal.db") as made:
        yield made


async def test_a_note_is_kept_until_the_next(stand: Stand) -> None:
    assert read_note(stand.eyes, "a") is None
    await stand.journal.submit(SaveNote({}, "a", b"1"))
    await stand.journal.submit(SaveNote({}, "b", b"2"))
    await stand.journal.submit(SaveNote({}, "a", b"\x00\xff"))
    assert (read_note(stand.eyes, "a"), read_note(stand.eyes, "b")) == (b"\x00\xff", b"2")


async def test_a_note_and_its_totals_are_of_one_transaction(stand: Stand, tmp_path: Path) -> None:
    await stand.journal.submit(SaveNote({KEY: 5.0}, "a", b"5"))
    await stand.journal.submit(SaveNote({KEY: 2.0}, "a", b"7"))
    assert stand.totals()[KEY] == 7
    async with at_work(crash(tmp_path / "journal.db", tmp_path / "after")) as again:
        assert read_note(again.eyes, "a") == b"7"
        assert again.totals()[KEY] == 7


async def test_a_note_that_storage_refuses_changes_no_total(stand: Stand, tmp_path: Path) -> None:
    await stand.journal.submit(SaveNote({KEY: 5.0}, "a", b"5"))
    await stand.journal.submit(Run("PRAGMA busy_timeout = 0"))
    intruder = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    intruder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageFullError):
        await stand.journal.submit(SaveNote({KEY: 1.0}, "a", b"6"))
    intruder.close()
    assert (read_note(stand.eyes, "a"), stand.totals()[KEY]) == (b"5", 5)


def test_a_note_needs_no_room_in_the_queue_of_rows() -> None:
    assert SaveNote({KEY: 1.0}, "a", b"").size == 0
