"""Searches by the index find what reading every row finds, whatever happens to the index."""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.journal.stand import Run, requests, until
from tests.query.rows import Library, library, wanted

from fleetpulse import catalogue
from fleetpulse.journal import REQUESTS, RequestRow
from fleetpulse.query import index, indexer
from fleetpulse.query.filters import RequestFilter

LETTERS = "中文字超时请求的あアー한ไ🎉々" + "abcABCéß12 ,.!-_\"'*()^:{}\n，。：　ｇｐｔ①ﬁ"
texts = st.text(st.sampled_from(LETTERS), max_size=12)
ids = st.sampled_from(["a", "b", "A-1", "用户", "a b", ""])
rows = st.builds(
    lambda number, **fields: requests([number], **fields)[0],
    st.uuids(),
    command=texts,
    error=st.none() | texts,
    source=ids.filter(bool),
    user_id=ids,
    status=st.sampled_from(["success", "error", "timeout"]),
    model=st.none() | ids.filter(bool),
    session_id=st.none() | ids.filter(bool),
    trace_id=st.none() | ids.filter(bool),
    account_id=st.none() | ids.filter(bool),
    metadata=st.none() | st.sampled_from(['{"k": "超时\\n请求"}', '{"abc": 12}']),
)
filters = st.builds(
    lambda q, fields, failed: wanted(q, failed=failed, **fields),
    texts,
    st.dictionaries(st.sampled_from(["source", "user_id", "model", "session_id"]), ids, max_size=2),
    st.none() | st.booleans(),
)
CALM = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def small_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of 8 ids, so that some rows fill many of them."""
    monkeypatch.setattr(index, "PARTITION_IDS", 8)
    monkeypatch.setattr(indexer, "PARTITION_IDS", 8)


def by_reading(found: RequestFilter, every: list[RequestRow]) -> list[str]:
    """What a search is to find: the rows one by one, newest first."""
    return [
        row.request_id
        for row in reversed(every)
        if all(getattr(row, column) == value for column, value in found.equal)
        and (found.failed is None or found.failed == (row.status != "success"))
        and found.matches(row)
    ]


@pytest.mark.usefixtures("small_partitions")
@CALM
@given(every=st.lists(rows, max_size=40, unique_by=lambda row: row.request_id), some=st.lists(filters, max_size=12))
def test_the_index_and_the_rows_agree(
    tmp_path_factory: pytest.TempPathFactory, every: list[RequestRow], some: list[RequestFilter]
) -> None:
    asyncio.run(agree(tmp_path_factory.mktemp("library"), every, some))


async def agree(folder: Path, every: list[RequestRow], some: list[RequestFilter]) -> None:
    async with library(folder) as it:
        await it.store(*every)
        await it.indexed()
        for sought in some:
            expected = by_reading(sought, every)
            assert list(chain.from_iterable(await it.pages(sought, 3))) == expected
            assert await it.exported(sought) == expected[::-1]


@pytest.mark.usefixtures("small_partitions")
async def test_a_row_is_found_before_and_after_it_is_indexed(tmp_path: Path) -> None:
    async with library(tmp_path) as it:
        for number in range(50):
            await it.texts(f"第{number}次超时")
            assert await it.found("超时") == [f"r{n}" for n in range(number, -1, -1)]
        await it.indexed()
        assert len(await it.found("超时")) == 50


async def test_fts_syntax_is_only_text(tmp_path: Path) -> None:
    async with library(tmp_path) as it:
        await it.texts("NEAR the end", "text: a* AND b", "rowid 1", 'say "hello" now')
        await it.indexed()
        assert await it.found("NEAR(the end, 2)") == []
        assert await it.found("NEAR") == ["r0"]
        assert await it.found("text:a") == ["r1"]
        assert await it.found("a* OR nothing") == []
        assert await it.found("-rowid") == ["r2"]
        assert await it.found('"hello"') == ["r3"]
        assert await it.found("') ; DROP TABLE requests --") == []


async def test_words_longer_than_a_token_are_found(tmp_path: Path) -> None:
    long = "abcdefgh" * 40
    async with library(tmp_path) as it:
        await it.texts(f"x {long} y", f"x {long}z y", f"é {long}")
        await it.indexed()
        assert await it.found(long) == ["r2", "r1", "r0"]
        assert await it.found(f'"{long}"') == ["r2", "r0"]
        assert await it.found(f'"x {long} y"') == ["r0"]
        assert await it.found(long[:100]) == ["r2", "r1", "r0"]


# What happens to the file -------------------------------------------------------------------------------------
async def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    async with library(tmp_path) as it:
        await it.texts(*["超时"] * 10)
        await it.indexed()
    async with library(tmp_path) as it:
        it.made = 10
        await it.texts("超时")
        await it.indexed()
        assert len(await it.found("超时")) == 11
        assert rebuilds(it) == {"missing": 0, "layout": 0, "damaged": 0, "other_journal": 0}


def rebuilds(it: Library) -> dict[str, float]:
    return {reason: it.value(catalogue.SEARCH_REBUILDS, reason) for reason in indexer.REASONS}


def remove(path: Path) -> None:
    for file in index.files(path):
        file.unlink(missing_ok=True)


def overwrite(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1_000)


def empty(path: Path) -> None:
    remove(path)
    path.touch()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def scramble(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4_096 * 3 :] = bytes(byte ^ 0x5A for byte in content[4_096 * 3 :])
    path.write_bytes(content)


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def ahead(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE position SET last = 1000")


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE position SET key = 'another'")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (remove, "missing"),
        (overwrite, "damaged"),
        (empty, None),
        (truncate, "damaged"),
        (scramble, "damaged"),
        (newer, "layout"),
        (ahead, "other_journal"),
        (foreign, "other_journal"),
    ],
)
async def test_what_cannot_be_trusted_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None], reason: str | None
) -> None:
    monkeypatch.setattr(indexer, "RETRY_SECONDS", 0.05)
    async with library(tmp_path) as it:
        await it.texts(*(f"第{n}次超时" for n in range(100)))
        await it.indexed()
    spoil(tmp_path / "search.db")
    async with library(tmp_path) as it:
        assert len(await it.found("超时")) == 100, "the rows are read meanwhile"
        await it.indexed()
        assert len(await it.found("超时")) == 100
        assert rebuilds(it) == dict.fromkeys(indexer.REASONS, 0) | ({reason: 1} if reason else {})


async def test_damage_that_a_search_meets_is_repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexer, "RETRY_SECONDS", 0.05)
    async with library(tmp_path) as it:
        await it.texts(*(f"第{n}次超时" for n in range(100)))
        await it.indexed()
        with closing(sqlite3.connect(tmp_path / "search.db")) as connection:
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute("DELETE FROM rows_0_data WHERE id > 10")
            connection.commit()
        assert len(await it.found("超时")) == 100
        await until(lambda: rebuilds(it)["damaged"] == 1)
        await it.indexed()
        assert len(await it.found("超时")) == 100


async def test_an_index_that_cannot_be_written_now_is_read_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(indexer, "RETRY_SECONDS", 0.05)
    async with library(tmp_path) as it:
        await it.texts(*["超时"] * 10)
        await it.indexed()
        with closing(sqlite3.connect(tmp_path / "search.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # storage refuses: another's lock, as a full disk would
            await it.texts("又超时")
            await until(lambda: "the search index waits" in caplog.text)
            assert it.value(catalogue.SEARCH_LAG) == 1
            assert len(await it.found("超时")) == 11
        await it.indexed()
        assert len(await it.found("超时")) == 11
        assert sum(rebuilds(it).values()) == 1, "the first one"


async def test_another_journal_has_another_index(tmp_path: Path) -> None:
    async with library(tmp_path / "one") as it:
        await it.texts(*["一样的文字"] * 20)
        await it.indexed()
    async with library(tmp_path / "two") as it:
        await it.store(*requests(range(100, 150), command="别的文字"))
        await it.indexed()
    shutil.copy(tmp_path / "one/search.db", tmp_path / "two/search.db")
    async with library(tmp_path / "two") as it:
        await it.indexed()
        assert len(await it.found("别的")) == 50
        assert await it.found("一样") == []
        assert rebuilds(it)["other_journal"] == 1


async def test_without_an_index_the_rows_are_read(tmp_path: Path) -> None:
    async with library(tmp_path, index=False) as it:
        await it.texts("请求超时", "timed out")
        assert await it.found("超时") == ["r0"]
        assert await it.found("time") == ["r1"]
        assert await it.found("time", source="web") == []
        assert not (tmp_path / "search.db").exists()


async def test_a_sqlite_without_fts5_has_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "supported", lambda: False)
    async with library(tmp_path) as it:
        assert it.indexer is None
        await it.texts("请求超时")
        assert await it.found("超时") == ["r0"]


# Retention ----------------------------------------------------------------------------------------------------
@pytest.mark.usefixtures("small_partitions")
async def test_tables_of_deleted_rows_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexer, "TIDY_SECONDS", 0.05)
    async with library(tmp_path) as it:
        await it.texts(*(f"第{n}次超时" for n in range(50)))
        await it.indexed()
        await it.stand.journal.submit(Run("DELETE FROM requests WHERE id <= 30"))
        assert await it.found("超时") == [f"r{n}" for n in range(49, 29, -1)]
        with closing(sqlite3.connect(tmp_path / "search.db")) as eyes:
            await until(lambda: index.partitions(eyes) == [3, 4, 5, 6])
        assert await it.found("第3") == [f"r{n}" for n in range(39, 29, -1)]
        assert it.value(catalogue.SEARCH_INDEXED) == 20
        await it.stand.journal.submit(Run("DELETE FROM requests"))
        with closing(sqlite3.connect(tmp_path / "search.db")) as eyes:
            await until(lambda: index.partitions(eyes) == [6])
        assert await it.found("超时") == []
        await it.texts("超时")
        await it.indexed()
        assert await it.found("超时") == ["r50"]


@pytest.mark.usefixtures("small_partitions")
async def test_complete_tables_are_merged_into_one_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexer, "SLICE_ROWS", 2)
    monkeypatch.setattr(indexer, "TRANSACTION_SLICES", 1)
    monkeypatch.setattr(indexer, "TIDY_SECONDS", 0.05)
    async with library(tmp_path) as it:
        await it.texts(*(f"第{n}次超时" for n in range(20)))
        await it.indexed()
        with closing(sqlite3.connect(tmp_path / "search.db")) as eyes:
            await until(lambda: [segments(eyes, number) for number in (0, 1)] == [1, 1])
        assert len(await it.found("超时")) == 20


def segments(eyes: sqlite3.Connection, number: int) -> int:
    """How many segments a table has: what its index of pages refers to."""
    (count,) = eyes.execute(f"SELECT count(DISTINCT segid) FROM rows_{number}_idx").fetchone()  # noqa: S608
    return int(count)


async def test_the_lag_is_shown(tmp_path: Path) -> None:
    async with library(tmp_path) as it:
        await it.texts(*["超时"] * 10)
        await it.indexed()
        assert it.value(catalogue.SEARCH_LAG) == 0
        assert it.value(catalogue.SEARCH_INDEXED) == 10
        assert it.value(catalogue.SEARCH_SIZE) > 0
        assert it.stand.journal.extent(REQUESTS)[0] == 10
