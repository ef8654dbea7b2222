"""What the journal does when it cannot: a full queue, a full disk, a file someone else is writing to."""

import asyncio
import sqlite3
from pathlib import Path

import pytest
from tests.journal.stand import Run, Stand, at_work, begin, held, request, requests

from fleetpulse import catalogue
from fleetpulse.errors import OverloadedError, StorageFullError
from fleetpulse.journal import REQUESTS, Outcome

BIG = "x" * 8_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


async def fill(stand: Stand) -> None:
    """Leaves the writing connection no page to grow by."""
    (pages,) = stand.eyes.execute("PRAGMA page_count").fetchone()
    await stand.journal.submit(Run(f"PRAGMA max_page_count = {pages}"))


async def make_room(stand: Stand) -> None:
    await stand.journal.submit(Run("PRAGMA max_page_count = 1000000"))


async def test_past_the_bound_nothing_of_a_batch_is_kept(path: Path) -> None:
    async with at_work(path, queue_rows=10) as stand:
        async with held(stand.journal):
            (fits,) = await begin(stand.journal.store(REQUESTS, requests(range(8))))
            with pytest.raises(OverloadedError) as caught:
                await stand.journal.store(REQUESTS, requests(range(100, 103)))
            assert not isinstance(caught.value, StorageFullError)
            (last,) = await begin(stand.journal.store(REQUESTS, requests(range(8, 10))))
            assert stand.value(catalogue.JOURNAL_PENDING) == 10
            assert stand.value(catalogue.JOURNAL_PENDING_LIMIT) == 10
        await asyncio.gather(fits, last)
        assert stand.ids() == [f"r{each}" for each in range(10)]
        assert stand.value(catalogue.JOURNAL_PENDING) == 0
        assert len((await stand.journal.store(REQUESTS, requests(range(100, 103)))).new) == 3


async def test_a_batch_larger_than_the_bound_is_taken_when_nothing_waits(path: Path) -> None:
    async with at_work(path, queue_rows=10) as stand:
        async with held(stand.journal):  # a write of no rows does not count
            (large,) = await begin(stand.journal.store(REQUESTS, requests(range(25))))
            with pytest.raises(OverloadedError):
                await stand.journal.store(REQUESTS, [request("late")])
        assert len((await large).new) == 25


async def test_a_full_disk_refuses_all_of_a_group_and_keeps_nothing(path: Path) -> None:
    async with at_work(path) as stand:
        await stand.journal.store(REQUESTS, [request("before")])
        before = stand.totals()
        await fill(stand)
        async with held(stand.journal):
            batches = [requests(range(at, at + 20), command=BIG) for at in (0, 20, 40)]
            tasks = await begin(*(stand.journal.store(REQUESTS, batch) for batch in batches))
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in results] == [StorageFullError] * 3
        assert stand.ids() == ["before"]
        assert stand.totals() == before
        assert len(stand.told) == 1
        assert not stand.journal.writable
        assert stand.value(catalogue.JOURNAL_WRITABLE) == 0
        assert stand.value(catalogue.JOURNAL_FAILURES, "storage") == 1
        assert stand.value(catalogue.JOURNAL_PENDING) == 0


async def test_a_full_disk_recovers_by_itself_and_what_was_refused_is_not_a_duplicate(path: Path) -> None:
    async with at_work(path) as stand:
        await stand.journal.store(REQUESTS, [request("before")])
        await fill(stand)
        rows = requests(range(50), command=BIG)
        for _ in range(3):
            with pytest.raises(StorageFullError) as caught:
                await stand.journal.store(REQUESTS, rows)
            assert caught.value.retry_after > 0
        await make_room(stand)
        outcome = await stand.journal.store(REQUESTS, [request("before"), *rows])
        assert (len(outcome.new), outcome.duplicates) == (50, 1)
        assert stand.journal.writable
        assert stand.value(catalogue.JOURNAL_WRITABLE) == 1
    async with at_work(path) as stand:
        assert len(stand.ids()) == 51


async def test_a_disk_that_fills_while_duplicates_are_sorted_out_keeps_nothing(path: Path) -> None:
    async with at_work(path) as stand:
        await stand.journal.store(REQUESTS, requests(range(5)))
        before = stand.totals()
        await fill(stand)
        mixed = [*requests(range(5)), *requests(range(5, 60), command=BIG)]
        with pytest.raises(StorageFullError):
            await stand.journal.store(REQUESTS, mixed)
        assert len(stand.ids()) == 5
        assert stand.totals() == before


async def test_a_write_lock_of_someone_else_is_an_overload_and_passes(path: Path) -> None:
    async with at_work(path) as stand:
        await stand.journal.submit(Run("PRAGMA busy_timeout = 0"))
        intruder = sqlite3.connect(path, isolation_level=None)
        intruder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageFullError, match="locked"):
            await stand.journal.store(REQUESTS, requests("a"))
        intruder.execute("ROLLBACK")
        intruder.close()
        assert isinstance(await stand.journal.store(REQUESTS, requests("a")), Outcome)
        assert stand.journal.writable


async def test_readers_go_on_while_the_disk_is_full(path: Path) -> None:
    async with at_work(path) as stand:
        await stand.journal.store(REQUESTS, requests("ab"))
        await fill(stand)
        with pytest.raises(StorageFullError):
            await stand.journal.store(REQUESTS, requests(range(50), command=BIG))
        assert stand.journal.extent(REQUESTS)[0] == 2
        assert stand.journal.used_bytes() > 0
        assert stand.journal.file_bytes() > 0


async def test_stopping_with_a_full_disk_tells_those_who_wait_and_ends(path: Path) -> None:
    async with at_work(path) as stand:
        await stand.journal.store(REQUESTS, requests("ab"))
        await fill(stand)
        async with held(stand.journal):
            tasks = await begin(stand.journal.store(REQUESTS, requests(range(50), command=BIG)))
            stopping = asyncio.create_task(stand.stop())
            await asyncio.sleep(0)
        await stopping
        (result,) = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(result, StorageFullError)
    async with at_work(path) as stand:
        assert stand.ids() == ["ra", "rb"]
