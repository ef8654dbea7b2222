from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.journal.stand import NOW, Stand, alert, at_work, requests

from fleetpulse.journal import ALERTS, REQUESTS, Table, newest_id, oldest_id, received_after, rows_after
from fleetpulse.journal.writes import DeleteOldest


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with at_work(tmp_path / "journal.db") as made:
        yield made


async def test_an_empty_table_has_nothing_after_any_position(stand: Stand) -> None:
    for table in (REQUESTS, ALERTS):
        assert rows_after(stand.eyes, table, 0, 10).rows == []
        assert (newest_id(stand.eyes, table), oldest_id(stand.eyes, table)) == (0, 1)
        assert received_after(stand.eyes, table, 0) is None


async def test_rows_are_read_on_page_by_page(stand: Stand) -> None:
    rows = requests(range(7))
    await stand.journal.store(REQUESTS, rows)
    pages = [rows_after(stand.eyes, REQUESTS, position, 3) for position in (0, 3, 6, 7)]
    assert [[each.row for each in page.rows] for page in pages] == [rows[:3], rows[3:6], rows[6:], []]
    assert [page.upto for page in pages] == [3, 6, 7, 7]
    assert [each.number for each in pages[0].rows] == [1, 2, 3]


async def test_alerts_are_rows_of_their_own_kind(stand: Stand) -> None:
    rows = [alert("a"), alert("b")]
    await stand.journal.store(ALERTS, rows)
    assert [each.row for each in rows_after(stand.eyes, ALERTS, 0, 10).rows] == rows


async def test_ids_grow_by_one_with_every_row_whatever_else_is_tried(stand: Stand) -> None:
    await stand.journal.store(REQUESTS, requests(range(3)))
    await stand.journal.store(REQUESTS, requests(range(2)))  # duplicates
    await stand.journal.store(REQUESTS, requests(range(6)))  # some of them
    assert [each.number for each in rows_after(stand.eyes, REQUESTS, 0, 10).rows] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("deleted", "first"), [(2, 3), (4, 5)])
async def test_deleted_rows_are_known_to_be_missing(stand: Stand, deleted: int, first: int) -> None:
    await stand.journal.store(REQUESTS, requests(range(4)))
    await stand.journal.submit(DeleteOldest(REQUESTS, deleted))
    page = rows_after(stand.eyes, REQUESTS, 0, 10)
    assert (page.upto, len(page.rows)) == (4, 4 - deleted)
    assert (newest_id(stand.eyes, REQUESTS), oldest_id(stand.eyes, REQUESTS)) == (4, first)


async def test_a_position_past_the_end_stays(stand: Stand) -> None:
    assert rows_after(stand.eyes, REQUESTS, 5, 10).upto == 5


@pytest.mark.parametrize(
    ("table", "position", "found"), [(REQUESTS, 0, NOW), (REQUESTS, 1, NOW + 5), (ALERTS, 1, None)]
)
async def test_since_when_rows_wait(stand: Stand, table: Table, position: int, found: float | None) -> None:
    await stand.journal.store(REQUESTS, requests([0]))
    await stand.journal.store(REQUESTS, requests([1], received_at=NOW + 5))
    await stand.journal.store(ALERTS, [alert("a")])
    assert received_after(stand.eyes, table, position) == found


async def test_reading_leaves_no_transaction_open(stand: Stand) -> None:
    rows_after(stand.eyes, REQUESTS, 0, 10)
    assert not stand.eyes.in_transaction
