"""The log of events, page by page, by category or of all."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.journal.stand import NOW, at_work

from fleetpulse.journal import EVENTS, EventRow
from fleetpulse.query.events import EventFilter, EventLog

SPAN = 10


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EventLog]:
    """Forty events, of which each third is an audit."""
    async with at_work(tmp_path / "journal.db") as stand:
        rows = [event(number) for number in range(1, 41)]
        await stand.journal.store(EVENTS, rows)
        made = EventLog(stand.journal, span=SPAN)
        yield made
        await made.close()


def event(number: int) -> EventRow:
    category = "audit" if number % 3 == 0 else "connection"
    kind = "rare" if number == 2 else "usual"
    return EventRow(f"e{number}", NOW + number, category, kind, "anna", f"s{number % 2}", "{}")


async def ids(log: EventLog, wanted: EventFilter, limit: int) -> tuple[list[int], int]:
    """All there is, and in how many pages."""
    found: list[int] = []
    before, pages = None, 0
    while True:
        page = await log.page(wanted, limit, before)
        found += [each.number for each in page.events]
        pages, before = pages + 1, page.next_id
        if before is None:
            return found, pages


@pytest.mark.parametrize("limit", [1, 3, 7, 100])
async def test_pages_of_all_categories_leave_nothing_out(log: EventLog, limit: int) -> None:
    assert (await ids(log, EventFilter(), limit))[0] == list(range(40, 0, -1))


async def test_a_page_of_all_categories_looks_at_so_many_rows_and_another_follows(log: EventLog) -> None:
    assert await ids(log, EventFilter(kind="rare"), 100) == ([2], 4)
    assert await ids(log, EventFilter(kind="none"), 100) == ([], 4)


@pytest.mark.parametrize("limit", [1, 4, 100])
async def test_categories_are_merged_in_order(log: EventLog, limit: int) -> None:
    audits = list(range(39, 0, -3))
    assert (await ids(log, EventFilter(("audit",)), limit))[0] == audits
    assert (await ids(log, EventFilter(("audit", "connection")), limit))[0] == list(range(40, 0, -1))
    assert await ids(log, EventFilter(("audit",), kind="rare"), limit) == ([], 1)


async def test_time_and_names_narrow_both_ways_of_asking(log: EventLog) -> None:
    for categories in ((), ("audit", "connection")):
        wanted = EventFilter(categories, subject="s1", actor="anna", start=NOW + 5, end=NOW + 9)
        assert (await ids(log, wanted, 100))[0] == [7, 5]
        assert (await ids(log, EventFilter(categories, actor="ben"), 100))[0] == []
