"""Retention: the oldest rows go first, by age and by size; ingest goes on meanwhile; totals stay."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.journal.stand import DEADLINE, NOW, Run, Stand, alert, at_work, file_bytes, held, requests, until

from fleetpulse import catalogue
from fleetpulse.config import Journal as JournalSettings
from fleetpulse.journal import ALERTS, REQUESTS, Retention
from fleetpulse.journal.retention import CHUNK_ROWS, DAY_SECONDS

BIG = "x" * 6_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def retention(stand: Stand, clock: float = NOW, **settings: Any) -> Retention:
    return Retention(stand.journal, JournalSettings(**settings), stand.instruments, lambda: clock)


async def test_rows_past_their_age_are_deleted_the_oldest_first(path: Path) -> None:
    async with at_work(path) as stand:
        for age in (9.0, 8.0, 7.001, 6.999, 1.0, 0.0):
            received_at = NOW - age * DAY_SECONDS
            await stand.journal.store(REQUESTS, requests([age], received_at=received_at))
            await stand.journal.store(ALERTS, [alert(f"f{age}", received_at=received_at)])
        before = stand.totals()
        await retention(stand, retention_days=7).once()
        assert stand.ids() == ["r6.999", "r1.0", "r0.0"]
        assert [key.split("/")[0] for key in stand.ids(ALERTS)] == ["f6.999", "f1.0", "f0.0"]
        assert stand.totals() == before
        for table in (REQUESTS, ALERTS):
            assert stand.value(catalogue.JOURNAL_DELETED, table.name) == 3
            assert stand.value(catalogue.JOURNAL_ROWS, table.name) == 3
            assert stand.value(catalogue.JOURNAL_OLDEST, table.name) == NOW - 6.999 * DAY_SECONDS


async def test_more_rows_than_a_chunk_are_deleted_in_one_pass(path: Path) -> None:
    async with at_work(path) as stand:
        old = requests(range(3 * CHUNK_ROWS + 1), received_at=NOW - 8 * DAY_SECONDS)
        await stand.journal.store(REQUESTS, [*old, *requests(["new"])])
        await retention(stand, retention_days=7).once()
        assert stand.ids() == ["rnew"]


async def test_an_empty_journal_is_measured_as_of_now(path: Path) -> None:
    async with at_work(path) as stand:
        await retention(stand).once()
        assert stand.value(catalogue.JOURNAL_ROWS, "requests") == 0
        assert stand.value(catalogue.JOURNAL_OLDEST, "requests") == NOW
        assert stand.value(catalogue.JOURNAL_DELETED, "requests") == 0


async def test_past_its_size_the_journal_loses_the_oldest_and_gives_space_back(path: Path) -> None:
    limit = 2 * 2**20
    async with at_work(path) as stand:
        for start in range(0, 2_000, 200):
            await stand.journal.store(REQUESTS, requests(range(start, start + 200), command=BIG))
        before = stand.totals()
        assert stand.journal.used_bytes() > 5 * limit
        await retention(stand, max_bytes=limit).once()
        assert limit / 2 < stand.journal.used_bytes() <= limit
        kept = stand.ids()
        assert kept == [f"r{each}" for each in range(2_000 - len(kept), 2_000)]
        assert stand.journal.extent(REQUESTS)[0] == len(kept)
        assert stand.totals() == before
    assert file_bytes(path) < 2 * limit
    async with at_work(path) as stand:
        assert stand.totals() == before
        assert (await stand.journal.store(REQUESTS, requests([1_999]))).duplicates == 1


async def test_a_limit_below_an_empty_journal_ends_all_the_same(path: Path) -> None:
    async with at_work(path) as stand:
        await stand.journal.store(REQUESTS, requests("abc"))
        async with asyncio.timeout(DEADLINE):
            await retention(stand, max_bytes=1).once()
        assert stand.ids() == []


async def test_ingest_goes_on_between_the_chunks(path: Path) -> None:
    async with at_work(path, synchronous="normal") as stand:
        await stand.journal.store(REQUESTS, requests(range(20 * CHUNK_ROWS), received_at=NOW - 8 * DAY_SECONDS))
        deleting = asyncio.create_task(retention(stand, retention_days=7).once())
        stored = 0
        while not deleting.done():
            await stand.journal.store(REQUESTS, requests([f"new{stored}"]))
            stored += 1
        await deleting
        assert stored >= 20, "at least one between every two chunks"
        assert stand.ids() == [f"rnew{each}" for each in range(stored)]


async def test_a_pass_that_storage_refuses_is_tried_again(path: Path) -> None:
    async with at_work(path) as stand:
        await stand.journal.store(REQUESTS, requests("ab", received_at=NOW - 8 * DAY_SECONDS))
        await stand.journal.submit(Run("PRAGMA busy_timeout = 0"))
        intruder = sqlite3.connect(path, isolation_level=None)
        intruder.execute("BEGIN IMMEDIATE")
        keeper = retention(stand, retention_days=7, retention_interval_seconds=0.01)
        running = asyncio.create_task(keeper.run())
        await until(lambda: not stand.journal.writable)
        assert len(stand.ids()) == 2
        intruder.execute("ROLLBACK")
        await until(lambda: not stand.ids())
        intruder.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_deleting_waits_its_turn_behind_ingest(path: Path) -> None:
    async with at_work(path) as stand:
        await stand.journal.store(REQUESTS, requests("ab", received_at=NOW - 8 * DAY_SECONDS))
        async with held(stand.journal):
            deleting = asyncio.create_task(retention(stand, retention_days=7).once())
            await asyncio.sleep(0)
            assert not deleting.done()
            assert len(stand.ids()) == 2
        await deleting
        assert stand.ids() == []
