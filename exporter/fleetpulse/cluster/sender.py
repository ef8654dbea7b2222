"""Rows on their way out: what this replica stores, told to the others, and read again for who missed some.

Promises: nothing here slows a commit; rows are told in the order of their ids; what is too much to be told at once
is not told at all, and `tops` says that it exists, so that the others ask. They are answered one page at a time,
from the journal, by a thread. Refuses more than a few questions at once: who asked asks again.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from fleetpulse import catalogue
from fleetpulse.cluster.batches import packed, row_id
from fleetpulse.cluster.bus import RedisBus
from fleetpulse.instruments import Instruments
from fleetpulse.journal import Journal, Numbered, Row, Table, rows_after
from fleetpulse.journal.rows import KEPT

ROWS = "relay.rows"
ASK = "relay.ask"
PAGE_ROWS = 512
MAX_WAITING_ROWS = 32_768
MAX_QUESTIONS = 64
_TABLES = {table.name: table for table in KEPT}  # mail goes another way
log = logging.getLogger(__name__)


class _News(NamedTuple):
    table: Table
    rows: Sequence[Row]
    first_id: int


class _Question(NamedTuple):
    run_id: str
    table: Table
    after: int


class Sender:
    """Tells of rows. `anyone` says whether there is somebody to tell."""

    def __init__(
        self, bus: RedisBus, journal: Journal, instruments: Instruments, anyone: Callable[[], bool]
    ) -> None:
        self._bus = bus
        self._journal = journal
        self._anyone = anyone
        self._tops = {table.name: journal.newest_id(table) for table in KEPT}
        self._news: deque[_News] = deque()
        self._waiting_rows = 0
        self._questions: dict[tuple[str, str], _Question] = {}
        self._more = asyncio.Event()
        self._asked = asyncio.Event()
        self._answered = instruments.counter(catalogue.CLUSTER_REPLAYS, "answered")
        self._refused = instruments.counter(catalogue.CLUSTER_REPLAYS, "refused")
        bus.on(ASK, self._ask)

    def tops(self) -> Mapping[str, int]:
        """The newest id of each table that was told of, or will not be."""
        return self._tops

    def stored(self, table: Table, rows: Sequence[Row], first_id: int) -> None:
        """Hears of rows that a commit has made durable; never waits."""
        if table not in KEPT:
            return
        if not self._anyone() or self._bus.crowded or self._waiting_rows + len(rows) > MAX_WAITING_ROWS:
            self._skip()
            self._told(table, first_id + len(rows) - 1)
            return
        self._news.append(_News(table, rows, first_id))
        self._waiting_rows += len(rows)
        self._more.set()

    async def tell(self) -> None:
        """Tells the others what is stored, until cancelled."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self._news:
                await self._tell(self._next())

    async def answer(self) -> None:
        """Answers who missed rows, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            while self._questions:
                question = self._questions.pop(next(iter(self._questions)))
                await self._answer(question)

    async def _answer(self, question: _Question) -> None:
        try:
            payloads = await asyncio.to_thread(self._read, question)
        except Exception:  # who asked asks again; the others' questions are answered all the same
            log.exception("rows of %s cannot be read for another replica", question.table.name)
            self._refused.inc()
            return
        for number, payload in enumerate(payloads, 1):
            self._bus.send_to(question.run_id, ROWS, payload | {"answer": number == len(payloads)})
        self._answered.inc()

    async def _tell(self, news: _News) -> None:
        table, rows, first = news
        numbered = (Numbered(number, row) for number, row in enumerate(rows, first))
        for payload in packed(self._journal.epoch, table, first - 1, first + len(rows) - 1, numbered):
            if not self._bus.crowded:
                self._bus.send(ROWS, payload)
            self._told(table, payload["upto"])
            await asyncio.sleep(0)  # packing a large commit must not hold up who reports

    def _next(self) -> _News:
        news = self._news.popleft()
        self._waiting_rows -= len(news.rows)
        return news

    def _skip(self) -> None:
        """What waits is not told, either: the others ask for it together with what follows."""
        while self._news:
            news = self._next()
            self._told(news.table, news.first_id + len(news.rows) - 1)

    def _told(self, table: Table, upto: int) -> None:
        self._tops[table.name] = max(self._tops[table.name], upto)

    def _ask(self, payload: Mapping[str, Any]) -> None:
        if payload["epoch"] != self._journal.epoch:
            return
        question = _Question(str(payload["run"]), _TABLES[payload["table"]], row_id(payload["after"]))
        where = question.run_id, question.table.name
        if where not in self._questions and len(self._questions) >= MAX_QUESTIONS:
            self._refused.inc()
            return
        self._questions[where] = question
        self._asked.set()

    def _read(self, question: _Question) -> list[dict[str, Any]]:
        """The next page after an id, on a thread."""
        with closing(self._journal.reader()) as connection:
            page = rows_after(connection, question.table, question.after, PAGE_ROWS)
        return list(packed(self._journal.epoch, question.table, question.after, page.upto, page.rows))
