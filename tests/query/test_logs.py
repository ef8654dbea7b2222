"""Pages and exports: what is in them, that paging stays right, and that everything is bounded."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import aclosing, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.journal.stand import NOW, Run, begin, request, requests
from tests.query.rows import encode_ids, library, wanted

from fleetpulse import catalogue
from fleetpulse.errors import NotFoundError, OverloadedError
from fleetpulse.journal import REQUESTS
from fleetpulse.journal.writes import DeleteOldest
from fleetpulse.query import reader, sweep
from fleetpulse.query.filters import RequestFilter
from fleetpulse.query.text import TextQuery, parse


def newest_first(numbers: range) -> list[str]:
    return [f"r{number}" for number in reversed(numbers)]


# Filters ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("column", ["source", "user_id", "model", "account_id", "session_id", "trace_id", "status"])
async def test_exact_values(tmp_path: Path, column: str) -> None:
    async with library(tmp_path) as it:
        wanted: dict[str, Any] = {column: "X 1"}
        await it.store(request("a", **wanted), request("b", **{column: "x 1"}), request("c"))
        assert await it.found(**wanted) == ["a"]
        await it.indexed()
        assert await it.found(**wanted) == ["a"]
        wanted[column] = "X"
        assert await it.found(**wanted) == []


async def test_what_failed(tmp_path: Path) -> None:
    async with library(tmp_path) as it:
        await it.store(request("a"), request("b", status="timeout"), request("c", status="error"))
        for _ in ("read", "indexed"):
            assert await it.found(failed=True) == ["c", "b"]
            assert await it.found(failed=False) == ["a"]
            assert await it.found(failed=True, status="error") == ["c"]
            assert await it.found(failed=True, status="success") == []
            await it.indexed()


async def test_least_cost_and_time(tmp_path: Path) -> None:
    async with library(tmp_path) as it:
        await it.store(
            request("a", cost=0.5, execution_time=1.0),
            request("b", cost=None, execution_time=9.0),
            request("c", cost=0.1, execution_time=3.0),
        )
        await it.indexed()
        assert await it.found(min_cost=0.1) == ["c", "a"]
        assert await it.found(min_cost=0.100001) == ["a"]
        assert await it.found(min_time=3.0) == ["c", "b"]
        assert await it.found("ask", min_time=3.0, min_cost=0.0) == ["c"]


async def test_times_of_receipt(tmp_path: Path) -> None:
    async with library(tmp_path) as it:
        await it.store(*(request(f"r{n}", received_at=NOW + n, timestamp=NOW - n) for n in range(50)))
        for _ in ("read", "indexed"):
            assert await it.found(start=NOW + 10, end=NOW + 20) == newest_first(range(10, 20))
            assert await it.found("ask", start=NOW + 10, end=NOW + 20) == newest_first(range(10, 20))
            assert await it.found(start=NOW + 45.5) == newest_first(range(46, 50))
            assert await it.found(end=NOW + 0.5) == ["r0"]
            assert await it.found(start=NOW + 20, end=NOW + 10) == []
            assert await it.found(start=NOW + 100) == []
            assert await it.found(end=NOW) == []
            await it.indexed()


async def test_a_clock_that_went_back_shows_nothing_from_outside(tmp_path: Path) -> None:
    async with library(tmp_path) as it:
        await it.store(*(request(f"r{n}", received_at=NOW + (n if n != 25 else -9)) for n in range(50)))
        assert "r25" not in await it.found(start=NOW + 20)


async def test_a_single_one(tmp_path: Path) -> None:
    async with library(tmp_path) as it:
        await it.store(request("a", metadata='{"k": 1}'), request("b"))
        assert (await it.logs.one(RequestFilter(), "a")).metadata == '{"k": 1}'
        with pytest.raises(NotFoundError):
            await it.logs.one(RequestFilter(), "c")


async def test_an_empty_journal(tmp_path: Path) -> None:
    async with library(tmp_path) as it:
        assert await it.pages(RequestFilter(), 10) == [[]]
        assert await it.pages(wanted("x", start=NOW), 10) == [[]]
        assert await it.exported(RequestFilter()) == []


# Paging -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("q", ["", "ask"])
@pytest.mark.parametrize(("count", "limit"), [(10, 3), (9, 3), (3, 3), (2, 3), (1_000, 300)])
async def test_pages_follow_each_other(tmp_path: Path, q: str, count: int, limit: int) -> None:
    async with library(tmp_path) as it:
        await it.store(*requests(range(count)))
        await it.indexed()
        pages = await it.pages(wanted(q), limit)
        assert [name for page in pages for name in page] == newest_first(range(count))
        assert {len(page) for page in pages[:-1]} <= {limit}
        assert 0 < len(pages[-1]) <= limit, "no page is turned in vain"


@pytest.mark.parametrize("q", ["", "ask"])
async def test_paging_while_rows_arrive_and_are_deleted(tmp_path: Path, q: str) -> None:
    async with library(tmp_path) as it:
        await it.store(*requests(range(100)))
        seen: list[str] = []
        before, made, deleted = None, 100, 0
        while True:
            page = await it.logs.page(wanted(q), 7, before)
            seen += [row.request_id for row in page.rows]
            before = page.next_id
            if before is None:
                break
            await it.store(*requests(range(made, made + 5)))
            made, deleted = made + 5, deleted + 2
            await it.stand.journal.submit(DeleteOldest(REQUESTS, 2))
        assert seen == newest_first(range(deleted, 100))


async def test_a_page_whose_next_one_was_deleted_ends(tmp_path: Path) -> None:
    async with library(tmp_path) as it:
        await it.store(*requests(range(100)))
        page = await it.logs.page(RequestFilter(), 50)
        await it.stand.journal.submit(Run("DELETE FROM requests WHERE id <= 60"))
        assert await it.logs.page(RequestFilter(), 50, page.next_id) == ([], None)


async def test_a_page_of_long_texts_is_shorter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "PAGE_CHARACTERS", 10_000)
    monkeypatch.setattr(reader, "BATCH_ROWS", 4)
    monkeypatch.setattr(sweep, "BATCH_ROWS", 4)
    async with library(tmp_path) as it:
        await it.store(*requests(range(20), command="x" * 2_000))
        pages = await it.pages(RequestFilter(), 20)
        assert [name for page in pages for name in page] == newest_first(range(20))
        assert max(map(len, pages)) == 8


# Bounds -------------------------------------------------------------------------------------------------------
class Slow(TextQuery):
    """A search that waits at each row until it may go on."""

    @staticmethod
    def held(matches: Callable[[], bool]) -> RequestFilter:
        """A filter that asks this of every row."""
        slow = Slow(parse("ask").terms)
        object.__setattr__(slow, "matches", lambda _fields: matches())
        return RequestFilter(text=slow)


@contextmanager
def gate() -> Iterator[tuple[RequestFilter, threading.Event]]:
    """A search that is under way until it is let go, at the end at the latest; and whether it has begun."""
    go, begun = threading.Event(), threading.Event()

    def matches() -> bool:
        begun.set()
        return go.wait(30)

    try:
        yield Slow.held(matches), begun
    finally:
        go.set()


async def test_what_was_found_in_time_is_answered_with_the_place_to_go_on(tmp_path: Path) -> None:
    async with library(tmp_path, index=False, seconds=0.05) as it:
        await it.store(*requests(range(1_000)))
        sought = Slow.held(lambda: threading.Event().wait(0.0005) or True)
        pages = await it.pages(sought, 1_000)
        assert [name for page in pages for name in page] == newest_first(range(1_000))
        assert len(pages) > 2


async def test_one_step_that_takes_too_long_is_refused(tmp_path: Path) -> None:
    async with library(tmp_path, index=False, seconds=1e-9) as it:
        await it.store(*requests(range(20_000)))
        with pytest.raises(OverloadedError, match="nothing could be looked at"):
            await it.logs.page(wanted(min_cost=1_000.0), 10)
        assert it.value(catalogue.SEARCH_REFUSED, "slow") == 1


async def test_the_index_is_interrupted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "OPCODES", 50)
    async with library(tmp_path, seconds=1e-9) as it:
        await it.store(*requests(range(5_000), command="1 " * 20))
        await it.indexed()
        with pytest.raises(OverloadedError, match="nothing could be looked at"):
            await it.logs.page(wanted("1"), 10)


async def test_too_many_searches_are_refused(tmp_path: Path) -> None:
    async with library(tmp_path, index=False, threads=1, queue=1) as it:
        await it.store(*requests(range(3)))
        with gate() as (held, begun):
            running = await begin(it.logs.page(held, 10), it.logs.page(RequestFilter(), 10))
            assert await asyncio.to_thread(begun.wait, 30)
            with pytest.raises(OverloadedError, match="2 searches"):
                await it.logs.page(RequestFilter(), 10)
        assert [len(page.rows) for page in await asyncio.gather(*running)] == [3, 3]
        assert len(await it.found()) == 3
        assert it.value(catalogue.SEARCH_REFUSED, "busy") == 1


async def test_a_journal_that_cannot_be_opened_now_is_overload(tmp_path: Path) -> None:
    async with library(tmp_path, index=False) as it:
        await it.store(*requests(range(3)))
        away = (tmp_path / "journal.db").rename(tmp_path / "away.db")
        with pytest.raises(OverloadedError, match="cannot be read now") as refused:
            await it.found()
        assert refused.value.retry_after == 5
        away.rename(tmp_path / "journal.db")
        assert len(await it.found()) == 3


async def test_searching_holds_up_neither_ingest_nor_the_loop(tmp_path: Path) -> None:
    async with library(tmp_path, index=False) as it:
        await it.store(*requests(range(3)))
        with gate() as (held, begun):
            (running,) = await begin(it.logs.page(held, 10))
            assert await asyncio.to_thread(begun.wait, 30)
            await it.store(*requests(range(3, 6)))
        assert len((await running).rows) == 3


# Exports ------------------------------------------------------------------------------------------------------
async def test_an_export_has_every_row_that_was_stored_when_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "CHUNK_ROWS", 100)
    async with library(tmp_path) as it:
        await it.store(*requests(range(1_000)))
        parts: list[bytes] = []
        async with aclosing(it.logs.export(RequestFilter(), encode_ids)) as export:
            async for part in export:
                parts.append(part)
                await it.store(request(f"later-{len(parts)}"))
        assert b"".join(parts).decode().split() == [f"r{n}" for n in range(1_000)]
        assert len(parts) >= 10
        assert it.value(catalogue.EXPORTED_ROWS) == 1_000


async def test_an_export_goes_by_the_same_filters(tmp_path: Path) -> None:
    async with library(tmp_path) as it:
        await it.store(*requests(range(50)), *requests(range(50, 60), source="web", command="超时了"))
        await it.indexed()
        await it.store(*requests(range(60, 70), source="web", command="又超时"))
        assert await it.exported(wanted("超时", source="web")) == [f"r{n}" for n in range(50, 70)]
        assert await it.exported(wanted("超时", source="ide")) == []


async def test_rows_deleted_meanwhile_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "CHUNK_ROWS", 10)
    monkeypatch.setattr(reader, "BATCH_ROWS", 10)
    async with library(tmp_path) as it:
        await it.store(*requests(range(100)))
        async with aclosing(it.logs.export(RequestFilter(), encode_ids)) as export:
            first = await anext(export)
            await it.stand.journal.submit(Run("DELETE FROM requests WHERE id <= 50"))
            rest = [part async for part in export]
        assert b"".join([first, *rest]).decode().split() == [f"r{n}" for n in [*range(10), *range(50, 100)]]


async def test_so_many_exports_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "CHUNK_ROWS", 1)
    async with library(tmp_path, exports=1) as it:
        await it.store(*requests(range(10)))
        async with aclosing(it.logs.export(RequestFilter(), encode_ids)) as export:
            await anext(export)
            assert it.value(catalogue.EXPORTS) == 1
            with pytest.raises(OverloadedError, match="1 exports") as refused:
                await it.exported(RequestFilter())
            assert refused.value.retry_after == 10
        assert it.value(catalogue.EXPORTS) == 0
        assert len(await it.exported(RequestFilter())) == 10
        assert it.value(catalogue.SEARCH_REFUSED, "exports") == 1


async def test_an_export_that_nobody_takes_reads_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "CHUNK_ROWS", 10)
    monkeypatch.setattr(reader, "BATCH_ROWS", 10)
    async with library(tmp_path) as it:
        await it.store(*requests(range(1_000)))
        async with aclosing(it.logs.export(RequestFilter(), encode_ids)) as export:
            await anext(export)
        assert it.value(catalogue.EXPORTED_ROWS) == 10


async def test_no_read_transaction_stays_open_between_the_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "CHUNK_ROWS", 10)
    async with library(tmp_path) as it:
        await it.store(*requests(range(100)))
        async with aclosing(it.logs.export(RequestFilter(), encode_ids)) as export:
            await anext(export)
            await it.store(*requests(range(100, 200)))
            with closing(sqlite3.connect(tmp_path / "journal.db", timeout=0)) as other:
                ((busy, _, _),) = other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            assert not busy, "the write-ahead log could be emptied"
