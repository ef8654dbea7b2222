"""Messages are searched as requests are: by the index what reading every row finds, each table by its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.journal.stand import Run, Stand, at_work, request, until
from tests.query.message_rows import message
from tests.query.rows import at_work_in_background

from fleetpulse import catalogue
from fleetpulse.config import Search
from fleetpulse.errors import NotFoundError
from fleetpulse.journal import MESSAGES, REQUESTS, MessageRow
from fleetpulse.query import index, indexer
from fleetpulse.query.filters import REQUEST_LOGS
from fleetpulse.query.indexer import Indexer, search_indexer
from fleetpulse.query.logs import Logs
from fleetpulse.query.messages import CHAT, MESSAGE_LOG, MessageFilter, rules_of
from fleetpulse.query.recordings import Recordings
from fleetpulse.query.room import ReadingRoom
from fleetpulse.query.text import parse

texts = st.text(st.sampled_from("中文超时请求あ한🎉abcAB12 ,.-\n，"), max_size=12)
names = st.sampled_from(["a", "b", "用户", ""])
drawn = st.builds(
    lambda number, stream, rules, **fields: message(number, stream, rules=rules and f",{rules},", **fields),
    st.integers(0, 2**40),
    st.sampled_from(["shop", "forum", CHAT]),
    st.none() | st.sampled_from(["one", "one,two", "two"]),
    text=texts,
    user_id=names,
    kind=st.sampled_from(["chat", "system"]),
    session_id=st.none() | names.filter(bool),
    metadata=st.none() | st.just('{"k": "超时"}'),
    raw=st.none() | st.binary(max_size=5),
)
filters = st.builds(
    lambda q, equal, **fields: MessageFilter(text=parse(q), equal=tuple(equal.items()), **fields),
    texts,
    st.fixed_dictionaries(
        {}, optional={"stream": st.sampled_from(["shop", "forum", CHAT]), "user_id": names, "session_id": names}
    ),
    rule=st.none() | st.sampled_from(["one", "two", "on"]),
    sessions=st.none() | st.frozensets(names, max_size=2),
    private=st.booleans(),
    payloads=st.booleans(),
)


@dataclass
class Shelf:
    """A journal, the index of its messages and its reader."""

    stand: Stand
    logs: Logs[MessageRow]
    indexer: Indexer[MessageRow]

    async def indexed(self) -> None:
        await until(lambda: self.indexer.shared.reached == self.stand.journal.newest_id(MESSAGES))

    async def found(self, wanted: MessageFilter, limit: int = 100) -> list[str]:
        """On all pages."""
        pages, before = [], None
        while True:
            page = await self.logs.page(wanted, limit, before)
            pages.append([row.message_id for row in page.rows])
            before = page.next_id
            if before is None:
                return list(chain.from_iterable(pages))


@asynccontextmanager
async def shelf(path: Path) -> AsyncIterator[Shelf]:
    async with AsyncExitStack() as stack:
        stand = await stack.enter_async_context(at_work(path / "journal.db"))
        made = search_indexer(stand.journal, path / "search-messages.db", stand.instruments, MESSAGE_LOG)
        assert made is not None
        room = ReadingRoom(stand.journal.path, Search(), stand.instruments)
        stack.push_async_callback(room.close)
        await stack.enter_async_context(at_work_in_background(made))
        yield Shelf(stand, Logs(room, made.shared), made)


def by_reading(wanted: MessageFilter, every: list[MessageRow]) -> list[str]:
    return [row.message_id for row in reversed(every) if asked_for(wanted, row)]


def asked_for(wanted: MessageFilter, row: MessageRow) -> bool:
    allowed = row.stream != CHAT or wanted.private
    if not allowed:
        allowed = row.session_id is not None and (wanted.sessions is None or row.session_id in wanted.sessions)
    exact = all(getattr(row, column) == value for column, value in wanted.equal)
    ruled = wanted.rule is None or wanted.rule in rules_of(row)
    return allowed and exact and ruled and wanted.matches(row)


@pytest.fixture
def small_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "PARTITION_IDS", 8)
    monkeypatch.setattr(indexer, "PARTITION_IDS", 8)


@pytest.mark.usefixtures("small_partitions")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(drawn, max_size=30, unique_by=lambda row: row.message_id), st.lists(filters, max_size=12))
def test_the_index_and_the_rows_agree(
    tmp_path_factory: pytest.TempPathFactory, every: list[MessageRow], some: list[MessageFilter]
) -> None:
    asyncio.run(agree(tmp_path_factory.mktemp("shelf"), every, some))


async def agree(folder: Path, every: list[MessageRow], some: list[MessageFilter]) -> None:
    async with shelf(folder) as it:
        await it.stand.journal.store(MESSAGES, every)
        for wanted in some:
            assert await it.found(wanted, 3) == by_reading(wanted, every)
        await it.indexed()
        for wanted in some:
            assert await it.found(wanted, 3) == by_reading(wanted, every)


async def test_both_tables_have_an_index_and_a_lag_of_their_own(tmp_path: Path) -> None:
    async with shelf(tmp_path) as it:
        other = search_indexer(it.stand.journal, tmp_path / "search.db", it.stand.instruments, REQUEST_LOGS)
        async with at_work_in_background(other):
            await it.stand.journal.store(REQUESTS, [request("r1", command="超时")])
            await it.stand.journal.store(MESSAGES, [message(n, text="超时") for n in range(3)])
            await it.indexed()
            value = it.stand.value
            assert value(catalogue.MESSAGE_SEARCH_INDEXED) == 3
            assert value(catalogue.MESSAGE_SEARCH_LAG) == 0
            assert value(catalogue.MESSAGE_SEARCH_SIZE) > 0
            assert value(catalogue.MESSAGE_SEARCH_REBUILDS, "missing") == 1
            await until(lambda: value(catalogue.SEARCH_INDEXED) == 1)
            assert value(catalogue.SEARCH_REBUILDS, "missing") == 1


async def test_rows_that_went_from_the_middle_are_missed_by_nobody(tmp_path: Path) -> None:
    """As when one stream is kept for a shorter time than another."""
    async with shelf(tmp_path) as it:
        rows = [message(n, "shop" if n % 2 else "forum", text="超时") for n in range(100)]
        await it.stand.journal.store(MESSAGES, rows)
        await it.indexed()
        await it.stand.journal.submit(Run("DELETE FROM messages WHERE stream = 'forum' AND id < 90"))
        kept = [row for number, row in enumerate(rows, 1) if row.stream == "shop" or number >= 90]
        assert await it.found(MessageFilter(text=parse("超时")), 7) == [row.message_id for row in reversed(kept)]
        since = MessageFilter(start=rows[50].received_at)
        assert await it.found(since) == [row.message_id for row in reversed(kept) if row in rows[50:]]


async def test_payloads_are_read_only_where_they_are_asked_for(tmp_path: Path) -> None:
    async with shelf(tmp_path) as it:
        row = message(1, raw=b"\x00", opcode=2)
        await it.stand.journal.store(MESSAGES, [row])
        assert (await it.logs.one(MessageFilter(), row.message_id)).raw is None
        assert (await it.logs.one(MessageFilter(payloads=True), row.message_id)).raw == b"\x00"
        with pytest.raises(NotFoundError, match="no message"):
            await it.logs.one(MessageFilter(equal=(("stream", "forum"),)), row.message_id)


async def test_a_recording_is_read_in_order_and_in_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleetpulse.query.recordings.PAGE_CHARACTERS", 100)
    async with shelf(tmp_path) as it:
        rows = [message(n, "shop" if n % 3 else "forum", text="x" * 30) for n in range(60)]
        await it.stand.journal.store(MESSAGES, rows)
        recordings = Recordings(it.logs.room)
        stretch = await recordings.stretch("shop", rows[10].received_at, rows[50].received_at)
        assert stretch is not None
        assert (stretch.first, stretch.last) == (11, 50)
        heard: list[Any] = []
        number, pages = stretch.first - 1, 0
        while page := await recordings.after(stretch, number):
            heard += [each.row.message_id for each in page]
            number, pages = page[-1].number, pages + 1
        assert heard == [row.message_id for row in rows[10:50] if row.stream == "shop"]
        assert pages > 5
        assert await recordings.stretch("nobody", None, None) is None
